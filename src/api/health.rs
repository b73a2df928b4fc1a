//! For whoever runs the process: is it alive, does it serve, what has it counted, what does it offer.

use super::Api;
use super::json::quoted;
use super::problem::Edge;
use super::reply::{Answer, JSON, Problem, Reply};
use super::request::Asked;
use crate::limits::CLOCK_AHEAD_MAX_MS;
use crate::replica::Mood;
use axum::http::{HeaderValue, StatusCode};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use utoipa::ToSchema;

const PROMETHEUS: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

/// Whether this process serves, and if not, why.
#[derive(Serialize, ToSchema)]
#[schema(as = Health)]
pub struct HealthDto {
    /// `ok`; `degraded`: some partitions have stopped, the others serve; `unavailable`.
    status: &'static str,
    /// Whether it is shutting down.
    closing: bool,
    /// Every partition that does not decide, and why.
    #[schema(value_type = BTreeMap<String, String>)]
    partitions: BTreeMap<u32, String>,
}

/// `GET /livez`: the process answers, and there is something for it to do. It says nothing of single partitions, which a
/// restart would not help; but one in which all have stopped for good will not serve again by itself.
pub async fn livez(api: Arc<Api>, _: Asked) -> Answer {
    let has_stopped = api.gateway().replica().has_stopped();
    let (status, code, partitions) = if has_stopped {
        ("unavailable", StatusCode::SERVICE_UNAVAILABLE, not_deciding(&api, moods(&api)))
    } else {
        ("ok", StatusCode::OK, BTreeMap::new())
    };
    Ok(Reply::json(code, &HealthDto { status, closing: false, partitions }))
}

/// `GET /readyz`: send calls here. A partition that has halted does not keep the others from serving.
pub async fn readyz(api: Arc<Api>, _: Asked) -> Answer {
    let closing = api.gateway().is_leaving();
    let is_rebuilding = is_rebuilding(&api);
    let moods = moods(&api);
    let is_served = moods.iter().any(|mood| matches!(mood, Mood::Owning | Mood::Claiming | Mood::Following));
    let partitions = not_deciding(&api, moods);
    let status = match (closing || is_rebuilding || !is_served, partitions.is_empty()) {
        (true, _) => "unavailable",
        (false, true) => "ok",
        (false, false) => "degraded",
    };
    let code = if status == "unavailable" { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    Ok(Reply::json(code, &HealthDto { status, closing, partitions }))
}

/// `GET /startupz`: every partition's state has been rebuilt once, but for those that cannot be read now.
pub async fn startupz(api: Arc<Api>, _: Asked) -> Answer {
    let (status, code) =
        if is_rebuilding(&api) { ("unavailable", StatusCode::SERVICE_UNAVAILABLE) } else { ("ok", StatusCode::OK) };
    let partitions = not_deciding(&api, moods(&api));
    Ok(Reply::json(code, &HealthDto { status, closing: api.gateway().is_leaving(), partitions }))
}

/// Whether a partition is on its way to being served. One that cannot be read now is not: the others need not wait.
fn is_rebuilding(api: &Api) -> bool {
    !api.gateway().replica().partitions().all(|shared| shared.is_as_warm_as_can_be())
}

fn moods(api: &Api) -> Vec<Mood> {
    api.gateway().replica().partitions().map(|shared| shared.mood()).collect()
}

fn not_deciding(api: &Api, moods: Vec<Mood>) -> BTreeMap<u32, String> {
    let shared = |partition| api.gateway().replica().partition(partition);
    let trouble = |partition| shared(partition).and_then(|shared| shared.trouble());
    let unread = |partition| shared(partition).and_then(|shared| shared.unread());
    let not_followed = |partition| unread(partition).map(|why| (partition, format!("not followed: {why}")));
    let is_away = api.gateway().replica().is_out_of_reach();
    let away = |partition| is_away.then(|| (partition, "the cluster does not answer".to_owned()));
    let early = |partition| ahead(api, partition).map(|why| (partition, why));
    let why = |(partition, mood)| match mood {
        Mood::Owning => {
            let waits = trouble(partition).map(|why| (partition, format!("waits: {why}")));
            waits.or_else(|| away(partition)).or_else(|| early(partition))
        }
        Mood::Claiming | Mood::Following => {
            let not_owned = trouble(partition).map(|why| (partition, format!("not owned: {why}")));
            not_owned.or_else(|| not_followed(partition)).or_else(|| away(partition)).or_else(|| early(partition))
        }
        Mood::Rebuilding => Some(not_followed(partition).unwrap_or((partition, "rebuilding".to_owned()))),
        Mood::Halted(why) => Some((partition, format!("halted: {why}"))),
        Mood::Lost(why) => Some((partition, format!("lost: {why}"))),
        Mood::Stopped => Some((partition, "stopped".to_owned())),
    };
    let strange = api.gateway().replica().strange().into_iter();
    let strange = strange.map(|partition| (partition, "not of this log: its manifest counts fewer".to_owned()));
    (0..).zip(moods).filter_map(why).chain(strange).collect()
}

/// What is to be said of a partition whose time is too far ahead of this machine's clock. It decides all the same.
fn ahead(api: &Api, partition: u32) -> Option<String> {
    let ahead_ms = api.gateway().replica().partition(partition)?.ahead_us(api.gateway().clock()) / 1_000;
    let ahead_s = ahead_ms / 1_000;
    (ahead_ms > CLOCK_AHEAD_MAX_MS).then(|| format!("its time is {ahead_s} s ahead of this machine's clock"))
}

/// `GET /metrics`.
pub async fn metrics(api: Arc<Api>, _: Asked) -> Answer {
    let text = tokio::task::spawn_blocking(move || api.state.metrics.render()).await;
    let text = text.map_err(|_| Problem::bug("metrics could not be rendered"))?;
    Ok(Reply::bytes(StatusCode::OK, PROMETHEUS, text.into_bytes()))
}

/// `GET /openapi.json`.
pub async fn openapi(api: Arc<Api>, _: Asked) -> Answer {
    Ok(Reply::bytes(StatusCode::OK, JSON, api.openapi.clone()))
}

/// Any path that there is not.
pub async fn not_found(_: Arc<Api>, asked: Asked) -> Answer {
    Err(nothing_at(&asked))
}

/// The refusal of a path that there is not.
pub(super) fn nothing_at(asked: &Asked) -> Problem {
    let detail = format!("there is nothing at {}: see /openapi.json for the paths there are", quoted(asked.path()));
    Problem::edge(Edge::NotFound, detail)
}
