//! The end of a pool's life: nobody's capacity is taken away before its time, and nothing of that life counts afterwards.

use super::judge::Judge;
use crate::domain::event::RETIREMENT_VERSION;
use crate::domain::{Law, Micros, Pool, PoolId, PoolSpec, Rejection, RetireCause, Retirement};
use crate::limits::{RETIRE_AFTER_DEFAULT_MS, RETIRE_AFTER_MIN_MS};

impl Judge<'_> {
    pub(super) fn pool_retired(&mut self, retirement: &Retirement) {
        let Retirement { pool, live, cause } = retirement;
        let Some(book) = self.state.books.get(&pool.id) else {
            return self.found.breach(Law::OneState, format!("pool {} retires, and is not defined", pool.id));
        };
        self.found.expect(pool.spec == book.spec && pool.version == book.version, Law::OneState, || {
            format!("pool {} retires as {pool:?}, it is {:?} at version {}", pool.id, book.spec, book.version)
        });
        self.found.expect(book.is_used(&pool.used), Law::Capacity, || {
            format!("pool {} retires with {:?} in use, the live demands are {:?}", pool.id, pool.used, book.used)
        });
        let due = due(&book.spec);
        let (counted, held) = self.state.lives.in_pool(&pool.id);
        self.found.expect(*live == counted, Law::TrueYes, || {
            format!("pool {} retires with {live} live reservations, it has {counted}", pool.id)
        });
        if *cause == RetireCause::Window {
            self.found.expect(due.is_some_and(|due| due <= self.now), Law::OneState, || {
                format!("pool {} retires by itself at {}, due is {due:?}", pool.id, self.now.0)
            });
            self.found.expect(held == 0, Law::TrueYes, || {
                format!("pool {} retires by itself with {held} live holds", pool.id)
            });
        }
        let until = self.window_end();
        self.state.retire(&pool.id, self.event.seq, until);
    }

    /// Judges the definition of a pool: its id is free, and the pool does not retire by itself so soon that somebody may
    /// still ask for what it has now. Events of older versions know no retirement.
    pub(super) fn pool_is_free(&mut self, pool: &Pool) {
        let retired = self.state.retired.recall(&pool.id);
        self.found.expect(retired.is_none(), Law::OneState, || {
            format!("pool {} is defined anew, and its id has retired with the event {retired:?}", pool.id)
        });
        let after = due(&pool.spec);
        let before = self.state.books.get(&pool.id).and_then(|book| due(&book.spec));
        let is_sooner = after.is_some_and(|after| {
            before.is_none_or(|before| after < before) && after < self.now.plus_ms(RETIRE_AFTER_MIN_MS)
        });
        self.found.expect(!is_sooner || self.version < RETIREMENT_VERSION, Law::OneState, || {
            format!("pool {} is to retire at {after:?} in place of {before:?}", pool.id)
        });
    }

    /// A refusal says whether the pool has retired lately, and until when its id is not free.
    pub(super) fn told_retired(&mut self, pool: &PoolId, rejection: &Rejection) {
        let until = self.state.retired.until(pool);
        let is_told = self.version < RETIREMENT_VERSION || rejection.retired_until == until;
        self.found.expect(is_told, Law::OneState, || {
            format!("a refusal says that pool {pool} has retired until {:?}, it has {until:?}", rejection.retired_until)
        });
    }

    /// Whether the pool has the live reservations for which it may not retire.
    pub(super) fn was_in_use(&self, rejection: &Rejection) -> bool {
        let live = rejection.pool.as_ref().map_or(0, |pool| self.state.lives.in_pool(pool).0);
        live > 0 && rejection.live == Some(live)
    }
}

/// When a pool of this definition retires by itself.
fn due(spec: &PoolSpec) -> Option<Micros> {
    let after_ms = spec.rules.retire_after_ms.unwrap_or(RETIRE_AFTER_DEFAULT_MS);
    spec.window.map(|window| window.end.plus_ms(after_ms))
}
