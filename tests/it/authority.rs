//! An authority of a test, the certificates that it signs, and clients of servers that show one of them.

use headroom::config::Tls;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use std::path::PathBuf;
use std::sync::Arc;
use tempfile::TempDir;

/// An authority, and the directory of what it has signed.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    dir: TempDir,
}

impl Authority {
    pub fn new() -> Authority {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // Some clients take a certificate whose subject is that of its issuer for one that has signed itself.
        params.distinguished_name.push(DnType::CommonName, "an authority of tests");
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let authority = Authority { issuer, dir: tempfile::tempdir().unwrap() };
        std::fs::write(authority.path("ca.pem"), authority.issuer.pem()).unwrap();
        authority
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Signs a certificate that is valid until this year, and puts it and its key where those of this name are.
    pub fn sign(&self, name: &str, until: i32) {
        let mut params = CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(until, 1, 1));
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        for (end, text) in [("key", key.serialize_pem()), ("pem", certificate.pem())] {
            let new = self.path("new");
            std::fs::write(&new, text).unwrap();
            std::fs::rename(new, self.path(&format!("{name}.{end}"))).unwrap();
        }
    }

    pub fn files(&self, client_ca: Option<PathBuf>, is_client_required: bool) -> Tls {
        let (certificate, key) = (self.path("server.pem"), self.path("server.key"));
        Tls { certificate, key, client_ca, is_client_required }
    }

    /// What a client of this authority's server has, with the certificate of this name.
    pub fn client(&self, of: Option<(&Authority, &str)>) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let builder = builder.with_root_certificates(roots);
        Arc::new(match of {
            None => builder.with_no_client_auth(),
            Some((signer, name)) => {
                let chain = CertificateDer::from_pem_file(signer.path(&format!("{name}.pem"))).unwrap();
                let key = PrivateKeyDer::from_pem_file(signer.path(&format!("{name}.key"))).unwrap();
                builder.with_client_auth_cert(vec![chain], key).unwrap()
            }
        })
    }
}
