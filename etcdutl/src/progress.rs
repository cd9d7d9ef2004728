//! A bar on standard error while something takes long, if that is a terminal.

use std::cell::RefCell;
use std::fs::File;
use std::io;

use indicatif::{ProgressBar, ProgressStyle};
use snapshot::Source;

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

/// A file that is read once, and shows how far that is.
pub(crate) struct Watched<'a> {
    file: &'a File,
    progress: RefCell<Progress>,
}

impl<'a> Watched<'a> {
    /// Nothing of it was read yet.
    pub(crate) fn new(what: &'static str, file: &'a File) -> Self {
        // Without a length there is a bar without an end; whoever reads will be told why.
        let bytes = file.length().unwrap_or(0);
        Self { file, progress: RefCell::new(Progress::new(what, bytes)) }
    }
}

impl Source for Watched<'_> {
    fn length(&self) -> io::Result<u64> {
        self.file.length()
    }

    fn read_range(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.file.read_range(offset, buf)?;
        self.progress.borrow_mut().add(buf.len());
        Ok(())
    }
}
