use super::*;

fn target(root: &Path, wal_dir: &str) -> Target {
    let wal_dir = if wal_dir.is_empty() { PathBuf::new() } else { root.join(wal_dir) };
    Target::new(&root.join("a").join("data"), &wal_dir)
}

fn fill(aside: &Aside) {
    fs::create_dir(aside.snap_dir().join("db")).expect("backend");
    fs::create_dir(aside.wal_dir()).expect("log");
    fs::write(aside.wal_dir().join("segment"), "log").expect("segment");
}

fn refused(target: &Target) -> String {
    target.check_absent().expect_err("refused").to_string()
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).expect("list").flatten();
    let mut names: Vec<_> = entries.map(|e| e.file_name().into_string().expect("text")).collect();
    names.sort();
    names
}

#[test]
fn a_member_appears_with_its_log() {
    use std::os::unix::fs::PermissionsExt as _;
    let root = tempfile::tempdir().expect("directory");
    let target = target(root.path(), "");
    target.check_absent().expect("nothing there");
    let aside = Aside::begin(target.clone()).expect("begin");
    fill(&aside);
    assert_eq!(names(&target.data_dir), ["member.restoring"]);
    aside.commit().expect("commit");
    assert_eq!(names(&target.data_dir), ["member"]);
    assert_eq!(names(&target.data_dir.join("member")), ["snap", "wal"]);
    assert_eq!(fs::read(target.wal_dir.join("segment")).expect("segment"), b"log");
    for dir in [target.data_dir.clone(), target.snap_dir()] {
        assert_eq!(fs::metadata(dir).expect("folder").permissions().mode() & 0o777, 0o700);
    }
    let data_dir = target.data_dir.display();
    assert_eq!(refused(&target), format!("data-dir \"{data_dir}\" not empty or could not be read"));
}

#[test]
fn a_log_elsewhere_appears_last() {
    let root = tempfile::tempdir().expect("directory");
    let target = target(root.path(), "logs/wal/");
    let aside = Aside::begin(target.clone()).expect("begin");
    fill(&aside);
    aside.commit().expect("commit");
    assert_eq!(names(&target.data_dir.join("member")), ["snap"]);
    assert_eq!(names(&root.path().join("logs")), ["wal"]);
    assert_eq!(names(&target.wal_dir), ["segment"]);

    fs::remove_dir_all(&target.data_dir).expect("remove");
    assert_eq!(refused(&target), format!("wal-dir \"{}\" exists", target.wal_dir.display()));
}

#[test]
fn what_is_dropped_leaves_nothing_behind() {
    let root = tempfile::tempdir().expect("directory");
    for wal_dir in ["", "wal"] {
        let aside = Aside::begin(target(root.path(), wal_dir)).expect("begin");
        fill(&aside);
        drop(aside);
        assert_eq!(names(root.path()), [""; 0], "{wal_dir:?}");
    }
    // An empty folder that was there stays.
    let target = target(root.path(), "");
    fs::create_dir_all(&target.data_dir).expect("folder");
    drop(Aside::begin(target.clone()).expect("begin"));
    assert_eq!(names(&target.data_dir), [""; 0]);
}

#[test]
fn leftovers_are_replaced_at_every_stage_and_nothing_else_is() {
    let root = tempfile::tempdir().expect("directory");
    for wal_dir in ["", "wal"] {
        let target = target(root.path(), wal_dir);
        let member = target.member();
        fs::create_dir_all(target.member_aside().join("snap/db")).expect("leftover");
        if !wal_dir.is_empty() {
            // Between the two renames.
            fs::remove_dir_all(target.member_aside()).expect("remove");
            fs::create_dir_all(member.join("snap/db")).expect("leftover");
            fs::create_dir(target.wal_aside()).expect("leftover");
            fs::write(member.join(PENDING), target.wal_dir.as_os_str().as_bytes()).expect("note");
        }
        target.check_absent().expect("only leftovers");
        let aside = Aside::begin(target.clone()).expect("begin");
        assert_eq!(names(&target.data_dir), ["member.restoring"]);
        fill(&aside);
        aside.commit().expect("commit");
        assert!(target.check_absent().is_err());
        fs::remove_dir_all(root.path().join("a")).expect("remove");
    }
    let target = target(root.path(), "");
    for other in ["member", "member.restoring.x", "file"] {
        fs::create_dir_all(target.data_dir.join(other)).expect("something else");
        assert!(target.check_absent().is_err(), "{other}");
        assert!(Aside::begin(target.clone()).is_err(), "{other}");
        assert_eq!(names(&target.data_dir), [other]);
        fs::remove_dir_all(&target.data_dir).expect("remove");
    }
}

#[test]
fn a_member_whose_log_came_is_whole() {
    // The process ended before it could remove its note.
    let root = tempfile::tempdir().expect("directory");
    let target = target(root.path(), "wal");
    fs::create_dir_all(target.member().join("snap/db")).expect("member");
    fs::create_dir(&target.wal_dir).expect("log");
    fs::write(target.member().join(PENDING), target.wal_dir.as_os_str().as_bytes()).expect("note");
    assert!(target.check_absent().is_err());
    // Not even when somebody moves the log away later.
    fs::remove_dir(&target.wal_dir).expect("log");
    assert!(target.check_absent().is_err());
}

#[test]
fn two_at_the_same_do_not_meet() {
    let root = tempfile::tempdir().expect("directory");
    let first = Aside::begin(target(root.path(), "")).expect("begin");
    fill(&first);
    let second = Aside::begin(target(root.path(), "")).expect_err("held").to_string();
    assert!(second.ends_with("is being made already"), "{second}");
    first.commit().expect("the first is not hurt");
}
