//! A network of a test's own. It needs root; where it cannot be had, asking gives the reason.

use std::process::Command;

use nix::sched::{CloneFlags, unshare};

/// Gives the calling thread, and all processes it starts from now on, a network with nothing but
/// loopback: any port is free there.
///
/// # Errors
/// What the kernel or `ip` refused.
pub fn own_network() -> Result<(), String> {
    unshare(CloneFlags::CLONE_NEWNET).map_err(|error| format!("no network namespace: {error}"))?;
    let up = Command::new("ip").args(["link", "set", "lo", "up"]).status();
    match up {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("ip link set lo up: {status}")),
        Err(error) => Err(format!("ip: {error}")),
    }
}
