//! `snapshot save` and `snapshot status`.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use integration_tests::{Kind, Output, Server, Tool};
use proto::etcdserverpb as pb;
use serde_json::Value;
use snapshot::HashingWriter;
use tonic::Status;

use crate::fake::{Pieces, serve};
use crate::{NOBODY, answer, refused};

/// The notice above the output of `snapshot status`.
const MOVED: &str = "Deprecated: Use `etcdutl snapshot status` instead.\n\n";

/// Runs `snapshot save PATH` with further arguments.
fn save(tool: Tool, endpoints: &str, path: &Path, more: &[&str]) -> Output {
    let mut words = vec!["snapshot", "save", path.to_str().expect("text")];
    words.extend(more);
    tool.run_at(endpoints, &words)
}

/// The JSON lines of standard error, each with place, name of the logger and message, and the
/// line that is left.
fn log(output: &Output) -> (Vec<Value>, String) {
    let (log, rest): (Vec<&str>, Vec<&str>) =
        output.stderr.lines().partition(|line| line.starts_with('{'));
    let log = log.iter().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    (log, rest.join("\n"))
}

fn part_of(path: &Path) -> std::path::PathBuf {
    path.with_extension("db.part")
}

#[test]
fn a_real_store_is_saved_and_both_tools_agree_on_the_backup() {
    let dir = tempfile::tempdir().expect("a folder");
    let server = Server::builder(Kind::Reference, dir.path()).start();
    for (key, byte) in [("a", b'1'), ("b", b'2'), ("c", b'3')] {
        let value = vec![byte; 300_000];
        let put = Tool::Ours.run_with_input(&server, &["put", key], &value);
        assert_eq!(put.stdout, "OK\n", "{}", put.stderr);
    }
    let endpoint = server.client_authority();
    let path = dir.path().join("ours.db");
    // What was there before is replaced.
    std::fs::write(&path, "old").expect("a file");
    let shown = path.display();

    let saved = save(Tool::Ours, &endpoint, &path, &["-w", "json"]);
    assert_eq!((saved.code, saved.stdout.as_str()), (0, &*format!("Snapshot saved at {shown}\n")));
    let (log, rest) = log(&saved);
    assert_eq!(rest, "");
    let found = std::fs::metadata(&path).expect("saved");
    assert_eq!((found.mode() & 0o7777, found.len() % 512), (0o600, 32));
    assert!(found.len() > 900_000 && !part_of(&path).exists());
    let size = base::text::humanize_bytes(found.len());
    let lines: Vec<[&str; 6]> = log.iter().map(summary).collect();
    let part = part_of(&path);
    let (part, whole) = (part.to_str().expect("text"), path.to_str().expect("text"));
    assert_eq!(
        lines,
        [
            ["", "snapshot/v3_snapshot.go:83", "created temporary db file", part, "", ""],
            ["client", "v3/maintenance.go:236", "opened snapshot stream; downloading", "", "", ""],
            ["", "snapshot/v3_snapshot.go:96", "fetching snapshot", "", &endpoint, ""],
            ["client", "v3/maintenance.go:302", "completed snapshot read; closing", "", "", ""],
            ["", "snapshot/v3_snapshot.go:111", "fetched snapshot", "", &endpoint, &size],
            ["", "snapshot/v3_snapshot.go:121", "saved", whole, "", ""],
        ]
    );
    assert!(log[4]["took"].as_str().is_some_and(|took| took.ends_with('s')), "{}", log[4]);

    // The real tool reads it, finds its hash right, and in it what it finds in its own.
    let theirs = dir.path().join("theirs.db");
    assert_eq!(save(Tool::Reference, &endpoint, &theirs, &[]).code, 0);
    for format in ["simple", "fields", "json", "table"] {
        let [a, b, c] = [(Tool::Ours, &path), (Tool::Ours, &theirs), (Tool::Reference, &path)].map(
            |(tool, path)| {
                answer(tool, "", &format!("snapshot status {} -w {format}", path.display()))
            },
        );
        assert_eq!((a.0, a.2.as_str()), (0, MOVED));
        assert_eq!(a, b);
        assert_eq!((a.0, a.1), (c.0, c.1));
    }
    let restored = dir.path().join("restored");
    let line = format!("snapshot restore {whole} --data-dir {}", restored.display());
    let (code, _, stderr) = answer(Tool::Reference, "", &line);
    assert_eq!(code, 0, "{stderr}");
}

/// Logger, place, message, path, endpoint and size of a line.
fn summary(line: &Value) -> [&str; 6] {
    assert_eq!(line["level"], "info");
    assert!(line["ts"].as_str().is_some_and(|ts| ts.ends_with('Z')), "{line}");
    ["logger", "caller", "msg", "path", "endpoint", "size"]
        .map(|name| line[name].as_str().unwrap_or_default())
}

/// A store of `pages` times 512 bytes as the server streams it.
fn pieces(pages: usize) -> Vec<pb::SnapshotResponse> {
    use std::io::Write;
    let mut out = HashingWriter::new(Vec::new());
    for page in 0..pages {
        out.write_all(&[u8::try_from(page % 251).expect("small"); 512]).expect("memory");
    }
    let image = out.finish_with_trailer().expect("memory");
    let (data, hash) = image.split_at(image.len() - 32);
    let mut left = data.len() as u64;
    let blobs = data.chunks(32_768).chain([hash]);
    blobs
        .map(|blob| {
            left -= (blob.len() as u64).min(left);
            pb::SnapshotResponse {
                header: None,
                remaining_bytes: left,
                blob: blob.to_vec().into(),
                version: "3.7.0".to_owned(),
            }
        })
        .collect()
}

fn all_well(pieces: Vec<pb::SnapshotResponse>) -> Pieces {
    pieces.into_iter().map(Ok).collect()
}

#[test]
fn the_version_of_the_store_is_told_when_the_server_knows_it() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("s.db");
    // What a run that was killed left behind does no harm.
    std::fs::write(part_of(&path), "x".repeat(200_000)).expect("a file");
    let saved = save(Tool::Ours, &serve(all_well(pieces(200))), &path, &[]);
    let stdout = format!("Snapshot saved at {}\nServer version 3.7.0\n", path.display());
    assert_eq!((saved.code, &saved.stdout), (0, &stdout));
    assert_eq!(log(&saved).0[4]["etcd-version"], "3.7.0");
    let blobs: Vec<u8> = pieces(200).into_iter().flat_map(|piece| piece.blob).collect();
    assert!(std::fs::read(&path).expect("saved") == blobs, "other bytes were written");
}

#[test]
fn a_backup_that_breaks_off_or_is_damaged_is_not_kept() {
    let whole = pieces(200);
    let mut cut = all_well(whole.clone());
    cut.truncate(2);
    let mut broken = cut.clone();
    broken.push(Err(Status::unknown("mvcc: the store has gone")));
    let mut damaged = whole.clone();
    damaged[1].blob = vec![7; damaged[1].blob.len()].into();
    for (pieces, text) in [
        (Vec::new(), "sha256 checksum not found [bytes: 0]"),
        (cut, "sha256 checksum not found [bytes: 65536]"),
        (broken, "rpc error: code = Unknown desc = mvcc: the store has gone"),
        (all_well(damaged), "expected sha256 ["),
        (
            vec![Err(Status::permission_denied("etcdserver: permission denied"))],
            "etcdserver: permission denied",
        ),
    ] {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("s.db");
        std::fs::write(&path, "the backup of yesterday").expect("a file");
        let output = save(Tool::Ours, &serve(pieces), &path, &[]);
        let (_, rest) = log(&output);
        assert_eq!((output.code, output.stdout.as_str()), (5, ""), "{text}");
        assert!(rest.starts_with(&format!("Error: {text}")), "{rest}");
        assert!(!part_of(&path).exists(), "{text}: a part is left");
        assert_eq!(std::fs::read(&path).expect("kept"), b"the backup of yesterday");
    }
}

#[test]
fn saving_wants_one_file_that_can_be_written_and_one_server_that_answers() {
    let dir = tempfile::tempdir().expect("a folder");
    let folder = dir.path().join("folder");
    std::fs::create_dir(&folder).expect("a folder");
    // Nothing can be written here.
    let full = dir.path().join("full.db");
    std::os::unix::fs::symlink("/dev/full", part_of(&full)).expect("a link");
    let (shown, full) = (folder.display().to_string(), full.display().to_string());
    let server = serve(all_well(pieces(8)));
    let one_file = "snapshot save expects one argument <filename>";
    let dialling = format!(
        "rpc error: code = Unavailable desc = connection error: desc = \"transport: Error while \
         dialing: dial tcp {NOBODY}: connect: connection refused\""
    );
    let several = format!("{server},b:1");
    let absent = dir.path().join("absent/s.db.part").display().to_string();
    let in_absent = dir.path().join("absent/s.db").display().to_string();
    let target = dir.path().join("s.db").display().to_string();
    for (endpoints, line, code, text) in [
        (&*server, "snapshot save".to_owned(), 128, one_file.to_owned()),
        (&server, "snapshot save a b".to_owned(), 128, one_file.to_owned()),
        (
            &server,
            format!("snapshot save {target} -w bogus"),
            4,
            "unsupported output format".into(),
        ),
        (
            &several,
            format!("snapshot save {target}"),
            5,
            format!("snapshot must be requested to one selected node, not multiple [{server} b:1]"),
        ),
        (
            &server,
            format!("snapshot save {in_absent}"),
            5,
            format!("could not open {absent} (open {absent}: no such file or directory)"),
        ),
        (
            &server,
            format!("snapshot save {shown}"),
            5,
            format!(
                "could not rename {shown}.part to {shown} (rename {shown}.part {shown}: file exists)"
            ),
        ),
        (
            &server,
            format!("snapshot save {full}"),
            5,
            format!("write {full}.part: no space left on device"),
        ),
        (NOBODY, format!("snapshot save {target} --dial-timeout 300ms"), 5, dialling),
        (
            NOBODY,
            format!("snapshot save {target} --command-timeout 300ms"),
            5,
            "context deadline exceeded".to_owned(),
        ),
    ] {
        assert_eq!(answer(Tool::Ours, endpoints, &line), refused(code, &text), "{line}");
    }
    let mut left: Vec<_> = std::fs::read_dir(dir.path())
        .expect("the folder")
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    left.sort_unstable();
    assert_eq!(left, ["folder"]);
}

#[test]
fn status_refuses_what_is_no_backup() {
    let dir = tempfile::tempdir().expect("a folder");
    let text = dir.path().join("text");
    std::fs::write(&text, "x".repeat(20_000)).expect("a file");
    let (folder, text) = (dir.path().display().to_string(), text.display().to_string());
    let one = "snapshot status requires exactly one argument";
    for (line, code, reason) in [
        ("snapshot status".to_owned(), 128, one.to_owned()),
        ("snapshot status a b".to_owned(), 128, one.to_owned()),
        (
            "snapshot status /no/file".to_owned(),
            1,
            "stat /no/file: no such file or directory".to_owned(),
        ),
        (format!("snapshot status {folder}"), 1, format!("open {folder}: is a directory")),
        (format!("snapshot status {text}"), 1, "invalid database".to_owned()),
    ] {
        let (found, stdout, stderr) = answer(Tool::Ours, "", &line);
        assert_eq!((found, stdout.as_str()), (code, ""), "{line}");
        assert_eq!(stderr, format!("{MOVED}Error: {reason}\n"));
        let theirs = answer(Tool::Reference, "", &line);
        assert_eq!(theirs, refused(code, &reason), "{line}");
    }
}
