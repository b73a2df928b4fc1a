//! L4: which answer a command may get, given the answer that its key got before.

use super::answers::Answer;
use super::asked::key_of;
use super::books::more_than;
use super::judge::Judge;
use super::lives::{Life, LifeStatus};
use crate::domain::event::RETIREMENT_VERSION;
use crate::domain::room;
use crate::domain::{
    CommandKey, CommandKind, CommandStamp, Entry, EventBody, Law, Origin, PoolId, Reason, Rejection, ReleaseCause,
    Target,
};

/// From this version on, owners remember their decisions as long as they promise. Owners of versions before forgot
/// some early, when there were too many.
const MEMORY_VERSION: u32 = 4;

/// Whether a refusal is an outcome that a key keeps. The other refusals only concern this try, or are about
/// a pool that has retired, or may be.
pub(super) fn is_business(rejection @ Rejection { reason, retired_until, .. }: &Rejection) -> bool {
    let of_this_try = matches!(
        reason,
        Reason::KeyReused | Reason::TooManyAttempts | Reason::MemoryFull | Reason::PartitionFull | Reason::PoolRetired
    );
    !is_earlier(*reason) && !of_this_try && retired_until.is_none() && !is_about_nothing(rejection)
}

/// Whether nothing is known of the reservation that the command names. It may have ended with a pool that has retired.
fn is_about_nothing(Rejection { reason, pool, .. }: &Rejection) -> bool {
    *reason == Reason::UnknownReservation && pool.is_none()
}

/// Whether a refusal is decided before the key is looked at.
fn is_earlier(reason: Reason) -> bool {
    is_unkept(reason) || reason == Reason::Abandoned
}

/// Whether the id of a command that is refused so is not kept, so that a copy is judged anew.
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

/// How an answer relates to the one that its key got before.
enum Answered {
    /// It is decided as if the key were new.
    Fresh,
    /// It is the earlier answer.
    Again,
    /// It is refused because the key was used with another body.
    Reused,
    /// It is refused before the key is looked at.
    Earlier,
}

impl Judge<'_> {
    /// Judges L4 for the command behind this event, if there is one.
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
            // Which refusals that owner still remembered is not known.
            return;
        }
        self.key_verdict(known.is_some(), is_same, &answered, || format!("reservation {id}"));
    }

    fn keyed_other(&mut self, command: &CommandStamp) {
        let Some(key) = key_of(command, &self.event.body) else { return };
        let known = self.state.answers.recall(&key);
        let is_same = known.is_some_and(|answer| answer.fingerprint == command.fingerprint);
        let over = known.filter(|_| !self.is_older()).and_then(|answer| self.over_since(command.kind, answer));
        // Owners of before repeated what they had told of a life that was taken back since, or told the end of the next life.
        let taken_back = known.filter(|answer| over.is_some() && self.is_taken_back(answer));
        let end_of_next = taken_back.and_then(|answer| answer.body.entry()).and_then(|entry| self.end_of(entry));
        let may_repeat = |answer: &Answer, original: &EventBody| {
            answer.body == *original && (over.is_none() || taken_back.is_some())
        };
        let is_end = |told: Reason| over == Some(told) || end_of_next == Some(told);
        let answered = match &self.event.body {
            body if over.is_some() && body.rejection().is_some_and(|r| is_end(r.reason)) => Answered::Again,
            EventBody::Repeated(original, _) if known.is_some_and(|answer| may_repeat(answer, original)) => {
                Answered::Again
            }
            body if over.is_some() => answered(body),
            // For example a Confirm of a confirmed reservation. `repeated` judges whether the reservation stands so.
            EventBody::Repeated(..) => Answered::Fresh,
            body => answered(body),
        };
        let is_of_unknown = known.is_none() && self.kept_unknown() && matches!(key.target, Target::Reservation(_));
        if self.may_have_forgotten_answers() || is_of_unknown && matches!(answered, Answered::Reused) {
            return;
        }
        self.key_verdict(known.is_some(), is_same, &answered, || format!("key {:?}", key.key));
    }

    /// Whether an older version has decided: its events have no deadline. That version repeated the first answer of a
    /// reservation that had ended, showed a repeated refusal with the counters of the repetition, and allowed only so
    /// many attempts.
    pub(super) fn is_older(&self) -> bool {
        self.event.command().is_some_and(|command| command.deadline.is_none())
    }

    /// Whether an owner decided that could forget before the time was over.
    pub(super) fn forgot_early(&self) -> bool {
        self.version < MEMORY_VERSION
    }

    /// Whether such an owner may have forgotten a reservation that this model remembers.
    pub(super) fn may_have_forgotten_lives(&self) -> bool {
        self.forgot_early() && self.state.lives.is_beyond_older()
    }

    /// Whether such an owner may have forgotten an answer that this model remembers.
    pub(super) fn may_have_forgotten_answers(&self) -> bool {
        self.forgot_early() && self.state.answers.is_beyond_older()
    }

    /// Whether an owner decided whose keys kept that nothing is known of a reservation. This model does not remember that.
    fn kept_unknown(&self) -> bool {
        self.version < RETIREMENT_VERSION
    }

    /// Why a reservation has ended, if it has. A repetition of its acceptance must then say so.
    fn why_over(&self, life: &Life) -> Option<Reason> {
        match life.stand {
            LifeStatus::Held(until) if until <= self.now => Some(Reason::HoldExpired),
            LifeStatus::Expired => Some(Reason::HoldExpired),
            LifeStatus::Released => Some(Reason::AlreadyReleased),
            LifeStatus::Held(_) | LifeStatus::Confirmed | LifeStatus::Void | LifeStatus::Refused(..) => None,
        }
    }

    /// Why the live reservation or the pool that an answer showed has ended by now, if it has.
    fn over_since(&self, ask: CommandKind, answer: &Answer) -> Option<Reason> {
        if let Some(entry) = answer.body.entry().filter(|entry| entry.status.is_live()) {
            if self.is_gone(&entry.pool) || self.is_taken_back(answer) {
                return Some(Reason::UnknownReservation);
            }
            return self.end_of(entry);
        }
        let pool = answer.body.pool().filter(|_| answer.body.retirement().is_none())?;
        let reason = if ask == CommandKind::DefinePool { Reason::PoolRetired } else { Reason::UnknownPool };
        self.is_gone(&pool.id).then_some(reason)
    }

    fn is_gone(&self, pool: &PoolId) -> bool {
        self.state.books.get(pool).is_none()
    }

    /// Why the last life of this reservation's id has ended, if it has.
    fn end_of(&self, entry: &Entry) -> Option<Reason> {
        self.state.lives.decided(entry.reservation).and_then(|life| self.why_over(life))
    }

    /// Whether the life that an answer showed was taken back: that leaves nothing behind, and another one may have begun since.
    /// The end of its pool leaves nothing behind either, but of that every owner has told that the reservation is unknown.
    fn is_taken_back(&self, answer: &Answer) -> bool {
        let shown = answer.body.entry().filter(|entry| entry.status.is_live() && !self.is_gone(&entry.pool));
        shown.is_some_and(|entry| {
            self.state.lives.decided(entry.reservation).is_none_or(|life| life.decided_seq > answer.seq)
        })
    }

    /// Whether the command's key was answered about a reservation, or a life of it, of which nothing is left.
    pub(super) fn is_of_a_gone_life(&self) -> bool {
        let Some(command) = self.event.command() else { return false };
        let answer = key_of(command, &self.event.body).and_then(|key| self.state.answers.recall(&key));
        answer.is_some_and(|answer| self.over_since(command.kind, answer) == Some(Reason::UnknownReservation))
    }

    fn key_verdict(&mut self, is_known: bool, is_same: bool, answered: &Answered, who: impl Fn() -> String) {
        let kind = self.event.body.kind();
        let wrong = match (is_known, is_same, answered) {
            (_, _, Answered::Earlier) => None,
            (true, true, Answered::Again) | (true, false, Answered::Reused) | (false, _, Answered::Fresh) => None,
            (true, true, _) => Some("was decided before and is not answered the same"),
            (true, false, _) => Some("was used with another body and is not refused for it"),
            (false, _, Answered::Again) => Some("is answered with a repetition, and had no such answer"),
            (false, _, Answered::Reused) => Some("is refused as reused, and was not used with another body"),
        };
        if let Some(wrong) = wrong {
            self.found.breach(Law::SameAnswer, format!("{} {wrong}: {kind}", who()));
        }
    }

    pub(super) fn repeated(&mut self, original: &EventBody, origin: Option<Origin>) {
        let Some(command) = self.event.command() else { return };
        let key = key_of(command, &self.event.body);
        let answer = key.and_then(|key| self.state.answers.recall(&key)).filter(|answer| answer.body == *original);
        let life = self.event.body.reservation_id().and_then(|id| self.state.lives.decided(id));
        let seq = match (answer, command.kind) {
            (Some(answer), _) => Some(answer.seq),
            (None, CommandKind::Reserve) => life.map(|life| life.decided_seq),
            (None, _) => life.map(|life| life.seq),
        };
        let is_answer = answer.is_some();
        let is_named = origin.zip(seq).is_none_or(|(origin, seq)| origin.seq == seq);
        self.found.expect(is_named, Law::SameAnswer, || format!("repeats {origin:?}, which seq {seq:?} has answered"));
        if is_answer {
            return;
        }
        match (command.kind, original) {
            (CommandKind::Reserve, EventBody::Accepted(entry)) => self.reserved_again(entry),
            (CommandKind::Reserve, EventBody::Rejected(rejection)) => self.refused_again(rejection),
            (CommandKind::Confirm, EventBody::Confirmed(entry)) => {
                self.stands(entry, |stand| stand == LifeStatus::Confirmed)
            }
            (CommandKind::Amend, EventBody::Amended(entry, before)) => self.amended_already(entry, before),
            (CommandKind::Release, EventBody::Released(entry, ReleaseCause::Caller)) => {
                self.stands(entry, |stand| stand == LifeStatus::Released);
            }
            (CommandKind::Release, EventBody::Expired(entry)) => {
                self.stands(entry, |stand| stand == LifeStatus::Expired)
            }
            (_, EventBody::Rejected(rejection)) if is_about_nothing(rejection) && self.kept_unknown() => {}
            _ if self.may_have_forgotten_answers() => {}
            (ask, body) => {
                self.found.breach(Law::SameAnswer, format!("{ask} repeats {}, never answered", body.kind()));
            }
        }
    }

    /// Judges a repeated acceptance: it shows the reservation as it is now. While it lives, it lives for one more
    /// attempt.
    fn reserved_again(&mut self, entry: &Entry) {
        let id = entry.reservation;
        let is_older = self.is_older();
        self.stands(entry, |stand| stand.is_live() || (is_older && stand.written().is_some()));
        let Some(attempt) = self.event.command().map(|command| command.attempt) else { return };
        if self.state.lives.live(id).is_none() {
            return;
        }
        self.counts(id);
        self.state.lives.change(id, |life| life.count(attempt));
    }

    /// A repeated answer must show what is true now.
    pub(super) fn stands(&mut self, entry: &Entry, fits: impl Fn(LifeStatus) -> bool) {
        self.counters(entry);
        let id = entry.reservation;
        match self.state.lives.decided(id) {
            Some(life) if fits(life.stand) => {
                let life = life.clone();
                self.is_of(entry, &life);
                self.told_as(entry, life.stand);
            }
            known => {
                let stand = known.map(|life| life.stand);
                self.found.breach(Law::SameAnswer, format!("{id} is answered as {:?}, and is {stand:?}", entry.status));
            }
        }
    }

    /// L4: there must be room to remember what is applied. What ends, gives back or confirms is applied in any case.
    fn has_room_for_answer(&mut self, key: &CommandKey, body: &EventBody) {
        let has_room = match &self.event.body {
            _ if self.forgot_early() => true,
            EventBody::Released(..) | EventBody::Confirmed(_) | EventBody::PoolRetired(_) | EventBody::Rejected(_) => {
                true
            }
            EventBody::Repeated(original, _) => self.state.has_reserve(room::of_answer(key, original)),
            EventBody::Amended(entry, before) if more_than(before, &entry.demand).is_empty() => {
                self.state.has_reserve(room::of_answer(key, body))
            }
            _ => self.state.has_room(room::of_answer(key, body)),
        };
        self.found
            .expect(has_room, Law::SameAnswer, || format!("key {:?} is answered although the memory is full", key.key));
    }

    /// Remembers a business outcome for its key. A repetition of the key's own answer is remembered already. A
    /// repetition of what the reservation is (a second Confirm under a key of its own) becomes the answer of that
    /// key.
    pub(super) fn remember(&mut self) {
        let Some(command) = self.event.command() else { return };
        let body = match &self.event.body {
            EventBody::Repeated(original, _) => original,
            body => body,
        };
        if body.rejection().is_some_and(|rejection| !is_business(rejection)) {
            return;
        }
        let Some(key) = key_of(command, body) else { return };
        if self.state.answers.recall(&key).is_none() {
            let seq = match &self.event.body {
                EventBody::Repeated(_, Some(origin)) => origin.seq,
                _ => self.event.seq,
            };
            self.has_room_for_answer(&key, body);
            let answer = Answer { fingerprint: command.fingerprint, body: body.clone(), seq };
            let until = self.window_end();
            self.state.answers.put(key, answer, until);
        }
    }
}

/// A repetition that does not match the earlier answer counts as fresh, like any other answer.
fn answered(body: &EventBody) -> Answered {
    match body {
        EventBody::Rejected(Rejection { reason: Reason::KeyReused, .. }) => Answered::Reused,
        EventBody::Rejected(Rejection { reason, .. }) if is_earlier(*reason) => Answered::Earlier,
        _ => Answered::Fresh,
    }
}

/// Whether the repeated answer to a Reserve agrees with its first outcome.
fn is_as_before(life: &Life, original: &EventBody, is_older: bool) -> bool {
    match (life.stand, original) {
        (LifeStatus::Refused(reason, dimension), EventBody::Rejected(r)) => {
            r.reason == reason && r.dimension == dimension
        }
        (LifeStatus::Refused(..) | LifeStatus::Void, _) => false,
        (stand, original) => (stand.is_live() || is_older) && matches!(original, EventBody::Accepted(_)),
    }
}
