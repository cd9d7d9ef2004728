//! The forms an endpoint may be written in.

use std::path::PathBuf;

/// Where to connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// `host:port`.
    Tcp(String),
    /// A socket file.
    Unix(PathBuf),
}

/// Reads an endpoint: `host:port`, `http://host:port`, `unix:path`, `unix://path`.
///
/// # Errors
/// A text that names no place.
pub(super) fn parse(endpoint: &str) -> Result<Target, String> {
    let endpoint = endpoint.trim();
    if let Some(rest) = endpoint.strip_prefix("unix:") {
        let path = rest.strip_prefix("//").unwrap_or(rest);
        return Ok(Target::Unix(PathBuf::from(path)));
    }
    let authority = endpoint.strip_prefix("http://").unwrap_or(endpoint);
    let authority = authority.split('/').next().unwrap_or_default();
    if authority.is_empty() || authority.contains(char::is_whitespace) {
        return Err(format!("invalid endpoint {endpoint}"));
    }
    Ok(Target::Tcp(authority.to_owned()))
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Target::Tcp(authority) => f.write_str(authority),
            Target::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_an_endpoint_is_read() {
        let tcp = |text: &str| Ok(Target::Tcp(text.to_owned()));
        let unix = |text: &str| Ok(Target::Unix(PathBuf::from(text)));
        assert_eq!(parse("127.0.0.1:2379"), tcp("127.0.0.1:2379"));
        assert_eq!(parse(" http://a:1/ "), tcp("a:1"));
        assert_eq!(parse("[::1]:2379"), tcp("[::1]:2379"));
        assert_eq!(parse("unix:///run/etcd.sock"), unix("/run/etcd.sock"));
        assert_eq!(parse("unix://rel/path"), unix("rel/path"));
        assert_eq!(parse("unix:rel"), unix("rel"));
        assert!(parse("http://").is_err());
    }
}
