//! Reading a running server's committed log over HTTP: `GET /internal/log` says how long it is, and
//! `GET /internal/log/{partition}?from=SEQ` hands its records out, each behind its length in four big-endian bytes;
//! `GET /internal/state/{partition}` says what the server makes of them.

use super::{Answer, Connection, Outgoing, bare, json, path};
use crate::log::StoredEvent;
use hyper::Method;
use serde::Deserialize;
use std::time::Duration;
use tokio::time::Instant;

/// Time one answer may take: computing the digest of a large state takes some.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// Time the log has to stay as long as it is to count as settled.
const SETTLED_FOR: Duration = Duration::from_millis(300);
/// Time to wait for that; a log that never rests is read as far as it was then.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Deserialize)]
struct Ends {
    partitions: u32,
    ends: Vec<u64>,
}

/// What else the server may say.
#[derive(Deserialize)]
struct Refusal {
    detail: String,
}

/// For each partition the sequence number after its last committed event.
///
/// # Errors
/// Why it cannot be known.
pub async fn ends(server: &mut Connection) -> Result<Vec<u64>, String> {
    let answer = get(server, "/internal/log").await?;
    let Ends { partitions, ends } = serde_json::from_slice(&answer.body).map_err(|e| format!("/internal/log: {e}"))?;
    if usize::try_from(partitions) == Ok(ends.len()) {
        return Ok(ends);
    }
    Err(format!("/internal/log: {partitions} partitions with {} ends", ends.len()))
}

/// The ends once they rest: whoever was told "no" may still have its Abandon on the way.
///
/// # Errors
/// Why they cannot be known.
pub async fn settled_ends(server: &mut Connection) -> Result<Vec<u64>, String> {
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

/// A partition's state as the server holds it.
#[derive(Deserialize)]
pub struct LiveState {
    /// The sequence number after the last event in it.
    pub next_seq: u64,
    /// The last event's digest, as text.
    pub chain: String,
    /// The digest of all that counts in it, as text.
    pub digest: String,
}

/// The state the server holds of a partition. Its owner waits while it is digested.
///
/// # Errors
/// Why it cannot be known.
pub async fn state(server: &mut Connection, partition: u32) -> Result<LiveState, String> {
    let text = format!("/internal/state/{partition}");
    let answer = get(server, &text).await?;
    serde_json::from_slice(&answer.body).map_err(|e| format!("{text}: {e}"))
}

/// What came of setting one partition's clock back.
#[derive(Deserialize)]
pub struct ClockSet {
    /// The partition.
    pub partition: u32,
    /// In one word.
    pub result: String,
    /// Where it was set: the event, and the time before and after.
    pub set: Option<Set>,
}

/// A clock that was set.
#[derive(Deserialize)]
pub struct Set {
    /// The event.
    pub seq: u64,
    /// The time before, as RFC 3339.
    pub from: String,
    /// The time after.
    pub to: String,
}

#[derive(Deserialize)]
struct Clocks {
    partitions: Vec<ClockSet>,
}

/// Has the server set the clocks of its partitions back.
///
/// # Errors
/// Why it does not.
pub async fn set_clock(server: &mut Connection, because: &str) -> Result<Vec<ClockSet>, String> {
    let text = "/internal/clock";
    let body = serde_json::json!({ "because": because }).to_string();
    let answer = taken(server, text, json(Method::POST, path(text)?, body)).await?;
    let Clocks { partitions } = serde_json::from_slice(&answer.body).map_err(|e| format!("{text}: {e}"))?;
    Ok(partitions)
}

/// Hands every framed event of the partition, from the one at `seq` to the one before `end`, to `each`.
///
/// # Errors
/// Why the partition cannot be read, or what `each` found wrong.
pub async fn read(
    server: &mut Connection,
    partition: u32,
    mut seq: u64,
    end: u64,
    each: &mut impl FnMut(&[u8]) -> Result<(), String>,
) -> Result<(), String> {
    while seq < end {
        let events = page(server, partition, seq).await?;
        if events.is_empty() {
            return Err(format!("partition {partition}: nothing from seq {seq} on, {end} is its end"));
        }
        for event in events.iter().take_while(|event| event.seq < end) {
            each(&event.bytes).map_err(|e| format!("partition {partition} seq {seq}: {e}"))?;
            seq = event.seq.saturating_add(1);
        }
    }
    Ok(())
}

/// Events of the partition from this one on, as many as the server sends at a time; none at the end.
///
/// # Errors
/// Why they cannot be read.
pub async fn page(server: &mut Connection, partition: u32, from: u64) -> Result<Vec<StoredEvent>, String> {
    let text = format!("/internal/log/{partition}?from={from}");
    let answer = get(server, &text).await?;
    let records = unframed(&answer.body).ok_or_else(|| format!("{text}: half an event"))?;
    Ok((from..).zip(records).map(|(seq, bytes)| StoredEvent { seq, bytes: bytes.to_vec() }).collect())
}

/// Records, each after its length; `None` when the last one is cut off.
fn unframed(mut page: &[u8]) -> Option<Vec<&[u8]>> {
    let mut records = Vec::new();
    while !page.is_empty() {
        let (length, rest) = page.split_first_chunk()?;
        let (record, rest) = rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
        records.push(record);
        page = rest;
    }
    Some(records)
}

async fn get(server: &mut Connection, text: &str) -> Result<Answer, String> {
    taken(server, text, bare(Method::GET, path(text)?)).await
}

async fn taken(server: &mut Connection, text: &str, request: Outgoing) -> Result<Answer, String> {
    let answer = server.call(request, ANSWER_TIMEOUT).await;
    let answer = answer.map_err(|e| format!("{text}: {e}"))?;
    if answer.status == 200 {
        return Ok(answer);
    }
    let said = serde_json::from_slice::<Refusal>(&answer.body).map(|refusal| refusal.detail).unwrap_or_default();
    Err(format!("{text}: status {} {said}", answer.status))
}

#[cfg(test)]
mod tests {
    use super::unframed;

    #[test]
    fn records_are_cut_where_their_lengths_say() {
        assert_eq!(unframed(&[]), Some(vec![]));
        assert_eq!(unframed(&[0, 0, 0, 2, 7, 8, 0, 0, 0, 0, 0, 0, 0, 1, 9]), Some(vec![&[7, 8][..], &[], &[9]]));
        for cut in [&[0, 0, 0][..], &[0, 0, 0, 2, 7], &[0xff; 8]] {
            assert_eq!(unframed(cut), None, "{cut:?}");
        }
    }
}
