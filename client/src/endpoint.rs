//! Endpoints as users write them.

use tonic::transport::Endpoint;

use crate::connector::Target;
use crate::{Error, Options};

/// Reads `host:port`, `http://host:port`, `unix://path` or `unix:path`.
pub(crate) fn parse(text: &str, options: &Options) -> Result<(Target, Endpoint), Error> {
    let target = target(text)?;
    // The URI is only the authority of the requests: the connector knows the way.
    let authority = match &target {
        Target::Tcp(address) => address.as_str(),
        Target::Unix(_) => "localhost",
    };
    let mut endpoint = Endpoint::from_shared(format!("http://{authority}"))
        .map_err(|_| Error::Endpoint { endpoint: text.to_owned() })?
        .connect_timeout(options.connect_timeout)
        .keep_alive_timeout(options.keepalive_timeout);
    if let Some(interval) = options.keepalive_interval {
        endpoint = endpoint.http2_keep_alive_interval(interval);
    }
    Ok((target, endpoint))
}

fn target(text: &str) -> Result<Target, Error> {
    let endpoint = text.trim();
    let bad = || Error::Endpoint { endpoint: text.to_owned() };
    if endpoint.starts_with("https:") || endpoint.starts_with("unixs:") {
        return Err(Error::Tls { endpoint: text.to_owned() });
    }
    if let Some(path) = endpoint.strip_prefix("unix:") {
        let path = path.strip_prefix("//").unwrap_or(path);
        return if path.is_empty() { Err(bad()) } else { Ok(Target::Unix(path.into())) };
    }
    let authority = endpoint.strip_prefix("http://").unwrap_or(endpoint);
    Ok(Target::Tcp(address(authority).ok_or_else(bad)?.to_owned()))
}

/// `host:port`, with a slash after it dropped.
fn address(text: &str) -> Option<&str> {
    let text = text.strip_suffix('/').unwrap_or(text);
    let (host, port) = text.rsplit_once(':')?;
    let port: Result<u16, _> = port.parse();
    (!host.is_empty() && !host.contains('/') && port.is_ok()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Target, Error> {
        parse(text, &Options::default()).map(|(target, _)| target)
    }

    #[test]
    fn every_form_users_write_is_read() {
        let tcp = |text: &str| Target::Tcp(text.to_owned());
        let unix = |text: &str| Target::Unix(text.into());
        for (text, target) in [
            ("127.0.0.1:2379", tcp("127.0.0.1:2379")),
            ("http://localhost:2379", tcp("localhost:2379")),
            (" http://[::1]:2379/ ", tcp("[::1]:2379")),
            ("unix:///run/etcd.sock", unix("/run/etcd.sock")),
            ("unix://rel/path", unix("rel/path")),
            ("unix:rel", unix("rel")),
        ] {
            assert_eq!(read(text).expect(text), target);
        }
    }

    #[test]
    fn tls_is_refused_by_name() {
        let error = read("https://localhost:2379").expect_err("TLS");
        assert!(error.to_string().contains("asks for TLS"), "{error}");
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
        ] {
            assert!(matches!(read(text), Err(Error::Endpoint { .. })), "{text}");
        }
    }
}
