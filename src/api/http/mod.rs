//! The HTTP edge: requests in, problems and answers out. It parses a request, calls [`crate::service`], and writes what
//! that answers as JSON; it decides nothing. The one table [`endpoints`] has every path and method. The accept loop
//! with its limits is [`server`], the bounds of one request are [`receive`], the one table of refusals is
//! [`crate::api::problem`].
#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

mod asked;
mod begin;
mod clock;
mod connection;
pub(in crate::api) mod dispatch;
mod docs;
pub mod dto;
mod endpoints;
pub(in crate::api) mod health;
mod hosts;
mod http1;
mod http2;
mod idle_frames;
mod internal;
mod json;
mod line;
mod one_task;
mod openapi;
mod pools;
mod query;
mod rate_limit;
pub(in crate::api) mod receive;
mod reply;
pub(in crate::api) mod request;
mod reservations;
mod routes;
mod runbooks;
mod schema;
mod scraped;
mod server;
mod slots;
mod socket;
mod starting;
mod stream;
mod support;
mod swap;

pub use hosts::Hosts;
pub use openapi::document;
pub use routes::endpoints;
pub use scraped::scraped;
pub use server::serve;
pub use slots::Bounds;
pub use starting::starting;

use crate::access::Access;
use crate::api::operation::Operation;
use crate::config::Open;
use crate::domain::{Micros, Name};
use crate::limits::{
    HTTP_HEAD_BYTES_MAX, HTTP_HEAD_TIMEOUT_MS, HTTP_HEADERS_MAX, HTTP_IDLE_TIMEOUT_MS, LEAVE_MS, SHUTDOWN_CALLS_MS,
};
use crate::service::{Service, Shed};
use crate::tls;
use crate::trace::Tracing;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// Time a client has to send a request's body, in milliseconds.
const HTTP_BODY_TIMEOUT_MS: u64 = 5_000;
/// Time a client has for the handshake of TLS, in milliseconds. A connection takes a slot meanwhile, as one that waits for
/// a request, and makes room for others like one.
const TLS_HANDSHAKE_TIMEOUT_MS: u64 = 5_000;
/// How long a caller may take to let a part of an HTTP/2 answer go out, in milliseconds.
const HTTP2_ANSWER_TIMEOUT_MS: u64 = 10_000;

/// One finished request, for metrics and log lines.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Finished<'a> {
    /// The route's pattern, never a path: a few dozen at most.
    pub route: &'static str,
    /// The method; `OTHER` for a method that no endpoint takes, and `GRPC` for every gRPC call.
    pub method: &'static str,
    /// What was asked for; `None` when the path or its method does not exist.
    pub operation: Option<Operation>,
    /// The name of the principal that asked; `None` when nobody was recognised, or need not be.
    pub principal: Option<&'a Name>,
    /// The protocol of the call, as the access log names it.
    pub protocol: &'static str,
    /// The address of the caller, if it is known.
    pub peer: Option<IpAddr>,
    /// The HTTP status; 499 when the caller disconnected. Of a gRPC call the number of its status.
    pub status: u16,
    /// `ok`, a problem's code, or `caller_left`.
    pub code: &'static str,
    /// What the code says, in words; empty when it is `ok`.
    pub title: &'static str,
    /// The request's trace, as in the answer.
    pub trace_id: &'a str,
    /// When it ended, by [`Service::now`].
    pub at: Micros,
    /// How long it took, in microseconds.
    pub took_us: u64,
    /// How much of that came after its outcome was known, in microseconds; `None` for a request that decides nothing.
    pub answer_us: Option<u64>,
    /// The length of the answer's body in bytes, as far as it was known when the answer began.
    pub bytes: u64,
}

/// Counts requests and connections; the telemetry room implements it.
pub trait Metrics: Send + Sync {
    /// A request is over.
    fn request_finished(&self, finished: &Finished<'_>);
    /// A call was shed.
    fn shed(&self, shed: Shed);
    /// A connection was opened.
    fn connected(&self);
    /// A connection is gone.
    fn disconnected(&self);
    /// Everything counted, in Prometheus' text format.
    fn render(&self) -> String;
    /// What a support bundle says of the process.
    fn process(&self) -> Process;
}

/// What a support bundle says of the process.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Process {
    /// Names of the threads and tasks that run, in the order in which they began.
    pub threads: Vec<String>,
    /// The last log lines, the oldest first.
    pub log_lines: Vec<String>,
}

/// What a server allows its clients; the defaults are those of [`crate::limits`].
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Longest head, in bytes.
    pub head_bytes: usize,
    /// Most header fields of a request.
    pub headers: usize,
    /// Time for a head, from its first byte.
    pub head_timeout: Duration,
    /// Time for the handshake of TLS.
    pub handshake_timeout: Duration,
    /// Time between two requests of one connection.
    pub idle_timeout: Duration,
    /// Time for a body.
    pub body_timeout: Duration,
    /// Time for a caller to take a part of an answer (HTTP/2).
    pub answer_timeout: Duration,
    /// How many connections may be open.
    pub connections: Bounds,
    /// Time that open connections get to end by themselves at shutdown.
    pub leave: Duration,
    /// Time that calls in flight get after that.
    pub shutdown: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            head_bytes: HTTP_HEAD_BYTES_MAX,
            headers: HTTP_HEADERS_MAX,
            head_timeout: Duration::from_millis(HTTP_HEAD_TIMEOUT_MS),
            handshake_timeout: Duration::from_millis(TLS_HANDSHAKE_TIMEOUT_MS),
            idle_timeout: Duration::from_millis(HTTP_IDLE_TIMEOUT_MS),
            body_timeout: Duration::from_millis(HTTP_BODY_TIMEOUT_MS),
            answer_timeout: Duration::from_millis(HTTP2_ANSWER_TIMEOUT_MS),
            connections: Bounds::default(),
            leave: Duration::from_millis(LEAVE_MS),
            shutdown: Duration::from_millis(SHUTDOWN_CALLS_MS),
        }
    }
}

/// What the HTTP edge serves, and how.
#[derive(Clone)]
pub struct State {
    service: Arc<Service>,
    metrics: Arc<dyn Metrics>,
    limits: Limits,
    hosts: Hosts,
    access: Arc<Access>,
    /// What is shown to callers without a credential.
    open: Open,
    /// The certificate that is shown; `None` when plain HTTP is spoken.
    tls: Option<Arc<tls::Server>>,
    tracing: Arc<Tracing>,
    /// The settings in force, as a file without secrets.
    settings: Arc<str>,
}

impl State {
    /// A state with the usual limits.
    pub fn new(service: Arc<Service>, metrics: Arc<dyn Metrics>, tracing: Arc<Tracing>) -> State {
        let (limits, hosts, access) = (Limits::default(), Hosts::default(), Arc::new(Access::anybody()));
        let settings = Arc::from("");
        State { service, metrics, limits, hosts, access, open: Open::default(), tls: None, tracing, settings }
    }

    /// Adds the host names under which callers may call the service.
    #[must_use]
    pub fn hosts(self, hosts: Hosts) -> State {
        State { hosts, ..self }
    }

    /// Replaces how callers are known; without it, anybody may call.
    #[must_use]
    pub fn access(self, access: Arc<Access>) -> State {
        State { access, ..self }
    }

    /// Shows these pages to callers without a credential, too.
    #[must_use]
    pub fn open(self, open: Open) -> State {
        State { open, ..self }
    }

    /// Speaks TLS; without it, plain HTTP.
    #[must_use]
    pub fn tls(self, tls: Option<Arc<tls::Server>>) -> State {
        State { tls, ..self }
    }

    /// Adds the settings in force, for support bundles. They must not hold a secret.
    #[must_use]
    pub fn settings(self, settings: String) -> State {
        State { settings: settings.into(), ..self }
    }

    /// Replaces the usual limits.
    #[must_use]
    pub fn limits(self, limits: Limits) -> State {
        State { limits, ..self }
    }
}

/// [`State`] and what the requests of one process share.
pub(in crate::api) struct Api {
    state: State,
    limits: Limits,
    openapi: Vec<u8>,
    /// Taken by the one rendering of metrics that may run at a time.
    rendering: Arc<Semaphore>,
}

impl Api {
    fn new(state: State) -> Arc<Api> {
        let openapi = openapi::document().to_json().unwrap_or_default().into_bytes();
        Arc::new(Api { limits: state.limits, state, openapi, rendering: Arc::new(Semaphore::new(1)) })
    }

    /// The use cases, for calls that outlive their request.
    pub(in crate::api) fn shared_service(&self) -> &Arc<Service> {
        &self.state.service
    }

    pub(in crate::api) fn service(&self) -> &Service {
        &self.state.service
    }

    /// How callers are known, for calls that outlive their request.
    pub(in crate::api) fn access(&self) -> &Arc<Access> {
        &self.state.access
    }
}
