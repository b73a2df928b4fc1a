//! Folders for what has to outlive the data directory: snapshots, what leaves the log, and backups.

use super::StartError;
use crate::config::{Config, ObjectPlace};
use std::path::{Path, PathBuf};

/// Refuses settings by which a server would write copies of its data directory into it.
///
/// # Errors
/// [`StartError::Snapshots`] and [`StartError::Archive`].
pub(super) fn check(config: &Config) -> Result<(), StartError> {
    let outlives =
        |place: Option<&ObjectPlace>, flag| place.map_or(Ok(()), |place| is_elsewhere(place, &config.data_dir, flag));
    let snapshots = config.snapshots.as_ref().map(|snapshots| &snapshots.place);
    outlives(snapshots, "--snapshots").map_err(StartError::Snapshots)?;
    outlives(config.log_archive.as_ref(), "--log-archive").map_err(StartError::Archive)
}

/// Refuses a folder within the data directory, whether or not it is there already: whatever takes the log away takes the copies
/// as well.
///
/// # Errors
/// That it is one, and that the flag has to name another.
pub fn is_elsewhere(place: &ObjectPlace, data_dir: &Path, flag: &str) -> Result<(), String> {
    let ObjectPlace::Folder(folder) = place else { return Ok(()) };
    match resolved(folder).starts_with(resolved(data_dir)) {
        false => Ok(()),
        true => Err(format!(
            "{place} is in the data directory {}, and would be lost with it: name a folder elsewhere with {flag}",
            data_dir.display()
        )),
    }
}

/// The path without links, as far as it is there.
fn resolved(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let real = path.ancestors().find_map(|there| {
        let rest = path.strip_prefix(there).ok()?;
        Some(there.canonicalize().ok()?.join(rest))
    });
    real.unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_folder_within_the_data_directory_is_known_by_any_of_its_names() {
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &str| dir.path().join(path);
        fs::create_dir_all(at("data/log")).unwrap();
        std::os::unix::fs::symlink(at("data"), at("link")).unwrap();
        let is_elsewhere = |folder: &str, data_dir: &str| {
            is_elsewhere(&ObjectPlace::Folder(at(folder)), &at(data_dir), "--to").is_ok()
        };
        for within in ["data", "data/", "data/log", "data/none/yet", "link", "link/log"] {
            assert_eq!((is_elsewhere(within, "data"), is_elsewhere(within, "link")), (false, false), "{within}");
        }
        for other in ["none", "data-2", "data/../other", ""] {
            assert!(is_elsewhere(other, "data"), "{other}");
        }
        // A directory that a first start makes.
        assert!(!is_elsewhere("new/snapshots", "new") && is_elsewhere("new-snapshots", "new"));
    }
}
