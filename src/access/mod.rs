//! Who calls, and what they may do. A caller proves who it is with a token or a certificate, and [`Access`] answers with
//! its [`Principal`]: a name and [`Roles`]. This room knows no protocol: an edge brings the credentials and turns
//! [`Denied`] into its own words. What each role may do is said by the edge's table of endpoints.
#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

mod act;
pub mod oidc;
mod quota;
mod role;

pub use act::{AUDIT_LOG, Act};
pub use quota::{Quota, Rate, Rates};
pub use role::{Role, Roles};

use crate::domain::Name;
use std::fmt;
use std::sync::Arc;

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
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Denied::Missing => "the call has no credential: send an Authorization header with a token",
            Denied::Malformed => "the Authorization header cannot be read: it has to be 'Bearer' and a token",
            Denied::Unknown => "nobody is known by this token or certificate",
            Denied::Expired => "the token or certificate has expired",
            Denied::TooEarly => "the token or certificate is not valid yet",
        })
    }
}

impl std::error::Error for Denied {}

/// What a caller brings to prove who it is.
#[derive(Clone, Copy, Default, Debug)]
pub struct Credentials<'a> {
    /// The value of the Authorization header, as it was sent.
    pub authorization: Option<&'a str>,
    /// What the connection's client certificate said when the connection was made.
    pub certificate: Option<&'a Result<Arc<Principal>, Denied>>,
}

/// How this process knows its callers.
#[derive(Clone, Debug)]
pub struct Access {
    /// Whoever calls without proof; `None`: nobody is served then.
    anybody: Option<Arc<Principal>>,
}

impl Access {
    /// Serves anybody, under every role and no name.
    pub fn anybody() -> Access {
        Access { anybody: Some(Arc::new(Principal { name: None, roles: Roles::ALL })) }
    }

    /// The principal of these credentials.
    ///
    /// # Errors
    /// [`Denied`].
    pub fn principal(&self, _credentials: Credentials<'_>) -> Result<Arc<Principal>, Denied> {
        self.anybody.clone().ok_or(Denied::Missing)
    }

    /// The principal of a client certificate in DER, whose chain the TLS handshake has verified. It is asked once for
    /// each connection; its answer goes into [`Credentials::certificate`] of every call on it.
    ///
    /// # Errors
    /// [`Denied`].
    pub fn of_certificate(&self, _der: &[u8]) -> Result<Arc<Principal>, Denied> {
        self.anybody.clone().ok_or(Denied::Unknown)
    }
}
