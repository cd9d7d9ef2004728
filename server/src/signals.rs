//! SIGTERM and SIGINT: waited for on a thread of their own, and died of at the end.
//!
//! The signals are blocked in every thread and taken with `sigwait`, so their default action
//! stays in place: to die of one, it is enough to unblock and raise it.

use std::io;
use std::process::ExitCode;
use std::sync::mpsc;

use nix::sys::signal::{SigSet, Signal, raise};

/// The exit status of a shell whose child died of a signal is this plus the signal.
const SIGNAL_STATUS_BASE: u8 = 128;

/// A signal that ends the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stop(Signal);

fn stopping() -> SigSet {
    let mut set = SigSet::empty();
    set.add(Signal::SIGTERM);
    set.add(Signal::SIGINT);
    set
}

/// Blocks the signals in the calling thread and all it will start.
///
/// # Errors
/// When the kernel refuses.
pub fn block() -> io::Result<()> {
    Ok(stopping().thread_block()?)
}

/// Waits for signals on a thread of its own and passes on the first; later ones are ignored.
///
/// # Errors
/// When there is no thread to have.
pub fn listen(first: mpsc::SyncSender<Stop>) -> io::Result<()> {
    let wait = move || {
        while let Ok(signal) = stopping().wait() {
            // A full or closed channel means that a stop is under way.
            first.try_send(Stop(signal)).ok();
        }
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(wait).map(drop)
}

impl Stop {
    /// The signal as Go names it.
    pub fn name(self) -> &'static str {
        if self.0 == Signal::SIGINT { "interrupt" } else { "terminated" }
    }

    /// Ends the process by this signal; as the first process of a container, where signals do
    /// not kill, it ends well.
    pub fn die(self) -> ExitCode {
        if std::process::id() == 1 {
            return ExitCode::SUCCESS;
        }
        // Unblocking delivers what was raised; what follows is for an ignored signal only.
        raise(self.0).and_then(|()| stopping().thread_unblock()).ok();
        let number = u8::try_from(self.0 as i32).unwrap_or(0);
        ExitCode::from(SIGNAL_STATUS_BASE + number)
    }
}
