//! Links with TLS: when one is made, and what is told when none is.

use std::net::SocketAddr;
use std::time::Duration;

use client::{Client, Options, PairFiles, TlsOptions, Trust};
use tls::test_certs::{Authority, Subject};
use tls::{Acceptor, Allowed, Protocols, ServerOptions};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

/// An empty SETTINGS frame: what a server of HTTP/2 says first.
const SETTINGS: &[u8] = b"\0\0\0\x04\0\0\0\0\0";

struct Scene {
    dir: tempfile::TempDir,
    ca: Authority,
}

impl Scene {
    fn new() -> Scene {
        let dir = tempfile::tempdir().expect("a folder");
        let ca = Authority::new("ca");
        std::fs::write(dir.path().join("ca.pem"), ca.pem()).expect("write the CA");
        Scene { dir, ca }
    }

    fn pair(&self, name: &str, subject: Subject) -> PairFiles {
        self.ca.issue(subject).write(self.dir.path(), name)
    }

    /// Accepts one connection after the other, says what a server says, and keeps them open.
    async fn serve(&self, demand: bool) -> SocketAddr {
        let pair = self.pair("server", Subject::named("s").hosts(&["127.0.0.1"]));
        let options = ServerOptions {
            pair,
            trusted_ca: demand.then(|| self.dir.path().join("ca.pem")),
            client_cert_auth: demand,
            allowed: Allowed::All,
            crl: None,
            check_address: false,
            protocols: Protocols::default(),
            alpn: vec![b"h2".to_vec()],
        };
        let acceptor = Acceptor::new(options).expect("good files");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        tokio::spawn(async move {
            let mut open = Vec::new();
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(mut accepted) = acceptor.accept(stream, None).await else { continue };
                assert_eq!(accepted.stream.alpn(), Some(b"h2".as_slice()));
                accepted.stream.write_all(SETTINGS).await.expect("a client");
                open.push(accepted);
            }
        });
        address
    }

    fn options(&self, pair: Option<PairFiles>) -> Options {
        let trust = Trust::Ca(self.dir.path().join("ca.pem"));
        let tls = client::secure(TlsOptions { trust, pair, ..TlsOptions::default() });
        Options { tls: Some(tls.expect("good files")), ..Options::default() }
    }
}

async fn reaches(client: &Client) -> bool {
    let connection = client.connection();
    let told = async {
        while connection.dial_error().is_none() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let outcome = async {
        tokio::select! {
            () = client.connected() => true,
            () = told => false,
        }
    };
    tokio::time::timeout(Duration::from_secs(20), outcome).await.expect("in time")
}

/// What dialling tells.
async fn refusal(endpoint: String, options: Options) -> String {
    let client = Client::new(&[endpoint], options).expect("well formed");
    assert!(!reaches(&client).await, "there is a link");
    client.connection().dial_error().expect("a reason")
}

#[tokio::test]
async fn links_are_secure_where_scheme_and_options_ask_for_it() {
    let scene = Scene::new();
    let address = scene.serve(true).await;
    let pair = scene.pair("client", Subject::named("root"));
    for endpoint in [address.to_string(), format!("https://{address}")] {
        let options = scene.options(Some(pair.clone()));
        let client = Client::new(&[&endpoint], options).expect("well formed");
        assert!(reaches(&client).await, "{:?}", client.connection().dial_error());
        let peer = client.connection().peer().expect("a link");
        assert_eq!((peer.secure, peer.remote), (true, address.to_string()));
    }
}

#[tokio::test]
async fn a_server_that_is_not_trusted_is_no_link() {
    let scene = Scene::new();
    let address = scene.serve(false).await;
    let failed = "transport: authentication handshake failed: tls: failed to verify certificate: \
                  x509: ";
    let unknown = format!("{failed}certificate signed by unknown authority");
    // Without options the system's certificates decide.
    let https = format!("https://{address}");
    assert_eq!(refusal(https.clone(), Options::default()).await, unknown);
    let other = Scene::new();
    assert_eq!(refusal(https, other.options(None)).await, unknown);
    let port = address.port();
    let name = format!("{failed}certificate is not valid for any names, but wanted to match");
    let text = refusal(format!("https://localhost:{port}"), scene.options(None)).await;
    assert_eq!(text, format!("{name} localhost"));
}

#[tokio::test]
async fn a_server_that_does_not_let_us_in_is_no_link() {
    let scene = Scene::new();
    let address = scene.serve(true).await;
    assert_eq!(
        refusal(format!("https://{address}"), scene.options(None)).await,
        "error reading server preface: remote error: tls: certificate required"
    );
    let other = Scene::new();
    let stranger = other.pair("stranger", Subject::named("root"));
    assert_eq!(
        refusal(address.to_string(), scene.options(Some(stranger))).await,
        "error reading server preface: remote error: tls: unknown certificate authority"
    );
}

#[tokio::test]
async fn plain_and_secure_sides_do_not_meet() {
    let scene = Scene::new();
    let secure = scene.serve(false).await;
    let text = refusal(format!("http://{secure}"), scene.options(None)).await;
    assert_eq!(text, "error reading server preface: the server speaks TLS: use https");

    let says = [
        (
            &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..],
            "tls: first record does not look like a TLS handshake",
        ),
        (b"", "EOF; does the server speak TLS?"),
    ];
    for (answer, reason) in says {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let plain = listener.local_addr().expect("bound");
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut hello = [0; 16 << 10];
                assert!(stream.read(&mut hello).await.is_ok_and(|count| count > 0));
                stream.write_all(answer).await.ok();
            }
        });
        assert_eq!(
            refusal(format!("https://{plain}"), scene.options(None)).await,
            format!("transport: authentication handshake failed: {reason}")
        );
    }
}
