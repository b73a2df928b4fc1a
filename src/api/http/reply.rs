//! An answer on its way out: bytes, made in one buffer, and the few headers that go with them.

use super::detail;
use super::dto::{ProblemDto, ProofDto, Time, TypeUrn, Units};
use super::problem::{self, Case, Edge, Effect, Unread};
use crate::domain::{Amounts, ChainedEvent, CommandId, EventBody, Reason, Rejection, ReservationId, Reserved};
use crate::gateway::Outcome;
use crate::gateway::admission::Shed;
use axum::body::Body;
use axum::http::header::{ALLOW, CONTENT_TYPE, ETAG, RETRY_AFTER};
use axum::http::{HeaderName, HeaderValue, Response, StatusCode};
use serde::Serialize;
use std::borrow::Cow;

/// Most bodies fit; longer ones grow.
const BODY_BYTES_USUAL: usize = 512;
/// Seconds after which a passing refusal may have passed.
const RETRY_AFTER_S: HeaderValue = HeaderValue::from_static("1");

pub(super) const JSON: HeaderValue = HeaderValue::from_static("application/json");
const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What an answer has reserved, and by which command: if nobody can be told, it is taken back.
#[derive(Clone, Debug)]
pub struct Receipt {
    /// The command.
    pub id: CommandId,
    /// What it has reserved.
    pub reserved: Reserved,
}

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
    /// A JSON body.
    pub fn json(status: StatusCode, body: &impl Serialize) -> Reply {
        let mut bytes = Vec::with_capacity(BODY_BYTES_USUAL);
        // Writing to memory cannot fail, and none of our types refuse to be written.
        let _ = serde_json::to_writer(&mut bytes, body);
        Reply::bytes(status, JSON, bytes)
    }

    /// Any body.
    pub fn bytes(status: StatusCode, content_type: HeaderValue, body: Vec<u8>) -> Reply {
        Reply { status, content_type, body, etag: None, is_replayed: false, header: None, receipt: None }
    }

    /// With a pool's version as its ETag.
    #[must_use]
    pub fn etag(self, version: u64) -> Reply {
        Reply { etag: Some(version), ..self }
    }

    /// With the mark of an answer given before, if it is one.
    #[must_use]
    pub fn replayed(self, is_replayed: bool) -> Reply {
        Reply { is_replayed, ..self }
    }

    /// With one header more.
    #[must_use]
    pub fn header(self, name: HeaderName, value: HeaderValue) -> Reply {
        Reply { header: Some((name, value)), ..self }
    }

    /// With what it has reserved.
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

/// A refusal.
#[derive(Debug)]
pub struct Problem {
    case: Case,
    detail: Cow<'static, str>,
    shed: Option<Shed>,
    allow: Option<HeaderValue>,
    decided: Option<Box<ChainedEvent>>,
}

impl Problem {
    /// Of this case.
    pub fn new(case: Case, detail: impl Into<Cow<'static, str>>) -> Problem {
        Problem { case, detail: detail.into(), shed: None, allow: None, decided: None }
    }

    /// Of the edge.
    pub fn edge(edge: Edge, detail: impl Into<Cow<'static, str>>) -> Problem {
        Problem::new(edge.case(), detail)
    }

    /// Of a path that does not take the method.
    pub fn method_not_allowed(path: &str, allowed: HeaderValue) -> Problem {
        let takes = allowed.to_str().unwrap_or_default();
        let problem = Problem::edge(Edge::MethodNotAllowed, format!("{path} takes {takes} and no other method"));
        Problem { allow: Some(allowed), ..problem }
    }

    /// Of something that cannot be.
    pub fn bug(what: &'static str) -> Problem {
        tracing::error!(what, "an answer could not be made");
        Problem::new(problem::INTERNAL, detail::BUG)
    }

    /// Of a decision of another kind than was asked for.
    pub fn unexpected(decided: &ChainedEvent) -> Problem {
        let (partition, seq) = (decided.event.partition, decided.event.seq);
        tracing::error!(partition, seq, kind = ?decided.event.body.kind(), "a decision is of another kind than its ask");
        Problem::new(problem::INTERNAL, detail::BUG)
    }

    /// Of one of several tries under a key, when an earlier one has reserved: the "no" to this one is none to the key.
    #[must_use]
    pub fn of_one_try(self) -> Problem {
        let rejection = self.decided.as_ref().and_then(|decided| decided.event.body.rejection());
        let is_of_key = rejection.is_some_and(|r| r.reason.is_remembered() || r.reason == Reason::KeyReused);
        if is_of_key || self.case.outcome != Effect::NotApplied {
            return self;
        }
        Problem { case: problem::TIMEOUT_UNKNOWN, detail: detail::EARLIER_TRY.into(), ..self }
    }

    /// Its code.
    pub fn code(&self) -> &'static str {
        self.case.code
    }

    /// What its code says, in words.
    pub fn title(&self) -> &'static str {
        self.case.title
    }

    /// Of a shed call, why.
    pub fn shed(&self) -> Option<Shed> {
        self.shed
    }

    /// Its body.
    pub fn body(&self, request_id: &str) -> Vec<u8> {
        let rejection = self.decided.as_deref().and_then(|decided| decided.event.body.rejection());
        let remaining = rejection.and_then(remaining);
        let dto = ProblemDto {
            kind: TypeUrn(self.case.code),
            title: self.case.title,
            status: self.case.status,
            detail: &self.detail,
            code: self.case.code,
            outcome: self.case.outcome.code(),
            retryable: self.case.is_retryable,
            reason: self.shed.map(Shed::code),
            dimension: rejection.and_then(|r| r.dimension).map(|d| d.to_string()),
            remaining: remaining.as_ref().map(Units),
            reservation: rejection.and_then(in_the_way),
            hold_until: rejection.and_then(|r| r.hold_until).map(Time),
            proof: self.decided.as_deref().map(ProofDto::of),
            trace_id: request_id,
        };
        let mut bytes = Vec::with_capacity(BODY_BYTES_USUAL);
        let _ = serde_json::to_writer(&mut bytes, &dto);
        bytes
    }

    fn into_response(self, request_id: &str) -> Response<Body> {
        let status = StatusCode::from_u16(self.case.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let is_replayed = self.decided.as_ref().is_some_and(|decided| is_repeated(decided));
        let reply = Reply::bytes(status, PROBLEM_JSON, self.body(request_id)).replayed(is_replayed);
        let mut response = reply.into_response(request_id);
        let may_pass = matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS);
        if may_pass && self.case.is_retryable {
            response.headers_mut().insert(RETRY_AFTER, RETRY_AFTER_S);
        }
        if let Some(allowed) = self.allow {
            response.headers_mut().insert(ALLOW, allowed);
        }
        response
    }
}

impl From<Shed> for Problem {
    fn from(shed: Shed) -> Problem {
        let (case, detail) = problem::of_shed(shed);
        Problem { shed: Some(shed), ..Problem::new(case, detail) }
    }
}

impl From<Unread> for Problem {
    fn from(Unread { partition, case, why }: Unread) -> Problem {
        let then = match case {
            problem::NOT_FRESH => "try again, or without fresh=true, when the answer may be older and is there now",
            case if case.is_retryable => "try again",
            _ => "somebody has to mend its log and to start the process again",
        };
        Problem::new(case, format!("partition {partition} cannot be read: {why}; {then}"))
    }
}

/// The response to an answer.
pub fn respond(answer: Answer, request_id: &str) -> Response<Body> {
    match answer {
        Ok(reply) => reply.into_response(request_id),
        Err(problem) => problem.into_response(request_id),
    }
}

/// The decision, unless it is a refusal or there is none.
///
/// # Errors
/// The [`Problem`] to answer.
pub fn decided(outcome: Result<Outcome, Shed>, is_keyed: bool) -> Result<Box<ChainedEvent>, Problem> {
    match outcome? {
        Outcome::TimedOut { is_unknown: false } => Err(Problem::new(problem::TIMEOUT, detail::TAKEN_BACK)),
        Outcome::TimedOut { is_unknown: true } => Err(Problem::new(
            problem::TIMEOUT_UNKNOWN,
            if is_keyed { detail::UNKNOWN_UNDER_A_KEY } else { detail::UNKNOWN_WITHOUT_A_KEY },
        )),
        Outcome::Decided(decided) => match decided.event.body.rejection() {
            None => Ok(decided),
            Some(rejection) => {
                let case = problem::of_reason(rejection.reason);
                let detail = detail::of_refusal(&decided.event, rejection);
                Err(Problem { decided: Some(decided), ..Problem::new(case, detail) })
            }
        },
    }
}

/// Whether the answer was given before.
pub fn is_repeated(decided: &ChainedEvent) -> bool {
    matches!(decided.event.body, EventBody::Repeated(..))
}

/// The reservation that is not what was expected of it, or that is in the way.
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
