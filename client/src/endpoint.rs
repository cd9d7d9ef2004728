//! Endpoints as users write them.

use tonic::transport::Endpoint;

use crate::{Error, Options};

/// Reads `host:port`, `http://host:port` or `unix://path`.
pub(crate) fn parse(text: &str, options: &Options) -> Result<Endpoint, Error> {
    let endpoint = text.trim();
    let bad = || Error::Endpoint { endpoint: text.to_owned() };
    let uri = match endpoint.split_once("://") {
        Some(("https" | "unixs", _)) => return Err(Error::Tls { endpoint: text.to_owned() }),
        Some(("unix", path)) if !path.is_empty() => endpoint.to_owned(),
        Some(("http", rest)) => format!("http://{}", address(rest).ok_or_else(bad)?),
        Some(_) => return Err(bad()),
        None => format!("http://{}", address(endpoint).ok_or_else(bad)?),
    };
    let mut endpoint = Endpoint::from_shared(uri)
        .map_err(|_| bad())?
        .connect_timeout(options.connect_timeout)
        .keep_alive_timeout(options.keepalive_timeout)
        .tcp_nodelay(true);
    if let Some(interval) = options.keepalive_interval {
        endpoint = endpoint.http2_keep_alive_interval(interval).keep_alive_while_idle(true);
    }
    Ok(endpoint)
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

    fn uri(text: &str) -> Result<String, Error> {
        parse(text, &Options::default()).map(|endpoint| endpoint.uri().to_string())
    }

    #[test]
    fn every_form_users_write_is_read() {
        for (text, read) in [
            ("127.0.0.1:2379", "http://127.0.0.1:2379/"),
            ("http://localhost:2379", "http://localhost:2379/"),
            (" http://[::1]:2379/ ", "http://[::1]:2379/"),
        ] {
            assert_eq!(uri(text).expect(text), read);
        }
    }

    #[test]
    fn tls_is_refused_by_name() {
        let error = uri("https://localhost:2379").expect_err("TLS");
        assert!(error.to_string().contains("asks for TLS"), "{error}");
    }

    #[test]
    fn other_texts_are_refused() {
        for text in
            ["", "localhost", "localhost:", "http://a", "ftp://a:1", ":1", "a:99999", "a/b:1"]
        {
            assert!(matches!(uri(text), Err(Error::Endpoint { .. })), "{text}");
        }
    }
}
