//! L4: what a command's key may be answered, given what its key was answered before.

use super::judge::Judge;
use super::lives::{Life, Stand};
use crate::domain::{AskKind, Body, CommandKey, CommandStamp, Law, Reason, Rejection, Target};

/// The answer a key was given (of another command than Reserve, whose id holds its key).
pub(super) struct Answer {
    pub(super) fingerprint: u64,
    pub(super) body: Body,
    /// The event that gave it.
    pub(super) seq: u64,
}

/// Whether a refusal is an outcome that a key keeps; the others say something of this try alone.
pub(super) fn is_business(reason: Reason) -> bool {
    !is_earlier(reason) && !matches!(reason, Reason::KeyReused | Reason::TooManyAttempts | Reason::PartitionFull)
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
pub(super) fn key_of(command: &CommandStamp, body: &Body) -> Option<CommandKey> {
    let target = match command.ask {
        AskKind::DefinePool | AskKind::AdjustLimits | AskKind::SetMode | AskKind::ChangePool => {
            Target::Pool(body.pool_id()?.clone())
        }
        AskKind::Confirm | AskKind::Extend | AskKind::Amend | AskKind::Release => {
            Target::Reservation(body.reservation_id()?)
        }
        AskKind::Reserve | AskKind::Abandon | AskKind::Handover => return None,
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
        if command.ask == AskKind::Reserve {
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
            Body::Repeated(original, _) if known.is_none_or(|life| is_again(life, original)) => Answered::Again,
            Body::Rejected(r) if is_older && r.reason == Reason::TooManyAttempts && known.is_some() => Answered::Again,
            Body::Rejected(r) if known.is_some_and(|life| self.why_over(life) == Some(r.reason)) => Answered::Again,
            body => answered(body),
        };
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
            Body::Repeated(original, _) if known.is_some_and(|answer| answer.body == **original) => Answered::Again,
            // Such as Confirm of what is confirmed: whether it stands so is judged where it is repeated.
            Body::Repeated(..) => Answered::Fresh,
            body => answered(body),
        };
        self.key_verdict(known.is_some(), is_same, &answered, || format!("key {:?}", key.key));
    }

    /// Whether an older version has decided, which events without a deadline tell: it called a reservation that was over
    /// what it had been, told a refusal again with the counters of that time, and let in only so many attempts.
    pub(super) fn is_older(&self) -> bool {
        self.event.command().is_some_and(|command| command.deadline.is_none())
    }

    /// Why a reservation is over: to say so is what is left of its yes.
    fn why_over(&self, life: &Life) -> Option<Reason> {
        match life.stand {
            Stand::Held(until) if until <= self.now => Some(Reason::HoldExpired),
            Stand::Expired => Some(Reason::HoldExpired),
            Stand::Released => Some(Reason::AlreadyReleased),
            Stand::Held(_) | Stand::Confirmed | Stand::Void | Stand::Refused(..) => None,
        }
    }

    /// Of an answer that told of a living reservation, why it is over by now.
    fn over_since(&self, answer: &Answer) -> Option<Reason> {
        match &answer.body {
            Body::Confirmed(entry) | Body::Extended(entry) | Body::Amended(entry, _) => {
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
fn answered(body: &Body) -> Answered {
    match body {
        Body::Rejected(Rejection { reason: Reason::KeyReused, .. }) => Answered::Reused,
        Body::Rejected(Rejection { reason, .. }) if is_earlier(*reason) => Answered::Earlier,
        _ => Answered::Fresh,
    }
}

/// Whether a repeated answer to a Reserve is of the outcome that it had.
fn is_as_before(life: &Life, original: &Body, is_older: bool) -> bool {
    match (life.stand, original) {
        (Stand::Refused(reason, dimension), Body::Rejected(r)) => r.reason == reason && r.dimension == dimension,
        (Stand::Refused(..) | Stand::Void, _) => false,
        (stand, original) => (stand.is_live() || is_older) && matches!(original, Body::Accepted(_)),
    }
}
