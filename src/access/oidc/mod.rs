//! JWTs of an OpenID Connect issuer: whose are accepted, and what their claims mean.

mod cache;
mod claims;
mod issuer;
mod keys;
mod signatures;

pub use issuer::check_url;

use super::watched_file::WatchedFile;
use super::{Denied, Principal, Reading, Roles};
use crate::domain::Micros;
use crate::time::Clock;
use cache::{Cache, Verified};
use claims::Claims;
use issuer::Fetcher;
use jsonwebtoken::errors::{Error, ErrorKind};
use jsonwebtoken::{Validation, decode, decode_header};
use keys::{Key, Keys};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

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

/// Verifies the JWTs of one issuer.
pub(super) struct Oidc {
    issuer: Issuer,
    keys: Keys,
    cache: Cache,
    from: From,
}

/// Where keys come from, ready to be read.
enum From {
    File(WatchedFile),
    Network(Fetcher),
}

impl Oidc {
    /// Reads a file of keys; an issuer on the network is asked later, by [`Oidc::refresh`].
    ///
    /// # Errors
    /// What is wrong, for a person.
    pub(super) fn new(issuer: Issuer, clock: &dyn Clock) -> Result<Oidc, String> {
        signatures::install();
        let (keys, cache) = (Keys::new(), Cache::default());
        let from = match &issuer.keys {
            KeySource::Discovery => From::Network(Fetcher::new(issuer.url.clone(), None)?),
            KeySource::Url(url) => From::Network(Fetcher::new(issuer.url.clone(), Some(url.clone()))?),
            KeySource::File(path) => {
                let (file, text) = WatchedFile::open(path.clone())?;
                if let Some(generation) = keys.load(text.as_bytes(), clock.now()).map_err(|why| file.said(&why))? {
                    cache.begin(generation);
                }
                From::File(file)
            }
        };
        Ok(Oidc { issuer, keys, cache, from })
    }

    /// The principal of a JWT.
    pub(super) fn principal(&self, jwt: &str, clock: &dyn Clock) -> Result<Arc<Principal>, Denied> {
        let (hash, now) = (*blake3::hash(jwt.as_bytes()).as_bytes(), clock.wall());
        if let Some(Verified { principal, until }) = self.cache.get(&hash) {
            return if until > now { Ok(principal) } else { Err(Denied::Expired) };
        }
        let header = decode_header(jwt).map_err(|error| denied(&error))?;
        if header.crit.is_some() {
            // It lists what a reader has to understand, and we understand none of it.
            return Err(Denied::Malformed);
        }
        let keys = self.keys.current();
        let claims = self.signed(jwt, keys.with_id(header.kid.as_deref()))?;
        let until = claims.valid_until(now)?;
        let principal = Arc::new(claims.principal(&self.issuer)?);
        self.cache.put(hash, Verified { principal: Arc::clone(&principal), until }, keys.generation);
        Ok(principal)
    }

    /// The claims of a JWT that one of these keys has signed. When none of them has, the issuer may have others by now, also
    /// under the same id.
    fn signed<'k>(&self, jwt: &str, keys: impl Iterator<Item = &'k Key>) -> Result<Claims, Denied> {
        for key in keys {
            match decode(jwt, &key.decoding, &self.validation(key)) {
                Ok(jwt) => return Ok(jwt.claims),
                Err(error) if matches!(error.kind(), ErrorKind::InvalidSignature | ErrorKind::InvalidAlgorithm) => {}
                Err(error) => return Err(denied(&error)),
            }
        }
        self.keys.want();
        Err(Denied::Unknown)
    }

    /// What the library checks. Times are checked by [`Claims`], with the clock of this process.
    fn validation(&self, key: &Key) -> Validation {
        let mut validation = Validation { algorithms: key.algorithms.clone(), ..Validation::default() };
        validation.set_audience(&self.issuer.audiences);
        validation.set_issuer(&[&self.issuer.url]);
        validation.set_required_spec_claims(&["exp", "iss", "aud"]);
        validation.validate_exp = false;
        validation
    }

    /// Reads the keys again if they are in a file that has changed.
    pub(super) fn look(&self, clock: &dyn Clock) -> Reading {
        let From::File(file) = &self.from else { return Reading::NotRead };
        match file.changed() {
            None => Reading::NotRead,
            Some(text) => self.took(text.map(String::into_bytes), clock.now()),
        }
    }

    /// Asks the issuer on the network for its keys, if that is due.
    pub(super) async fn refresh(&self, clock: &dyn Clock) -> Reading {
        let From::Network(fetcher) = &self.from else { return Reading::NotRead };
        if !self.keys.is_due(clock.now()) {
            return Reading::NotRead;
        }
        let fetched = fetcher.fetch().await;
        self.took(fetched, clock.now())
    }

    fn took(&self, text: Result<Vec<u8>, String>, now: Micros) -> Reading {
        match text.and_then(|text| self.keys.load(&text, now)) {
            Ok(None) => Reading::Same,
            Ok(Some(generation)) => {
                self.cache.begin(generation);
                Reading::Replaced
            }
            Err(why) => {
                self.keys.failed(now);
                Reading::Failed(why)
            }
        }
    }

    /// How many keys are known.
    pub(super) fn count(&self) -> usize {
        self.keys.current().count()
    }

    /// The time since they were read, in microseconds; `None` before the first time.
    pub(super) fn age_us(&self, clock: &dyn Clock) -> Option<u64> {
        self.keys.age_us(clock.now())
    }
}

fn denied(error: &Error) -> Denied {
    match error.kind() {
        ErrorKind::Base64(_) | ErrorKind::Json(_) | ErrorKind::Utf8(_) | ErrorKind::InvalidToken => Denied::Malformed,
        _ => Denied::Unknown,
    }
}
