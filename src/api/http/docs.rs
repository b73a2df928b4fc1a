//! The page that lets people browse the API's description, served from this binary.

use super::reply::{Answer, Problem, Reply};
use super::request::HttpRequest;
use crate::api::problem::RequestFault;
use axum::http::header::{CONTENT_ENCODING, CONTENT_SECURITY_POLICY, LOCATION};
use axum::http::{HeaderValue, StatusCode};
use std::sync::Arc;
use utoipa_swagger_ui::{Config, SwaggerFile, serve};

/// What the page may load, run and call: what is served here, and nothing of anybody else. A token that somebody types
/// into the page stays in its memory and goes nowhere but here.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; object-src 'none'; base-uri 'none'; \
     form-action 'none'; frame-ancestors 'none'",
);

/// `GET /docs` redirects to `/docs/`, where the files of the page are.
pub async fn root() -> Answer {
    let text = HeaderValue::from_static("text/plain");
    Ok(Reply::bytes(StatusCode::SEE_OTHER, text, Vec::new()).header(LOCATION, HeaderValue::from_static("/docs/")))
}

/// `GET /docs/{file}`.
pub async fn file(request: HttpRequest) -> Answer {
    // Without this, the page would have a server of somebody else read the description.
    let config = Config::new(["/openapi.json"]).validator_url("none");
    let found = serve(request.param(), Arc::new(config));
    let found = found.map_err(|_| Problem::bug("a page of the documentation could not be made"))?;
    let nothing = || Problem::fault(RequestFault::NotFound, "the documentation has no such file: begin at /docs/");
    let SwaggerFile { bytes, content_type, gzpipped, .. } = found.ok_or_else(nothing)?;
    let kind = HeaderValue::try_from(content_type).unwrap_or(HeaderValue::from_static("application/octet-stream"));
    let reply = Reply::bytes(StatusCode::OK, kind, bytes.into_owned()).header(CONTENT_SECURITY_POLICY, POLICY);
    Ok(if gzpipped { reply.header(CONTENT_ENCODING, HeaderValue::from_static("gzip")) } else { reply })
}
