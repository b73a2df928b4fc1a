//! Files that hold a secret, or that say who has one.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Puts a file with this text into the place of the one that may be there. Only the user of this process may read it, from
/// its first byte on. Readers see the old text or the new one, and never a part.
///
/// # Errors
/// The file cannot be written, or the file system lets other users read it.
pub fn write_private(path: &Path, text: &str) -> io::Result<()> {
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
        write_private(&path, "text").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "text");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_to_string(&elsewhere).unwrap(), "mine");
        assert!(!new.exists());
    }
}
