//! Who calls, and what they may do. A caller proves who it is with an API token, a JWT or a client certificate, and
//! [`Access`] answers with its [`Principal`]: a name and [`Roles`]. This room knows no protocol: an edge brings the
//! credentials and turns [`Denied`] into its own words. What each role may do is said by the edge's table of endpoints.
//!
//! Nothing here starts a thread or a task. `app` calls [`Access::look_at_files`] and [`Access::refresh_keys`] from time to
//! time; a call never waits for a file or for an issuer.
#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

mod act;
mod api_token;
mod certificates;
pub mod oidc;
mod quota;
mod role;
mod tokens;
mod watched_file;

pub use act::{AUDIT_LOG, Act};
pub use api_token::{NewToken, TOKEN_RANDOM_BYTES};
pub use quota::{Quota, Rate, Rates};
pub use role::{Role, Roles};
pub use tokens::{ApiToken, Tokens};

use crate::domain::Name;
use crate::limits::CREDENTIAL_BYTES_MAX;
use crate::time::Clock;
use api_token::TokenHash;
use certificates::Certificates;
use oidc::{Issuer, Oidc};
use parking_lot::Mutex;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use watched_file::FileTable;

/// The name of whoever has the secret of the data directory. No other principal can have it.
pub const LOCAL_NAME: &str = "local";

/// Somebody who calls: a program, or a person.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Principal {
    /// Its name, which is recorded as the actor of its commands; `None` while anybody may call
    /// ([`Access::anybody`]).
    pub name: Option<Name>,
    /// What it may do.
    pub roles: Roles,
}

/// Why a caller is not believed. No variant holds a part of a credential, so that none reaches a log or an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Denied {
    /// The caller proved nothing.
    Missing,
    /// The Authorization header, or the token in it, has a form that is not known.
    Malformed,
    /// Nobody has this token or certificate, or its signature is wrong.
    Unknown,
    /// It was valid, and is not any more.
    Expired,
    /// It is not valid yet.
    TooEarly,
    /// Its signature is right, and it does not say by which name its caller is known.
    Nameless,
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Denied::Missing => "the call has no credential: send an Authorization header with a token",
            Denied::Malformed => "the Authorization header cannot be read: it has to be 'Bearer' and a token",
            Denied::Unknown => "nobody is known by this token or certificate",
            Denied::Expired => "the token or certificate has expired",
            Denied::TooEarly => "the token or certificate is not valid yet",
            Denied::Nameless => "the token does not name its caller: its claim has to be a text of 1 to 64 bytes",
        })
    }
}

impl std::error::Error for Denied {}

/// What a caller brings to prove who it is.
#[derive(Clone, Copy, Default)]
pub struct Credentials<'a> {
    /// The value of the Authorization header, as it was sent.
    pub authorization: Option<&'a str>,
    /// What the connection's client certificate said when the connection was made.
    pub certificate: Option<&'a Result<Arc<Principal>, Denied>>,
}

impl fmt::Debug for Credentials<'_> {
    /// Leaves out the header, because it is a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let authorization = self.authorization.map(|_| "(secret)");
        write!(f, "authorization {authorization:?}, certificate {:?}", self.certificate)
    }
}

/// What principals are read from, apart from the calls themselves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Source {
    /// The file of API tokens.
    Tokens,
    /// The keys of an issuer of JWTs.
    Keys,
    /// The file that maps client certificates.
    Certificates,
}

impl Source {
    /// Every source, once.
    pub const ALL: [Source; 3] = [Source::Tokens, Source::Keys, Source::Certificates];

    /// Its name in metrics and log lines.
    pub fn name(self) -> &'static str {
        match self {
            Source::Tokens => "tokens",
            Source::Keys => "keys",
            Source::Certificates => "certificates",
        }
    }
}

/// What came of looking at a source again.
pub(in crate::access) enum Reading {
    /// It was not read again, or still cannot be for the reason that was told.
    NotRead,
    /// It was read, and says what it said before.
    Same,
    /// What it says now is in force.
    Replaced,
    /// It cannot be read: what it said before stays in force.
    Failed(String),
}

/// What a process knows of its callers, for metrics.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Counts {
    /// How many tokens, keys or names in certificates are known, in the order of [`Source::ALL`]; `None` for a source that
    /// is not used.
    pub known: [Option<usize>; 3],
    /// How often a source could not be read, in the same order.
    pub failures: [u64; 3],
    /// Whether it cannot be read now, in the same order: what it said before stays in force.
    pub unreadable: [bool; 3],
    /// The time since the keys were read, in microseconds; `None` before the first time.
    pub keys_age_us: Option<u64>,
}

/// How this process knows its callers.
pub struct Access(Callers);

enum Callers {
    /// Whoever calls is this one.
    Anybody(Arc<Principal>),
    Known(Box<Known>),
}

/// The callers that prove who they are.
struct Known {
    clock: Arc<dyn Clock>,
    local: Option<Local>,
    tokens: Option<FileTable<Tokens>>,
    oidc: Option<Oidc>,
    certificates: Option<FileTable<Certificates>>,
    /// In the order of [`Source::ALL`].
    failing: [Mutex<Failing>; 3],
}

/// How often a source could not be read.
#[derive(Default)]
struct Failing {
    failures: u64,
    /// Why it cannot be read now; none where it can.
    now: Option<String>,
}

/// Whoever has the secret of the data directory.
struct Local {
    id: String,
    hash: TokenHash,
    principal: Arc<Principal>,
}

/// The ways in which callers may prove who they are.
#[derive(Default)]
pub struct Ways {
    /// A token that is in no file: whoever has it is [`LOCAL_NAME`], with the role of an operator.
    pub local: Option<NewToken>,
    /// The file of API tokens.
    pub tokens: Option<PathBuf>,
    /// The issuer of JWTs.
    pub issuer: Option<Issuer>,
    /// The file that maps client certificates.
    pub certificates: Option<PathBuf>,
}

impl Access {
    /// Serves anybody, under every role and no name.
    pub fn anybody() -> Access {
        Access(Callers::Anybody(Arc::new(Principal { name: None, roles: Roles::ALL })))
    }

    /// Serves only callers who prove in one of these ways who they are. Files are read now. An issuer on the network is not
    /// asked before [`Access::refresh_keys`].
    ///
    /// # Errors
    /// A file cannot be read, or says what is wrong; for a person.
    pub fn only(ways: Ways, clock: Arc<dyn Clock>) -> Result<Access, String> {
        let Ways { local, tokens, issuer, certificates } = ways;
        let operator = Principal { name: Name::new(LOCAL_NAME).ok(), roles: Roles::of(&[Role::Operator]) };
        let local = local.map(|token| Local { id: token.id, hash: token.hash, principal: Arc::new(operator) });
        let tokens = tokens.map(|path| FileTable::open(path, Tokens::parse)).transpose()?;
        let oidc = issuer.map(|issuer| Oidc::new(issuer, &*clock)).transpose()?;
        let certificates = certificates.map(|path| FileTable::open(path, Certificates::parse)).transpose()?;
        let failing = Default::default();
        Ok(Access(Callers::Known(Box::new(Known { clock, local, tokens, oidc, certificates, failing }))))
    }

    /// The principal of these credentials. An Authorization header comes before a certificate.
    ///
    /// # Errors
    /// [`Denied`].
    pub fn principal(&self, credentials: Credentials<'_>) -> Result<Arc<Principal>, Denied> {
        let known = match &self.0 {
            Callers::Anybody(anybody) => return Ok(Arc::clone(anybody)),
            Callers::Known(known) => known,
        };
        match (credentials.authorization, credentials.certificate) {
            (Some(authorization), _) => known.of_token(bearer(authorization)?),
            (None, Some(certificate)) => certificate.clone(),
            (None, None) => Err(Denied::Missing),
        }
    }

    /// The principal of a client certificate in DER, whose chain the TLS handshake has verified. It is asked once for
    /// each connection; its answer goes into [`Credentials::certificate`] of every call on it.
    ///
    /// # Errors
    /// [`Denied`].
    pub fn of_certificate(&self, der: &[u8]) -> Result<Arc<Principal>, Denied> {
        match &self.0 {
            Callers::Anybody(anybody) => Ok(Arc::clone(anybody)),
            Callers::Known(known) => known.certificates.as_ref().ok_or(Denied::Unknown)?.current().principal(der),
        }
    }

    /// Reads every file again that has changed. A revoked token is refused from then on. A file that cannot be read leaves
    /// in force what it said before, and is told in an error line. It blocks.
    pub fn look_at_files(&self) {
        let Callers::Known(known) = &self.0 else { return };
        if let Some(tokens) = &known.tokens {
            known.told(Source::Tokens, tokens.look());
        }
        if let Some(oidc) = &known.oidc {
            known.told(Source::Keys, oidc.look(&*known.clock));
        }
        if let Some(certificates) = &known.certificates {
            known.told(Source::Certificates, certificates.look());
        }
    }

    /// Asks an issuer on the network for its keys when that is due: after a period, soon after a failure, and soon after a
    /// JWT came that no known key has signed. Keys that are known stay in force until others are read.
    pub async fn refresh_keys(&self) {
        let Callers::Known(known) = &self.0 else { return };
        if let Some(oidc) = &known.oidc {
            known.told(Source::Keys, oidc.refresh(&*known.clock).await);
        }
    }

    /// What is known now.
    pub fn counts(&self) -> Counts {
        let Callers::Known(known) = &self.0 else {
            return Counts { known: [None; 3], failures: [0; 3], unreadable: [false; 3], keys_age_us: None };
        };
        let tokens = known.tokens.as_ref().map(|tokens| tokens.current().count());
        let certificates = known.certificates.as_ref().map(|certificates| certificates.current().count());
        Counts {
            known: [tokens, known.oidc.as_ref().map(Oidc::count), certificates],
            failures: known.failing.each_ref().map(|failing| failing.lock().failures),
            unreadable: known.failing.each_ref().map(|failing| failing.lock().now.is_some()),
            keys_age_us: known.oidc.as_ref().and_then(|oidc| oidc.age_us(&*known.clock)),
        }
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.counts())
    }
}

impl Known {
    fn of_token(&self, token: &str) -> Result<Arc<Principal>, Denied> {
        if !token.starts_with(api_token::PREFIX) {
            return self.oidc.as_ref().ok_or(Denied::Unknown)?.principal(token, &*self.clock);
        }
        let (id, hash) = api_token::read(token)?;
        if let Some(local) = self.local.as_ref().filter(|local| local.id == id && local.hash.is(&hash)) {
            return Ok(Arc::clone(&local.principal));
        }
        self.tokens.as_ref().ok_or(Denied::Unknown)?.current().principal(id, &hash, &*self.clock)
    }

    fn told(&self, source: Source, reading: Reading) {
        let name = source.name();
        let Some((failing, _)) = self.failing.iter().zip(Source::ALL).find(|(_, of)| *of == source) else { return };
        let mut failing = failing.lock();
        match reading {
            Reading::NotRead => {}
            Reading::Same | Reading::Replaced => {
                if failing.now.take().is_some() {
                    tracing::info!(source = name, "who may call can be read again");
                }
                if matches!(reading, Reading::Replaced) {
                    tracing::info!(source = name, "who may call has changed");
                }
            }
            Reading::Failed(error) => {
                failing.failures = failing.failures.saturating_add(1);
                // An issuer that is down is asked again and again, for as long as it takes.
                match failing.now.replace(error.clone()) {
                    None => {
                        tracing::error!(
                            source = name,
                            error,
                            "cannot read who may call: what was read before stays in force"
                        );
                    }
                    Some(before) if before == error => {}
                    Some(_) => tracing::warn!(source = name, error, "still cannot read who may call"),
                }
            }
        }
    }
}

/// The token of an Authorization header.
fn bearer(authorization: &str) -> Result<&str, Denied> {
    let (scheme, token) = authorization.split_once(' ').ok_or(Denied::Malformed)?;
    let token = token.trim_matches(' ');
    let is_bearer = scheme.eq_ignore_ascii_case("bearer");
    // A token that is too long is not even hashed.
    if is_bearer && (1..=CREDENTIAL_BYTES_MAX).contains(&token.len()) { Ok(token) } else { Err(Denied::Malformed) }
}

/// A name that somebody outside this process may have.
///
/// # Errors
/// Why it is none, for a person.
pub fn outside_name(text: &str) -> Result<Name, String> {
    if text == LOCAL_NAME {
        return Err(format!(
            "the name {LOCAL_NAME} stands for whoever can read the data directory: choose another one"
        ));
    }
    Name::new(text).map_err(|error| format!("the name {text:?} {error}"))
}
