//! What the kernel knows of this process.

use std::fs;

use nix::sys::resource::{Resource, getrlimit};

use super::text::to_f64;

/// Readings of `/proc`; what cannot be read is left out.
#[derive(Debug, Default)]
pub(super) struct Process {
    pub(super) open_fds: Option<u64>,
    pub(super) max_fds: Option<u64>,
    pub(super) cpu_seconds: Option<f64>,
    pub(super) received: Option<f64>,
    pub(super) transmitted: Option<f64>,
    pub(super) resident_bytes: Option<f64>,
    pub(super) start_seconds: Option<f64>,
    pub(super) virtual_bytes: Option<f64>,
    pub(super) virtual_max_bytes: Option<f64>,
}

/// Clock ticks per second in `/proc` (fixed by the kernel's interface).
const TICKS_PER_SECOND: f64 = 100.0;

impl Process {
    /// Reads everything.
    pub(super) fn read() -> Process {
        let soft = |resource| getrlimit(resource).ok().map(|(soft, _)| soft);
        let mut process = Process {
            open_fds: fs::read_dir("/proc/self/fd").ok().map(|d| d.count() as u64),
            max_fds: soft(Resource::RLIMIT_NOFILE),
            virtual_max_bytes: soft(Resource::RLIMIT_AS).map(to_f64),
            ..Process::default()
        };
        process.read_stat();
        process.read_network();
        process
    }

    fn read_stat(&mut self) -> Option<()> {
        let stat = fs::read_to_string("/proc/self/stat").ok()?;
        // The name of the program stands in parentheses and may hold anything.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let number = |at: usize| fields.get(at).and_then(|f| f.parse::<u64>().ok()).map(to_f64);
        self.cpu_seconds = Some((number(11)? + number(12)?) / TICKS_PER_SECOND);
        self.virtual_bytes = number(20);
        let page_bytes = 4096.0;
        self.resident_bytes = number(21).map(|pages| pages * page_bytes);
        let kernel = fs::read_to_string("/proc/stat").ok()?;
        let boot = kernel.lines().find_map(|l| l.strip_prefix("btime "))?.parse::<u64>().ok()?;
        self.start_seconds = Some(to_f64(boot) + number(19)? / TICKS_PER_SECOND);
        Some(())
    }

    fn read_network(&mut self) -> Option<()> {
        let text = fs::read_to_string("/proc/self/net/netstat").ok()?;
        let mut lines = text.lines().filter(|l| l.starts_with("IpExt:"));
        let (names, values) = (lines.next()?, lines.next()?);
        let find = |wanted: &str| {
            let at = names.split_whitespace().position(|n| n == wanted)?;
            values.split_whitespace().nth(at)?.parse::<u64>().ok().map(to_f64)
        };
        self.received = find("InOctets");
        self.transmitted = find("OutOctets");
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_running_process_has_memory_time_and_files() {
        let process = Process::read();
        assert!(process.resident_bytes.is_some_and(|b| b > 4096.0));
        assert!(process.open_fds.is_some_and(|n| n >= 3));
        // The start of a test cannot be before 2020.
        assert!(process.start_seconds.is_some_and(|s| s > 1_577_836_800.0));
        assert!(process.cpu_seconds.is_some());
    }
}
