//! A file that is read again when it has changed.

use super::Reading;
use crate::file_state::FileState;
use crate::limits::ACCESS_FILE_BYTES_MAX;
use parking_lot::{Mutex, RwLock};
use std::fmt::Display;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;

/// The bit of a file's mode that lets everybody write it.
const ANYBODY_WRITES: u32 = 0o002;

/// A file, and how it was found when it was read the last time.
pub(super) struct WatchedFile {
    path: PathBuf,
    seen: Mutex<Seen>,
}

/// The state of a file, or why there is none.
type Seen = Result<FileState, io::ErrorKind>;

fn seen(found: &io::Result<Metadata>) -> Seen {
    found.as_ref().map(FileState::of).map_err(io::Error::kind)
}

impl WatchedFile {
    /// Reads the file for the first time, and returns its text.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(super) fn open(path: PathBuf) -> Result<(WatchedFile, String), String> {
        let found = std::fs::metadata(&path);
        let file = WatchedFile { seen: Mutex::new(seen(&found)), path };
        let text = file.text(found)?;
        Ok((file, text))
    }

    /// The text of the file when it looks otherwise than at the last call; `None` when it does not.
    ///
    /// # Errors
    /// The file cannot be read. It is told once for each change.
    pub(super) fn changed(&self) -> Option<Result<String, String>> {
        let found = std::fs::metadata(&self.path);
        let is = seen(&found);
        // What is written while it is read makes it look different at the next call.
        let was = std::mem::replace(&mut *self.seen.lock(), is.clone());
        (was != is).then(|| self.text(found))
    }

    fn text(&self, found: io::Result<Metadata>) -> Result<String, String> {
        found.and_then(|found| self.read(&found)).map_err(|error| self.said(&error))
    }

    /// An error about this file, for a person.
    pub(super) fn said(&self, why: &dyn Display) -> String {
        format!("{}: {why}", self.path.display())
    }

    fn read(&self, found: &Metadata) -> io::Result<String> {
        if found.mode() & ANYBODY_WRITES != 0 {
            return Err(io::Error::other("every user of this machine may write it: change its mode"));
        }
        let mut text = String::new();
        File::open(&self.path)?.take(ACCESS_FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
        if text.len() as u64 > ACCESS_FILE_BYTES_MAX {
            return Err(io::Error::other(format!("it has more than {ACCESS_FILE_BYTES_MAX} bytes")));
        }
        Ok(text)
    }
}

/// What a file says, as of the last time that it could be read.
pub(super) struct FileTable<T> {
    file: WatchedFile,
    parse: fn(&str) -> Result<T, String>,
    current: RwLock<Arc<T>>,
}

impl<T> FileTable<T> {
    /// Reads the file for the first time.
    pub(super) fn open(path: PathBuf, parse: fn(&str) -> Result<T, String>) -> Result<FileTable<T>, String> {
        let (file, text) = WatchedFile::open(path)?;
        let first = parse(&text).map_err(|why| file.said(&why))?;
        Ok(FileTable { file, parse, current: RwLock::new(Arc::new(first)) })
    }

    pub(super) fn current(&self) -> Arc<T> {
        Arc::clone(&self.current.read())
    }

    /// Reads the file again if it has changed. What it said before stays in force when it cannot be read.
    pub(super) fn look(&self) -> Reading {
        let Some(text) = self.file.changed() else { return Reading::Unchanged };
        let parsed = text.and_then(|text| (self.parse)(&text).map_err(|why| self.file.said(&why)));
        match parsed {
            Ok(table) => {
                *self.current.write() = Arc::new(table);
                Reading::Replaced
            }
            Err(why) => Reading::Failed(why),
        }
    }
}
