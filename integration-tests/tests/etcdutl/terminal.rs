//! Who runs a long command on a terminal sees how far it is; elsewhere there are lines only.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use integration_tests::{Kind, Server, Tool, our_binary};

use crate::made::{backup, member};
use crate::{succeeds, text};

/// What a command writes that takes its output for a terminal.
fn on_a_terminal(program: &Path, args: &[&str]) -> String {
    let line = [&[text(program)], args].concat().join(" ");
    let mut script = Command::new("script");
    script.args(["--quiet", "--return", "--command", &line, "/dev/null"]);
    let output = script.stdin(Stdio::null()).output().expect("run script");
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{line}: {stdout}");
    stdout
}

/// A bar is drawn over again and gone at the end.
fn has_bar(shown: &str, mark: &str) {
    let erase = "\u{1b}[2K";
    assert!(shown.contains(mark) && shown.contains(erase), "no {mark:?} in {shown:?}");
    let last = shown.rsplit(erase).next().expect("the rest");
    assert!(!last.contains(mark), "{mark:?} is left of {shown:?}");
}

#[test]
fn long_work_shows_on_a_terminal_how_far_it_is() {
    let dir = tempfile::tempdir().expect("a folder");
    let utl = our_binary("etcdutl");
    let (file, from) = (backup(dir.path()), member(dir.path()));
    let [restored, ours, theirs] = ["restored", "ours", "theirs"].map(|name| dir.path().join(name));
    let import = ["import", "--from-data-dir", text(&from), "--data-dir", text(&ours)];
    let export = ["export", "--data-dir", text(&ours), "--to-data-dir", text(&theirs)];
    let restore = ["snapshot", "restore", text(&file), "--data-dir", text(&restored)];
    let status = ["snapshot", "status", text(&file)];
    for (args, mark) in [
        (&restore[..], "restoring "),
        (&import, "importing "),
        (&export, "exporting "),
        (&status, "reading "),
        (&["hashkv", text(&file)], "reading "),
    ] {
        has_bar(&on_a_terminal(&utl, args), mark);
    }
    fs::remove_dir_all(&ours).expect("remove");
    let stderr = succeeds(&import);
    assert!(!stderr.contains(['\u{1b}', '\r']), "{stderr:?}");

    let server = Server::builder(Kind::Ours, dir.path()).data_dir(&restored).start();
    let endpoints = format!("--endpoints={}", server.client_authority());
    let saved = dir.path().join("saved.db");
    let args = ["snapshot", "save", text(&saved), &endpoints];
    has_bar(&on_a_terminal(&Tool::Ours.path(), &args), " MB / ");
}
