//! Who makes a call, and whether it may: asked alike by every edge, before anything of the call is read but its head.

use super::operation::{Allowed, Operation};
use crate::access::{Access, Act, Credentials, Denied, Principal, Roles};
use crate::domain::Name;
use crate::limits::CREDENTIAL_BYTES_MAX;
use crate::trace::CallTrace;
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use std::fmt;
use std::sync::Arc;

/// Longest Authorization header, in bytes: a scheme and the longest credential.
const AUTHORIZATION_BYTES_MAX: usize = "Bearer ".len() + CREDENTIAL_BYTES_MAX;

/// Why a call is refused for its caller. Nothing in it comes from a credential, so that it may be shown to anybody.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refused {
    /// The Authorization header is not one that could be judged.
    Header(HeaderFault),
    /// The caller is not known.
    Denied(Denied),
    /// The caller is known and has none of these roles, one of which the operation takes.
    Forbidden(Operation, Roles),
}

/// What is wrong with an Authorization header, whatever it says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HeaderFault {
    /// There is more than one.
    Repeated,
    /// It holds no credential of at most [`CREDENTIAL_BYTES_MAX`] bytes.
    TooLong,
    /// It has a byte that is not visible ASCII.
    NotText,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refused::Header(HeaderFault::Repeated) => {
                f.write_str("the Authorization header stands twice: send it once")
            }
            Refused::Header(HeaderFault::TooLong) => write!(
                f,
                "the Authorization header is longer than {AUTHORIZATION_BYTES_MAX} bytes: use a token with fewer claims"
            ),
            Refused::Header(HeaderFault::NotText) => {
                f.write_str("the Authorization header has a byte that is not visible ASCII")
            }
            Refused::Denied(denied) => write!(f, "{denied}"),
            Refused::Forbidden(operation, roles) => {
                let roles = roles.to_string().replace(',', " or ");
                write!(f, "{} takes the role {roles}, which the caller does not have", operation.name())
            }
        }
    }
}

/// The principal that the head of a call and the certificate of its connection prove.
///
/// # Errors
/// [`Refused::Header`] and [`Refused::Denied`].
pub fn identified(
    access: &Access,
    headers: &HeaderMap,
    certificate: Option<&Result<Arc<Principal>, Denied>>,
) -> Result<Arc<Principal>, Refused> {
    let authorization = authorization(headers).map_err(Refused::Header)?;
    access.principal(Credentials { authorization, certificate }).map_err(Refused::Denied)
}

/// Refuses an operation that the principal has no role for. The audit log names who has tried what planners and operators do,
/// and in which call.
///
/// # Errors
/// [`Refused::Forbidden`].
pub fn permitted(operation: Operation, principal: &Principal, trace: &CallTrace) -> Result<(), Refused> {
    match operation.allowed() {
        Allowed::Roles(roles) if !principal.roles.meet(roles) => {
            if operation.is_audited() {
                let (principal, trace_id) = (principal.name.as_ref().map(Name::as_str), trace.to_string());
                let (operation, trace_id) = (operation.name(), Some(trace_id.as_str()));
                Act { principal, operation, outcome: "forbidden", trace_id, ..Act::default() }.log();
            }
            Err(Refused::Forbidden(operation, roles))
        }
        _ => Ok(()),
    }
}

fn authorization(headers: &HeaderMap) -> Result<Option<&str>, HeaderFault> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(HeaderFault::Repeated);
    }
    if value.len() > AUTHORIZATION_BYTES_MAX {
        return Err(HeaderFault::TooLong);
    }
    value.to_str().map(Some).map_err(|_| HeaderFault::NotText)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn read(values: &[&[u8]]) -> Result<Option<usize>, HeaderFault> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, HeaderValue::from_bytes(value).unwrap());
        }
        authorization(&headers).map(|text| text.map(str::len))
    }

    #[test]
    fn one_authorization_header_of_text_is_read() {
        let longest = vec![b'x'; AUTHORIZATION_BYTES_MAX];
        let longer = vec![b'x'; AUTHORIZATION_BYTES_MAX + 1];
        let cases: [(&[&[u8]], _); 6] = [
            (&[], Ok(None)),
            (&[b""], Ok(Some(0))),
            (&[&longest], Ok(Some(AUTHORIZATION_BYTES_MAX))),
            (&[&longer], Err(HeaderFault::TooLong)),
            (&[b"Bearer a", b"Bearer a"], Err(HeaderFault::Repeated)),
            (&[b"Bearer \xff"], Err(HeaderFault::NotText)),
        ];
        for (values, expected) in cases {
            assert_eq!(read(values), expected);
        }
    }
}
