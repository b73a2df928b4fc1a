//! Runs the handler of a request, and reports how it ended. Whatever a handler does, even if it panics, the caller gets an
//! answer of this service.

use super::receive::{Caller, Format, Peer, Route, read};
use super::reply::Problem;
use super::request::HttpRequest;
use super::{Api, Finished, rate_limit};
use crate::api::trace::of_caller;
use crate::domain::Micros;
use crate::service::Refusal;
use crate::trace::{CallTrace, Protocol, Work};
use axum::body::{Body, HttpBody};
use axum::extract::Request;
use axum::http::{Method, Response, Version};
use std::future::{Future, poll_fn};
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

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

/// Turns a panic into an answer: a panic is a bug, but it must not break the caller's connection. The line before has the
/// reason, as of every panic.
async fn guarded<A>(trace_id: &str, answer: impl Future<Output = Result<A, Problem>>) -> Result<A, Problem> {
    let mut answer = pin!(answer);
    poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| answer.as_mut().poll(context))) {
        Ok(poll) => poll,
        Err(_) => {
            tracing::error!(trace_id, "a request's handler panicked");
            Poll::Ready(Err(Refusal::Internal.into()))
        }
    })
    .await
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
