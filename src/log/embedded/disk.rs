//! The changes that the log makes to its files. They all go through one trait, so that a test can refuse them, delay
//! them, and keep only what a power cut would leave. Reading needs no such trait: damaged bytes can be put on a real
//! disk.

use super::segment::ReadAt;
use std::fmt::Debug;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// An open file and its path.
#[derive(Debug)]
pub(super) struct Named {
    pub(super) path: PathBuf,
    pub(super) file: File,
}

impl Named {
    /// Opens an existing file.
    ///
    /// # Errors
    /// Those of the operating system.
    pub(super) fn open(path: PathBuf, writable: bool) -> io::Result<Named> {
        let file = OpenOptions::new().read(true).write(writable).open(&path)?;
        Ok(Named { path, file })
    }
}

impl ReadAt for Named {
    fn path(&self) -> &Path {
        &self.path
    }

    fn read_up_to(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut there = 0usize;
        while let Some(rest) = buffer.get_mut(there..).filter(|rest| !rest.is_empty()) {
            match self.file.read_at(rest, offset.saturating_add(there as u64)) {
                Ok(0) => break,
                Ok(read) => there = there.saturating_add(read),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(there)
    }
}

/// What changes files. Every method returns the error of the operating system. After a failed call it is not known how
/// much of the change was made.
pub(super) trait Disk: Debug + Send + Sync {
    /// Makes an empty file, or empties the one that exists.
    fn create(&self, path: &Path) -> io::Result<Named> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)?;
        Ok(Named { path: path.to_owned(), file })
    }

    /// Sets the length in bytes. What is added reads as zeros.
    fn set_len(&self, named: &Named, length: u64) -> io::Result<()> {
        named.file.set_len(length)
    }

    /// Writes all of `bytes` at `offset`.
    fn write(&self, named: &Named, offset: u64, bytes: &[u8]) -> io::Result<()> {
        named.file.write_all_at(bytes, offset)
    }

    /// Returns when everything that was written to the file survives a power cut.
    fn flush(&self, named: &Named) -> io::Result<()> {
        named.file.sync_data()
    }

    /// Renames a file or directory. The new name survives a power cut after [`Disk::flush_dir`].
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    /// Removes a file. It stays away after a power cut once [`Disk::flush_dir`] has returned.
    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    /// Returns when the names in the directory survive a power cut.
    fn flush_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }
}

/// The disk of this machine.
#[derive(Debug)]
pub(super) struct OsDisk;

impl Disk for OsDisk {}

/// Whether a change failed for lack of disk space: the contents of the files are sound.
pub(super) fn is_want_of_room(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}
