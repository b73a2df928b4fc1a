//! Files that hold a secret, or that say who has one.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::Path;

/// Puts a file with this text into the place of the one that may be there. Only the user of this process may read it, from
/// its first byte on, or this other user, to whom the file is given before it takes its place: a path may lead elsewhere by
/// then. Readers see the old text or the new one, and never a part.
///
/// # Errors
/// The file cannot be written or given to that user, or the file system lets other users read it. The old one stays.
pub fn write_private(path: &Path, text: &str, user: Option<u32>) -> io::Result<()> {
    let mut new = OsString::from(path);
    new.push(".new");
    let new = Path::new(&new);
    // One may be left behind by a process that was killed. Another user's file is never opened: it has to be a new one.
    match std::fs::remove_file(new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(new)?;
    let made = file.metadata()?;
    if made.permissions().mode() & 0o077 != 0 {
        std::fs::remove_file(new)?;
        return Err(io::Error::other("this file system does not keep other users from reading it"));
    }
    if let Some(user) = user.filter(|user| made.uid() != *user)
        && let Err(error) = fchown(&file, Some(user), None)
    {
        std::fs::remove_file(new)?;
        return Err(io::Error::new(error.kind(), format!("it has to stay a file of uid {user}: {error}")));
    }
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(new, path)?;
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::Permissions;

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

    /// The story: an operator revoked a token as root. The file was root's from then on, the server could not read it any more,
    /// and took the token as before.
    #[test]
    fn a_file_that_another_user_reads_is_given_to_him_or_stays_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        write_private(&path, "old", None).unwrap();
        let own = path.metadata().unwrap().uid();
        write_private(&path, "own", Some(own)).unwrap();
        let given = write_private(&path, "new", Some(own + 1));
        let is = (std::fs::read_to_string(&path).unwrap(), path.metadata().unwrap().uid());
        match given {
            // Only root may give a file to somebody.
            Ok(()) => assert_eq!(is, ("new".to_owned(), own + 1)),
            Err(error) => {
                assert_eq!(is, ("own".to_owned(), own));
                assert!(error.to_string().contains(&format!("a file of uid {}", own + 1)), "{error}");
            }
        }
        assert!(!dir.path().join("secret.new").exists());
    }
}
