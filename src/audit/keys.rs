//! L4: what a command's key may be answered, given what its key was answered before.

use super::judge::Judge;
use super::lives::{Life, LifeStatus};
use super::memory::{Memory, Ring};
use crate::domain::room;
use crate::domain::{CommandKey, CommandKind, CommandStamp, EventBody, Law, Micros, Reason, Rejection, Target};

/// The answer a key was given (of another command than Reserve, whose id holds its key).
pub(super) struct Answer {
    pub(super) fingerprint: u64,
    pub(super) body: EventBody,
    /// The event that gave it.
    pub(super) seq: u64,
}

/// From this version of events on owners remember what they decided for as long as they promise. Those before forgot early
/// what was too much in number.
const MEMORY_VERSION: u32 = 4;
/// So many answers were known to owners before that.
const OLDER_ANSWERS_MAX: usize = 1 << 13;

/// Every answer that is remembered.
pub(super) struct Answers {
    applied: Memory<CommandKey, Answer>,
    refused: Ring<CommandKey, Answer>,
}

impl Answers {
    /// None yet; refusals are remembered in so many bytes.
    pub(super) fn new(refused_bytes_max: u64) -> Answers {
        Answers { applied: Memory::new(), refused: Ring::new(refused_bytes_max) }
    }

    pub(super) fn at(&mut self, now: Micros) {
        self.applied.at(now);
        self.refused.at(now);
    }

    pub(super) fn forget(&mut self) {
        self.applied.forget();
        self.refused.forget();
    }

    pub(super) fn set_back(&mut self, from: Micros, by_us: u64) {
        self.applied.set_back(from, by_us);
        self.refused.set_back(by_us);
    }

    pub(super) fn recall(&self, key: &CommandKey) -> Option<&Answer> {
        self.applied.recall(key).or_else(|| self.refused.recall(key))
    }

    /// Keeps an answer until then, a refusal while there is room for it.
    pub(super) fn put(&mut self, key: CommandKey, answer: Answer, until: Micros) {
        let bytes = room::of_answer(&key, &answer.body);
        self.applied.remove(&key);
        self.refused.remove(&key);
        match answer.body {
            EventBody::Rejected(_) => self.refused.put(key, answer, until, bytes),
            _ => self.applied.put(key, answer, until, bytes),
        }
    }

    /// Whether an owner of an older version may have forgotten some of them.
    fn is_beyond_older(&self) -> bool {
        self.applied.len().saturating_add(self.refused.len()) > OLDER_ANSWERS_MAX || self.refused.has_overflowed()
    }

    /// Bytes that an owner counts in its memory.
    pub(super) fn bytes(&self) -> u64 {
        self.applied.bytes()
    }

    /// All of them by key, and until when they are remembered.
    pub(super) fn sorted(&self) -> Vec<(&CommandKey, &Answer, Micros)> {
        let mut answers: Vec<_> = self.applied.iter().chain(self.refused.iter()).collect();
        answers.sort_unstable_by_key(|(key, ..)| *key);
        answers
    }
}

/// Whether a refusal is an outcome that a key keeps; the others say something of this try alone.
pub(super) fn is_business(reason: Reason) -> bool {
    let of_this_try =
        matches!(reason, Reason::KeyReused | Reason::TooManyAttempts | Reason::MemoryFull | Reason::PartitionFull);
    !is_earlier(reason) && !of_this_try
}

/// Whether a refusal comes before any look at the key.
fn is_earlier(reason: Reason) -> bool {
    is_unkept(reason) || reason == Reason::Abandoned
}

/// Whether a refusal says nothing of the command's id: no copy is told by it.
pub(super) fn is_unkept(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::Malformed
            | Reason::Misrouted
            | Reason::Duplicate
            | Reason::Expired
            | Reason::DeadlineTooFar
            | Reason::TooManyCommands
    )
}

/// What a command with this ask and key was about, as its event tells.
pub(super) fn key_of(command: &CommandStamp, body: &EventBody) -> Option<CommandKey> {
    let target = match command.kind {
        CommandKind::DefinePool | CommandKind::AdjustLimits | CommandKind::SetMode | CommandKind::ChangePool => {
            Target::Pool(body.pool_id()?.clone())
        }
        CommandKind::Confirm | CommandKind::Extend | CommandKind::Amend | CommandKind::Release => {
            Target::Reservation(body.reservation_id()?)
        }
        CommandKind::Reserve | CommandKind::Abandon => return None,
    };
    Some(CommandKey { target, key: command.key.clone()? })
}

/// How an answer stands to the one its key was given before.
enum Answered {
    /// As if the key were new.
    Fresh,
    /// As it was answered before.
    Again,
    /// Refused: the key was used with another body.
    Reused,
    /// Refused before any look at the key.
    Earlier,
}

impl Judge<'_> {
    /// L4 for the command behind this event, if there is one.
    pub(super) fn keyed(&mut self) {
        let Some(command) = self.event.command() else { return };
        if command.kind == CommandKind::Reserve {
            self.keyed_reserve(command);
        } else {
            self.keyed_other(command);
        }
    }

    fn keyed_reserve(&mut self, command: &CommandStamp) {
        let Some(id) = self.event.body.reservation_id() else { return };
        let known = self.state.lives.decided(id);
        let is_same = known.is_some_and(|life| life.fingerprint == command.fingerprint);
        let is_older = self.is_older();
        let is_again = |life: &Life, original| is_as_before(life, original, is_older);
        let answered = match &self.event.body {
            EventBody::Repeated(original, _) if known.is_none_or(|life| is_again(life, original)) => Answered::Again,
            EventBody::Rejected(r) if is_older && r.reason == Reason::TooManyAttempts && known.is_some() => {
                Answered::Again
            }
            EventBody::Rejected(r) if known.is_some_and(|life| self.why_over(life) == Some(r.reason)) => {
                Answered::Again
            }
            body => answered(body),
        };
        if self.forgot_early() && (known.is_none() || self.state.lives.is_beyond_older()) {
            // What it remembered of refusals, and what it had forgotten, is not known.
            return;
        }
        self.key_verdict(known.is_some(), is_same, &answered, || format!("reservation {id}"));
    }

    fn keyed_other(&mut self, command: &CommandStamp) {
        let Some(key) = key_of(command, &self.event.body) else { return };
        let known = self.state.answers.recall(&key);
        let is_same = known.is_some_and(|answer| answer.fingerprint == command.fingerprint);
        let over = known.filter(|_| !self.is_older()).and_then(|answer| self.over_since(answer));
        let answered = match &self.event.body {
            body if over.is_some() && body.rejection().map(|r| r.reason) == over => Answered::Again,
            body if over.is_some() => answered(body),
            EventBody::Repeated(original, _) if known.is_some_and(|answer| answer.body == **original) => {
                Answered::Again
            }
            // Such as Confirm of what is confirmed: whether it stands so is judged where it is repeated.
            EventBody::Repeated(..) => Answered::Fresh,
            body => answered(body),
        };
        if self.may_have_forgotten_answers() {
            return;
        }
        self.key_verdict(known.is_some(), is_same, &answered, || format!("key {:?}", key.key));
    }

    /// Whether an older version has decided, which events without a deadline tell: it called a reservation that was over
    /// what it had been, told a refusal again with the counters of that time, and let in only so many attempts.
    pub(super) fn is_older(&self) -> bool {
        self.event.command().is_some_and(|command| command.deadline.is_none())
    }

    /// Whether it was decided by an owner that may forget before the time.
    pub(super) fn forgot_early(&self) -> bool {
        self.version < MEMORY_VERSION
    }

    /// Whether such an owner may have forgotten some reservation that this model remembers.
    pub(super) fn may_have_forgotten_lives(&self) -> bool {
        self.forgot_early() && self.state.lives.is_beyond_older()
    }

    /// The same of answers.
    pub(super) fn may_have_forgotten_answers(&self) -> bool {
        self.forgot_early() && self.state.answers.is_beyond_older()
    }

    /// Why a reservation is over: to say so is what is left of its yes.
    fn why_over(&self, life: &Life) -> Option<Reason> {
        match life.stand {
            LifeStatus::Held(until) if until <= self.now => Some(Reason::HoldExpired),
            LifeStatus::Expired => Some(Reason::HoldExpired),
            LifeStatus::Released => Some(Reason::AlreadyReleased),
            LifeStatus::Held(_) | LifeStatus::Confirmed | LifeStatus::Void | LifeStatus::Refused(..) => None,
        }
    }

    /// Of an answer that told of a living reservation, why it is over by now.
    fn over_since(&self, answer: &Answer) -> Option<Reason> {
        match &answer.body {
            EventBody::Confirmed(entry) | EventBody::Extended(entry) | EventBody::Amended(entry, _) => {
                self.state.lives.decided(entry.reservation).and_then(|life| self.why_over(life))
            }
            _ => None,
        }
    }

    fn key_verdict(&mut self, is_known: bool, is_same: bool, answered: &Answered, who: impl Fn() -> String) {
        let kind = self.event.body.kind();
        let wrong = match (is_known, is_same, answered) {
            (_, _, Answered::Earlier) => None,
            (true, true, Answered::Again) | (true, false, Answered::Reused) | (false, _, Answered::Fresh) => None,
            (true, true, _) => Some("was decided before and is not answered the same"),
            (true, false, _) => Some("was used with another body and is not refused for it"),
            (false, _, Answered::Again) => Some("is answered as before, and was not decided so"),
            (false, _, Answered::Reused) => Some("is refused as reused, and was not used so"),
        };
        if let Some(wrong) = wrong {
            self.found.breach(Law::SameAnswer, format!("{} {wrong}: {kind:?}", who()));
        }
    }
}

/// A repetition that does not say what was said before is none: it is fresh, like any other answer.
fn answered(body: &EventBody) -> Answered {
    match body {
        EventBody::Rejected(Rejection { reason: Reason::KeyReused, .. }) => Answered::Reused,
        EventBody::Rejected(Rejection { reason, .. }) if is_earlier(*reason) => Answered::Earlier,
        _ => Answered::Fresh,
    }
}

/// Whether a repeated answer to a Reserve is of the outcome that it had.
fn is_as_before(life: &Life, original: &EventBody, is_older: bool) -> bool {
    match (life.stand, original) {
        (LifeStatus::Refused(reason, dimension), EventBody::Rejected(r)) => {
            r.reason == reason && r.dimension == dimension
        }
        (LifeStatus::Refused(..) | LifeStatus::Void, _) => false,
        (stand, original) => (stand.is_live() || is_older) && matches!(original, EventBody::Accepted(_)),
    }
}
