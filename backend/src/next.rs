//! A database being loaded beside the one in use.

use crate::db::Backend;
use crate::error::Error;

/// A database in a folder of its own, which `CURRENT` does not name yet.
///
/// Load it through [`backend`](NextBackend::backend), then [`install`](NextBackend::install) it;
/// in between it may be [staged](NextBackend::stage) so that a crash does not lose it.
/// Dropped before its installation, it removes its folder and the member keeps what it had.
#[must_use = "a dropped NextBackend removes what was loaded"]
pub struct NextBackend {
    next: Backend,
    replaced: Backend,
    number: u64,
}

impl NextBackend {
    pub(crate) fn new(next: Backend, replaced: Backend, number: u64) -> NextBackend {
        next.inner.obsolete.condemn();
        NextBackend { next, replaced, number }
    }

    /// Where to write the rows.
    pub fn backend(&self) -> &Backend {
        &self.next
    }

    /// Makes the loaded rows durable and notes the folder, so that they can be
    /// [found again](Backend::staged) after a crash.
    ///
    /// # Errors
    /// What failed on the disk.
    pub fn stage(&self) -> Result<(), Error> {
        self.next.flush()?;
        self.next.inner.layout.stage(self.number)
    }

    /// Makes the loaded rows durable and the folder the one in use. The former folder disappears
    /// when the last handle of its [`Backend`] is dropped; its readers go on until then.
    ///
    /// # Errors
    /// What failed on the disk. A crash leaves either the former or the new database in use.
    pub fn install(self) -> Result<Backend, Error> {
        self.next.flush()?;
        self.next.inner.layout.switch(self.number)?;
        self.next.inner.obsolete.pardon();
        self.replaced.inner.obsolete.condemn();
        Ok(self.next)
    }
}
