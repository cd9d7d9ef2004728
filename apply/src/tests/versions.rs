//! The cluster version, the storage version that follows it, and the downgrade job.

use base::schema::{self, Bucket};
use base::version::Version;
use proto::etcdserverpb::DowngradeVersionTestRequest;
use proto::membershippb::{ClusterVersionSetRequest, DowngradeInfoSetRequest};
use proto::request::{Kind, encode};

use super::Rig;
use crate::{DowngradeInfo, Effect, EntryKind, Error, Reply};

fn set(rig: &mut Rig, ver: &str) -> Vec<Effect> {
    rig.apply(Kind::ClusterVersionSet, &ClusterVersionSetRequest { ver: ver.into() }).effects
}

fn row<'a>(rig: &'a Rig, bucket: Bucket, key: &[u8]) -> Option<&'a [u8]> {
    rig.model.rows.get(&(bucket, key.to_vec())).map(|value| &value[..])
}

#[test]
fn the_storage_version_follows_the_cluster_version() {
    let mut rig = Rig::new();
    let mut before = None;
    for (ver, storage) in [
        ("3.0.0", None),
        ("3.5.0", None),
        ("3.6.0", Some(&b"3.6.0"[..])),
        ("3.7.0", Some(b"3.7.0")),
        ("3.6.0", Some(b"3.6.0")),
        ("3.5.0", None),
    ] {
        let effects = set(&mut rig, ver);
        let version: Version = ver.parse().expect("a version");
        assert_eq!(effects, [Effect::ClusterVersionSet { version, before }]);
        before = Some(version);
        assert_eq!(rig.state.cluster.read().version, Some(version));
        let stored = row(&rig, Bucket::Cluster, schema::CLUSTER_VERSION);
        assert_eq!(stored, Some(ver.as_bytes()));
        assert_eq!(row(&rig, Bucket::Meta, schema::STORAGE_VERSION), storage, "{ver}");
    }
}

#[test]
fn a_version_above_our_own_or_of_nonsense_stops_the_member() {
    for ver in ["3.8.0", "4.0.0", "", "new"] {
        let mut rig = Rig::new();
        let request = ClusterVersionSetRequest { ver: ver.into() };
        let data = encode(Kind::ClusterVersionSet, &request, &Default::default());
        let error = rig.apply_entry(EntryKind::Normal, data).expect_err("it cannot go on");
        let too_new = matches!(error, Error::ClusterVersionTooNew { .. });
        assert_eq!(too_new, ver.contains('.'), "{error}");
    }
}

#[test]
fn a_downgrade_job_is_stored_and_cleared() {
    let mut rig = Rig::new();
    let begin = DowngradeInfoSetRequest { enabled: true, ver: "3.6.0".into() };
    let applied = rig.apply(Kind::DowngradeInfoSet, &begin);
    let info = DowngradeInfo { target_version: "3.6.0".into(), enabled: true };
    assert_eq!(applied.effects, [Effect::DowngradeSet(info.clone())]);
    assert_eq!(rig.state.cluster.read().downgrade, info);
    assert_eq!(
        row(&rig, Bucket::Cluster, schema::DOWNGRADE),
        Some(&br#"{"target-version":"3.6.0","enabled":true}"#[..])
    );
    let end = DowngradeInfoSetRequest { enabled: false, ver: "3.6.0".into() };
    rig.reply(Kind::DowngradeInfoSet, &end);
    assert_eq!(
        row(&rig, Bucket::Cluster, schema::DOWNGRADE),
        Some(&br#"{"target-version":"","enabled":false}"#[..])
    );
}

#[test]
fn a_version_test_changes_nothing() {
    let mut rig = Rig::new();
    let before = rig.model.revision_and_rows();
    let request = DowngradeVersionTestRequest { ver: "3.9.0".into() };
    assert_eq!(rig.reply(Kind::DowngradeVersionTest, &request), Reply::Nothing);
    assert_eq!(rig.model.revision_and_rows(), before);
}
