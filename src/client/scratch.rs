//! A temporary directory of a tool's own, deleted when the tool is done.

use std::io;
use std::path::{Path, PathBuf};

/// Names that are tried before giving up.
const TRIES: u32 = 1_000;

/// A new directory. Dropping this deletes the directory and everything in it.
pub struct Scratch(PathBuf);

impl Scratch {
    /// Makes an empty directory under the system's temporary directory; its name begins with `purpose`.
    ///
    /// # Errors
    /// It cannot be created.
    pub fn new(purpose: &str) -> io::Result<Scratch> {
        Scratch::within(&std::env::temp_dir(), purpose)
    }

    /// Makes an empty directory under `parent`; its name begins with `purpose`.
    ///
    /// # Errors
    /// It cannot be created.
    pub fn within(parent: &Path, purpose: &str) -> io::Result<Scratch> {
        let process = std::process::id();
        for n in 0..TRIES {
            let path = parent.join(format!("{purpose}-{process}-{n}"));
            match std::fs::create_dir(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                made => return made.map(|()| Scratch(path)),
            }
        }
        Err(io::Error::new(io::ErrorKind::AlreadyExists, "every name that was tried exists already"))
    }

    /// The path of the directory.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A tool does not fail because its temporary directory could not be deleted.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::Scratch;

    #[test]
    fn two_directories_differ_and_a_dropped_one_is_deleted() {
        let (a, b) = (Scratch::new("headroom-test").unwrap(), Scratch::new("headroom-test").unwrap());
        assert_ne!(a.path(), b.path());
        std::fs::write(a.path().join("file"), "x").unwrap();
        let path = a.path().to_owned();
        drop(a);
        assert!(!path.exists() && b.path().exists());
    }
}
