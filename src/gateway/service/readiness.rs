//! The shell of [`Readiness`]: what this process sees of its partitions, and the lines that say what has changed.

use super::Gateway;
use crate::gateway::readiness::{Condition, News, Outage, Seen, Silence};
use crate::limits::{CLOCK_AHEAD_MAX_MS, READINESS_LOOK_MS, STARTUP_LINE_MS};
use crate::replica::partition::{EXPIRING, LogContact, RESTORING};
use crate::replica::{PartitionHandle, StatusKind};
use std::collections::BTreeMap;
use std::time::Duration;

/// How far the start of the process is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Startup {
    /// [`RESTORING`] while a state is rebuilt, [`EXPIRING`] after that.
    pub phase: &'static str,
    /// The partitions that are not served yet, by number.
    pub partitions: BTreeMap<u32, Restored>,
}

/// How far the state of one partition is rebuilt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Restored {
    /// Events that the state holds.
    pub events: u64,
    /// Events that the log had when restoring began; none before the log has said so.
    pub of: Option<u64>,
}

impl Startup {
    fn tell(&self) {
        let sum = |counts: &mut dyn Iterator<Item = u64>| counts.fold(0u64, u64::saturating_add);
        let (partitions, phase) = (self.partitions.len(), self.phase);
        let events = sum(&mut self.partitions.values().map(|restored| restored.events));
        let of = sum(&mut self.partitions.values().filter_map(|restored| restored.of));
        tracing::info!(phase, partitions, events, of, "the process is starting");
    }
}

impl Gateway {
    /// Every partition that is not as it should be, by the gateway's clock.
    pub fn outages(&self) -> BTreeMap<u32, Outage> {
        let (mut readiness, seen) = (self.readiness.lock(), self.seen());
        let now = self.running.now();
        let (mut outages, news) = readiness.look(seen, now);
        drop(readiness);
        tell(&news);
        let wall = self.clock.wall();
        for outage in outages.values_mut() {
            let ago = now.0.saturating_sub(outage.since.0);
            outage.since = crate::domain::Micros(wall.0.saturating_sub(ago));
        }
        outages
    }

    /// For how long signs of life of each partition are missing, as [`Gateway::outages`] has seen it last.
    pub fn silences(&self) -> BTreeMap<u32, Silence> {
        self.readiness.lock().silences(self.running.now())
    }

    /// Whether a call on any partition may be decided.
    pub fn decides(&self, outages: &BTreeMap<u32, Outage>) -> bool {
        (0..self.replica.partition_count()).any(|p| outages.get(&p).is_none_or(|outage| outage.decides))
    }

    /// Looks at the partitions again and again, for as long as it is polled: so log lines report a change although
    /// nobody asks. One task runs it.
    pub async fn keep_watch(&self) {
        let mut look = tokio::time::interval(Duration::from_millis(READINESS_LOOK_MS));
        let mut line = tokio::time::interval(Duration::from_millis(STARTUP_LINE_MS));
        // The first tick is due at once.
        line.tick().await;
        loop {
            tokio::select! {
                _ = look.tick() => drop(self.outages()),
                _ = line.tick() => {
                    if let Some(startup) = self.startup() {
                        startup.tell();
                    }
                }
            }
        }
    }

    /// How far the start of this process is; none when no partition is being rebuilt any more.
    pub fn startup(&self) -> Option<Startup> {
        let handles = self.replica.partitions();
        let restoring: Vec<_> = handles.filter(|handle| handle.status_kind() == StatusKind::Restoring).collect();
        let phase = if restoring.iter().all(|handle| handle.progress().is_expiring()) { EXPIRING } else { RESTORING };
        let restored =
            |handle: &PartitionHandle| Restored { events: handle.next_seq(), of: handle.progress().end_seq() };
        let partitions: BTreeMap<_, _> = restoring.into_iter().map(|handle| (handle.id(), restored(handle))).collect();
        (!partitions.is_empty()).then_some(Startup { phase, partitions })
    }

    fn seen(&self) -> BTreeMap<u32, Seen> {
        let in_flight = self.in_flight();
        let ours = self.replica.partitions().zip(in_flight).map(|(handle, in_flight)| {
            let waits = in_flight > 0 || handle.load().is_in_turn() || self.sink.waiting(handle.id()) > 0;
            let (events, log) = (handle.next_seq(), handle.liveness().log());
            let (owner, is_owned) = (handle.owner_notes(), handle.has_shown_an_owner());
            (handle.id(), Seen { condition: self.condition(handle), waits, events, log, owner, is_owned })
        });
        let unknown = self.replica.unknown_partitions().into_iter().map(|partition| {
            let condition = Condition::Stopped("the log's manifest does not count this partition".to_owned());
            let log = LogContact::default();
            (partition, Seen { condition, waits: false, events: 0, log, owner: None, is_owned: false })
        });
        ours.chain(unknown).collect()
    }

    fn condition(&self, handle: &PartitionHandle) -> Condition {
        if let Some(why) = handle.why_not_served() {
            return Condition::Stopped(why);
        }
        let error = handle.owner_error();
        let error = match handle.status_kind() {
            StatusKind::Active => error.map(|why| format!("waits: {why}")),
            _ => error.map(|why| format!("not owned: {why}")).or_else(|| handle.why_not_followed()),
        };
        Condition::Served(error.or_else(|| self.clock_disagrees(handle)).or_else(|| self.ahead(handle)))
    }

    /// What readiness says of a partition whose broker's clock is far from this machine's. Other processes decide it.
    fn clock_disagrees(&self, handle: &PartitionHandle) -> Option<String> {
        let offset = handle.time().broker_offset(self.clock.as_ref())?;
        offset.is_far().then(|| offset.to_string())
    }

    /// What readiness says of a partition whose time is too far ahead of this machine's clock. It decides all the same.
    fn ahead(&self, handle: &PartitionHandle) -> Option<String> {
        let ahead_ms = handle.time().ahead_us(self.clock.as_ref()) / 1_000;
        let ahead_s = ahead_ms / 1_000;
        (ahead_ms > CLOCK_AHEAD_MAX_MS)
            .then(|| format!("the partition's time is {ahead_s} s ahead of this machine's clock"))
    }
}

fn tell(news: &News) {
    for (why, partitions) in &news.began {
        tracing::warn!(?partitions, why, "partitions are degraded");
    }
    if !news.ended.is_empty() {
        let (partitions, after_ms) = (&news.ended, news.longest_ms);
        tracing::info!(?partitions, after_ms, "partitions are well again");
    }
}
