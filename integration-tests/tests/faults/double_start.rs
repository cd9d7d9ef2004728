//! Two servers and one data dir.

use std::time::Duration;

use integration_tests::{Kind, Server, observe, put, seed};

use crate::{skipped, target};

/// D-17: the second ends with a clear text, the first goes on.
#[test]
fn a_second_server_on_a_data_dir_is_refused() {
    seed();
    if target() == Kind::Reference {
        return skipped("D-17", "etcd waits for the lock for ever");
    }
    let (dir, other) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("one"));
    let first = Server::builder(target(), dir.path()).start();
    let before = put(&first.client_authority(), "k", "before").expect("put");
    let second = Server::builder(target(), other.path()).data_dir(first.data_dir());
    let mut second = second.spawn();
    let status = second.wait(Duration::from_secs(20));
    assert_eq!(status.code(), Some(1), "{}", second.log());
    let log = second.log();
    let data_dir = first.data_dir().to_str().expect("plain");
    assert!(log.contains(data_dir), "the log does not name the data dir: {log}");
    assert!(log.contains("another"), "the log does not say that another process is there: {log}");
    let after = put(&first.client_authority(), "k", "after").expect("the first goes on");
    assert_eq!(after, before + 1);
    let authority = first.client_authority();
    assert_eq!(observe(&authority).revision, after);
}
