//! Who a new member is, by its flags.

use std::collections::BTreeMap;

use base::{Member, ids};

use super::{Error, refuse};
use crate::config::Config;

/// A member about to start for the first time, and its cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    /// The member's id.
    pub member_id: u64,
    /// The cluster.
    pub cluster_id: u64,
    /// All members, by id; empty names but for a cluster that is being founded.
    pub members: Vec<Member>,
    /// Whether these members found the cluster, each for itself and all alike.
    pub founding: bool,
}

impl Identity {
    /// Checks `--initial-cluster` and derives the ids.
    ///
    /// # Errors
    /// etcd's texts.
    pub(crate) fn from_flags(config: &Config) -> Result<Identity, Error> {
        let members = members(config)?;
        let own = members
            .iter()
            .find(|member| member.name == config.name)
            .map(|member| member.id)
            .expect("checked by `members`");
        let ids: Vec<u64> = members.iter().map(|member| member.id).collect();
        Ok(Identity { member_id: own, cluster_id: ids::cluster_id(&ids), members, founding: true })
    }
}

/// The members of `--initial-cluster` with the ids that follow from the token.
pub(super) fn members(config: &Config) -> Result<Vec<Member>, Error> {
    let pairs = pairs(&config.initial_cluster)?;
    let ours: Vec<String> =
        pairs.iter().filter(|p| p.0 == config.name).map(|p| p.1.clone()).collect();
    if ours.is_empty() {
        let name = crate::config::quoted(&config.name);
        return refuse(format!(
            "couldn't find local name {name} in the initial cluster configuration"
        ));
    }
    check_advertised(config, &ours)?;
    let mut urls: Vec<&String> = pairs.iter().map(|p| &p.1).collect();
    urls.sort();
    if urls.windows(2).any(|pair| pair[0] == pair[1]) {
        return refuse(format!("initial cluster {} has duplicate url", config.initial_cluster));
    }
    let mut by_name: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (name, url) in &pairs {
        by_name.entry(name).or_default().push(url.clone());
    }
    let mut members: Vec<Member> = by_name
        .into_iter()
        .map(|(name, mut peer_urls)| {
            peer_urls.sort();
            let id = ids::member_id(&peer_urls, &config.initial_cluster_token, None);
            Member { id, peer_urls, name: name.to_owned(), ..Member::default() }
        })
        .collect();
    members.sort_unstable_by_key(|member| member.id);
    Ok(members)
}

/// The pairs of `--initial-cluster`.
fn pairs(text: &str) -> Result<Vec<(String, String)>, Error> {
    let fail = |why: String| Error::Refused(format!("error setting up initial cluster: {why}"));
    let mut pairs = Vec::new();
    for pair in text.split(',').map(str::trim).filter(|p| !p.is_empty()) {
        let (name, url) = pair.split_once('=').unwrap_or((pair, ""));
        if url.is_empty() {
            return Err(fail(format!("empty URL given for {}", crate::config::quoted(name))));
        }
        let urls = base::urls::normalize(&[url]).map_err(|e| fail(e.to_string()))?;
        pairs.extend(urls.into_iter().map(|url| (name.trim().to_owned(), url)));
    }
    if pairs.is_empty() {
        return refuse("initial cluster unset and no discovery endpoints found");
    }
    Ok(pairs)
}

/// The member's own entry must be what it advertises.
fn check_advertised(config: &Config, ours: &[String]) -> Result<(), Error> {
    let mut ours = ours.to_vec();
    ours.sort();
    let advertised: Vec<String> =
        config.advertise_peer_urls.iter().map(ToString::to_string).collect();
    if ours == advertised {
        return Ok(());
    }
    let name = &config.name;
    let all = advertised.join(",");
    if let Some(missing) = ours.iter().find(|url| !advertised.contains(url)) {
        return refuse(format!(
            "--initial-cluster has {name}={missing} but missing from \
             --initial-advertise-peer-urls={all} (resolved urls: {} != {})",
            crate::config::quoted(&all),
            crate::config::quoted(&ours.join(","))
        ));
    }
    let missing = advertised.iter().find(|url| !ours.contains(url)).unwrap_or(&all);
    let pairs: Vec<String> = ours.iter().map(|url| format!("{name}={url}")).collect();
    refuse(format!(
        "--initial-advertise-peer-urls has {missing} but missing from --initial-cluster={}",
        pairs.join(",")
    ))
}
