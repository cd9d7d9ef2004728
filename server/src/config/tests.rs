//! Tables over the whole way from arguments and environment to a configuration.

use super::flags::{FLAGS, IGNORED};
use super::removed::REMOVED;
use super::*;

fn read_with(args: &[&str], env: &[(&str, &str)]) -> Command {
    let args: Vec<OsString> = args.iter().map(OsString::from).collect();
    read(&args, env.iter().map(|(k, v)| (OsString::from(k), OsString::from(v))))
}

fn configure_with(args: &[&str], env: &[(&str, &str)]) -> Result<(Config, Vec<Notice>), Invalid> {
    match read_with(args, env) {
        Command::Run(startup) => {
            let mut notices = startup.notices.clone();
            startup.validate(&mut notices).map(|config| (config, notices))
        }
        other => panic!("no start: {other:?}"),
    }
}

fn configure(args: &[&str]) -> Result<Config, String> {
    configure_with(args, &[]).map(|(config, _)| config).map_err(|e| e.error)
}

fn usage_error(args: &[&str]) -> String {
    match read_with(args, &[]) {
        Command::Print { stdout, stderr, code: 2 } if stdout.is_empty() => {
            stderr.strip_suffix(USAGE).expect("the usage at the end").trim_end().to_owned()
        }
        other => panic!("no usage error: {other:?}"),
    }
}

#[test]
fn the_flags_are_those_of_etcd_3_7() {
    let names: Vec<&str> = FLAGS.iter().map(|f| f.name).collect();
    let golden: Vec<&str> = include_str!("flag_names.txt").lines().collect();
    assert_eq!(names, golden);
    assert_eq!((REMOVED.len(), IGNORED.len()), (33, 15));
}

#[test]
fn the_help_names_every_flag_with_its_default() {
    for flag in FLAGS.iter().filter(|f| !matches!(f.name, "version" | "config-file")) {
        let line = format!("  --{} '{}'\n", flag.name, flag.default);
        assert!(HELP.contains(&line), "{line}");
    }
    assert_eq!(HELP.matches("\n  --").count(), FLAGS.len() - 2);
}

#[test]
fn help_and_version_are_printed_and_succeed() {
    for arg in ["-h", "-help", "--help"] {
        match read_with(&[arg], &[]) {
            Command::Print { stdout, stderr, code: 0 } => {
                assert_eq!((stdout.as_str(), stderr.as_str()), (HELP, USAGE));
            }
            other => panic!("{other:?}"),
        }
    }
    match read_with(&["--version"], &[]) {
        Command::Print { stdout, stderr, code: 0 } => {
            let labels: Vec<&str> =
                stdout.lines().map(|l| l.split(": ").next().unwrap_or_default()).collect();
            assert_eq!(labels, ["etcd Version", "Git SHA", "Go Version", "Go OS/Arch"]);
            assert!(stdout.starts_with("etcd Version: 3.7.1\n") && stderr.is_empty());
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn bad_syntax_is_worded_as_by_go() {
    let cases: &[(&[&str], &str)] = &[
        (&["--nope"], "flag provided but not defined: -nope"),
        (&["-nope=1"], "flag provided but not defined: -nope"),
        (&["---x"], "bad flag syntax: ---x"),
        (&["-=x"], "bad flag syntax: -=x"),
        (&["--name"], "flag needs an argument: -name"),
        (&["--pre-vote=maybe"], "invalid boolean value \"maybe\" for -pre-vote: parse error"),
        (&["--snapshot-count=-1"], "invalid value \"-1\" for flag -snapshot-count: parse error"),
        (
            &["--quota-backend-bytes", "99999999999999999999"],
            "invalid value \"99999999999999999999\" for flag -quota-backend-bytes: value out of \
             range",
        ),
        (
            &["--max-concurrent-streams=x"],
            "invalid value \"x\" for flag -max-concurrent-streams: strconv.ParseUint: parsing \
             \"x\": invalid syntax",
        ),
        (
            &["--max-concurrent-streams=99999999999"],
            "invalid value \"99999999999\" for flag -max-concurrent-streams: strconv.ParseUint: \
             parsing \"99999999999\": value out of range",
        ),
        (
            &["--grpc-keepalive-timeout=5"],
            "invalid value \"5\" for flag -grpc-keepalive-timeout: parse error",
        ),
        (
            &["--initial-cluster-state=zz"],
            "invalid value \"zz\" for flag -initial-cluster-state: invalid value",
        ),
        (
            &["--listen-client-urls=127.0.0.1:2379"],
            "invalid value \"127.0.0.1:2379\" for flag -listen-client-urls: parse \
             \"127.0.0.1:2379\": first path segment in URL cannot contain colon",
        ),
        (
            &["--cors=x"],
            "invalid value \"x\" for flag -cors: URL scheme must be http, https, unix, or unixs: x",
        ),
        (
            &["--feature-gates=Foo=true"],
            "invalid value \"Foo=true\" for flag -feature-gates: unrecognized feature gate: Foo",
        ),
        (
            &["--v2-deprecation=not-yet"],
            "invalid value \"not-yet\" for flag -v2-deprecation: invalid value \"not-yet\"",
        ),
    ];
    for (args, want) in cases {
        assert_eq!(usage_error(args), *want);
    }
}

#[test]
fn faults_found_after_parsing_are_worded_as_by_etcd() {
    let cases: &[(&[&str], &str)] = &[
        (&["foo"], "\"foo\" is not a valid flag"),
        (&["--pre-vote", "false"], "\"false\" is not a valid flag"),
        (&["--name=a", "--", "x"], "\"x\" is not a valid flag"),
        (&["--config", "x"], "\"x\" is not a valid flag"),
        (
            &["--listen-client-urls=http://foo.bar:2379"],
            "expected IP in URL for binding (http://foo.bar:2379)",
        ),
        (&["--listen-peer-urls=http://:2380"], "expected IP in URL for binding (http://:2380)"),
        (
            &["--listen-client-urls=http://127.0.0.1:2379"],
            "--advertise-client-urls is required when --listen-client-urls is set explicitly",
        ),
        (
            &["--listen-client-urls="],
            "--advertise-client-urls is required when --listen-client-urls is set explicitly",
        ),
        (&["--heartbeat-interval=0"], "--heartbeat-interval must be >0 (set to 0ms)"),
        (&["--election-timeout=0"], "--election-timeout must be >0 (set to 0ms)"),
        (
            &["--election-timeout=499"],
            "--election-timeout[499ms] should be at least as 5 times as \
             --heartbeat-interval[100ms]",
        ),
        (
            &["--election-timeout=50001"],
            "--election-timeout[50001ms] is too long, and should be set less than 50000ms",
        ),
        (&["--auto-compaction-mode="], "undefined auto-compaction-mode"),
        (&["--auto-compaction-mode=foo"], "unknown auto-compaction-mode \"foo\""),
        (&["--compact-hash-check-time=0"], "--compact-hash-check-time must be >0 (set to 0s)"),
        (&["--discovery-token=x"], "both --discovery-token and --discovery-endpoints must be set"),
        (
            &["--initial-cluster=a=http://127.0.0.1:1", "--discovery-srv=example.com"],
            "multiple discovery or bootstrap flags are set. Choose one of \"initial-cluster\", \
             \"discovery-endpoints\" or \"discovery-srv\"",
        ),
        (
            &["--discovery-fallback=proxy"],
            "v2 proxy is deprecated, and --discovery-fallback can't be configured as \"proxy\"",
        ),
        (
            &["--tls-min-version=TLS1.1"],
            "unexpected TLS version \"TLS1.1\" (must be one of: TLS1.2, TLS1.3)",
        ),
        (
            &["--tls-min-version=TLS1.3", "--tls-max-version=TLS1.2"],
            "min version (TLS1.3) is greater than max version (TLS1.2)",
        ),
        (
            &["--feature-gates=LeaseCheckpointPersist=true"],
            "enabling feature gate LeaseCheckpointPersist requires enabling feature gate \
             LeaseCheckpoint",
        ),
    ];
    for (args, want) in cases {
        assert_eq!(configure(args).expect_err("a refusal"), *want, "{args:?}");
    }
}

#[test]
fn what_comes_later_is_refused_by_name() {
    let cases = [
        "--auth-token=jwt",
        "--config-file=x",
        "--enable-pprof",
        "--discovery-srv=example.com",
        "--feature-gates=LeaseCheckpoint=true",
        "--log-outputs=systemd/journal",
    ];
    for arg in cases {
        let error = match read_with(&[arg], &[]) {
            Command::Run(startup) => match startup.logging() {
                Err(error) => error,
                Ok(_) => configure(&[arg]).expect_err(arg),
            },
            other => panic!("{other:?}"),
        };
        let name = arg.split('=').next().unwrap_or_default().replace("experimental-", "");
        assert!(error.starts_with(&name) && error.contains("is refused"), "{error}");
    }
}

#[test]
fn what_comes_later_is_accepted_at_its_default() {
    let args: Vec<String> = FLAGS
        .iter()
        .filter(|f| !matches!(f.name, "version" | "initial-cluster"))
        .map(|f| format!("--{}={}", f.name, f.default))
        .filter(|a| !matches!(a.as_str(), "--v2-deprecation=" | "--discovery-endpoints="))
        .collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    // Explicitly empty lists of names mean one empty name; they are tested on their own.
    let lists = ["--client-cert-allowed-hostname=", "--peer-cert-allowed-", "--cipher-suites="];
    let args: Vec<&str> =
        args.into_iter().filter(|a| !lists.iter().any(|l| a.starts_with(l))).collect();
    configure(&args).expect("defaults are accepted");
}

#[test]
fn the_flags_of_the_reference_unit_are_understood() {
    let config = configure(&[
        "--name=etcd-1",
        "--cert-file=/etc/kubernetes/ssl/etcd.pem",
        "--key-file=/etc/kubernetes/ssl/etcd-key.pem",
        "--peer-cert-file=/etc/kubernetes/ssl/etcd.pem",
        "--peer-key-file=/etc/kubernetes/ssl/etcd-key.pem",
        "--trusted-ca-file=/etc/kubernetes/ssl/ca.pem",
        "--peer-trusted-ca-file=/etc/kubernetes/ssl/ca.pem",
        "--initial-advertise-peer-urls=https://127.0.0.2:2380",
        "--listen-peer-urls=https://127.0.0.2:2380",
        "--listen-client-urls=https://127.0.0.2:2379,http://127.0.0.1:2379",
        "--advertise-client-urls=https://127.0.0.2:2379",
        "--initial-cluster-token=etcd-cluster-0",
        "--initial-cluster=etcd-1=https://127.0.0.2:2380",
        "--initial-cluster-state=new",
        "--data-dir=/var/lib/etcd",
        "--wal-dir=",
        "--snapshot-count=50000",
        "--auto-compaction-retention=1",
        "--auto-compaction-mode=periodic",
        "--max-request-bytes=10485760",
        "--quota-backend-bytes=8589934592",
    ])
    .expect("a good configuration");
    assert_eq!(config.wal_path(), Path::new("/var/lib/etcd/member/wal"));
    assert_eq!(config.auto_compaction, Ok(Retention::Periodic(Duration::from_secs(3600))));
    assert_eq!((config.snapshot_count, config.quota_backend_bytes), (50_000, 8_589_934_592));
    let schemes: Vec<_> = config.listen_client_urls.iter().map(|url| url.scheme).collect();
    assert_eq!(schemes, [Scheme::Http, Scheme::Https]);
    let (clients, peers) = (&config.client_tls, &config.peer_tls);
    for side in [clients, peers] {
        assert_eq!(side.cert, "/etc/kubernetes/ssl/etcd.pem");
        assert_eq!(side.key, "/etc/kubernetes/ssl/etcd-key.pem");
        assert_eq!(side.trusted_ca, "/etc/kubernetes/ssl/ca.pem");
        assert!(!side.client_cert_auth && !side.auto && !side.is_empty());
    }
    assert_eq!(config.tls_min_version, Some(::tls::Version::Tls12));
}

#[test]
fn every_tls_flag_lands_on_its_side() {
    let config = configure(&[
        "--cert-file=c1",
        "--key-file=c2",
        "--client-cert-file=c3",
        "--client-key-file=c4",
        "--client-cert-auth",
        "--client-crl-file=c5",
        "--client-cert-allowed-hostname=c6, c7",
        "--trusted-ca-file=c8",
        "--auto-tls",
        "--peer-cert-file=p1",
        "--peer-key-file=p2",
        "--peer-client-cert-file=p3",
        "--peer-client-key-file=p4",
        "--peer-client-cert-auth",
        "--peer-crl-file=p5",
        "--peer-cert-allowed-cn=p6",
        "--peer-cert-allowed-hostname=p7",
        "--peer-trusted-ca-file=p8",
        "--peer-auto-tls",
        "--peer-skip-client-san-verification",
        "--self-signed-cert-validity=3",
        "--cipher-suites=A,B",
        "--tls-min-version=TLS1.2",
        "--tls-max-version=TLS1.3",
    ])
    .expect("a good configuration");
    let texts = |names: &[&str]| names.iter().map(|&n| n.to_owned()).collect::<Vec<_>>();
    let side = |letter: &str| TlsFlags {
        cert: format!("{letter}1"),
        key: format!("{letter}2"),
        client_cert: format!("{letter}3"),
        client_key: format!("{letter}4"),
        trusted_ca: format!("{letter}8"),
        crl: format!("{letter}5"),
        client_cert_auth: true,
        auto: true,
        ..TlsFlags::default()
    };
    let clients = TlsFlags { allowed_hostnames: texts(&["c6", "c7"]), ..side("c") };
    assert_eq!(config.client_tls, clients);
    let peers = TlsFlags {
        allowed_cns: texts(&["p6"]),
        allowed_hostnames: texts(&["p7"]),
        skip_address_check: true,
        ..side("p")
    };
    assert_eq!(config.peer_tls, peers);
    assert_eq!((config.self_signed_years, config.cipher_suites), (3, texts(&["A", "B"])));
    assert_eq!(config.tls_min_version, Some(::tls::Version::Tls12));
    assert_eq!(config.tls_max_version, Some(::tls::Version::Tls13));
}

#[test]
fn an_empty_list_of_names_restricts_nobody_and_warns() {
    let args = ["--peer-cert-allowed-cn=", "--client-cert-allowed-hostname="];
    let (config, notices) = configure_with(&args, &[]).expect("a good configuration");
    assert!(config.peer_tls.allowed_cns.is_empty());
    assert!(config.client_tls.allowed_hostnames.is_empty());
    for flag in ["peer-cert-allowed-cn", "client-cert-allowed-hostname"] {
        let text = format!("--{flag} is empty and restricts nothing");
        assert!(notices.iter().any(|notice| notice.warn && notice.message == text), "{flag}");
    }
}

#[test]
fn members_wait_for_each_other_5_s_or_longer() {
    let args = ["--raft-read-timeout=1s", "--raft-write-timeout=7s"];
    let (config, notices) = configure_with(&args, &[]).expect("a good configuration");
    let second = Duration::from_secs(1);
    assert_eq!((config.peer_timeouts.read, config.peer_timeouts.write), (5 * second, 7 * second));
    let told: Vec<_> = notices.iter().filter(|n| n.message.contains("timeout")).collect();
    let raised = "raft-read-timeout increased to minimum value: 5s";
    assert!(matches!(told[..], [notice] if !notice.warn && notice.message == raised), "{told:?}");
}

#[test]
fn defaults_are_those_of_etcd() {
    let (config, notices) = configure_with(&[], &[]).expect("defaults");
    assert_eq!(config.data_dir, Path::new("default.etcd"));
    assert_eq!(config.initial_cluster, "default=http://localhost:2380");
    assert_eq!(config.quota_backend_bytes, 2_147_483_648);
    assert_eq!(config.request_timeout(), Duration::from_secs(7));
    assert_eq!((config.election_ticks(), config.min_lease_ttl()), (10, 2));
    assert_eq!(config.max_concurrent_streams, u32::MAX);
    assert!(config.cors.is_empty() && config.host_whitelist.is_empty());
    let texts: Vec<&str> = notices.iter().map(|n| n.message.as_str()).collect();
    assert_eq!(
        texts,
        [
            "Running http and grpc server on single port. This is not recommended for production.",
            "it isn't recommended to use default name, please set a value for --name. Note that \
             etcd might run into issue when multiple members have the same default name",
            "'data-dir' was empty; using default",
        ]
    );
}

#[test]
fn a_name_makes_the_initial_cluster() {
    let args = ["--name=m1", "--initial-advertise-peer-urls=http://b:1,http://a:1"];
    let config = configure(&args).expect("a good configuration");
    assert_eq!(config.initial_cluster, "m1=http://a:1,m1=http://b:1");
    assert_eq!(config.data_dir, Path::new("m1.etcd"));
}

#[test]
fn an_explicitly_empty_whitelist_holds_one_empty_name() {
    let config = configure(&["--host-whitelist=", "--cors="]).expect("accepted");
    assert_eq!(config.host_whitelist, [""]);
    assert!(config.cors.is_empty());
}

#[test]
fn the_environment_sets_flags_and_reports_the_rest() {
    let env = [
        ("ETCD_NAME", "m1"),
        ("ETCD_DATA_DIR", ""),
        ("ETCD_FOO", "1"),
        ("ETCDCTL_API", "3"),
        ("ETCD_VERSION", "true"),
        ("ETCD_FORCE", "x"),
        ("ETCD_EXPERIMENTAL_WARNING_APPLY_DURATION", "5s"),
    ];
    let (config, notices) = configure_with(&[], &env).expect("a good configuration");
    assert_eq!((config.name.as_str(), config.warning_apply), ("m1", Duration::from_secs(5)));
    let lines: Vec<String> = notices
        .iter()
        .take(6)
        .map(|n| format!("{} {:?}", n.message, n.fields.iter().map(|f| &f.1).collect::<Vec<_>>()))
        .collect();
    assert_eq!(
        lines,
        [
            "unrecognized environment variable [\"ETCD_DATA_DIR=\"]",
            "recognized and used environment variable \
             [\"ETCD_EXPERIMENTAL_WARNING_APPLY_DURATION\", \"5s\"]",
            "--experimental-warning-apply-duration is deprecated in v3.6 and will be \
             decommissioned in v3.7. Use '--warning-apply-duration' instead. []",
            "unrecognized environment variable [\"ETCD_FOO=1\"]",
            "recognized and used environment variable [\"ETCD_NAME\", \"m1\"]",
            "cannot set special environment variable [\"ETCD_VERSION\", \"true\"]",
        ]
    );
}

#[test]
fn a_variable_beside_its_flag_is_a_conflict() {
    for value in ["x", "y", ""] {
        match read_with(&["--name=x"], &[("ETCD_NAME", value)]) {
            Command::Fatal { message, .. } => {
                assert!(message.message.ends_with("or disable flag))"));
                let field = ("environment-variable", "ETCD_NAME".to_owned());
                assert_eq!(message.fields, [field]);
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_bad_variable_is_refused_with_its_name() {
    let error = configure_with(&[], &[("ETCD_MAX_TXN_OPS", "x")]).expect_err("a refusal");
    assert_eq!(error.error, "invalid value \"x\" for ETCD_MAX_TXN_OPS: parse error");
}

#[test]
fn flags_of_older_versions_are_aliases_or_gone() {
    let config = configure(&["--experimental-compaction-batch-limit=5"]).expect("an alias");
    assert_eq!(config.compaction_batch_limit, 5);
    let gate = "--experimental-txn-mode-write-with-shared-buffer=false";
    assert!(!configure(&[gate]).expect("a gate").gates.enabled("TxnModeWriteWithSharedBuffer"));
    configure(&["--enable-v2=false", "--proxy=off", "--discovery=", "-v", "--snapshot"])
        .expect("tolerated");
    let error = configure(&["--enable-v2"]).expect_err("refused");
    assert_eq!(error, "--enable-v2 was removed; --enable-v2=true cannot be served");
    let error = configure(&["--proxy=on"]).expect_err("refused");
    assert_eq!(error, "--proxy was removed; --proxy=on cannot be served");
}

#[test]
fn the_last_value_wins_but_gates_merge() {
    let config = configure(&[
        "-name",
        "a",
        "--name=b",
        "--feature-gates=PriorityRequest=true",
        "--feature-gates=TxnModeWriteWithSharedBuffer=false",
    ])
    .expect("accepted");
    assert_eq!(config.name, "b");
    assert!(config.gates.enabled("PriorityRequest"));
    assert!(!config.gates.enabled("TxnModeWriteWithSharedBuffer"));
}

#[test]
fn retentions_are_read_as_etcd_reads_them() {
    let hour = Duration::from_secs(3600);
    let cases: &[(&str, &str, Result<Retention, &str>)] = &[
        ("periodic", "0", Ok(Retention::Off)),
        ("periodic", "1", Ok(Retention::Periodic(hour))),
        ("periodic", "1h", Ok(Retention::Periodic(hour))),
        ("periodic", "60m", Ok(Retention::Periodic(hour))),
        ("periodic", "0.5h", Ok(Retention::Periodic(hour / 2))),
        ("periodic", "+01", Ok(Retention::Periodic(hour))),
        ("periodic", "0s", Ok(Retention::Off)),
        ("revision", "1000", Ok(Retention::Revisions(1000))),
        ("revision", "1h", Ok(Retention::Revisions(3_600_000_000_000))),
        ("revision", "0", Ok(Retention::Off)),
        (
            "periodic",
            "abc",
            Err("error parsing CompactionRetention: time: invalid duration \"abc\""),
        ),
        (
            "periodic",
            "-1",
            Err("error parsing CompactionRetention: time: missing unit in duration \"-1\""),
        ),
        (
            "periodic",
            "1d",
            Err("error parsing CompactionRetention: time: unknown unit \"d\" in duration \"1d\""),
        ),
    ];
    for (mode, text, want) in cases {
        let got = Retention::parse(mode, text);
        assert_eq!(got, want.map_err(str::to_owned), "{mode} {text}");
    }
}

#[test]
fn log_settings_are_checked() {
    let logging = |args: &[&str]| match read_with(args, &[]) {
        Command::Run(startup) => startup.logging(),
        other => panic!("{other:?}"),
    };
    assert_eq!(logging(&[]), Ok(LogConfig::default()));
    let cases = [
        ("--logger=capnslog", "--logger=capnslog is removed in v3.5"),
        ("--logger=x", "unknown logger option \"x\""),
        ("--log-level=bad", "unrecognized level: \"bad\""),
        ("--log-format=xml", "unknown log format: xml, supported values json, console"),
        ("--log-outputs=default,stdout", "multi logoutput for \"default\" is not supported yet"),
        ("--log-outputs=", "open sink \"\": open : no such file or directory"),
    ];
    for (arg, want) in cases {
        assert_eq!(logging(&[arg]).expect_err(arg), want);
    }
    let config = logging(&["--log-outputs=stdout,stderr,stdout", "--log-level=WARN"]);
    assert_eq!(config.expect("accepted").outputs, ["stderr", "stdout"]);
}
