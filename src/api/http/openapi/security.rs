//! How callers prove who they are, and which operations ask for it.

use crate::access::Roles;
use crate::api::operation::{Allowed, Operation};
use utoipa::openapi::schema::ComponentsBuilder;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};

const TOKEN: &str = "token";
const CERTIFICATE: &str = "certificate";

/// Adds the ways to prove who one is.
pub fn with_schemes(components: ComponentsBuilder) -> ComponentsBuilder {
    let token = "An API token (`hr_…`) or a JWT of the issuer that the server accepts, in the Authorization header";
    let certificate = "A client certificate, shown in the TLS handshake".to_owned();
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(token)).build();
    components.security_scheme(TOKEN, SecurityScheme::Http(bearer)).security_scheme(
        CERTIFICATE,
        SecurityScheme::MutualTls { description: Some(certificate), extensions: None, deprecated: None },
    )
}

/// The ways of which an operation takes one; none when everybody may call it.
pub fn of(operation: Operation) -> Vec<SecurityRequirement> {
    match operation.allowed() {
        Allowed::Everybody => Vec::new(),
        Allowed::Roles(_) => [TOKEN, CERTIFICATE].map(|way| SecurityRequirement::new(way, [""; 0])).into(),
    }
}

/// What the description of an operation says about its callers.
pub fn who_may(operation: Operation) -> String {
    let names = |roles: Roles| roles.iter().map(|role| format!("`{}`", role.name())).collect::<Vec<_>>().join(" or ");
    match operation.allowed() {
        Allowed::Everybody => "For everybody, also without a credential.".to_owned(),
        Allowed::Roles(roles) => format!("For callers with the role {}.", names(roles)),
    }
}
