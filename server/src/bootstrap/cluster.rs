//! Who a new member is, by its flags.

use base::{Member, ids};

use super::{Error, refuse};
use crate::config::Config;

/// The refusal of a cluster of several members.
pub(super) const NEEDS_PEERS: &str = "a cluster of more than one member needs the peer \
                                      transport, which is not available in this version";

/// A new member and its cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The member.
    pub member: Member,
    /// The cluster.
    pub cluster_id: u64,
}

impl Identity {
    /// Checks `--initial-cluster` and derives the ids.
    ///
    /// # Errors
    /// etcd's texts; ours for what needs other members.
    pub fn from_flags(config: &Config) -> Result<Identity, Error> {
        if config.join_existing {
            return refuse(
                "--initial-cluster-state=existing needs the peer transport, which is not \
                 available in this version",
            );
        }
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
        if pairs.iter().any(|p| p.0 != config.name) {
            return refuse(NEEDS_PEERS);
        }
        let mut peer_urls = ours;
        peer_urls.sort();
        let id = ids::member_id(&peer_urls, &config.initial_cluster_token, None);
        let member = Member { id, peer_urls, name: config.name.clone(), ..Member::default() };
        Ok(Identity { member, cluster_id: ids::cluster_id(&[id]) })
    }
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
