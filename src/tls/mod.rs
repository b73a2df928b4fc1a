//! TLS: the certificate that this process shows, the authorities whose client certificates it accepts, and how its own
//! tools recognise a server. The files are read again when they change; connections that are open keep what they began
//! with. Only TLS 1.2 and 1.3 are spoken.
#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

mod client;

pub use client::{Fingerprint, believing, fingerprint, pinned};

use crate::config::Tls;
use crate::file_state::FileState;
use parking_lot::RwLock;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::{self, CryptoProvider};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{CertificateError, Error, RootCertStore, ServerConfig, SupportedProtocolVersion};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// The versions that are spoken.
static VERSIONS: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13, &rustls::version::TLS12];
/// The protocols that a client may choose (ALPN), the preferred one first.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];
/// After every date that a certificate can hold, in seconds since 1970.
const AFTER_ALL_S: u64 = 253_402_300_800;

/// Why a certificate, a key or an authority cannot be used. It shows nothing of a key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TlsError {
    /// The file that has to be changed.
    pub path: PathBuf,
    why: String,
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.why)
    }
}

impl std::error::Error for TlsError {}

fn wrong(path: &Path, why: impl fmt::Display) -> TlsError {
    TlsError { path: path.to_owned(), why: why.to_string() }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(crypto::ring::default_provider())
}

/// What this process shows to those who connect.
pub struct Server {
    files: Tls,
    served: RwLock<Served>,
}

struct Served {
    config: Arc<ServerConfig>,
    read: Vec<FileState>,
    expires_s: u64,
    fingerprint: Fingerprint,
}

impl Server {
    /// Reads the files.
    ///
    /// # Errors
    /// One of them cannot be read, or the key is not the certificate's.
    pub fn load(files: Tls) -> Result<Server, TlsError> {
        let served = RwLock::new(Served::load(&files)?);
        Ok(Server { files, served })
    }

    /// What a connection that begins now is served with.
    pub fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.served.read().config)
    }

    /// When the certificate expires, in seconds since 1970.
    pub fn expires_s(&self) -> u64 {
        self.served.read().expires_s
    }

    /// By what our own tools recognise the certificate.
    pub fn fingerprint(&self) -> Fingerprint {
        self.served.read().fingerprint
    }

    /// Reads the files again if one of them has changed; answers whether there is something new. It blocks.
    ///
    /// # Errors
    /// The new files cannot be used. Then nothing changes.
    pub fn reload(&self) -> Result<bool, TlsError> {
        if states(&self.files)? == self.served.read().read {
            return Ok(false);
        }
        let new = Served::load(&self.files)?;
        *self.served.write() = new;
        Ok(true)
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("files", &self.files).finish_non_exhaustive()
    }
}

impl Served {
    fn load(files: &Tls) -> Result<Served, TlsError> {
        // Before the files are read: what is written meanwhile counts as a change.
        let read = states(files)?;
        let chain = certificates(&files.certificate)?;
        let leaf = chain.first().ok_or_else(|| wrong(&files.certificate, "there is no certificate in it"))?;
        let (expires_s, fingerprint) = (expires_s(leaf).map_err(|e| wrong(&files.certificate, e))?, fingerprint(leaf));
        let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|e| wrong(&files.key, e))?;
        let builder = ServerConfig::builder_with_provider(provider()).with_protocol_versions(VERSIONS);
        let builder = builder.map_err(|e| wrong(&files.certificate, e))?;
        let builder = match &files.client_ca {
            None => builder.with_no_client_auth(),
            Some(ca) => {
                let verifier = WebPkiClientVerifier::builder_with_provider(authorities(ca)?, provider());
                let verifier = if files.is_client_required { verifier } else { verifier.allow_unauthenticated() };
                builder.with_client_cert_verifier(verifier.build().map_err(|e| wrong(ca, e))?)
            }
        };
        let mut config = builder.with_single_cert(chain, key).map_err(|e| wrong(&files.key, e))?;
        config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).into();
        if files.client_ca.is_none() {
            config.ticketer = crypto::ring::Ticketer::new().map_err(|e| wrong(&files.certificate, e))?;
        } else {
            // A session that is resumed brings the client's certificate along without a look at its dates, and makes the
            // next such session: a certificate that has expired would be believed for as long as its client comes back.
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        }
        Ok(Served { config: Arc::new(config), read, expires_s, fingerprint })
    }
}

fn states(files: &Tls) -> Result<Vec<FileState>, TlsError> {
    let paths = [&files.certificate, &files.key].into_iter().chain(&files.client_ca);
    paths.map(|path| std::fs::metadata(path).map(|found| FileState::of(&found)).map_err(|e| wrong(path, e))).collect()
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    read.map_err(|error| wrong(path, error))
}

fn authorities(path: &Path) -> Result<Arc<RootCertStore>, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|error| wrong(path, error))?;
    }
    Ok(Arc::new(roots))
}

/// When a certificate expires, in seconds since 1970. A verifier that is asked about a time after all others says so,
/// because it looks at the dates first.
fn expires_s(leaf: &CertificateDer<'static>) -> Result<u64, Error> {
    let mut roots = RootCertStore::empty();
    roots.add(leaf.clone())?;
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider()).build();
    let verifier = verifier.map_err(|error| Error::General(error.to_string()))?;
    let name = ServerName::IpAddress(std::net::IpAddr::from([127, 0, 0, 1]).into());
    let after_all = UnixTime::since_unix_epoch(Duration::from_secs(AFTER_ALL_S));
    match verifier.verify_server_cert(leaf, &[], &name, &[], after_all) {
        Err(Error::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. })) => Ok(not_after.as_secs()),
        Err(error) => Err(error),
        Ok(_) => Ok(AFTER_ALL_S),
    }
}
