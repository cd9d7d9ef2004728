//! A bar on standard error while something takes long, if that is a terminal.

use indicatif::{ProgressBar, ProgressStyle};

/// Bytes between two looks at the clock.
const STEP_BYTES: u64 = 1 << 20;

/// How far a walk over bytes is. Gone when dropped.
pub(crate) struct Progress {
    bar: ProgressBar,
    /// Not yet told to the bar.
    pending_bytes: u64,
}

impl Progress {
    /// Nothing of `total_bytes` is done yet.
    pub(crate) fn new(what: &'static str, total_bytes: u64) -> Self {
        // Without a terminal nothing is drawn.
        let bar = ProgressBar::new(total_bytes);
        let style = ProgressStyle::with_template("{msg} {wide_bar} {bytes}/{total_bytes} {eta}");
        bar.set_style(style.expect("a valid template"));
        bar.set_message(what);
        Self { bar, pending_bytes: 0 }
    }

    /// So many bytes more are done.
    pub(crate) fn add(&mut self, bytes: usize) {
        self.pending_bytes += bytes as u64;
        if self.pending_bytes >= STEP_BYTES {
            self.bar.inc(std::mem::take(&mut self.pending_bytes));
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
