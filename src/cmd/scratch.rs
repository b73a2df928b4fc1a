//! A directory of a tool's own, gone when the tool is done.

use std::io;
use std::path::{Path, PathBuf};

/// Names tried before giving up.
const TRIES: u32 = 1_000;

/// A new, empty directory. Dropping it removes it with all that is in it.
pub struct Scratch(PathBuf);

impl Scratch {
    /// A directory whose name begins with `purpose`, under the system's temporary one.
    ///
    /// # Errors
    /// Why none can be made.
    pub fn new(purpose: &str) -> io::Result<Scratch> {
        Scratch::within(&std::env::temp_dir(), purpose)
    }

    /// The same under another directory.
    ///
    /// # Errors
    /// Why none can be made.
    pub fn within(parent: &Path, purpose: &str) -> io::Result<Scratch> {
        let process = std::process::id();
        for n in 0..TRIES {
            let path = parent.join(format!("{purpose}-{process}-{n}"));
            match std::fs::create_dir(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                made => return made.map(|()| Scratch(path)),
            }
        }
        Err(io::Error::new(io::ErrorKind::AlreadyExists, "every name tried is taken"))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Leftovers of a temporary directory are not worth an ending.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::Scratch;

    #[test]
    fn two_are_two_and_none_is_left() {
        let (a, b) = (Scratch::new("headroom-test").unwrap(), Scratch::new("headroom-test").unwrap());
        assert_ne!(a.path(), b.path());
        std::fs::write(a.path().join("file"), "x").unwrap();
        let path = a.path().to_owned();
        drop(a);
        assert!(!path.exists() && b.path().exists());
    }
}
