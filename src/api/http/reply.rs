//! An answer: its bytes, made in one buffer, and its few headers.

use super::dispatch::Respond;
use super::dto::{ProblemDto, ProofDto, Time, TypeUrn, Units};
use super::rate_limit;
use crate::service::{Receipt, Shed};
use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, RETRY_AFTER};
use axum::http::{HeaderName, HeaderValue, Response, StatusCode};
use serde::Serialize;

pub use crate::api::problem::Problem;

/// First size of the buffer of a body: most bodies fit, and longer ones make it grow.
const BODY_BYTES_USUAL: usize = 512;
/// The Retry-After of a refusal that may pass by itself, in seconds. A quota gives back a call in each.
const RETRY_AFTER_S: HeaderValue = HeaderValue::from_static("1");

pub(super) const JSON: HeaderValue = HeaderValue::from_static("application/json");
const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");
/// Every answer is of one moment and one caller: a cache that gave it again would tell of units that are gone.
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What a handler answers.
pub type Answer = Result<Reply, Problem>;

/// A success, or an operator's page.
#[derive(Debug)]
pub struct Reply {
    status: StatusCode,
    content_type: HeaderValue,
    body: Vec<u8>,
    etag: Option<u64>,
    is_replayed: bool,
    headers: Vec<(HeaderName, HeaderValue)>,
    receipt: Option<Receipt>,
}

impl Reply {
    /// A body of JSON.
    pub fn json(status: StatusCode, body: &impl Serialize) -> Reply {
        let mut bytes = Vec::with_capacity(BODY_BYTES_USUAL);
        // Writing to memory cannot fail, and none of our types refuse to be written.
        let _ = serde_json::to_writer(&mut bytes, body);
        Reply::bytes(status, JSON, bytes)
    }

    /// A body of this content type.
    pub fn bytes(status: StatusCode, content_type: HeaderValue, body: Vec<u8>) -> Reply {
        Reply { status, content_type, body, etag: None, is_replayed: false, headers: Vec::new(), receipt: None }
    }

    /// Adds a pool's version as the ETag.
    #[must_use]
    pub fn etag(self, version: u64) -> Reply {
        Reply { etag: Some(version), ..self }
    }

    /// Marks the answer as given before, if it was.
    #[must_use]
    pub fn replayed(self, is_replayed: bool) -> Reply {
        Reply { is_replayed, ..self }
    }

    /// Adds one more header.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Reply {
        self.headers.push((name, value));
        self
    }

    /// Adds what the call has reserved.
    #[must_use]
    pub fn receipt(self, receipt: Option<Receipt>) -> Reply {
        Reply { receipt, ..self }
    }

    fn into_response(self, trace_id: &str) -> Response<Body> {
        let mut response = Response::new(Body::from(self.body));
        if let Some(receipt) = self.receipt {
            response.extensions_mut().insert(receipt);
        }
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, self.content_type);
        headers.insert(CACHE_CONTROL, NO_STORE);
        if let Some(version) = self.etag
            && let Ok(etag) = HeaderValue::try_from(format!("\"{version}\""))
        {
            headers.insert(ETAG, etag);
        }
        if self.is_replayed {
            headers.insert(REPLAYED, HeaderValue::from_static("true"));
        }
        headers.extend(self.headers);
        if let Ok(id) = HeaderValue::try_from(trace_id) {
            headers.insert(REQUEST_ID, id);
        }
        response
    }
}

impl Problem {
    /// The body of the answer: an RFC 9457 problem.
    pub fn body(&self, trace_id: &str) -> Vec<u8> {
        let (case, remaining) = (self.case(), self.remaining());
        let dto = ProblemDto {
            kind: TypeUrn(case.code),
            title: case.title,
            status: case.status,
            detail: self.detail(),
            code: case.code,
            outcome: case.outcome.code(),
            retryable: case.is_retryable,
            reason: self.shed().map(Shed::code),
            dimension: self.dimension().map(|d| d.to_string()),
            remaining: remaining.as_ref().map(Units),
            reservation: self.reservation(),
            hold_until: self.hold_until().map(Time),
            live_reservations: self.live_reservations(),
            retired_until: self.retired_until().map(Time),
            proof: self.event().map(ProofDto::of),
            trace_id,
        };
        let mut bytes = Vec::with_capacity(BODY_BYTES_USUAL);
        let _ = serde_json::to_writer(&mut bytes, &dto);
        bytes
    }

    fn into_response(self, trace_id: &str) -> Response<Body> {
        let case = self.case();
        let status = StatusCode::from_u16(case.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let reply = Reply::bytes(status, PROBLEM_JSON, self.body(trace_id)).replayed(self.is_repeated());
        let mut response = reply.into_response(trace_id);
        let may_pass = matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS);
        if may_pass && case.is_retryable {
            response.headers_mut().insert(RETRY_AFTER, RETRY_AFTER_S);
        }
        if let Some(standing) = self.over_quota() {
            response.headers_mut().extend(rate_limit::fields(standing));
        }
        response.headers_mut().extend(self.into_headers());
        response
    }
}

impl Respond for Reply {
    fn respond(answer: Answer, trace_id: &str) -> (Response<Body>, u16) {
        let response = match answer {
            Ok(reply) => reply.into_response(trace_id),
            Err(problem) => problem.into_response(trace_id),
        };
        let status = response.status().as_u16();
        (response, status)
    }
}
