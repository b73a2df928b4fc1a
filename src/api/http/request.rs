//! Reads a request within limits of size and time, and interprets its headers. Whatever a handler does, even if it
//! panics, the caller gets an answer of this service.

use super::query::Query;
use super::reply::Problem;
use super::{Api, Finished, json, rate_limit};
use crate::access::{Denied, Principal, Roles};
use crate::api::body::{self, Parsed};
use crate::api::identity;
use crate::api::operation::Operation;
use crate::api::problem::RequestFault;
use crate::api::trace::of_caller;
use crate::api::value::{Value, quoted};
use crate::domain::{IdempotencyKey, Micros};
use crate::limits::DEADLINE_MAX_MS;
use crate::service::{CallContext, ExpectedPool, Refusal, Shed, Standing};
use crate::trace::{CallTrace, Protocol, Work};
use axum::RequestExt;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{RawPathParams, Request};
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, IF_MATCH, IF_NONE_MATCH, TRANSFER_ENCODING};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Response, Uri, Version};
use http_body_util::BodyExt;
use parking_lot::Mutex;
use std::future::{Future, poll_fn};
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::task::Poll;

/// The one transfer coding that is known.
pub const CHUNKED: &str = "chunked";

/// The address of the caller; the accept loop adds it.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub IpAddr);

/// What a client certificate says about the caller; the accept loop adds it to each request of the connection.
#[derive(Clone, Debug)]
pub struct Certificate(pub Result<Arc<Principal>, Denied>);

/// Marks a request that is not a probe but came on a slot kept for probes; the accept loop adds it.
#[derive(Clone, Copy, Debug)]
pub struct Crowded;

/// A request that was read completely.
#[derive(Debug)]
pub struct HttpRequest {
    headers: HeaderMap,
    uri: Uri,
    param: Option<String>,
    /// Its body, empty when it has none.
    pub body: Bytes,
    /// The body that its handler has to read, see [`Format::GrpcStream`].
    rest: Mutex<Body>,
    /// Who sent it, under no role when the caller is not known and need not be.
    pub principal: Arc<Principal>,
    /// The trace that it belongs to.
    pub trace: CallTrace,
    /// When its head had been read; the caller's deadline counts from then on.
    pub arrived: Micros,
}

/// What is known of a request before it is read, from its path and method.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    /// The pattern of the path; `(none)` when there is nothing at the path.
    pub path: &'static str,
    /// What it asks for; `None` when the path or its method does not exist.
    pub operation: Option<Operation>,
    /// The longest body, in bytes.
    pub body_bytes_max: usize,
    /// How the body is written.
    pub format: Format,
}

/// How the body of a request is written, and who reads it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// JSON, which is read to its end before the handler runs.
    Json,
    /// One gRPC message, which is read likewise.
    Grpc,
    /// Any number of gRPC messages: the handler takes the body as it comes.
    GrpcStream,
}

/// What a handler answers when it does not refuse, in one of the protocols of this listener.
pub trait Respond: Sized {
    /// The response to an answer, and the status of its protocol.
    fn respond(answer: Result<Self, Problem>, trace_id: &str) -> (Response<Body>, u16);
}

/// Runs one handler for one request.
pub async fn run<A: Respond, F: Future<Output = Result<A, Problem>>>(
    api: Arc<Api>,
    route: Route,
    request: Request,
    handler: impl FnOnce(Arc<Api>, HttpRequest) -> F,
) -> Response<Body> {
    let trace = api.state.tracing.enter(of_caller(request.headers()));
    let trace_id = trace.to_string();
    let method = if route.format == Format::Json { method_name(request.method()) } else { "GRPC" };
    let (protocol, peer) = (protocol(request.version()), request.extensions().get::<Peer>().map(|peer| peer.0));
    let arrived = api.service().now();
    let caller = Caller::default();
    let call = Call { route, method, protocol, peer, caller: &caller, trace: &trace, trace_id: &trace_id };
    let mut watch = Watch { api: &api, call, arrived, end: None };
    let answer = guarded(&trace_id, async {
        let request = read(&api, trace.clone(), arrived, route, request, &caller).await?;
        handler(Arc::clone(&api), request).await
    })
    .await;
    if let Err(problem) = &answer
        && let Some(shed) = problem.shed()
    {
        api.state.metrics.shed(shed);
    }
    let (code, title) = answer.as_ref().map_or_else(|problem| (problem.code(), problem.title()), |_| ("ok", ""));
    let (mut response, status) = A::respond(answer, &trace_id);
    if let Some(standing) = caller.standing.get() {
        response.headers_mut().extend(rate_limit::fields(standing));
    }
    let bytes = response.body().size_hint().exact().unwrap_or_default();
    watch.end = Some(End { status, code, title, bytes });
    response
}

/// What is known of who sends a request, as soon as it is known.
#[derive(Default)]
struct Caller {
    principal: OnceLock<Arc<Principal>>,
    /// What it may still call, when the request was counted in its quota.
    standing: OnceLock<Standing>,
}

/// What is known of a request when it comes.
#[derive(Clone, Copy)]
struct Call<'a> {
    route: Route,
    method: &'static str,
    protocol: &'static str,
    peer: Option<IpAddr>,
    caller: &'a Caller,
    trace: &'a CallTrace,
    trace_id: &'a str,
}

/// How a request ended.
struct End {
    status: u16,
    code: &'static str,
    title: &'static str,
    bytes: u64,
}

/// The end of a request whose caller did not wait.
const LEFT: End = End { status: 499, code: "caller_left", title: "The caller did not wait for the answer", bytes: 0 };

/// Reports once that a request is finished, even when its caller disconnected and the future was dropped.
struct Watch<'a> {
    api: &'a Api,
    call: Call<'a>,
    arrived: Micros,
    end: Option<End>,
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        let at = self.api.service().now();
        let took_us = at.0.saturating_sub(self.arrived.0);
        let Call { route, method, protocol, peer, caller, trace, trace_id } = self.call;
        let Route { path: route, operation, format, .. } = route;
        let principal = caller.principal.get().and_then(|caller| caller.name.as_ref());
        // What gRPC calls CANCELLED has the number 1.
        let left = if format == Format::Json { LEFT } else { End { status: 1, ..LEFT } };
        let End { status, code, title, bytes } = self.end.take().unwrap_or(left);
        let finished = Finished {
            route,
            method,
            operation,
            principal,
            protocol,
            peer,
            status,
            code,
            title,
            trace_id,
            at,
            took_us,
            answer_us: trace.told_at().map(|told| at.0.saturating_sub(told.0)),
            bytes,
        };
        self.api.state.metrics.request_finished(&finished);
        let work = match format {
            Format::Json => Work::Call { protocol: Protocol::Http, method, route, status, code },
            Format::Grpc | Format::GrpcStream => {
                let method = route.trim_start_matches('/');
                Work::Call { protocol: Protocol::Grpc, method, route: "", status, code }
            }
        };
        trace.end(work, self.arrived, at);
    }
}

/// Turns a panic into an answer: a panic is a bug, but it must not break the caller's connection.
async fn guarded<A>(trace_id: &str, answer: impl Future<Output = Result<A, Problem>>) -> Result<A, Problem> {
    let mut answer = pin!(answer);
    poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| answer.as_mut().poll(context))) {
        Ok(poll) => poll,
        Err(panic) => {
            let text = panic.downcast_ref::<&str>().copied();
            let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no text");
            tracing::error!(trace_id, panic = text, "a request's handler panicked");
            Poll::Ready(Err(Refusal::Internal.into()))
        }
    })
    .await
}

/// Refuses in this order: by what the server has room for, by whom the request is meant for and where it comes from, by
/// who sends it and how often they do, and only then by what is in it.
async fn read(
    api: &Api,
    trace: CallTrace,
    arrived: Micros,
    route: Route,
    mut request: Request,
    caller: &Caller,
) -> Result<HttpRequest, Problem> {
    if request.extensions().get::<Crowded>().is_some() {
        return Err(Refusal::Shed(Shed::Connections).into());
    }
    let params = request.extract_parts::<RawPathParams>().await;
    let (parts, body) = request.into_parts();
    target(&parts)?;
    let is_guarded = !parts.method.is_safe() || route.path.starts_with("/internal/");
    api.state.hosts.check(&parts, is_guarded)?;
    let principal = principal(api, route, &parts, caller)?;
    codings(&parts.headers)?;
    let params =
        params.map_err(|_| Problem::fault(RequestFault::BadName, "the path is not UTF-8 once it is decoded"))?;
    let param = params.iter().next().map(|(_, value)| value.to_owned());
    let (body, rest) = match route.format {
        Format::Json | Format::Grpc => {
            (read_body(api, route.body_bytes_max, &parts.headers, body).await?, Body::empty())
        }
        Format::GrpcStream => (Bytes::new(), body),
    };
    if route.format == Format::Json && !body.is_empty() && !is_json(&parts.headers) {
        let sent = parts.headers.get(CONTENT_TYPE).map(|value| quoted(&String::from_utf8_lossy(value.as_bytes())));
        let sent = sent.unwrap_or_else(|| "missing".to_owned());
        let detail = format!("the Content-Type header is {sent}, it has to be application/json");
        return Err(Problem::fault(RequestFault::WrongContentType, detail));
    }
    let (headers, rest) = (parts.headers, Mutex::new(rest));
    Ok(HttpRequest { headers, uri: parts.uri, param, body, rest, principal, trace, arrived })
}

/// Who sends the request, when it may be sent by them and is within their quota. What everybody may ask for, and what does
/// not exist, is asked for by nobody: the credentials are not looked at.
fn principal(api: &Api, route: Route, parts: &Parts, caller: &Caller) -> Result<Arc<Principal>, Problem> {
    let Some(operation) = route.operation.filter(|operation| !operation.is_open(api.state.open)) else {
        return Ok(Arc::new(Principal { name: None, roles: Roles::NONE }));
    };
    let certificate = parts.extensions.get::<Certificate>();
    let known = identity::identified(&api.state.access, &parts.headers, certificate.map(|shown| &shown.0))?;
    let _ = caller.principal.set(Arc::clone(&known));
    identity::permitted(operation, &known)?;
    let charged = operation.charge().map(|charge| api.service().charge(&known, charge)).transpose()?;
    if let Some(standing) = charged.flatten() {
        let _ = caller.standing.set(standing);
    }
    Ok(known)
}

/// Refuses a target that is not a path: that of CONNECT, `*` for the whole service, and a text without a slash at its
/// start.
fn target(parts: &Parts) -> Result<(), Problem> {
    let all = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE");
    match parts.uri.path() {
        _ if parts.method == Method::CONNECT => {
            Err(Problem::method_not_allowed("this service, which is no proxy,", all))
        }
        path if path.starts_with('/') => Ok(()),
        "*" => Err(Problem::method_not_allowed("a path of this service", all)),
        _ => Err(Problem::fault(
            RequestFault::BadRequest,
            "the target is no path: begin it with a slash, like /v1/pools",
        )),
    }
}

/// Refuses a body in an encoding that this service cannot read.
fn codings(headers: &HeaderMap) -> Result<(), Problem> {
    let only = |header: HeaderName, known: &str, fault| {
        let said: Vec<_> =
            headers.get_all(&header).iter().map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
        let said = said.join(", ");
        if said.is_empty() || said.eq_ignore_ascii_case(known) {
            return Ok(());
        }
        Err(Problem::fault(fault, wrong_coding(&header, &said, known)))
    };
    only(TRANSFER_ENCODING, CHUNKED, RequestFault::UnknownTransferCoding)?;
    only(CONTENT_ENCODING, "identity", RequestFault::UnknownContentEncoding)
}

/// The detail of a refused encoding, with the one that is known.
pub fn wrong_coding(header: &HeaderName, said: &str, known: &str) -> String {
    format!("the {header} header is {}, it has to be {known} alone, or left out", quoted(said))
}

async fn read_body(api: &Api, most: usize, headers: &HeaderMap, body: Body) -> Result<Bytes, Problem> {
    let too_large =
        || Problem::fault(RequestFault::BodyTooLarge, format!("the body has more than {most} bytes: send less"));
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    let length = headers.get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()).and_then(|text| text.parse::<u64>().ok());
    if length.is_some_and(|length| length > most as u64) {
        return Err(too_large());
    }
    // The timer only starts to cost something when the body is not there yet.
    match tokio::time::timeout(api.limits.body_timeout, collect(body, most)).await {
        Ok(Ok(Some(bytes))) => Ok(bytes),
        Ok(Ok(None)) => Err(too_large()),
        Ok(Err(_)) => {
            Err(Problem::fault(RequestFault::BadRequest, "the body broke off before its end: send the whole of it"))
        }
        Err(_) => {
            let detail =
                format!("the body was not here after {} ms: send it faster", api.limits.body_timeout.as_millis());
            Err(Problem::fault(RequestFault::BodyTimeout, detail))
        }
    }
}

/// The body's bytes; `None` when there are too many.
async fn collect(mut body: Body, most: usize) -> Result<Option<Bytes>, axum::Error> {
    let mut whole = Vec::new();
    let mut first = Bytes::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        if whole.len().saturating_add(first.len()).saturating_add(data.len()) > most {
            return Ok(None);
        }
        // Nearly every body is one frame, which need not be copied.
        if first.is_empty() && whole.is_empty() {
            first = data;
        } else {
            whole.extend_from_slice(&std::mem::take(&mut first));
            whole.extend_from_slice(&data);
        }
    }
    Ok(Some(if whole.is_empty() { first } else { whole.into() }))
}

fn is_json(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()) else { return false };
    let essence = value.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
}

/// The name of a protocol in the access log.
fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_2 => "HTTP/2",
        Version::HTTP_10 => "HTTP/1.0",
        _ => "HTTP/1.1",
    }
}

fn method_name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        _ => "OTHER",
    }
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
    /// The [`Problem`] to answer.
    pub fn if_match(&self) -> Result<Option<u64>, Problem> {
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
        let digits = digits.filter(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()));
        let version = digits.and_then(|digits| digits.parse().ok()).filter(|version| *version > 0);
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

    /// A header that may be sent once at most.
    fn only(&self, name: &str, fault: RequestFault) -> Result<Option<&HeaderValue>, Problem> {
        let mut values = self.headers.get_all(name).iter();
        let value = values.next();
        match values.next() {
            Some(_) => Err(Problem::fault(fault, format!("the header {name} stands twice: send it once"))),
            None => Ok(value),
        }
    }

    /// The text of a header that may be sent once at most.
    ///
    /// # Errors
    /// The [`Problem`] to answer.
    pub(in crate::api) fn header(&self, name: &str, fault: RequestFault) -> Result<Option<&str>, Problem> {
        let Some(value) = self.only(name, fault)? else { return Ok(None) };
        let text = value
            .to_str()
            .map_err(|_| Problem::fault(fault, format!("the header {name} has a byte that is not visible ASCII")))?;
        Ok(Some(text.trim()))
    }
}
