//! `endpoint health|status|hashkv` over several members.

use integration_tests::{Cluster, Kind, Tool, eventually};

use crate::{NOBODY, SOON, answer, both, json, ours, refused};

/// The first cell of each row.
fn first_cells(stdout: &str) -> Vec<String> {
    let cell = |row: &str| row.split([',', ' ']).next().expect("a cell").to_owned();
    stdout.lines().map(cell).collect()
}

/// The client URLs in the order of the member list, which is that of the ids.
fn client_urls(endpoints: &str) -> Vec<String> {
    let list = json(endpoints, "member list");
    let members = list["members"].as_array().expect("members");
    members.iter().map(|m| m["clientURLs"][0].as_str().expect("a URL").to_owned()).collect()
}

#[test]
fn every_endpoint_is_asked_in_its_order() {
    let mut cluster = Cluster::start(Kind::Reference, 3, &[]);
    let all = cluster.endpoints();
    let given: Vec<&str> = all.split(',').collect();
    let [_, second, _] = given.as_slice() else { panic!("{all}") };
    ours(&all, "put a 1");
    let urls = client_urls(second);

    // 3.4 prints ten of the sixteen items, and neither revision of the hash.
    assert_eq!(first_cells(&ours(&all, "endpoint status")), given);
    assert_eq!(first_cells(&ours(second, "endpoint status --cluster")), urls);
    let hashes = eventually("the followers have applied the put", SOON, || {
        let rows = json(second, "endpoint hashkv --cluster");
        let rows = rows.as_array().expect("an array").clone();
        let hash = |row: &serde_json::Value| row["HashKV"]["hash"].as_u64();
        rows.iter().all(|row| hash(row) == hash(&rows[0])).then_some(rows)
    });
    let endpoints: Vec<&str> = hashes.iter().filter_map(|row| row["Endpoint"].as_str()).collect();
    assert_eq!(endpoints, urls);
    let (_, theirs, _) = answer(Tool::Reference, second, "endpoint hashkv --cluster");
    let without_revision = |row: &str| row.rsplit_once(", ").map(|(head, _)| head.to_owned());
    let printed = ours(second, "endpoint hashkv --cluster");
    let printed: Vec<String> = printed.lines().filter_map(without_revision).collect();
    assert_eq!(printed, theirs.lines().collect::<Vec<_>>());

    let healthy = first_cells(&ours(second, "endpoint health --cluster"));
    assert_eq!(sorted(healthy), sorted(urls.clone()));
    let table = ours(&all, "endpoint health -w table");
    assert_eq!(table.lines().count(), 7, "{table}");

    one_is_down(&mut cluster, &urls);
}

/// The others are printed, the one that is gone is named on standard error.
fn one_is_down(cluster: &mut Cluster, urls: &[String]) {
    drop(cluster.kill(2));
    let down = |url: &&String| !cluster.endpoints().contains(url.trim_start_matches("http://"));
    let down = urls.iter().find(down).expect("one is not there");
    let up: Vec<String> = urls.iter().filter(|url| *url != down).cloned().collect();
    let first = cluster.members()[0].client_authority();
    eventually("a leader is there", SOON, || {
        (answer(Tool::Ours, &first, "get a").0 == 0).then_some(())
    });
    // Each waits for the one that is gone as long as it may: all at once.
    let [status, hash_kv, health, json] = std::thread::scope(|scope| {
        ["status", "hashkv", "health", "health -w json"]
            .map(|command| {
                let line = format!("--command-timeout=3s endpoint {command} --cluster");
                let first = &first;
                scope.spawn(move || answer(Tool::Ours, first, &line))
            })
            .map(|run| run.join().expect("run"))
    });
    let late = "context deadline exceeded";

    let (code, stdout, stderr) = status;
    assert_eq!((code, first_cells(&stdout)), (1, up.clone()));
    assert_eq!(stderr, format!("Failed to get the status of endpoint {down} ({late})\n"));

    let (code, stdout, stderr) = hash_kv;
    assert_eq!((code, first_cells(&stdout)), (1, up.clone()));
    let line = format!("Failed to get the hash of endpoint {down} ({late})\n");
    assert_eq!(stderr, format!("{line}Error: {late}\n"));

    let (code, stdout, stderr) = health;
    assert_eq!((code, sorted(first_cells(&stdout))), (1, sorted(up)));
    let line = format!("{down} is unhealthy: failed to commit proposal: {late}\n");
    assert_eq!(stderr, format!("{line}Error: unhealthy cluster\n"));

    let (code, stdout, stderr) = json;
    assert_eq!((code, stderr.as_str()), (1, "Error: unhealthy cluster\n"));
    let rows: serde_json::Value = serde_json::from_str(&stdout).expect("JSON");
    // In the order in which they answered: the one that does not is last.
    let rows = rows.as_array().expect("an array");
    let health: Vec<_> = rows.iter().map(|row| row["health"].as_bool()).collect();
    assert_eq!(health, [Some(true), Some(true), Some(false)]);
    let last = (rows[2]["endpoint"].as_str(), rows[2]["error"].as_str());
    assert_eq!(last, (Some(down.as_str()), Some(late)));
}

fn sorted(mut list: Vec<String>) -> Vec<String> {
    list.sort_unstable();
    list
}

#[test]
fn without_the_member_list_there_is_nothing_to_ask() {
    let text = "failed to fetch endpoints from etcd cluster member list: \
                context deadline exceeded";
    for command in ["health", "status", "hashkv"] {
        let line = format!("--command-timeout=200ms endpoint {command} --cluster");
        assert_eq!(both(NOBODY, &line), refused(1, text), "{line}");
    }
    // 3.4 prints an empty array.
    let printed = answer(Tool::Ours, NOBODY, "--command-timeout=200ms endpoint status -w json");
    let line =
        format!("Failed to get the status of endpoint {NOBODY} (context deadline exceeded)\n");
    assert_eq!(printed, (1, "null\n".to_owned(), line));
}
