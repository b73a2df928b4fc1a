//! What the command line of the same machine reads from a running server, whose log it cannot open: raw committed
//! events, and digests of states. Nobody else gets an answer.

use super::Api;
use super::health::nothing_at;
use super::reply::{Answer, Problem, Reply};
use super::request::HttpRequest;
use crate::log::LogError;
use axum::http::{HeaderName, HeaderValue, StatusCode};
use serde::Serialize;
use std::sync::Arc;

/// Event bytes one call answers, about.
const READ_BYTES_MAX: usize = 1 << 20;
const OCTETS: HeaderValue = HeaderValue::from_static("application/octet-stream");
const END: HeaderName = HeaderName::from_static("headroom-end");

#[derive(Serialize)]
struct LogDto {
    partitions: u32,
    /// Of each, the sequence number after the last committed event.
    ends: Vec<u64>,
}

/// `GET /internal/log`.
pub async fn log(api: Arc<Api>, asked: HttpRequest) -> Answer {
    local_only(&asked)?;
    asked.query(&[])?;
    blocking(move || {
        let tail = &api.state.tail;
        let partitions = tail.partitions();
        let ends = (0..partitions).map(|partition| tail.end(partition)).collect::<Result<_, _>>().map_err(broken)?;
        Ok(Reply::json(StatusCode::OK, &LogDto { partitions, ends }))
    })
    .await
}

/// `GET /internal/log/{partition}`: events from `from` on, each after its length (32 bits, big-endian); at the end of
/// the log, nothing.
pub async fn events(api: Arc<Api>, asked: HttpRequest) -> Answer {
    local_only(&asked)?;
    let partition = partition(&api, &asked)?;
    let from = asked.query(&["from"])?.number("from")?.unwrap_or_default();
    blocking(move || {
        let tail = &api.state.tail;
        let end = tail.end(partition).map_err(broken)?;
        let events = if from < end { tail.read(partition, from, READ_BYTES_MAX).map_err(broken)? } else { Vec::new() };
        let mut body = Vec::new();
        for event in events {
            let length = u32::try_from(event.bytes.len()).map_err(|_| Problem::bug("an event is too long to send"))?;
            body.extend_from_slice(&length.to_be_bytes());
            body.extend_from_slice(&event.bytes);
        }
        Ok(Reply::bytes(StatusCode::OK, OCTETS, body).header(END, HeaderValue::from(end)))
    })
    .await
}

#[derive(Serialize)]
struct StateDto {
    next_seq: u64,
    /// The last event's digest.
    chain: String,
    /// The state's, over all that counts.
    digest: String,
    pools: usize,
    live: usize,
}

/// `GET /internal/state/{partition}`. It keeps the partition's owner waiting while it counts.
pub async fn state(api: Arc<Api>, asked: HttpRequest) -> Answer {
    local_only(&asked)?;
    let partition = partition(&api, &asked)?;
    asked.query(&[])?;
    blocking(move || {
        let replica = api.gateway().replica();
        let handle = replica.partition(partition).ok_or_else(|| Problem::bug("a partition went away"))?;
        let body = handle.read(|state| StateDto {
            next_seq: state.position().next_seq,
            chain: state.position().chain.to_string(),
            digest: state.digest().to_string(),
            pools: state.pools().count(),
            live: state.live().len(),
        });
        Ok(Reply::json(StatusCode::OK, &body))
    })
    .await
}

/// To anyone else the path is not there.
pub(super) fn local_only(asked: &HttpRequest) -> Result<(), Problem> {
    let is_local = asked.peer.is_some_and(|peer| peer.to_canonical().is_loopback());
    if is_local { Ok(()) } else { Err(nothing_at(asked)) }
}

fn partition(api: &Api, asked: &HttpRequest) -> Result<u32, Problem> {
    let partition = asked.param().parse().ok().filter(|partition| *partition < api.state.tail.partitions());
    partition.ok_or_else(|| nothing_at(asked))
}

async fn blocking(work: impl FnOnce() -> Answer + Send + 'static) -> Answer {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|_| Err(Problem::bug("a read of the log panicked")))
}

fn broken(error: LogError) -> Problem {
    Problem::new(super::problem::INTERNAL, format!("the log cannot be read: {error}"))
}
