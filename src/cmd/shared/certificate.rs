//! The client certificate that a command shows to a server.

use super::files::file;
use clap::Args;
use std::path::PathBuf;

/// Longest file in PEM that is read, in bytes: all authorities of an operating system take less than half of it.
pub(in crate::cmd) const PEM_BYTES_MAX: u64 = 1 << 20;

/// The flags that name a client certificate.
#[derive(Debug, Args)]
#[command(next_help_heading = "Server")]
pub(in crate::cmd) struct CertificateFlags {
    /// PEM file of the certificate that this caller shows, with those of authorities after it
    #[arg(long, global = true, value_name = "FILE", requires = "certificate_key")]
    certificate: Option<PathBuf>,
    /// PEM file of that certificate's private key, in PKCS #8
    #[arg(long, global = true, value_name = "FILE", requires = "certificate")]
    certificate_key: Option<PathBuf>,
}

/// A certificate and its private key, both in PEM.
pub(in crate::cmd) struct Certificate {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl CertificateFlags {
    /// Reads the two files; `None` when the flags are not given.
    ///
    /// # Errors
    /// Why a file cannot be read, without its content.
    pub(in crate::cmd) fn read(&self) -> Result<Option<Certificate>, String> {
        let (Some(certificate), Some(key)) = (&self.certificate, &self.certificate_key) else { return Ok(None) };
        let certificate = file("--certificate", certificate, PEM_BYTES_MAX)?;
        Ok(Some(Certificate { certificate, key: file("--certificate-key", key, PEM_BYTES_MAX)? }))
    }
}

impl Certificate {
    /// The certificate, and its private key.
    pub(in crate::cmd) fn parts(&self) -> (&[u8], &[u8]) {
        (&self.certificate, &self.key)
    }
}
