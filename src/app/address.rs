//! The file in the data directory that holds the address of the running server. A full disk does not keep the server
//! from starting: the file is written later, when there is room.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Its address and process id, on one line.
pub const ADDRESS_FILE: &str = "server.addr";
/// Pause between two attempts to write it.
const RETRY: Duration = Duration::from_secs(1);

/// The file, for as long as the server runs.
pub(super) struct AddressFile {
    path: PathBuf,
    line: String,
    is_written: bool,
}

impl AddressFile {
    /// Tries to write the file.
    pub(super) fn write(data_dir: &Path, address: SocketAddr) -> AddressFile {
        let (path, line) = (data_dir.join(ADDRESS_FILE), format!("{address} {}\n", std::process::id()));
        let mut file = AddressFile { path, line, is_written: false };
        if let Err(error) = file.try_to_write() {
            let path = file.path.display();
            tracing::warn!(%path, %error, "cannot write the file with this server's address; trying again");
        }
        file
    }

    /// Repeats the attempt until the file is written.
    pub(super) async fn written(mut self) {
        let mut tries = tokio::time::interval(RETRY);
        while !self.is_written {
            tries.tick().await;
            // The error was logged at the first attempt.
            let _ = self.try_to_write();
        }
    }

    fn try_to_write(&mut self) -> io::Result<()> {
        std::fs::write(&self.path, &self.line)?;
        self.is_written = true;
        Ok(())
    }
}

/// The address that the server of this data directory listens on.
///
/// # Errors
/// The file cannot be read or holds no address: no server runs, or it is just starting or stopping.
pub fn read_address(data_dir: &Path) -> io::Result<SocketAddr> {
    let text = std::fs::read_to_string(data_dir.join(ADDRESS_FILE))?;
    let address = text.split_whitespace().next().and_then(|address| address.parse().ok());
    address.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the file holds no address"))
}
