//! The members of the new cluster, by the flags.

use std::collections::BTreeMap;

use base::text::{quote, quoted_list};
use base::{Member, ids, urls};

use crate::failure::Failure;

/// The members of `--initial-cluster`, by id, and who of them is to be restored.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Founders {
    /// By id.
    pub(super) members: Vec<Member>,
    /// The id of the one that is restored.
    pub(super) own_id: u64,
    /// The id that follows from theirs.
    pub(super) cluster_id: u64,
}

impl Founders {
    /// Checks the flags in etcd's order.
    pub(super) fn of_flags(
        name: &str,
        initial_cluster: &str,
        advertised: &str,
        token: &str,
    ) -> Result<Self, Failure> {
        let refused = |error: base::Error| Failure::Refused(error.to_string());
        let advertised: Vec<&str> = advertised.split(',').collect();
        let advertised = urls::normalize(&advertised).map_err(refused)?;
        let by_name = by_name(initial_cluster).map_err(refused)?;
        let Some(own) = by_name.get(name) else {
            let name = quote(name.as_bytes());
            return Err(Failure::Refused(format!(
                "couldn't find local name {name} in the initial cluster configuration"
            )));
        };
        check_unique(&by_name)?;
        check_advertised(name, own, &advertised)?;
        let own_id = ids::member_id(own, token, None);
        let mut members: Vec<Member> = by_name
            .into_iter()
            .map(|(name, peer_urls)| {
                let id = ids::member_id(&peer_urls, token, None);
                Member { id, peer_urls, name, ..Member::default() }
            })
            .collect();
        members.sort_unstable_by_key(|member| member.id);
        let all: Vec<u64> = members.iter().map(|member| member.id).collect();
        Ok(Self { own_id, cluster_id: ids::cluster_id(&all), members })
    }
}

/// `a=url,b=url,a=url` as the sorted URLs of each name.
fn by_name(text: &str) -> Result<BTreeMap<String, Vec<String>>, base::Error> {
    let mut by_name: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for pair in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
        let (name, url) = pair.split_once('=').unwrap_or((pair, ""));
        by_name.entry(name.to_owned()).or_default().push(url.to_owned());
    }
    for list in by_name.values_mut() {
        *list = urls::normalize(list)?;
    }
    Ok(by_name)
}

/// No URL may stand twice.
fn check_unique(by_name: &BTreeMap<String, Vec<String>>) -> Result<(), Failure> {
    let mut all: Vec<&String> = by_name.values().flatten().collect();
    all.sort_unstable();
    if all.windows(2).all(|pair| pair[0] != pair[1]) {
        return Ok(());
    }
    let shown = by_name.iter().map(|(name, urls)| pairs(name, urls)).collect::<Vec<_>>().join(",");
    Err(Failure::Refused(format!("initial cluster {shown} has duplicate url")))
}

/// The member's own entry must be what it advertises.
fn check_advertised(name: &str, own: &[String], advertised: &[String]) -> Result<(), Failure> {
    if own == advertised {
        return Ok(());
    }
    let absent = |from: &[String], of: &[String]| -> Vec<String> {
        of.iter().filter(|url| !from.contains(url)).cloned().collect()
    };
    let missing = absent(advertised, own);
    if missing.is_empty() {
        return Err(Failure::Refused(format!(
            "--initial-advertise-peer-urls has {} but missing from --initial-cluster={}",
            absent(own, advertised).join(","),
            pairs(name, advertised),
        )));
    }
    let differing = advertised.iter().zip(own).find(|(advertised, own)| advertised != own);
    let cause = match differing {
        Some((advertised_url, own_url)) if advertised.len() == own.len() => {
            let (left, right) = (quote(advertised_url.as_bytes()), quote(own_url.as_bytes()));
            format!("resolved urls: {left} != {right}")
        }
        _ => format!("len([{}]) != len([{}])", quoted_list(advertised), quoted_list(own)),
    };
    Err(Failure::Refused(format!(
        "--initial-cluster has {} but missing from --initial-advertise-peer-urls={} ({cause})",
        pairs(name, &missing),
        advertised.join(","),
    )))
}

fn pairs(name: &str, urls: &[String]) -> String {
    urls.iter().map(|url| format!("{name}={url}")).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFAULT: &str = "default=http://localhost:2380";
    const URL: &str = "http://localhost:2380";

    fn refused(name: &str, initial_cluster: &str, advertised: &str) -> String {
        let found = Founders::of_flags(name, initial_cluster, advertised, "etcd-cluster");
        found.expect_err("refused").to_string()
    }

    #[test]
    fn ids_follow_from_urls_and_token() {
        let found = Founders::of_flags("default", DEFAULT, URL, "etcd-cluster").expect("right");
        assert_eq!(found.own_id, 0x8e9e_05c5_2164_694d);
        assert_eq!(found.cluster_id, 0xcdf8_1819_4e3a_8c32);
        assert_eq!(found.members.len(), 1);
        assert_eq!(
            (found.members[0].name.as_str(), found.members[0].is_learner),
            ("default", false)
        );

        let three = "m1=http://127.0.0.1:35001,m2=http://127.0.0.1:35002,m3=http://127.0.0.1:35003";
        let url = "http://127.0.0.1:35002";
        let found = Founders::of_flags("m2", three, url, "etcd-cluster-0").expect("right");
        let ids: Vec<u64> = found.members.iter().map(|member| member.id).collect();
        let known = [0x15ae_9e1b_9c7f_2f19, 0x6259_c509_f8bd_080f, 0xac1f_978d_b545_5996];
        assert_eq!((found.own_id, ids.as_slice()), (known[2], known.as_slice()));
        assert_eq!(found.cluster_id, 0x0f5a_8697_00de_b3ef);
    }

    #[test]
    fn several_urls_of_one_member_may_come_in_any_order() {
        let own = "default=http://localhost:2381,default=http://localhost:2380,";
        let advertised = "http://localhost:2380,http://localhost:2381";
        let found = Founders::of_flags("default", own, advertised, "t").expect("right");
        assert_eq!(found.members[0].peer_urls.join(","), advertised);
    }

    /// The texts are those of etcd's own tool.
    #[test]
    fn wrong_flags_are_refused_in_etcds_words() {
        let other = "http://localhost:2381";
        let two = format!("{DEFAULT},default={other}");
        for (name, initial_cluster, advertised, text) in [
            ("default", DEFAULT, "", "URL scheme must be http, https, unix, or unixs: "),
            ("default", "default", URL, "URL scheme must be http, https, unix, or unixs: "),
            (
                "default",
                "default=http://10.0.0.7",
                URL,
                "URL address does not have the form \"host:port\": http://10.0.0.7",
            ),
            (
                "nope",
                DEFAULT,
                URL,
                "couldn't find local name \"nope\" in the initial cluster configuration",
            ),
            (
                "default",
                "",
                URL,
                "couldn't find local name \"default\" in the initial cluster configuration",
            ),
            (
                "default",
                "default=http://localhost:2380,b=http://localhost:2380",
                URL,
                "initial cluster b=http://localhost:2380,default=http://localhost:2380 has \
              duplicate url",
            ),
            (
                "default",
                DEFAULT,
                "http://localhost:9999",
                "--initial-cluster has default=http://localhost:2380 but missing from \
              --initial-advertise-peer-urls=http://localhost:9999 (resolved urls: \
              \"http://localhost:9999\" != \"http://localhost:2380\")",
            ),
            (
                "default",
                &two,
                URL,
                "--initial-cluster has default=http://localhost:2381 but missing from \
              --initial-advertise-peer-urls=http://localhost:2380 \
              (len([\"http://localhost:2380\"]) != \
              len([\"http://localhost:2380\" \"http://localhost:2381\"]))",
            ),
            (
                "default",
                DEFAULT,
                "http://localhost:2380,http://localhost:2381",
                "--initial-advertise-peer-urls has http://localhost:2381 but missing from \
              --initial-cluster=default=http://localhost:2380,default=http://localhost:2381",
            ),
        ] {
            assert_eq!(refused(name, initial_cluster, advertised), text);
        }
    }
}
