//! The files in the data directory that tell local commands how to call the running server: its address, and a token
//! that only whoever can read the directory has. A full disk does not keep the server from starting: the files are written
//! later, when there is room.

use super::private::write_private;
use crate::tls::{Fingerprint, Server};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// The server's address and process id, on one line. With TLS, the fingerprint of its certificate stands there too.
pub const ADDRESS_FILE: &str = "server.addr";
/// The token of local commands, which a server makes anew at every start.
pub(super) const TOKEN_FILE: &str = "server.token";
/// Pause between two attempts to write them.
const RETRY: Duration = Duration::from_secs(1);

/// The files, for as long as the server runs.
pub(super) struct LocalFiles {
    data_dir: PathBuf,
    address: SocketAddr,
    token: String,
    tls: Option<Arc<Server>>,
    /// What the file with the address holds; `None` when the files could not be written.
    written: Option<String>,
}

impl LocalFiles {
    /// Tries to write the files.
    pub(super) fn write(data_dir: &Path, address: SocketAddr, token: String, tls: Option<Arc<Server>>) -> LocalFiles {
        let mut files = LocalFiles { data_dir: data_dir.to_owned(), address, token, tls, written: None };
        if let Err(error) = files.try_to_write() {
            let path = data_dir.display();
            tracing::warn!(%path, %error, "cannot write the files with this server's address and token; trying again");
        }
        files
    }

    /// Repeats the attempt until the files are written, and writes them again when the server shows another certificate.
    pub(super) async fn written(mut self) {
        let mut tries = tokio::time::interval(RETRY);
        while self.tls.is_some() || self.written.is_none() {
            tries.tick().await;
            // The error was logged at the first attempt.
            let _ = self.try_to_write();
        }
    }

    fn try_to_write(&mut self) -> io::Result<()> {
        let line = self.line();
        if self.written.as_ref() != Some(&line) {
            // Whoever finds the address finds the token.
            write_private(&self.data_dir.join(TOKEN_FILE), &self.token, None)?;
            std::fs::write(self.data_dir.join(ADDRESS_FILE), &line)?;
            self.written = Some(line);
        }
        Ok(())
    }

    fn line(&self) -> String {
        let (address, process) = (self.address, std::process::id());
        let pin = self.tls.as_ref().map(|tls| format!(" {}", hex(tls.fingerprint())));
        format!("{address} {process}{}\n", pin.unwrap_or_default())
    }
}

/// Removes the files. If one is left behind, it names a server that does not answer, and readers notice that.
pub(super) fn remove(data_dir: &Path) {
    for name in [ADDRESS_FILE, TOKEN_FILE] {
        let _ = std::fs::remove_file(data_dir.join(name));
    }
}

/// Where the server of this data directory is.
pub struct Location {
    /// The address that it listens on.
    pub address: SocketAddr,
    /// The certificate that it shows; `None` when it speaks plain HTTP.
    pub certificate: Option<Fingerprint>,
}

/// Where the server of this data directory is.
///
/// # Errors
/// The file cannot be read or holds no address: no server runs, or it is just starting or stopping.
pub fn read_address(data_dir: &Path) -> io::Result<Location> {
    let text = std::fs::read_to_string(data_dir.join(ADDRESS_FILE))?;
    let mut words = text.split_whitespace();
    let address = words.next().and_then(|address| address.parse().ok());
    let certificate = words.nth(1).map(unhex);
    match (address, certificate) {
        (Some(address), None) => Ok(Location { address, certificate: None }),
        (Some(address), Some(Some(certificate))) => Ok(Location { address, certificate: Some(certificate) }),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "the file holds no address")),
    }
}

/// The API token by which the server of this data directory knows a local command as an operator.
///
/// # Errors
/// The file cannot be read: no server runs, or the caller may not read the directory.
pub fn read_local_token(data_dir: &Path) -> io::Result<String> {
    std::fs::read_to_string(data_dir.join(TOKEN_FILE))
}

fn hex(bytes: Fingerprint) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Fingerprint> {
    let mut bytes = Fingerprint::default();
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    (text.len() == 2 * bytes.len()).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_read_as_it_was_written() {
        let bytes = std::array::from_fn(|n| u8::try_from(n * 8).unwrap());
        assert_eq!(unhex(&hex(bytes)), Some(bytes));
        for bad in ["", "00", &hex(bytes)[1..], &format!("{}0", hex(bytes)), &"zz".repeat(32), &"é".repeat(32)] {
            assert_eq!(unhex(bad), None, "{bad}");
        }
    }
}
