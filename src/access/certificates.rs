//! The file that maps client certificates to principals. Whether an authority has signed a certificate is checked by the
//! TLS handshake, before anybody asks here.

use super::tokens::roles_of;
use super::{Denied, Principal, outside_name};
use serde::Deserialize;
use std::sync::Arc;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// Most names of client certificates in one file.
const CERTIFICATES_MAX: usize = 10_000;

/// Names in certificates, each with its principal, in the order of the file. The first one that a certificate has
/// counts.
pub struct Certificates(Vec<(Subject, Arc<Principal>)>);

/// A name in a certificate.
#[derive(PartialEq, Eq)]
enum Subject {
    /// A DNS name among the subject's alternative names, in lower case.
    Dns(String),
    /// A URI among the subject's alternative names, such as a SPIFFE id.
    Uri(String),
    /// An e-mail address among the subject's alternative names.
    Email(String),
    /// The common name of the subject.
    CommonName(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    certificates: Vec<Line>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    subject: String,
    name: String,
    roles: Vec<String>,
}

impl Certificates {
    /// Reads the text of a file.
    ///
    /// # Errors
    /// What is wrong, for a person.
    pub fn parse(text: &str) -> Result<Certificates, String> {
        let File { certificates } =
            serde_json::from_str(text).map_err(|error| format!("it is not as expected: {error}"))?;
        if certificates.len() > CERTIFICATES_MAX {
            return Err(format!("there are more than {CERTIFICATES_MAX} certificates"));
        }
        let principal = |line: Line| {
            let wrong = |what: &str| format!("certificate {:?}: {what}", line.subject);
            let subject = Subject::parse(&line.subject)
                .ok_or_else(|| wrong("it has to begin with dns:, uri:, email: or cn:, and a name has to follow"))?;
            let name = outside_name(&line.name).map_err(|what| wrong(&what))?;
            let roles = roles_of(&line.roles).map_err(|what| wrong(&what))?;
            Ok((subject, Arc::new(Principal { name: Some(name), roles })))
        };
        certificates.into_iter().map(principal).collect::<Result<_, _>>().map(Certificates)
    }

    /// How many names are mapped.
    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    /// The principal of a certificate in DER.
    pub(super) fn principal(&self, der: &[u8]) -> Result<Arc<Principal>, Denied> {
        let (_, certificate) = X509Certificate::from_der(der).map_err(|_| Denied::Unknown)?;
        let names = names(&certificate);
        let known = self.0.iter().find(|(subject, _)| names.contains(subject));
        known.map(|(_, principal)| Arc::clone(principal)).ok_or(Denied::Unknown)
    }
}

impl Subject {
    fn parse(text: &str) -> Option<Subject> {
        let (kind, name) = text.split_once(':').filter(|(_, name)| !name.is_empty())?;
        match kind {
            "dns" => Some(Subject::Dns(name.to_ascii_lowercase())),
            "uri" => Some(Subject::Uri(name.to_owned())),
            "email" => Some(Subject::Email(name.to_owned())),
            "cn" => Some(Subject::CommonName(name.to_owned())),
            _ => None,
        }
    }
}

/// All names in a certificate.
fn names(certificate: &X509Certificate<'_>) -> Vec<Subject> {
    let common = certificate.subject().iter_common_name().filter_map(|name| name.as_str().ok());
    let mut names: Vec<_> = common.map(|name| Subject::CommonName(name.to_owned())).collect();
    let alternatives = certificate.subject_alternative_name().ok().flatten();
    for name in alternatives.iter().flat_map(|extension| &extension.value.general_names) {
        match name {
            GeneralName::DNSName(name) => names.push(Subject::Dns(name.to_ascii_lowercase())),
            GeneralName::URI(uri) => names.push(Subject::Uri((*uri).to_owned())),
            GeneralName::RFC822Name(email) => names.push(Subject::Email((*email).to_owned())),
            _ => {}
        }
    }
    names
}
