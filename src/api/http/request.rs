//! A request that was read completely, and what its headers and its query say.

use super::json;
use super::query::Query;
use super::reply::Problem;
use crate::access::Principal;
use crate::api::body::{self, Parsed};
use crate::api::problem::RequestFault;
use crate::api::value::{Value, quoted};
use crate::domain::{IdempotencyKey, Micros};
use crate::limits::DEADLINE_MAX_MS;
use crate::service::{CallContext, ExpectedPool};
use crate::trace::CallTrace;
use axum::body::{Body, Bytes};
use axum::http::header::{IF_MATCH, IF_NONE_MATCH};
use axum::http::{HeaderMap, HeaderValue, Uri};
use parking_lot::Mutex;
use std::sync::Arc;

/// A request that was read completely.
#[derive(Debug)]
pub struct HttpRequest {
    pub(super) headers: HeaderMap,
    pub(super) uri: Uri,
    pub(super) param: Option<String>,
    /// Its body, empty when it has none.
    pub body: Bytes,
    /// The body that its handler has to read, see [`super::receive::Format::GrpcStream`].
    pub(super) rest: Mutex<Body>,
    /// Who sent it, under no role when the caller is not known and need not be.
    pub principal: Arc<Principal>,
    /// The trace that it belongs to.
    pub trace: CallTrace,
    /// When its head had been read; the caller's deadline counts from then on.
    pub arrived: Micros,
}

impl HttpRequest {
    /// Its body, which has to be JSON.
    ///
    /// # Errors
    /// The [`Problem`] to answer.
    pub fn json(&self) -> Parsed<Value<'_>> {
        json::parse(&self.body)
    }

    /// The same; no body is the same as an empty object.
    ///
    /// # Errors
    /// The [`Problem`] to answer.
    pub fn json_if_any(&self) -> Parsed<Value<'_>> {
        if self.body.is_empty() { Ok(Value::Object(Vec::new())) } else { self.json() }
    }

    /// The path's variable part, decoded.
    pub fn param(&self) -> &str {
        self.param.as_deref().unwrap_or_default()
    }

    /// What the headers say about a call that changes something.
    ///
    /// # Errors
    /// The [`Problem`] to answer.
    pub fn context(&self) -> Result<CallContext, Problem> {
        Ok(self.call(self.key()?, self.timeout_ms()?))
    }

    /// A call with this key and this time in milliseconds.
    pub(in crate::api) fn call(&self, key: Option<IdempotencyKey>, timeout_ms: Option<u64>) -> CallContext {
        let (principal, trace) = (Arc::clone(&self.principal), self.trace.clone());
        CallContext { key, principal, timeout_ms, arrived: self.arrived, trace }
    }

    /// Takes the body that was not read.
    pub(in crate::api) fn take_rest(&self) -> Body {
        std::mem::take(&mut self.rest.lock())
    }

    /// The Idempotency-Key, quoted or bare.
    fn key(&self) -> Result<Option<IdempotencyKey>, Problem> {
        let Some(text) = self.header("idempotency-key", RequestFault::BadKey)? else { return Ok(None) };
        let bare = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
        body::key(bare).map(Some)
    }

    /// How long the caller waits, in milliseconds.
    fn timeout_ms(&self) -> Result<Option<u64>, Problem> {
        let Some(text) = self.header("request-timeout-ms", RequestFault::BadTimeout)? else { return Ok(None) };
        let is_plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let ms = text.parse().ok().filter(|ms| is_plain && (1..=DEADLINE_MAX_MS).contains(ms));
        let range =
            || format!("Request-Timeout-Ms is {}, it has to be an integer from 1 to {DEADLINE_MAX_MS}", quoted(text));
        ms.map(Some).ok_or_else(|| Problem::fault(RequestFault::BadTimeout, range()))
    }

    /// The version that the caller expects, from If-Match. `*` means any version: a pool that does not exist is refused
    /// anyway.
    ///
    /// # Errors
    /// The [`Problem`] to answer, also when there is an If-None-Match: with it, none of these calls could do anything.
    pub fn if_match(&self) -> Result<Option<u64>, Problem> {
        if self.header(IF_NONE_MATCH.as_str(), RequestFault::BadVersion)?.is_some() {
            return Err(Problem::fault(RequestFault::BadVersion, "If-None-Match is only for the definition of a pool"));
        }
        Ok(match self.matching()? {
            Some(ExpectedPool::Version(version)) => Some(version),
            _ => None,
        })
    }

    /// What the caller of a definition expects of the pool, from If-Match and If-None-Match.
    ///
    /// # Errors
    /// The [`Problem`] to answer.
    pub fn expected(&self) -> Result<Option<ExpectedPool>, Problem> {
        let expected = self.matching()?;
        match self.header(IF_NONE_MATCH.as_str(), RequestFault::BadVersion)? {
            None => Ok(expected),
            Some("*") if expected.is_none() => Ok(Some(ExpectedPool::Absent)),
            Some("*") => Err(Problem::fault(
                RequestFault::BadVersion,
                "If-Match and If-None-Match cannot both hold: send one of them",
            )),
            Some(other) => Err(Problem::fault(
                RequestFault::BadVersion,
                format!("If-None-Match is {}, it takes nothing but *", quoted(other)),
            )),
        }
    }

    fn matching(&self) -> Result<Option<ExpectedPool>, Problem> {
        let text = match self.header(IF_MATCH.as_str(), RequestFault::BadVersion)? {
            None => return Ok(None),
            Some("*") => return Ok(Some(ExpectedPool::Present)),
            Some(text) => text,
        };
        let digits = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
        // An ETag is compared as a text: no pool has the one of "02", nor that of "0".
        let digits = digits.filter(|digits| !digits.starts_with('0') && digits.bytes().all(|b| b.is_ascii_digit()));
        let version = digits.and_then(|digits| digits.parse().ok());
        let wrong = || format!("If-Match is {}, it has to be one ETag of the pool, like \"3\", or *", quoted(text));
        let expected = version.map(|version| Some(ExpectedPool::Version(version)));
        expected.ok_or_else(|| Problem::fault(RequestFault::BadVersion, wrong()))
    }

    /// The query's parameters, all of which have to be known ones.
    ///
    /// # Errors
    /// The [`Problem`] to answer.
    pub fn query(&self, known: &[&str]) -> Result<Query, Problem> {
        Query::of(self.uri.query(), known)
    }

    /// The id of its trace.
    pub(in crate::api) fn trace_id(&self) -> String {
        self.trace.to_string()
    }

    /// The headers, as they were sent.
    pub(in crate::api) fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// The target, as it was sent.
    pub(in crate::api) fn uri(&self) -> &Uri {
        &self.uri
    }

    /// The path as it was sent.
    pub fn path(&self) -> &str {
        self.uri.path()
    }

    /// Whether the caller wants the newest state; for endpoints that take no other parameter.
    ///
    /// # Errors
    /// The [`Problem`] to answer.
    pub fn wants_fresh(&self) -> Result<bool, Problem> {
        if self.uri.query().is_none() { Ok(false) } else { self.query(&["fresh"])?.fresh() }
    }

    /// The text of a header that may be sent once at most.
    ///
    /// # Errors
    /// The [`Problem`] to answer.
    pub(in crate::api) fn header(&self, name: &str, fault: RequestFault) -> Result<Option<&str>, Problem> {
        let Some(value) = at_most_once(&self.headers, name, fault)? else { return Ok(None) };
        let text = value
            .to_str()
            .map_err(|_| Problem::fault(fault, format!("the header {name} has a byte that is not visible ASCII")))?;
        Ok(Some(text.trim()))
    }
}

/// A header that may be sent once at most.
pub(super) fn at_most_once<'h>(
    headers: &'h HeaderMap,
    name: &str,
    fault: RequestFault,
) -> Result<Option<&'h HeaderValue>, Problem> {
    let mut values = headers.get_all(name).iter();
    let value = values.next();
    match values.next() {
        Some(_) => Err(Problem::fault(fault, format!("the header {name} stands twice: send it once"))),
        None => Ok(value),
    }
}
