//! `txn`: compares and two lists of operations, read line by line from standard input.

use std::ffi::OsString;
use std::io::BufRead;
use std::os::unix::ffi::OsStringExt as _;

use proto::etcdserverpb as pb;
use proto::etcdserverpb::request_op::Request;

use super::put::Stdin;
use super::{del, get, put, shell_words, txn_input};
use crate::cli::{self, BadFlag, Command, Flag, Parsed};
use crate::failure::{Failure, code};
use crate::output;
use crate::print::Reply;
use crate::session::Deadline;

/// Runs the command.
pub(super) async fn run(parsed: Parsed) -> Result<(), Failure> {
    if !parsed.arguments.is_empty() {
        return Err(Failure::arguments("txn command does not accept argument"));
    }
    let interactive = parsed.switch("interactive");
    let session = super::open(parsed).await?;
    let mut lines = Lines { input: std::io::stdin().lock(), interactive };
    let mut request = pb::TxnRequest::default();
    lines.begin("compares:")?;
    while let Some(line) = lines.next()? {
        let compare = txn_input::compare(&line);
        request.compare.push(compare.map_err(|text| Failure::new(code::INVALID_INPUT, text))?);
    }
    lines.begin("success requests (get, put, del):")?;
    while let Some(line) = lines.next()? {
        request.success.push(operation(&line).await?);
    }
    lines.begin("failure requests (get, put, del):")?;
    while let Some(line) = lines.next()? {
        request.failure.push(operation(&line).await?);
    }
    let response = session.unary("/etcdserverpb.KV/Txn", Deadline::NEVER, request).await?;
    output::print(session.settings().style, &Reply::Txn(&response))
}

struct Lines<R> {
    input: R,
    interactive: bool,
}

impl<R: BufRead> Lines<R> {
    /// Asks for the lines of the next section.
    fn begin(&self, prompt: &str) -> Result<(), Failure> {
        if self.interactive { output::write(format!("{prompt}\n").as_bytes()) } else { Ok(()) }
    }

    /// The next line; none at the blank one that ends a section.
    fn next(&mut self) -> Result<Option<Vec<u8>>, Failure> {
        let mut line = Vec::new();
        let read = self.input.read_until(b'\n', &mut line);
        if read.is_err() || line.last() != Some(&b'\n') {
            return Err(Failure::new(code::INVALID_INPUT, "EOF"));
        }
        let line = line.trim_ascii();
        Ok((!line.is_empty()).then(|| line.to_vec()))
    }
}

/// Reads one operation: the command line of `get`, `put` or `del`.
async fn operation(line: &[u8]) -> Result<pb::RequestOp, Failure> {
    let shown = String::from_utf8_lossy(line);
    let bad =
        |what: &str| Failure::new(code::INVALID_INPUT, format!("invalid txn {what}: {shown}"));
    let words = shell_words::split(line);
    let [name, rest @ ..] = words.as_slice() else { return Err(bad("compare request")) };
    if rest.is_empty() {
        return Err(bad("compare request"));
    }
    let command = ["get", "put", "del"]
        .iter()
        .find(|command| command.as_bytes() == name.as_slice())
        .and_then(|name| cli::ROOT.children.iter().find(|child| child.name == *name))
        .ok_or_else(|| bad("request"))?;
    let parsed = own_flags(command, rest).map_err(|_| {
        let path: [&'static Command; 2] = [&cli::ROOT, command];
        output::complain(cli::usage(&path).trim_end());
        bad("request")
    })?;
    let request = match command.name {
        "get" => Request::RequestRange(get::request(&parsed)?),
        "put" => Request::RequestPut(put::request(&parsed, Stdin::Taken)?),
        _ => Request::RequestDeleteRange(del::request(&parsed).await?),
    };
    Ok(pb::RequestOp { request: Some(request) })
}

/// Only the flags of the command itself may stand in an operation.
fn own_flags(command: &'static Command, words: &[Vec<u8>]) -> Result<Parsed, BadFlag> {
    let flags: Vec<&'static Flag> = command.flags.iter().collect();
    let words: Vec<OsString> = words.iter().cloned().map(OsString::from_vec).collect();
    cli::parse_with(&flags, &words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Request, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let operation = runtime.expect("runtime").block_on(operation(line.as_bytes()));
        operation.map(|made| made.request.expect("a request"))
    }

    fn refused(line: &str) -> (u8, String) {
        let failure = read(line).expect_err("refused");
        (failure.code, failure.text().to_owned())
    }

    #[test]
    fn operations_are_ordinary_command_lines() {
        let Ok(Request::RequestPut(put)) = read(r#"put "a b" 'c' --prev-kv"#) else {
            panic!("not a put");
        };
        assert_eq!((&put.key[..], &put.value[..], put.prev_kv), (&b"a b"[..], &b"c"[..], true));
        let Ok(Request::RequestRange(get)) = read("get --prefix k --limit 3") else {
            panic!("not a get");
        };
        assert_eq!((&get.range_end[..], get.limit), (&b"l"[..], 3));
        let Ok(Request::RequestDeleteRange(del)) = read("del a b --range") else {
            panic!("not a del");
        };
        assert_eq!((&del.key[..], &del.range_end[..]), (&b"a"[..], &b"b"[..]));
    }

    #[test]
    fn wrong_operations_are_refused_with_their_codes() {
        assert_eq!(refused("foo bar"), (3, "invalid txn request: foo bar".into()));
        assert_eq!(refused("put"), (3, "invalid txn compare request: put".into()));
        assert_eq!(refused("put a b --bogus"), (3, "invalid txn request: put a b --bogus".into()));
        assert_eq!(
            refused("put k"),
            (128, "put command needs 1 argument and input from stdin or 2 arguments".into())
        );
    }

    #[test]
    fn a_section_ends_at_a_blank_line_and_not_at_the_end_of_input() {
        let mut lines = Lines { input: &b"a\n b \n \t\nc"[..], interactive: false };
        assert_eq!(lines.next(), Ok(Some(b"a".to_vec())));
        assert_eq!(lines.next(), Ok(Some(b"b".to_vec())));
        assert_eq!(lines.next(), Ok(None));
        assert_eq!(lines.next(), Err(Failure::new(code::INVALID_INPUT, "EOF")));
    }
}
