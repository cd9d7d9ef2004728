//! Values of flags, refused in the words of pflag.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::time::Duration;

use base::text::quote;
use clap::ArgMatches;

/// What `--timeout` is unless given.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The flags and words of one command.
pub(crate) struct Values<'a> {
    matches: &'a ArgMatches,
}

/// What is not a flag.
pub(crate) fn words(matches: &ArgMatches) -> Vec<&OsString> {
    matches.try_get_many("words").ok().flatten().into_iter().flatten().collect()
}

impl<'a> Values<'a> {
    pub(crate) fn of(matches: &'a ArgMatches) -> Self {
        Self { matches }
    }

    /// The only word there is.
    pub(crate) fn one_word(&self) -> Result<&'a OsString, String> {
        match words(self.matches).as_slice() {
            [word] => Ok(word),
            words => Err(format!("accepts 1 arg(s), received {}", words.len())),
        }
    }

    /// All words, as paths.
    pub(crate) fn paths(&self) -> Vec<PathBuf> {
        words(self.matches).into_iter().map(PathBuf::from).collect()
    }

    /// Refuses flags that were left out or are empty.
    pub(crate) fn require(&self, flags: &[&str]) -> Result<(), String> {
        let missing: Vec<&str> = flags
            .iter()
            .filter(|flag| self.given(flag).is_none_or(OsStr::is_empty))
            .copied()
            .collect();
        match missing.as_slice() {
            [] => Ok(()),
            missing => Err(format!("required flag(s) \"{}\" not set", missing.join("\", \""))),
        }
    }

    fn given(&self, flag: &str) -> Option<&'a OsStr> {
        self.matches.get_one::<OsString>(flag).map(OsString::as_os_str)
    }

    /// The value as text, or `otherwise`.
    pub(crate) fn text(&self, flag: &str, otherwise: &str) -> String {
        let given = self.given(flag).map(|value| value.to_string_lossy().into_owned());
        given.unwrap_or_else(|| otherwise.to_owned())
    }

    /// The value as path, or an empty one.
    pub(crate) fn path(&self, flag: &str) -> PathBuf {
        self.given(flag).map(PathBuf::from).unwrap_or_default()
    }

    /// A number that may be negative; zero unless given.
    pub(crate) fn signed(&self, flag: &str) -> Result<i64, String> {
        self.number(flag, "ParseInt")
    }

    /// A number from zero on; zero unless given.
    pub(crate) fn unsigned(&self, flag: &str) -> Result<u64, String> {
        self.number(flag, "ParseUint")
    }

    fn number<N>(&self, flag: &str, parser: &str) -> Result<N, String>
    where
        N: std::str::FromStr<Err = std::num::ParseIntError> + Default,
    {
        use std::num::IntErrorKind::{NegOverflow, PosOverflow};
        let Some(given) = self.given(flag) else { return Ok(N::default()) };
        let given = given.to_string_lossy();
        given.parse().map_err(|error: std::num::ParseIntError| {
            let reason = match error.kind() {
                PosOverflow | NegOverflow => "value out of range",
                _ => "invalid syntax",
            };
            let given = quote(given.as_bytes());
            let reason = format!("strconv.{parser}: parsing {given}: {reason}");
            format!("invalid argument {given} for \"--{flag}\" flag: {reason}")
        })
    }

    /// A flag that is on when named.
    pub(crate) fn switch(&self, flag: &str) -> Result<bool, String> {
        let Some(given) = self.given(flag) else { return Ok(false) };
        match given.to_string_lossy().as_ref() {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
            other => {
                let other = quote(other.as_bytes());
                let reason = format!("strconv.ParseBool: parsing {other}: invalid syntax");
                Err(format!("invalid argument {other} for \"--{flag}\" flag: {reason}"))
            }
        }
    }

    /// `--timeout`.
    pub(crate) fn timeout(&self) -> Result<Duration, String> {
        let Some(given) = self.given("timeout") else { return Ok(TIMEOUT) };
        let given = given.to_string_lossy();
        let nanoseconds = base::text::parse_duration(&given).map_err(|reason| {
            let given = quote(given.as_bytes());
            format!("invalid argument {given} for \"--timeout\" flag: {reason}")
        })?;
        Ok(Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(0)))
    }
}
