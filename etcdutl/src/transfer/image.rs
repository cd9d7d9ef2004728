//! The rows of a member as the bbolt file of an etcd of some version.

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;

use apply::Standing;
use backend::Backend;
use base::schema::{self, Bucket};
use base::version::Version;
use snapshot::FileWriter;

use crate::failure::Failure;
use crate::progress::Progress;

/// Pages gathered before they are written.
const BUFFER_BYTES: usize = 1 << 20;

/// What becomes of a row.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    Kept,
    Replaced(String),
    Left,
}

/// The version of a cluster that an etcd of version `target` can be a member of.
pub(super) fn cluster_version(standing: &Standing, target: Version) -> Option<Version> {
    standing.cluster.version.map(|version| version.min(target))
}

/// What an etcd of version `target` makes of a row.
fn fate(bucket: Bucket, key: &[u8], standing: &Standing, target: Version) -> Fate {
    match (bucket, key) {
        (Bucket::Cluster, schema::CLUSTER_VERSION) => match cluster_version(standing, target) {
            Some(version) => Fate::Replaced(version.to_string()),
            None => Fate::Kept,
        },
        (Bucket::Meta, schema::STORAGE_VERSION) if target.minor >= 6 => {
            Fate::Replaced(target.to_string())
        }
        (Bucket::Meta, schema::STORAGE_VERSION) => Fate::Left,
        (Bucket::Meta, schema::TERM | schema::CONF_STATE)
        | (Bucket::Cluster, schema::DOWNGRADE)
            if target.minor < 5 =>
        {
            Fate::Left
        }
        _ => Fate::Kept,
    }
}

/// Writes the file, durably but for its name.
pub(super) fn write(
    backend: &Backend,
    standing: &Standing,
    target: Version,
    path: &Path,
) -> Result<(), Failure> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let made = File::options().write(true).create_new(true).mode(0o600).open(path);
    let file = made.map_err(Failure::io("open", path))?;
    let writer = FileWriter::new(BufWriter::with_capacity(BUFFER_BYTES, file))?;
    let mut made = (writer, Progress::new("exporting", backend.allocated_bytes()));
    backend::image::visit(
        &backend.view(),
        &mut made,
        |(writer, _), name| writer.bucket(name),
        |(writer, progress), bucket, key, value| {
            progress.add(key.len() + value.len());
            match fate(bucket, key, standing, target) {
                Fate::Kept => writer.row(key, value),
                Fate::Replaced(value) => writer.row(key, value.as_bytes()),
                Fate::Left => Ok(()),
            }
        },
    )?;
    let (writer, _) = made;
    let file = writer.finish()?.into_inner();
    let file = file.map_err(|error| Failure::io("write", path)(error.into_error()))?;
    file.sync_all().map_err(Failure::io("sync", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_name_versions_are_those_of_the_target() {
        let mut standing = Standing::default();
        standing.cluster.version = Some(Version::new(3, 7, 0));
        let of =
            |bucket, key: &[u8], minor| fate(bucket, key, &standing, Version::new(3, minor, 0));
        let replaced = |text: &str| Fate::Replaced(text.to_owned());
        let cluster = |minor| of(Bucket::Cluster, schema::CLUSTER_VERSION, minor);
        assert_eq!((cluster(4), cluster(7)), (replaced("3.4.0"), replaced("3.7.0")));
        let storage = |minor| of(Bucket::Meta, schema::STORAGE_VERSION, minor);
        assert_eq!((storage(5), storage(6)), (Fate::Left, replaced("3.6.0")));
        let term = |minor| of(Bucket::Meta, schema::TERM, minor);
        assert_eq!((term(4), term(5)), (Fate::Left, Fate::Kept));
        assert_eq!(of(Bucket::Key, schema::TERM, 4), Fate::Kept);
        standing.cluster.version = Some(Version::new(3, 4, 0));
        assert_eq!(
            fate(Bucket::Cluster, schema::CLUSTER_VERSION, &standing, Version::new(3, 7, 0)),
            replaced("3.4.0")
        );
    }
}
