//! The log as this process has it open: its place in the data directory, its locks, and opening it again after a fault.

use super::super::{LogError, Manifest, Opening};
use super::begins;
use super::disk::is_want_of_room;
use super::error::{Fault, OpenError};
use super::frame::Head;
use super::packed::Dictionary;
use super::segment::{SegmentHeader, path_of};
use super::start::{Started, look, segments, start};
use super::store::{Store, Terms, create};
use super::{Before, Embedded, Shared, carried};
use crate::crash;
use crate::domain::route::HASH_VERSION;
use crate::limits::{DEDUP_WINDOW_MS, LOCK_RETRY_MS, LOCK_TRIES, MEMORY_VERSION, PARTITIONS_MAX};
use crate::time::pause;
use parking_lot::{Mutex, RwLock};
use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};
use std::time::Duration;

/// Most sealed files of the log that are looked for after each flush of the witness.
const FILES_LOOKED_AT: usize = 32;

/// The directory of the log in its data directory.
pub(super) const LOG_DIR: &str = "log";
/// Where it is put together when it is restored (`restored.rs`).
pub(super) const UNFINISHED_DIR: &str = "log.restoring";

/// An opened log.
pub(super) struct LogFile {
    pub(super) path: PathBuf,
    pub(super) manifest: Manifest,
    /// The heads at the time when the log was opened.
    pub(super) heads: Vec<Head>,
    /// `None` while it cannot be opened again.
    store: RwLock<Option<Store>>,
    /// Opens the log again in the way in which it was opened first.
    opens: Box<dyn Fn() -> Result<Started, OpenError> + Send + Sync>,
    has_lost_a_flush: AtomicBool,
    /// How often sealed files were looked for.
    looks: AtomicUsize,
    /// The locks on the directory and on the first segment, against other processes. A file system that cannot lock the
    /// one may be able to lock the other.
    _lock: Option<File>,
    first_lock: Mutex<Option<File>>,
}

impl LogFile {
    /// An opened log with its locks. `opens` opens it again.
    fn new(
        path: PathBuf,
        store: Store,
        opens: Box<dyn Fn() -> Result<Started, OpenError> + Send + Sync>,
        (lock, first_lock): (Option<File>, Option<File>),
    ) -> LogFile {
        let (manifest, heads, store) = (store.manifest, store.heads(), RwLock::new(Some(store)));
        let (has_lost_a_flush, looks, first_lock) =
            (AtomicBool::new(false), AtomicUsize::new(0), Mutex::new(first_lock));
        LogFile { path, manifest, heads, store, opens, has_lost_a_flush, looks, _lock: lock, first_lock }
    }

    /// A log that is only read, in a directory that nobody else knows of yet.
    ///
    /// # Errors
    /// [`OpenError`].
    pub(super) fn unplaced(path: &Path, terms: &Terms) -> Result<LogFile, OpenError> {
        let (at, terms) = (path.to_owned(), terms.clone());
        let opens = Box::new(move || {
            let numbers = segments(&at)?.unwrap_or_default();
            start(&at, numbers, (false, terms.clone()), &Opening::default())
        });
        let Started { store, .. } = opens()?;
        Ok(LogFile::new(path.to_owned(), store, opens, (None, None)))
    }

    /// Runs a read or a write on the log; waits while it is being reopened.
    pub(super) fn with<T>(&self, what: impl FnOnce(&Store) -> Result<T, Fault>) -> Result<T, Fault> {
        match &*self.store.read() {
            Some(store) => what(store),
            None => Err(super::error::damaged("it is closed")),
        }
    }

    /// What the segment that is written is packed against; `None` while the log is being opened again.
    pub(super) fn dictionary(&self) -> Option<Dictionary> {
        self.store.try_read()?.as_ref().map(Store::dictionary)
    }

    /// Why the log can be read and not written, in words; `None` when it can be written.
    pub(super) fn unwritable(&self) -> Option<String> {
        self.store.read().as_ref().map_or_else(|| Some("it is closed".to_owned()), Store::unwritable)
    }

    /// Whether a flush has failed: see [`Store::has_lost_a_flush`].
    pub(super) fn has_lost_a_flush(&self) -> bool {
        self.has_lost_a_flush.load(SeqCst) || self.store.read().as_ref().is_some_and(Store::has_lost_a_flush)
    }

    /// Opens the log again after a fault: drops everything in memory and reads it from the files. Returns the ends of
    /// its partitions. A log that does not hold all that is `committed` is left as it is, and can only be read: what looks like
    /// a torn batch is what was answered.
    ///
    /// # Errors
    /// [`OpenError`]; the call may be repeated.
    pub(super) fn reopen(&self, committed: &[Head]) -> Result<Vec<Head>, OpenError> {
        let mut open = self.store.write();
        if let Some(store) = open.take() {
            // What was written to a file that is not in its place must not look as if it had been closed in order.
            store.shut();
            self.has_lost_a_flush.fetch_or(store.has_lost_a_flush(), SeqCst);
            // A file that was removed or replaced still exists while this process has it open.
            if let Err(error) = is_in_place(&store) {
                *open = Some(store);
                return Err(OpenError::Io { path: self.path.clone(), detail: error.detail });
            }
        }
        let Started { store, written_to } = (self.opens)()?;
        if !store.manifest.is_of(&self.manifest) {
            let detail = "it is not the log that this process had open".to_owned();
            return Err(OpenError::Io { path: self.path.clone(), detail });
        }
        let heads = store.heads();
        if heads.iter().zip(committed).all(|(head, committed)| head.holds(*committed)) {
            // A log without room for more than a small turn would take that, say that all is well, and fail with the next one,
            // again and again.
            let settle = || store.settle(written_to).map_err(Fault::from).and_then(|()| store.reserve());
            let settled = settled(&self.path, &store, settle);
            self.has_lost_a_flush.fetch_or(store.has_lost_a_flush(), SeqCst);
            settled?;
        }
        *open = Some(store);
        Ok(heads)
    }

    /// Removes the oldest segment: see [`Store::remove_oldest`]. The one after it is locked before.
    ///
    /// # Errors
    /// [`Fault`]
    pub(super) fn remove_oldest(&self, number: u64) -> Result<(), Fault> {
        self.with(|store| {
            store.oldest_of(number)?;
            let after = path_of(&self.path, number.saturating_add(1));
            let locked = lock(&self.path, &after, true).map_err(|error| io::Error::other(error.to_string()))?;
            store.remove_oldest(number)?;
            *self.first_lock.lock() = locked;
            Ok(())
        })
    }

    /// Checks that [`FILES_LOOKED_AT`] of the sealed files are in their places, in turn from one call to the next.
    ///
    /// # Errors
    /// [`LogError`], which names the file that is not.
    pub(super) fn are_sealed_there(&self) -> Result<(), LogError> {
        let Some(store) = &*self.store.read() else { return Ok(()) };
        are_sealed_there(store, self.looks.fetch_add(1, Relaxed))
    }

    /// Checks that the path still names the open file: whatever is written to a removed file is lost when this process
    /// ends.
    pub(super) fn is_in_place(&self) -> Result<(), LogError> {
        self.store.read().as_ref().map_or(Ok(()), is_in_place)
    }
}

fn are_sealed_there(store: &Store, look: usize) -> Result<(), LogError> {
    let looked_at: Vec<u64> = {
        let sealed = &store.readable.read().sealed;
        let looks = sealed.len().div_ceil(FILES_LOOKED_AT).max(1);
        let pieces = sealed.chunks(FILES_LOOKED_AT).skip(look.checked_rem(looks).unwrap_or_default());
        pieces.take(1).flatten().map(|sealed| sealed.header.number).collect()
    };
    for number in looked_at {
        let path = path_of(&store.dir, number);
        let is_gone = fs::metadata(&path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
        // It may have left the log meanwhile.
        if is_gone && store.readable.read().sealed.iter().any(|sealed| sealed.header.number == number) {
            return Err(LogError::operator(format!(
                "{} was removed under this process: put it back; without it the log is not opened again",
                path.display()
            )));
        }
    }
    Ok(())
}

fn is_in_place(store: &Store) -> Result<(), LogError> {
    let active = store.active();
    let (path, process) = (active.path.display(), std::process::id());
    let unknown = |error: io::Error| LogError::operator(format!("{path} cannot be examined: {error}"));
    let ours = active.file.metadata().map_err(unknown)?;
    match fs::metadata(&active.path) {
        Ok(found) if (found.dev(), found.ino()) == (ours.dev(), ours.ino()) => return Ok(()),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(unknown(error)),
    }
    Err(LogError::operator(format!(
        "{path} was removed or replaced under this process: as long as the process runs, the file that it wrote can \
         be copied from /proc/{process}/fd"
    )))
}

/// Makes the log ready to be written, which changes its files for the first time. Without disk space for that, the log
/// is left as it was and can only be read.
pub(super) type Release = Box<dyn FnOnce(&LogFile) -> Result<(), OpenError>>;

/// The way to open a log: whether it may be written, and made if it does not exist.
#[derive(Clone, Copy)]
pub(super) enum Access<'a> {
    /// The log is read and nothing is changed, not even to repair it.
    ReadOnly,
    /// The log is written, and made if it does not exist: with the manifest of a new log, after what is asked and done
    /// before.
    Write(&'a Manifest, Before<'a>),
}

/// Opens the log in `dir`. If `partitions` is given, the log must have that number. An existing log is not changed
/// before the release function in the result is called.
pub(super) fn open(
    dir: &Path,
    access: Access<'_>,
    partitions: Option<u32>,
    terms: Terms,
    opening: Arc<Opening>,
) -> Result<(LogFile, Release), OpenError> {
    let path = dir.join(LOG_DIR);
    if let Access::Write(..) = access {
        fs::create_dir_all(dir).map_err(|error| OpenError::io(dir, &error))?;
    }
    let writable = matches!(access, Access::Write(..));
    let lock = lock(dir, dir, writable)?;
    let old = carried::old_file(dir);
    if segments(&path)?.is_none() {
        is_none_begun(dir)?;
        match (access, &old) {
            (Access::Write(_, before), Some(old)) => {
                let admitted = |new: &Path| admitted((dir, old, new), (before, partitions), &terms, &opening);
                carried::carry_over((dir, old, &path), &admitted, &terms, &opening)?;
            }
            (Access::Write(manifest, before), None) => {
                before.judged(None, &path, &opening)?;
                make((dir, &path), manifest, before, &terms)?;
            }
            (Access::ReadOnly, old) => return Err(no_log(&path, old.as_deref())),
        }
    }
    let first = segments(&path)?.unwrap_or_default().start;
    let first_lock = self::lock(dir, &path_of(&path, first), writable)?;
    let (at, of_terms, given) = (path.clone(), terms.clone(), Arc::clone(&opening));
    let opens = Box::new(move || {
        let numbers = segments(&at)?.unwrap_or_default();
        let started = start(&at, numbers, (writable, of_terms.clone()), &given)?;
        agreed(&at, &started.store.manifest, partitions)?;
        Ok(started)
    });
    let Started { store, written_to } = opens()?;
    let old = old.filter(|_| writable);
    old.iter().try_for_each(|old| carried::is_held(old, &store, &path, &opening))?;
    let (dir, at) = (dir.to_owned(), path.clone());
    let release = Box::new(move |file: &LogFile| {
        let open = file.store.read();
        let Some(store) = open.as_ref() else { return Ok(()) };
        settled(&at, store, || Ok(store.settle(written_to)?))?;
        old.map_or(Ok(()), |old| carried::remove(&dir, &old, &terms))
    });
    Ok((LogFile::new(path, store, opens, (lock, first_lock)), release))
}

/// The first part of the log in `dir`, as [`look`] finds it. No lock is taken.
///
/// # Errors
/// [`OpenError`].
pub(super) fn prefix(dir: &Path, terms: Terms) -> Result<Store, OpenError> {
    let path = dir.join(LOG_DIR);
    // A writer may let a segment leave while the names are read.
    match segments(&path).or_else(|_| segments(&path))? {
        Some(numbers) => look(&path, numbers, terms),
        None => Err(is_none_begun(dir).err().unwrap_or(no_log(&path, carried::old_file(dir).as_deref()))),
    }
}

/// Checks that no log is being put together in this data directory.
fn is_none_begun(dir: &Path) -> Result<(), OpenError> {
    let path = dir.join(UNFINISHED_DIR);
    if path.exists() { Err(OpenError::Unfinished { path }) } else { Ok(()) }
}

/// Why there is no log to read: there is none, or one of an earlier version.
fn no_log(path: &Path, old: Option<&Path>) -> OpenError {
    match old {
        Some(old) => OpenError::Earlier { path: old.to_owned() },
        None => OpenError::io(&path_of(path, 0), &io::ErrorKind::NotFound.into()),
    }
}

/// Makes a log ready for turns. Without room for that it can still be read, and says so. After a failed flush nobody knows what is
/// on the disk.
fn settled(path: &Path, store: &Store, settle: impl FnOnce() -> Result<(), Fault>) -> Result<(), OpenError> {
    match settle() {
        Err(Fault::Io(error)) if is_want_of_room(&error) && !store.has_lost_a_flush() => store.lacks_room(&error),
        settled => settled.map_err(|fault| OpenError::Io { path: path.to_owned(), detail: fault.to_string() })?,
    }
    Ok(())
}

/// Checks that this process supports the terms of a log.
fn agreed(path: &Path, manifest: &Manifest, partitions: Option<u32>) -> Result<(), OpenError> {
    let agree = |what, log: u64, ours: u64| {
        if log == ours { Ok(()) } else { Err(OpenError::Mismatch { path: path.to_owned(), what, log, ours }) }
    };
    agree("hash version", manifest.hash_version.into(), HASH_VERSION.into())?;
    agree("dedup window (ms)", manifest.dedup_window_ms, DEDUP_WINDOW_MS)?;
    agree("memory version", manifest.memory_version.into(), MEMORY_VERSION.into())?;
    agree("partition count", manifest.partitions.into(), partitions.unwrap_or(manifest.partitions).into())
}

/// Checks that nothing refuses the log `new`, which holds what the file `old` does, and raises the level: from then on the version
/// before cannot go on with the old file.
fn admitted(
    (dir, old, new): (&Path, &Path, &Path),
    (before, partitions): (Before<'_>, Option<u32>),
    terms: &Terms,
    opening: &Opening,
) -> Result<(), OpenError> {
    let log = Embedded { shared: Arc::new(Shared::new(LogFile::unplaced(new, terms)?, Vec::new())) };
    agreed(old, &log.manifest(), partitions)?;
    before.judged(Some(&log), old, opening)?;
    before.raised(dir)?;
    crash::point("carried-raised");
    Ok(())
}

/// Reads every byte of the log and checks it, also what no claim and no reader uses.
pub(super) fn check_frames(dir: &Path, terms: Terms) -> Result<(), OpenError> {
    // Opening a log checks its last segment.
    let (file, _) = open(dir, Access::ReadOnly, None, terms, Arc::default())?;
    let open = file.store.read();
    open.as_ref().map_or(Ok(()), |store| store.check(&Opening::default()))
}

/// Locks a file or directory for one writer or any number of readers.
pub(super) fn lock(dir: &Path, path: &Path, writable: bool) -> Result<Option<File>, OpenError> {
    locked(dir, path, writable, &mut pause)
}

fn locked(dir: &Path, path: &Path, writable: bool, rest: &mut dyn FnMut(Duration)) -> Result<Option<File>, OpenError> {
    let handle = File::open(path).map_err(|error| OpenError::io(path, &error))?;
    match try_lock(&handle, writable, rest) {
        Err(TryLockError::WouldBlock) => {
            // Only who reads shares the lock with others who read.
            let is_read = writable && handle.try_lock_shared().is_ok();
            Err(OpenError::InUse { dir: dir.to_owned(), is_read })
        }
        Ok(()) => Ok(Some(handle)),
        Err(TryLockError::Error(_)) => Ok(None),
    }
}

/// Locks a file or directory. A writer tries again for a moment, and calls `rest` before: whoever asks whether the directory is
/// free, and a child that is being started, has the lock for less.
///
/// # Errors
/// [`TryLockError::WouldBlock`] while somebody else has the lock; the other one when nobody can have it.
pub fn try_lock(handle: &File, writable: bool, rest: &mut dyn FnMut(Duration)) -> Result<(), TryLockError> {
    let mut tries = if writable { LOCK_TRIES } else { 1 };
    loop {
        tries = tries.saturating_sub(1);
        match if writable { handle.try_lock() } else { handle.try_lock_shared() } {
            Err(TryLockError::WouldBlock) if tries > 0 => rest(Duration::from_millis(LOCK_RETRY_MS)),
            done => return done,
        }
    }
}

/// Makes a log without records. Names are durable once their directories are flushed.
fn make((dir, path): (&Path, &Path), manifest: &Manifest, before: Before<'_>, terms: &Terms) -> Result<(), OpenError> {
    if !(1..=PARTITIONS_MAX).contains(&manifest.partitions) {
        return Err(OpenError::Partitions { asked: manifest.partitions });
    }
    before.raised(dir)?;
    let io = |error| OpenError::io(path, &error);
    fs::create_dir_all(path).map_err(io)?;
    let heads = vec![Head::default(); manifest.partitions as usize];
    let dictionary = Dictionary::of_program();
    let header = SegmentHeader { manifest: *manifest, number: 0, first_batch: 1, before: (0, 0), heads, dictionary };
    begins::forget(&*terms.disk, path).and_then(|()| create(&*terms.disk, path, &header)).map_err(io)?;
    crash::point("log-made");
    let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty());
    [Some(dir), parent].into_iter().flatten().try_for_each(|dir| terms.disk.flush_dir(dir)).map_err(io)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The story: `headroom support` asks whether a directory is free just when the supervisor starts its server.
    #[test]
    fn a_writer_waits_for_a_moment_for_who_only_looks() {
        let dir = tempfile::tempdir().unwrap();
        let looks = || {
            let looks = File::open(dir.path()).unwrap();
            looks.try_lock_shared().unwrap();
            looks
        };
        let (mut held, mut rests) = (Some(looks()), 0);
        let locked_after = |held: &mut Option<File>, rests: &mut u32, lasts: u32| {
            locked(dir.path(), dir.path(), true, &mut |_| {
                *rests += 1;
                drop(held.take_if(|_| *rests == lasts));
            })
        };
        let lock = locked_after(&mut held, &mut rests, LOCK_TRIES - 1).unwrap();
        assert!(lock.is_some() && held.is_none());
        drop(lock);
        // Who reads a log has it for longer, and a writer is told who has it.
        let in_use = |is_read| OpenError::InUse { dir: dir.path().to_owned(), is_read };
        let (mut held, mut rests) = (Some(looks()), 0);
        let refused = locked_after(&mut held, &mut rests, LOCK_TRIES).unwrap_err();
        assert_eq!((refused, rests), (in_use(true), LOCK_TRIES - 1));
        drop(held);
        let _writer = locked_after(&mut None, &mut 0, 0).unwrap();
        assert_eq!(locked_after(&mut None, &mut 0, 0).unwrap_err(), in_use(false));
        let reads = locked(dir.path(), dir.path(), false, &mut |_| unreachable!("a reader asks the server instead"));
        assert_eq!(reads.unwrap_err(), in_use(false));
    }
}
