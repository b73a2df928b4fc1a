//! Judges one event against what the events before it came to. Every check reports and continues. The model then
//! takes over what it holds to be true, so that one wrong event makes one finding and not a thousand.

use super::asked::{answers, possible};
use super::books::more_than;
use super::lives::{Life, LifeStatus};
use super::{EventFindings, State};
use crate::domain::route::{partition_of, pool_hash};
use crate::domain::{
    Amounts, Attempt, Entry, Event, EventBody, EventKind, Law, Micros, Mode, Pool, PoolId, PoolSpec, Reason,
    ReleaseCause, ReservationId, RetireCause, Status,
};
use crate::limits::{DEDUP_WINDOW_MS, DIMENSIONS_MAX, UNITS_MAX};

/// One event that is being judged.
pub(super) struct Judge<'a> {
    pub(super) state: &'a mut State,
    pub(super) event: &'a Event,
    /// The version that wrote the event, see [`crate::domain::event::VERSION`].
    pub(super) version: u32,
    /// The latest time of all events so far.
    pub(super) now: Micros,
    pub(super) found: &'a mut EventFindings,
}

/// What ended a reservation.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ended {
    Caller,
    Abandon,
    Time,
}

impl Judge<'_> {
    pub(super) fn run(&mut self) {
        self.caused();
        self.copied();
        self.timely();
        self.asked();
        self.routed();
        self.keyed();
        // Judges keys first: whether an answer repeats an earlier one must be known before this one is remembered.
        let event = self.event;
        match &event.body {
            EventBody::PoolDefined(pool)
            | EventBody::LimitsAdjusted(pool)
            | EventBody::ModeSet(pool)
            | EventBody::PoolChanged(pool) => {
                self.pool_said(pool);
            }
            EventBody::PoolRetired(retirement) => self.pool_retired(retirement),
            EventBody::Accepted(entry) => self.accepted(entry),
            EventBody::Confirmed(entry) => self.confirmed(entry),
            EventBody::Extended(entry) => self.extended(entry),
            EventBody::Amended(entry, before) => self.amended(entry, before),
            EventBody::Released(entry, ReleaseCause::Caller) => self.ended(entry, Ended::Caller),
            EventBody::Released(entry, ReleaseCause::Abandoned) => self.ended(entry, Ended::Abandon),
            EventBody::Expired(entry) => self.ended(entry, Ended::Time),
            EventBody::Repeated(original, origin) => self.repeated(original, *origin),
            EventBody::Rejected(rejection) => self.rejected(rejection),
            EventBody::Abandoned { pool, reservation } => self.abandoned(pool, *reservation),
            EventBody::ClockSet { from, .. } => self.clock_set(*from),
            EventBody::Malformed { .. }
            | EventBody::CommandsLost { .. }
            | EventBody::EventsLost { .. }
            | EventBody::Barrier { .. }
            | EventBody::Tick => {}
        }
        self.remember();
    }

    pub(super) fn window_end(&self) -> Micros {
        self.now.plus_ms(DEDUP_WINDOW_MS)
    }

    /// L2: an event answers the command behind it, and only an event that needs no command has none.
    fn caused(&mut self) {
        let body = &self.event.body;
        let ask = self.event.command().map(|command| command.kind);
        let holds = match (&self.event.cause, body) {
            (None, EventBody::PoolRetired(retirement)) => retirement.cause == RetireCause::Window,
            (None, body) => {
                matches!(
                    body.kind(),
                    EventKind::Expired
                        | EventKind::Barrier
                        | EventKind::Tick
                        | EventKind::EventsLost
                        | EventKind::ClockSet
                )
            }
            (Some(cause), EventBody::Malformed { .. }) => cause.command.is_none(),
            (Some(cause), EventBody::CommandsLost { .. }) => cause.command.is_none() && cause.unread.is_none(),
            (Some(cause), _) => cause.unread.is_none() && ask.is_some_and(|ask| answers(body, ask)),
        };
        let law = if matches!(body, EventBody::Accepted(_)) { Law::TrueYes } else { Law::OneDecision };
        self.found.expect(holds, law, || {
            let place = self.event.cause.as_ref().map(|cause| cause.input_offset);
            format!("{} is no answer to command {place:?}, {ask:?}", body.kind())
        });
    }

    /// L2: the fingerprint is that of a command that can have led to this event.
    fn asked(&mut self) {
        let Some(command) = self.event.command() else { return };
        let Some(asks) = possible(self.event, command.kind) else { return };
        let is_one = asks.iter().any(|body| body.fingerprint() == command.fingerprint);
        let law = if matches!(self.event.body, EventBody::Accepted(_)) { Law::TrueYes } else { Law::OneDecision };
        self.found.expect(is_one, law, || {
            format!("{} is not what was asked, which has fingerprint {:x}", self.event.body.kind(), command.fingerprint)
        });
    }

    /// L9: a clock that is set goes back, and no hold ends earlier or later for it than it would have.
    fn clock_set(&mut self, from: Micros) {
        let to = self.event.decided_at;
        self.found.expect(from > to, Law::ClocksDecideNothing, || {
            format!("the clock is set from {} to {}, which is not back", from.0, to.0)
        });
        self.state.set_back(from, to, self.window_end());
    }

    /// L3: the event is about a pool of this partition. Only a refusal may say that its command is not.
    fn routed(&mut self) {
        if self.event.body.rejection().is_some_and(|r| matches!(r.reason, Reason::Misrouted | Reason::Malformed)) {
            return;
        }
        let Some(pool) = self.event.body.pool_id() else { return };
        let home = partition_of(pool, self.state.partitions);
        self.found.expect(home == self.event.partition, Law::Chain, || format!("pool {pool} is of partition {home}"));
        let Some(id) = self.event.body.reservation_id() else { return };
        self.found.expect(id.pool_hash() == pool_hash(pool), Law::Chain, || format!("{id} is not of pool {pool}"));
    }

    fn pool_said(&mut self, pool: &Pool) {
        self.pool_is_free(pool);
        let before = self.state.books.get(&pool.id);
        let version = before.map_or(0, |book| book.version);
        self.found.expect(pool.version == version.saturating_add(1), Law::OneState, || {
            format!("pool {} goes from version {version} to {}", pool.id, pool.version)
        });
        let spec = before.map(|book| &book.spec);
        let kept = match self.event.body.kind() {
            EventKind::PoolChanged => spec.is_some_and(|old| same_dimensions(&old.limits, &pool.spec.limits)),
            EventKind::LimitsAdjusted => spec.is_some_and(|old| {
                same_dimensions(&old.limits, &pool.spec.limits)
                    && PoolSpec { limits: old.limits.clone(), ..pool.spec.clone() } == *old
            }),
            EventKind::ModeSet => spec.is_some_and(|old| PoolSpec { mode: old.mode, ..pool.spec.clone() } == *old),
            _ => true,
        };
        self.found.expect(kept, Law::OneState, || {
            format!("{} of pool {} changes more than it says", self.event.body.kind(), pool.id)
        });
        let limits = &pool.spec.limits;
        let in_range = (1..=DIMENSIONS_MAX).contains(&limits.len()) && limits.iter().all(|(_, n)| n <= UNITS_MAX);
        self.found.expect(in_range, Law::Capacity, || format!("pool {} has limits {limits:?}", pool.id));
        self.state.books.say(pool);
        let book = self.state.books.get(&pool.id);
        self.found.expect(book.is_some_and(|book| book.is_used(&pool.used)), Law::Capacity, || {
            format!(
                "the event shows that pool {} has {:?} in use, the live demands are {:?}",
                pool.id,
                pool.used,
                book.map(|book| &book.used)
            )
        });
    }

    /// L7: an id belongs to one pool as long as anything is known of it.
    pub(super) fn is_of_pool(&mut self, pool: &PoolId, id: ReservationId) {
        let known = self.state.lives.recall(id).map(|life| &life.pool).filter(|known| *known != pool);
        self.found.expect(known.is_none(), Law::OneState, || {
            format!("{id} is of pool {known:?}, the event names pool {pool}")
        });
    }

    fn accepted(&mut self, entry: &Entry) {
        let id = entry.reservation;
        self.is_of_pool(&entry.pool, id);
        self.admissible(entry, &Amounts::default());
        self.found
            .expect(self.state.lives.live(id).is_none(), Law::TrueYes, || format!("{id} is accepted while it lives"));
        let stand = match (entry.status, entry.hold_until) {
            (Status::Held, Some(until)) => LifeStatus::Held(until),
            (Status::Confirmed, None) => LifeStatus::Confirmed,
            (status, until) => {
                self.found.breach(Law::TrueYes, format!("{id} is accepted as {status:?} until {until:?}"));
                until.map_or(LifeStatus::Confirmed, LifeStatus::Held)
            }
        };
        if let LifeStatus::Held(until) = stand {
            self.found.expect(until > self.now, Law::ClocksDecideNothing, || format!("{id} is held until {}", until.0));
        }
        self.counts(id);
        self.alone(entry);
        self.held_within(entry, self.now);
        let cancelled = match self.state.lives.recall(id) {
            Some(life) if life.stand == LifeStatus::Void => life.cancelled.clone(),
            _ => Vec::new(),
        };
        let command = self.event.command();
        let mut life = Life {
            demand: entry.demand.clone(),
            order_ref: entry.order_ref.clone(),
            fingerprint: command.map(|c| c.fingerprint).unwrap_or_default(),
            counting: command.map(|c| c.attempt).into_iter().collect(),
            seq: self.event.seq,
            decided_seq: self.event.seq,
            stand,
            ..Life::void(entry.pool.clone(), cancelled)
        };
        if let LifeStatus::Held(until) = stand {
            life.hold(until, self.now);
        }
        // Cancelled attempts have their room already.
        let has_room = self.forgot_early() || self.state.has_room(life.bytes_anew());
        self.found.expect(has_room, Law::SameAnswer, || format!("{id} is accepted although the memory is full"));
        if let Some(lost) = self.state.lives.begin(id, life) {
            self.state.books.give_back(&lost.pool, &lost.demand);
        }
        self.state.books.take(&entry.pool, &entry.demand);
        self.counters(entry);
    }

    /// Where a pool allows an order one live reservation, there is no other.
    fn alone(&mut self, entry: &Entry) {
        let is_unique = self.state.books.get(&entry.pool).is_some_and(|book| book.spec.rules.unique_order_ref);
        let Some(order_ref) = entry.order_ref.as_ref().filter(|_| is_unique) else { return };
        let other = self.state.lives.of_order(&entry.pool, order_ref);
        self.found.expect(other.is_none(), Law::OneState, || {
            format!("{} is accepted for order {order_ref}, which has {other:?}", entry.reservation)
        });
    }

    /// A hold whose life counts from `since` lasts no longer than its pool and the pool's window allow. Events of
    /// older versions have no such bounds, and do not say since when a hold lives.
    fn held_within(&mut self, entry: &Entry, since: Micros) {
        let (Some(until), Some(told)) = (entry.hold_until, entry.hold_since) else { return };
        let Some(spec) = self.state.books.get(&entry.pool).map(|book| &book.spec) else { return };
        let is_within = |from: Micros, ms: Option<u64>| ms.is_none_or(|ms| until <= from.plus_ms(ms));
        let is_short = is_within(self.now, spec.rules.hold_ttl_max_ms);
        let is_young = is_within(since, spec.rules.hold_life_max_ms);
        let is_in_window = spec.window.is_none_or(|window| until <= window.end);
        let (rules, window) = (spec.rules, spec.window);
        self.found.expect(told == since && is_short && is_young && is_in_window, Law::OneState, || {
            let id = entry.reservation;
            format!("{id} is held since {} until {}, against {rules:?} and {window:?}", told.0, until.0)
        });
    }

    /// L1 for a reservation that takes its demand in place of `before`, by the sums before the event.
    pub(super) fn admissible(&mut self, entry: &Entry, before: &Amounts) {
        let Entry { pool, demand, .. } = entry;
        let Some(book) = self.state.books.get(pool) else {
            return self.found.breach(Law::Capacity, format!("accepted in pool {pool}, which is not defined"));
        };
        let is_demand = !demand.is_empty() && demand.iter().all(|(_, units)| (1..=UNITS_MAX).contains(&units));
        self.found.expect(is_demand, Law::Capacity, || format!("accepted a demand of {demand:?}"));
        let unknown = demand.iter().map(|(d, _)| d).find(|d| book.spec.limits.get(*d).is_none());
        self.found.expect(unknown.is_none(), Law::Capacity, || format!("pool {pool} has no dimension {unknown:?}"));
        let more = more_than(before, demand);
        if more.is_empty() && !before.is_empty() {
            return;
        }
        let above = book.first_above(&more);
        self.found.expect(above.is_none(), Law::Capacity, || {
            format!("{demand:?} on {:?} is above {:?} in {above:?}", book.used, book.spec.limits)
        });
        let mode = book.spec.mode;
        self.found.expect(mode == Mode::Open, Law::Capacity, || format!("accepted in pool {pool}, which is {mode:?}"));
        let is_over = book.spec.window.is_some_and(|window| window.closes_at() <= self.now);
        self.found.expect(!is_over, Law::Capacity, || format!("accepted in pool {pool} past its cutoff"));
    }

    /// L1: the counters that an event shows are those after it.
    pub(super) fn counters(&mut self, entry: &Entry) {
        let Some(book) = self.state.books.get(&entry.pool) else {
            return self.found.breach(Law::OneState, format!("pool {} is not defined", entry.pool));
        };
        self.found.expect(entry.limits == book.spec.limits, Law::Capacity, || {
            format!("judged against limits {:?}, in force are {:?}", entry.limits, book.spec.limits)
        });
        self.found.expect(book.is_used(&entry.used), Law::Capacity, || {
            format!("the event shows {:?} in use, the live demands are {:?}", entry.used, book.used)
        });
    }

    /// L5: an attempt that was taken back, or refused as too late, never counts.
    pub(super) fn counts(&mut self, id: ReservationId) {
        let Some(attempt) = self.event.command().map(|command| command.attempt) else { return };
        let may_count = !self.state.lives.is_struck(id, attempt) || self.may_have_forgotten_lives();
        self.found.expect(may_count, Law::FinalNo, || {
            format!("attempt {} of {id} counts, and its caller was told no", attempt.0)
        });
    }

    /// What no event of a reservation may change. A changed `demand` would be capacity that comes or goes unseen.
    pub(super) fn is_of(&mut self, entry: &Entry, life: &Life) {
        self.found.expect(entry.demand == life.demand, Law::Capacity, || {
            format!("{} takes {:?}, the event says {:?}", entry.reservation, life.demand, entry.demand)
        });
        self.found.expect(life.is_of(entry), Law::OneState, || {
            format!("the event changes the pool, the order or the beginning of {}", entry.reservation)
        });
    }

    pub(super) fn told_as(&mut self, entry: &Entry, stand: LifeStatus) {
        self.found.expect(stand.written() == Some((entry.status, entry.hold_until)), Law::OneState, || {
            format!(
                "{} is {stand:?}, the event shows it as {:?} until {:?}",
                entry.reservation, entry.status, entry.hold_until
            )
        });
    }

    /// The hold that a Confirmed or an Extended is about; `None` when it is no live hold.
    fn hold(&mut self, entry: &Entry) -> Option<Life> {
        let id = entry.reservation;
        self.counters(entry);
        let Some(life) = self.state.lives.live(id).cloned() else {
            self.found.breach(Law::TrueYes, format!("{id} is not live"));
            return None;
        };
        self.is_of(entry, &life);
        let LifeStatus::Held(until) = life.stand else {
            self.found.breach(Law::TrueYes, format!("{id} is not a hold"));
            return None;
        };
        let is_over = until <= self.now;
        self.found.expect(!is_over, Law::ClocksDecideNothing, || format!("the hold of {id} was over at {}", until.0));
        Some(life)
    }

    fn confirmed(&mut self, entry: &Entry) {
        if self.hold(entry).is_some() {
            self.told_as(entry, LifeStatus::Confirmed);
            self.stand(entry.reservation, LifeStatus::Confirmed);
        }
    }

    fn extended(&mut self, entry: &Entry) {
        let Some(life) = self.hold(entry) else { return };
        let until = entry.hold_until.unwrap_or_default();
        self.told_as(entry, LifeStatus::Held(until));
        self.found.expect(until > self.now, Law::ClocksDecideNothing, || format!("extended until {}", until.0));
        self.held_within(entry, life.since);
        self.stand(entry.reservation, LifeStatus::Held(until));
        self.state.lives.change(entry.reservation, |held| held.hold(until, life.since));
    }

    fn stand(&mut self, id: ReservationId, stand: LifeStatus) {
        let seq = self.event.seq;
        self.state.lives.change(id, |life| {
            life.stand = stand;
            life.seq = seq;
        });
    }

    fn ended(&mut self, entry: &Entry, how: Ended) {
        let id = entry.reservation;
        let Some(mut life) = self.state.lives.end(id) else {
            self.found.breach(Law::TrueYes, format!("{id} gives back and is not live"));
            return self.counters(entry);
        };
        self.is_of(entry, &life);
        self.state.books.give_back(&life.pool, &life.demand);
        self.counters(entry);
        self.told_as(entry, if how == Ended::Time { LifeStatus::Expired } else { LifeStatus::Released });
        match how {
            Ended::Caller => {}
            Ended::Time => {
                let due = matches!(life.stand, LifeStatus::Held(until) if until <= self.now);
                self.found.expect(due, Law::ClocksDecideNothing, || format!("{id} expires, and is {:?}", life.stand));
            }
            Ended::Abandon => {
                // Owners of before also took away what somebody had confirmed, extended or amended.
                let attempt = self.event.command().map(|command| command.attempt);
                let is_last = !life.is_settled && attempt.is_some_and(|a| life.counting == [a]);
                self.found.expect(is_last, Law::FinalNo, || {
                    format!("{id} lives for {:?} and is taken away with {attempt:?}", life.counting)
                });
                if let Some(attempt) = attempt {
                    self.state.lives.strike(id, attempt, self.comes_no_more());
                }
            }
        }
        let until = self.window_end();
        if how != Ended::Abandon {
            life.stand = if how == Ended::Time { LifeStatus::Expired } else { LifeStatus::Released };
            life.counting.clear();
            life.is_settled = false;
            life.seq = self.event.seq;
            self.state.lives.remember(id, life, until);
        } else if !life.cancelled.is_empty() {
            self.state.lives.remember(id, Life::void(life.pool, life.cancelled), until);
        }
    }

    /// Judges an Abandon that gave nothing back: the attempt is taken back.
    fn abandoned(&mut self, pool: &PoolId, id: ReservationId) {
        let Some(attempt) = self.event.command().map(|command| command.attempt) else { return };
        self.is_of_pool(pool, id);
        let may_come = self.cancelled_until() >= self.now;
        let counted = self.state.lives.live(id).is_some_and(|life| life.counting.contains(&attempt));
        if counted {
            self.state.lives.change(id, |life| life.counting.retain(|a| *a != attempt));
            // Who has confirmed, extended or amended it was told yes.
            let may_live = |life: &Life| !life.counting.is_empty() || life.seq != life.decided_seq;
            let is_left = self.state.lives.live(id).is_some_and(may_live);
            self.found.expect(is_left, Law::FinalNo, || format!("{id} lives on without any attempt"));
        } else if may_come {
            self.cancel(pool, id, attempt);
        }
        self.state.lives.strike(id, attempt, self.comes_no_more());
    }

    /// L5 for a Reserve whose copy would not be recognised: its attempt is taken back with the refusal.
    pub(super) fn refused_for_now(&mut self, pool: &PoolId, id: ReservationId, attempt: Attempt) {
        if self.state.lives.live(id).is_some_and(|life| life.counting.contains(&attempt)) {
            return;
        }
        self.cancel(pool, id, attempt);
        self.state.lives.strike(id, attempt, self.comes_no_more());
    }

    /// Cancels an attempt. Beside an ended reservation nothing is kept, because an attempt cannot take anything of
    /// it. A refusal may be forgotten before the attempt comes.
    fn cancel(&mut self, pool: &PoolId, id: ReservationId, attempt: Attempt) {
        if self.state.lives.live(id).is_some() {
            return self.state.lives.change(id, |life| life.cancel(attempt));
        }
        let mut life = match self.state.lives.recall(id) {
            Some(life) if matches!(life.stand, LifeStatus::Released | LifeStatus::Expired) => return,
            Some(life) => life.clone(),
            None => Life::void(pool.clone(), Vec::new()),
        };
        let until = self.comes_no_more();
        if !self.state.has_reserve(1) {
            return self.state.copies.shut(Micros(until.0.saturating_sub(1)));
        }
        let is_refusal = matches!(life.stand, LifeStatus::Refused(..)) && life.cancelled.is_empty();
        life.cancel(attempt);
        if is_refusal {
            self.state.lives.remember(id, life, until);
        } else {
            self.state.lives.remember_longer(id, life, until);
        }
    }

    /// The command's deadline, where the event has it.
    pub(super) fn deadline(&self) -> Option<Micros> {
        self.event.command().and_then(|command| command.deadline)
    }

    /// The last time at which an attempt that was given up may come.
    fn cancelled_until(&self) -> Micros {
        self.deadline().map_or(self.window_end(), |deadline| deadline.min(self.window_end()))
    }

    /// The first time from which on it comes too late.
    fn comes_no_more(&self) -> Micros {
        Micros(self.cancelled_until().0.saturating_add(1))
    }
}

fn same_dimensions(one: &Amounts, other: &Amounts) -> bool {
    one.iter().map(|(d, _)| d).eq(other.iter().map(|(d, _)| d))
}
