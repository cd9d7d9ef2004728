//! OpenSSL on the other side, if it is installed.

use std::process::Stdio;

use super::*;
use tokio::net::TcpListener;
use tokio::process::Command;

/// Runs `openssl`, or says why not.
async fn openssl(args: &[&str]) -> Option<String> {
    let output = Command::new("openssl").args(args).stdin(Stdio::null()).output().await;
    match output {
        Ok(output) => {
            let (out, err) = (&output.stdout, &output.stderr);
            Some(format!("{}{}", String::from_utf8_lossy(out), String::from_utf8_lossy(err)))
        }
        Err(error) => {
            println!("SKIPPED: openssl cannot be run: {error}");
            None
        }
    }
}

/// Accepts one connection and says hello on it.
async fn serve(acceptor: &Acceptor, listener: &TcpListener) -> Result<Option<Identity>, Rejected> {
    let (stream, remote) = listener.accept().await.expect("a connection");
    let mut accepted = acceptor.accept(stream, Some(remote.ip())).await?;
    accepted.stream.write_all(GREETING).await.ok();
    accepted.stream.shutdown().await.ok();
    Ok(accepted.identity)
}

#[tokio::test]
async fn openssl_gets_in_with_a_certificate_and_not_without() {
    let scene = Scene::new();
    let acceptor = acceptor(ServerOptions { check_address: true, ..scene.strict_server() });
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address").to_string();
    let ca = scene.ca_file.display().to_string();
    let (cert, key) =
        (scene.client.cert.display().to_string(), scene.client.key.display().to_string());
    let base = ["s_client", "-connect", &address, "-CAfile", &ca, "-verify_return_error"];
    for version in ["-tls1_2", "-tls1_3"] {
        let args = [&base[..], &[version, "-cert", &cert, "-key", &key, "-ign_eof"]].concat();
        let (served, said) = tokio::join!(
            tokio::time::timeout(tls::HANDSHAKE_TIMEOUT, serve(&acceptor, &listener)),
            openssl(&args)
        );
        let Some(said) = said else { return };
        assert!(said.contains("Verify return code: 0 (ok)"), "{said}");
        assert!(said.contains("hello"), "{said}");
        let identity = served.expect("in time").expect("accepted");
        assert_eq!(identity, Some(Identity { common_name: "root".to_owned() }));

        let args = [&base[..], &[version, "-ign_eof"]].concat();
        let (served, said) = tokio::join!(serve(&acceptor, &listener), openssl(&args));
        let error = served.expect_err("no certificate").error;
        assert_eq!(error, "tls: client didn't provide a certificate");
        let said = said.expect("it ran before");
        assert!(said.contains("alert"), "{said}");
    }
    let args = [&base[..], &["-tls1_1", "-cipher", "ALL:@SECLEVEL=0", "-ign_eof"]].concat();
    let (served, _) = tokio::join!(serve(&acceptor, &listener), openssl(&args));
    let error = served.expect_err("too old").error;
    assert_eq!(error, "tls: client offered only unsupported versions");
}

#[tokio::test]
async fn openssl_verifies_a_self_made_certificate_on_p_521() {
    let scene = Scene::new();
    let dir = scene.dir.path().join("auto");
    let made = tls::self_signed(&dir, &["127.0.0.1".to_owned()], 1).expect("a certificate");
    let cert = made.files.cert.display().to_string();
    let Some(text) = openssl(&["x509", "-in", &cert, "-noout", "-text"]).await else { return };
    for part in [
        "O = etcd",
        "ASN1 OID: secp521r1",
        "ecdsa-with-SHA512",
        "CA:TRUE",
        "Digital Signature, Key Encipherment, CRL Sign",
        "TLS Web Server Authentication",
        "IP Address:127.0.0.1",
    ] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    let acceptor = acceptor(ServerOptions { pair: made.files.clone(), ..scene.open_server() });
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address").to_string();
    let args = ["s_client", "-connect", &address, "-CAfile", &cert, "-ign_eof"];
    let (served, said) = tokio::join!(serve(&acceptor, &listener), openssl(&args));
    served.expect("accepted");
    let said = said.expect("it ran before");
    assert!(said.contains("Peer signature type: ECDSA"), "{said}");
    assert!(said.contains("Verify return code: 0 (ok)"), "{said}");
}
