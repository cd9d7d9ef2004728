//! What a member holds of its machine, and that it gives it back.

use std::fs;
use std::time::{Duration, Instant};

use integration_tests::Kind;

use crate::node::{Node, PATIENCE, target};

/// Memory that may stay with the process.
const KEPT_BYTES: u64 = 16 << 20;

/// Memory, descriptors and threads of a member.
#[derive(Debug, Clone, Copy)]
pub(super) struct Usage {
    pub(super) resident_bytes: u64,
    descriptors: u64,
    threads: u64,
}

impl Usage {
    pub(super) fn of(node: &Node) -> Self {
        let process = format!("/proc/{}", node.server().pid());
        let status = fs::read_to_string(format!("{process}/status")).expect("a running process");
        let field = |name: &str| -> u64 {
            let line = status.lines().find(|line| line.starts_with(name)).expect("the field");
            let number = line.split_whitespace().nth(1).expect("a number");
            number.parse().expect("a number")
        };
        let descriptors = fs::read_dir(format!("{process}/fd")).expect("a running process").count();
        Self {
            resident_bytes: field("VmRSS:") * 1024,
            descriptors: descriptors as u64,
            threads: field("Threads:"),
        }
    }

    fn is_back_at(&self, before: &Self) -> bool {
        let back = |now: u64, then: u64| now * 10 <= then * 12;
        // The allocator keeps a little of what threads had.
        let resident = self.resident_bytes.saturating_sub(KEPT_BYTES);
        // A Go program gives memory back when it likes.
        (target() == Kind::Reference || back(resident, before.resident_bytes))
            && back(self.descriptors, before.descriptors)
            && back(self.threads, before.threads)
    }
}

/// Waits until the member holds no more than a fifth above what it held before. It is asked
/// something now and then: freed memory goes back to the system when the next is allocated.
pub(super) async fn given_back(node: &Node, before: &Usage) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        node.assert_serves().await;
        let now = Usage::of(node);
        if now.is_back_at(before) {
            return;
        }
        assert!(Instant::now() < deadline, "held before: {before:?}; still: {now:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
