//! What a client is told when there is no connection, and what the server logs meanwhile.

use super::*;

/// A client that is turned away.
struct Case<'a> {
    server: &'a Server,
    scheme: &'a str,
    flags: Vec<String>,
    /// Why, as our tool tells it.
    reason: &'a str,
    /// Why, as the server logs it.
    logged: &'a str,
}

/// What a tool tells of a call that does not get through: the code, the last line, and the reason
/// in its log line.
fn told(tool: Tool, case: &Case<'_>) -> (i32, String, String) {
    let endpoint = format!("{}{}", case.scheme, case.server.client_authority());
    let mut args = case.flags.clone();
    args.extend(["--command-timeout=3s", "get", "k"].map(str::to_owned));
    let output = tool.run_at(&endpoint, &args);
    let last = output.stderr.lines().last().unwrap_or_default().to_owned();
    let line = output.stderr.lines().find(|line| line.starts_with('{')).unwrap_or("null");
    let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
    (output.code, last, line["error"].as_str().unwrap_or_default().to_owned())
}

/// Runs both tools on all cases at once: each waits until its time is over. The distribution's
/// says that there is no connection, and not why.
fn check(cases: &[Case<'_>]) {
    const ERROR: &str = "Error: context deadline exceeded";
    std::thread::scope(|threads| {
        for case in cases {
            threads.spawn(move || {
                let theirs = threads.spawn(move || told(Tool::Reference, case));
                let (code, last, error) = told(Tool::Ours, case);
                assert_eq!((code, last.as_str()), (1, ERROR), "{}", case.reason);
                let reason = error.strip_prefix(
                    "rpc error: code = DeadlineExceeded desc = latest balancer error: last \
                     connection error: connection error: desc = \"",
                );
                let reason = reason.and_then(|reason| reason.strip_suffix('"'));
                let reason = reason.unwrap_or_else(|| panic!("{error}"));
                // Times are not known before.
                let (reason, _) = reason.split_once(": current time ").unwrap_or((reason, ""));
                assert_eq!(reason, case.reason);
                let (code, last, _) = theirs.join().expect("a tool");
                assert_eq!((code, last.as_str()), (1, ERROR), "{}", case.reason);
                rejected(case.server, case.logged);
            });
        }
    });
}

const HANDSHAKE: &str = "transport: authentication handshake failed: ";
const PREFACE: &str = "error reading server preface: ";

#[test]
fn a_server_that_is_not_trusted_is_told_from_one_that_speaks_otherwise() {
    let scene = Scene::new();
    let serving = |name: &str, subject: Subject| {
        let pair = scene.write(name, &scene.ca.issue(subject));
        let files = [("cert", &pair.cert), ("key", &pair.key)];
        let flags = files.map(|(file, path)| format!("--{file}-file={}", shown(path)));
        let builder = Server::builder(Kind::Ours, &scene.dir.path().join(name).join("member"));
        start(builder.client_schemes(&["https"]).args(flags))
    };
    let good = serving("good", server_subject());
    let expired = serving("expired", server_subject().expired());
    let elsewhere = serving("elsewhere", Subject::named("x").hosts(&["example.com", "10.9.9.9"]));
    let plain = Server::builder(Kind::Ours, &scene.dir.path().join("plain")).start();
    std::fs::write(file(&scene, "other.pem"), Authority::new("test-ca").pem()).expect("a CA");
    let other = vec![format!("--cacert={}", scene.path("other.pem"))];
    let trusting = || vec![format!("--cacert={}", scene.path("ca.pem"))];
    let verify = format!("{HANDSHAKE}tls: failed to verify certificate: x509: ");
    let https =
        |server, flags, reason, logged| Case { server, scheme: "https://", flags, reason, logged };
    check(&[
        https(
            &good,
            other,
            &format!("{verify}certificate signed by unknown authority"),
            "remote error: tls: ",
        ),
        https(
            &expired,
            trusting(),
            &format!("{verify}certificate has expired or is not yet valid"),
            "remote error: tls: ",
        ),
        https(
            &elsewhere,
            trusting(),
            &format!("{verify}certificate is valid for 10.9.9.9, not 127.0.0.1"),
            "remote error: tls: bad certificate",
        ),
        https(
            &plain,
            trusting(),
            &format!("{HANDSHAKE}EOF; does the server speak TLS?"),
            "tls: no https URL is listened on here",
        ),
        Case {
            scheme: "http://",
            ..https(
                &good,
                Vec::new(),
                &format!("{PREFACE}the server speaks TLS: use https"),
                "tls: first record does not look like a TLS handshake",
            )
        },
    ]);
}

#[test]
fn a_client_is_told_why_its_certificate_does_not_let_it_in() {
    let scene = Scene::new();
    let crl = file(&scene, "list.crl");
    let thief = scene.ca.issue(Subject::named("thief"));
    std::fs::write(&crl, scene.ca.revoke(&[&thief])).expect("write the list");
    let revoking = format!("--client-crl-file={}", shown(&crl));
    let strict = start(scene.strict_server(&["https"]).args([revoking]));
    let chosen = Server::builder(Kind::Ours, &scene.dir.path().join("chosen"));
    let chosen = start(chosen.client_schemes(&["https"]).args([
        format!("--cert-file={}", shown(&scene.server.cert)),
        format!("--key-file={}", shown(&scene.server.key)),
        format!("--trusted-ca-file={}", scene.path("ca.pem")),
        "--client-cert-allowed-hostname=client.example".to_owned(),
    ]));
    let bare = || vec![format!("--cacert={}", scene.path("ca.pem"))];
    let with = |name: &str, issued: &Issued| {
        let pair = scene.write(name, issued);
        let mut flags = bare();
        flags.extend([
            format!("--cert={}", shown(&pair.cert)),
            format!("--key={}", shown(&pair.key)),
        ]);
        flags
    };
    let stranger = Authority::new("test-ca").issue(Subject::named("root"));
    let late = scene.ca.issue(Subject::named("root").expired());
    let serving = scene.ca.issue(server_subject().only_for_servers());
    let of =
        |server, flags, reason, logged| Case { server, scheme: "https://", flags, reason, logged };
    let alert = format!("{PREFACE}remote error: tls: ");
    check(&[
        of(
            &strict,
            bare(),
            &format!("{alert}certificate required"),
            "tls: client didn't provide a certificate",
        ),
        of(
            &strict,
            with("stranger", &stranger),
            &format!("{alert}unknown certificate authority"),
            "x509: certificate signed by unknown authority",
        ),
        of(
            &strict,
            with("late", &late),
            &format!("{alert}expired certificate"),
            "x509: certificate has expired or is not yet valid",
        ),
        of(
            &strict,
            with("serving", &serving),
            &format!("{alert}unsupported certificate"),
            "x509: certificate specifies an incompatible key usage",
        ),
        of(&strict, with("thief", &thief), &format!("{alert}unknown certificate"), "revoked"),
        of(
            &chosen,
            with("root", &scene.ca.issue(Subject::named("root"))),
            &format!("{alert}access denied"),
            "client certificate authentication failed",
        ),
    ]);
}
