//! Who callers are: API tokens from a file, JWTs of an issuer, client certificates, and the token of the data directory.

mod certificates;
pub mod issuer;
pub mod jwt;
mod rotation;
mod served;
mod tokens;

use headroom::access::{Access, Credentials, Denied, Role, Roles};
use headroom::domain::Micros;

/// Where the clocks of these tests begin: 2027-01-15T08:00:00Z.
const START: Micros = Micros(1_800_000_000_000_000);

/// The name and the roles of whoever sends this header.
fn ask(access: &Access, authorization: &str) -> Result<(String, Roles), Denied> {
    let credentials = Credentials { authorization: Some(authorization), certificate: None };
    let principal = access.principal(credentials)?;
    Ok((principal.name.as_ref().unwrap().to_string(), principal.roles))
}

fn bearer(access: &Access, token: &str) -> Result<(String, Roles), Denied> {
    ask(access, &format!("Bearer {token}"))
}

fn known(name: &str, roles: &[Role]) -> Result<(String, Roles), Denied> {
    Ok((name.to_owned(), Roles::of(roles)))
}
