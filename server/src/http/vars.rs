//! `/debug/vars`.

use super::Facts;
use super::answer::{Answer, plain};
use crate::logging::json;

/// The variables, sorted by name.
pub(super) fn page(facts: &dyn Facts) -> Answer {
    let arguments: Vec<String> =
        std::env::args_os().map(|a| a.to_string_lossy().into_owned()).collect();
    let descriptors = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE)
        .map_or(0, |(soft, _)| soft);
    let body = format!(
        "{{\n\"cmdline\": {},\n\"file_descriptor_limit\": {descriptors},\n\
         \"raft.status\": {}\n}}\n",
        json(&arguments),
        facts.raft_status(),
    );
    plain("application/json; charset=utf-8", body)
}
