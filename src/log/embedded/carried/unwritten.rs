//! A file that is not written. redb marks and repairs a file when it opens it, also to read it. But the file that is
//! carried over must stay as it was found. So what redb writes is held back in memory, and goes when the file is
//! closed.

use crate::log::Opening;
use parking_lot::Mutex;
use redb::{BackendError, StorageBackend};
use std::io;
use std::ops::Bound;
use std::sync::Arc;

type Locked = Result<bool, BackendError>;

#[derive(Debug)]
enum Change {
    Length(u64),
    Bytes(u64, Vec<u8>),
}

/// The file as redb sees it.
#[derive(Debug)]
pub(super) struct Unwritten<B> {
    file: B,
    changes: Mutex<Vec<Change>>,
    opening: Arc<Opening>,
}

impl<B: StorageBackend> Unwritten<B> {
    pub(super) fn new(file: B, opening: Arc<Opening>) -> Unwritten<B> {
        Unwritten { file, changes: Mutex::default(), opening }
    }
}

/// Applies `change` to `out`, which was read at `offset`.
fn apply(change: &Change, offset: u64, out: &mut [u8]) {
    match change {
        Change::Length(length) => {
            let kept = usize::try_from(length.saturating_sub(offset)).unwrap_or(usize::MAX);
            if let Some(gone) = out.get_mut(kept..) {
                gone.fill(0);
            }
        }
        Change::Bytes(start, bytes) => {
            let skipped = usize::try_from(offset.saturating_sub(*start)).unwrap_or(usize::MAX);
            let shifted = usize::try_from(start.saturating_sub(offset)).unwrap_or(usize::MAX);
            if let (Some(bytes), Some(out)) = (bytes.get(skipped..), out.get_mut(shifted..)) {
                out.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
            }
        }
    }
}

impl<B: StorageBackend> StorageBackend for Unwritten<B> {
    fn len(&self) -> io::Result<u64> {
        let changes = self.changes.lock();
        let set = changes.iter().rev().find_map(|change| if let Change::Length(n) = change { Some(*n) } else { None });
        set.map_or_else(|| self.file.len(), Ok)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.opening.goes_on()?;
        self.opening.reads(out.len());
        let changes = self.changes.lock();
        let on_disk = usize::try_from(self.file.len()?.saturating_sub(offset)).unwrap_or(usize::MAX);
        let (from_disk, beyond) = out.split_at_mut(on_disk.min(out.len()));
        if !from_disk.is_empty() {
            self.file.read(offset, from_disk)?;
        }
        beyond.fill(0);
        changes.iter().for_each(|change| apply(change, offset, out));
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.changes.lock().push(Change::Length(len));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.changes.lock().push(Change::Bytes(offset, data.to_vec()));
        Ok(())
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }

    /// A file that was opened for reading cannot get an exclusive lock.
    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Locked {
        self.file.try_lock_shared_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Locked {
        self.file.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Locked {
        self.file.query_lock_range(start, end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use redb::backends::InMemoryBackend;

    #[test]
    fn reads_see_what_is_held_back_and_the_file_stays_as_it_is() {
        let file = InMemoryBackend::new();
        file.set_len(8).unwrap();
        file.write(0, b"abcdefgh").unwrap();
        let held = Unwritten::new(file, Arc::default());
        held.write(2, b"XYZ").unwrap();
        held.set_len(4).unwrap();
        held.sync_data().unwrap();
        held.set_len(10).unwrap();
        held.write(7, b"!").unwrap();
        let mut seen = [9; 10];
        held.read(0, &mut seen).unwrap();
        assert_eq!(&seen, b"abXY\0\0\0!\0\0");
        let mut part = [9; 4];
        held.read(3, &mut part).unwrap();
        assert_eq!(&part, b"Y\0\0\0");
        let mut left = [9; 8];
        held.file.read(0, &mut left).unwrap();
        assert_eq!((held.len().unwrap(), held.file.len().unwrap(), &left), (10, 8, b"abcdefgh"));
    }
}
