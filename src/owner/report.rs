//! What an owner did, as plain data: telemetry turns it into metrics.

use crate::domain::{Breach, Event, EventBody, EventKind, Reason, RetireCause, Retirement};
use crate::log::dead_letters::Undecidable;
use crate::log::{CommitOutcome, LogError};
use crate::replica::Compared;
use std::collections::BTreeMap;

/// What one turn did, for metrics and log lines.
#[derive(Clone, Debug)]
pub struct TurnReport {
    /// What became of the turn's commit.
    pub outcome: CommitOutcome,
    /// The number of its events, by kind and, for refusals, by reason.
    pub events: BTreeMap<(EventKind, Option<Reason>), u64>,
    /// The commands that nobody could decide; none where all were decided.
    pub dead: Option<DeadCommands>,
    /// The pools that retired because their windows had ended long ago; none where there was no such pool.
    pub retired: Option<RetiredPools>,
    /// By how many it changes the number of live reservations.
    pub live_change: i64,
    /// Bytes that the partition's memory counts after it.
    pub memory_bytes: u64,
    /// The commands that it decided; set by the shell.
    pub commands: usize,
    /// From the end of the poll to the end of the commit, in microseconds; set by the shell.
    pub turn_us: u64,
    /// The commit alone, in microseconds; set by the shell.
    pub commit_us: u64,
    /// From the end of the commit until the outcomes were handed to whoever waits for them, in microseconds; set by the
    /// shell.
    pub reply_us: u64,
}

/// Commands of one turn that nobody could decide.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeadCommands {
    /// The first of them.
    pub first: Undecidable,
    /// Their number, at least 1.
    pub count: usize,
}

/// Pools that retired in one turn because their windows had ended long ago.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RetiredPools {
    /// Their number, at least 1.
    pub pools: u64,
    /// The number of live reservations that ended with them.
    pub live: u64,
}

impl TurnReport {
    pub(super) fn new(outcome: CommitOutcome) -> TurnReport {
        let events = BTreeMap::new();
        TurnReport {
            outcome,
            events,
            dead: None,
            retired: None,
            live_change: 0,
            memory_bytes: 0,
            commands: 0,
            turn_us: 0,
            commit_us: 0,
            reply_us: 0,
        }
    }

    pub(super) fn count(&mut self, event: &Event) {
        let reason = event.body.rejection().map(|rejection| rejection.reason);
        let count = self.events.entry((event.body.kind(), reason)).or_default();
        *count = count.saturating_add(1);
        if let EventBody::PoolRetired(Retirement { live, cause: RetireCause::Window, .. }) = &event.body {
            let retired = self.retired.get_or_insert_default();
            retired.pools = retired.pools.saturating_add(1);
            retired.live = retired.live.saturating_add(*live);
        }
        let ended = |live: u64| i64::try_from(live).map_or(i64::MIN, |live| live.saturating_neg());
        self.live_change = self.live_change.saturating_add(match &event.body {
            EventBody::Accepted(_) => 1,
            EventBody::Released(..) | EventBody::Expired(_) => -1,
            EventBody::PoolRetired(Retirement { live, .. }) => ended(*live),
            _ => 0,
        });
    }
}

/// How a partition's state was rebuilt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Recovered {
    /// Events that the state is made of.
    pub events: u64,
    /// Those of them that were read from the log; the others are in a checkpoint, or had been followed.
    pub read: u64,
    /// How long it took, in microseconds.
    pub took_us: u64,
    /// Whether it began with a checkpoint.
    pub from_checkpoint: bool,
}

/// Why an owner ended, or why there was none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OwnerEnd {
    /// The process ends, or the group gave the partition to another one.
    Stopped,
    /// Another owner has taken the partition.
    Fenced,
    /// It was not known whether a turn was committed, or the commands could not be read.
    Unknown,
    /// This machine's clock is far from the broker's.
    Clock,
    /// A law is broken.
    Breach,
    /// The partition could not be claimed.
    NotClaimed,
}

impl OwnerEnd {
    /// Every variant, once.
    pub const ALL: [OwnerEnd; 6] = [
        OwnerEnd::Stopped,
        OwnerEnd::Fenced,
        OwnerEnd::Unknown,
        OwnerEnd::Clock,
        OwnerEnd::Breach,
        OwnerEnd::NotClaimed,
    ];

    /// The name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            OwnerEnd::Stopped => "stopped",
            OwnerEnd::Fenced => "fenced",
            OwnerEnd::Unknown => "unknown",
            OwnerEnd::Clock => "clock",
            OwnerEnd::Breach => "breach",
            OwnerEnd::NotClaimed => "not_claimed",
        }
    }
}

/// Receives what owners and followers do. It is called on the partition's thread, so it must not wait.
pub trait Report: Send + Sync {
    /// An owner begins to decide. Nobody has decided for so many microseconds before; none where that is not known.
    fn began(&self, partition: u32, gap_us: Option<u64>);
    /// An owner has ended, or could not begin.
    fn ended(&self, partition: u32, end: OwnerEnd);
    /// A turn was concluded.
    fn turn(&self, partition: u32, report: &TurnReport);
    /// A checkpoint was written (`Ok`: how many rows) or could not be.
    fn checkpoint(&self, partition: u32, result: Result<usize, &str>);
    /// The partition's checkpoint did not match the log and was deleted.
    fn store_wiped(&self, partition: u32, why: &str);
    /// The partition's checkpoint is not used in this start, for this reason, and was not deleted.
    fn checkpoint_unused(&self, partition: u32, why: &str);
    /// The partition is rebuilt from the snapshot of this name, or one is passed over for this reason.
    fn snapshot(&self, partition: u32, result: Result<&str, &str>);
    /// The partition was rebuilt.
    fn recovered(&self, partition: u32, recovered: &Recovered);
    /// The partition cannot be followed for this reason, or can be followed again (`None`). It is tried again and
    /// again.
    fn unread(&self, partition: u32, why: Option<&LogError>);
    /// A fresh state has taken the place of the partition's living one, in its owner or in a follower.
    fn swapped(&self, partition: u32, compared: &Compared);
    /// A law was found broken.
    fn breach(&self, breach: &Breach);
    /// The partition stopped until the process is started again.
    fn failed(&self, partition: u32, why: &str);
}
