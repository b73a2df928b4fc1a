//! Whether a log still holds all that was seen of it (L10). Lost events are named, and an operator has to look into
//! them: an owner that went on would give away again what was promised to others.

use super::begin::{digest_of, unread};
use crate::domain::{Breach, ChainedEvent, EventBody, Law, Micros};
use crate::limits::TURN_BYTES_MAX;
use crate::log::{CommittedTail, LogError};
use crate::store::{Seen, Store};
use crate::time::text;
use crate::wire;
use std::fmt;
use std::ops::Range;

/// Something of a partition that was seen as committed and is not in its log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Loss {
    /// The number of the partition.
    pub partition: u32,
    /// How the log differs from what was seen.
    pub what: What,
}

/// What can be wrong with a log that has lost something.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum What {
    /// It ends before the last event that was seen.
    Short {
        /// The first event that is gone.
        from: u64,
        /// The event after the last one seen.
        until: u64,
        /// When the last event that is left was decided, if one is left.
        since: Option<Micros>,
        /// When the last event that was seen was decided.
        last: Micros,
    },
    /// It holds another event under the sequence number of the last one seen.
    Other {
        /// The sequence number of the event.
        at: u64,
        /// When the event that was seen was decided.
        last: Micros,
    },
    /// The events that were seen belong to another log.
    OtherLog {
        /// The id of the log that was seen.
        seen: u128,
        /// The id of the log that is there.
        found: u128,
    },
    /// The note of what was seen is damaged.
    Unreadable(String),
}

impl Loss {
    /// The loss of a whole log.
    pub fn of_all(partition: u32, seen: &Seen) -> Loss {
        let what = What::Short { from: 0, until: seen.next_seq, since: None, last: seen.decided_at };
        Loss { partition, what }
    }

    /// Whether it is another log that was seen.
    pub fn is_of_another_log(&self) -> bool {
        matches!(self.what, What::OtherLog { .. })
    }

    /// Whether nobody can tell what is gone, if anything is.
    pub fn is_unknown(&self) -> bool {
        matches!(self.what, What::Unreadable(_))
    }

    /// The sequence numbers of the events that are gone; empty where that is not known.
    pub fn events(&self) -> Range<u64> {
        match self.what {
            What::Short { from, until, .. } => from..until,
            What::Other { at, .. } => at..at.saturating_add(1),
            What::OtherLog { .. } | What::Unreadable(_) => 0..0,
        }
    }

    /// When the last of them was decided, as far as that is known.
    pub fn last(&self) -> Micros {
        match self.what {
            What::Short { last, .. } | What::Other { last, .. } => last,
            What::OtherLog { .. } | What::Unreadable(_) => Micros(0),
        }
    }

    /// The law that it breaks.
    pub fn breach(&self) -> Breach {
        Breach {
            law: Law::LogIsTruth,
            partition: self.partition,
            seq: self.events().start,
            detail: self.what.to_string(),
        }
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "partition {}: {}", self.partition, self.what)
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            What::Short { from, until, since, last } => {
                let (to, count) = (until.saturating_sub(1), until.saturating_sub(*from));
                write!(f, "events {from} to {to} were seen as committed and are gone, {count} in all, ")?;
                if let Some(since) = since {
                    write!(f, "decided since {} and ", text(*since))?;
                }
                write!(f, "up to {}", text(*last))
            }
            What::Other { at, last } => {
                write!(f, "event {at} is not the one that was seen as committed and was decided at {}", text(*last))
            }
            What::OtherLog { seen, found } => {
                write!(f, "events of log {seen:032x} were seen as committed, and this is log {found:032x}")
            }
            What::Unreadable(why) => write!(f, "the note of what was seen as committed cannot be read: {why}"),
        }
    }
}

/// What the log has lost of the partition: `store` has seen an event that is gone, and no event accepts the loss. None
/// where nothing is lost.
///
/// # Errors
/// [`LogError`] when the log cannot be read. It is withheld where the note of what was seen may be sound and cannot be read: then
/// nobody has to accept anything.
pub fn loss(
    tail: &dyn CommittedTail,
    store: &dyn Store,
    log_id: u128,
    partition: u32,
) -> Result<Option<Loss>, LogError> {
    let all = match store.seen(partition) {
        Ok(all) => all,
        Err(error) if error.is_of_no_use() => {
            return Ok(Some(Loss { partition, what: What::Unreadable(error.detail) }));
        }
        Err(error) => return Err(unread(error)),
    };
    let mut worst: Option<Loss> = None;
    for seen in all {
        let Some(what) = missing(tail, log_id, partition, &seen)? else { continue };
        let loss = Loss { partition, what };
        if worst.as_ref().is_none_or(|worst| worst.events().end <= loss.events().end) {
            worst = Some(loss);
        }
    }
    Ok(worst)
}

fn missing(tail: &dyn CommittedTail, log_id: u128, partition: u32, seen: &Seen) -> Result<Option<What>, LogError> {
    if seen.log_id != log_id {
        return Ok(Some(What::OtherLog { seen: seen.log_id, found: log_id }));
    }
    let Some(at) = seen.next_seq.checked_sub(1) else { return Ok(None) };
    let (until, last) = (seen.next_seq, seen.decided_at);
    let mut end = tail.end(partition)?;
    if end < until {
        // While a transaction is open, readers may see less than what was committed. If readers see all that was seen,
        // no further check is needed, so an owner that was killed in its turn does not delay a restart.
        end = tail.end_told(partition)?;
    }
    let first = tail.first(partition)?;
    if end >= until && until < first {
        // What was seen has been removed since with all that came before, and nothing is left that could be compared.
        return Ok(None);
    }
    let is_there = |chain| chain == seen.chain;
    let found = if end < until { None } else { digest_of(tail, partition, at, first)?.and_then(Result::ok) };
    if found.is_some_and(is_there) || is_accepted(tail, partition, first..end, seen)? {
        return Ok(None);
    }
    Ok(Some(if end < until {
        let left = end.checked_sub(1).filter(|left| *left >= first);
        let left = left.map(|left| event(tail, partition, left)).transpose()?.flatten();
        What::Short { from: end, until, since: left.map(|left| left.event.decided_at), last }
    } else {
        What::Other { at, last }
    }))
}

/// Whether an event of the log says that a person has accepted the loss. That event is later than all that was lost, so
/// it does not accept a later loss.
fn is_accepted(tail: &dyn CommittedTail, partition: u32, events: Range<u64>, seen: &Seen) -> Result<bool, LogError> {
    let mut next = events.start;
    while next < events.end {
        for event in tail.read(partition, next, TURN_BYTES_MAX)? {
            next = event.seq.saturating_add(1);
            let Ok(ChainedEvent { event, .. }) = wire::event::decode(&event.bytes) else { continue };
            if matches!(event.body, EventBody::EventsLost { until, .. } if until >= seen.next_seq)
                && event.decided_at > seen.decided_at
            {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// An event that the log holds; none where its bytes are no event.
fn event(tail: &dyn CommittedTail, partition: u32, seq: u64) -> Result<Option<ChainedEvent>, LogError> {
    let events = tail.read(partition, seq, 1)?;
    Ok(events.first().and_then(|event| wire::event::decode(&event.bytes).ok()))
}
