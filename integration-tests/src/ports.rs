//! Ports for servers.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU32, Ordering};

/// Below the range the kernel takes for outgoing connections (32768 up): between the end of a
/// server and its next start nobody is given its port by chance.
const RANGE: std::ops::Range<u16> = 10_000..32_000;

/// How far apart two processes start to look.
const STRIDE: u32 = 7919;

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A TCP port that nobody listens on right now and that this process gave to nobody else.
pub(crate) fn free_port() -> u16 {
    let first = std::process::id().wrapping_mul(STRIDE);
    loop {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        assert!(step < u32::from(RANGE.end - RANGE.start), "no port is free");
        let offset = first.wrapping_add(step) % u32::from(RANGE.end - RANGE.start);
        let port = RANGE.start + u16::try_from(offset).expect("below the range's length");
        // What a server that was killed has left in TIME_WAIT does not count: servers reuse it.
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
