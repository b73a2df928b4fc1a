//! For whoever runs the process: is it alive, does it serve, what has it counted, what does it offer.

use super::Api;
use super::dto::Time;
use super::json::quoted;
use super::problem::Edge;
use super::reply::{Answer, JSON, Problem, Reply};
use super::request::HttpRequest;
use super::schema;
use crate::log::Opening;
use crate::service::health::{Health, HealthStatus, Outage, Restored, Startup};
use axum::http::{HeaderValue, StatusCode};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use utoipa::ToSchema;

const PROMETHEUS: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

/// What is asked by whoever watches the process: it is answered when nobody else is.
pub const PROBES: [&str; 4] = ["/livez", "/readyz", "/startupz", "/metrics"];

/// Whether this process serves, and if not, why.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Health)]
pub struct HealthDto {
    /// `ok`; `degraded`: some partitions do not decide as they should, the others do; `unavailable`: none decides, or the
    /// process begins or ends.
    #[schema(value_type = schema::Condition)]
    status: &'static str,
    /// Whether it is shutting down.
    closing: bool,
    /// Every partition that is not as it should be.
    #[schema(value_type = BTreeMap<String, OutageDto>)]
    partitions: BTreeMap<u32, OutageDto>,
    /// How far the start is, until it is over; `/startupz` says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = StartupDto, required = false)]
    startup: Option<StartupDto>,
}

/// How far a start is.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Startup)]
pub struct StartupDto {
    /// `opening` the log, `restoring` states from it, or `expiring` the holds that fell due meanwhile.
    #[schema(value_type = schema::Phase)]
    phase: &'static str,
    /// While the log is opened: bytes of its file that were read. One that was not closed in order is read as a whole, parts
    /// of it more than once.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = schema::Count, required = false)]
    read_bytes: Option<u64>,
    /// The bytes that it has.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = schema::Count, required = false)]
    of_bytes: Option<u64>,
    /// Every partition that is not served yet.
    #[schema(value_type = BTreeMap<String, RebuiltDto>)]
    partitions: BTreeMap<u32, RebuiltDto>,
}

/// How much of a partition is rebuilt.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
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

/// Why a partition is not as it should be.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Outage)]
pub struct OutageDto {
    /// The cause, for people.
    why: String,
    /// When it began, as far as this process knows.
    #[schema(value_type = schema::Instant)]
    since: Time,
}

/// `GET /livez`: the process answers, and there is something for it to do. It says nothing of single partitions, which a
/// restart would not help; but one in which all have stopped for good will not serve again by itself.
pub async fn livez(api: Arc<Api>) -> Answer {
    Ok(health(api.service().live()))
}

/// `GET /readyz`: send calls here. A partition that does not decide keeps no other from serving.
pub async fn readyz(api: Arc<Api>) -> Answer {
    Ok(health(api.service().ready()))
}

/// `GET /startupz`: every partition's state has been rebuilt once, but for those that cannot be read now.
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
    let text = tokio::task::spawn_blocking(move || api.state.metrics.render()).await;
    let text = text.map_err(|_| Problem::bug("metrics could not be rendered"))?;
    Ok(Reply::bytes(StatusCode::OK, PROMETHEUS, text.into_bytes()))
}

/// `GET /openapi.json`.
pub async fn openapi(api: Arc<Api>) -> Answer {
    Ok(Reply::bytes(StatusCode::OK, JSON, api.openapi.clone()))
}

/// Any path that there is not.
pub async fn not_found(_: Arc<Api>, asked: HttpRequest) -> Answer {
    Err(nothing_at(&asked))
}

/// The refusal of a path that there is not.
pub(super) fn nothing_at(asked: &HttpRequest) -> Problem {
    let detail = format!("there is nothing at {}: see /openapi.json for the paths there are", quoted(asked.path()));
    Problem::edge(Edge::NotFound, detail)
}
