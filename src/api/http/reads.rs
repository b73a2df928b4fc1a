//! Queries over pools on their way: how many there may be, how many are worked on at once, and where. Not on the threads
//! that take calls in and give answers out: however many read, those are free for whoever reserves.

use super::problem::Unread;
use super::reply::{Problem, Reply};
use crate::gateway::admission::Shed;
use crate::limits::{READS_AT_ONCE_MAX, READS_MAX};
use crate::replica::{Listing, Search};
use std::num::NonZero;
use std::thread::available_parallelism;
use tokio::sync::{Semaphore, SemaphorePermit};

/// The places there are for queries.
pub struct Reads {
    under_way: Semaphore,
    /// Whoever waits longest for it has the next turn.
    at_once: Semaphore,
}

/// A query on its way, and what its answer is made of.
pub struct Read {
    /// The query.
    pub search: Search,
    /// The partitions that it cannot look at.
    pub incomplete: Vec<Unread>,
    /// What makes the answer.
    pub reply: fn(Listing, &[Unread]) -> Reply,
}

enum Went {
    Further(Read),
    Done(Reply),
}

impl Read {
    fn go_on(mut self) -> Went {
        if self.search.step() {
            return Went::Further(self);
        }
        Went::Done((self.reply)(self.search.finish(), &self.incomplete))
    }
}

impl Reads {
    /// All of them free.
    pub fn new() -> Reads {
        let processors = available_parallelism().map_or(1, NonZero::get);
        let at_once = (processors / 2).clamp(1, READS_AT_ONCE_MAX);
        Reads { under_way: Semaphore::new(READS_MAX), at_once: Semaphore::new(at_once) }
    }

    /// A place for one, for as long as it is kept.
    ///
    /// # Errors
    /// [`Shed::Reads`] when there is none.
    pub fn enter(&self) -> Result<SemaphorePermit<'_>, Shed> {
        self.under_way.try_acquire().map_err(|_| Shed::Reads)
    }

    /// Begins a query and takes it to its end, in turns with the others.
    ///
    /// # Errors
    /// The [`Problem`] to answer.
    pub async fn run(&self, begin: impl FnOnce() -> Read + Send + 'static) -> Result<Reply, Problem> {
        let mut went = self.turn(move || begin().go_on()).await?;
        loop {
            went = match went {
                Went::Done(reply) => return Ok(reply),
                Went::Further(read) => self.turn(move || read.go_on()).await?,
            };
        }
    }

    async fn turn(&self, work: impl FnOnce() -> Went + Send + 'static) -> Result<Went, Problem> {
        let _turn = self.at_once.acquire().await;
        tokio::task::spawn_blocking(work).await.map_err(|_| Problem::bug("a query over pools panicked"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_queries_are_under_way_than_may() {
        let reads = Reads::new();
        let mut places: Vec<_> = (0..READS_MAX).map(|_| reads.enter().unwrap()).collect();
        assert_eq!(reads.enter().err(), Some(Shed::Reads));
        places.pop();
        assert!(reads.enter().is_ok());
    }
}
