//! Watching pools: how they are, and then each change of them, as the log has it. A watch reads committed events by
//! itself, at the pace of its reader: no owner waits for it, and it keeps no more than a few steps in memory.

use super::{Code, Refusal, Service, Shed, Unread};
use crate::domain::coverage::Query;
use crate::domain::{Event, EventBody, Micros, Pool, PoolId, Retirement};
use crate::limits::{SEARCH_STEP_POOLS, WATCH_LOOK_MS, WATCH_STALL_MS, WATCH_STEP_POOLS};
use crate::log::{LogErrorKind, StoredEvent};
use crate::replica::Pools;
use crate::wire;
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::time::{MissedTickBehavior, interval, timeout};

/// About how many bytes of events a watch reads at once. As much, in messages, is in one of its steps.
const WATCH_READ_BYTES: usize = 64 << 10;
/// Most steps that wait for the reader of a watch.
const WATCH_STEPS_MAX: usize = 8;

/// By partition, the sequence number of the first event that was not told.
pub type Places = BTreeMap<u32, u64>;

/// A watch that has told nothing for so many milliseconds tells how far it is when it reads on, in a step without changes.
pub const WATCH_QUIET_MS: u64 = 30_000;

/// Which pools are watched. Every pool meets a condition that is not set.
#[derive(Clone, Debug, Default)]
pub struct WatchFilter {
    /// Areas, times and labels, as in a search. Its demand is not looked at.
    pub query: Query,
    /// The pools with these ids.
    pub pools: BTreeSet<PoolId>,
}

impl WatchFilter {
    fn is_everything(&self) -> bool {
        self.pools.is_empty() && self.query == Query::default()
    }

    fn matches(&self, pool: &Pool) -> bool {
        (self.pools.is_empty() || self.pools.contains(&pool.id)) && self.query.matches(pool, Micros(0))
    }
}

/// A part of what a watch tells.
#[derive(Clone, Debug)]
pub struct Step {
    /// What is told.
    pub update: Update,
    /// Where another watch goes on after this step. Empty before the end of the snapshot.
    pub position: Places,
}

/// What a step tells.
#[derive(Clone, Debug)]
pub enum Update {
    /// Pools as they were when the watch began.
    Snapshot {
        /// Some of those that match.
        pools: Vec<Arc<Pool>>,
        /// Whether changes follow.
        is_last: bool,
    },
    /// Changes of one partition, in order. There are none in a step that only tells the position.
    Changes(Vec<Change>),
}

/// An event that has changed a pool: its definition, or what is used of it.
#[derive(Clone, Debug)]
pub struct Change {
    /// The event, with the values after it.
    pub event: Event,
    /// Whether the pool is watched after it.
    pub is_watched: bool,
}

/// The end of a watch.
#[derive(Clone, Debug)]
pub struct WatchEnd {
    /// Why it ended.
    pub refusal: Refusal,
    /// Where another one goes on after the steps that were told. Empty before the end of the snapshot.
    pub position: Places,
}

/// The steps of a watch, and its end. Dropping it ends the watch.
#[derive(Debug)]
pub struct Steps {
    steps: mpsc::Receiver<Step>,
    end: Option<oneshot::Receiver<WatchEnd>>,
}

impl Steps {
    /// The next step; after the last one, why the watch ended, and then nothing.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Step, WatchEnd>>> {
        if let Some(step) = std::task::ready!(self.steps.poll_recv(context)) {
            return Poll::Ready(Some(Ok(step)));
        }
        let Some(end) = &mut self.end else { return Poll::Ready(None) };
        let ended = std::task::ready!(Pin::new(end).poll(context));
        self.end = None;
        let ended = ended.unwrap_or_else(|_| WatchEnd {
            refusal: Refusal::bug("a watch ended without saying why"),
            position: Places::new(),
        });
        Poll::Ready(Some(Err(ended)))
    }
}

/// The pools of all partitions as they were at one position, to be looked at in parts.
struct Snapshot {
    /// The partitions that have not been looked at to their end, the first one last.
    views: Vec<Pools>,
    after: Option<PoolId>,
}

impl Snapshot {
    /// The next pools that match, at most [`WATCH_STEP_POOLS`], and at most [`SEARCH_STEP_POOLS`] are looked at.
    fn next(&mut self, filter: &WatchFilter) -> Vec<Arc<Pool>> {
        let mut found = Vec::new();
        let Some(view) = self.views.last() else { return found };
        let (mut looked, mut last): (usize, Option<&PoolId>) = (0, None);
        let mut is_over = true;
        for id in view.candidates(&filter.query, Micros(0), self.after.as_ref(), SEARCH_STEP_POOLS) {
            if looked == SEARCH_STEP_POOLS || found.len() == WATCH_STEP_POOLS {
                is_over = false;
                break;
            }
            looked = looked.saturating_add(1);
            found.extend(view.get(id).filter(|pool| last != Some(id) && filter.matches(pool)).cloned());
            last = Some(id);
        }
        self.after = last.filter(|_| !is_over).cloned();
        if is_over {
            self.views.pop();
        }
        found
    }
}

/// A watch while it runs.
struct Watch {
    service: Arc<Service>,
    filter: WatchFilter,
    position: Places,
    /// The pools that are known to match, where not all do.
    watched: BTreeSet<PoolId>,
    /// Of a watch that goes on from a position: where the state was that `watched` was made of.
    begun: Places,
    steps: mpsc::Sender<Step>,
    /// When the last step was told, or the watch began, by [`Service::now`].
    told_at: Micros,
}

/// Whether a watch goes on. `Err` is its end; `None` when nobody listens any more.
type Goes = Result<(), Option<Refusal>>;

impl Service {
    /// Watches pools, from this position on, or from how they are now. The steps come in the order of each partition.
    ///
    /// # Errors
    /// The [`Refusal`] to tell the caller.
    pub async fn watch_pools(self: &Arc<Service>, filter: WatchFilter, from: Option<Places>) -> Result<Steps, Refusal> {
        let mut slot = Arc::clone(&self.watches).try_acquire_owned().map_err(|_| Refusal::Shed(Shed::Watches))?;
        for handle in self.replica().partitions() {
            self.readable(handle, false).await?;
        }
        if let Some(from) = &from {
            slot = self.check_places(from.clone(), slot).await?;
        }
        let (steps, told) = mpsc::channel(WATCH_STEPS_MAX);
        let (ended, end) = oneshot::channel();
        let watch = Watch {
            service: Arc::clone(self),
            filter,
            position: from.unwrap_or_default(),
            watched: BTreeSet::new(),
            begun: Places::new(),
            steps,
            told_at: self.now(),
        };
        tokio::spawn(watch.run(ended, slot));
        Ok(Steps { steps: told, end: Some(end) })
    }

    /// The number of watches that are open.
    pub fn watches(&self) -> usize {
        crate::limits::WATCHES_MAX.saturating_sub(self.watches.available_permits())
    }

    /// Refuses a position that the log does not have. The log may take long to answer, and the caller may leave meanwhile: the
    /// questions are asked all the same, and keep a thread. So they keep the slot of the watch, too, which is handed back.
    async fn check_places(&self, places: Places, slot: OwnedSemaphorePermit) -> Result<OwnedSemaphorePermit, Refusal> {
        let count = self.replica().partition_count();
        if let Some(partition) = (0..count).find(|partition| !places.contains_key(partition)) {
            return Err(Refusal::PositionOutOfRange(format!("it has no sequence number for partition {partition}")));
        }
        if let Some(partition) = places.keys().find(|partition| **partition >= count) {
            return Err(Refusal::PositionOutOfRange(format!("there is no partition {partition}")));
        }
        let tail = Arc::clone(&self.tail);
        let has = move |(partition, from): (u32, u64)| match tail.end_told(partition) {
            Ok(end) if from <= end => Ok(()),
            Ok(end) => {
                let why = format!("partition {partition} ends before event {end}, and it names event {from}");
                Err(Refusal::PositionOutOfRange(why))
            }
            Err(error) => Err(Refusal::Unread(unreadable(partition, error.detail))),
        };
        let checked = tokio::task::spawn_blocking(move || places.into_iter().try_for_each(has).map(|()| slot));
        checked.await.map_err(|_| Refusal::bug("a question to the log panicked"))?
    }
}

impl Watch {
    async fn run(mut self, ended: oneshot::Sender<WatchEnd>, slot: OwnedSemaphorePermit) {
        if let Err(Some(refusal)) = self.tell_all().await {
            // The reader may have left meanwhile.
            let _ = ended.send(WatchEnd { refusal, position: self.position });
        }
        drop(slot);
    }

    async fn tell_all(&mut self) -> Goes {
        self.begin().await?;
        let mut look = interval(Duration::from_millis(WATCH_LOOK_MS));
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = look.tick() => {}
                () = self.steps.closed() => return Err(None),
            }
            while self.advance().await? {
                // A watch that reads much and tells nothing would not notice that its reader has left.
                self.goes_on()?;
            }
            self.goes_on()?;
        }
    }

    /// The end, once nobody listens any more or the process leaves.
    fn goes_on(&self) -> Goes {
        if self.steps.is_closed() {
            return Err(None);
        }
        if self.service.is_leaving() {
            return Err(Some(Refusal::Shed(Shed::Closing)));
        }
        Ok(())
    }

    /// Tells the pools as they are; for a watch that goes on from a position, only learns which of them match.
    async fn begin(&mut self) -> Goes {
        let mut now = Places::new();
        let views = self.service.replica().partitions().map(|handle| {
            handle.read(|state| {
                now.insert(handle.id(), state.position().next_seq);
                state.pools().clone()
            })
        });
        let mut views: Vec<_> = views.collect();
        views.reverse();
        let mut snapshot = Snapshot { views, after: None };
        let is_told = self.position.is_empty();
        if !is_told {
            self.begun.clone_from(&now);
            if self.filter.is_everything() {
                return Ok(());
            }
        }
        while !snapshot.views.is_empty() {
            self.goes_on()?;
            let filter = self.filter.clone();
            let looked = self.service.searches.turn(move || {
                let pools = snapshot.next(&filter);
                (snapshot, pools)
            });
            let (rest, pools) = looked.await.map_err(Some)?;
            snapshot = rest;
            if !self.filter.is_everything() {
                self.watched.extend(pools.iter().map(|pool| pool.id.clone()));
            }
            let is_last = snapshot.views.is_empty();
            if is_told && (is_last || !pools.is_empty()) {
                let position = if is_last { now.clone() } else { Places::new() };
                self.tell(Step { update: Update::Snapshot { pools, is_last }, position }).await?;
            }
        }
        if is_told { Ok(()) } else { self.go_to_position().await }
    }

    /// Turns `watched`, which is of the state now, into what is known of the pools at the position.
    async fn go_to_position(&mut self) -> Goes {
        for (partition, begun) in self.begun.clone() {
            let position = self.position.get(&partition).copied().unwrap_or(begun);
            let (mut from, until) = (position.min(begun), position.max(begun));
            while from < until && (position > begun || self.may_have_differed()) {
                self.goes_on()?;
                let events = self.read(partition, from).await?;
                if events.is_empty() {
                    // The log is asked again after a while.
                    let _ = timeout(Duration::from_millis(WATCH_LOOK_MS), self.steps.closed()).await;
                }
                for stored in events.iter().take_while(|stored| stored.seq < until) {
                    self.learn(&decoded(partition, stored)?);
                }
                from = events.last().map_or(from, |last| last.seq.saturating_add(1));
            }
        }
        Ok(())
    }

    /// Whether pools that match now may not have matched before. Where only ids are asked for, they always did.
    fn may_have_differed(&self) -> bool {
        !self.watched.is_empty() && self.filter.query != Query::default()
    }

    /// Takes an event between the position and the state that `watched` was made of into account.
    fn learn(&mut self, event: &Event) {
        if self.is_before_begun(event) {
            // Limits and the mode are no conditions. Whether a pool matched before any other definition, and before its
            // end, nobody knows. That event will tell what it is from then on.
            if let EventBody::PoolDefined(Pool { id, .. })
            | EventBody::PoolChanged(Pool { id, .. })
            | EventBody::PoolRetired(Retirement { pool: Pool { id, .. }, .. }) = &event.body
            {
                self.watched.remove(id);
            }
        } else {
            // The position is ahead of the state.
            self.tells_of(event);
        }
    }

    /// Reads on in each partition that has more, and answers whether one of them had more than one read takes.
    async fn advance(&mut self) -> Result<bool, Option<Refusal>> {
        let mut has_more = false;
        for partition in 0..self.service.replica().partition_count() {
            let from = self.position.get(&partition).copied().unwrap_or_default();
            let folded = self.service.replica().partition(partition).map_or(0, |handle| handle.next_seq());
            if folded <= from {
                continue;
            }
            let events = self.read(partition, from).await?;
            // What has come meanwhile waits for the next look: beside owners that commit all the time, a watch would never rest.
            has_more |= events.last().is_some_and(|last| last.seq.saturating_add(1) < folded);
            self.tell_events(partition, &events).await?;
        }
        Ok(has_more)
    }

    /// The next events of a partition; none where it ends, and when the log has to be asked again.
    async fn read(&self, partition: u32, from: u64) -> Result<Vec<StoredEvent>, Option<Refusal>> {
        let tail = Arc::clone(&self.service.tail);
        let read = tokio::task::spawn_blocking(move || tail.read(partition, from, WATCH_READ_BYTES)).await;
        match read.map_err(|_| Some(Refusal::bug("a read of the log panicked")))? {
            Ok(events) => Ok(events),
            Err(error) if error.kind == LogErrorKind::Transient => Ok(Vec::new()),
            Err(error) if error.is_out_of_range() => Err(Some(Refusal::PositionOutOfRange(error.detail))),
            Err(error) => Err(Some(Refusal::Unread(unreadable(partition, error.detail)))),
        }
    }

    async fn tell_events(&mut self, partition: u32, events: &[StoredEvent]) -> Goes {
        let Some(last) = events.last() else { return Ok(()) };
        let mut changes = Vec::new();
        for stored in events {
            let event = decoded(partition, stored)?;
            if let Some(is_watched) = self.tells_of(&event) {
                changes.push(Change { event, is_watched });
            }
        }
        let mut position = self.position.clone();
        position.insert(partition, last.seq.saturating_add(1));
        // The reader of a quiet watch, too, can later go on near here, and not where the log may hold nothing any more.
        if changes.is_empty() && self.service.now().ms_since(self.told_at) < WATCH_QUIET_MS {
            self.position = position;
            return Ok(());
        }
        self.tell(Step { update: Update::Changes(changes), position }).await
    }

    /// Whether the pool of this event is watched after it; `None` when the watch does not tell of the event.
    fn tells_of(&mut self, event: &Event) -> Option<bool> {
        let (id, definition) = match &event.body {
            EventBody::PoolDefined(pool)
            | EventBody::LimitsAdjusted(pool)
            | EventBody::ModeSet(pool)
            | EventBody::PoolChanged(pool) => (&pool.id, Some(pool)),
            EventBody::PoolRetired(retirement) => (&retirement.pool.id, None),
            EventBody::Accepted(entry)
            | EventBody::Amended(entry, _)
            | EventBody::Released(entry, _)
            | EventBody::Expired(entry) => (&entry.pool, None),
            _ => return None,
        };
        if id.is_internal() {
            return None;
        }
        let is_over = matches!(event.body, EventBody::PoolRetired(_));
        if self.filter.is_everything() {
            return Some(!is_over);
        }
        if is_over {
            return self.is_watched_no_more(event, id);
        }
        let Some(pool) = definition else { return self.watched.contains(id).then_some(true) };
        if self.filter.matches(pool) {
            self.watched.insert(id.clone());
            return Some(true);
        }
        self.is_watched_no_more(event, id)
    }

    /// Whether to tell that the pool is not watched after this event; `None` when it was not watched before.
    fn is_watched_no_more(&mut self, event: &Event, id: &PoolId) -> Option<bool> {
        // What matched before `watched` was made is not known, so its end is told in any case.
        let is_named = self.filter.pools.is_empty() || self.filter.pools.contains(id);
        let may_have_matched = is_named && self.is_before_begun(event);
        (self.watched.remove(id) || may_have_matched).then_some(false)
    }

    fn is_before_begun(&self, event: &Event) -> bool {
        self.begun.get(&event.partition).is_some_and(|begun| event.seq < *begun)
    }

    /// Hands a step over, as soon as there is room for it.
    async fn tell(&mut self, step: Step) -> Goes {
        let mut waited_ms = 0_u64;
        let room = loop {
            match timeout(Duration::from_millis(WATCH_LOOK_MS), self.steps.reserve()).await {
                Ok(room) => break room.map_err(|_| None)?,
                Err(_) if self.service.is_leaving() => return Err(Some(Refusal::Shed(Shed::Closing))),
                Err(_) if waited_ms >= WATCH_STALL_MS => return Err(Some(Refusal::SlowReader)),
                Err(_) => waited_ms = waited_ms.saturating_add(WATCH_LOOK_MS),
            }
        };
        let position = step.position.clone();
        self.told_at = self.service.now();
        room.send(step);
        self.position = position;
        Ok(())
    }
}

fn decoded(partition: u32, stored: &StoredEvent) -> Result<Event, Option<Refusal>> {
    let unread = |error: wire::DecodeError| Some(Refusal::Unread(unreadable(partition, error.to_string())));
    Ok(wire::event::decode(&stored.bytes).map_err(unread)?.event)
}

/// The refusal of a watch whose log cannot be read.
fn unreadable(partition: u32, why: String) -> Unread {
    Unread { partition, code: Code::Unreadable, why }
}
