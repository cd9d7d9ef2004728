//! `watch`: one stream for all watches of the process, opened again where it broke off.

use std::ffi::OsString;
use std::io::BufRead as _;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

use tokio::sync::mpsc;

use super::shell_words;
use super::watch_input::{BadWatch, Variables, WatchCommand, read};
use super::watch_stream::{Order, WatchStream};
use crate::cli::{self, BadFlag, Flag, Parsed};
use crate::failure::{Failure, code};
use crate::output;
use crate::session::Session;

/// Lines of `watch -i` that may wait.
const ORDERS_MAX: usize = 16;

/// Runs the command; it ends only by failing.
pub(super) async fn run(parsed: Parsed) -> Result<(), Failure> {
    let variables = variables();
    let progress_notify = parsed.switch("progress-notify");
    if parsed.switch("interactive") {
        let session = super::open(parsed).await?;
        return interactive(session, progress_notify, variables).await;
    }
    let mut command =
        read(&parsed, &variables).map_err(|BadWatch(text)| Failure::arguments(text))?;
    command.request.progress_notify = progress_notify;
    let session = super::open(parsed).await?;
    let (orders, receiver) = mpsc::channel(1);
    if orders.try_send(Order::Watch(command)).is_err() {
        return Err(Failure::new(code::ERROR, "the watch could not be ordered"));
    }
    let mut stream = WatchStream::new(session, receiver);
    stream.run_until_canceled().await?;
    Err(Failure::new(code::INTERRUPTED, "watch is canceled by the server"))
}

fn variables() -> Variables {
    let bytes = |name| std::env::var_os(name).unwrap_or_default().into_vec();
    Variables { key: bytes("ETCDCTL_WATCH_KEY"), range_end: bytes("ETCDCTL_WATCH_RANGE_END") }
}

/// `watch -i`: lines of standard input open watches and ask for progress.
async fn interactive(
    session: Session,
    progress_notify: bool,
    variables: Variables,
) -> Result<(), Failure> {
    let (orders, receiver) = mpsc::channel(ORDERS_MAX);
    let reader = tokio::task::spawn_blocking(move || {
        let mut input = std::io::stdin().lock();
        loop {
            let mut line = Vec::new();
            let read = input.read_until(b'\n', &mut line);
            if read.is_err() || line.pop() != Some(b'\n') {
                let text = "error reading watch request line: EOF";
                return Failure::new(code::INVALID_INPUT, text);
            }
            match order(&line, progress_notify, &variables) {
                Ok(Ok(order)) => drop(orders.blocking_send(order)),
                Ok(Err(complaint)) => output::complain(&complaint),
                Err(failure) => return failure,
            }
        }
    });
    let mut stream = WatchStream::new(session, receiver);
    tokio::select! {
        // Answers that are there already are printed before the end of input counts.
        biased;
        ended = stream.run() => ended,
        failure = reader => Err(failure.unwrap_or_else(|error| {
            Failure::new(code::ERROR, error.to_string())
        })),
    }
}

/// Reads one line. The inner error is a complaint after which the next line is read.
fn order(
    line: &[u8],
    progress_notify: bool,
    variables: &Variables,
) -> Result<Result<Order, String>, Failure> {
    let shown = String::from_utf8_lossy(line);
    let words = shell_words::split(line);
    let Some((name, rest)) = words.split_first() else {
        return Ok(Err(format!("Invalid command: {shown} (watch and progress supported)")));
    };
    match name.as_slice() {
        b"progress" => return Ok(Ok(Order::Progress)),
        b"watch" => {}
        _ => return Ok(Err(format!("Invalid command {shown} (only support watch)"))),
    }
    if rest.is_empty() && variables.key.is_empty() {
        let reason = "command type or key is not provided";
        return Ok(Err(format!("Invalid command {shown} ({reason})")));
    }
    let parsed = own_flags(rest).map_err(|BadFlag(text)| Failure::arguments(text))?;
    Ok(match read(&parsed, variables) {
        Ok(mut command) => {
            command.request.progress_notify = progress_notify;
            Ok(Order::Watch(command))
        }
        Err(BadWatch(reason)) => Err(format!("Invalid command {shown} ({reason})")),
    })
}

/// A line takes the flags of `watch` alone.
fn own_flags(words: &[Vec<u8>]) -> Result<Parsed, BadFlag> {
    let watch = cli::ROOT.children.iter().find(|child| child.name == "watch");
    let flags: Vec<&'static Flag> = watch.into_iter().flat_map(|command| command.flags).collect();
    let words: Vec<OsString> = words.iter().cloned().map(OsString::from_vec).collect();
    cli::parse_with(&flags, &words)
}

/// The words of a command as Go prints a list of strings: `["sh" "-c" "exit 3"]`.
pub(super) fn shown(words: &[Vec<u8>]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| base::text::quote(word)).collect();
    format!("[{}]", quoted.join(" "))
}

/// Runs the command of a watch for one event and waits for it.
pub(super) fn execute(
    command: &WatchCommand,
    environment: &[(&str, String)],
) -> Result<(), Failure> {
    let mut words = command.exec.iter().map(|word| std::ffi::OsStr::from_bytes(word));
    let Some(program) = words.next() else { return Ok(()) };
    let status = std::process::Command::new(program)
        .args(words)
        .envs(environment.iter().map(|(name, value)| (*name, value)))
        .stdin(std::process::Stdio::null())
        .status();
    let reason = match status {
        Ok(status) if status.success() => return Ok(()),
        Ok(status) => exit_text(status),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let name = base::text::quote(program.as_bytes());
            format!("exec: {name}: executable file not found in $PATH")
        }
        Err(error) => error.to_string(),
    };
    output::complain(&format!("command {} error ({reason})", shown(&command.exec)));
    Err(Failure::silent(code::ERROR))
}

fn exit_text(status: std::process::ExitStatus) -> String {
    match (status.code(), std::os::unix::process::ExitStatusExt::signal(&status)) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("signal: {signal}"),
        (None, None) => status.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaint(line: &str) -> String {
        match order(line.as_bytes(), false, &Variables::default()) {
            Ok(Err(complaint)) => complaint,
            Ok(Ok(_)) => panic!("an order"),
            Err(failure) => panic!("{failure:?}"),
        }
    }

    #[test]
    fn lines_of_the_interactive_mode_open_watches() {
        let line = br#"watch --rev 3 "a b" -- echo x"#;
        let Ok(Ok(Order::Watch(command))) = order(line, true, &Variables::default()) else {
            panic!("not a watch");
        };
        assert_eq!(&command.request.key[..], b"a b");
        assert_eq!((command.request.start_revision, command.request.progress_notify), (3, true));
        assert_eq!(command.exec, [b"echo".to_vec(), b"x".to_vec()]);
        let progress = order(b"progress", true, &Variables::default());
        assert!(matches!(progress, Ok(Ok(Order::Progress))));
    }

    #[test]
    fn bad_lines_are_complained_about_and_an_unknown_flag_ends_it() {
        assert_eq!(complaint("bogus"), "Invalid command bogus (only support watch)");
        assert_eq!(complaint(""), "Invalid command:  (watch and progress supported)");
        assert_eq!(
            complaint("watch"),
            "Invalid command watch (command type or key is not provided)"
        );
        assert_eq!(
            complaint("watch a b --prefix"),
            "Invalid command watch a b --prefix (`range_end` and `--prefix` are mutually exclusive)"
        );
        let ended = order(b"watch --bogus k", false, &Variables::default());
        assert_eq!(ended.err(), Some(Failure::arguments("unknown flag: --bogus")));
    }

    #[test]
    fn commands_are_shown_as_a_list_of_quoted_words() {
        let words = [b"sh".to_vec(), b"-c".to_vec(), b"exit 3".to_vec()];
        assert_eq!(shown(&words), r#"["sh" "-c" "exit 3"]"#);
    }
}
