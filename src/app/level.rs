//! The feature level of an embedded log. Its one process raises it at the start, in a file of the data directory. An older
//! version that is started on the directory finds it, and says what to do instead of meeting records that it cannot read.

use super::{StartError, write_private};
use crate::log::{FIRST_LEVEL, known_embedded_level};
use std::io;
use std::path::Path;

/// The level and the version that raised it, with a blank between them.
const FILE: &str = "feature-level";

/// The level of the log in this directory, and the version that raised it; `None` when nothing says so.
fn found(dir: &Path) -> Result<Option<(u32, String)>, StartError> {
    let path = dir.join(FILE);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StartError::Io(path, error)),
    };
    let said =
        text.trim_end().split_once(' ').and_then(|(level, version)| Some((level.parse().ok()?, version.to_owned())));
    said.map(Some).ok_or_else(|| {
        StartError::Io(
            path,
            io::Error::other("it does not say a feature level and a version: the directory is damaged"),
        )
    })
}

/// The level of the log in this directory.
///
/// # Errors
/// [`StartError::Io`]
pub fn level(dir: &Path) -> Result<u32, StartError> {
    Ok(found(dir)?.map_or(FIRST_LEVEL, |(level, _)| level))
}

/// Refuses a log of a level that this version does not know.
///
/// # Errors
/// [`StartError::NewerLog`], which names the version to take, and [`StartError::Io`]
pub fn check(dir: &Path) -> Result<(), StartError> {
    let known = known_embedded_level();
    match found(dir)? {
        Some((level, version)) if level > known => Err(StartError::NewerLog { level, known, version }),
        _ => Ok(()),
    }
}

/// Gives the log the newest level of this version.
///
/// # Errors
/// [`StartError::Io`]
pub fn raise(dir: &Path) -> Result<(), StartError> {
    let known = known_embedded_level();
    if found(dir)?.is_some_and(|(level, _)| level >= known) {
        return Ok(());
    }
    let path = dir.join(FILE);
    let text = format!("{known} {}\n", env!("CARGO_PKG_VERSION"));
    write_private(&path, &text, None).map_err(|error| StartError::Io(path, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_of_a_later_version_is_refused_with_the_version_to_take() {
        let dir = tempfile::tempdir().unwrap();
        check(dir.path()).unwrap();
        assert_eq!(level(dir.path()).unwrap(), FIRST_LEVEL);
        raise(dir.path()).unwrap();
        assert_eq!(level(dir.path()).unwrap(), known_embedded_level());
        let own = std::fs::read_to_string(dir.path().join(FILE)).unwrap();
        assert_eq!(own, format!("{} {}\n", known_embedded_level(), env!("CARGO_PKG_VERSION")));
        std::fs::write(dir.path().join(FILE), "1 0.0.9\n").unwrap();
        check(dir.path()).unwrap();
        raise(dir.path()).unwrap();
        assert_eq!(std::fs::read_to_string(dir.path().join(FILE)).unwrap(), own);
        std::fs::write(dir.path().join(FILE), "99 7.1.0\n").unwrap();
        let why = check(dir.path()).unwrap_err().to_string();
        assert!(why.contains("feature level 99") && why.contains("version 7.1.0"), "{why}");
        std::fs::write(dir.path().join(FILE), "new").unwrap();
        assert!(check(dir.path()).unwrap_err().to_string().contains("damaged"));
    }
}
