//! Command-line tools against https, ours and the distribution's.

use super::*;

const TOOLS: [Tool; 2] = [Tool::Ours, Tool::Reference];

#[test]
fn clients_with_a_certificate_of_the_ca_get_in_and_others_do_not() {
    let scene = Scene::new();
    let server = start(scene.strict_server(&["https"]));
    let stranger = Authority::new("test-ca").issue(Subject::named("root"));
    let stranger = scene.write("stranger", &stranger);
    let expired = scene.write("expired", &scene.ca.issue(Subject::named("root").expired()));
    for tool in TOOLS {
        let put = secure(tool, &server, &scene.showing(&scene.client), &["put", "k", "v"]);
        assert_eq!((put.code, put.stdout.as_str()), (0, "OK\n"), "{}", put.stderr);
        let get = secure(tool, &server, &scene.showing(&scene.client), &["get", "k"]);
        assert_eq!(get.stdout, "k\nv\n");
        for (flags, error) in [
            (scene.trusting(), "tls: client didn't provide a certificate"),
            (scene.showing(&stranger), "x509: certificate signed by unknown authority"),
            (scene.showing(&expired), "x509: certificate has expired or is not yet valid"),
        ] {
            turned_away(tool, &server, &flags);
            rejected(&server, error);
        }
    }
}

#[test]
fn servers_under_another_name_or_ca_are_not_trusted() {
    let scene = Scene::new();
    let server = start(scene.server(&["https"]));
    std::fs::write(file(&scene, "other.pem"), Authority::new("test-ca").pem()).expect("a CA");
    for tool in TOOLS {
        let good = secure(tool, &server, &scene.trusting(), &["put", "k", "v"]);
        assert_eq!(good.stdout, "OK\n", "{}", good.stderr);
        turned_away(tool, &server, &[format!("--cacert={}", scene.path("other.pem"))]);
        rejected(&server, "remote error: tls: ");
    }
    // The same files, for another host.
    let other = scene.ca.issue(Subject::named("x").hosts(&["example.com"]));
    scene.write("server", &other);
    for tool in TOOLS {
        turned_away(tool, &server, &scene.trusting());
    }
}

#[test]
fn a_renewed_certificate_serves_without_a_restart_and_a_revoked_one_no_longer() {
    let scene = Scene::new();
    let crl = file(&scene, "list.crl");
    std::fs::write(&crl, scene.ca.revoke(&[])).expect("write the list");
    let builder = scene.strict_server(&["https"]);
    let server = start(builder.args([format!("--client-crl-file={}", shown(&crl))]));
    for tool in TOOLS {
        let ok = |flags: &[String]| {
            let output = secure(tool, &server, flags, &["put", "k", "v"]);
            assert_eq!(output.stdout, "OK\n", "{}", output.stderr);
        };
        ok(&scene.showing(&scene.client));
        // A new CA for the server's side: clients that trust the old one alone notice.
        let renewed = Authority::new("renewed");
        std::fs::write(file(&scene, "renewed.pem"), renewed.pem()).expect("write the CA");
        scene.write("server", &renewed.issue(server_subject()));
        turned_away(tool, &server, &scene.showing(&scene.client));
        let mut flags = scene.showing(&scene.client);
        flags[0] = format!("--cacert={}", scene.path("renewed.pem"));
        ok(&flags);
        scene.write("server", &scene.ca.issue(server_subject()));
        ok(&scene.showing(&scene.client));

        let issued = scene.ca.issue(Subject::named("thief"));
        let thief = scene.showing(&scene.write("thief", &issued));
        ok(&thief);
        std::fs::write(&crl, scene.ca.revoke(&[&issued])).expect("write the list");
        turned_away(tool, &server, &thief);
        rejected(&server, "revoked");
        ok(&scene.showing(&scene.client));
    }
}

#[test]
fn one_port_serves_plain_and_secure_clients() {
    let scene = Scene::new();
    let server = scene.strict_server(&["https", "http"]).start();
    for tool in TOOLS {
        let secret = secure(tool, &server, &scene.showing(&scene.client), &["put", "k", "secret"]);
        assert_eq!(secret.stdout, "OK\n", "{}", secret.stderr);
        assert_eq!(tool.ok(&server, &["get", "k"]), "k\nsecret\n");
        turned_away(tool, &server, &scene.trusting());
    }
    let log = server.log();
    for line in [
        "\"serving client traffic insecurely; this is strongly discouraged!\"",
        "\"serving client traffic securely\"",
        "\"scheme is http or unix while key and cert files are present; ignoring key and cert \
         files\"",
        "\"scheme is http or unix while --client-cert-auth is enabled; ignoring client cert auth \
         for this URL\"",
    ] {
        assert!(log.contains(line), "{line} is not in {log}");
    }
}

#[test]
fn plain_clients_of_a_secure_port_are_turned_away() {
    let scene = Scene::new();
    let server = start(scene.server(&["https"]));
    for tool in TOOLS {
        let output = tool.run(&server, &["--command-timeout=1s", "get", "k"]);
        assert_eq!((output.code, output.stdout.as_str()), (1, ""));
        rejected(&server, "tls: first record does not look like a TLS handshake");
    }
}

#[test]
fn watches_and_large_values_pass_through_tls() {
    let scene = Scene::new();
    let server = start(scene.server(&["https"]));
    let value = "v".repeat(1_000_000);
    for tool in TOOLS {
        let mut put = vec!["put".to_owned(), "big".to_owned()];
        put.splice(0..0, scene.trusting());
        let endpoint = format!("--endpoints=https://{}", server.client_authority());
        let mut command = tool.command(&server);
        command.env_remove("ETCDCTL_ENDPOINTS").arg(&endpoint).args(&put);
        command.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
        let mut child = command.spawn().expect("run etcdctl");
        let mut stdin = child.stdin.take().expect("piped");
        std::io::Write::write_all(&mut stdin, value.as_bytes()).expect("write the value");
        drop(stdin);
        let output = child.wait_with_output().expect("etcdctl ends");
        assert_eq!(String::from_utf8_lossy(&output.stdout), "OK\n");
        let get = secure(tool, &server, &scene.trusting(), &["get", "big", "--print-value-only"]);
        assert_eq!(get.stdout.trim_end(), value);
        let flags = scene.trusting();
        let history = ["watch", "big", "--rev=1"];
        let mut command = tool.command(&server);
        command.env_remove("ETCDCTL_ENDPOINTS").arg(&endpoint).args(&flags).args(history);
        let mut child = command.stdout(std::process::Stdio::piped()).spawn().expect("etcdctl");
        let stdout = child.stdout.take().expect("piped");
        let mut first = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut first)
            .expect("an event");
        child.kill().expect("a process of ours");
        child.wait().expect("it ends");
        assert_eq!(first, "PUT\n");
    }
}

#[test]
fn our_tool_names_a_link_with_tls_when_a_call_on_it_fails() {
    let scene = Scene::new();
    let server = start(scene.strict_server(&["https"]));
    let flags = scene.showing(&scene.client);
    let output = secure(Tool::Ours, &server, &flags, &["put", "k", "v", "--lease=123"]);
    assert!(output.stderr.contains("AuthInfo: 'tls'"), "{}", output.stderr);
    assert!(output.stderr.ends_with("Error: etcdserver: requested lease not found\n"));
}

#[test]
fn our_tool_takes_tls_from_flags_variables_and_schemes() {
    let scene = Scene::new();
    let server = start(scene.strict_server(&["https"]));
    let (cert, key) = (shown(&scene.client.cert), shown(&scene.client.key));
    let ca = scene.path("ca.pem");
    let get = |endpoint: String, flags: &[&str], variables: &[(&str, &str)]| {
        let mut command = Tool::Ours.command(&server);
        command.env("ETCDCTL_ENDPOINTS", endpoint).envs(variables.iter().copied());
        let output = command.args(flags).args(["--command-timeout=2s", "get", "none"]).output();
        output.expect("run etcdctl").status.code()
    };
    let (bare, https) =
        (server.client_authority(), format!("https://{}", server.client_authority()));
    let pair = [("ETCDCTL_CERT", cert.as_str()), ("ETCDCTL_KEY", key.as_str())];
    let all = [pair.as_slice(), &[("ETCDCTL_CACERT", ca.as_str())]].concat();
    for endpoint in [&bare, &https] {
        assert_eq!(get(endpoint.clone(), &[], &all), Some(0), "{endpoint}");
        let blind = ["--insecure-skip-tls-verify"];
        assert_eq!(get(endpoint.clone(), &blind, &pair), Some(0), "{endpoint}");
    }
    // The system's certificates do not vouch for this server, and plain text it does not speak.
    assert_eq!(get(https.clone(), &["--insecure-transport=false"], &pair), Some(1));
    assert_eq!(get(format!("http://{bare}"), &[], &all), Some(1));
    let none = format!("--cacert={}", scene.path("none"));
    assert_eq!(get(https, &[&none], &[]), Some(128));
}

#[test]
fn our_tool_reaches_unix_sockets() {
    let scene = Scene::new();
    let (plain, secret) = (file(&scene, "plain"), file(&scene, "etcd.local"));
    let pair = scene.write("server", &scene.ca.issue(Subject::named("s").hosts(&["etcd.local"])));
    assert_eq!(pair, scene.server);
    let listen =
        format!("--listen-client-urls=unix://{},unixs://{}", shown(&plain), shown(&secret));
    let server = start(scene.server(&["https"]).args([listen]));
    let run = |endpoint: String, flags: &[String], args: &[&str]| {
        let mut command = Tool::Ours.command(&server);
        let output = command.env("ETCDCTL_ENDPOINTS", endpoint).args(flags).args(args).output();
        String::from_utf8_lossy(&output.expect("run etcdctl").stdout).into_owned()
    };
    assert_eq!(run(format!("unix://{}", shown(&plain)), &[], &["put", "k", "v"]), "OK\n");
    let secret = format!("unixs://{}", shown(&secret));
    assert_eq!(run(secret, &scene.trusting(), &["get", "k"]), "k\nv\n");
}
