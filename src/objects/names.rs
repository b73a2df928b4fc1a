//! The names of objects in a folder, which a power cut may take although it leaves the objects.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// The names by which an object in a folder is found: its own, and those of the folders above it, up to the place.
pub(super) struct Names {
    /// The folders that have them.
    pub(super) folders: Vec<PathBuf>,
    pub(super) flush: fn(&Path) -> io::Result<()>,
}

impl Names {
    /// Flushes them, and answers `done`. Who made them may have died before it did: an object that is found is not yet one
    /// that a power cut leaves.
    pub(super) async fn flushed<T: Send + 'static>(self, done: T) -> object_store::Result<T> {
        let Names { folders, flush } = self;
        if folders.is_empty() {
            return Ok(done);
        }
        let failed =
            |source: Box<dyn std::error::Error + Send + Sync>| object_store::Error::Generic { store: "folder", source };
        let flushed = tokio::task::spawn_blocking(move || folders.iter().try_for_each(|folder| flush(folder)));
        flushed.await.map_err(|error| failed(error.into()))?.map_err(|error| failed(error.into()))?;
        Ok(done)
    }
}

/// Flushes the names in a folder.
pub(super) fn flush(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
