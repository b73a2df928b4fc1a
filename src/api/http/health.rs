//! For whoever runs the process: is it alive, does it serve, what has it counted, what does it offer.

use super::Api;
use super::dto::Time;
use super::json::quoted;
use super::problem::Edge;
use super::reply::{Answer, JSON, Problem, Reply};
use super::request::HttpRequest;
use super::schema;
use crate::gateway::Startup;
use crate::gateway::readiness::Outage;
use crate::log::Opening;
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
    /// For a person.
    why: String,
    /// Since when, as far as this process knows.
    #[schema(value_type = schema::Instant)]
    since: Time,
}

/// `GET /livez`: the process answers, and there is something for it to do. It says nothing of single partitions, which a
/// restart would not help; but one in which all have stopped for good will not serve again by itself.
pub async fn livez(api: Arc<Api>, _: HttpRequest) -> Answer {
    let has_stopped = api.gateway().replica().has_stopped();
    let outages = if has_stopped { api.gateway().outages() } else { BTreeMap::new() };
    Ok(health(if has_stopped { UNAVAILABLE } else { "ok" }, false, outages))
}

/// `GET /readyz`: send calls here. A partition that does not decide keeps no other from serving.
pub async fn readyz(api: Arc<Api>, _: HttpRequest) -> Answer {
    let gateway = api.gateway();
    let (closing, outages) = (gateway.is_leaving(), gateway.outages());
    let is_served = !closing && !is_restoring(&api) && gateway.decides(&outages);
    let status = match (is_served, outages.is_empty()) {
        (false, _) => UNAVAILABLE,
        (true, true) => "ok",
        (true, false) => "degraded",
    };
    Ok(health(status, closing, outages))
}

/// `GET /startupz`: every partition's state has been rebuilt once, but for those that cannot be read now.
pub async fn startupz(api: Arc<Api>, _: HttpRequest) -> Answer {
    let gateway = api.gateway();
    if !is_restoring(&api) {
        return Ok(health("ok", gateway.is_leaving(), gateway.outages()));
    }
    let startup = gateway.startup().map(|Startup { phase, partitions }| {
        let rebuilt = |(partition, (events, of))| (partition, RebuiltDto { events, of });
        let partitions = partitions.into_iter().map(rebuilt).collect();
        StartupDto { phase, read_bytes: None, of_bytes: None, partitions }
    });
    let health = health_of(UNAVAILABLE, gateway.is_leaving(), gateway.outages());
    Ok(answer(HealthDto { startup, ..health }))
}

/// `GET /livez` before the log is open.
pub fn alive() -> Reply {
    health("ok", false, BTreeMap::new())
}

/// `GET /readyz` and `GET /startupz` before the log is open.
pub fn opening(opening: &Opening) -> Reply {
    let (read_bytes, of_bytes) = opening.told().unzip();
    let startup = Some(StartupDto { phase: "opening", read_bytes, of_bytes, partitions: BTreeMap::new() });
    answer(HealthDto { startup, ..health_of(UNAVAILABLE, false, BTreeMap::new()) })
}

const UNAVAILABLE: &str = "unavailable";

fn health(status: &'static str, closing: bool, outages: BTreeMap<u32, Outage>) -> Reply {
    answer(health_of(status, closing, outages))
}

fn answer(health: HealthDto) -> Reply {
    let code = if health.status == UNAVAILABLE { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    Reply::json(code, &health)
}

fn health_of(status: &'static str, closing: bool, outages: BTreeMap<u32, Outage>) -> HealthDto {
    let dto = |Outage { why, since, .. }| OutageDto { why, since: Time(since) };
    let partitions = outages.into_iter().map(|(partition, outage)| (partition, dto(outage))).collect();
    HealthDto { status, closing, partitions, startup: None }
}

/// Whether a partition is on its way to being served. One that cannot be read now is not: the others need not wait.
fn is_restoring(api: &Api) -> bool {
    !api.gateway().replica().partitions().all(|handle| handle.is_as_warm_as_can_be())
}

/// `GET /metrics`.
pub async fn metrics(api: Arc<Api>, _: HttpRequest) -> Answer {
    let text = tokio::task::spawn_blocking(move || api.state.metrics.render()).await;
    let text = text.map_err(|_| Problem::bug("metrics could not be rendered"))?;
    Ok(Reply::bytes(StatusCode::OK, PROMETHEUS, text.into_bytes()))
}

/// `GET /openapi.json`.
pub async fn openapi(api: Arc<Api>, _: HttpRequest) -> Answer {
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
