//! The way to the peer ports of others, with TLS where their URLs ask for it.

use std::io;
use std::sync::Arc;

use rafthttp::{BoxFuture, Dial, Io, PlainDial};

use crate::tls_setup::PeerTls;

/// Opens connections to peer URLs of every scheme.
#[derive(Clone, Debug)]
pub(crate) struct PeerDial(Arc<PeerTls>);

impl PeerDial {
    /// Shows and trusts what `tls` says.
    pub(crate) fn new(tls: PeerTls) -> PeerDial {
        PeerDial(Arc::new(tls))
    }
}

impl Dial for PeerDial {
    fn dial(&self, url: &str) -> BoxFuture<'static, io::Result<Box<dyn Io>>> {
        let Some((plain, name)) = secure(url) else { return PlainDial.dial(url) };
        let tls = self.0.clone();
        Box::pin(async move {
            let connector = tls.connector().map_err(io::Error::other)?;
            let io = PlainDial.dial(&plain).await?;
            Ok(Box::new(connector.connect(io, &name).await?) as Box<dyn Io>)
        })
    }
}

/// The URL below TLS, and the name the peer must be certified for; `None` for a plain URL.
fn secure(url: &str) -> Option<(String, String)> {
    match url.split_once("://")? {
        ("https", address) => {
            let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
            Some((format!("http://{address}"), host.to_owned()))
        }
        ("unixs", path) => {
            let name = path.rsplit('/').next().unwrap_or_default();
            Some((format!("unix://{path}"), name.to_owned()))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_tell_what_to_dial_and_whom_to_expect() {
        let cases = [
            ("http://a:1", None),
            ("unix://a/b", None),
            ("a:1", None),
            ("https://a:1", Some(("http://a:1", "a"))),
            ("https://[::1]:1", Some(("http://[::1]:1", "[::1]"))),
            ("unixs:///run/m1.local", Some(("unix:///run/m1.local", "m1.local"))),
        ];
        for (url, want) in cases {
            let want = want.map(|(plain, name)| (plain.to_owned(), name.to_owned()));
            assert_eq!(secure(url), want, "{url}");
        }
    }
}
