//! Pages for operators: the probes, the metrics, and the description of the API.

use super::Api;
use super::dispatch;
use super::dto::Time;
use super::receive::{Format, Route};
use super::reply::{Answer, JSON, Problem, Reply};
use super::request::HttpRequest;
use super::schema;
use crate::api::problem::RequestFault;
use crate::api::value::quoted;
use crate::limits::HTTP_BODY_BYTES_MAX;
use crate::log::Opening;
use crate::service::health::{Health, HealthStatus, Outage, Restored, Startup};
use crate::threads;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderValue, Response, StatusCode};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use utoipa::ToSchema;

pub(super) const PROMETHEUS: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

/// Paths that monitoring calls. They are answered even when other callers are refused.
pub const PROBES: [&str; 5] = ["/livez", "/readyz", "/startupz", "/metrics", "/grpc.health.v1.Health/Check"];

/// Whether this process serves, and if not, why.
#[derive(Serialize, ToSchema)]
#[schema(as = Health)]
pub struct HealthDto {
    /// `ok`; `degraded`: some partitions do not decide as they should, the others do; `unavailable`: none decides, or
    /// the process is starting or shutting down.
    #[schema(value_type = schema::Condition)]
    status: &'static str,
    /// Whether it is shutting down.
    closing: bool,
    /// Every partition that has a problem.
    #[schema(value_type = BTreeMap<String, OutageDto>)]
    partitions: BTreeMap<u32, OutageDto>,
    /// The progress of the start, until it is over; `/startupz` reports it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = StartupDto, required = false)]
    startup: Option<StartupDto>,
}

/// The progress of a start.
#[derive(Serialize, ToSchema)]
#[schema(as = Startup)]
pub struct StartupDto {
    /// `opening` the log, `restoring` states from it, or `expiring` the holds that fell due meanwhile.
    #[schema(value_type = schema::Phase)]
    phase: &'static str,
    /// While the log is opened: bytes of its file that were read. After an unclean shutdown the whole file is read,
    /// parts of it more than once.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = schema::Count, required = false)]
    read_bytes: Option<u64>,
    /// The size of the file, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = schema::Count, required = false)]
    of_bytes: Option<u64>,
    /// Every partition that is not served yet.
    #[schema(value_type = BTreeMap<String, RebuiltDto>)]
    partitions: BTreeMap<u32, RebuiltDto>,
}

/// How much of a partition is rebuilt.
#[derive(Serialize, ToSchema)]
#[schema(as = Rebuilt)]
pub struct RebuiltDto {
    /// Events that its state holds.
    #[schema(value_type = schema::Count)]
    events: u64,
    /// Events that its log has, if that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = schema::Count, required = false)]
    of: Option<u64>,
}

/// The problem that a partition has.
#[derive(Serialize, ToSchema)]
#[schema(as = Outage)]
pub struct OutageDto {
    /// The cause, for people.
    why: String,
    /// When it began, as far as this process knows.
    #[schema(value_type = schema::Instant)]
    since: Time,
}

/// `GET /livez`: whether a restart could help. Single partitions are not reported, because a restart would not help
/// them. When all have stopped for good, the process will not serve again without a restart.
pub async fn livez(api: Arc<Api>) -> Answer {
    Ok(health(api.service().live()))
}

/// `GET /readyz`: whether callers should send calls here. A partition that does not decide does not stop the others
/// from serving.
pub async fn readyz(api: Arc<Api>) -> Answer {
    Ok(health(api.service().ready()))
}

/// `GET /startupz`: whether every partition's state has been rebuilt once. Those that cannot be read now do not count.
pub async fn startupz(api: Arc<Api>) -> Answer {
    Ok(health(api.service().started()))
}

/// `GET /livez` before the log is open.
pub fn alive() -> Reply {
    let status = HealthStatus::Ok;
    answer(status, HealthDto { status: code(status), closing: false, partitions: BTreeMap::new(), startup: None })
}

/// `GET /readyz` and `GET /startupz` before the log is open.
pub fn opening(opening: &Opening) -> Reply {
    let (read_bytes, of_bytes) = opening.told().unzip();
    let startup = Some(StartupDto { phase: "opening", read_bytes, of_bytes, partitions: BTreeMap::new() });
    let status = HealthStatus::Unavailable;
    answer(status, HealthDto { status: code(status), closing: false, partitions: BTreeMap::new(), startup })
}

fn health(Health { status, is_closing, outages, startup }: Health) -> Reply {
    let outage = |Outage { why, since, .. }| OutageDto { why, since: Time(since) };
    let partitions = outages.into_iter().map(|(partition, of)| (partition, outage(of))).collect();
    let startup = startup.map(|Startup { phase, partitions }| {
        let rebuilt = |(partition, Restored { events, of })| (partition, RebuiltDto { events, of });
        let partitions = partitions.into_iter().map(rebuilt).collect();
        StartupDto { phase, read_bytes: None, of_bytes: None, partitions }
    });
    answer(status, HealthDto { status: code(status), closing: is_closing, partitions, startup })
}

fn code(status: HealthStatus) -> &'static str {
    match status {
        HealthStatus::Ok => "ok",
        HealthStatus::Degraded => "degraded",
        HealthStatus::Unavailable => "unavailable",
    }
}

fn answer(status: HealthStatus, health: HealthDto) -> Reply {
    let is_served = status != HealthStatus::Unavailable;
    Reply::json(if is_served { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, &health)
}

/// `GET /metrics`.
pub async fn metrics(api: Arc<Api>) -> Answer {
    let turn = Arc::clone(&api.rendering).acquire_owned().await;
    let text = threads::blocking(turn, move || api.state.metrics.render()).await;
    let text = text.map_err(|_| Problem::bug("metrics could not be rendered"))?;
    Ok(Reply::bytes(StatusCode::OK, PROMETHEUS, text.into_bytes()))
}

/// `GET /openapi.json`.
pub async fn openapi(api: Arc<Api>) -> Answer {
    Ok(Reply::bytes(StatusCode::OK, JSON, api.openapi.clone()))
}

/// Refuses a path that does not exist.
pub(in crate::api) async fn nothing_there(api: Arc<Api>, request: Request) -> Response<Body> {
    let (operation, body_bytes_max, format) = (None, HTTP_BODY_BYTES_MAX, Format::Json);
    let route = Route { path: "(none)", operation, body_bytes_max, format };
    let refusal = |_: Arc<Api>, request: HttpRequest| async move { Answer::Err(nothing_at(&request)) };
    dispatch::run(api, route, request, refusal).await
}

/// The refusal of a path that does not exist.
pub(super) fn nothing_at(request: &HttpRequest) -> Problem {
    let detail = format!("there is nothing at {}: see /openapi.json for the paths there are", quoted(request.path()));
    Problem::fault(RequestFault::NotFound, detail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::http::{Finished, Metrics, Process, State};
    use crate::service::{Service, Shed};
    use crate::trace::Tracing;
    use crossbeam_channel::{Receiver, bounded};
    use std::pin::pin;
    use std::task::{Context, Waker};

    /// Metrics that take as long to render as the other end of the channel is there.
    struct Slow(Receiver<()>);

    impl Metrics for Slow {
        fn request_finished(&self, _: &Finished<'_>) {}

        fn shed(&self, _: Shed) {}

        fn connected(&self) {}

        fn disconnected(&self) {}

        fn render(&self) -> String {
            format!("{:?}", self.0.recv())
        }

        fn process(&self) -> Process {
            Process::default()
        }
    }

    /// The story: a scraper gave up on a process that was busy and asked again. What it had begun went on, and with each question
    /// one more rendering ran beside the decisions.
    #[tokio::test]
    async fn a_rendering_whose_caller_has_left_keeps_its_turn_until_it_ends() {
        let (end, ended) = bounded(0);
        let service = Arc::new(Service::over_no_log());
        let api = Api::new(State::new(service, Arc::new(Slow(ended)), Arc::new(Tracing::off(|| 7))));
        {
            let left = pin!(metrics(Arc::clone(&api)));
            assert!(left.poll(&mut Context::from_waker(Waker::noop())).is_pending());
        }
        assert_eq!(api.rendering.available_permits(), 0);
        drop(end);
        assert!(metrics(api).await.is_ok());
    }
}
