//! The progress of opening a log, for the threads that wait for it, and the way to give it up.

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// The number of bytes that were read since the opening began, of those of the file that is read: the last segment of
/// the log, or a file of an earlier version.
#[derive(Debug, Default)]
pub struct Opening {
    read: AtomicU64,
    of: AtomicU64,
    is_given_up: AtomicBool,
}

/// Why a log that was being opened is read no further.
#[derive(Debug)]
struct GivenUp;

impl fmt::Display for GivenUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the process ends before the log is open")
    }
}

impl Error for GivenUp {}

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

    /// The number of bytes read and the size of the file; `None` before the beginning. Parts of the file may be read more than
    /// once, and nobody is told of more than there are.
    pub fn told(&self) -> Option<(u64, u64)> {
        let of = self.of.load(Relaxed);
        (of > 0).then(|| (self.read.load(Relaxed).min(of), of))
    }

    /// Gives the opening up: whoever opens the log reads no further, and leaves it as it is. A log that is open stays open.
    pub fn give_up(&self) {
        self.is_given_up.store(true, Relaxed);
    }

    /// Whether it goes on. It is asked before each piece that is read, and before the first change.
    ///
    /// # Errors
    /// It was given up; [`Opening::was_given_up`] tells this error from those of the system.
    pub fn goes_on(&self) -> io::Result<()> {
        if self.is_given_up.load(Relaxed) { Err(io::Error::other(GivenUp)) } else { Ok(()) }
    }

    /// Whether this is the error of an opening that was given up.
    pub fn was_given_up(error: &io::Error) -> bool {
        error.get_ref().is_some_and(|inner| inner.is::<GivenUp>())
    }
}

#[cfg(test)]
mod tests {
    use super::Opening;

    /// The story: somebody watches a start, and it has read 1117061 of 1048576 bytes.
    #[test]
    fn no_more_is_told_than_the_file_has() {
        let opening = Opening::default();
        assert_eq!(opening.told(), None);
        opening.begins(1_048_576);
        for told in [600_000, 1_048_576, 1_048_576] {
            opening.reads(600_000);
            assert_eq!(opening.told(), Some((told, 1_048_576)));
        }
    }
}
