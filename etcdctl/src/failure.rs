//! How a command ends when it does not succeed: an exit code and what standard error owes.

/// Exit codes, as etcdctl has always had them.
pub(crate) mod code {
    /// A generic error; an RPC that failed.
    pub(crate) const ERROR: u8 = 1;
    /// The client could not be made.
    pub(crate) const BAD_CONNECTION: u8 = 2;
    /// Malformed input on stdin.
    pub(crate) const INVALID_INPUT: u8 = 3;
    /// A flag's value that is not supported.
    pub(crate) const BAD_FEATURE: u8 = 4;
    /// Ended from the other side.
    pub(crate) const INTERRUPTED: u8 = 5;
    /// Wrong arguments.
    pub(crate) const BAD_ARGUMENTS: u8 = 128;
    /// The reader of standard output went away (as killed by SIGPIPE).
    pub(crate) const PIPE_CLOSED: u8 = 141;
}

/// The end of a command that did not succeed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// The process's exit code.
    pub(crate) code: u8,
    /// What follows `Error: ` on standard error; `None` when all has been said already.
    pub(crate) message: Option<String>,
}

impl Failure {
    /// Ends with `code` after `Error: message`.
    pub(crate) fn new(code: u8, message: impl Into<String>) -> Self {
        Failure { code, message: Some(message.into()) }
    }

    /// Wrong arguments.
    pub(crate) fn arguments(message: impl Into<String>) -> Self {
        Failure::new(code::BAD_ARGUMENTS, message)
    }

    /// Ends with `code`; standard error has been served already.
    pub(crate) fn silent(code: u8) -> Self {
        Failure { code, message: None }
    }

    /// The same with its text inside another one.
    pub(crate) fn wrapped(self, wrap: impl FnOnce(&str) -> String) -> Self {
        let message = self.message.map(|message| wrap(&message));
        Failure { code: self.code, message }
    }

    /// The same with another exit code.
    pub(crate) fn with_code(self, code: u8) -> Self {
        Failure { code, ..self }
    }

    /// The text without `Error: `.
    pub(crate) fn text(&self) -> &str {
        self.message.as_deref().unwrap_or_default()
    }
}
