//! What a member asks of the running ones before it starts for the first time.

use std::collections::HashSet;
use std::net::ToSocketAddrs as _;
use std::time::{Duration, Instant};

use base::Member;
use base::version::{self, Version};

use super::cluster::{self, Identity};
use super::{Error, refuse};
use crate::config::Config;

/// How long a founder waits for an answer of another founder (etcd: 1 s).
const FOUNDER_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a joining member waits until those it asks know of it.
const APPLY_PATIENCE: Duration = Duration::from_secs(2);
/// How long it waits for a cluster that has just begun: one whose members do not all answer takes
/// four seconds to decide about its version.
const VERSION_PATIENCE: Duration = Duration::from_secs(8);
/// Time between two looks at these.
const APPLY_LOOK: Duration = Duration::from_millis(100);
/// How long a joining member waits for one answer (etcd: 10 s).
const JOIN_TIMEOUT: Duration = Duration::from_secs(10);

/// The members and the cluster id, as a member tells them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    /// The cluster.
    pub cluster_id: u64,
    /// Its members.
    pub members: Vec<Member>,
}

/// Versions as a member tells them; `None` for what is not decided or not said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Versions {
    /// Of the program.
    pub server: Option<Version>,
    /// Of the cluster.
    pub cluster: Option<Version>,
}

/// Asks running members over their peer URLs. Every call waits.
pub(crate) trait Ask {
    /// The members, as known at one of `urls`: all are asked at once, the first answer counts.
    fn members(&self, urls: &[String], timeout: Duration) -> Option<Told>;
    /// The versions of the member at `url`.
    fn versions(&self, url: &str) -> Option<Versions>;
    /// Whether a downgrade is under way; a member that cannot tell says no.
    fn downgrade_enabled(&self, url: &str) -> bool;
}

/// Nobody may take the id of a member that is known to the others as started.
///
/// # Errors
/// etcd's text.
pub(super) fn check_not_started(identity: &Identity, ask: &dyn Ask) -> Result<(), Error> {
    let own = identity.member_id;
    let others = identity.members.iter().filter(|member| member.id != own);
    let urls: Vec<String> = others.flat_map(|member| member.peer_urls.clone()).collect();
    let told = ask.members(&urls, FOUNDER_TIMEOUT);
    let started = |member: &Member| member.id == own && !member.client_urls.is_empty();
    if told.is_some_and(|told| told.members.iter().any(started)) {
        return refuse(format!("member {own:x} has already been bootstrapped"));
    }
    Ok(())
}

/// Takes over the ids of a running cluster that has this member added already.
///
/// # Errors
/// etcd's texts.
pub(super) fn join(config: &Config, ask: &dyn Ask) -> Result<Identity, Error> {
    let local = cluster::members(config)?;
    let others = local.iter().filter(|member| member.name != config.name);
    let urls: Vec<String> = others.flat_map(|member| member.peer_urls.clone()).collect();
    let (told, own) = told_of_us(&local, &urls, &config.name, ask)?;
    let give_up = Instant::now() + VERSION_PATIENCE;
    let mut reach = reach(&told, own, ask);
    while reach == Reach::Undecided && Instant::now() < give_up {
        std::thread::sleep(APPLY_LOOK);
        reach = self::reach(&told, own, ask);
    }
    if reach != Reach::Within {
        return refuse("incompatible with current running cluster");
    }
    let learners = told.members.iter().filter(|member| member.is_learner).count();
    if learners > config.max_learners {
        return refuse("membership: too many learner members in cluster");
    }
    Ok(Identity {
        member_id: own,
        cluster_id: told.cluster_id,
        members: told.members,
        founding: false,
    })
}

/// What a running member tells, once it knows of us: whoever is asked may apply our addition a
/// moment after it was answered.
fn told_of_us(
    local: &[Member],
    urls: &[String],
    name: &str,
    ask: &dyn Ask,
) -> Result<(Told, u64), Error> {
    let give_up = Instant::now() + APPLY_PATIENCE;
    loop {
        let told = ask.members(urls, JOIN_TIMEOUT).ok_or_else(|| {
            Error::Refused(
                "cannot fetch cluster info from peer urls: could not retrieve cluster \
                 information from the given URLs"
                    .to_owned(),
            )
        })?;
        match adopt(local, &told, name) {
            Ok(own) => return Ok((told, own)),
            Err(_) if Instant::now() < give_up => std::thread::sleep(APPLY_LOOK),
            Err(why) => {
                return refuse(format!("error validating peerURLs {}: {why}", shown(&told)));
            }
        }
    }
}

/// Pairs the members of the flags with those told by their peer URLs; gives our id.
fn adopt(local: &[Member], told: &Told, name: &str) -> Result<u64, String> {
    if local.len() != told.members.len() {
        return Err("member count is unequal".to_owned());
    }
    let mut left: Vec<&Member> = local.iter().collect();
    let mut own = None;
    for member in &told.members {
        let found = left.iter().position(|l| same_urls(&l.peer_urls, &member.peer_urls));
        let Some(at) = found else {
            return Err(format!(
                "PeerURLs: no match found for existing member ({:x}, [{}]), last resolver error \
                 (<nil>)",
                member.id,
                member.peer_urls.join(" ")
            ));
        };
        if left.remove(at).name == name {
            own = Some(member.id);
        }
    }
    own.ok_or_else(|| "member count is unequal".to_owned())
}

/// Whether two lists of URLs lead to the same addresses.
fn same_urls(a: &[String], b: &[String]) -> bool {
    let sorted = |urls: &[String]| {
        let mut urls = urls.to_vec();
        urls.sort();
        urls
    };
    if sorted(a) == sorted(b) {
        return true;
    }
    let resolved =
        |urls: &[String]| urls.iter().map(|url| resolve(url)).collect::<Option<Vec<_>>>();
    match (resolved(a), resolved(b)) {
        (Some(a), Some(b)) => {
            let set = |of: Vec<String>| of.into_iter().collect::<HashSet<_>>();
            set(a) == set(b)
        }
        _ => false,
    }
}

/// The URL with the first address of its host.
fn resolve(url: &str) -> Option<String> {
    let (scheme, host) = url.split_once("://")?;
    let address = host.to_socket_addrs().ok()?.next()?;
    Some(format!("{scheme}://{address}"))
}

/// Go's print of what was told.
fn shown(told: &Told) -> String {
    let members: Vec<String> = told
        .members
        .iter()
        .map(|m| {
            format!(
                "&{{ID:{:x} RaftAttributes:{{PeerURLs:[{}] IsLearner:{}}} \
                 Attributes:{{Name:{} ClientURLs:[{}]}}}}",
                m.id,
                m.peer_urls.join(" "),
                m.is_learner,
                m.name,
                m.client_urls.join(" ")
            )
        })
        .collect();
    format!(
        "{{ClusterID:{:x} Members:[{}] RemovedMemberIDs:[]}}",
        told.cluster_id,
        members.join(" ")
    )
}

/// Whether the cluster runs at a version this program can follow.
fn reach(told: &Told, own: u64, ask: &dyn Ask) -> Reach {
    let ours: Version = version::CLUSTER.parse().expect("our own version is one");
    let oldest: Version = version::CLUSTER_MIN.parse().expect("our own version is one");
    let mut reach = Reach::Beyond;
    let mut downgrading = None;
    for member in told.members.iter().filter(|member| member.id != own) {
        let Some((url, versions)) =
            member.peer_urls.iter().find_map(|url| Some((url, ask.versions(url)?)))
        else {
            continue;
        };
        let Some(cluster) = versions.cluster.map(Version::to_minor) else {
            if reach == Reach::Beyond {
                reach = Reach::Undecided;
            }
            continue;
        };
        let downgrading = *downgrading.get_or_insert_with(|| ask.downgrade_enabled(url));
        let one_above = Version::new(ours.major, ours.minor + 1, 0);
        let (low, high) = if downgrading { (one_above, one_above) } else { (oldest, ours) };
        if cluster < low || cluster > high {
            let what = if cluster < low { "too low" } else { "too high" };
            tracing::warn!(
                "remote-member-id" = format!("{:x}", member.id),
                "remote-member-cluster-version" = %cluster,
                "cluster version of remote member is not compatible; {what}"
            );
            return Reach::Beyond;
        }
        reach = Reach::Within;
    }
    reach
}

/// Whether a cluster's version is one this program can take part in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    Within,
    /// Nobody answers, or it is not.
    Beyond,
    /// The cluster has no version yet.
    Undecided,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(id: u64, name: &str, url: &str) -> Member {
        Member { id, name: name.into(), peer_urls: vec![url.into()], ..Member::default() }
    }

    /// A cluster in which every member answers the same.
    struct Cluster {
        told: Option<Told>,
        versions: Option<Versions>,
        downgrading: bool,
    }

    impl Ask for Cluster {
        fn members(&self, _: &[String], _: Duration) -> Option<Told> {
            self.told.clone()
        }
        fn versions(&self, _: &str) -> Option<Versions> {
            self.versions
        }
        fn downgrade_enabled(&self, _: &str) -> bool {
            self.downgrading
        }
    }

    fn told() -> Told {
        Told {
            cluster_id: 0xc0,
            members: vec![member(1, "a", "http://10.0.0.1:1"), member(2, "", "http://10.0.0.2:1")],
        }
    }

    fn versions(cluster: &str) -> Option<Versions> {
        Some(Versions { server: None, cluster: Some(cluster.parse().expect("a version")) })
    }

    #[test]
    fn a_joining_member_takes_the_id_it_was_added_with() {
        let local = [member(70, "b", "http://10.0.0.2:1"), member(71, "a", "http://10.0.0.1:1")];
        assert_eq!(adopt(&local, &told(), "b"), Ok(2));
        assert_eq!(adopt(&local[..1], &told(), "b"), Err("member count is unequal".into()));
        let other = [local[0].clone(), member(71, "a", "http://10.0.0.9:1")];
        let error = adopt(&other, &told(), "b").expect_err("no such member");
        assert!(error.starts_with("PeerURLs: no match found for existing member (1, [http"));
    }

    #[test]
    fn hosts_are_compared_by_address() {
        let list = |url: &str| vec![url.to_owned()];
        assert!(same_urls(&list("http://localhost:7"), &list("http://127.0.0.1:7")));
        assert!(!same_urls(&list("http://localhost:7"), &list("https://127.0.0.1:7")));
        assert!(!same_urls(&list("http://127.0.0.1:8"), &list("http://127.0.0.1:7")));
    }

    #[test]
    fn only_a_cluster_of_a_version_in_reach_is_joined() {
        let ask = |versions, downgrading| Cluster { told: None, versions, downgrading };
        let check = |cluster: Cluster| reach(&told(), 2, &cluster);
        for version in ["3.0.0", "3.4.0", "3.7.0"] {
            assert_eq!(check(ask(versions(version), false)), Reach::Within, "{version}");
        }
        assert_eq!(check(ask(versions("3.8.0"), false)), Reach::Beyond);
        assert_eq!(check(ask(versions("2.3.0"), false)), Reach::Beyond);
        assert_eq!(check(ask(None, false)), Reach::Beyond, "nobody answers");
        assert_eq!(check(ask(versions("3.8.0"), true)), Reach::Within);
        assert_eq!(check(ask(versions("3.7.0"), true)), Reach::Beyond);
        let undecided = Versions { cluster: None, ..versions("3.7.0").expect("an answer") };
        assert_eq!(check(ask(Some(undecided), false)), Reach::Undecided);
    }

    #[test]
    fn a_started_member_is_not_founded_again() {
        let mut started = told();
        started.members[1].client_urls = vec!["http://10.0.0.2:2".into()];
        let identity =
            Identity { member_id: 2, cluster_id: 0xc0, members: told().members, founding: true };
        let cluster = |told| Cluster { told, versions: None, downgrading: false };
        assert!(check_not_started(&identity, &cluster(Some(told()))).is_ok());
        assert!(check_not_started(&identity, &cluster(None)).is_ok());
        let error = check_not_started(&identity, &cluster(Some(started))).expect_err("started");
        assert_eq!(error.to_string(), "member 2 has already been bootstrapped");
    }
}
