//! Listen and advertise URLs: Go's parse errors, etcd's rules, a canonical text.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// The scheme of a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Scheme {
    /// Plain TCP.
    Http,
    /// TLS over TCP.
    Https,
    /// A plain unix socket.
    Unix,
    /// TLS over a unix socket.
    Unixs,
}

impl Scheme {
    fn parse(text: &str) -> Option<Scheme> {
        Some(match text {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            "unix" => Scheme::Unix,
            "unixs" => Scheme::Unixs,
            _ => return None,
        })
    }

    /// The scheme as it stands in a URL.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
            Scheme::Unix => "unix",
            Scheme::Unixs => "unixs",
        }
    }

    /// Whether the scheme asks for TLS.
    pub(crate) fn is_tls(self) -> bool {
        matches!(self, Scheme::Https | Scheme::Unixs)
    }
}

/// A URL that passed etcd's rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Url {
    /// The scheme.
    pub scheme: Scheme,
    /// `host:port`, or what stands before the path of a unix URL.
    pub host: String,
    /// The path; empty but for unix URLs.
    pub path: String,
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.scheme.as_str(), self.host, self.path)
    }
}

impl Url {
    /// The host without its port and without IPv6 brackets.
    pub(crate) fn hostname(&self) -> &str {
        let host = self.host.rsplit_once(':').map_or(self.host.as_str(), |(host, _)| host);
        host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host)
    }

    /// The file of a unix socket, if it is one. What stands where a host would belongs to it:
    /// `unix://localhost:1234` is a file of that name in the working directory.
    pub(crate) fn socket_file(&self) -> Option<String> {
        let unix = matches!(self.scheme, Scheme::Unix | Scheme::Unixs);
        unix.then(|| format!("{}{}", self.host, self.path))
    }

    /// The socket address to bind, if the host is an IP literal or `localhost`.
    pub(crate) fn bind_address(&self) -> Option<SocketAddr> {
        let (_, port) = self.host.rsplit_once(':')?;
        let port = if port.is_empty() { 0 } else { port.parse().ok()? };
        let ip = match self.hostname() {
            "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
            host => host.parse().ok()?,
        };
        Some(SocketAddr::new(ip, port))
    }
}

/// Reads a comma separated list of URLs, sorted by text and without duplicates.
pub(crate) fn parse_list(text: &str) -> Result<Vec<Url>, String> {
    let mut urls = text.split(',').map(|u| parse(u.trim())).collect::<Result<Vec<_>, _>>()?;
    urls.sort_by_key(ToString::to_string);
    urls.dedup();
    Ok(urls)
}

/// Reads one URL.
pub(crate) fn parse(text: &str) -> Result<Url, String> {
    let go_error = |cause: String| format!("parse {}: {cause}", crate::config::quoted(text));
    if text.bytes().any(|b| b < 0x20 || b == 0x7f) {
        return Err(go_error("net/url: invalid control character in URL".to_owned()));
    }
    let (scheme, rest) = split_scheme(text).map_err(go_error)?;
    let no_scheme = || format!("URL scheme must be http, https, unix, or unixs: {text}");
    let Some(after) = rest.strip_prefix("//") else {
        let first = rest.split('/').next().unwrap_or_default();
        if scheme.is_empty() && first.contains(':') {
            return Err(go_error("first path segment in URL cannot contain colon".to_owned()));
        }
        if matches!(scheme.as_str(), "http" | "https") {
            return Err(format!("URL address does not have the form \"host:port\": {text}"));
        }
        return Err(no_scheme());
    };
    let end = after.find(['/', '?', '#']).unwrap_or(after.len());
    let (authority, path) = after.split_at(end);
    check_host(authority).map_err(go_error)?;
    let scheme = Scheme::parse(&scheme).ok_or_else(no_scheme)?;
    if matches!(scheme, Scheme::Http | Scheme::Https) {
        if !is_host_port(authority) {
            return Err(format!("URL address does not have the form \"host:port\": {text}"));
        }
        if !path.is_empty() {
            return Err(format!("URL must not contain a path: {text}"));
        }
    }
    Ok(Url { scheme, host: authority.to_owned(), path: path.to_owned() })
}

/// Splits off a lower-cased scheme; an empty scheme means that there is none.
fn split_scheme(text: &str) -> Result<(String, &str), String> {
    for (at, c) in text.char_indices() {
        match c {
            'a'..='z' | 'A'..='Z' => {}
            '0'..='9' | '+' | '-' | '.' if at > 0 => {}
            ':' if at == 0 => return Err("missing protocol scheme".to_owned()),
            ':' => return Ok((text[..at].to_ascii_lowercase(), &text[at + 1..])),
            _ => break,
        }
    }
    Ok((String::new(), text))
}

/// Go's checks of the authority part.
fn check_host(authority: &str) -> Result<(), String> {
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let after = if let Some(inner) = host.strip_prefix('[') {
        let Some(close) = inner.find(']') else {
            return Err("missing ']' in host".to_owned());
        };
        &inner[close + 1..]
    } else {
        host.rfind(':').map_or("", |at| &host[at..])
    };
    let port_ok = after.is_empty()
        || after.strip_prefix(':').is_some_and(|p| p.bytes().all(|b| b.is_ascii_digit()));
    if !port_ok {
        return Err(format!("invalid port {} after host", crate::config::quoted(after)));
    }
    match host.chars().find(|c| matches!(c, ' ' | '"' | '<' | '>' | '\\' | '^' | '`' | '{' | '}')) {
        Some(c) => {
            let quoted = crate::config::quoted(c.encode_utf8(&mut [0; 4]));
            Err(format!("invalid character {quoted} in host name"))
        }
        None => Ok(()),
    }
}

/// Whether `host:port` splits: one port, and brackets around an address with colons.
fn is_host_port(authority: &str) -> bool {
    match authority.rsplit_once(':') {
        Some((host, _)) if host.starts_with('[') => host.ends_with(']'),
        Some((host, _)) => !host.contains([':', '[', ']']),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_carry_the_texts_of_etcd() {
        let cases = [
            (
                "127.0.0.1:2379",
                r#"parse "127.0.0.1:2379": first path segment in URL cannot contain colon"#,
            ),
            (":2379", r#"parse ":2379": missing protocol scheme"#),
            ("http://a b:1", r#"parse "http://a b:1": invalid character " " in host name"#),
            ("http://h:x", r#"parse "http://h:x": invalid port ":x" after host"#),
            ("http://[::1", r#"parse "http://[::1": missing ']' in host"#),
            (
                "http://127.0.0.1",
                r#"URL address does not have the form "host:port": http://127.0.0.1"#,
            ),
            ("http://127.0.0.1:1/", "URL must not contain a path: http://127.0.0.1:1/"),
            ("foo", "URL scheme must be http, https, unix, or unixs: foo"),
            ("localhost:2379", "URL scheme must be http, https, unix, or unixs: localhost:2379"),
            ("", "URL scheme must be http, https, unix, or unixs: "),
            ("ftp://h:1", "URL scheme must be http, https, unix, or unixs: ftp://h:1"),
        ];
        for (text, want) in cases {
            assert_eq!(parse(text).expect_err(text), want);
        }
    }

    #[test]
    fn lists_are_trimmed_sorted_and_unique() {
        let urls = parse_list(" http://b:2 ,HTTP://a:1,http://b:2").expect("a good list");
        let texts: Vec<String> = urls.iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["http://a:1", "http://b:2"]);
    }

    #[test]
    fn only_addresses_and_localhost_can_be_bound() {
        let bind = |text| parse(text).expect("a good URL").bind_address();
        assert_eq!(bind("http://127.0.0.1:2379"), "127.0.0.1:2379".parse().ok());
        assert_eq!(bind("http://localhost:2379"), "127.0.0.1:2379".parse().ok());
        assert_eq!(bind("http://[::1]:2379"), "[::1]:2379".parse().ok());
        assert_eq!(bind("http://example.com:2379"), None);
        assert_eq!(bind("http://:2379"), None);
    }

    #[test]
    fn unix_urls_keep_their_path() {
        let url = parse("unix:///run/etcd.sock").expect("a good URL");
        assert_eq!((url.host.as_str(), url.path.as_str()), ("", "/run/etcd.sock"));
        assert_eq!(url.to_string(), "unix:///run/etcd.sock");
        assert_eq!(url.socket_file().as_deref(), Some("/run/etcd.sock"));
        let file = |text| parse(text).expect("a good URL").socket_file();
        assert_eq!(file("unixs://localhost:1234").as_deref(), Some("localhost:1234"));
        assert_eq!(file("http://localhost:1234"), None);
    }
}
