//! The end of a pool's life: nobody's capacity is taken away before its time, and nothing of that life counts afterwards.

use super::judge::Judge;
use crate::domain::{Law, Rejection, RetireCause, Retirement};
use crate::limits::RETIRE_AFTER_DEFAULT_MS;

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
        let after_ms = book.spec.rules.retire_after_ms.unwrap_or(RETIRE_AFTER_DEFAULT_MS);
        let due = book.spec.window.map(|window| window.end.plus_ms(after_ms));
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

    /// Whether the pool has the live reservations for which it may not retire.
    pub(super) fn was_in_use(&self, rejection: &Rejection) -> bool {
        let live = rejection.pool.as_ref().map_or(0, |pool| self.state.lives.in_pool(pool).0);
        live > 0 && rejection.live == Some(live)
    }
}
