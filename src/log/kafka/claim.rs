//! Taking a partition: fence, mark, read up to the mark.
//!
//! `init_transactions` returns when every transaction of earlier owners is decided and marked, and none of them can
//! write any more. A record of our own, the fence, then ends their log: whoever has read it has read all that there will
//! ever be of them. Ends of files and watermarks prove nothing of the kind, for the leader may have changed.

use super::super::{ClaimError, Fold, LogError, PartitionLog};
use super::owned::Owned;
use super::reader::Reader;
use super::record::{self, Found};
use super::settings::TRANSACTION_LIMIT;
use super::stable::Prepared;
use super::turns::{Line, Turns};
use super::{Inner, Kafka};
use crate::time::Stopwatch;
use rdkafka::message::Message;
use std::sync::Arc;
use std::time::Duration;

/// How long the first fence may take. The client asks again only every 500 ms when an earlier owner left a transaction
/// open; a new instance asks at once. So it gets another, and twice the time.
const FENCE_LIMIT: Duration = Duration::from_millis(200);
/// Longest wait for a message while the log is read up to the fence.
const READ_LIMIT: Duration = Duration::from_secs(10);
/// How long a reader may take to say where the commands lie; one that knows its way takes a millisecond.
const STAND_LIMIT: Duration = Duration::from_secs(1);

impl PartitionLog for Kafka {
    type Owned = Owned;

    fn claim(&self, partition: u32, from_seq: u64, fold: &mut Fold<'_>) -> Result<Owned, ClaimError> {
        let inner = &self.inner;
        inner.check(partition)?;
        let generation = inner.progress_of(partition).claim();
        let prepared = inner.stable.take(partition).map_or_else(|| Prepared::make(&inner.cluster, partition), Ok)?;
        let Prepared { turns, reader } = prepared;
        let turns = (0..).zip(turns).map(|(slot, turns)| inner.fence(partition, slot, turns));
        let mut turns = turns.collect::<Result<Vec<_>, _>>()?;
        turns.truncate(inner.cluster.alternating().into());
        let nonce = (inner.draw)();
        if let Some(turns) = turns.first() {
            let line = Line { headers: record::fence(nonce), pool: None, bytes: None };
            turns.write(std::iter::once(line)).map_err(|failed| failed.why)?;
        }
        let next = inner.replay(partition, from_seq, nonce, &reader, fold)?;
        let reader = inner.stand(partition, next.1, reader)?;
        inner.stable.prepare(partition);
        Ok(Owned::new(Arc::clone(inner), partition, generation, (turns, reader), next))
    }
}

impl Inner {
    fn fence(&self, partition: u32, slot: u8, mut turns: Turns) -> Result<Turns, LogError> {
        let fencing = Stopwatch::start();
        let mut limit = FENCE_LIMIT;
        loop {
            if turns.fence(limit)? {
                return Ok(turns);
            }
            if fencing.elapsed() >= TRANSACTION_LIMIT {
                let left_ms = TRANSACTION_LIMIT.as_millis();
                return Err(LogError::new(format!("partition {partition} was not fenced within {left_ms} ms")));
            }
            limit = limit.saturating_mul(2);
            turns = Turns::prepare(&self.cluster, partition, slot)?;
        }
    }

    /// Folds everything from `from_seq` up to our fence. Answers the next sequence number and input offset.
    fn replay(
        &self,
        partition: u32,
        from_seq: u64,
        nonce: u128,
        reader: &Reader,
        fold: &mut Fold<'_>,
    ) -> Result<(u64, u64), ClaimError> {
        let topic = &self.cluster.topics.events;
        // From the event before, which tells that there is none missing and what the next input is.
        let from = self.locate(partition, from_seq.saturating_sub(1))?;
        reader.assign(topic, partition, from)?;
        let (mut next_seq, mut next_input) = (0, 0);
        reader.each((topic, partition), READ_LIMIT, |message| {
            match record::found(message, &self.framing) {
                Found::Event(event, after) => {
                    let seq = event.seq;
                    self.progress_of(partition).mark(seq, message.offset());
                    next_seq = seq.saturating_add(1);
                    next_input = if seq >= from_seq { fold(event).map_err(ClaimError::Breach)? } else { after };
                }
                Found::Fence(other) if other == nonce => return Ok(false),
                Found::Fence(_) | Found::Foreign => {}
            }
            Ok::<_, ClaimError>(true)
        })?;
        if next_seq < from_seq {
            let why = format!("{topic}/{partition} ends before seq {from_seq}, at {next_seq}");
            return Err(ClaimError::Log(LogError::new(why)));
        }
        Ok((next_seq, next_input))
    }

    /// Has a reader stand at the next command: this one, or a new one if it does not know its way. A client that was made
    /// before a broker went may not have noticed.
    fn stand(&self, partition: u32, next_input: u64, reader: Reader) -> Result<Reader, LogError> {
        let topic = &self.cluster.topics.commands;
        let (reader, (first, end)) = match reader.bounds_within(topic, partition, STAND_LIMIT) {
            Ok(bounds) => (reader, bounds),
            Err(_) => {
                let reader = Reader::waiting(&self.cluster)?;
                let bounds = reader.bounds(topic, partition)?;
                (reader, bounds)
            }
        };
        let offset = i64::try_from(next_input).unwrap_or(i64::MAX);
        if offset < first || offset > end {
            let why = format!("{topic}/{partition} has the commands from {first} to {end}, the next one is {offset}");
            return Err(LogError::new(why));
        }
        self.progress_of(partition).taken(next_input);
        reader.assign(topic, partition, offset)?;
        Ok(reader)
    }
}
