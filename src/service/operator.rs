//! What the command line asks of a running process, because it cannot open the log itself:
//! committed events, digests of states, and setting clocks back. The edge decides who may call this.

use super::Service;
use crate::access::{Act, Principal};
use crate::domain::{Digest, Name};
use crate::replica::state::Frozen;
use crate::replica::{ClockRequest, PartitionHandle, PartitionState};
use crate::time::Shown;
use crate::trace::CallTrace;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

pub use crate::log::{LogError, StoredEvent};
pub use crate::replica::{ClockSetOutcome, Position};

/// How long owners may take to set their clocks. Each changes every hold and every remembered entry of its partition.
const SET_CLOCK_LIMIT: Duration = Duration::from_secs(30);

/// Some committed events of a partition.
#[derive(Clone, Debug)]
pub struct EventsPage {
    /// The sequence number after the last committed event of the partition.
    pub end: u64,
    /// Events in order, from the first one asked for; none at the end of the log.
    pub events: Vec<StoredEvent>,
}

/// The state of a partition in figures.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StateSummary {
    /// What this process does about the partition, as metrics name it.
    pub status: &'static str,
    /// The sequence number of the next event.
    pub next_seq: u64,
    /// The digest of the last event.
    pub chain: Digest,
    /// The digest of the state, over everything that counts.
    pub digest: Digest,
    /// How many pools it has.
    pub pools: usize,
    /// How many reservations take capacity.
    pub live: usize,
}

/// The state of a partition at one moment.
pub struct FrozenState {
    status: &'static str,
    state: Frozen,
}

impl FrozenState {
    /// It in figures. It takes as long as the state is large; nobody waits for it.
    pub fn summary(&self) -> StateSummary {
        let FrozenState { status, state } = self;
        let (position, pools) = (state.position(), state.pools().count());
        let (next_seq, chain) = (position.next_seq, position.chain);
        StateSummary { status, next_seq, chain, digest: state.digest(), pools, live: state.live_count() }
    }
}

/// What this process knows of a partition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PartitionSummary {
    /// The number of the partition.
    pub partition: u32,
    /// What this process does about it, as metrics name it.
    pub status: &'static str,
    /// Why nothing of it is decided, if that is so.
    pub outage: Option<String>,
    /// How far its state is.
    pub position: Position,
    /// For how many microseconds its state may have been behind the log.
    pub staleness_us: u64,
    /// How many pools it has.
    pub pools: usize,
    /// How many reservations take capacity.
    pub live: usize,
}

/// The result of setting the clock of one partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ClockAnswer {
    /// The owner answered.
    Answered(ClockSetOutcome),
    /// This process does not own the partition, or does not decide it now.
    NotOwned,
    /// The owner did not answer in time.
    Late,
}

impl ClockAnswer {
    /// The stable name of the answer.
    pub fn code(self) -> &'static str {
        match self {
            ClockAnswer::Answered(ClockSetOutcome::Done { .. }) => "set",
            ClockAnswer::Answered(ClockSetOutcome::NotAhead) => "not_ahead",
            ClockAnswer::Answered(ClockSetOutcome::Busy) => "busy",
            ClockAnswer::Answered(ClockSetOutcome::NotCommitted) => "not_committed",
            ClockAnswer::Answered(ClockSetOutcome::NotKnown) => "unknown",
            ClockAnswer::NotOwned => "not_owned",
            ClockAnswer::Late => "no_answer",
        }
    }
}

impl Service {
    /// How many partitions the log has.
    pub fn partition_count(&self) -> u32 {
        self.tail.partitions()
    }

    /// The id of the log.
    pub fn log_id(&self) -> u128 {
        self.log_id
    }

    /// The sequence number of the first event that the log still has, of each partition in order. It blocks.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn log_firsts(&self) -> Result<Vec<u64>, LogError> {
        (0..self.partition_count()).map(|partition| self.tail.first(partition)).collect()
    }

    /// The sequence number after the last committed event, of each partition in order. It blocks.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn log_ends(&self) -> Result<Vec<u64>, LogError> {
        (0..self.partition_count()).map(|partition| self.tail.end(partition)).collect()
    }

    /// Committed events from this sequence number on, of about `bytes_max` bytes together. It blocks.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn committed_events(&self, partition: u32, from: u64, bytes_max: usize) -> Result<EventsPage, LogError> {
        let end = self.tail.end(partition)?;
        let events = if from < end { self.tail.read(partition, from, bytes_max)? } else { Vec::new() };
        Ok(EventsPage { end, events })
    }

    /// The state of a partition as it is now; `None` when there is no such partition. Its owner waits while it is copied.
    pub fn frozen(&self, partition: u32) -> Option<FrozenState> {
        let handle = self.replica().partition(partition)?;
        Some(FrozenState { status: handle.status_kind().label(), state: handle.read(PartitionState::freeze) })
    }

    /// What this process knows of each partition, in order. It waits for owners to end what they fold.
    pub fn partition_summaries(&self) -> Vec<PartitionSummary> {
        let (mut outages, now) = (self.gateway.outages(), self.now());
        let handles = self.replica().partitions();
        let summary = |handle: &Arc<PartitionHandle>| {
            let (position, pools, live) =
                handle.read(|state| (*state.position(), state.pools().count(), state.live_count()));
            let outage = outages.remove(&handle.id()).map(|outage| outage.why);
            let (partition, status) = (handle.id(), handle.status_kind().label());
            PartitionSummary {
                partition,
                status,
                outage,
                position,
                staleness_us: handle.staleness_us(now),
                pools,
                live,
            }
        };
        handles.map(summary).collect()
    }

    /// Sets back the clock of every partition that this process owns and that is ahead. Answers in order of partitions.
    pub async fn set_clocks(&self, because: &str, principal: &Arc<Principal>, trace: &CallTrace) -> Vec<ClockAnswer> {
        let asked = Arc::new(Asked::by(principal, trace));
        let handles = self.replica().partitions();
        let waiting: Vec<_> = handles.map(|handle| (handle.id(), ask_to_set_clock(handle, because, &asked))).collect();
        let now = Instant::now();
        let until = now.checked_add(SET_CLOCK_LIMIT).unwrap_or(now);
        let mut answers = Vec::with_capacity(waiting.len());
        for (partition, answer) in waiting {
            let answer = answered(answer, until).await;
            // What an owner has answered is logged already, also when the caller has left.
            if !matches!(answer, ClockAnswer::Answered(_)) {
                clock_set(&asked, because, partition, answer);
            }
            answers.push(answer);
        }
        answers
    }
}

/// What an owner answers by then. All owners set their clocks at the same time, and so they are waited for together: one that has
/// answered is heard also behind others that do not.
async fn answered(answer: oneshot::Receiver<ClockSetOutcome>, until: Instant) -> ClockAnswer {
    match timeout_at(until, answer).await {
        Ok(Ok(setting)) => ClockAnswer::Answered(setting),
        Ok(Err(_)) => ClockAnswer::NotOwned,
        Err(_) => ClockAnswer::Late,
    }
}

/// Who has asked, and in which trace.
struct Asked {
    principal: Arc<Principal>,
    trace_id: String,
}

impl Asked {
    fn by(principal: &Arc<Principal>, trace: &CallTrace) -> Asked {
        Asked { principal: Arc::clone(principal), trace_id: trace.to_string() }
    }
}

/// An operator has asked for the partition's clock to be set back, and this came of it.
fn clock_set(asked: &Asked, because: &str, partition: u32, answer: ClockAnswer) {
    let (outcome, changed, seq) = match answer {
        ClockAnswer::Answered(ClockSetOutcome::Done { seq, from, to }) => {
            ("ok", Some(format!("time: {} -> {}", Shown(from), Shown(to))), Some(seq))
        }
        other => (other.code(), None, None),
    };
    let act = Act {
        principal: asked.principal.name.as_ref().map(Name::as_str),
        operation: "set_clock",
        about: Some(because),
        outcome,
        changed: changed.as_deref(),
        partition: Some(partition),
        seq,
        trace_id: Some(&asked.trace_id),
    };
    act.log();
}

fn ask_to_set_clock(handle: &PartitionHandle, because: &str, asked: &Arc<Asked>) -> oneshot::Receiver<ClockSetOutcome> {
    let (told, answer) = oneshot::channel();
    let (partition, asked, reason) = (handle.id(), Arc::clone(asked), because.to_owned());
    // The event of a clock has no field for who asked for it.
    let recorded = match &asked.principal.name {
        Some(name) => format!("{because} (asked for by {name})"),
        None => because.to_owned(),
    };
    handle.ask_to_set_clock(ClockRequest {
        because: recorded,
        told: Box::new(move |setting| {
            clock_set(&asked, &reason, partition, ClockAnswer::Answered(setting));
            // The caller may have given up.
            let _ = told.send(setting);
        }),
    });
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The story: owners that do not answer were waited for one after the other, for longer than the command waits for the server:
    /// the operator was not told of the others, either.
    #[tokio::test]
    async fn owners_that_do_not_answer_are_waited_for_together() {
        let until = Instant::now();
        let (_silent, answer) = oneshot::channel();
        assert_eq!(answered(answer, until).await, ClockAnswer::Late);
        let (told, answer) = oneshot::channel();
        told.send(ClockSetOutcome::NotAhead).unwrap();
        assert_eq!(answered(answer, until).await, ClockAnswer::Answered(ClockSetOutcome::NotAhead));
        let (gone, answer) = oneshot::channel();
        drop(gone);
        assert_eq!(answered(answer, until).await, ClockAnswer::NotOwned);
    }
}
