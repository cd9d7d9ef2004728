//! Endpoints as users write them.

use std::sync::Arc;

use tonic::transport::{Endpoint, Uri};

use crate::connector::{Place, Target};
use crate::{Error, Options};

/// What the scheme of an endpoint says of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Security {
    /// Never: `http`.
    Dropped,
    /// If it was set up: `unix`, or no scheme.
    Optional,
    /// Always: `https`, `unixs`.
    Required,
}

/// Reads `host:port`, `http://host:port`, `https://host:port`, `unix:path` or `unixs:path`, the
/// last two also with `//` before the path.
pub(crate) fn parse(text: &str, options: &Options) -> Result<(Target, Endpoint), Error> {
    let bad = || Error::Endpoint { endpoint: text.to_owned() };
    let (security, place, host) = read(text).ok_or_else(bad)?;
    let tls = match (security, &options.tls) {
        (Security::Dropped, _) | (Security::Optional, None) => None,
        (Security::Optional | Security::Required, Some(tls)) => Some((tls.clone(), host)),
        // Nothing is set up: the system's certificates decide.
        (Security::Required, None) => {
            let connector = crate::secure(tls::ClientOptions::default())?;
            Some((connector, host))
        }
    };
    // The URI is only the authority of the requests: the connector knows the way.
    let authority = match &place {
        Place::Tcp(address) => address.as_str(),
        Place::Unix(_) => "localhost",
    };
    let scheme = if tls.is_some() { "https" } else { "http" };
    let origin: Uri = format!("{scheme}://{authority}").parse().map_err(|_| bad())?;
    let mut endpoint = Endpoint::from_shared(format!("http://{authority}"))
        .map_err(|_| bad())?
        .origin(origin)
        .connect_timeout(options.connect_timeout)
        .keep_alive_timeout(options.keepalive_timeout);
    if let Some(interval) = options.keepalive_interval {
        endpoint = endpoint.http2_keep_alive_interval(interval);
    }
    Ok((Target { place, tls }, endpoint))
}

/// What the scheme says, where the endpoint lies, and the name of its host.
fn read(endpoint: &str) -> Option<(Security, Place, String)> {
    for (scheme, security) in [("unix:", Security::Optional), ("unixs:", Security::Required)] {
        if let Some(path) = endpoint.strip_prefix(scheme) {
            let path = path.strip_prefix("//").unwrap_or(path);
            let name = path.rsplit('/').next().unwrap_or_default().to_owned();
            return (!path.is_empty()).then(|| (security, Place::Unix(path.into()), name));
        }
    }
    let (security, authority) = match endpoint.split_once("://") {
        Some(("http", rest)) => (Security::Dropped, rest),
        Some(("https", rest)) => (Security::Required, rest),
        Some(_) => return None,
        None => (Security::Optional, endpoint),
    };
    let (address, host) = address(authority)?;
    Some((security, Place::Tcp(address.to_owned()), host.to_owned()))
}

/// `host:port`, with a slash after it dropped, and the host.
fn address(text: &str) -> Option<(&str, &str)> {
    let text = text.strip_suffix('/').unwrap_or(text);
    let (host, port) = text.rsplit_once(':')?;
    let port: Result<u16, _> = port.parse();
    (!host.is_empty() && !host.contains('/') && port.is_ok()).then_some((text, host))
}

/// Sets TLS up for the protocol of the store.
pub(crate) fn secure(options: tls::ClientOptions) -> Result<Arc<tls::Connector>, tls::Error> {
    let alpn = vec![b"h2".to_vec()];
    Ok(Arc::new(tls::Connector::new(tls::ClientOptions { alpn, ..options })?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_users_write_is_read() {
        let tcp = |text: &str| Place::Tcp(text.to_owned());
        let unix = |text: &str| Place::Unix(text.into());
        let (drop, maybe, must) = (Security::Dropped, Security::Optional, Security::Required);
        for (text, security, place, host) in [
            ("127.0.0.1:2379", maybe, tcp("127.0.0.1:2379"), "127.0.0.1"),
            ("http://localhost:2379", drop, tcp("localhost:2379"), "localhost"),
            ("https://a.b:1/", must, tcp("a.b:1"), "a.b"),
            ("http://[::1]:2379/", drop, tcp("[::1]:2379"), "[::1]"),
            ("unix:///run/etcd.sock", maybe, unix("/run/etcd.sock"), "etcd.sock"),
            ("unix://rel/path", maybe, unix("rel/path"), "path"),
            ("unixs:///run/m1", must, unix("/run/m1"), "m1"),
            ("unix:rel", maybe, unix("rel"), "rel"),
        ] {
            assert_eq!(read(text), Some((security, place, host.to_owned())), "{text}");
        }
    }

    #[test]
    fn tls_is_spoken_where_the_scheme_or_the_options_say_so() {
        let set_up = Options {
            tls: Some(secure(tls::ClientOptions::default()).expect("TLS")),
            ..Options::default()
        };
        for (text, without, with) in [
            ("a:1", false, true),
            ("http://a:1", false, false),
            ("https://a:1", true, true),
            ("unix:a", false, true),
            ("unixs:a", true, true),
        ] {
            for (options, secure) in [(&Options::default(), without), (&set_up, with)] {
                let (target, endpoint) = parse(text, options).expect(text);
                assert_eq!(target.tls.is_some(), secure, "{text}");
                assert_eq!(endpoint.uri().scheme_str(), Some("http"));
            }
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "localhost",
            "localhost:",
            "http://a",
            "ftp://a:1",
            ":1",
            "a:99999",
            "a/b:1",
            "unix:",
            "unixs://",
        ] {
            let read = parse(text, &Options::default());
            assert!(matches!(read, Err(Error::Endpoint { .. })), "{text}");
        }
    }
}
