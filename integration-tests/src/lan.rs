//! Hosts that reach each other, each with an address, loopback and all ports of its own.
//!
//! ```text
//!   thread of the test ── bridge ─┬─ host 0: lo, eth0 192.168.174.103
//!                                 ├─ host 1: lo, eth0 192.168.174.104
//!                                 ╰─ …
//! ```

use std::fs::File;
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd as _;
use std::process::Command;
use std::thread::scope;

use nix::sched::{CloneFlags, setns};

use crate::own_network;

/// The network; its hosts end with the last process that runs on them.
#[derive(Debug)]
pub struct Lan {
    hosts: Vec<File>,
}

impl Lan {
    /// Hosts of one network of 256 addresses. The calling thread loses sight of every other
    /// network and is no host of this one.
    ///
    /// # Errors
    /// What the kernel or `ip` refused.
    pub fn of(addresses: &[Ipv4Addr]) -> Result<Self, String> {
        own_network()?;
        ip("link add lan type bridge")?;
        ip("link set lan up")?;
        let mut hosts = Vec::new();
        for (at, address) in addresses.iter().enumerate() {
            let host = scope(|threads| threads.spawn(empty_host).join().expect("a host"))?;
            // `ip` is a process of its own: it finds the open file among ours.
            let place = format!("/proc/{}/fd/{}", std::process::id(), host.as_raw_fd());
            ip(&format!("link add port{at} type veth peer name eth0 netns {place}"))?;
            ip(&format!("link set port{at} master lan up"))?;
            hosts.push(host);
            let lan = Self { hosts };
            lan.on(at, || {
                ip(&format!("address add {address}/24 dev eth0"))?;
                ip("link set eth0 up")
            })?;
            hosts = lan.hosts;
        }
        Ok(Self { hosts })
    }

    /// Does this on a host: processes that are started there stay there.
    ///
    /// # Panics
    /// When the work does.
    pub fn on<T: Send>(&self, host: usize, work: impl FnOnce() -> T + Send) -> T {
        let namespace = &self.hosts[host];
        let work = move || {
            setns(namespace, CloneFlags::CLONE_NEWNET).expect("enter a network of ours");
            work()
        };
        let done = scope(|threads| threads.spawn(work).join());
        done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

/// A network of its own, kept by an open file.
fn empty_host() -> Result<File, String> {
    own_network()?;
    File::open("/proc/thread-self/ns/net").map_err(|error| format!("network namespace: {error}"))
}

/// Runs `ip` with these words.
fn ip(words: &str) -> Result<(), String> {
    let output = Command::new("ip").args(words.split(' ')).output();
    let output = output.map_err(|error| format!("ip: {error}"))?;
    let told = String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(()) } else { Err(format!("ip {words}: {}", told.trim())) }
}
