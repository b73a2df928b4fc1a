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

/// A file, and what came of the last look at it.
pub(super) struct WatchedFile {
    path: PathBuf,
    last: Mutex<Look>,
}

/// A look at a file.
struct Look {
    /// How it was found.
    seen: Seen,
    /// Why it could not be read then, if it could not.
    failed: Option<String>,
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
        let file = WatchedFile { last: Mutex::new(Look { seen: seen(&found), failed: None }), path };
        let text = found.and_then(|found| file.read(&found)).map_err(|error| file.said(&error))?;
        Ok((file, text))
    }

    /// The text of the file when it looks otherwise than at the last call, or could not be read then; `None` when there is
    /// nothing new.
    ///
    /// # Errors
    /// The file cannot be read. It is told once for each change, and again when the reason is another one.
    pub(super) fn changed(&self) -> Option<Result<String, String>> {
        self.changed_by(|found| self.read(found))
    }

    fn changed_by(&self, read: impl FnOnce(&Metadata) -> io::Result<String>) -> Option<Result<String, String>> {
        let found = std::fs::metadata(&self.path);
        // What is written while it is read makes it look different at the next call.
        let is = seen(&found);
        let mut last = self.last.lock();
        let is_same = last.seen == is;
        if is_same && last.failed.is_none() {
            return None;
        }
        let text = found.and_then(|found| read(&found)).map_err(|error| self.said(&error));
        let failed = text.as_ref().err().cloned();
        let is_told = is_same && failed == last.failed;
        *last = Look { seen: is, failed };
        (!is_told).then_some(text)
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
        let Some(text) = self.file.changed() else { return Reading::NotRead };
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    fn fails(_: &Metadata) -> io::Result<String> {
        Err(io::Error::other("planted"))
    }

    /// The story: a token was revoked while the process had no file descriptor left. The file had changed and could not be
    /// read; later it could be read and had not changed. The token stayed valid.
    #[test]
    fn what_could_not_be_read_is_read_again_although_it_has_not_changed_since() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokens.json");
        std::fs::write(&path, "old").unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        let (file, text) = WatchedFile::open(path.clone()).unwrap();
        assert_eq!((text.as_str(), file.changed()), ("old", None));
        std::fs::write(&path, "without that token").unwrap();
        assert!(file.changed_by(fails).unwrap().unwrap_err().ends_with("tokens.json: planted"));
        // It is told once.
        assert_eq!(file.changed_by(fails), None);
        assert_eq!(file.changed(), Some(Ok("without that token".to_owned())));
        assert_eq!(file.changed(), None);
    }
}
