//! The files in the data directory that tell local commands how to call the running server: its address, and a token
//! that only whoever can read the directory has. A full disk does not keep the server from starting: the files are written
//! later, when there is room.

use super::private::write_private;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The server's address and process id, on one line.
pub const ADDRESS_FILE: &str = "server.addr";
/// The token of local commands, which a server makes anew at every start.
pub(super) const TOKEN_FILE: &str = "server.token";
/// Pause between two attempts to write them.
const RETRY: Duration = Duration::from_secs(1);

/// The files, for as long as the server runs.
pub(super) struct LocalFiles {
    data_dir: PathBuf,
    address: String,
    token: String,
    is_written: bool,
}

impl LocalFiles {
    /// Tries to write the files.
    pub(super) fn write(data_dir: &Path, address: SocketAddr, token: String) -> LocalFiles {
        let address = format!("{address} {}\n", std::process::id());
        let mut files = LocalFiles { data_dir: data_dir.to_owned(), address, token, is_written: false };
        if let Err(error) = files.try_to_write() {
            let path = data_dir.display();
            tracing::warn!(%path, %error, "cannot write the files with this server's address and token; trying again");
        }
        files
    }

    /// Repeats the attempt until the files are written.
    pub(super) async fn written(mut self) {
        let mut tries = tokio::time::interval(RETRY);
        while !self.is_written {
            tries.tick().await;
            // The error was logged at the first attempt.
            let _ = self.try_to_write();
        }
    }

    fn try_to_write(&mut self) -> io::Result<()> {
        // Whoever finds the address finds the token.
        write_private(&self.data_dir.join(TOKEN_FILE), &self.token)?;
        std::fs::write(self.data_dir.join(ADDRESS_FILE), &self.address)?;
        self.is_written = true;
        Ok(())
    }
}

/// Removes the files. If one is left behind, it names a server that does not answer, and readers notice that.
pub(super) fn remove(data_dir: &Path) {
    for name in [ADDRESS_FILE, TOKEN_FILE] {
        let _ = std::fs::remove_file(data_dir.join(name));
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

/// The API token by which the server of this data directory knows a local command as an operator.
///
/// # Errors
/// The file cannot be read: no server runs, or the caller may not read the directory.
pub fn read_local_token(data_dir: &Path) -> io::Result<String> {
    std::fs::read_to_string(data_dir.join(TOKEN_FILE))
}
