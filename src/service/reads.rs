//! Reads. They append no commands. They answer from the states in this process, and say how old these states are.

use super::fresh::ASKED_AT_ONCE_MAX;
use super::{Code, Refusal, Service, Unread};
use crate::domain::coverage::Query;
use crate::domain::{Pool, PoolId, Reservation, ReservationId};
use crate::limits::FRESH_WAIT_MAX_MS;
use crate::replica::query::Known;
use crate::replica::{PartitionHandle, PartitionStatus, Search};
use futures_util::future::try_join_all;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

pub use crate::replica::{Listing, PoolPage, ReservationPage, Reservations};

/// One page of pools, and what is missing in it.
#[derive(Clone, Debug)]
pub struct PoolList {
    /// The pools that could be read.
    pub listing: Listing,
    /// Partitions that could not be read: their pools are not in the listing.
    pub incomplete: Vec<Unread>,
}

/// A reservation as it was read, with the counters of its pool at that time.
#[derive(Clone, Debug)]
pub struct ReservationView {
    /// The reservation as the state holds it.
    pub reservation: Reservation,
    /// The pool that it takes capacity from.
    pub pool: Arc<Pool>,
    /// The number of its partition.
    pub partition: u32,
    /// The sequence number of the first event that the read does not include.
    pub next_seq: u64,
}

impl Service {
    /// One pool. `is_fresh` waits for everything that was committed before this call.
    ///
    /// # Errors
    /// The [`Refusal`] to tell the caller.
    pub async fn pool(&self, id: &PoolId, is_fresh: bool) -> Result<Arc<Pool>, Refusal> {
        if let Some(handle) = self.replica().of_pool(id) {
            self.readable(handle, is_fresh).await?;
            self.reads(handle);
        }
        self.replica().pool(id).ok_or_else(|| self.unknown_pool(id.clone()))
    }

    /// One reservation, which may have ended already. `is_fresh` waits for everything that was committed before this
    /// call.
    ///
    /// # Errors
    /// The [`Refusal`] to tell the caller.
    pub async fn reservation(&self, id: ReservationId, is_fresh: bool) -> Result<ReservationView, Refusal> {
        let unknown = || Refusal::UnknownReservation(id);
        let handle = self.replica().of_reservation(&id).ok_or_else(unknown)?;
        self.readable(handle, is_fresh).await?;
        self.reads(handle);
        let Known { reservation, pool, next_seq } = self.admitted(id).ok_or_else(unknown)?;
        Ok(ReservationView { reservation, pool, partition: handle.id(), next_seq })
    }

    /// A page of the pools that match, by id. Partitions that cannot be read are named; the call is refused only when
    /// all of them are, or when the newest state did not come in time. `render` makes the answer of the edge on a
    /// thread that may block, because a page can be long.
    ///
    /// # Errors
    /// The [`Refusal`] to tell the caller.
    pub async fn pools<T: Send + 'static>(
        &self,
        query: Query,
        page: PoolPage,
        is_fresh: bool,
        render: fn(PoolList) -> T,
    ) -> Result<T, Refusal> {
        let (mut readable, mut incomplete) = (Vec::new(), Vec::new());
        // Beside each other: most of them answer while one does not.
        let turns = &Semaphore::new(ASKED_AT_ONCE_MAX);
        let all = self.replica().partitions().map(move |handle| async move {
            match self.readable_beside(handle, is_fresh, turns).await {
                // A second call will find it readable. The others are not waited for.
                Err(unread) if unread.code == Code::NotFresh && handle.folds() => Err(unread),
                told => Ok(told),
            }
        });
        let told = try_join_all(all).await?;
        for (handle, told) in self.replica().partitions().zip(told) {
            match told {
                Ok(()) => readable.push(Arc::clone(handle)),
                Err(unread) => incomplete.push(unread),
            }
        }
        if readable.is_empty() {
            let first = incomplete.into_iter().max_by_key(|unread| unread.code.meaning().is_retryable);
            return Err(first.map_or_else(|| Refusal::bug("a log without partitions"), Refusal::from));
        }
        let _slot = self.searches.enter().map_err(Refusal::Shed)?;
        let gateway = Arc::clone(&self.gateway);
        let begin = move || Search::begin(&readable, query, page, gateway.clock());
        let tell = Arc::clone(&self.gateway);
        let render = move |listing: Listing| {
            if let Some(report) = tell.report() {
                report.read(listing.staleness_ms.saturating_mul(1_000));
            }
            render(PoolList { listing, incomplete })
        };
        self.searches.run(begin, render).await
    }

    /// A page of the reservations of a pool, by id, and for how many milliseconds it may have been out of date. `render`
    /// makes the answer of the edge on a thread that may block, because a page can be long.
    ///
    /// # Errors
    /// The [`Refusal`] to tell the caller.
    pub async fn reservations<T: Send + 'static>(
        &self,
        page: ReservationPage,
        is_fresh: bool,
        render: fn(Reservations, u64) -> T,
    ) -> Result<T, Refusal> {
        let pool = page.pool.clone();
        if let Some(handle) = self.replica().of_pool(&pool) {
            self.readable(handle, is_fresh).await?;
        }
        let _slot = self.searches.enter().map_err(Refusal::Shed)?;
        let gateway = Arc::clone(&self.gateway);
        let look = move || {
            let (found, staleness_us) = gateway.replica().reservations(&page, gateway.clock())?;
            if let Some(report) = gateway.report() {
                report.read(staleness_us);
            }
            Some(render(found, staleness_us / 1_000))
        };
        self.searches.turn(look).await?.ok_or_else(|| self.unknown_pool(pool))
    }

    fn unknown_pool(&self, id: PoolId) -> Refusal {
        let retired_until = self.replica().retired_until(&id, self.gateway.clock());
        Refusal::UnknownPool(id, retired_until)
    }

    /// Reports how old the state of the partition is that a caller is answered from.
    fn reads(&self, handle: &PartitionHandle) {
        if let Some(report) = self.gateway.report() {
            report.read(handle.staleness_us(self.gateway.now()));
        }
    }

    /// Refuses a partition whose state is not complete. `is_fresh` waits until the state has everything that was
    /// committed before this call.
    pub(super) async fn readable(&self, handle: &PartitionHandle, is_fresh: bool) -> Result<(), Unread> {
        self.readable_beside(handle, is_fresh, &Semaphore::new(1)).await
    }

    /// The same for a call that reads several partitions. It has the log asked in one of these turns.
    async fn readable_beside(&self, handle: &PartitionHandle, is_fresh: bool, turns: &Semaphore) -> Result<(), Unread> {
        let stopped = handle.why_not_served();
        // A partition that has stopped stays readable, unless its state is empty.
        let is_empty = || handle.read(|state| state.position().next_seq == 0);
        let code = match handle.status() {
            PartitionStatus::Restoring => Some(Code::Restoring),
            PartitionStatus::Unreadable { .. } => Some(Code::Unreadable),
            PartitionStatus::Failed { .. } if is_empty() => Some(Code::Unreadable),
            PartitionStatus::Reopening { .. } if is_empty() => Some(Code::Restoring),
            _ => None,
        };
        if let Some(code) = code {
            // The cause may have ended meanwhile.
            return Err(Unread::of(handle, code, stopped.unwrap_or_else(|| "restoring".to_owned())));
        }
        if is_fresh {
            self.caught_up(handle, Duration::from_millis(FRESH_WAIT_MAX_MS), turns).await?;
        }
        Ok(())
    }

    /// Waits until the state of a partition has everything that was committed before this call, at most so long and at most
    /// [`FRESH_WAIT_MAX_MS`]. The log is asked in one of these turns.
    pub(super) async fn caught_up(
        &self,
        handle: &PartitionHandle,
        within: Duration,
        turns: &Semaphore,
    ) -> Result<(), Unread> {
        let (stopped, within) = (handle.why_not_served(), within.min(Duration::from_millis(FRESH_WAIT_MAX_MS)));
        if self.freshness.reached_beside(handle, within, turns).await {
            return Ok(());
        }
        let ms = within.as_millis();
        let late = || format!("what was committed when the call came was not read within {ms} ms");
        Err(Unread::of(handle, Code::NotFresh, stopped.unwrap_or_else(late)))
    }

    /// A reservation that was admitted once, and its pool. A refusal that a key remembers has an id too, but was never
    /// admitted.
    pub(super) fn admitted(&self, id: ReservationId) -> Option<Known> {
        let known = self.replica().reservation(&id, self.gateway.clock())?;
        known.reservation.status.was_admitted().then_some(known)
    }
}

impl From<Unread> for Refusal {
    fn from(unread: Unread) -> Refusal {
        Refusal::Unread(unread)
    }
}
