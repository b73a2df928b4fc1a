//! Reading a running server's committed log over HTTP: `GET /internal/log` says how long it is, and
//! `GET /internal/log/{partition}?from=SEQ` hands its records out, each behind its length in four big-endian bytes;
//! `GET /internal/state/{partition}` says what the server makes of them.

use super::{Answer, Connection, bare, path};
use hyper::Method;
use serde::Deserialize;
use std::time::Duration;
use tokio::time::Instant;

/// Time one page may take.
const PAGE_TIMEOUT: Duration = Duration::from_secs(10);
/// Time the log has to stay as long as it is to count as settled.
const SETTLED_FOR: Duration = Duration::from_millis(300);
/// Time to wait for that; a log that never rests is read as far as it was then.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Deserialize)]
struct Ends {
    partitions: u32,
    ends: Vec<u64>,
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
    /// The digest of its pools and live reservations, as text.
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
        let page = get(server, &format!("/internal/log/{partition}?from={seq}")).await?;
        let before = seq;
        let mut rest = &*page.body;
        while seq < end && !rest.is_empty() {
            let (record, after) = split(rest).ok_or_else(|| format!("partition {partition}: a page is cut short"))?;
            each(record).map_err(|e| format!("partition {partition} seq {seq}: {e}"))?;
            (seq, rest) = (seq.saturating_add(1), after);
        }
        if seq == before {
            return Err(format!("partition {partition}: nothing from seq {seq} on, {end} is its end"));
        }
    }
    Ok(())
}

/// The first record of a page, and what follows it.
fn split(page: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = page.split_first_chunk::<4>()?;
    rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)
}

async fn get(server: &mut Connection, text: &str) -> Result<Answer, String> {
    let answer = server.call(bare(Method::GET, path(text)?), PAGE_TIMEOUT).await.map_err(|e| format!("{text}: {e}"))?;
    if answer.status == 200 { Ok(answer) } else { Err(format!("{text}: status {}", answer.status)) }
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn pages_are_taken_apart_record_by_record() {
        let page = [0, 0, 0, 2, 7, 8, 0, 0, 0, 0, 0, 0, 0, 1, 9];
        let (first, rest) = split(&page).unwrap();
        let (second, rest) = split(rest).unwrap();
        let (third, rest) = split(rest).unwrap();
        assert_eq!((first, second, third, rest), (&[7, 8][..], &[][..], &[9][..], &[][..]));
        for cut in [1, 3, 5] {
            assert_eq!(split(&page[..cut]), None, "{cut} bytes");
        }
    }
}
