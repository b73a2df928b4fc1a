//! What a support bundle says of a running process. It holds no secret and nothing of what callers have reserved.

use super::dto::Time;
use super::reply::{Answer, Problem, Reply};
use super::request::HttpRequest;
use super::{Api, Process};
use crate::service::operator::PartitionSummary;
use axum::http::StatusCode;
use serde::Serialize;
use std::sync::Arc;

#[derive(Serialize)]
struct SupportDto {
    version: &'static str,
    /// The time of the process.
    now: Time,
    partitions: Vec<PartitionDto>,
    threads: Vec<String>,
    /// The settings in force, as a TOML file.
    settings: String,
    log_lines: Vec<String>,
}

#[derive(Serialize)]
struct PartitionDto {
    partition: u32,
    status: &'static str,
    /// Why nothing of it is decided; `null` when it is decided here or elsewhere.
    outage: Option<String>,
    next_seq: u64,
    next_input: u64,
    epoch: u32,
    /// The last event's digest.
    chain: String,
    decided_at: Time,
    staleness_us: u64,
    pools: usize,
    live: usize,
}

/// `GET /internal/support`.
pub async fn support(api: Arc<Api>, request: HttpRequest) -> Answer {
    request.query(&[])?;
    let told = tokio::task::spawn_blocking(move || {
        let Process { threads, log_lines } = api.state.metrics.process();
        SupportDto {
            version: env!("CARGO_PKG_VERSION"),
            now: Time(api.service().now()),
            partitions: api.service().partition_summaries().into_iter().map(PartitionDto::from).collect(),
            threads,
            settings: api.state.settings.to_string(),
            log_lines,
        }
    });
    let told = told.await.map_err(|_| Problem::bug("the state of the process could not be told"))?;
    Ok(Reply::json(StatusCode::OK, &told))
}

impl From<PartitionSummary> for PartitionDto {
    fn from(of: PartitionSummary) -> PartitionDto {
        PartitionDto {
            partition: of.partition,
            status: of.status,
            outage: of.outage,
            next_seq: of.position.next_seq,
            next_input: of.position.next_input,
            epoch: of.position.epoch,
            chain: of.position.chain.to_string(),
            decided_at: Time(of.position.decided_at),
            staleness_us: of.staleness_us,
            pools: of.pools,
            live: of.live,
        }
    }
}
