//! From arguments and environment to [`Settings`], by the rules of Go's `flag` package.

use std::ffi::OsString;

use super::flags::{FLAGS, Flag, IGNORED, Kind};
use super::gates::Gates;
use super::number::{parse_bool, parse_int, parse_uint};
use super::removed::{Fate, REMOVED, Removed};
use super::url;

/// Who set a flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// Nobody.
    Default,
    /// The command line.
    CommandLine,
    /// The environment.
    Environment,
}

/// The checked text of every flag.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    values: Vec<(String, Source)>,
}

/// A line to log once the logger stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Notice {
    /// Whether it warns; otherwise it informs.
    pub warn: bool,
    /// The message.
    pub message: String,
    /// Its fields.
    pub fields: Vec<(&'static str, String)>,
}

impl Notice {
    /// A warning.
    pub(crate) fn warn(message: impl Into<String>) -> Notice {
        Notice { warn: true, message: message.into(), fields: Vec::new() }
    }

    /// An information.
    pub(crate) fn info(message: impl Into<String>) -> Notice {
        Notice { warn: false, message: message.into(), fields: Vec::new() }
    }

    /// Adds a field.
    pub(crate) fn with(mut self, key: &'static str, value: impl Into<String>) -> Notice {
        self.fields.push((key, value.into()));
        self
    }
}

/// Why a command line did not become settings.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// `-h` or `--help`.
    Help,
    /// A fault of syntax: this text and the usage on stderr, exit 2.
    Syntax(String),
    /// A fault found after parsing: logged as `failed to verify flags`, exit 1.
    Verify(String),
    /// The named variable and its flag are both set: logged as fatal, exit 1.
    Conflict(String),
}

impl Settings {
    /// Every flag at its default.
    pub(crate) fn defaults() -> Settings {
        let value = |f: &Flag| (f.default.to_owned(), Source::Default);
        Settings { values: FLAGS.iter().map(value).collect() }
    }

    fn slot(&self, name: &str) -> usize {
        FLAGS.iter().position(|f| f.name == name).expect("callers name flags of the table")
    }

    /// The text of a flag.
    pub(crate) fn text(&self, name: &str) -> &str {
        &self.values[self.slot(name)].0
    }

    /// Who set a flag.
    pub(crate) fn source(&self, name: &str) -> Source {
        self.values[self.slot(name)].1
    }

    /// The value of a boolean flag.
    pub(crate) fn bool(&self, name: &str) -> bool {
        parse_bool(self.text(name)).expect("checked when it was set")
    }

    /// The value of a signed flag.
    pub(crate) fn int(&self, name: &str) -> i64 {
        parse_int(self.text(name)).expect("checked when it was set")
    }

    /// The value of an unsigned flag.
    pub(crate) fn uint(&self, name: &str) -> u64 {
        parse_uint(self.text(name)).expect("checked when it was set")
    }

    /// The value of a duration flag, in nanoseconds.
    pub(crate) fn nanos(&self, name: &str) -> i64 {
        base::text::parse_duration(self.text(name)).expect("checked when it was set")
    }

    /// The URLs of a flag.
    pub(crate) fn urls(&self, name: &str) -> Vec<url::Url> {
        let text = self.text(name);
        if text.is_empty() {
            return Vec::new();
        }
        url::parse_list(text).expect("checked when it was set")
    }

    /// The elements of a list flag.
    pub(crate) fn list(&self, name: &str) -> Vec<String> {
        let text = self.text(name);
        let set = self.source(name) != Source::Default;
        if text.is_empty() && !set {
            return Vec::new();
        }
        text.split(',').map(|e| e.trim().to_owned()).collect()
    }

    /// Checks `value` and stores it; the error is the cause alone.
    fn set(&mut self, flag: &Flag, value: &str, source: Source) -> Result<(), String> {
        check(flag.kind, value)?;
        let slot = self.slot(flag.name);
        let old = &mut self.values[slot];
        let kept = match flag.kind {
            // An explicitly empty list of URLs counts as set and leaves the list as it was.
            Kind::Urls | Kind::Origins if value.is_empty() => old.0.clone(),
            Kind::Gates if !old.0.is_empty() => format!("{},{value}", old.0),
            _ => value.to_owned(),
        };
        *old = (kept, source);
        Ok(())
    }

    /// Reads the command line (without the program's name).
    pub(crate) fn arguments(
        &mut self,
        args: &[OsString],
        notices: &mut Vec<Notice>,
    ) -> Result<(), Refusal> {
        let args: Vec<String> = args.iter().map(|a| a.to_string_lossy().into_owned()).collect();
        let mut rest = args.iter();
        while let Some(arg) = rest.next() {
            if arg.len() < 2 || !arg.starts_with('-') {
                return Err(not_a_flag(arg));
            }
            if arg == "--" {
                return rest.next().map_or(Ok(()), |arg| Err(not_a_flag(arg)));
            }
            let body = arg.strip_prefix("--").unwrap_or(&arg[1..]);
            if body.is_empty() || body.starts_with(['-', '=']) {
                return Err(Refusal::Syntax(format!("bad flag syntax: {arg}")));
            }
            let (name, value) = match body.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (body, None),
            };
            let target = Target::find(name).ok_or_else(|| match name {
                "h" | "help" => Refusal::Help,
                _ => Refusal::Syntax(format!("flag provided but not defined: -{name}")),
            })?;
            let value = match value {
                Some(value) => value,
                None if target.is_bool() => "true",
                None => rest
                    .next()
                    .map(String::as_str)
                    .ok_or_else(|| Refusal::Syntax(format!("flag needs an argument: -{name}")))?,
            };
            self.assign(&target, value, Source::CommandLine, notices).map_err(|cause| {
                let quoted = crate::config::quoted(value);
                match cause {
                    Cause::Gone(text) => Refusal::Verify(text),
                    Cause::Value(cause) if target.is_bool() => Refusal::Syntax(format!(
                        "invalid boolean value {quoted} for -{name}: {cause}"
                    )),
                    Cause::Value(cause) => {
                        Refusal::Syntax(format!("invalid value {quoted} for flag -{name}: {cause}"))
                    }
                }
            })?;
        }
        Ok(())
    }

    /// Reads the environment.
    pub(crate) fn environment(
        &mut self,
        vars: impl IntoIterator<Item = (OsString, OsString)>,
        notices: &mut Vec<Notice>,
    ) -> Result<(), Refusal> {
        let mut vars: Vec<(String, String)> = vars
            .into_iter()
            .map(|(k, v)| (k.to_string_lossy().into_owned(), v.to_string_lossy().into_owned()))
            .filter(|(key, _)| key.starts_with("ETCD_"))
            .collect();
        vars.sort();
        for (key, value) in vars {
            if key == "ETCD_VERSION" {
                let notice = Notice::warn("cannot set special environment variable");
                notices.push(notice.with("key", key).with("value", value));
                continue;
            }
            let target = Target::find_env(&key);
            let named = match &target {
                Some(Target::Flag(flag)) => Some(flag.name),
                Some(Target::Removed(Removed { fate: Fate::Flag(to), .. })) => Some(*to),
                Some(Target::Removed(_) | Target::Ignored) | None => None,
            };
            if named.is_some_and(|name| self.source(name) == Source::CommandLine) {
                return Err(Refusal::Conflict(key));
            }
            let target = match target {
                Some(Target::Ignored) => continue,
                Some(target) if !value.is_empty() => target,
                Some(_) | None => {
                    let notice = Notice::warn("unrecognized environment variable");
                    notices.push(notice.with("environment-variable", format!("{key}={value}")));
                    continue;
                }
            };
            let used = Notice::info("recognized and used environment variable");
            notices.push(used.with("variable-name", &key).with("variable-value", &value));
            self.assign(&target, &value, Source::Environment, notices).map_err(|cause| {
                Refusal::Verify(match cause {
                    Cause::Gone(text) => text,
                    Cause::Value(cause) => {
                        let quoted = crate::config::quoted(&value);
                        format!("invalid value {quoted} for {key}: {cause}")
                    }
                })
            })?;
        }
        Ok(())
    }

    fn assign(
        &mut self,
        target: &Target,
        value: &str,
        source: Source,
        notices: &mut Vec<Notice>,
    ) -> Result<(), Cause> {
        let removed = match target {
            Target::Ignored => return Ok(()),
            Target::Flag(flag) => return self.set(flag, value, source).map_err(Cause::Value),
            Target::Removed(removed) => removed,
        };
        notices.extend(removed.warning().map(Notice::warn));
        match removed.fate {
            Fate::Flag(to) => {
                let flag = &FLAGS[self.slot(to)];
                self.set(flag, value, source).map_err(Cause::Value)
            }
            Fate::Gate(to) => {
                let on = parse_bool(value).ok_or(Cause::Value("parse error".to_owned()))?;
                let gates = &FLAGS[self.slot("feature-gates")];
                self.set(gates, &format!("{to}={on}"), source).map_err(Cause::Value)
            }
            Fate::Gone(tolerated) => {
                let same = value == tolerated
                    || (tolerated == "false" && parse_bool(value) == Some(false));
                if same || value.is_empty() {
                    return Ok(());
                }
                let name = removed.name;
                Err(Cause::Gone(format!("--{name} was removed; --{name}={value} cannot be served")))
            }
        }
    }
}

fn not_a_flag(arg: &str) -> Refusal {
    Refusal::Verify(format!("{} is not a valid flag", crate::config::quoted(arg)))
}

/// Why a value was not taken.
enum Cause {
    /// The value is malformed.
    Value(String),
    /// The flag is gone; the whole text.
    Gone(String),
}

/// What a name stands for.
enum Target {
    Flag(&'static Flag),
    Removed(&'static Removed),
    Ignored,
}

impl Target {
    fn find(name: &str) -> Option<Target> {
        let flag = FLAGS.iter().find(|f| f.name == name).map(Target::Flag);
        let removed = || REMOVED.iter().find(|r| r.name == name).map(Target::Removed);
        let ignored = || IGNORED.contains(&name).then_some(Target::Ignored);
        flag.or_else(removed).or_else(ignored)
    }

    fn find_env(key: &str) -> Option<Target> {
        let flag = FLAGS.iter().find(|f| f.env() == key).map(Target::Flag);
        let removed = || REMOVED.iter().find(|r| r.env() == key).map(Target::Removed);
        let as_name = key["ETCD_".len()..].to_ascii_lowercase().replace('_', "-");
        let ignored = || IGNORED.contains(&as_name.as_str()).then_some(Target::Ignored);
        flag.or_else(removed).or_else(ignored)
    }

    fn is_bool(&self) -> bool {
        match self {
            Target::Flag(flag) => flag.kind == Kind::Bool,
            Target::Ignored => true,
            Target::Removed(removed) => match removed.fate {
                Fate::Flag(to) => Target::find(to).is_some_and(|t| t.is_bool()),
                Fate::Gate(_) => true,
                Fate::Gone(tolerated) => tolerated == "false",
            },
        }
    }
}

/// Checks a value; the error is the cause as Go or etcd words it.
fn check(kind: Kind, value: &str) -> Result<(), String> {
    let parse_error = || "parse error".to_owned();
    let invalid = || "invalid value".to_owned();
    match kind {
        Kind::Text | Kind::List => Ok(()),
        Kind::Bool => parse_bool(value).map(drop).ok_or_else(parse_error),
        Kind::Int => parse_int(value).map(drop).map_err(|e| e.flag_text().to_owned()),
        Kind::Uint => parse_uint(value).map(drop).map_err(|e| e.flag_text().to_owned()),
        Kind::Uint32 => {
            let narrow = |n: u64| u32::try_from(n).map_err(|_| super::number::NumberError::Range);
            parse_uint(value).and_then(narrow).map(drop).map_err(|e| {
                let quoted = crate::config::quoted(value);
                format!("strconv.ParseUint: parsing {quoted}: {}", e.strconv_text())
            })
        }
        Kind::Duration => base::text::parse_duration(value).map(drop).map_err(|_| parse_error()),
        Kind::Urls if value.is_empty() => Ok(()),
        Kind::Origins if value.is_empty() || value == "*" => Ok(()),
        Kind::Urls | Kind::Origins => url::parse_list(value).map(drop),
        Kind::Gates => Gates::parse(value).map(drop),
        Kind::ClusterState if matches!(value, "new" | "existing") => Ok(()),
        Kind::Fallback if matches!(value, "exit" | "proxy") => Ok(()),
        Kind::ClusterState | Kind::Fallback => Err(invalid()),
        Kind::V2Deprecation => {
            let phases = ["write-only", "write-only-skip-check", "write-only-drop-data", "gone"];
            match value.split(',').find(|v| !phases.contains(v)) {
                Some(bad) => Err(format!("invalid value {}", crate::config::quoted(bad))),
                None => Ok(()),
            }
        }
    }
}
