//! The one way to end a member that must not go on.

use std::error::Error;

use crate::logging::FATAL;

/// The exit status of a member that ended itself.
pub(crate) const STATUS: i32 = 1;

/// Logs `what` and the whole chain of `error`, and ends the process.
pub(crate) fn die(what: &str, error: &(dyn Error + 'static)) -> ! {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    tracing::error!(target: FATAL, error = text, "{what}");
    std::process::exit(STATUS)
}

/// Logs `why` and ends the process.
pub(crate) fn stop(why: &str) -> ! {
    tracing::error!(target: FATAL, "{why}");
    std::process::exit(STATUS)
}
