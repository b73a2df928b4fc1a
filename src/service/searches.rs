//! Searches over pools and reservations: how many may be open, how many run at once, and on which threads. They do not run on
//! the threads that handle requests. So these threads stay free for reservations, however many callers search.

use super::Refusal;
use crate::gateway::admission::Shed;
use crate::limits::{READS_AT_ONCE_MAX, READS_MAX};
use crate::replica::{Listing, Search};
use crate::threads::{self, processors};
use std::sync::Arc;
use tokio::sync::{Semaphore, SemaphorePermit};

/// The slots that searches take.
pub(super) struct Searches {
    /// One for each search that is open.
    slots: Semaphore,
    /// One for each search that runs now. The search that has waited longest is next.
    turns: Arc<Semaphore>,
}

enum Step<F, T> {
    Unfinished(Search, F),
    Done(T),
}

impl Searches {
    /// All slots are free.
    pub(super) fn new() -> Searches {
        let at_once = (processors() / 2).clamp(1, READS_AT_ONCE_MAX);
        Searches { slots: Semaphore::new(READS_MAX), turns: Arc::new(Semaphore::new(at_once)) }
    }

    /// Takes a slot, for as long as the permit lives.
    ///
    /// # Errors
    /// [`Shed::Reads`] when there is none.
    pub(super) fn enter(&self) -> Result<SemaphorePermit<'_>, Shed> {
        self.slots.try_acquire().map_err(|_| Shed::Reads)
    }

    /// Begins a search, runs it to its end while it alternates with the other searches, and makes the answer.
    ///
    /// # Errors
    /// [`Refusal::Internal`] when it panics.
    pub(super) async fn run<F, T>(
        &self,
        begin: impl FnOnce() -> Search + Send + 'static,
        render: F,
    ) -> Result<T, Refusal>
    where
        F: FnOnce(Listing) -> T + Send + 'static,
        T: Send + 'static,
    {
        let mut step = self.turn(move || advance(begin(), render)).await?;
        loop {
            step = match step {
                Step::Done(answer) => return Ok(answer),
                Step::Unfinished(search, render) => self.turn(move || advance(search, render)).await?,
            };
        }
    }

    /// Does a bounded part of the work, when it is its turn.
    ///
    /// # Errors
    /// [`Refusal::Internal`] when it panics.
    pub(super) async fn turn<S: Send + 'static>(
        &self,
        work: impl FnOnce() -> S + Send + 'static,
    ) -> Result<S, Refusal> {
        let turn = Arc::clone(&self.turns).acquire_owned().await;
        threads::blocking(turn, work).await.map_err(|_| Refusal::bug("a search panicked"))
    }
}

/// Does a bounded part of the work.
fn advance<T, F: FnOnce(Listing) -> T>(mut search: Search, render: F) -> Step<F, T> {
    if search.step() { Step::Unfinished(search, render) } else { Step::Done(render(search.finish())) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crossbeam_channel::bounded;
    use std::pin::pin;
    use std::task::{Context, Waker};

    #[test]
    fn no_more_searches_are_under_way_than_may() {
        let searches = Searches::new();
        let mut slots: Vec<_> = (0..READS_MAX).map(|_| searches.enter().unwrap()).collect();
        assert_eq!(searches.enter().err(), Some(Shed::Reads));
        slots.pop();
        assert!(searches.enter().is_ok());
    }

    /// The story: callers did not wait for slow searches and asked again. What they had begun went on, and each of them let
    /// another one begin beside it, until searches had all processors.
    #[tokio::test]
    async fn work_whose_caller_has_left_keeps_its_turn_until_it_ends() {
        let searches = Searches::new();
        let (end, ended) = bounded::<()>(0);
        for _ in 0..searches.turns.available_permits() {
            let ended = ended.clone();
            let left = pin!(searches.turn(move || ended.recv().is_err()));
            assert!(left.poll(&mut Context::from_waker(Waker::noop())).is_pending());
        }
        assert_eq!(searches.turns.available_permits(), 0);
        drop(end);
        assert!(searches.turn(|| true).await.unwrap());
    }
}
