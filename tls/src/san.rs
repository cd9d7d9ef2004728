//! Whether the certificate a peer shows is for the address it comes from.

use std::fmt;
use std::io;
use std::net::{IpAddr, ToSocketAddrs as _};
use std::sync::Arc;

use crate::cert::Facts;

/// Looks names and addresses up. Calls may wait, so they are made on a thread for such work.
pub trait Names: Send + Sync + fmt::Debug + 'static {
    /// The names of an address; a trailing dot does not matter.
    ///
    /// # Errors
    /// The look-up failed, or there is none.
    fn of_address(&self, address: IpAddr) -> io::Result<Vec<String>>;
    /// The addresses of a name.
    ///
    /// # Errors
    /// The look-up failed, or there is none.
    fn addresses_of(&self, name: &str) -> io::Result<Vec<IpAddr>>;
}

/// What the system is configured to ask: files, DNS.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemNames;

impl Names for SystemNames {
    fn of_address(&self, address: IpAddr) -> io::Result<Vec<String>> {
        Ok(vec![dns_lookup::lookup_addr(&address)?])
    }

    fn addresses_of(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        Ok((name, 0).to_socket_addrs()?.map(|address| address.ip()).collect())
    }
}

/// Refuses a certificate whose names have nothing to do with `remote`. One without any name is
/// for everywhere; addresses are compared first, then the names of the address with the names of
/// the certificate, then the addresses of the certificate's names.
pub(crate) async fn check(
    facts: &Facts,
    remote: IpAddr,
    names: &Arc<dyn Names>,
) -> Result<(), String> {
    // An IPv4 client of a socket for both families is still an IPv4 client.
    let remote = remote.to_canonical();
    let (addresses, dns) = (&facts.ip_addresses, &facts.dns_names);
    if (addresses.is_empty() && dns.is_empty()) || addresses.contains(&remote) {
        return Ok(());
    }
    if dns.is_empty() {
        let list = addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        return Err(format!("x509: certificate is valid for {list}, not {remote}"));
    }
    let (patterns, names) = (dns.clone(), names.clone());
    tokio::task::spawn_blocking(move || check_names(&patterns, remote, &*names))
        .await
        .unwrap_or_else(|_| Err("tls: the look-up of the peer's name failed".to_owned()))
}

fn check_names(patterns: &[String], remote: IpAddr, names: &dyn Names) -> Result<(), String> {
    let mut errors = Vec::new();
    match names.of_address(remote) {
        Ok(found) => {
            let matches = |name: &String| {
                let name = name.trim_end_matches('.');
                patterns.iter().any(|pattern| match pattern.strip_prefix('*') {
                    Some(suffix) => suffix.starts_with('.') && name.ends_with(suffix),
                    None => name == pattern,
                })
            };
            if found.iter().any(matches) {
                return Ok(());
            }
        }
        Err(error) => errors.push(format!("lookup {remote}: {}", base::text::io_error(&error))),
    }
    for pattern in patterns.iter().filter(|pattern| !pattern.contains('*')) {
        match names.addresses_of(pattern) {
            Ok(found) if found.iter().any(|address| address.to_canonical() == remote) => {
                return Ok(());
            }
            Ok(_) => {}
            Err(error) => {
                errors.push(format!("lookup {pattern}: {}", base::text::io_error(&error)));
            }
        }
    }
    let list = base::text::quoted_list(patterns);
    let why = errors.last().map_or_else(String::new, |error| format!(" ({error})"));
    Err(format!("tls: \"{remote}\" does not match any of DNSNames [{list}]{why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One host `a.local` at 10.0.0.1, whose address is named `A.cluster.local.`.
    #[derive(Debug)]
    struct Fixed;

    impl Names for Fixed {
        fn of_address(&self, address: IpAddr) -> io::Result<Vec<String>> {
            match address.to_string().as_str() {
                "10.0.0.1" => Ok(vec!["other.".to_owned(), "a.cluster.local.".to_owned()]),
                _ => Err(io::Error::other("no such host")),
            }
        }
        fn addresses_of(&self, name: &str) -> io::Result<Vec<IpAddr>> {
            match name {
                "a.local" => Ok(vec!["10.0.0.1".parse().expect("an address")]),
                _ => Err(io::Error::other("no such host")),
            }
        }
    }

    async fn verdict(dns: &[&str], ips: &[&str], remote: &str) -> Result<(), String> {
        let facts = Facts {
            dns_names: dns.iter().map(|&d| d.to_owned()).collect(),
            ip_addresses: ips.iter().map(|i| i.parse().expect("an address")).collect(),
            ..crate::cert::tests::plain()
        };
        let names: Arc<dyn Names> = Arc::new(Fixed);
        check(&facts, remote.parse().expect("an address"), &names).await
    }

    #[tokio::test]
    async fn addresses_and_names_are_tried_in_turn() {
        let ok = Ok(());
        assert_eq!(verdict(&[], &[], "10.0.0.9").await, ok);
        assert_eq!(verdict(&[], &["10.0.0.1"], "10.0.0.1").await, ok);
        assert_eq!(verdict(&[], &["10.0.0.1"], "::ffff:10.0.0.1").await, ok);
        assert_eq!(verdict(&["x"], &["10.0.0.1"], "10.0.0.1").await, ok);
        assert_eq!(verdict(&["a.cluster.local"], &[], "10.0.0.1").await, ok);
        assert_eq!(verdict(&["*.cluster.local"], &["1.1.1.1"], "10.0.0.1").await, ok);
        assert_eq!(verdict(&["a.local"], &[], "10.0.0.1").await, ok);
    }

    #[tokio::test]
    async fn what_matches_nowhere_is_refused_in_the_words_of_etcd() {
        let refused = |r: Result<(), String>| r.expect_err("a refusal");
        assert_eq!(
            refused(verdict(&[], &["10.0.0.1", "::1"], "10.0.0.2").await),
            "x509: certificate is valid for 10.0.0.1, ::1, not 10.0.0.2"
        );
        assert_eq!(
            refused(verdict(&["a.local", "b"], &[], "10.0.0.2").await),
            "tls: \"10.0.0.2\" does not match any of DNSNames [\"a.local\" \"b\"] \
             (lookup b: no such host)"
        );
        assert_eq!(
            refused(verdict(&["a.local"], &[], "10.0.0.2").await),
            "tls: \"10.0.0.2\" does not match any of DNSNames [\"a.local\"] \
             (lookup 10.0.0.2: no such host)"
        );
        for pattern in ["*.other.local", "*", "*luster.local", "cluster.local"] {
            let text = refused(verdict(&[pattern], &[], "10.0.0.1").await);
            assert!(text.contains("does not match"), "{text}");
        }
    }
}
