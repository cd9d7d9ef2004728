//! Lists of URLs as members publish them.

use crate::Error;

/// Trims, checks and sorts the URLs of one member; duplicates are kept.
///
/// Schemes are `http` and `https` with `host:port` and no path, or `unix` and `unixs`.
///
/// # Errors
/// [`Error::Urls`] with etcd's wording for an empty list or a URL of another form.
pub fn normalize<S: AsRef<str>>(urls: &[S]) -> Result<Vec<String>, Error> {
    if urls.is_empty() {
        return Err(Error::Urls("no valid URLs given".to_owned()));
    }
    let mut list =
        urls.iter().map(|url| one(url.as_ref().trim())).collect::<Result<Vec<_>, _>>()?;
    list.sort_unstable();
    Ok(list)
}

/// Checks one URL; the scheme comes back in lower case, the rest as given.
fn one(url: &str) -> Result<String, Error> {
    let bad = |why: &str| Error::Urls(format!("{why}: {url}"));
    let (scheme, rest) = match url.split_once("://") {
        Some((scheme, rest)) => (scheme.to_ascii_lowercase(), rest),
        None => return Err(bad("URL scheme must be http, https, unix, or unixs")),
    };
    match scheme.as_str() {
        "http" | "https" => {
            let host_len = rest.find(['/', '?', '#']).unwrap_or(rest.len());
            let (host, after) = rest.split_at(host_len);
            if !is_host_port(host) {
                return Err(bad("URL address does not have the form \"host:port\""));
            }
            if after.starts_with('/') {
                return Err(bad("URL must not contain a path"));
            }
        }
        "unix" | "unixs" => {}
        _ => return Err(bad("URL scheme must be http, https, unix, or unixs")),
    }
    Ok(format!("{scheme}://{rest}"))
}

/// `host:port` with one colon, or `[v6]:port`.
fn is_host_port(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let bracketed = host.starts_with('[') && host.ends_with(']');
    (bracketed || !host.contains([':', '[', ']'])) && port.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_lists_come_back_trimmed_and_sorted() {
        let urls = [" HTTP://b:2 ", "https://[::1]:2380", "http://a:1", "unix://x/y"];
        let sorted = ["http://a:1", "http://b:2", "https://[::1]:2380", "unix://x/y"];
        assert_eq!(normalize(&urls), Ok(sorted.map(str::to_owned).to_vec()));
    }

    #[test]
    fn bad_urls_are_refused_in_etcds_words() {
        for (url, words) in [
            ("", "URL scheme must be http, https, unix, or unixs: "),
            ("a:1", "URL scheme must be http, https, unix, or unixs: a:1"),
            ("ftp://a:1", "URL scheme must be http, https, unix, or unixs: ftp://a:1"),
            ("http://a", "URL address does not have the form \"host:port\": http://a"),
            ("http://::1:2", "URL address does not have the form \"host:port\": http://::1:2"),
            ("http://a:x", "URL address does not have the form \"host:port\": http://a:x"),
            ("http://a:1/", "URL must not contain a path: http://a:1/"),
        ] {
            assert_eq!(normalize(&[url]), Err(Error::Urls(words.to_owned())), "{url}");
        }
        assert_eq!(normalize::<&str>(&[]), Err(Error::Urls("no valid URLs given".to_owned())));
    }
}
