//! The standard health service (`grpc.health.v1`): the whole process under the empty name, and the service of this edge.
//! Both serve while `/readyz` says so.

use super::SERVICE;
use super::status::told as ended;
use crate::api::http::Api;
use crate::api::http::request::HttpRequest;
use crate::api::problem::{Problem, RequestFault};
use crate::limits::READINESS_LOOK_MS;
use crate::service::health::HealthStatus;
use crate::service::watch::Places;
use crate::service::{Refusal, Shed};
use std::pin::Pin;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc};
use tonic::codegen::tokio_stream::Stream;
use tonic::{Request, Response, Status, async_trait};
use tonic_health::pb::health_check_response::ServingStatus as Told;
use tonic_health::pb::health_server::Health;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

/// Most watches of the health of a process that are open. Each looks at it every [`READINESS_LOOK_MS`].
const HEALTH_WATCHES_MAX: usize = 256;

/// Answers for one process.
pub struct Probe(pub Arc<Api>);

/// One for each watch that is open, in this process.
static WATCHES: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(HEALTH_WATCHES_MAX)));

impl Probe {
    fn status(api: &Api) -> Told {
        match api.service().ready().status {
            HealthStatus::Ok | HealthStatus::Degraded => Told::Serving,
            HealthStatus::Unavailable => Told::NotServing,
        }
    }
}

fn is_known(service: &str) -> bool {
    service.is_empty() || service == SERVICE
}

fn told(status: Told) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}

#[async_trait]
impl Health for Probe {
    async fn check(&self, request: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        if is_known(&request.get_ref().service) {
            return Ok(Response::new(told(Probe::status(&self.0))));
        }
        let detail = format!("the service is not known: name {} or none", SERVICE);
        Err(Problem::fault(RequestFault::UnknownService, detail).into())
    }

    type WatchStream = Statuses;

    /// The status now, and then whenever it changes. A service that is not known may become known, says the protocol. A process
    /// that leaves says so and ends the watch, because its own end waits for connections with open calls.
    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<Statuses>, Status> {
        let slot = Arc::clone(&WATCHES).try_acquire_owned();
        let slot = slot.map_err(|_| Status::from(Problem::from(Refusal::Shed(Shed::Watches))))?;
        let (api, is_known) = (Arc::clone(&self.0), is_known(&request.get_ref().service));
        let head = request.extensions().get::<Arc<HttpRequest>>();
        let trace_id = head.map(|head| head.trace_id()).unwrap_or_default();
        let (tell, statuses) = mpsc::channel(1);
        tokio::spawn(async move {
            let mut look = tokio::time::interval(Duration::from_millis(READINESS_LOOK_MS));
            let mut last = None;
            while !tell.is_closed() {
                look.tick().await;
                let is_leaving = api.service().is_leaving();
                let status = if is_known { Probe::status(&api) } else { Told::ServiceUnknown };
                if last != Some(status) {
                    last = Some(status);
                    if tell.send(Ok(told(status))).await.is_err() {
                        break;
                    }
                }
                if is_leaving {
                    let closing = Problem::from(Refusal::Shed(Shed::Closing));
                    // Whoever reads no more has left.
                    let _ = tell.send(Err(ended(&closing, &trace_id, Places::new()))).await;
                    break;
                }
            }
            drop(slot);
        });
        Ok(Response::new(Statuses(statuses)))
    }
}

/// The statuses that a watch tells.
pub struct Statuses(mpsc::Receiver<Result<HealthCheckResponse, Status>>);

impl Stream for Statuses {
    type Item = Result<HealthCheckResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(context)
    }
}
