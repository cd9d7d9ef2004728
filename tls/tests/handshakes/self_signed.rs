//! Certificates a server makes for itself.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::*;

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).expect("it is there").permissions().mode() & 0o777
}

#[tokio::test]
async fn a_self_made_certificate_serves_its_hosts_and_is_its_own_ca() {
    let scene = Scene::new();
    let dir = scene.dir.path().join("fixtures/client");
    let hosts = ["127.0.0.1".to_owned(), "localhost".to_owned()];
    let made = tls::self_signed(&dir, &hosts, 2).expect("a certificate");
    assert_eq!(made.files.cert, dir.join("cert.pem"));
    assert_eq!((mode(&dir), mode(&made.files.key)), (0o700, 0o600));
    let until = made.made_until.expect("it is new");
    let left = until.duration_since(std::time::SystemTime::now()).expect("it is valid");
    assert_eq!((left.as_secs() + 60) / 86_400, 2 * 365);

    let acceptor = acceptor(ServerOptions { pair: made.files.clone(), ..scene.open_server() });
    let trust = Trust::Ca(made.files.cert.clone());
    let client = connector(ClientOptions { trust, ..ClientOptions::default() });
    for host in ["localhost", "127.0.0.1"] {
        meet_at(&acceptor, &client, host, None).await.succeeds();
    }
    let stranger = connector(scene.client_with(None));
    let (_, error) = meet(&acceptor, &stranger).await.fails();
    assert!(error.contains("unknown authority"), "{error}");

    // It stays as it is while both files are there.
    let again = tls::self_signed(&dir, &["other".to_owned()], 1).expect("a certificate");
    assert_eq!((again.made_until, &again.files), (None, &made.files));
    let pem = std::fs::read(&made.files.cert).expect("the certificate");
    std::fs::remove_file(&made.files.key).expect("the key");
    let new = tls::self_signed(&dir, &hosts, 1).expect("a certificate");
    assert!(new.made_until.is_some());
    assert_ne!(std::fs::read(&made.files.cert).expect("the certificate"), pem);
}

#[test]
fn a_certificate_without_validity_is_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let error = tls::self_signed(dir.path(), &[], 0).expect_err("no year");
    assert_eq!(error.to_string(), "selfSignedCertValidity is invalid,it should be greater than 0");
    let file = dir.path().join("file");
    std::fs::write(&file, "").expect("a file");
    let error = tls::self_signed(&file.join("sub"), &[], 1).expect_err("no folder");
    assert!(error.to_string().starts_with("cannot write "), "{error}");
    // Longer than any certificate can say.
    tls::self_signed(&dir.path().join("long"), &[], u64::MAX).expect("a certificate");
}
