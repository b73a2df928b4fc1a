//! Headers of answers, and which operation sends which of them.

use crate::api::http::endpoints::Endpoint;
use crate::api::http::schema;
use crate::api::problem::{Case, RequestFault};
use crate::service::Code;
use serde_json::json;
use utoipa::openapi::extensions::Extensions;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::schema::{ComponentsBuilder, Type};
use utoipa::openapi::{Header, ObjectBuilder, Ref, RefOr, Response};

const REQUEST_ID: &str = "X-Request-Id";
const CACHE_CONTROL: &str = "Cache-Control";
const REPLAYED: &str = "Idempotent-Replayed";
const ETAG: &str = "ETag";
const RETRY_AFTER: &str = "Retry-After";
const WWW_AUTHENTICATE: &str = "WWW-Authenticate";
const RATE_LIMIT: &str = "RateLimit";
const RATE_LIMIT_POLICY: &str = "RateLimit-Policy";

/// Adds the descriptions of all headers.
pub fn with_headers(mut components: ComponentsBuilder) -> ComponentsBuilder {
    let text = |pattern: &str| ObjectBuilder::new().schema_type(Type::String).pattern(Some(pattern));
    let all = [
        (
            REQUEST_ID,
            true,
            text("^[0-9a-f]{32}$"),
            "The request's trace: that of `traceparent` if the call has one. `trace_id` of a problem, and in the \
             server's log",
        ),
        (CACHE_CONTROL, true, schema::one_of(["no-store"]), "No cache keeps an answer"),
        (
            ETAG,
            true,
            text("^\"[1-9][0-9]*\"$"),
            "The version of the pool, for `If-Match`. It stays while what is used of the pool changes, so it is no validator",
        ),
        (
            REPLAYED,
            false,
            schema::one_of(["true"]),
            "This call changed nothing: the key had this answer before, or what was asked for was so already",
        ),
        (
            WWW_AUTHENTICATE,
            false,
            text("^Bearer realm=\"headroom\""),
            "How to prove who calls, and what is wrong with the credential that was sent (RFC 6750)",
        ),
        (
            RATE_LIMIT,
            false,
            text("^\"(take|read)\";r=[0-9]+;t=1$"),
            "Calls of this kind that the caller may still make (`r`); more come back with each second",
        ),
        (
            RATE_LIMIT_POLICY,
            false,
            text("^\"(take|read)\";q=[1-9][0-9]*;w=[1-9][0-9]*$"),
            "Calls of this kind that the caller may make at once (`q`), and the seconds in which that many come back (`w`)",
        ),
        (RETRY_AFTER, false, schema::bounded(1, 1), "Seconds after which what stands in the way may have passed"),
    ];
    for (name, is_required, of, description) in all {
        components = components.header(name, header(is_required, of, description));
    }
    components
}

fn header(is_required: bool, of: ObjectBuilder, description: &str) -> Header {
    let mut header = HeaderBuilder::new().schema(Some(of)).description(Some(description)).build();
    // OpenAPI has `required` for a header, and utoipa does not.
    header.extensions = is_required.then(|| Extensions::from_iter([("required", json!(true))]));
    header
}

/// Adds the headers of a good answer.
pub fn of_good(endpoint: &Endpoint, schema: &str, response: &mut Response) {
    of_all(response);
    of_quota(endpoint, response);
    if schema == "Pool" {
        add(response, ETAG);
    }
    if endpoint.is_command() {
        add(response, REPLAYED);
    }
}

/// Adds the headers of a refusal by one of these cases.
pub fn of_refusal(endpoint: &Endpoint, cases: &[Case], response: &mut Response) {
    of_all(response);
    of_quota(endpoint, response);
    if cases.iter().any(|case| matches!(case.status, 429 | 503) && case.is_retryable) {
        add(response, RETRY_AFTER);
    }
    let of_callers = [RequestFault::BadAuthorization, RequestFault::Unauthenticated, RequestFault::Forbidden];
    if of_callers.iter().any(|fault| cases.contains(&fault.case())) {
        add(response, WWW_AUTHENTICATE);
    }
    if endpoint.is_command()
        && endpoint.reasons.iter().any(|reason| cases.contains(&Case::of(Code::of_reason(*reason))))
    {
        add(response, REPLAYED);
    }
}

/// Adds what every answer has.
fn of_all(response: &mut Response) {
    add(response, REQUEST_ID);
    add(response, CACHE_CONTROL);
}

/// Adds what callers with a quota are told, also by refusals for another reason.
fn of_quota(endpoint: &Endpoint, response: &mut Response) {
    if endpoint.operation.charge().is_some() {
        add(response, RATE_LIMIT);
        add(response, RATE_LIMIT_POLICY);
    }
}

fn add(response: &mut Response, header: &str) {
    let known = Ref::new(format!("#/components/headers/{header}"));
    response.headers.insert(header.to_owned(), RefOr::Ref(known));
}
