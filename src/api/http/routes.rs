//! The routes, made of the table of endpoints.

use super::dispatch;
use super::endpoints::{ENDPOINTS, Endpoint};
use super::receive::{Format, Route};
use super::reply::{Answer, Problem};
use super::request::HttpRequest;
use super::{Api, health};
use crate::api::grpc;
use crate::api::operation::Operation;
use crate::limits::HTTP_BODY_BYTES_MAX;
use axum::Router;
use axum::extract::{Request, State as Extracted};
use axum::http::HeaderValue;
use axum::routing::{MethodFilter, MethodRouter};
use std::collections::BTreeMap;
use std::sync::Arc;
use utoipa::openapi::path::HttpMethod as Method;

/// Every method of every path that this edge serves, and what it asks for.
pub fn endpoints() -> impl Iterator<Item = (&'static str, &'static str, Operation)> {
    let name = |method| filter_of(method).1.split(',').next().unwrap_or_default();
    ENDPOINTS.iter().map(move |endpoint| (name(&endpoint.method), endpoint.path, endpoint.operation))
}

/// Every endpoint, and refusals of all other paths and methods.
pub(super) fn routes(api: Arc<Api>) -> Router {
    let mut paths: BTreeMap<&'static str, Vec<&'static Endpoint>> = BTreeMap::new();
    for endpoint in ENDPOINTS {
        paths.entry(endpoint.path).or_default().push(endpoint);
    }
    let router = paths
        .into_iter()
        .fold(Router::new(), |router, (path, endpoints)| router.route(path, methods(path, &endpoints)));
    grpc::routes(router)
        .fallback(|Extracted(api): Extracted<Arc<Api>>, request: Request| async move {
            if grpc::is_call(&request) {
                grpc::unknown(api, request).await
            } else {
                health::nothing_there(api, request).await
            }
        })
        .with_state(api)
}

fn methods(path: &'static str, endpoints: &[&'static Endpoint]) -> MethodRouter<Arc<Api>> {
    let allowed: Vec<_> = endpoints.iter().map(|endpoint| filter_of(&endpoint.method).1).collect();
    let allowed = HeaderValue::try_from(allowed.join(", ")).unwrap_or(HeaderValue::from_static(""));
    let refuse = move |Extracted(api): Extracted<Arc<Api>>, request: Request| {
        let refusal =
            move |_: Arc<Api>, _: HttpRequest| async move { Answer::Err(Problem::method_not_allowed(path, allowed)) };
        let (body_bytes_max, format) = (HTTP_BODY_BYTES_MAX, Format::Json);
        dispatch::run(api, Route { path, operation: None, body_bytes_max, format }, request, refusal)
    };
    endpoints.iter().fold(MethodRouter::new(), |methods, endpoint| on(methods, endpoint)).fallback(refuse)
}

fn on(methods: MethodRouter<Arc<Api>>, endpoint: &Endpoint) -> MethodRouter<Arc<Api>> {
    let Endpoint { path, operation, handler, body_bytes_max, .. } = *endpoint;
    let route = Route { path, operation: Some(operation), body_bytes_max, format: Format::Json };
    methods.on(filter_of(&endpoint.method).0, move |Extracted(api): Extracted<Arc<Api>>, request: Request| {
        dispatch::run(api, route, request, handler)
    })
}

/// The filter of a method, and what the Allow header says. The server answers HEAD wherever it answers GET.
fn filter_of(method: &Method) -> (MethodFilter, &'static str) {
    match method {
        Method::Get => (MethodFilter::GET, "GET, HEAD"),
        Method::Put => (MethodFilter::PUT, "PUT"),
        Method::Patch => (MethodFilter::PATCH, "PATCH"),
        Method::Delete => (MethodFilter::DELETE, "DELETE"),
        _ => (MethodFilter::POST, "POST"),
    }
}
