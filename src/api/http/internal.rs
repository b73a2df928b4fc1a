//! What the command line reads from a running server, because it cannot open the log itself: raw committed events, and
//! digests of states. The table of operations lets operators ask for it.

use super::Api;
use super::health::nothing_at;
use super::reply::{Answer, Problem, Reply};
use super::request::HttpRequest;
use crate::service::Code;
use crate::service::operator::{LogError, StateSummary};
use crate::threads;
use axum::http::{HeaderName, HeaderValue, StatusCode};
use serde::Serialize;
use std::fmt::Display;
use std::sync::Arc;
use tokio::task::{JoinError, spawn_blocking};

/// About how many bytes of events one call returns. Reading and sending them keeps a processor from callers for a fraction of a
/// millisecond; with 1 MiB callers saw it, and a reader of all events is not faster (`loadtest/README.md`).
const READ_BYTES_MAX: usize = 1 << 17;
const OCTETS: HeaderValue = HeaderValue::from_static("application/octet-stream");
const END: HeaderName = HeaderName::from_static("headroom-end");

#[derive(Serialize)]
struct LogDto {
    /// The id of the log.
    log: String,
    partitions: u32,
    /// For each partition, the sequence number of the first event that the log still has.
    firsts: Vec<u64>,
    /// For each partition, the sequence number after its last committed event.
    ends: Vec<u64>,
}

/// `GET /internal/log`.
pub async fn log(api: Arc<Api>, request: HttpRequest) -> Answer {
    request.query(&[])?;
    blocking(move || {
        let service = api.service();
        let (log, partitions) = (format!("{:032x}", service.log_id()), service.partition_count());
        let (firsts, ends) =
            service.log_firsts().and_then(|firsts| Ok((firsts, service.log_ends()?))).map_err(unread)?;
        Ok(Reply::json(StatusCode::OK, &LogDto { log, partitions, firsts, ends }))
    })
    .await
}

/// `GET /internal/log/{partition}`: events from `from` on; at the end of the log, nothing. Each event is followed by the
/// `traceparent` of its command, which is empty where the log does not know it. Before each of the two is its length (32
/// bits, big-endian).
pub async fn events(api: Arc<Api>, request: HttpRequest) -> Answer {
    let partition = partition(&api, &request)?;
    let from = request.query(&["from"])?.number("from")?.unwrap_or_default();
    // Whoever reads all of a log, be it a sink, must not be noticed by those who reserve.
    aside(move || {
        let page = api.service().committed_events(partition, from, READ_BYTES_MAX).map_err(unread)?;
        let mut body = Vec::new();
        for event in page.events {
            let traceparent = event.trace.map(|trace| trace.traceparent()).unwrap_or_default();
            for part in [&*event.bytes, traceparent.as_bytes()] {
                let length = u32::try_from(part.len()).map_err(|_| Problem::bug("an event is too long to send"))?;
                body.extend_from_slice(&length.to_be_bytes());
                body.extend_from_slice(part);
            }
        }
        Ok(Reply::bytes(StatusCode::OK, OCTETS, body).header(END, HeaderValue::from(page.end)))
    })
    .await
}

#[derive(Serialize)]
struct StateDto {
    /// What this process does about the partition, as metrics name it.
    status: &'static str,
    next_seq: u64,
    /// The last event's digest.
    chain: String,
    /// The digest of the state, over all that counts.
    digest: String,
    pools: usize,
    live: usize,
}

/// `GET /internal/state/{partition}`. It takes as long as the state is large.
pub async fn state(api: Arc<Api>, request: HttpRequest) -> Answer {
    let partition = partition(&api, &request)?;
    request.query(&[])?;
    // The owner waits for the copy, and nobody for the digest.
    let frozen = spawn_blocking(move || api.service().frozen(partition)).await.unwrap_or_default();
    let frozen = frozen.ok_or_else(|| Problem::bug("a partition went away, or its state could not be copied"))?;
    aside(move || {
        let StateSummary { status, next_seq, chain, digest, pools, live } = frozen.summary();
        let body = StateDto { status, next_seq, chain: chain.to_string(), digest: digest.to_string(), pools, live };
        Ok(Reply::json(StatusCode::OK, &body))
    })
    .await
}

/// The partition in the path of a request.
pub(super) fn partition(api: &Api, request: &HttpRequest) -> Result<u32, Problem> {
    let partition = request.param().parse().ok().filter(|partition| *partition < api.service().partition_count());
    partition.ok_or_else(|| nothing_at(request))
}

async fn blocking(work: impl FnOnce() -> Answer + Send + 'static) -> Answer {
    whole(spawn_blocking(work).await)
}

/// The same on a thread that stands back for those who answer callers.
async fn aside(work: impl FnOnce() -> Answer + Send + 'static) -> Answer {
    whole(threads::aside(work).map_err(|error| refused(Code::Internal, error))?.await)
}

fn whole(done: Result<Answer, JoinError>) -> Answer {
    done.unwrap_or_else(|_| Err(Problem::bug("a read of the log panicked")))
}

/// What has left the log is asked for by mistake; everything else is a fault of this server.
fn unread(error: LogError) -> Problem {
    match error.is_out_of_range() {
        true => refused(Code::PositionOutOfRange, error),
        false => refused(Code::Internal, error),
    }
}

fn refused(code: Code, error: impl Display) -> Problem {
    Problem::of(code, format!("the log cannot be read: {error}"))
}
