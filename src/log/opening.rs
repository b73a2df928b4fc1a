//! The progress of opening a log, for the threads that wait for it.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The number of bytes that were read since the opening began, of those of the file that is read: the last segment of
/// the log, or a file of an earlier version. Parts of it may be read more than once.
#[derive(Debug, Default)]
pub struct Opening {
    read: AtomicU64,
    of: AtomicU64,
}

impl Opening {
    /// Begins to count, for a file of so many bytes.
    pub fn begins(&self, of: u64) {
        self.read.store(0, Relaxed);
        self.of.store(of, Relaxed);
    }

    /// Adds bytes that were read.
    pub fn reads(&self, bytes: usize) {
        self.read.fetch_add(bytes as u64, Relaxed);
    }

    /// The number of bytes read and the size of the file; `None` before the beginning.
    pub fn told(&self) -> Option<(u64, u64)> {
        let of = self.of.load(Relaxed);
        (of > 0).then(|| (self.read.load(Relaxed), of))
    }
}
