//! Files that flags name, and streams, read up to a bound.

use std::io::Read;
use std::path::Path;

/// Reads a file that a flag names, if it is not too long.
///
/// # Errors
/// Why it cannot be read, without its content.
pub(in crate::cmd) fn file(flag: &str, path: &Path, bytes_max: u64) -> Result<Vec<u8>, String> {
    let named = |why: String| format!("the file of {flag}, {}, {why}", path.display());
    let opened = std::fs::File::open(path).map_err(|error| named(format!("cannot be read: {error}")))?;
    bounded(opened, bytes_max).map_err(named)
}

/// Reads to the end of a file or a stream, if that is not too long.
///
/// # Errors
/// Why it cannot be read, without its content.
pub(in crate::cmd) fn bounded(from: impl Read, bytes_max: u64) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    match from.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes) {
        Err(error) => Err(format!("cannot be read: {error}")),
        Ok(_) if bytes.len() as u64 > bytes_max => Err(format!("holds more than {bytes_max} bytes")),
        Ok(_) => Ok(bytes),
    }
}
