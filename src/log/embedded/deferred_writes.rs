//! A file that is not written before it has been checked. redb marks and repairs a file when it opens it. But a file
//! that is not a log of ours, or is damaged, must be left as it was found. So redb's writes during the opening are held
//! back in memory, and go to the file in the same order once the log has been checked. For a file that is opened for
//! reading only they are never written. If writing them fails, the file can still be read, and refuses all further
//! writes.

use super::super::Opening;
use parking_lot::Mutex;
use redb::{BackendError, StorageBackend};
use std::fmt::Debug;
use std::io;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

type Locked = Result<bool, BackendError>;

#[derive(Debug)]
enum Change {
    Length(u64),
    Bytes(u64, Vec<u8>),
    Sync,
}

/// The file as redb sees it. Clones are the same file: one for redb, one to release it with.
#[derive(Debug)]
pub(super) struct DeferredWrites<B> {
    inner: Arc<Inner<B>>,
}

#[derive(Debug)]
struct Inner<B> {
    file: B,
    shared: bool,
    released: AtomicBool,
    changes: Mutex<Vec<Change>>,
    /// Whether all further changes are refused.
    is_shut: Flag,
    /// Whether a flush failed.
    has_lost_a_flush: Flag,
    opening: Arc<Opening>,
}

/// A flag of a file that other code can share without knowing the type of the file.
pub(super) type Flag = Arc<AtomicBool>;

impl<B: StorageBackend> Inner<B> {
    fn flush(&self) -> io::Result<()> {
        self.file.sync_data().inspect_err(|_| self.has_lost_a_flush.store(true, Ordering::SeqCst))
    }
}

impl<B> Clone for DeferredWrites<B> {
    fn clone(&self) -> Self {
        DeferredWrites { inner: Arc::clone(&self.inner) }
    }
}

impl<B: StorageBackend> DeferredWrites<B> {
    /// Holds back all changes to `file`. A file that is only read is `shared` with other readers: it takes a shared
    /// lock, because a file opened for reading cannot get an exclusive one. `has_lost_a_flush` is set when a flush
    /// fails.
    pub(super) fn new(file: B, shared: bool, has_lost_a_flush: Flag, opening: Arc<Opening>) -> DeferredWrites<B> {
        let (released, changes, is_shut) = (AtomicBool::new(false), Mutex::default(), Flag::default());
        DeferredWrites {
            inner: Arc::new(Inner { file, shared, released, changes, is_shut, has_lost_a_flush, opening }),
        }
    }

    /// The flag that makes the file refuse all further changes.
    pub(super) fn shut(&self) -> Flag {
        Arc::clone(&self.inner.is_shut)
    }

    /// Writes the changes that were held back, flushes them, and from now on writes every change at once. When that
    /// fails, all further changes are refused, and readers still see the changes that were held back.
    pub(super) fn release(&self) -> io::Result<()> {
        let inner = &*self.inner;
        let mut changes = inner.changes.lock();
        let made = changes.iter().try_for_each(|change| match change {
            Change::Length(length) => inner.file.set_len(*length),
            Change::Bytes(offset, bytes) => inner.file.write(*offset, bytes),
            Change::Sync => inner.flush(),
        });
        made.and_then(|()| inner.flush()).inspect_err(|_| inner.is_shut.store(true, Ordering::SeqCst))?;
        changes.clear();
        inner.released.store(true, Ordering::Release);
        Ok(())
    }

    fn change(&self, now: impl FnOnce(&B) -> io::Result<()>, later: impl FnOnce() -> Change) -> io::Result<()> {
        if self.inner.is_shut.load(Ordering::SeqCst) {
            return Err(io::Error::other("the file cannot be written before it is opened again"));
        }
        if self.inner.released.load(Ordering::Acquire) {
            return now(&self.inner.file);
        }
        self.inner.changes.lock().push(later());
        Ok(())
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
        Change::Sync => {}
    }
}

impl<B: StorageBackend> StorageBackend for DeferredWrites<B> {
    fn len(&self) -> io::Result<u64> {
        let changes = self.inner.changes.lock();
        let set = changes.iter().rev().find_map(|change| if let Change::Length(n) = change { Some(*n) } else { None });
        set.map_or_else(|| self.inner.file.len(), Ok)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.inner.opening.reads(out.len());
        let changes = if self.inner.released.load(Ordering::Acquire) { None } else { Some(self.inner.changes.lock()) };
        let Some(changes) = changes.filter(|changes| !changes.is_empty()) else {
            return self.inner.file.read(offset, out);
        };
        let on_disk = usize::try_from(self.inner.file.len()?.saturating_sub(offset)).unwrap_or(usize::MAX);
        let (from_disk, beyond) = out.split_at_mut(on_disk.min(out.len()));
        if !from_disk.is_empty() {
            self.inner.file.read(offset, from_disk)?;
        }
        beyond.fill(0);
        changes.iter().for_each(|change| apply(change, offset, out));
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.change(|file| file.set_len(len), || Change::Length(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.change(|_| self.inner.flush(), || Change::Sync)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.change(|file| file.write(offset, data), || Change::Bytes(offset, data.to_vec()))
    }

    fn close(&self) -> io::Result<()> {
        self.inner.file.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Locked {
        if self.inner.shared {
            return self.inner.file.try_lock_shared_range(start, end);
        }
        self.inner.file.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Locked {
        self.inner.file.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.file.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.file.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.file.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Locked {
        self.inner.file.query_lock_range(start, end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use redb::backends::InMemoryBackend;

    #[test]
    fn reads_see_what_is_held_back_and_release_makes_it_so() {
        let held = DeferredWrites::new(InMemoryBackend::new(), false, Flag::default(), Arc::default());
        let file = |held: &DeferredWrites<InMemoryBackend>| {
            let mut all = vec![0; held.inner.file.len().unwrap() as usize];
            held.inner.file.read(0, &mut all).unwrap();
            all
        };
        held.inner.file.set_len(8).unwrap();
        held.inner.file.write(0, b"abcdefgh").unwrap();
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
        assert_eq!((held.len().unwrap(), file(&held)), (10, b"abcdefgh".to_vec()));
        held.release().unwrap();
        assert_eq!((held.len().unwrap(), file(&held)), (10, seen.to_vec()));
        held.write(0, b"-").unwrap();
        assert_eq!(file(&held)[0], b'-');
        held.shut().store(true, Ordering::SeqCst);
        assert!(held.write(0, b"+").is_err() && held.set_len(1).is_err() && held.sync_data().is_err());
        assert_eq!(file(&held)[0], b'-');
    }
}
