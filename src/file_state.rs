//! Whether a file has changed since it was read, without reading it again.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;

/// What the file system says of a file. It differs after every write, replacement, and change of the mode.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FileState {
    device: u64,
    inode: u64,
    bytes: u64,
    mode: u32,
    /// The change time, in seconds and nanoseconds. It also moves when somebody sets the modification time back.
    changed: (i64, i64),
}

impl FileState {
    /// The state that this metadata describes.
    pub fn of(found: &Metadata) -> FileState {
        FileState {
            device: found.dev(),
            inode: found.ino(),
            bytes: found.len(),
            mode: found.mode(),
            changed: (found.ctime(), found.ctime_nsec()),
        }
    }
}
