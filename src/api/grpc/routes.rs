//! The paths of this edge, in the router of the listener. Requests that are no gRPC calls are told that there is nothing.

use super::calls;
use super::health::Probe;
use super::status::{GrpcReply, problem_of};
use crate::api::http::Api;
use crate::api::http::dispatch;
use crate::api::http::health::nothing_there;
use crate::api::http::receive::{Format, Route};
use crate::api::http::request::HttpRequest;
use crate::api::operation::Operation;
use crate::api::problem::{Problem, RequestFault};
use crate::api::value::quoted;
use crate::limits::{COMMAND_BYTES_MAX, HTTP_BODY_BYTES_MAX, READINESS_LOOK_MS, WATCHES_MAX};
use crate::service::{Refusal, Shed};
use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Request, State as Extracted};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderName, Method, Response, Version};
use axum::routing::any;
use hyper::body::Frame;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Status;
use tonic_health::pb::health_server::HealthServer;
use tower::{BoxError, Service};

const GRPC_ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
/// Every path of the reflection service, in both of its versions.
const REFLECTION: [&str; 2] = [
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
];

/// One method of a service.
#[derive(Clone, Copy)]
struct Call {
    path: &'static str,
    operation: Operation,
    /// The longest message, in bytes.
    message_bytes_max: usize,
}

const fn call(path: &'static str, operation: Operation) -> Call {
    Call { path, operation, message_bytes_max: HTTP_BODY_BYTES_MAX }
}

/// A call whose message names areas or pools, of which there may be many.
const fn listing(path: &'static str, operation: Operation) -> Call {
    Call { path, operation, message_bytes_max: COMMAND_BYTES_MAX }
}

/// Every method of `headroom.v1.Capacity`.
const CALLS: &[Call] = &[
    listing("/headroom.v1.Capacity/Availability", Operation::Availability),
    call("/headroom.v1.Capacity/ListPools", Operation::ListPools),
    call("/headroom.v1.Capacity/GetPool", Operation::GetPool),
    listing("/headroom.v1.Capacity/DefinePool", Operation::DefinePool),
    listing("/headroom.v1.Capacity/ChangePool", Operation::ChangePool),
    call("/headroom.v1.Capacity/RetirePool", Operation::RetirePool),
    call("/headroom.v1.Capacity/SetMode", Operation::SetMode),
    call("/headroom.v1.Capacity/ListReservations", Operation::ListReservations),
    call("/headroom.v1.Capacity/Reserve", Operation::Reserve),
    call("/headroom.v1.Capacity/GetReservation", Operation::GetReservation),
    call("/headroom.v1.Capacity/Amend", Operation::Amend),
    call("/headroom.v1.Capacity/Release", Operation::Release),
    call("/headroom.v1.Capacity/Confirm", Operation::Confirm),
    call("/headroom.v1.Capacity/Extend", Operation::Extend),
    listing("/headroom.v1.Capacity/WatchPools", Operation::WatchPools),
];

/// The methods of the standard health service.
const PROBES: &[Call] =
    &[call("/grpc.health.v1.Health/Check", Operation::Readyz), call("/grpc.health.v1.Health/Watch", Operation::Readyz)];

impl Call {
    fn route(self, format: Format) -> Route {
        let Call { path, operation, message_bytes_max: body_bytes_max } = self;
        Route { path, operation: Some(operation), body_bytes_max, format }
    }
}

/// Every method that this edge serves, by its path, and what it asks for.
pub fn methods() -> impl Iterator<Item = (&'static str, Operation)> {
    let reflection = REFLECTION.into_iter().map(|path| (path, Operation::OpenApi));
    CALLS.iter().chain(PROBES).map(|call| (call.path, call.operation)).chain(reflection)
}

/// Whether a request is a gRPC call, whatever it asks for. The protocol needs HTTP/2.
pub(in crate::api) fn is_call<B>(request: &axum::http::Request<B>) -> bool {
    let kind = request.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let is_grpc = matches!(kind.split(';').next(), Some("application/grpc" | "application/grpc+proto"));
    is_grpc && request.method() == Method::POST && request.version() == Version::HTTP_2
}

/// Adds the paths of this edge to those of the listener.
pub(in crate::api) fn routes(router: Router<Arc<Api>>) -> Router<Arc<Api>> {
    let router = CALLS.iter().fold(router, |router, call| {
        let operation = call.operation;
        on(router, *call, Format::Grpc, move |api, request| capacity(operation, api, request))
    });
    let router = PROBES.iter().fold(router, |router, call| on(router, *call, Format::Grpc, health));
    let described = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(super::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let v1 = described().build_v1().map(|server| server.max_decoding_message_size(HTTP_BODY_BYTES_MAX)).ok();
    let v1alpha = described().build_v1alpha().map(|server| server.max_decoding_message_size(HTTP_BODY_BYTES_MAX)).ok();
    // Whoever may read the description of the HTTP interface may read this one.
    let [of_v1, of_v1alpha] = REFLECTION.map(|path| call(path, Operation::OpenApi));
    let places = Arc::new(Semaphore::new(WATCHES_MAX));
    let of_both = Arc::clone(&places);
    let router = on(router, of_v1, Format::GrpcStream, move |api, request| {
        reflection(api, v1.clone(), Arc::clone(&of_both), request)
    });
    on(router, of_v1alpha, Format::GrpcStream, move |api, request| {
        reflection(api, v1alpha.clone(), Arc::clone(&places), request)
    })
}

fn on<F: Future<Output = Result<GrpcReply, Problem>> + Send + 'static>(
    router: Router<Arc<Api>>,
    call: Call,
    format: Format,
    handler: impl Fn(Arc<Api>, HttpRequest) -> F + Clone + Send + Sync + 'static,
) -> Router<Arc<Api>> {
    router.route(
        call.path,
        any(move |Extracted(api): Extracted<Arc<Api>>, request: Request| {
            let handler = handler.clone();
            async move {
                if is_call(&request) {
                    dispatch::run(api, call.route(format), request, handler).await
                } else {
                    nothing_there(api, request).await
                }
            }
        }),
    )
}

/// Refuses a method that does not exist.
pub(in crate::api) async fn unknown(api: Arc<Api>, request: Request) -> Response<Body> {
    let (operation, body_bytes_max, format) = (None, HTTP_BODY_BYTES_MAX, Format::Grpc);
    let route = Route { path: "(none)", operation, body_bytes_max, format };
    dispatch::run(api, route, request, |_: Arc<Api>, request: HttpRequest| async move {
        let detail =
            format!("there is no method {}: ask the reflection service for those there are", quoted(request.path()));
        Err::<GrpcReply, _>(Problem::fault(RequestFault::NotFound, detail))
    })
    .await
}

async fn capacity(operation: Operation, api: Arc<Api>, request: HttpRequest) -> Result<GrpcReply, Problem> {
    match operation {
        Operation::Availability => calls::availability(&api, &request).await,
        Operation::ListPools => calls::list_pools(&api, &request).await,
        Operation::GetPool => calls::get_pool(&api, &request).await,
        Operation::DefinePool => calls::define_pool(&api, &request).await,
        Operation::ChangePool => calls::change_pool(&api, &request).await,
        Operation::RetirePool => calls::retire_pool(&api, &request).await,
        Operation::SetMode => calls::set_mode(&api, &request).await,
        Operation::ListReservations => calls::list_reservations(&api, &request).await,
        Operation::Reserve => calls::reserve(&api, &request).await,
        Operation::GetReservation => calls::get_reservation(&api, &request).await,
        Operation::Amend => calls::amend(&api, &request).await,
        Operation::Release => calls::release(&api, &request).await,
        Operation::Confirm => calls::confirm(&api, &request).await,
        Operation::Extend => calls::extend(&api, &request).await,
        Operation::WatchPools => calls::watch_pools(&api, &request).await,
        _ => Err(Problem::bug("a method without a handler")),
    }
}

async fn health(api: Arc<Api>, request: HttpRequest) -> Result<GrpcReply, Problem> {
    let whole = Body::from(request.body.clone());
    served(HealthServer::new(Probe(api)), request, whole).await
}

/// Lets a reflection service answer, if one of the places is free; `None` is one that could not be built.
async fn reflection<S, B>(
    api: Arc<Api>,
    server: Option<S>,
    places: Arc<Semaphore>,
    request: HttpRequest,
) -> Result<GrpcReply, Problem>
where
    S: Service<axum::http::Request<Body>, Response = Response<B>, Error = Infallible>,
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let server = server.ok_or_else(|| Problem::bug("the description of the gRPC interface cannot be read"))?;
    let place = places.try_acquire_owned().map_err(|_| Refusal::Shed(Shed::Watches))?;
    let (messages, leaves) = (request.take_rest(), Box::pin(leaves(api)));
    let messages = Asking { messages, leaves, is_over: false, _place: place };
    served(server, request, Body::new(messages)).await
}

/// Returns when the process leaves.
async fn leaves(api: Arc<Api>) {
    let mut look = tokio::time::interval(Duration::from_millis(READINESS_LOOK_MS));
    while !api.service().is_leaving() {
        look.tick().await;
    }
}

/// The messages of a caller, until the process leaves: a caller that might ask more does not keep it from ending.
struct Asking {
    messages: Body,
    leaves: Pin<Box<dyn Future<Output = ()> + Send>>,
    is_over: bool,
    _place: OwnedSemaphorePermit,
}

impl HttpBody for Asking {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        // What has come is answered first.
        if let Poll::Ready(frame) = Pin::new(&mut self.messages).poll_frame(cx) {
            return Poll::Ready(frame);
        }
        ready!(self.leaves.as_mut().poll(cx));
        self.is_over = true;
        Poll::Ready(None)
    }
}

/// Lets a server of tonic answer. Of the headers it gets only what the message is encoded in: its deadline and its caller
/// are ours to judge.
async fn served<S, B>(mut server: S, request: HttpRequest, messages: Body) -> Result<GrpcReply, Problem>
where
    S: Service<axum::http::Request<Body>, Response = Response<B>, Error = Infallible>,
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let mut inner = Request::new(messages);
    *inner.method_mut() = Method::POST;
    *inner.uri_mut() = request.uri().clone();
    if let Some(encoding) = request.headers().get(GRPC_ENCODING) {
        inner.headers_mut().insert(GRPC_ENCODING, encoding.clone());
    }
    inner.extensions_mut().insert(Arc::new(request));
    let Ok(response) = server.call(inner).await;
    match response.extensions().get::<Status>() {
        Some(status) => Err(problem_of(status)),
        None => Ok(GrpcReply(response.map(Body::new))),
    }
}
