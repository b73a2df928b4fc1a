//! JWTs of an OpenID Connect issuer: whose are accepted, and what their claims mean.

mod issuer;

pub use issuer::check_url;

use crate::access::Roles;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Whose JWTs are accepted, and what their claims mean.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Issuer {
    /// Its URL, which the claim `iss` has to have to the letter.
    pub url: String,
    /// Names of this service; the claim `aud` has to have one of them.
    pub audiences: Vec<String>,
    /// Where its keys are read from.
    pub keys: KeySource,
    /// The claim that names the caller: the claim of this very name, or else a path with dots between its parts.
    pub name_claim: String,
    /// The claim that lists what the caller may do, written like [`Issuer::name_claim`]. Its value is a list of texts, or
    /// one text of words with blanks between them.
    pub roles_claim: String,
    /// The roles that each value of that claim gives. Other values give none.
    pub roles: BTreeMap<String, Roles>,
}

/// Where the keys of an issuer are read from, as a JSON Web Key Set (JWKS).
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum KeySource {
    /// From the URL that the issuer's discovery document names.
    Discovery,
    /// From this URL.
    Url(String),
    /// From this file, which is read again when it changes.
    File(PathBuf),
}
