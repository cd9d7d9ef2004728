//! `migrate`: the version of the schema, up or down one minor version at a time.
//!
//! The schemas of 3.5, 3.6 and 3.7 differ in one row only, which names the version and which 3.5
//! does not have.

use std::path::Path;
use std::time::Duration;

use apply::Standing;
use backend::{Backend, Rows as _};
use base::schema::{Bucket, STORAGE_VERSION};
use base::version::{SERVER, Version};

use super::open;
use crate::failure::Failure;
use crate::log::{self, Field};
use crate::needs;

/// The oldest version there is a way to.
const MIN: Version = Version::new(3, 5, 0);
/// The first version that stores its name.
const FIRST_NAMED: Version = Version::new(3, 6, 0);

/// Runs the command.
///
/// # Errors
/// When the target is not a version we know a way to, and `force` is not set.
pub(super) fn run(
    data_dir: &Path,
    target: &str,
    force: bool,
    timeout: Duration,
) -> Result<(), Failure> {
    let target = parse_target(target)?;
    let member = data_dir.join("member");
    let backend = open(&member.join("snap").join("db"), timeout)?;
    let migrated = migrate(&backend, &member.join("wal"), target);
    match migrated {
        Err(failure) if force => {
            log::info("normal migrate failed, trying with force", &[error_field(&failure)]);
            set(&backend, target)?;
            let shown = ("storage-version", Field::Text(short(target)));
            match target >= FIRST_NAMED {
                true => log::warn("forcefully set storage version", &[shown]),
                false => log::warn("forcefully cleared storage version", &[]),
            }
            Ok(())
        }
        done => done,
    }
}

fn error_field(failure: &Failure) -> (&'static str, Field) {
    ("error", Field::Text(failure.to_string()))
}

/// `X.Y`, from 3.5 on.
fn parse_target(text: &str) -> Result<Version, Failure> {
    let refuse = |text: String| Err(Failure::Arguments(text));
    let parts: Vec<&str> = text.split('.').collect();
    let [major, minor] = parts.as_slice() else {
        let shown = base::text::quote(text.as_bytes());
        return refuse(format!("wrong target version format, expected \"X.Y\", got {shown}"));
    };
    let mut numbers = [0u32; 2];
    for (number, part) in numbers.iter_mut().zip([major, minor]) {
        *number = match part.parse() {
            Ok(number) => number,
            Err(_) => {
                let part = base::text::quote(part.as_bytes());
                let reason = format!("strconv.ParseInt: parsing {part}: invalid syntax");
                return refuse(format!("failed to parse target version: {reason}"));
            }
        };
    }
    let target = Version::new(numbers[0], numbers[1], 0);
    match target < MIN {
        true => {
            refuse(format!("target version \"{}\" not supported. Minimal \"3.5\"", short(target)))
        }
        false => Ok(target),
    }
}

fn short(version: Version) -> String {
    format!("{}.{}", version.major, version.minor)
}

fn migrate(backend: &Backend, wal_dir: &Path, target: Version) -> Result<(), Failure> {
    let current = detect(backend).inspect_err(|failure| {
        let text = "failed to detect storage version. Please make sure you are using data dir \
                    from etcd v3.5 and older";
        log::warn(text, &[error_field(failure)]);
    })?;
    if current == target {
        let shown = Field::Text(short(target));
        log::info("storage version up-to-date", &[("storage-version", shown)]);
        return Ok(());
    }
    check_supported(current)?;
    check_supported(target)?;
    if target < current {
        let needed = needs::version_of_log(wal_dir)?;
        if target < needed {
            return Err(Failure::Refused(format!(
                "cannot downgrade storage, WAL contains newer entries, as the target version \
                 ({target}) is lower than the version ({needed}) detected from WAL logs"
            )));
        }
    }
    let mut at = current;
    while at != target {
        at.minor = if target > at { at.minor + 1 } else { at.minor - 1 };
        set(backend, at)?;
        let shown = Field::Text(at.to_string());
        log::info("updated storage version", &[("new-storage-version", shown)]);
    }
    Ok(())
}

/// There is a way between the versions of one major version, up to ours.
fn check_supported(version: Version) -> Result<(), Failure> {
    let ours: Version = SERVER.parse().expect("our version is one");
    if (MIN..=ours.to_minor()).contains(&version) {
        return Ok(());
    }
    let reason = match version.major == ours.major && version.minor > ours.minor {
        // The first step that is not there is what is missing.
        true => format!("version \"{}.{}.0\" is not supported", ours.major, ours.minor + 1),
        false => "changing major storage version is not supported".to_owned(),
    };
    Err(Failure::Refused(format!("cannot create migration plan: {reason}")))
}

/// The version of the schema that is there.
fn detect(backend: &Backend) -> Result<Version, Failure> {
    if let Some(stored) = backend.get(Bucket::Meta, STORAGE_VERSION)? {
        let text = String::from_utf8_lossy(&stored).into_owned();
        return text.parse().map_err(|error: base::Error| Failure::Refused(error.to_string()));
    }
    match Standing::read(backend)?.term {
        0 => Err(Failure::Refused("missing term information".to_owned())),
        _ => Ok(MIN),
    }
}

/// Stores the version, or removes it where it has no place.
fn set(backend: &Backend, version: Version) -> Result<(), Failure> {
    let mut batch = backend.batch();
    match version >= FIRST_NAMED {
        true => batch.put(Bucket::Meta, STORAGE_VERSION, version.to_string().as_bytes()),
        false => batch.delete(Bucket::Meta, STORAGE_VERSION),
    }
    backend.write(batch)?;
    Ok(backend.flush()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_read_in_etcds_words() {
        assert_eq!(parse_target("3.6").expect("a version"), Version::new(3, 6, 0));
        for (text, refusal) in [
            ("3", "wrong target version format, expected \"X.Y\", got \"3\""),
            ("3.6.0", "wrong target version format, expected \"X.Y\", got \"3.6.0\""),
            (
                "a.6",
                "failed to parse target version: strconv.ParseInt: parsing \"a\": \
                     invalid syntax",
            ),
            ("3.4", "target version \"3.4\" not supported. Minimal \"3.5\""),
        ] {
            let failure = parse_target(text).expect_err(text);
            assert_eq!((failure.to_string().as_str(), failure.code()), (refusal, 128));
        }
    }

    #[test]
    fn there_is_a_way_to_what_we_know() {
        assert!(check_supported(Version::new(3, 5, 0)).is_ok());
        assert!(check_supported(Version::new(3, 7, 0)).is_ok());
        for later in [8, 9] {
            let failure = check_supported(Version::new(3, later, 0)).expect_err("later");
            let text = "cannot create migration plan: version \"3.8.0\" is not supported";
            assert_eq!(failure.to_string(), text);
        }
        assert!(check_supported(Version::new(4, 0, 0)).is_err());
    }
}
