//! The result of a call. A [`Decided`] is the owner's "yes": the event itself. A [`Refusal`] is everything else, with
//! all that is known about it. Its [`Code`] is stable, and the one table in [`Code::meaning`] says what a caller may
//! conclude from each code. Edges add their own status and their own advice.

use super::quota::Standing;
use crate::domain::{
    ChainedEvent, CommandId, Entry, EventBody, Micros, Pool, PoolId, Reason, Rejection, ReservationId, Reserved,
};
use crate::gateway::admission::Shed;
use crate::replica::PartitionHandle;

/// Whether a call without a "yes" may still have been applied.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Effect {
    /// It was not applied and never will be.
    NotApplied,
    /// Nobody knows yet. The caller repeats the call with the same key.
    Unknown,
}

impl Effect {
    /// Every variant, once.
    pub const ALL: [Effect; 2] = [Effect::NotApplied, Effect::Unknown];

    /// The name that callers read.
    pub fn code(self) -> &'static str {
        match self {
            Effect::NotApplied => "not_applied",
            Effect::Unknown => "unknown",
        }
    }
}

/// Why a call was refused. Callers branch on the code, so its meaning never changes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Code {
    /// The owner refused the command for this reason.
    Refused(Reason),
    /// The call was refused before anything of it was appended to the log.
    Shed,
    /// The caller calls more often than it may.
    OverQuota,
    /// A reader asked for the newest state, and it did not come in time.
    NotFresh,
    /// The state of the partition is being rebuilt.
    Restoring,
    /// The state of the partition could not be rebuilt.
    Unreadable,
    /// The deadline passed, and it is certain that nothing was left behind.
    Timeout,
    /// The deadline passed, and nobody knows yet whether the call will be applied.
    TimeoutUnknown,
    /// The reader of a watch takes nothing for too long.
    SlowReader,
    /// The log does not have the position at which a reader begins.
    PositionOutOfRange,
    /// Older versions may serve the log, and could not read what the call asks for.
    FeatureLevel,
    /// The server has a bug.
    Internal,
}

/// What a caller may conclude from a [`Code`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Meaning {
    /// The stable name of the code.
    pub name: &'static str,
    /// One sentence for people, the same for every refusal with this code.
    pub title: &'static str,
    /// Whether the call may have been applied.
    pub effect: Effect,
    /// Whether the same call, under the same key, may succeed later although nobody changes anything.
    pub is_retryable: bool,
}

/// Repeating the call does not help: the caller has to send another call, or somebody has to remove the obstacle.
const fn fault(name: &'static str, title: &'static str) -> Meaning {
    Meaning { name, title, effect: Effect::NotApplied, is_retryable: false }
}

/// Repeating the call may help, because the obstacle may disappear by itself.
const fn passing(name: &'static str, title: &'static str) -> Meaning {
    Meaning { name, title, effect: Effect::NotApplied, is_retryable: true }
}

impl Code {
    /// The code of a refusal by the owner. Both reasons for which an owner is too late are timeouts.
    pub fn of_reason(reason: Reason) -> Code {
        match reason {
            Reason::Expired | Reason::Abandoned => Code::Timeout,
            reason => Code::Refused(reason),
        }
    }

    /// Every code that a caller may read. `Duplicate` is not among them, because no caller gets an answer about a copy
    /// of its command.
    pub fn all() -> impl Iterator<Item = Code> {
        let decided = Reason::ALL.iter().filter(|reason| **reason != Reason::Duplicate);
        let others = [
            Code::Shed,
            Code::OverQuota,
            Code::NotFresh,
            Code::Restoring,
            Code::Unreadable,
            Code::Timeout,
            Code::TimeoutUnknown,
            Code::SlowReader,
            Code::PositionOutOfRange,
            Code::FeatureLevel,
            Code::Internal,
        ];
        decided.map(|reason| Code::of_reason(*reason)).filter(|code| *code != Code::Timeout).chain(others)
    }

    /// The row of this code in the table of all refusals.
    pub fn meaning(self) -> Meaning {
        let unknown = |meaning: Meaning| Meaning { effect: Effect::Unknown, ..meaning };
        match self {
            Code::Refused(reason) => of_reason(reason),
            Code::Shed => passing("shed", "The service cannot take this call now"),
            Code::OverQuota => passing("over_quota", "The caller calls more often than it may"),
            Code::NotFresh => passing("not_fresh", "The newest state did not come in time"),
            Code::Restoring => passing("restoring", "The state is still being rebuilt"),
            Code::Unreadable => fault("unreadable", "The state cannot be read"),
            Code::Timeout => passing("timeout", "No decision came in time, and the call was not applied"),
            Code::TimeoutUnknown => {
                unknown(passing("timeout", "No decision came in time, and the call may still be applied"))
            }
            Code::SlowReader => passing("slow_reader", "The reader of the watch is too slow"),
            Code::PositionOutOfRange => fault("position_out_of_range", "The log does not have this position"),
            Code::FeatureLevel => fault("feature_level", "The log's feature level does not have this yet"),
            Code::Internal => unknown(passing("internal", "The server failed")),
        }
    }
}

fn of_reason(reason: Reason) -> Meaning {
    let title = title(reason);
    match reason {
        Reason::Expired | Reason::Abandoned => Code::Timeout.meaning(),
        // A caller that read this would not know the outcome of the original command.
        Reason::Duplicate => Meaning { effect: Effect::Unknown, ..passing(reason.code(), title) },
        Reason::DeadlineTooFar | Reason::TooManyCommands | Reason::MemoryFull | Reason::TooManyAttempts => {
            passing(reason.code(), title)
        }
        reason => fault(reason.code(), title),
    }
}

fn title(reason: Reason) -> &'static str {
    match reason {
        Reason::Malformed => "The command is not valid",
        Reason::Misrouted => "The command came to the wrong partition",
        Reason::Duplicate => "The command was decided before",
        Reason::Expired | Reason::Abandoned => Code::Timeout.meaning().title,
        Reason::DeadlineTooFar => "The clocks of the gateway and of the owner are too far apart",
        Reason::TooManyCommands => "The partition received too many commands a moment ago",
        Reason::MemoryFull => "The memory of the partition is full",
        Reason::KeyReused => "The key was used with another body",
        Reason::TooManyAttempts => "Too many attempts under the key were abandoned a moment ago",
        Reason::PartitionFull => "The partition has no room for another pool",
        Reason::PoolRetired => "The pool has retired, and its id may not be defined anew yet",
        Reason::UnknownPool => "There is no such pool",
        Reason::UnknownReservation => "There is no such reservation",
        Reason::StaleVersion => "The pool has another version",
        Reason::PoolInUse => "The pool has live reservations",
        Reason::OrderHasReservation => "The order already has a reservation in the pool",
        Reason::PastCutoff => "The pool's cutoff has passed",
        Reason::Closed => "The pool is closed",
        Reason::Paused => "The pool is paused",
        Reason::UnknownDimension => "The pool has no such dimension",
        Reason::OverLimit => "The pool has too few units left",
        Reason::LimitOutOfRange => "The limit would be out of range",
        Reason::InvalidWindow => "The window would be incomplete, or its times would be out of order",
        Reason::LabelsFull => "The pool would have too many labels",
        Reason::DimensionInUse => "Reservations still use the dimension",
        Reason::RetiresTooSoon => "The pool would retire by itself too soon",
        Reason::HoldExpired => "The hold has expired",
        Reason::AlreadyReleased => "The reservation has been released",
        Reason::NotAHold => "The reservation is not a hold",
        Reason::HoldTooLong => "The hold asks for more time than the pool allows at once",
        Reason::HoldTooOld => "The hold would live longer than the pool allows",
        Reason::HoldBeyondWindow => "The hold would end after the pool's window",
    }
}

/// A partition that could not be read for a caller.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unread {
    /// The number of the partition.
    pub partition: u32,
    /// [`Code::NotFresh`], [`Code::Restoring`] or [`Code::Unreadable`].
    pub code: Code,
    /// The cause, for people.
    pub why: String,
}

impl Unread {
    pub(super) fn of(handle: &PartitionHandle, code: Code, why: String) -> Unread {
        Unread { partition: handle.id(), code, why }
    }
}

/// A call without a "yes", with all that is known about the cause.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// The owner refused the command; the event has the details, and its position in the log is the proof.
    Rejected {
        /// The reason that the event gives.
        reason: Reason,
        /// The event of the refusal.
        event: Box<ChainedEvent>,
    },
    /// The deadline passed without a decision.
    TimedOut {
        /// Whether the command may still be applied.
        effect: Effect,
        /// Whether the call had a key, under which it can be repeated safely.
        is_keyed: bool,
    },
    /// The deadline had passed before anything was done: nothing of the call is in the log, now or later.
    TooLate,
    /// Nothing was appended: the process or the partition takes no more at the moment.
    Shed(Shed),
    /// Nothing was done: the caller's bucket of such calls is empty.
    OverQuota(Standing),
    /// The partition cannot be read.
    Unread(Unread),
    /// This pool does not exist. If it has retired lately: until when its id may not be defined anew.
    UnknownPool(PoolId, Option<Micros>),
    /// The same, where the caller wants to change the pool only if it exists.
    NoPoolToReplace(PoolId, Option<Micros>),
    /// This reservation does not exist any more, or never did.
    UnknownReservation(ReservationId),
    /// This process does not know the reservation, and could not find out in time whether the log has it.
    NotKnownHere(ReservationId),
    /// This attempt was not applied, but a reservation lives under the same key: an earlier attempt has reserved, or
    /// another caller has confirmed what this one had reserved. The id is that of the reservation, and the refusal is the
    /// one of this attempt.
    EarlierAttempt(ReservationId, Box<Refusal>),
    /// The reader of a watch took no step for too long.
    SlowReader,
    /// The log does not have the position at which a watch is to begin; the text says why, for people.
    PositionOutOfRange(String),
    /// The log's feature level does not have what is asked for; the text says what that is, for people.
    FeatureLevel(&'static str),
    /// The server has a bug. The log lines of the server say more.
    Internal,
}

impl Refusal {
    /// Logs a bug and refuses the call that met it.
    pub(super) fn bug(what: &'static str) -> Refusal {
        tracing::error!(what, "an answer could not be made: this is a bug");
        Refusal::Internal
    }

    /// The stable code of this refusal.
    pub fn code(&self) -> Code {
        match self {
            Refusal::Rejected { reason, .. } => Code::of_reason(*reason),
            Refusal::TimedOut { effect: Effect::NotApplied, .. } | Refusal::TooLate => Code::Timeout,
            Refusal::TimedOut { effect: Effect::Unknown, .. } | Refusal::EarlierAttempt(..) => Code::TimeoutUnknown,
            Refusal::Shed(_) => Code::Shed,
            Refusal::OverQuota(_) => Code::OverQuota,
            Refusal::Unread(unread) => unread.code,
            Refusal::UnknownPool(..) => Code::Refused(Reason::UnknownPool),
            Refusal::NoPoolToReplace(..) => Code::Refused(Reason::StaleVersion),
            Refusal::UnknownReservation(_) => Code::Refused(Reason::UnknownReservation),
            Refusal::NotKnownHere(_) => Code::NotFresh,
            Refusal::SlowReader => Code::SlowReader,
            Refusal::PositionOutOfRange(_) => Code::PositionOutOfRange,
            Refusal::FeatureLevel(_) => Code::FeatureLevel,
            Refusal::Internal => Code::Internal,
        }
    }

    /// Why the call was shed, if it was.
    pub fn shed(&self) -> Option<Shed> {
        match self {
            Refusal::Shed(shed) => Some(*shed),
            Refusal::EarlierAttempt(_, attempt) => attempt.shed(),
            _ => None,
        }
    }

    /// Until when the id of the pool may not be defined anew, if the pool has retired lately.
    pub fn retired_until(&self) -> Option<Micros> {
        match self {
            Refusal::UnknownPool(_, until) | Refusal::NoPoolToReplace(_, until) => *until,
            _ => self.event()?.event.body.rejection()?.retired_until,
        }
    }

    /// The event of the refusal, if the owner decided it.
    pub fn event(&self) -> Option<&ChainedEvent> {
        match self {
            Refusal::Rejected { event, .. } => Some(event),
            Refusal::EarlierAttempt(_, attempt) => attempt.event(),
            _ => None,
        }
    }

    /// Whether the refusal answers this attempt alone: the key does not keep it, and it is certain that the attempt was
    /// not applied.
    pub(super) fn is_of_one_attempt(&self) -> bool {
        let is_of_key = match self {
            Refusal::Rejected { reason, event } => {
                let is_remembered = event.event.body.rejection().is_some_and(Rejection::is_remembered);
                is_remembered || *reason == Reason::KeyReused
            }
            _ => false,
        };
        !is_of_key && self.code().meaning().effect == Effect::NotApplied
    }
}

/// A decision that did what the caller asked for: the event is the answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Decided(pub Box<ChainedEvent>);

impl Decided {
    /// Whether the call changed nothing: the key had this answer before, or the request asked for what was already
    /// true.
    pub fn is_repeated(&self) -> bool {
        matches!(self.0.event.body, EventBody::Repeated(..))
    }

    /// The pool after the decision.
    ///
    /// # Errors
    /// [`Refusal::Internal`] when the decision is about something else.
    pub fn pool(&self) -> Result<&Pool, Refusal> {
        self.0.event.body.pool().ok_or_else(|| self.unexpected())
    }

    /// The version that a definition has replaced; `None` when it created the pool.
    pub fn replaced_version(&self) -> Option<u64> {
        let pool = self.0.event.body.pool()?;
        pool.version.checked_sub(1).filter(|version| *version > 0)
    }

    /// The reservation after the decision.
    ///
    /// # Errors
    /// [`Refusal::Internal`] when the decision is about something else.
    pub fn entry(&self) -> Result<&Entry, Refusal> {
        self.0.event.body.entry().ok_or_else(|| self.unexpected())
    }

    /// What a Reserve has reserved, to be taken back if the answer cannot be delivered.
    pub fn receipt(&self) -> Option<Receipt> {
        let (command, entry) = self.0.event.command().zip(self.0.event.body.entry())?;
        let deadline = command.deadline.unwrap_or(Micros::MAX);
        let reserved = Reserved { pool: entry.pool.clone(), reservation: entry.reservation, deadline };
        Some(Receipt { id: command.id, reserved })
    }

    fn unexpected(&self) -> Refusal {
        let event = &self.0.event;
        let (partition, seq, kind) = (event.partition, event.seq, event.body.kind());
        tracing::error!(partition, seq, %kind, "a decision does not fit its command: this is a bug");
        Refusal::Internal
    }
}

/// What an answer has reserved, and by which command.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Receipt {
    /// The command that reserved.
    pub id: CommandId,
    /// The reservation, as an Abandon names it.
    pub reserved: Reserved,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_keeps_its_reasons_code_unless_it_is_a_timeout() {
        for reason in Reason::ALL {
            let code = Code::of_reason(*reason);
            let meaning = code.meaning();
            assert!(code == Code::Timeout || meaning.name == reason.code(), "{reason}");
            // A refusal that a key remembers does not depend on load, so repeating the call does not help.
            assert!(!(reason.is_remembered() && meaning.is_retryable), "{reason}");
        }
    }

    #[test]
    fn only_a_timeout_and_a_bug_leave_open_what_happened() {
        for code in Code::all() {
            let is_open = matches!(code, Code::TimeoutUnknown | Code::Internal);
            assert_eq!(code.meaning().effect == Effect::Unknown, is_open, "{code:?}");
        }
    }
}
