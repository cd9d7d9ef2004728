//! Whole handshakes over pipes: who gets in, who does not, and what both sides are told.

#![forbid(unsafe_code)]

mod chains;
mod files;
mod foreign;
mod peers;
mod protocols;
mod self_signed;

use std::net::IpAddr;
use std::path::PathBuf;

use tempfile::TempDir;
use tls::test_certs::{Authority, Issued, Subject};
use tls::{
    Acceptor, Allowed, ClientOptions, Connector, Identity, PairFiles, Protocols, Rejected,
    ServerOptions, Trust,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// What the server says to whom it accepts.
const GREETING: &[u8] = b"hello";

/// A folder, a CA, and certificates of both sides that are in order.
struct Scene {
    dir: TempDir,
    ca: Authority,
    ca_file: PathBuf,
    server: PairFiles,
    client: PairFiles,
}

impl Scene {
    fn new() -> Scene {
        let dir = tempfile::tempdir().expect("a folder");
        let ca = Authority::new("test-ca");
        let ca_file = dir.path().join("ca.pem");
        std::fs::write(&ca_file, ca.pem()).expect("write the CA");
        let server = ca.issue(server_subject()).write(dir.path(), "server");
        let client = ca.issue(Subject::named("root")).write(dir.path(), "client");
        Scene { dir, ca, ca_file, server, client }
    }

    /// A server that demands nothing.
    fn open_server(&self) -> ServerOptions {
        ServerOptions {
            pair: self.server.clone(),
            trusted_ca: None,
            client_cert_auth: false,
            allowed: Allowed::All,
            crl: None,
            check_address: false,
            protocols: Protocols::default(),
            alpn: Vec::new(),
        }
    }

    /// A server that demands certificates of the CA.
    fn strict_server(&self) -> ServerOptions {
        ServerOptions { trusted_ca: Some(self.ca_file.clone()), ..self.open_server() }
    }

    /// A client that trusts the CA and shows this.
    fn client_with(&self, pair: Option<PairFiles>) -> ClientOptions {
        ClientOptions { trust: Trust::Ca(self.ca_file.clone()), pair, ..ClientOptions::default() }
    }

    /// Writes a client's certificate.
    fn write(&self, name: &str, issued: &Issued) -> Option<PairFiles> {
        Some(issued.write(self.dir.path(), name))
    }
}

fn server_subject() -> Subject {
    Subject::named("etcd-server").hosts(&["localhost", "127.0.0.1"])
}

fn acceptor(options: ServerOptions) -> Acceptor {
    Acceptor::new(options).expect("good options")
}

fn connector(options: ClientOptions) -> Connector {
    Connector::new(options).expect("good options")
}

/// What became of both sides of a connection.
#[derive(Debug)]
struct Meeting {
    server: Result<Option<Identity>, Rejected>,
    client: Result<(), String>,
}

impl Meeting {
    fn succeeds(self) -> Option<Identity> {
        assert_eq!(self.client, Ok(()), "server: {:?}", self.server);
        self.server.expect("the client is in")
    }

    /// The texts of both sides.
    fn fails(self) -> (String, String) {
        let server = self.server.expect_err("a refusal").error;
        (server, self.client.expect_err("a refusal"))
    }
}

/// Lets `connector` dial `acceptor` as `localhost`.
async fn meet(acceptor: &Acceptor, connector: &Connector) -> Meeting {
    meet_at(acceptor, connector, "localhost", None).await
}

async fn meet_at(
    acceptor: &Acceptor,
    connector: &Connector,
    host: &str,
    remote: Option<IpAddr>,
) -> Meeting {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let server = async {
        let mut accepted = acceptor.accept(far, remote).await?;
        // The client may have gone after all.
        accepted.stream.write_all(GREETING).await.ok();
        accepted.stream.shutdown().await.ok();
        Ok(accepted.identity)
    };
    let client = async {
        let mut stream = connector.connect(near, host).await.map_err(|e| tls::describe(&e))?;
        let mut heard = Vec::new();
        stream.read_to_end(&mut heard).await.map_err(|e| tls::describe(&e))?;
        assert_eq!(heard, GREETING);
        Ok(())
    };
    let (server, client) = tokio::join!(server, client);
    Meeting { server, client }
}
