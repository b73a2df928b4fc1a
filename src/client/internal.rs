//! The `/internal/...` endpoints of a running server, which answer operators only. `GET /internal/log` returns the id of the
//! log, and where every partition begins and ends. `GET /internal/log/{partition}?from=SEQ` returns a page of events; each
//! is followed by the `traceparent` of its command, and each of the two is preceded by its length in four big-endian bytes.
//! `GET /internal/state/{partition}` returns the digest of the partition's state. `GET /internal/support` says of the
//! process what a support bundle tells. `POST /internal/clock` sets the time of partitions back. `POST
//! /internal/swap/{partition}` has the partition's state replaced by one that is folded anew, and `GET` of the same path says
//! how far that is.

use super::{Answer, Calls, Method, Outgoing, bare, json, path};
use crate::domain::hex128;
use crate::log::StoredEvent;
use crate::trace::TraceContext;
use serde::Deserialize;
use serde_json::Value;
use std::ops::Range;
use std::time::Duration;
use tokio::time::Instant;

/// Longest wait for one answer. The digest of a large state takes the server a while.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// A log that has had no new event for this long counts as settled.
const SETTLED_FOR: Duration = Duration::from_millis(300);
/// Longest wait for a log to settle. After it, the ends as they are then are used.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Deserialize)]
struct Said {
    #[serde(default)]
    log: String,
    partitions: u32,
    /// Without them every partition begins with its first event, as in an earlier version.
    #[serde(default)]
    firsts: Vec<u64>,
    ends: Vec<u64>,
}

/// The part of a problem body that is shown to a person.
#[derive(Deserialize)]
struct Refusal {
    detail: String,
}

/// The sequence number after the last committed event, by partition.
///
/// # Errors
/// The server does not answer 200, or its answer contradicts itself.
pub async fn ends(server: &mut impl Calls) -> Result<Vec<u64>, String> {
    Ok(log(server).await?.reach.into_iter().map(|reach| reach.end).collect())
}

/// The log that the server has.
pub struct ServedLog {
    /// Its id, where the server tells it: 32 hexadecimal digits.
    id: String,
    /// The committed events, by partition.
    pub reach: Vec<Range<u64>>,
}

impl ServedLog {
    /// The id of the log; `None` of a server of an earlier version, which does not tell it.
    ///
    /// # Errors
    /// What the server told is no id.
    pub fn id(&self) -> Result<Option<u128>, String> {
        if self.id.is_empty() {
            return Ok(None);
        }
        hex128(&self.id).map(Some).ok_or_else(|| format!("/internal/log: {:?} is no id of a log", self.id))
    }
}

/// What the server says of its log.
///
/// # Errors
/// The server does not answer 200, or its answer contradicts itself.
pub async fn log(server: &mut impl Calls) -> Result<ServedLog, String> {
    let answer = get(server, "/internal/log").await?;
    let said = serde_json::from_slice(&answer.body).map_err(|e| format!("/internal/log: {e}"))?;
    let Said { log: id, partitions, firsts, ends } = said;
    if usize::try_from(partitions) == Ok(ends.len()) {
        let firsts = firsts.into_iter().chain(std::iter::repeat(0));
        return Ok(ServedLog { id, reach: firsts.zip(ends).map(|(first, end)| first..end).collect() });
    }
    Err(format!("/internal/log: {partitions} partitions with {} ends", ends.len()))
}

/// The ends once no partition grows any more: the Abandon of a caller who was told "no" may still be on its way.
///
/// # Errors
/// As for [`ends`].
pub async fn settled_ends(server: &mut impl Calls) -> Result<Vec<u64>, String> {
    let started = Instant::now();
    let mut known = ends(server).await?;
    loop {
        tokio::time::sleep_until(Instant::now() + SETTLED_FOR).await;
        let now = ends(server).await?;
        if now == known || started.elapsed() > SETTLE_TIMEOUT {
            return Ok(now);
        }
        known = now;
    }
}

/// A partition's state in the server's memory.
#[derive(Deserialize)]
pub struct LiveState {
    /// The sequence number after the last event in it.
    pub next_seq: u64,
    /// The chain digest of the last event, in hexadecimal.
    pub chain: String,
    /// The digest of the state (L7), in hexadecimal.
    pub digest: String,
    /// What the process does about the partition, as metrics name it; nothing of an earlier version.
    #[serde(default)]
    pub status: String,
}

/// The position and digests of a partition's state. Its owner waits while the server copies the state, and not for the digest.
///
/// # Errors
/// The server does not answer 200.
pub async fn state(server: &mut impl Calls, partition: u32) -> Result<LiveState, String> {
    let text = format!("/internal/state/{partition}");
    let answer = get(server, &text).await?;
    serde_json::from_slice(&answer.body).map_err(|e| format!("{text}: {e}"))
}

/// What the process says of itself for a support bundle, as JSON.
///
/// # Errors
/// The server does not answer 200, or not with JSON.
pub async fn support(server: &mut impl Calls) -> Result<Value, String> {
    let text = "/internal/support";
    serde_json::from_slice(&get(server, text).await?.body).map_err(|e| format!("{text}: {e}"))
}

/// The metrics of the process, in Prometheus' text format.
///
/// # Errors
/// The server does not answer 200.
pub async fn metrics(server: &mut impl Calls) -> Result<String, String> {
    Ok(String::from_utf8_lossy(&get(server, "/metrics").await?.body).into_owned())
}

/// The result of setting one partition's clock back.
#[derive(Deserialize)]
pub struct ClockSet {
    /// The partition whose clock was to be set back.
    pub partition: u32,
    /// A code: `set`, `not_ahead`, `busy`, `not_committed`, `unknown`, `not_owned` or `no_answer`.
    pub result: String,
    /// The recorded change; `None` when the clock was not set.
    pub set: Option<Set>,
}

/// A recorded change of a partition's clock.
#[derive(Deserialize)]
pub struct Set {
    /// The sequence number of the event that records it.
    pub seq: u64,
    /// The partition's time before, in RFC 3339.
    pub from: String,
    /// The partition's time after, in RFC 3339.
    pub to: String,
}

#[derive(Deserialize)]
struct Clocks {
    partitions: Vec<ClockSet>,
}

/// Asks the server to set the clocks of the partitions that it owns back to its own clock.
///
/// # Errors
/// The server does not answer 200.
pub async fn set_clock(server: &mut impl Calls, because: &str) -> Result<Vec<ClockSet>, String> {
    let text = "/internal/clock";
    let body = serde_json::json!({ "because": because }).to_string();
    let answer = taken(server, text, json(Method::POST, path(text)?, body)).await?;
    let Clocks { partitions } = serde_json::from_slice(&answer.body).map_err(|e| format!("{text}: {e}"))?;
    Ok(partitions)
}

/// How far a swap is, or what came of it.
#[derive(Deserialize, Default)]
#[serde(default)]
pub struct Swap {
    /// `none`, `under_way`, `swapped`, or a code that says why the state is still there.
    pub result: String,
    /// The name of the snapshot that the fresh state began with, if it did not begin before the first event.
    pub snapshot: Option<String>,
    /// Snapshots that were passed over before, and why.
    pub passed_over: Vec<String>,
    /// The sequence number of the first event that is read.
    pub first: u64,
    /// The sequence number after the last event that is folded.
    pub reached: u64,
    /// The sequence number after the last event of the log.
    pub end: u64,
    /// Bytes of events that were read.
    pub bytes: u64,
    /// For how many milliseconds it went on.
    pub took_ms: u64,
    /// Why the state is still there, in words.
    pub why: Option<String>,
    /// The two states, once the fresh one has taken its place.
    pub swapped: Option<SwappedStates>,
}

/// A state that was replaced, and the fresh one.
#[derive(Deserialize)]
pub struct SwappedStates {
    /// Whether the process owned the partition at that moment.
    pub is_owner: bool,
    /// Whether both were the same.
    pub is_same: bool,
    /// The sequence number after the last event in both.
    pub next_seq: u64,
    /// The one that was replaced.
    pub living: SwappedState,
    /// The one that the log leads to.
    pub fresh: SwappedState,
}

/// A state by its digests, in hexadecimal.
#[derive(Deserialize)]
pub struct SwappedState {
    /// The digest of the last event.
    pub chain: String,
    /// The digest of the state (L7).
    pub digest: String,
}

#[derive(Deserialize)]
struct Begun {
    result: String,
}

/// Asks the server to replace the partition's state by one that is folded anew. Answers `begun`, `busy` or `unable`.
///
/// # Errors
/// The server does not answer 200.
pub async fn begin_swap(server: &mut impl Calls, partition: u32) -> Result<String, String> {
    let text = format!("/internal/swap/{partition}");
    let answer = taken(server, &text, bare(Method::POST, path(&text)?)).await?;
    let Begun { result } = serde_json::from_slice(&answer.body).map_err(|e| format!("{text}: {e}"))?;
    Ok(result)
}

/// How far the last swap of the partition is, or what came of it.
///
/// # Errors
/// The server does not answer 200.
pub async fn swap(server: &mut impl Calls, partition: u32) -> Result<Swap, String> {
    let text = format!("/internal/swap/{partition}");
    serde_json::from_slice(&get(server, &text).await?.body).map_err(|e| format!("{text}: {e}"))
}

/// Passes every encoded event of the partition from `seq` to before `end` to `each`, in order.
///
/// # Errors
/// The partition cannot be read, or `each` failed.
pub async fn read(
    server: &mut impl Calls,
    partition: u32,
    mut seq: u64,
    end: u64,
    each: &mut impl FnMut(&[u8]) -> Result<(), String>,
) -> Result<(), String> {
    while seq < end {
        let events = page(server, partition, seq).await?;
        if events.is_empty() {
            return Err(format!(
                "partition {partition}: the server returns no event from seq {seq} on, and its end is {end}"
            ));
        }
        for event in events.iter().take_while(|event| event.seq < end) {
            each(&event.bytes).map_err(|e| format!("partition {partition} seq {seq}: {e}"))?;
            seq = event.seq.saturating_add(1);
        }
    }
    Ok(())
}

/// One page of the partition's events from `from` on, as many as the server puts in it; empty at the end.
///
/// # Errors
/// The server does not answer 200, or the page is not one of this version.
pub async fn page(server: &mut impl Calls, partition: u32, from: u64) -> Result<Vec<StoredEvent>, String> {
    let text = format!("/internal/log/{partition}?from={from}");
    let answer = get(server, &text).await?;
    events(&answer.body, from).ok_or_else(|| format!("{text}: the page is not one of this version of headroom"))
}

/// The events of a page, of which the first has this number; `None` when it is not whole, or written in another way.
fn events(mut page: &[u8], from: u64) -> Option<Vec<StoredEvent>> {
    let mut events = Vec::new();
    for seq in from.. {
        if page.is_empty() {
            break;
        }
        let (bytes, rest) = part(page)?;
        let (traceparent, rest) = part(rest)?;
        let trace = match std::str::from_utf8(traceparent).ok()? {
            "" => None,
            traceparent => Some(TraceContext::read(traceparent, None)?),
        };
        events.push(StoredEvent { seq, bytes: bytes.to_vec(), trace });
        page = rest;
    }
    Some(events)
}

/// The bytes after their length, and what follows them.
fn part(page: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = page.split_first_chunk()?;
    rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)
}

async fn get(server: &mut impl Calls, text: &str) -> Result<Answer, String> {
    taken(server, text, bare(Method::GET, path(text)?)).await
}

async fn taken(server: &mut impl Calls, text: &str, request: Outgoing) -> Result<Answer, String> {
    let answer = server.carry(request, ANSWER_TIMEOUT).await;
    let answer = answer.map_err(|e| format!("{text}: {e}"))?;
    if answer.status == 200 {
        return Ok(answer);
    }
    let said = serde_json::from_slice::<Refusal>(&answer.body).map(|refusal| refusal.detail).unwrap_or_default();
    Err(format!("{text}: status {} {said}", answer.status))
}

#[cfg(test)]
mod tests {
    use super::events;
    use crate::log::StoredEvent;
    use crate::trace::TraceContext;

    #[test]
    fn events_are_cut_where_their_lengths_say() {
        let trace = TraceContext { trace_id: 7, span_id: 9, is_sampled: true, state: None };
        let traceparent = trace.traceparent();
        let length = [0, 0, 0, u8::try_from(traceparent.len()).unwrap()];
        let page = [&[0, 0, 0, 2, 7, 8][..], &length, traceparent.as_bytes(), &[0, 0, 0, 0, 0, 0, 0, 0]].concat();
        let event = |seq, bytes: &[u8], trace| StoredEvent { seq, bytes: bytes.to_vec(), trace };
        assert_eq!(events(&page, 4), Some(vec![event(4, &[7, 8], Some(trace)), event(5, &[], None)]));
        assert_eq!(events(&[], 4), Some(vec![]));
        for cut in [&[0, 0, 0][..], &[0, 0, 0, 2, 7], &[0xff; 8], &page[..page.len() - 1]] {
            assert_eq!(events(cut, 4), None, "{cut:?}");
        }
        // Events alone, as an earlier version sends them.
        assert_eq!(events(&[0, 0, 0, 1, 7, 0, 0, 0, 1, 8], 4), None);
    }
}
