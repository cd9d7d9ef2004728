//! The global flags, after the environment has had its say.

use std::ffi::OsString;
use std::sync::Arc;
use std::time::Duration;

use client::{PairFiles, TlsConnector, TlsOptions, Trust};

use crate::cli::{self, Parsed, Value};
use crate::failure::{Failure, code};
use crate::output;
use crate::print::{Format, Style};

const PREFIX: &str = "ETCDCTL_";
/// Variables with a meaning of their own: scripts for older versions set the first, `watch`
/// reads the others.
const OTHERS: [&str; 2] = ["ETCDCTL_WATCH_KEY", "ETCDCTL_WATCH_RANGE_END"];
/// The client's limit on the size of a request when `--max-request-bytes` is zero.
const REQUEST_BYTES_DEFAULT: usize = 2 * 1024 * 1024;
/// The client's limit on the size of a response when `--max-recv-bytes` is zero.
const RESPONSE_BYTES_DEFAULT: usize = i32::MAX as usize;

/// What every command needs to know to reach the servers and print their answers.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Where the servers listen, as given.
    pub(crate) endpoints: Vec<String>,
    /// Bound for making the connection where it is waited for.
    pub(crate) dial_timeout: Duration,
    /// Bound for the RPCs of one command.
    pub(crate) command_timeout: Duration,
    /// The same when it was set, for commands that otherwise take as long as they take.
    pub(crate) explicit_timeout: Option<Duration>,
    /// Period of HTTP/2 pings.
    pub(crate) keepalive_time: Duration,
    /// How long a ping may stay unanswered.
    pub(crate) keepalive_timeout: Duration,
    /// Requests above this size are refused here.
    pub(crate) request_bytes_max: usize,
    /// Responses above this size are refused here.
    pub(crate) response_bytes_max: usize,
    /// User name and password, when `--user` was given.
    pub(crate) user: Option<(String, Option<String>)>,
    /// A token to use as it is.
    pub(crate) token: String,
    /// How TLS is spoken, if a flag asks for it.
    pub(crate) tls: Option<Arc<TlsConnector>>,
    /// How to print.
    pub(crate) style: Style,
}

impl Settings {
    /// Reads the global flags of `parsed` and the variables of `environment`.
    ///
    /// # Errors
    /// A variable that repeats a flag, an unknown output format, TLS files that do not serve.
    pub(crate) fn read(
        parsed: &mut Parsed,
        environment: impl Iterator<Item = (OsString, OsString)>,
    ) -> Result<Self, Failure> {
        apply_environment(parsed, environment)?;
        let Some(format) = Format::parse(parsed.text("write-out")) else {
            return Err(Failure::new(code::BAD_FEATURE, "unsupported output format"));
        };
        let endpoints = match parsed.value("endpoints") {
            Value::List(endpoints) => endpoints.clone(),
            _ => Vec::new(),
        };
        refuse_discovery(parsed)?;
        Ok(Settings {
            endpoints,
            dial_timeout: duration(parsed, "dial-timeout"),
            command_timeout: duration(parsed, "command-timeout"),
            explicit_timeout: parsed
                .given("command-timeout")
                .then(|| duration(parsed, "command-timeout")),
            keepalive_time: duration(parsed, "keepalive-time"),
            keepalive_timeout: duration(parsed, "keepalive-timeout"),
            request_bytes_max: size(parsed, "max-request-bytes", REQUEST_BYTES_DEFAULT),
            response_bytes_max: size(parsed, "max-recv-bytes", RESPONSE_BYTES_DEFAULT),
            user: user(parsed),
            token: parsed.text("auth-jwt-token").to_owned(),
            tls: tls(parsed)?,
            style: Style { format, hex: parsed.switch("hex") },
        })
    }

    /// The same for one endpoint.
    pub(crate) fn at(&self, endpoint: &str) -> Self {
        Settings { endpoints: vec![endpoint.to_owned()], ..self.clone() }
    }
}

fn duration(parsed: &Parsed, flag: &str) -> Duration {
    let nanoseconds = match parsed.value(flag) {
        Value::Duration(nanoseconds) => *nanoseconds,
        _ => 0,
    };
    Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(0))
}

fn size(parsed: &Parsed, flag: &str, default: usize) -> usize {
    match usize::try_from(parsed.int(flag)) {
        Ok(bytes) if bytes > 0 => bytes,
        _ => default,
    }
}

/// `--user name:password`, or the name alone when `--password` is given or still to be asked.
fn user(parsed: &Parsed) -> Option<(String, Option<String>)> {
    let (user, password) = (parsed.text("user"), parsed.text("password"));
    if user.is_empty() || !parsed.text("auth-jwt-token").is_empty() {
        return None;
    }
    if !password.is_empty() {
        return Some((user.to_owned(), Some(password.to_owned())));
    }
    Some(match user.split_once(':') {
        Some((name, password)) => (name.to_owned(), Some(password.to_owned())),
        None => (user.to_owned(), None),
    })
}

/// Fills flags that were not given from the environment.
fn apply_environment(
    parsed: &mut Parsed,
    environment: impl Iterator<Item = (OsString, OsString)>,
) -> Result<(), Failure> {
    let mut variables: Vec<(String, String)> = environment
        .map(|(name, value)| {
            (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned())
        })
        .filter(|(name, _)| name.starts_with(PREFIX))
        .collect();
    variables.sort();
    for (name, value) in variables {
        let flag = cli::GLOBAL_FLAGS.iter().find(|flag| variable_of(flag.long) == name);
        let Some(flag) = flag else {
            let understood =
                OTHERS.contains(&name.as_str()) || (name == "ETCDCTL_API" && value == "3");
            if !understood {
                let variable = format!("{name}={value}");
                let fields = [("environment-variable", variable.as_str())];
                output::log(
                    "warn",
                    "flags/flag.go:94",
                    "unrecognized environment variable",
                    &fields,
                );
            }
            continue;
        };
        if parsed.given(flag.long) {
            let message = "conflicting environment variable is shadowed by corresponding \
                           command-line flag (either unset environment variable or disable flag))";
            let fields = [("environment-variable", name.as_str())];
            output::log("fatal", "flags/flag.go:85", message, &fields);
            return Err(Failure::silent(code::ERROR));
        }
        // A value that cannot be read leaves the default, as it always did.
        if !value.is_empty()
            && let Ok(value) = cli::read(flag, &value, None)
        {
            parsed.replace(flag.long, value);
        }
    }
    Ok(())
}

fn variable_of(flag: &str) -> String {
    format!("{PREFIX}{}", flag.to_uppercase().replace('-', "_"))
}

fn refuse_discovery(parsed: &Parsed) -> Result<(), Failure> {
    if parsed.text("discovery-srv").is_empty() {
        return Ok(());
    }
    Err(Failure::arguments("--discovery-srv is not supported by this version"))
}

/// TLS as the flags set it up. Any of them that names a file does, and so does each of the
/// other two alone; endpoints with `https` speak TLS also without them.
fn tls(parsed: &Parsed) -> Result<Option<Arc<TlsConnector>>, Failure> {
    for flag in ["cert", "key", "cacert"] {
        if parsed.given(flag) && parsed.text(flag).is_empty() {
            return Err(Failure::arguments(format!("empty string is passed to --{flag} option")));
        }
    }
    let ca = parsed.text("cacert");
    let blind = parsed.switch("insecure-skip-tls-verify");
    let refused = |error: client::TlsError| Failure::arguments(error.to_string());
    let pair = PairFiles::from_flags(parsed.text("cert"), parsed.text("key")).map_err(refused)?;
    if pair.is_none() && ca.is_empty() && !blind && parsed.switch("insecure-transport") {
        return Ok(None);
    }
    let trust = if ca.is_empty() { Trust::System } else { Trust::Ca(ca.into()) };
    let options = TlsOptions { trust, pair, ..TlsOptions::default() };
    // A CA file must serve even if nobody is to be verified.
    let connector = client::secure(options.clone()).map_err(refused)?;
    if !blind {
        return Ok(Some(connector));
    }
    let options = TlsOptions { trust: Trust::Blind, ..options };
    Ok(Some(client::secure(options).map_err(refused)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(flags: &[&str], variables: &[(&str, &str)]) -> Result<Settings, Failure> {
        let words: Vec<OsString> = flags.iter().map(OsString::from).collect();
        let mut parsed = cli::parse(&[&cli::ROOT], &words).unwrap_or_else(|bad| panic!("{bad:?}"));
        let variables = variables.iter().map(|(name, value)| (name.into(), value.into()));
        Settings::read(&mut parsed, variables)
    }

    fn refused(flags: &[&str]) -> String {
        settings(flags, &[]).expect_err("refused").text().to_owned()
    }

    #[test]
    fn the_environment_fills_flags_that_are_not_given() {
        let variables = [
            ("ETCDCTL_ENDPOINTS", "a:1,b:2"),
            ("ETCDCTL_WRITE_OUT", "json"),
            ("ETCDCTL_DIAL_TIMEOUT", "abc"),
            ("ETCDCTL_USER", ""),
            ("ETCDCTL_API", "3"),
            ("OTHER", "x"),
        ];
        let settings = settings(&["--hex"], &variables).expect("settings");
        assert_eq!(settings.endpoints, ["a:1", "b:2"]);
        assert_eq!((settings.style.format, settings.style.hex), (Format::Json, true));
        assert_eq!(settings.dial_timeout, Duration::from_secs(2));
        assert_eq!(settings.user, None);
    }

    #[test]
    fn a_timeout_that_is_set_is_told_from_the_default() {
        let second = Duration::from_secs(1);
        for (flags, variables, explicit) in [
            (&[][..], &[][..], None),
            (&["--command-timeout=1s"], &[], Some(second)),
            (&[], &[("ETCDCTL_COMMAND_TIMEOUT", "1s")], Some(second)),
            (&[], &[("ETCDCTL_COMMAND_TIMEOUT", "")], None),
        ] {
            let settings = settings(flags, variables).expect("settings");
            assert_eq!(settings.explicit_timeout, explicit, "{flags:?} {variables:?}");
            assert_eq!(settings.command_timeout, explicit.unwrap_or(5 * second));
        }
    }

    #[test]
    fn a_variable_that_repeats_a_flag_is_fatal_even_when_empty() {
        let failure = settings(&["--hex"], &[("ETCDCTL_HEX", "")]).expect_err("refused");
        assert_eq!(failure, Failure::silent(code::ERROR));
    }

    #[test]
    fn user_is_split_at_the_first_colon_unless_a_password_is_given() {
        let user = |flags: &[&str]| settings(flags, &[]).expect("settings").user;
        let pair = |name: &str, password: &str| Some((name.into(), Some(password.into())));
        assert_eq!(user(&["--user", "a:b:c"]), pair("a", "b:c"));
        assert_eq!(user(&["--user", "a:b", "--password=p"]), pair("a:b", "p"));
        assert_eq!(user(&["--user", "a"]), Some(("a".into(), None)));
        assert_eq!(user(&["--password", "p"]), None);
    }

    #[test]
    fn any_flag_of_tls_turns_it_on() {
        let on = |flags: &[&str], variables: &[(&str, &str)]| {
            settings(flags, variables).expect("settings").tls.is_some()
        };
        assert!(!on(&[], &[]));
        assert!(!on(&["--insecure-transport=true"], &[]));
        assert!(on(&["--insecure-transport=false"], &[]));
        assert!(on(&["--insecure-skip-tls-verify"], &[]));
        assert!(on(&[], &[("ETCDCTL_INSECURE_SKIP_TLS_VERIFY", "true")]));
        assert!(!on(&["--endpoints=https://a:1"], &[]), "the endpoint speaks for itself");
    }

    #[test]
    fn tls_files_that_do_not_serve_are_refused() {
        assert_eq!(refused(&["--cert="]), "empty string is passed to --cert option");
        assert_eq!(
            refused(&["--cert=nofile"]),
            "KeyFile and CertFile must both be present[key: , cert: nofile]"
        );
        assert_eq!(refused(&["--cacert=nofile"]), "open nofile: no such file or directory");
        assert_eq!(
            refused(&["--cacert=nofile", "--insecure-skip-tls-verify"]),
            "open nofile: no such file or directory"
        );
        assert_eq!(
            refused(&["--cert=nofile", "--key=nokey"]),
            "open nofile: no such file or directory"
        );
        let variable = settings(&[], &[("ETCDCTL_CACERT", "nofile")]).expect_err("refused");
        assert_eq!(variable, Failure::arguments("open nofile: no such file or directory"));
    }

    #[test]
    fn discovery_is_refused_by_name() {
        let text = "--discovery-srv is not supported by this version";
        assert_eq!(refused(&["--discovery-srv=example.com"]), text);
        let variable = settings(&[], &[("ETCDCTL_DISCOVERY_SRV", "example.com")]);
        assert_eq!(variable.expect_err("refused"), Failure::arguments(text));
        // Without a domain these choose nothing.
        settings(&["--discovery-srv-name=a", "--insecure-discovery=false"], &[]).expect("settings");
    }

    #[test]
    fn an_unknown_output_format_is_refused() {
        let failure = settings(&["-w", "yaml"], &[]).expect_err("refused");
        assert_eq!(failure, Failure::new(code::BAD_FEATURE, "unsupported output format"));
    }
}
