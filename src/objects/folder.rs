//! A folder as a place for objects. It is opened for each call, so that one that is gone is noticed. A mount whose server is gone
//! answers nothing at all: so all of this runs beside the call, whose time is limited.

use super::refusal::not_allowed;
use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use std::fs::DirEntry;
use std::path::Path;
use std::sync::Arc;

/// What is told of a folder that is not there. One that somebody makes below a mount that failed takes what belongs elsewhere to
/// the local disk.
const NO_FOLDER: &str = "there is no such folder: mount it if it is a mount that failed, make one only for a place that \
                         never had anything, or name another place";

/// Why a folder is not opened.
pub(super) enum Unopened {
    /// What the system refuses.
    Refused(String),
    /// What a person has to change about the folder.
    Unusable(&'static str),
    /// A directory has the name of the object: no client tells one from an object that is not there.
    Directory,
    /// The client cannot be made.
    Failed(object_store::Error),
}

/// Opens the folder, in which this object may be or not. `is_dir` tells a directory.
///
/// # Errors
/// [`Unopened`]
pub(super) fn opened(
    dir: &Path,
    object: Option<&Path>,
    is_dir: fn(&Path) -> bool,
) -> Result<Arc<dyn ObjectStore>, Unopened> {
    if !is_dir(dir) {
        return Err(match dir.metadata() {
            Ok(_) => Unopened::Unusable("it is a file, and not a folder: make one, or name another place"),
            Err(error) => not_allowed(&error, dir).map_or(Unopened::Unusable(NO_FOLDER), Unopened::Refused),
        });
    }
    if object.is_some_and(is_dir) {
        return Err(Unopened::Directory);
    }
    let client = LocalFileSystem::new_with_prefix(dir).map_err(Unopened::Failed)?;
    Ok(Arc::new(client.with_fsync(true)))
}

/// The names of the directories in this one; none where it cannot be read. `is_dir` tells where a link leads.
pub(super) fn directories(dir: &Path, is_dir: fn(&Path) -> bool) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let is_directory = |entry: &DirEntry| {
        entry.file_type().is_ok_and(|kind| kind.is_dir() || (kind.is_symlink() && is_dir(&entry.path())))
    };
    entries.filter(is_directory).filter_map(|entry| entry.file_name().into_string().ok()).collect()
}
