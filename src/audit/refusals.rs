//! Refusals: the reason must have held, and nothing may be left behind.

use super::books::{Book, more_than};
use super::judge::Judge;
use super::keys::is_business;
use super::lives::{Life, LifeStatus};
use crate::domain::retention::Standing;
use crate::domain::room;
use crate::domain::{Amounts, CommandKind, Law, LimitChange, Mode, Reason, Rejection};
use crate::limits::{ANSWER_BYTES_MAX, UNITS_MAX};

impl Judge<'_> {
    /// Judges a refusal that is given now.
    pub(super) fn rejected(&mut self, rejection: &Rejection) {
        self.told_counters(rejection);
        self.reason_held(rejection);
        self.told_before(rejection);
        let Some(command) = self.event.command() else { return };
        let Some(id) = rejection.reservation else { return };
        match command.kind {
            CommandKind::Reserve if rejection.reason == Reason::Expired => {
                self.state.lives.strike(id, command.attempt, self.window_end());
            }
            CommandKind::Reserve if matches!(rejection.reason, Reason::DeadlineTooFar | Reason::TooManyCommands) => {
                let known = self.state.lives.recall(id).map(|life| &life.pool);
                if let Some(pool) = rejection.pool.as_ref().filter(|pool| known.is_none_or(|known| known == *pool)) {
                    self.refused_for_now(pool, id, command.attempt);
                }
            }
            // The reservation has ended, and its end is its answer: the refusal is none of its own.
            CommandKind::Reserve if matches!(rejection.reason, Reason::HoldExpired | Reason::AlreadyReleased) => {}
            CommandKind::Reserve if is_business(rejection) && command.key.is_some() => {
                self.remember_refused(rejection, command.fingerprint);
            }
            CommandKind::Abandon => {
                // An Abandon cannot be refused for a reason that concerns its caller, who was told no already.
                let counts = self.state.lives.live(id).is_some_and(|life| life.counting.contains(&command.attempt));
                self.found.expect(!counts, Law::FinalNo, || {
                    format!("the Abandon of an attempt that {id} counts is refused: {}", rejection.reason)
                });
            }
            _ => {}
        }
    }

    fn remember_refused(&mut self, rejection: &Rejection, fingerprint: u64) {
        let (Some(pool), Some(id)) = (&rejection.pool, rejection.reservation) else { return };
        self.is_of_pool(pool, id);
        let lives = &mut self.state.lives;
        if lives.live(id).is_some() {
            return;
        }
        let cancelled = lives.recall(id).map(|life| life.cancelled.clone()).unwrap_or_default();
        let refused = Life {
            demand: rejection.demand.clone().unwrap_or_default(),
            order_ref: rejection.order_ref.clone(),
            fingerprint,
            seq: self.event.seq,
            decided_seq: self.event.seq,
            judged: rejection.judged(),
            stand: LifeStatus::Refused(rejection.reason, rejection.dimension),
            ..Life::void(pool.clone(), cancelled)
        };
        // A refusal beside cancelled attempts is forgotten together with them.
        let beside = self.state.lives.until(id).filter(|_| !refused.cancelled.is_empty());
        let until = beside.unwrap_or(self.window_end());
        self.state.lives.remember(id, refused, until);
    }

    /// The counters that a refusal shows must be those that it was judged against.
    pub(super) fn told_counters(&mut self, rejection: &Rejection) {
        let Some(id) = &rejection.pool else { return };
        self.told_retired(id, rejection);
        match (self.state.books.get(id), &rejection.limits, &rejection.used) {
            (Some(book), Some(limits), Some(used)) => {
                self.found.expect(*limits == book.spec.limits, Law::Capacity, || {
                    format!("refused against limits {limits:?}, in force are {:?}", book.spec.limits)
                });
                self.found.expect(book.is_used(used), Law::Capacity, || {
                    format!("refused against used {used:?}, in use are {:?}", book.used)
                });
                let is_told = rejection.mode == Some(book.spec.mode) && rejection.version == Some(book.version);
                self.found.expect(is_told, Law::OneState, || {
                    let (mode, version) = (rejection.mode, rejection.version);
                    format!(
                        "refused in mode {mode:?} at version {version:?}, it is {:?} at {}",
                        book.spec.mode, book.version
                    )
                });
            }
            (None, None, None) => {}
            _ => self.found.breach(Law::OneState, format!("a refusal is wrong on whether pool {id} is defined")),
        }
    }

    fn reason_held(&mut self, rejection: &Rejection) {
        let reason = rejection.reason;
        let book = rejection.pool.as_ref().and_then(|id| self.state.books.get(id));
        let more = self.more_asked(rejection);
        let held = match reason {
            Reason::UnknownPool => book.is_none(),
            // An amend that takes no more is never refused for the pool's state.
            Reason::PastCutoff | Reason::Closed | Reason::Paused | Reason::UnknownDimension | Reason::OverLimit
                if more.is_empty() && self.is_for(CommandKind::Amend) =>
            {
                false
            }
            Reason::PastCutoff => book.and_then(|b| b.spec.window).is_some_and(|w| w.closes_at() <= self.now),
            Reason::Closed => book.is_some_and(|b| b.spec.mode == Mode::Closed),
            Reason::Paused => book.is_some_and(|b| b.spec.mode == Mode::Paused),
            Reason::UnknownDimension => {
                rejection.dimension.is_some_and(|d| book.is_some_and(|b| !b.used.contains_key(&d)))
            }
            Reason::OverLimit => {
                rejection.dimension.is_some() && book.is_some_and(|b| b.first_above(&more) == rejection.dimension)
            }
            Reason::DimensionInUse => rejection.dimension.is_some_and(|d| book.is_some_and(|b| b.used_of(d) > 0)),
            Reason::Abandoned => self.was_abandoned(rejection),
            Reason::StaleVersion => is_stale(book, rejection),
            Reason::OrderHasReservation => self.has_reservation(rejection),
            Reason::PoolInUse => self.was_in_use(rejection),
            Reason::PoolRetired => self.is_for(CommandKind::DefinePool) && rejection.retired_until.is_some(),
            Reason::HoldTooLong | Reason::HoldTooOld | Reason::HoldBeyondWindow => self.is_held_too_long(rejection),
            Reason::LimitOutOfRange => is_out_of_range(book, rejection),
            Reason::MemoryFull => self.was_full(rejection),
            Reason::Expired => self.deadline().is_none_or(|deadline| deadline < self.now),
            _ => self.reason_of_reservation_held(rejection),
        };
        let law = match reason {
            Reason::OverLimit => Law::Capacity,
            Reason::PastCutoff | Reason::Expired => Law::ClocksDecideNothing,
            Reason::Abandoned | Reason::MemoryFull => Law::SameAnswer,
            _ => Law::OneState,
        };
        self.found.expect(held, law, || format!("refused as {reason}, but that reason did not hold"));
    }

    /// Whether the order has the reservation that the refusal names.
    fn has_reservation(&self, rejection: &Rejection) -> bool {
        let (Some(pool), Some(order_ref)) = (&rejection.pool, &rejection.order_ref) else { return false };
        let is_unique = self.state.books.get(pool).is_some_and(|book| book.spec.rules.unique_order_ref);
        let existing = self.state.lives.of_order(pool, order_ref);
        is_unique && existing.is_some() && existing == rejection.existing_reservation
    }

    /// Whether the time that was asked for the hold exceeds the bound that the reason names, and the latest time
    /// shown is the earliest of all bounds.
    fn is_held_too_long(&self, rejection: &Rejection) -> bool {
        let Some(book) = rejection.pool.as_ref().and_then(|pool| self.state.books.get(pool)) else { return false };
        let Some(ttl_ms) = rejection.asked.as_ref().and_then(|asked| asked.hold_ttl_ms) else { return false };
        let life = rejection.reservation.and_then(|id| self.state.lives.live(id));
        let since = life.filter(|life| matches!(life.stand, LifeStatus::Held(_))).map_or(self.now, |life| life.since);
        let rules = book.spec.rules;
        let by_time = rules.hold_ttl_max_ms.map(|ms| self.now.plus_ms(ms));
        let by_life = rules.hold_life_max_ms.map(|ms| since.plus_ms(ms));
        let by_window = book.spec.window.map(|window| window.end);
        let named = match rejection.reason {
            Reason::HoldTooLong => by_time,
            Reason::HoldTooOld => by_life,
            _ => by_window,
        };
        let latest = [by_time, by_life, by_window].into_iter().flatten().min();
        named.is_some_and(|bound| self.now.plus_ms(ttl_ms) > bound) && rejection.hold_until == latest
    }

    fn is_for(&self, ask: CommandKind) -> bool {
        self.event.command().is_some_and(|command| command.kind == ask)
    }

    /// What an Amend asks for beyond what its live reservation takes; the whole demand for other commands.
    fn more_asked(&self, rejection: &Rejection) -> Amounts {
        let Some(demand) = &rejection.demand else { return Amounts::default() };
        more_than(&self.amended_before(rejection).unwrap_or_default(), demand)
    }

    /// What the live reservation takes whose Amend is refused.
    fn amended_before(&self, rejection: &Rejection) -> Option<Amounts> {
        let id = rejection.reservation.filter(|_| self.is_for(CommandKind::Amend))?;
        self.state.lives.live(id).map(|life| life.demand.clone())
    }

    /// L1: a refused Amend leaves the demand that it says it leaves.
    fn told_before(&mut self, rejection: &Rejection) {
        let before = self.amended_before(rejection);
        self.found.expect(rejection.demand_before == before, Law::Capacity, || {
            format!("an amend is refused of {:?}, taken are {before:?}", rejection.demand_before)
        });
    }

    /// Whether there was no room for the work. An event does not tell how long an answer about a pool would have
    /// been, or whether a hold was asked for.
    fn was_full(&self, rejection: &Rejection) -> bool {
        let bytes = match &rejection.demand {
            Some(demand) if self.is_for(CommandKind::Reserve) => {
                room::of_parts(demand, rejection.order_ref.as_ref(), (1, 0), Standing::Held, false)
            }
            _ => ANSWER_BYTES_MAX,
        };
        !self.state.has_room(bytes)
    }

    fn was_abandoned(&self, rejection: &Rejection) -> bool {
        let attempt = self.event.command().map(|command| command.attempt);
        let pair = rejection.reservation.zip(attempt);
        pair.is_some_and(|(id, attempt)| self.state.lives.may_be_struck(id, attempt))
    }

    /// Judges reasons that concern a reservation. Of the other reasons an event does not tell enough.
    fn reason_of_reservation_held(&self, rejection: &Rejection) -> bool {
        let Some(id) = rejection.reservation else { return true };
        let stand = self.state.lives.decided(id).map(|life| life.stand);
        match rejection.reason {
            Reason::UnknownReservation if self.may_have_forgotten_lives() => true,
            Reason::UnknownReservation => {
                matches!(stand, None | Some(LifeStatus::Refused(..)))
                    || rejection.retired_until.is_some()
                    || self.is_of_a_gone_life()
            }
            Reason::AlreadyReleased => stand == Some(LifeStatus::Released),
            Reason::HoldExpired => match stand {
                Some(LifeStatus::Held(until)) => until <= self.now,
                stand => stand == Some(LifeStatus::Expired),
            },
            Reason::NotAHold => stand == Some(LifeStatus::Confirmed) && !self.is_for(CommandKind::Amend),
            Reason::TooManyAttempts => {
                self.is_older() || self.state.lives.recall(id).is_some_and(Life::is_cancelled_full)
            }
            _ => true,
        }
    }

    /// Judges a refusal that is repeated, with the figures that it was judged by then.
    pub(super) fn refused_again(&mut self, rejection: &Rejection) {
        if self.is_older() {
            self.told_counters(rejection);
        }
        let known = rejection.reservation.and_then(|id| self.state.lives.decided(id)).filter(|_| !self.is_older());
        let is_as_judged = known.is_none_or(|life| life.judged == rejection.judged());
        self.found.expect(is_as_judged && (self.is_older() || rejection.mode.is_none()), Law::SameAnswer, || {
            format!("a refusal is repeated with {:?}", rejection.judged())
        });
        let demand = self.demand_refused(rejection);
        self.found.expect(
            demand.is_none_or(|demand| rejection.demand.as_ref() == Some(&demand)),
            Law::SameAnswer,
            || format!("a refusal is repeated for another demand {:?}", rejection.demand),
        );
    }

    fn demand_refused(&self, rejection: &Rejection) -> Option<Amounts> {
        self.state.lives.decided(rejection.reservation?).map(|life| life.demand.clone())
    }
}

/// Whether the pool does not have the version that it was expected to have. Older events do not tell which one that
/// was.
fn is_stale(book: Option<&Book>, rejection: &Rejection) -> bool {
    let expected = rejection.asked.as_ref().and_then(|asked| asked.version);
    expected.is_none_or(|expected| expected != book.map_or(0, |book| book.version))
}

/// Whether the limit of the named dimension would leave its range. Older events do not tell what was asked for.
fn is_out_of_range(book: Option<&Book>, rejection: &Rejection) -> bool {
    let Some(asked) = rejection.asked.as_ref() else { return true };
    let (Some(LimitChange::By(by)), Some(d), Some(book)) = (&asked.limits, rejection.dimension, book) else {
        return false;
    };
    let delta = by.iter().find(|(other, _)| *other == d).map_or(0, |(_, delta)| i128::from(*delta));
    let after = book.spec.limits.get(d).map(|limit| i128::from(limit).saturating_add(delta));
    after.is_some_and(|after| !(0..=i128::from(UNITS_MAX)).contains(&after))
}
