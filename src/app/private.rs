//! Files that hold a secret, or that say who has one.

use std::ffi::OsString;
use std::fs::{File, Metadata, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::Path;

/// Puts a file with this text into the place of the one that may be there. From its first byte on only the user of this
/// process may read it, or whoever could read `was`. It gets the user, the group and the mode of `was` before it takes its place,
/// because the path may lead elsewhere later. Readers see the old text or the new one, and never a part.
///
/// # Errors
/// The file cannot be written or given to that user and that group, or the file system lets other users read it. The old one
/// stays.
pub fn write_private(path: &Path, text: &str, was: Option<&Metadata>) -> io::Result<()> {
    let mut new = OsString::from(path);
    new.push(".new");
    let new = Path::new(&new);
    // One may be left behind by a process that was killed. Another user's file is never opened: it has to be a new one.
    match std::fs::remove_file(new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(new)?;
    if file.metadata()?.permissions().mode() & 0o077 != 0 {
        std::fs::remove_file(new)?;
        return Err(io::Error::other("this file system does not keep other users from reading it"));
    }
    if let Some(Err(error)) = was.map(|was| give(&file, was)) {
        std::fs::remove_file(new)?;
        return Err(error);
    }
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(new, path)?;
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(dir)?.sync_all()
}

/// Gives the file the user, the group and the mode of the one that was there.
fn give(file: &File, was: &Metadata) -> io::Result<()> {
    let (made, (user, group)) = (file.metadata()?, (was.uid(), was.gid()));
    if (made.uid(), made.gid()) != (user, group)
        && let Err(error) = fchown(file, Some(user), Some(group))
        // Another group takes nothing from a user who alone may read the file.
        && (made.uid() != user || was.mode() & 0o070 != 0)
    {
        let why = format!("it has to stay a file of uid {user} and gid {group}: {error}");
        return Err(io::Error::new(error.kind(), why));
    }
    file.set_permissions(Permissions::from_mode(was.mode() & 0o777))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_file_replaces_whatever_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        let new = dir.path().join("secret.new");
        let elsewhere = dir.path().join("elsewhere");
        std::fs::write(&path, "old").unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        std::fs::write(&elsewhere, "mine").unwrap();
        std::os::unix::fs::symlink(&elsewhere, &new).unwrap();
        write_private(&path, "text", None).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "text");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_to_string(&elsewhere).unwrap(), "mine");
        assert!(!new.exists());
    }

    /// The story: an operator revoked a token as root. The file was root's alone from then on: the server, which had read it as
    /// its user or as one of its group, could not read it any more, and took the token as before.
    #[test]
    fn a_file_that_others_read_stays_theirs_or_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let [path, theirs] = ["secret", "theirs"].map(|name| dir.path().join(name));
        write_private(&path, "old", None).unwrap();
        let of = |path: &Path| path.metadata().map(|is| (is.uid(), is.gid(), is.mode() & 0o777)).unwrap();
        let (user, group, _) = of(&path);
        std::fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        write_private(&path, "own", Some(&path.metadata().unwrap())).unwrap();
        assert_eq!(of(&path), (user, group, 0o640));
        // Only root may give a file to somebody, or to a group that it is not in. The root directory is somebody else's.
        std::fs::write(&theirs, "").unwrap();
        std::fs::set_permissions(&theirs, Permissions::from_mode(0o640)).unwrap();
        let is_given = std::os::unix::fs::chown(&theirs, Some(user + 1), Some(group + 1)).is_ok();
        let was = if is_given { &*theirs } else { Path::new("/") };
        let given = write_private(&path, "new", Some(&was.metadata().unwrap()));
        let text = std::fs::read_to_string(&path).unwrap();
        match given {
            Ok(()) => assert_eq!((&*text, of(&path)), ("new", of(was))),
            Err(error) => {
                assert_eq!((&*text, of(&path)), ("own", (user, group, 0o640)));
                assert!(error.to_string().contains("it has to stay a file of uid "), "{error}");
            }
        }
        assert!(!dir.path().join("secret.new").exists());
    }
}
