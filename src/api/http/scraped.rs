//! The metrics of a process that serves nothing else, for whoever collects them.

use super::health::PROMETHEUS;
use super::starting::{accept, begun};
use crate::limits::{HTTP_HEAD_TIMEOUT_MS, STARTING_CONNECTIONS_MAX};
use axum::BoxError;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// Longest time that a connection gets, for one request.
const LIMIT: Duration = Duration::from_millis(HTTP_HEAD_TIMEOUT_MS);

/// Answers `GET /metrics` with this text, and every other path with 404, until it is dropped.
pub async fn scraped(listener: &TcpListener, text: impl Fn() -> String + Send + Sync + 'static) {
    let (slots, text) = (Arc::new(Semaphore::new(STARTING_CONNECTIONS_MAX)), Arc::new(text));
    loop {
        let Some((stream, slot)) = accept(listener, &slots).await else { continue };
        let text = Arc::clone(&text);
        tokio::spawn(async move {
            let service = service_fn(move |request: Request<Incoming>| {
                let mut response = Response::new(String::new());
                if request.uri().path() == "/metrics" {
                    *response.body_mut() = text();
                    response.headers_mut().insert(CONTENT_TYPE, PROMETHEUS);
                } else {
                    *response.status_mut() = StatusCode::NOT_FOUND;
                }
                async { Ok::<_, Infallible>(response) }
            });
            let serving = async {
                begun(&stream).await?;
                http1::Builder::new().keep_alive(false).serve_connection(TokioIo::new(stream), service).await?;
                Ok::<_, BoxError>(())
            };
            // A caller that breaks off or takes too long loses nothing here.
            let _ = timeout(LIMIT, serving).await;
            drop(slot);
        });
    }
}
