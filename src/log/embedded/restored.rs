//! A log that is put together again from its bytes, in a directory beside the place of the log. It gets its place when
//! all of it is there and was checked. Until then a server refuses the data directory, and whoever restores it goes on
//! with what is there.

use super::disk::{Disk, Named, OsDisk};
use super::error::OpenError;
use super::file::{LOG_DIR, UNFINISHED_DIR, lock};
use super::of_this_machine;
use super::prefix::LogPrefix;
use super::scan::{Walk, scan};
use super::segment::{CHUNK_BYTES, SegmentHeader, Slot, number_in, path_of};
use super::start::{Started, start};
use crate::log::Opening;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

/// What else may lie beside it: what was seen of the log, and its feature level, which are written before the log gets its
/// place.
const BESIDE: [&str; 4] = ["witness", "witness.new", "feature-level", "feature-level.new"];

/// What a file system of Linux has at its root: a new volume that is mounted as the data directory is empty all the same.
const OF_VOLUME: &str = "lost+found";

/// A log that is being put together. The data directory is locked meanwhile.
pub struct Restoring {
    data_dir: PathBuf,
    at: PathBuf,
    _lock: Option<File>,
}

/// The file of a segment that is being put together.
pub struct RestoredSegment(Named);

impl Restoring {
    /// Begins in a data directory that is empty, does not exist, or holds a log that was not put together to its end.
    ///
    /// # Errors
    /// [`OpenError`]; then nothing was changed.
    pub fn begin(data_dir: &Path) -> Result<Restoring, OpenError> {
        let io = |error| OpenError::io(data_dir, &error);
        fs::create_dir_all(data_dir).map_err(io)?;
        let lock = lock(data_dir, data_dir, true)?;
        let at = data_dir.join(UNFINISHED_DIR);
        let is_begun = at.is_dir();
        let mut beside = Vec::new();
        for entry in fs::read_dir(data_dir).map_err(io)? {
            let name = entry.map_err(io)?.file_name().to_string_lossy().into_owned();
            if name == OF_VOLUME {
                continue;
            }
            match is_begun && (name == UNFINISHED_DIR || BESIDE.contains(&&*name)) {
                true => beside.extend((name != UNFINISHED_DIR).then_some(name)),
                false => return Err(OpenError::Occupied { dir: data_dir.to_owned(), found: name }),
            }
        }
        beside.iter().try_for_each(|name| fs::remove_file(data_dir.join(name))).map_err(io)?;
        fs::create_dir_all(&at).and_then(|()| OsDisk.flush_dir(data_dir)).map_err(io)?;
        Ok(Restoring { data_dir: data_dir.to_owned(), at, _lock: lock })
    }

    /// Opens the file of a segment that is to have so many bytes. What an earlier attempt has written before its end
    /// stays.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn segment(&self, number: u64, end: u64) -> io::Result<RestoredSegment> {
        let path = path_of(&self.at, number);
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path)?;
        // What follows the end is zero, and there is more than nothing of it.
        file.set_len(end)?;
        file.set_len(end.saturating_add(1).next_multiple_of(CHUNK_BYTES))?;
        Ok(RestoredSegment(Named { path, file }))
    }

    /// Ends a log of the segments with these numbers, of which the last one has `end` bytes, and reads and checks all of it.
    ///
    /// # Errors
    /// [`OpenError`] when it is not a log, or not a whole one.
    pub fn whole(&self, numbers: RangeInclusive<u64>, end: u64) -> Result<LogPrefix, OpenError> {
        let io = |error| OpenError::io(&self.at, &error);
        for entry in fs::read_dir(&self.at).map_err(io)? {
            let entry = entry.map_err(io)?;
            let number = entry.file_name().to_str().and_then(number_in);
            // An attempt with another backup may have left more.
            if number.is_none_or(|number| !numbers.contains(&number)) {
                fs::remove_file(entry.path()).map_err(io)?;
            }
        }
        let (first, last) = numbers.into_inner();
        let path = path_of(&self.at, last);
        let named = Named::open(path.clone(), true).map_err(|error| OpenError::io(&path, &error))?;
        marked(&named, end)?;
        OsDisk.flush(&named).and_then(|()| OsDisk.flush_dir(&self.at)).map_err(io)?;
        let Started { store, .. } =
            start(&self.at, first..last.saturating_add(1), (false, of_this_machine()), &Opening::default())?;
        store.check(&Opening::default())?;
        Ok(LogPrefix::of(store))
    }

    /// Gives the log its place. From then on a server opens it.
    ///
    /// # Errors
    /// [`OpenError`]; then the log may be in its place or not.
    pub fn place(self) -> Result<(), OpenError> {
        let parent = self.data_dir.parent().filter(|parent| !parent.as_os_str().is_empty());
        let renamed = OsDisk.rename(&self.at, &self.data_dir.join(LOG_DIR));
        let flushed =
            |()| [Some(&*self.data_dir), parent].into_iter().flatten().try_for_each(|dir| OsDisk.flush_dir(dir));
        renamed.and_then(flushed).map_err(|error| OpenError::io(&self.data_dir, &error))
    }
}

/// Says in a segment that its end is known, as a server does that ends.
fn marked(named: &Named, end: u64) -> Result<(), OpenError> {
    let io = |error| OpenError::io(&named.path, &error);
    let header = SegmentHeader::read(named).map_err(io)?;
    let header = header.map_err(|_| OpenError::damaged(&named.path, "it does not begin as a segment does"))?;
    let found = scan(named, &header, Walk::Last { flushed: 0 }, &Opening::default()).map_err(io)?;
    if found.end != end {
        return Err(OpenError::damaged(&named.path, format!("at byte {} {}", found.end, found.stopped)));
    }
    let slot = Slot { number: 0, batch: found.next_batch.saturating_sub(1), end, is_settled: true };
    let (offset, bytes) = slot.bytes(&header);
    OsDisk.write(named, offset, &bytes).map_err(io)
}

impl RestoredSegment {
    /// So many bytes at this offset.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn read(&self, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        std::os::unix::fs::FileExt::read_exact_at(&self.0.file, &mut bytes, offset)?;
        Ok(bytes)
    }

    /// Writes bytes at this offset.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        OsDisk.write(&self.0, offset, bytes)
    }

    /// Returns when all that was written survives a power cut.
    ///
    /// # Errors
    /// Those of the operating system; then the file is removed, if that can be done.
    pub fn flush(&self) -> io::Result<()> {
        flushed(&OsDisk, &self.0)
    }

    /// The path of the file.
    pub fn path(&self) -> &Path {
        &self.0.path
    }
}

/// Flushes a file that an attempt has written, and removes it when that fails. The system may drop what it could not write, and
/// still give it to whoever reads: another attempt would take it as there.
pub(super) fn flushed(disk: &dyn Disk, named: &Named) -> io::Result<()> {
    disk.flush(named).inspect_err(|_| {
        let _removed = disk.remove(&named.path);
    })
}
