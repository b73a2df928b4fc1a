//! How far the opening of a log has come, for whoever waits for it.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Bytes of the log's file that were read while it is opened. One that was not closed in order is read as a whole, parts of
/// it more than once.
#[derive(Debug, Default)]
pub struct Opening {
    read: AtomicU64,
    of: AtomicU64,
}

impl Opening {
    /// It begins, with a file of so many bytes.
    pub fn begins(&self, of: u64) {
        self.read.store(0, Relaxed);
        self.of.store(of, Relaxed);
    }

    /// So many bytes more were read.
    pub fn reads(&self, bytes: usize) {
        self.read.fetch_add(bytes as u64, Relaxed);
    }

    /// How many bytes were read, and how many the file has; none before it begins.
    pub fn told(&self) -> Option<(u64, u64)> {
        let of = self.of.load(Relaxed);
        (of > 0).then(|| (self.read.load(Relaxed), of))
    }
}
