//! SIGTERM and SIGINT: waited for on a thread of their own, and died of at the end.
//!
//! The signals are blocked in every thread and taken with `sigwait`. To die of one it is
//! unblocked and raised with its default action, also where the process was started with the
//! signal ignored, as shells start what runs in the background.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};

use nix::sys::signal::{SigSet, Signal};
use signal_hook::low_level::emulate_default_handler;

/// The exit status of a shell whose child died of a signal is this plus the signal.
const SIGNAL_STATUS_BASE: u8 = 128;

/// A signal that ends the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stop(Signal);

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
pub(crate) fn block() -> io::Result<()> {
    Ok(stopping().thread_block()?)
}

/// Waits for signals on a thread of its own. Until `ready` is set a signal has its default
/// effect; then the first is passed on and later ones are ignored.
///
/// # Errors
/// When there is no thread to have.
pub(crate) fn listen(ready: Arc<AtomicBool>, stops: mpsc::SyncSender<End>) -> io::Result<()> {
    let wait = move || {
        while let Ok(signal) = stopping().wait() {
            let stop = Stop(signal);
            if !ready.load(Ordering::Acquire) {
                stop.die();
                std::process::exit(i32::from(stop.status()));
            }
            // A full or closed channel means that a stop is under way.
            stops.try_send(End::Signal(stop)).ok();
        }
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(wait).map(drop)
}

/// Why a server ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// A signal asked for it.
    Signal(Stop),
    /// The member was removed from its cluster.
    Removed,
}

impl Stop {
    /// The signal as Go names it.
    pub(crate) fn name(self) -> &'static str {
        if self.0 == Signal::SIGINT { "interrupt" } else { "terminated" }
    }

    /// Ends the process by this signal. Returns when it is the first of a container, where
    /// signals do not kill.
    pub(crate) fn die(self) {
        if std::process::id() != 1 {
            // Unblocks it, too.
            emulate_default_handler(self.0 as i32).ok();
        }
    }

    /// The exit status of a process that could not die of the signal.
    pub(crate) fn status(self) -> u8 {
        if std::process::id() == 1 {
            return 0;
        }
        SIGNAL_STATUS_BASE.saturating_add(u8::try_from(self.0 as i32).unwrap_or(0))
    }
}
