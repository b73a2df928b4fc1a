//! Reads a request within limits of size and time, and refuses what is not for this server, or not of a caller who may
//! send it.

use super::reply::Problem;
use super::request::{HttpRequest, at_most_once};
use super::{Api, Limits};
use crate::access::{Denied, Principal, Roles};
use crate::api::grpc::PREFIX_BYTES;
use crate::api::identity;
use crate::api::operation::Operation;
use crate::api::problem::RequestFault;
use crate::api::value::quoted;
use crate::domain::Micros;
use crate::limits::HTTP_KEPT_WAIT_MS;
use crate::service::{Exceeded, Refusal, Shed, Standing};
use crate::trace::CallTrace;
use axum::RequestExt;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{RawPathParams, Request};
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method};
use http_body_util::BodyExt;
use parking_lot::Mutex;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// What a field of a head has beside its name and its value over HTTP/1, in bytes: a colon, a blank, and the end of the line.
const FIELD_BYTES: usize = 4;

/// How long a probe on a slot kept for probes may take to send its body.
const HURRIED: Duration = Duration::from_millis(HTTP_KEPT_WAIT_MS);

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

/// Marks a probe on a slot kept for probes, for which others may wait; the accept loop adds it.
#[derive(Clone, Copy, Debug)]
pub struct Hurried;

/// What is known of a request before it is read, from its path and method.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    /// The pattern of the path; `(none)` when there is nothing at the path.
    pub path: &'static str,
    /// What it asks for; `None` when the path or its method does not exist.
    pub operation: Option<Operation>,
    /// The longest body, in bytes; of gRPC the longest message, which comes after a prefix.
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

/// What is known of who sends a request, as soon as it is known.
#[derive(Default)]
pub(super) struct Caller {
    pub(super) principal: OnceLock<Arc<Principal>>,
    /// What it may still call, when the request was counted in its quota.
    pub(super) standing: OnceLock<Standing>,
    /// How long its refusal is held back, because it goes on calling beyond its quota.
    pause: OnceLock<Duration>,
}

/// Refuses in this order: by what the server has room for, by how large the head is, by whom the request is meant for and
/// where it comes from, by who sends it and how often they do, and only then by what is in it.
pub(super) async fn read(
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
    head(&api.limits, &parts)?;
    target(&parts)?;
    let is_guarded = !parts.method.is_safe() || route.path.starts_with("/internal/");
    api.state.hosts.check(&parts, is_guarded)?;
    let principal = principal(api, route, &parts, caller, &trace);
    if let Some(until) = caller.pause.get().and_then(|pause| Instant::now().checked_add(*pause)) {
        sleep_until(until).await;
    }
    let principal = principal?;
    codings(&parts.headers)?;
    let params =
        params.map_err(|_| Problem::fault(RequestFault::BadName, "the path is not UTF-8 once it is decoded"))?;
    let param = params.iter().next().map(|(_, value)| value.to_owned());
    let (body, rest) = match route.format {
        Format::Json | Format::Grpc => {
            let is_hurried = parts.extensions.get::<Hurried>().is_some();
            let within = if is_hurried { HURRIED.min(api.limits.body_timeout) } else { api.limits.body_timeout };
            (read_body(within, route, &parts.headers, body).await?, Body::empty())
        }
        Format::GrpcStream => (Bytes::new(), body),
    };
    if route.format == Format::Json && !body.is_empty() {
        content_type(&parts.headers)?;
    }
    let (headers, rest) = (parts.headers, Mutex::new(rest));
    Ok(HttpRequest { headers, uri: parts.uri, param, body, rest, principal, trace, arrived })
}

/// Who sends the request, when it may be sent by them and is within their quota. What everybody may ask for, and what does
/// not exist, is asked for by nobody: the credentials are not looked at.
fn principal(
    api: &Api,
    route: Route,
    parts: &Parts,
    caller: &Caller,
    trace: &CallTrace,
) -> Result<Arc<Principal>, Problem> {
    let Some(operation) = route.operation.filter(|operation| !operation.is_open(api.state.open)) else {
        return Ok(Arc::new(Principal { name: None, roles: Roles::NONE }));
    };
    let certificate = parts.extensions.get::<Certificate>();
    let known = identity::identified(&api.state.access, &parts.headers, certificate.map(|shown| &shown.0))?;
    let _ = caller.principal.set(Arc::clone(&known));
    // The quota comes before the role, because a refusal for the role can have a line in the audit log.
    match operation.charge_of(known.roles).map(|charge| api.service().charge(&known, charge)).transpose() {
        Ok(charged) => {
            if let Some(standing) = charged.flatten() {
                let _ = caller.standing.set(standing);
            }
            identity::permitted(operation, &known, trace)?;
            Ok(known)
        }
        Err(Exceeded { standing, pause }) => {
            if !pause.is_zero() {
                let _ = caller.pause.set(pause);
            }
            Err(Refusal::OverQuota(standing).into())
        }
    }
}

/// Refuses a head beyond the bounds. One of HTTP/1 was refused before it became a request. Of HTTP/2 hyper lets more through,
/// because its own refusal says nothing; the bounds are those of HTTP/1.
fn head(limits: &Limits, parts: &Parts) -> Result<(), Problem> {
    let target = parts.uri.path_and_query().map_or(0, |target| target.as_str().len());
    let field = |(name, value): (&HeaderName, &HeaderValue)| {
        name.as_str().len().saturating_add(value.len()).saturating_add(FIELD_BYTES)
    };
    let bytes = parts.headers.iter().map(field).fold(target, usize::saturating_add);
    if bytes > limits.head_bytes || parts.headers.len() > limits.headers {
        return Err(Problem::fault(RequestFault::HeadTooLarge, head_too_large(limits)));
    }
    Ok(())
}

/// The detail of a refused head, with its bounds.
pub fn head_too_large(Limits { head_bytes, headers, .. }: &Limits) -> String {
    format!("the head has more than {head_bytes} bytes or {headers} fields: send less")
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

async fn read_body(within: Duration, route: Route, headers: &HeaderMap, body: Body) -> Result<Bytes, Problem> {
    let told = route.body_bytes_max;
    let (what, most) = match route.format {
        Format::Json => ("body", told),
        Format::Grpc | Format::GrpcStream => ("message", told.saturating_add(PREFIX_BYTES)),
    };
    let too_large =
        || Problem::fault(RequestFault::BodyTooLarge, format!("the {what} has more than {told} bytes: send less"));
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    let length = headers.get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()).and_then(|text| text.parse::<u64>().ok());
    if length.is_some_and(|length| length > most as u64) {
        return Err(too_large());
    }
    // The timer only starts to cost something when the body is not there yet.
    match tokio::time::timeout(within, collect(body, most)).await {
        Ok(Ok(Some(bytes))) => Ok(bytes),
        Ok(Ok(None)) => Err(too_large()),
        Ok(Err(_)) => {
            Err(Problem::fault(RequestFault::BadRequest, "the body broke off before its end: send the whole of it"))
        }
        Err(_) => {
            let detail = format!("the body was not here after {} ms: send it faster", within.as_millis());
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

/// Refuses a body that is not said to be JSON, or is said to be two things.
fn content_type(headers: &HeaderMap) -> Result<(), Problem> {
    let fault = RequestFault::WrongContentType;
    let detail = match at_most_once(headers, CONTENT_TYPE.as_str(), fault)? {
        Some(value) if is_json(value) => return Ok(()),
        Some(value) => {
            let sent = quoted(&String::from_utf8_lossy(value.as_bytes()));
            format!("the Content-Type header is {sent}, it has to be application/json")
        }
        None => "the Content-Type header is missing, it has to be application/json".to_owned(),
    };
    Err(Problem::fault(fault, detail))
}

fn is_json(value: &HeaderValue) -> bool {
    let essence = value.to_str().ok().and_then(|value| value.split(';').next()).unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
}
