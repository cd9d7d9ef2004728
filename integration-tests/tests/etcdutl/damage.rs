//! Damaged backups under the tools that operators run, with little memory and little time. The
//! reader's own tests flip and cut at every place there is; here some of them meet the processes.

use std::fs;
use std::path::Path;
use std::process::Command;

use integration_tests::{Output, Rng, Tool, our_binary, seed};

use crate::{backup_of, in_time, recorded, text};

/// Damaged files of each kind.
const FILES: u64 = 60;
/// What a process may map, in bytes: RocksDB and the libraries take most of it.
const ADDRESS_SPACE_BYTES: &str = "--as=1500000000";

/// Runs a program in bounded memory and time.
fn bounded(program: &Path, args: &[&str]) -> Output {
    let mut command = Command::new("prlimit");
    command.arg(ADDRESS_SPACE_BYTES).arg(program).args(args);
    in_time(command)
}

/// Demands an end that was meant: success, or one error in words.
fn meant(output: &Output, what: &str) -> bool {
    let last = output.stderr.trim_end().lines().last().unwrap_or_default();
    match output.code {
        0 => true,
        1 => {
            assert!(output.stderr.contains("Error: "), "{what}: {output:?}");
            assert!(!output.stderr.contains("panicked"), "{what}: {output:?}");
            assert!(!last.is_empty(), "{what}: {output:?}");
            false
        }
        _ => panic!("{what}: {output:?}"),
    }
}

/// A backup of what a restore has to read, and everything that can be done with it.
struct Bench<'a> {
    dir: &'a Path,
    path: std::path::PathBuf,
}

impl Bench<'_> {
    fn status(&self, what: &str) -> bool {
        let path = text(&self.path);
        let looked = bounded(&our_binary("etcdutl"), &["snapshot", "status", path]);
        let by_ctl = bounded(&Tool::Ours.path(), &["snapshot", "status", path]);
        assert_eq!(looked.code, by_ctl.code, "{what}: {looked:?} {by_ctl:?}");
        meant(&looked, what)
    }

    /// Restores; what fails leaves nothing, what does not holds what the file has.
    fn restore(&self, more: &[&str], what: &str) -> bool {
        let (data, path) = (self.dir.join("data"), text(&self.path));
        let args = [&["snapshot", "restore", path, "--data-dir", text(&data)], more].concat();
        let restored = meant(&bounded(&our_binary("etcdutl"), &args), what);
        assert_eq!(data.exists(), restored, "{what}");
        if restored {
            let of = |path: &Path| bounded(&our_binary("etcdutl"), &["hashkv", text(path)]);
            let (of_file, of_data) = (of(&self.path), of(&data.join("member/snap/db")));
            assert_eq!(of_file, of_data, "{what}");
            fs::remove_dir_all(&data).expect("remove");
        }
        restored
    }
}

#[test]
fn damaged_backups_are_refused_in_words_or_harmless() {
    let dir = tempfile::tempdir().expect("a folder");
    let (mut rng, file) = (Rng::new(seed()), recorded::snapshot("etcd-3.7.1", dir.path()));
    let whole = fs::read(&file).expect("read");
    let bench = Bench { dir: dir.path(), path: dir.path().join("damaged.db") };
    let length = u64::try_from(whole.len()).expect("small");
    let at = |rng: &mut Rng| usize::try_from(rng.below(length)).expect("small");
    let (mut noticed, mut loaded) = (0, 0);
    for number in 0..FILES {
        let mut damaged = whole.clone();
        let place = at(&mut rng);
        // Half of them where pages have their heads, where damage does most.
        let place = if number % 2 == 0 { place } else { place / 4096 * 4096 + place % 64 };
        damaged[place] ^= 1 << (number % 8);
        fs::write(&bench.path, &damaged).expect("write");
        let what = format!("a flip at byte {place}");
        noticed += u64::from(!bench.status(&what));
        assert!(!bench.restore(&[], &what), "{what} is not noticed");
        loaded += u64::from(bench.restore(&["--skip-hash-check"], &what));
    }
    assert!(noticed > 0 && loaded > 0, "{noticed} noticed, {loaded} loaded");
    for _ in 0..FILES {
        let end = at(&mut rng);
        fs::write(&bench.path, &whole[..end]).expect("write");
        let what = format!("{end} of {length} bytes");
        // What is cut is the hash, which a look does not need.
        let pages = end + 32 >= whole.len();
        assert_eq!(bench.status(&what), pages, "{what}");
        assert!(!bench.restore(&[], &what), "{what}");
        assert_eq!(bench.restore(&["--skip-hash-check"], &what), pages, "{what}");
    }
    fs::write(&bench.path, &whole).expect("write");
    assert!(bench.status("the whole") && bench.restore(&[], "the whole"));
}

#[test]
fn a_damaged_backup_is_refused_with_the_place() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = recorded::snapshot("etcd-3.7.1", dir.path());
    let mut bytes = fs::read(&file).expect("read");
    bytes[4 * 4096 + 8] = 0xff;
    fs::write(&file, backup_of(&bytes[..bytes.len() - 32])).expect("write");
    let (data, utl) = (dir.path().join("data"), our_binary("etcdutl"));
    let args = ["snapshot", "restore", text(&file), "--data-dir", text(&data)];
    let refused = bounded(&utl, &args);
    let last = refused.stderr.lines().last().unwrap_or_default().to_owned();
    let start = format!("Error: snapshot file {} is damaged: ", text(&file));
    assert!(
        last.starts_with(&start) && last.ends_with(&format!("(byte {})", 4 * 4096 + 8)),
        "{last}"
    );
    assert!(!data.exists());
}
