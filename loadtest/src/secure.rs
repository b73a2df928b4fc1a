//! What a server needs to serve callers with tokens over TLS: a certificate of the run's own, and tokens.

use crate::server::data_dir;
use std::path::Path;
use std::process::Command;

/// What a run does: it reserves, makes pools, and reads the log and the metrics.
const ROLES: &str = "checkout,planner,operator,metrics";

/// Writes a certificate and its key into a directory. Answers the arguments that tell a server of them.
///
/// # Errors
/// Why there is no certificate.
pub fn certificate(directory: &Path) -> Result<[String; 4], String> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).map_err(|e| e.to_string())?;
    let write = |name: &str, text: String| {
        let path = directory.join(name);
        let written = headroom::app::write_private(&path, &text, None).map_err(|e| format!("{}: {e}", path.display()));
        written.map(|()| path.display().to_string())
    };
    let certificate = write("certificate.pem", made.cert.pem())?;
    let key = write("key.pem", made.signing_key.serialize_pem())?;
    Ok(["--tls-certificate".to_owned(), certificate, "--tls-key".to_owned(), key])
}

/// Makes a token of this name for the server that will run in this directory.
///
/// # Errors
/// Why there is no token.
pub fn token(program: &Path, directory: &Path, name: &str) -> Result<String, String> {
    let mut command = Command::new(program);
    command.args(["tokens", "new", name, "--roles", ROLES, "--data-dir"]).arg(data_dir(directory));
    let made = command.output().map_err(|e| format!("{}: {e}", program.display()))?;
    if made.status.success() {
        return Ok(String::from_utf8_lossy(&made.stdout).trim().to_owned());
    }
    Err(format!("{} tokens new: {}", program.display(), String::from_utf8_lossy(&made.stderr).trim()))
}
