//! The pages for people, served from this binary: the one that lets them browse the API's description, and the runbooks.

use super::reply::{Answer, Problem, Reply};
use super::request::HttpRequest;
use super::runbooks;
use crate::api::problem::RequestFault;
use axum::http::header::{CONTENT_ENCODING, CONTENT_SECURITY_POLICY, LOCATION};
use axum::http::{HeaderValue, StatusCode};
use std::sync::Arc;
use utoipa_swagger_ui::{Config, SwaggerFile, serve};

/// What a page may load, run and call: what is served here, and nothing of anybody else. A token that somebody types
/// into the page stays in its memory and goes nowhere but here.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; object-src 'none'; base-uri 'none'; \
     form-action 'none'; frame-ancestors 'none'",
);

/// Where the runbooks are, below `/docs/`.
const RUNBOOKS: &str = "runbooks";

/// `GET /docs` redirects to `/docs/`, where the files of the page are.
pub async fn root() -> Answer {
    moved("/docs/")
}

fn moved(to: &'static str) -> Answer {
    let text = HeaderValue::from_static("text/plain");
    Ok(Reply::bytes(StatusCode::SEE_OTHER, text, Vec::new()).header(LOCATION, HeaderValue::from_static(to)))
}

/// `GET /docs/{file}`.
pub async fn file(request: HttpRequest) -> Answer {
    match request.param().strip_prefix(RUNBOOKS) {
        Some("") => moved("/docs/runbooks/"),
        Some(rest) => runbook(rest),
        None => swagger(request.param()),
    }
}

/// `GET /docs/runbooks/` and `GET /docs/runbooks/{name}`. Links between the pages name their files.
fn runbook(rest: &str) -> Answer {
    let name = rest.strip_prefix('/').map(|name| name.strip_suffix(".md").unwrap_or(name));
    let nothing = || Problem::fault(RequestFault::NotFound, "there is no such runbook: begin at /docs/runbooks/");
    let html = name.and_then(runbooks::page).ok_or_else(nothing)?;
    let kind = HeaderValue::from_static("text/html; charset=utf-8");
    Ok(Reply::bytes(StatusCode::OK, kind, html.into_bytes()).header(CONTENT_SECURITY_POLICY, POLICY))
}

/// A file of the page that shows the description of the API.
fn swagger(path: &str) -> Answer {
    // Without this, the page would have a server of somebody else read the description.
    let config = Config::new(["/openapi.json"]).validator_url("none");
    let found = serve(path, Arc::new(config));
    let found = found.map_err(|_| Problem::bug("a page of the documentation could not be made"))?;
    let nothing = || Problem::fault(RequestFault::NotFound, "the documentation has no such file: begin at /docs/");
    let SwaggerFile { bytes, content_type, gzpipped, .. } = found.ok_or_else(nothing)?;
    let kind = HeaderValue::try_from(content_type).unwrap_or(HeaderValue::from_static("application/octet-stream"));
    let reply = Reply::bytes(StatusCode::OK, kind, bytes.into_owned()).header(CONTENT_SECURITY_POLICY, POLICY);
    Ok(if gzpipped { reply.header(CONTENT_ENCODING, HeaderValue::from_static("gzip")) } else { reply })
}
