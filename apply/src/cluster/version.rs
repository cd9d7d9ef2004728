//! The agreed cluster version, the downgrade job, and the storage version that follows.

use base::version::Version;

/// A running downgrade job, or none.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct DowngradeInfo {
    /// The version to go down to, `major.minor.0`; empty if no job runs.
    #[serde(default, rename = "target-version")]
    pub target_version: String,
    /// Whether a job runs.
    #[serde(default)]
    pub enabled: bool,
}

impl DowngradeInfo {
    /// The row's JSON.
    pub(crate) fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a text and a flag always have a JSON form")
    }

    /// Reads the row's JSON.
    pub(crate) fn from_json(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }
}

/// What the row of the storage version must become once a cluster version is agreed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum StorageVersionRow {
    /// As it is: no version is decided, or it predates the row by far.
    Keep,
    /// Absent: 3.5 does not know it.
    Absent,
    /// This version.
    Set(Version),
}

/// The first version that stores its storage version, and checkpoints of leases.
const V3_6: Version = Version::new(3, 6, 0);

/// The version before that.
const V3_5: Version = Version::new(3, 5, 0);

impl StorageVersionRow {
    /// The storage version that belongs to a cluster version.
    pub(crate) fn of(cluster: Version) -> Self {
        match cluster.to_minor() {
            version if version >= V3_6 => Self::Set(version),
            V3_5 => Self::Absent,
            _older => Self::Keep,
        }
    }
}

/// Whether checkpoints of leases are stored under this cluster version.
pub(crate) fn stores_checkpoints(cluster: Option<Version>) -> bool {
    cluster.is_some_and(|version| version >= V3_6)
}
