//! Ids of members, clusters and requests.

use std::sync::atomic::{AtomicU64, Ordering};

use sha1::{Digest, Sha1};

/// The id of a member: the head of SHA-1 over its sorted peer URLs, the cluster's name, and the
/// unix second at which it was added to a running cluster (`None` for a founder).
pub fn member_id(urls: &[String], cluster_name: &str, unix_seconds: Option<i64>) -> u64 {
    let mut sorted: Vec<&str> = urls.iter().map(String::as_str).collect();
    sorted.sort_unstable();
    let mut hash = Sha1::new();
    for url in sorted {
        hash.update(url);
    }
    hash.update(cluster_name);
    if let Some(seconds) = unix_seconds {
        hash.update(seconds.to_string());
    }
    head(hash)
}

/// The id of a cluster founded by these members, in any order.
pub fn cluster_id(members: &[u64]) -> u64 {
    let mut sorted = members.to_vec();
    sorted.sort_unstable();
    let mut hash = Sha1::new();
    for id in sorted {
        hash.update(id.to_be_bytes());
    }
    head(hash)
}

fn head(hash: Sha1) -> u64 {
    let digest = hash.finalize();
    let mut head = [0; 8];
    head.copy_from_slice(&digest[..8]);
    u64::from_be_bytes(head)
}

const PREFIX_SHIFT: u32 = 48;
const MEMBER_MASK: u64 = 0xffff;
const TIME_MASK: u64 = (1 << 40) - 1;
const COUNTER_BITS: u32 = 8;
const SUFFIX_MASK: u64 = (1 << PREFIX_SHIFT) - 1;
const LEASE_MASK: u64 = i64::MAX as u64;

/// Numbers the requests of one server run.
///
/// ```text
///   63      48 47                  8 7     0
///   ├ member ─┼─ unix milliseconds ─┼ count ┤    the count may overflow into the time
/// ```
#[derive(Debug)]
pub struct RequestIdGen {
    prefix: u64,
    suffix: AtomicU64,
}

impl RequestIdGen {
    /// Starts the numbering of `member_id` at this moment.
    pub fn new(member_id: u64, unix_ms: u64) -> Self {
        Self {
            prefix: (member_id & MEMBER_MASK) << PREFIX_SHIFT,
            suffix: AtomicU64::new((unix_ms & TIME_MASK) << COUNTER_BITS),
        }
    }

    /// The next number.
    pub fn next(&self) -> u64 {
        let suffix = self.suffix.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        self.prefix | (suffix & SUFFIX_MASK)
    }

    /// The next number as a lease id: positive, never zero.
    pub fn next_lease(&self) -> i64 {
        loop {
            let id = (self.next() & LEASE_MASK) as i64;
            if id != 0 {
                return id;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(urls: &[&str], name: &str) -> Vec<u64> {
        urls.iter().map(|url| member_id(&[(*url).to_owned()], name, None)).collect()
    }

    #[test]
    fn founders_have_the_published_ids() {
        let table: &[(&[&str], &str, &[u64], u64)] = &[
            (&["http://localhost:2380"], "etcd-cluster", &[0x8e9e05c52164694d], 0xcdf818194e3a8c32),
            (
                &[
                    "https://192.168.174.103:2380",
                    "https://192.168.174.104:2380",
                    "https://192.168.174.105:2380",
                ],
                "etcd-cluster-0",
                &[0x7094f5ff5dcb144b, 0x1eb5eb9e512f1150, 0x620a973f2f735d63],
                0x5914181c214cf156,
            ),
            (
                &["http://127.0.0.1:31380"],
                "etcd-cluster",
                &[0x8ddab73534be950c],
                0x8c2ff40632fd55ca,
            ),
            (
                &["http://127.0.0.1:12380", "http://127.0.0.1:22380", "http://127.0.0.1:32380"],
                "etcd-cluster-1",
                &[0x8211f1d0f64f3269, 0x91bc3c398fb3c146, 0xfd422379fda50e48],
                0xef37ad9dc622a7c4,
            ),
            (
                &["http://127.0.0.1:38521", "http://127.0.0.1:38531"],
                "tk",
                &[0xd102e9b079cbf590, 0xd1a554e9cd8408a7],
                0xa56055ab2a4af9c9,
            ),
            (
                &["http://127.0.0.1:35001", "http://127.0.0.1:35002", "http://127.0.0.1:35003"],
                "etcd-cluster-0",
                &[0x15ae9e1b9c7f2f19, 0xac1f978db5455996, 0x6259c509f8bd080f],
                0xf5a869700deb3ef,
            ),
            (
                &["http://127.0.0.1:37011"],
                "etcd-cluster",
                &[0xc7e16ec5d9d1f725],
                0xcc3f05ad43b71204,
            ),
        ];
        for (urls, name, ids, cluster) in table {
            let made = members(urls, name);
            assert_eq!(&made, ids);
            assert_eq!(cluster_id(&made), *cluster);
        }
    }

    #[test]
    fn urls_of_one_member_are_sorted_first() {
        let urls = ["http://127.0.0.1:2380".to_owned(), "http://10.0.0.1:2380".to_owned()];
        let id = member_id(&urls, "tok", None);
        assert_eq!(id, 0x38e27575755204fc);
        assert_eq!(cluster_id(&[id]), 0xdbe14ecb5559f59c);
    }

    #[test]
    fn later_members_hash_the_second_of_their_addition() {
        let id = |url: &str, at| member_id(&[url.to_owned()], "", Some(at));
        assert_eq!(id("http://127.0.0.1:35004", 1795342619), 0xac0e9c2b3747ff6e);
        assert_eq!(id("http://127.0.0.1:32380", 1700000000), 0x70b1e742d9081e54);
    }

    #[test]
    fn request_ids_count_up_from_the_seed() {
        let ids = RequestIdGen::new(0x8ddab73534be950c, 0x0001_0203_0405);
        assert_eq!(ids.next(), 0x950c_0102_0304_0501 | (0x01 << 40));
        assert_eq!(ids.next(), 0x950c_0102_0304_0502 | (0x01 << 40));
    }

    #[test]
    fn the_count_overflows_into_the_time_but_not_into_the_member() {
        let ids = RequestIdGen::new(0xffff, TIME_MASK);
        let last = (0..255).map(|_| ids.next()).last();
        assert_eq!(last, Some(u64::MAX));
        assert_eq!(ids.next(), 0xffff << PREFIX_SHIFT);
    }

    #[test]
    fn lease_ids_are_positive() {
        let ids = RequestIdGen::new(0x8ddab73534be950c, 7);
        assert_eq!(ids.next_lease(), 0x150c_0000_0000_0701);
        let ids = RequestIdGen::new(0x8000, TIME_MASK);
        for _ in 0..300 {
            assert!(ids.next_lease() > 0);
        }
    }
}
