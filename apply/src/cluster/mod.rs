//! Who is in the cluster, and which version they agreed on.

mod conf_change;
mod members;
mod version;

pub(crate) use conf_change::{Change, decode_conf_change, decode_conf_change_v2};
pub(crate) use members::Accepted;
pub use members::Members;
pub use version::DowngradeInfo;
pub(crate) use version::{StorageVersionRow, stores_checkpoints};
