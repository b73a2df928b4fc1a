//! An answer: its bytes, made in one buffer, and its few headers.

use super::detail;
use super::dto::{ProblemDto, ProofDto, Time, TypeUrn, Units};
use super::problem::{Case, RequestFault};
use crate::access::Denied;
use crate::api::identity::Refused;
use crate::domain::{Amounts, ChainedEvent, EventBody, Reason, Rejection, ReservationId};
use crate::service::{Code, Receipt, Refusal, Shed};
use axum::body::Body;
use axum::http::header::{ALLOW, CONTENT_TYPE, ETAG, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderName, HeaderValue, Response, StatusCode};
use serde::Serialize;
use std::borrow::Cow;

/// First size of the buffer of a body: most bodies fit, and longer ones make it grow.
const BODY_BYTES_USUAL: usize = 512;
/// The Retry-After of a refusal that may pass by itself, in seconds.
const RETRY_AFTER_S: HeaderValue = HeaderValue::from_static("1");

pub(super) const JSON: HeaderValue = HeaderValue::from_static("application/json");
const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");
/// The challenge to a caller without a credential.
const BEARER: HeaderValue = HeaderValue::from_static("Bearer realm=\"headroom\"");
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
    header: Option<(HeaderName, HeaderValue)>,
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
        Reply { status, content_type, body, etag: None, is_replayed: false, header: None, receipt: None }
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
    pub fn header(self, name: HeaderName, value: HeaderValue) -> Reply {
        Reply { header: Some((name, value)), ..self }
    }

    /// Adds what the call has reserved.
    #[must_use]
    pub fn receipt(self, receipt: Option<Receipt>) -> Reply {
        Reply { receipt, ..self }
    }

    fn into_response(self, request_id: &str) -> Response<Body> {
        let mut response = Response::new(Body::from(self.body));
        if let Some(receipt) = self.receipt {
            response.extensions_mut().insert(receipt);
        }
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, self.content_type);
        if let Some(version) = self.etag
            && let Ok(etag) = HeaderValue::try_from(format!("\"{version}\""))
        {
            headers.insert(ETAG, etag);
        }
        if self.is_replayed {
            headers.insert(REPLAYED, HeaderValue::from_static("true"));
        }
        if let Some((name, value)) = self.header {
            headers.insert(name, value);
        }
        if let Ok(id) = HeaderValue::try_from(request_id) {
            headers.insert(REQUEST_ID, id);
        }
        response
    }
}

/// A refusal, ready to be sent.
#[derive(Debug)]
pub struct Problem {
    case: Case,
    detail: Cow<'static, str>,
    /// Headers that its code asks for.
    headers: Vec<(HeaderName, HeaderValue)>,
    /// The refusal of the service, if it is one of those.
    refusal: Option<Box<Refusal>>,
}

impl Problem {
    fn new(case: Case, detail: impl Into<Cow<'static, str>>) -> Problem {
        Problem { case, detail: detail.into(), headers: Vec::new(), refusal: None }
    }

    /// A refusal with a code of the service, for a reason that only this edge knows.
    pub fn of(code: Code, detail: impl Into<Cow<'static, str>>) -> Problem {
        Problem::new(Case::of(code), detail)
    }

    /// A refusal by this edge: the request never reached the service.
    pub fn fault(fault: RequestFault, detail: impl Into<Cow<'static, str>>) -> Problem {
        Problem::new(fault.case(), detail)
    }

    /// A refusal of a method that the path does not take.
    pub fn method_not_allowed(path: &str, allowed: HeaderValue) -> Problem {
        let takes = allowed.to_str().unwrap_or_default();
        let detail = format!("{path} takes {takes} and no other method");
        Problem::fault(RequestFault::MethodNotAllowed, detail).header(ALLOW, allowed)
    }

    /// Adds one more header.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Problem {
        self.headers.push((name, value));
        self
    }

    /// Logs a bug, and refuses the request that met it.
    pub fn bug(what: &'static str) -> Problem {
        tracing::error!(what, "an answer could not be made: this is a bug");
        Problem::from(Refusal::Internal)
    }

    /// The stable code of the refusal.
    pub fn code(&self) -> &'static str {
        self.case.code
    }

    /// What its code says, in words.
    pub fn title(&self) -> &'static str {
        self.case.title
    }

    /// Why the call was shed, if it was.
    pub fn shed(&self) -> Option<Shed> {
        self.refusal.as_deref().and_then(Refusal::shed)
    }

    /// The event of the refusal, if the owner decided it.
    fn event(&self) -> Option<&ChainedEvent> {
        self.refusal.as_deref().and_then(Refusal::event)
    }

    /// The body of the answer: an RFC 9457 problem.
    pub fn body(&self, request_id: &str) -> Vec<u8> {
        let rejection = self.event().and_then(|event| event.event.body.rejection());
        let remaining = rejection.and_then(remaining);
        let dto = ProblemDto {
            kind: TypeUrn(self.case.code),
            title: self.case.title,
            status: self.case.status,
            detail: &self.detail,
            code: self.case.code,
            outcome: self.case.outcome.code(),
            retryable: self.case.is_retryable,
            reason: self.shed().map(Shed::code),
            dimension: rejection.and_then(|r| r.dimension).map(|d| d.to_string()),
            remaining: remaining.as_ref().map(Units),
            reservation: rejection.and_then(in_the_way),
            hold_until: rejection.and_then(|r| r.hold_until).map(Time),
            proof: self.event().map(ProofDto::of),
            trace_id: request_id,
        };
        let mut bytes = Vec::with_capacity(BODY_BYTES_USUAL);
        let _ = serde_json::to_writer(&mut bytes, &dto);
        bytes
    }

    fn into_response(self, request_id: &str) -> Response<Body> {
        let status = StatusCode::from_u16(self.case.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let is_replayed = self.event().is_some_and(|event| matches!(event.event.body, EventBody::Repeated(..)));
        let reply = Reply::bytes(status, PROBLEM_JSON, self.body(request_id)).replayed(is_replayed);
        let mut response = reply.into_response(request_id);
        let may_pass = matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS);
        if may_pass && self.case.is_retryable {
            response.headers_mut().insert(RETRY_AFTER, RETRY_AFTER_S);
        }
        response.headers_mut().extend(self.headers);
        response
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Problem {
        let problem = Problem::of(refusal.code(), detail::of(&refusal));
        Problem { refusal: Some(Box::new(refusal)), ..problem }
    }
}

/// A caller that is not known, or may not do what it asks for, is told by the rules of RFC 6750, too.
impl From<Refused> for Problem {
    fn from(refused: Refused) -> Problem {
        let detail = refused.to_string();
        let (fault, challenge) = match refused {
            Refused::Header(_) => {
                (RequestFault::BadAuthorization, format!(", error=\"invalid_request\", error_description=\"{detail}\""))
            }
            // Whoever brings no credential is told no error.
            Refused::Denied(Denied::Missing) => (RequestFault::Unauthenticated, String::new()),
            Refused::Denied(_) => {
                (RequestFault::Unauthenticated, format!(", error=\"invalid_token\", error_description=\"{detail}\""))
            }
            Refused::Forbidden(_, roles) => {
                let scope = roles.to_string().replace(',', " ");
                (RequestFault::Forbidden, format!(", error=\"insufficient_scope\", scope=\"{scope}\""))
            }
        };
        let challenge = HeaderValue::try_from(format!("Bearer realm=\"headroom\"{challenge}")).unwrap_or(BEARER);
        Problem::fault(fault, detail).header(WWW_AUTHENTICATE, challenge)
    }
}

/// The response to an answer.
pub fn respond(answer: Answer, request_id: &str) -> Response<Body> {
    match answer {
        Ok(reply) => reply.into_response(request_id),
        Err(problem) => problem.into_response(request_id),
    }
}

/// The reservation that is the cause of the refusal, if one is.
fn in_the_way(rejection: &Rejection) -> Option<ReservationId> {
    match rejection.reason {
        Reason::HoldExpired | Reason::AlreadyReleased | Reason::NotAHold => rejection.reservation,
        Reason::OrderHasReservation => rejection.existing_reservation,
        _ => None,
    }
}

fn remaining(rejection: &Rejection) -> Option<Amounts> {
    let (limits, used) = (rejection.limits.as_ref()?, rejection.used.as_ref()?);
    Some(limits.map(|d, limit| limit.saturating_sub(used.get(d).unwrap_or_default())))
}
