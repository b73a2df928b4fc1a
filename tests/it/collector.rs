//! A collector of spans in the tests' own process. It takes what a server sends over OTLP.

use crate::server::runtime;
use crate::wait::until;
use headroom::config::Traces;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::Span;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::task::JoinHandle;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

/// A span, and the process that has sent it.
#[derive(Clone, Debug)]
pub struct Received {
    pub process: BTreeMap<String, String>,
    pub span: Span,
}

impl Received {
    pub fn name(&self) -> &str {
        &self.span.name
    }

    /// Its attributes, as text.
    pub fn attributes(&self) -> BTreeMap<String, String> {
        texts(&self.span.attributes)
    }

    /// The trace and the span of each link.
    pub fn links(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        self.span.links.iter().map(|link| (link.trace_id.clone(), link.span_id.clone())).collect()
    }

    /// What a link to it says.
    pub fn id(&self) -> (Vec<u8>, Vec<u8>) {
        (self.span.trace_id.clone(), self.span.span_id.clone())
    }
}

fn texts(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |value: &Option<AnyValue>| match value.as_ref().and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::BoolValue(truth)) => truth.to_string(),
        other => format!("{other:?}"),
    };
    attributes.iter().map(|pair| (pair.key.clone(), text(&pair.value))).collect()
}

#[derive(Clone, Default)]
struct Spans(Arc<Mutex<Vec<Received>>>);

#[tonic::async_trait]
impl TraceService for Spans {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        for of_process in request.into_inner().resource_spans {
            let process = of_process.resource.map(|resource| texts(&resource.attributes)).unwrap_or_default();
            let spans = of_process.scope_spans.into_iter().flat_map(|of_scope| of_scope.spans);
            self.0.lock().extend(spans.map(|span| Received { process: process.clone(), span }));
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

/// A running collector.
pub struct Collector {
    address: SocketAddr,
    spans: Spans,
    serving: JoinHandle<()>,
}

impl Collector {
    pub fn start() -> Collector {
        let spans = Spans::default();
        let (address, serving) = runtime().block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let service = Server::builder().add_service(TraceServiceServer::new(spans.clone()));
            let serving = service.serve_with_incoming(TcpIncoming::from(listener));
            (address, tokio::spawn(async move { serving.await.unwrap() }))
        });
        Collector { address, spans, serving }
    }

    /// The settings of a server that sends here, with this share of the traces that begin there.
    pub fn traces(&self, sampled_of_million: u32) -> Option<Traces> {
        Some(Traces { endpoint: format!("http://{}", self.address), sampled_of_million })
    }

    /// All spans of this trace so far.
    pub fn trace(&self, trace_id: u128) -> Vec<Received> {
        let of_trace = |received: &&Received| received.span.trace_id == trace_id.to_be_bytes();
        self.spans.0.lock().iter().filter(of_trace).cloned().collect()
    }

    /// Everything that was received so far.
    pub fn all(&self) -> Vec<Received> {
        self.spans.0.lock().clone()
    }

    /// The trace, once it has so many spans.
    #[track_caller]
    pub fn whole_trace(&self, trace_id: u128, spans: usize) -> Vec<Received> {
        until("the spans of the trace are here", || self.trace(trace_id).len() >= spans);
        self.trace(trace_id)
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.serving.abort();
    }
}
