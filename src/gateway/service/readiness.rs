//! The shell of [`Readiness`]: what this process sees of its partitions, and the lines that say what has changed.

use super::Gateway;
use crate::gateway::readiness::{Condition, News, Outage, Seen};
use crate::limits::{CLOCK_AHEAD_MAX_MS, READINESS_LOOK_MS, STARTUP_LINE_MS};
use crate::replica::partition::{EXPIRING, RESTORING};
use crate::replica::{PartitionHandle, PartitionStatus};
use std::collections::BTreeMap;
use std::time::Duration;

/// How far a start is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Startup {
    /// What is being done.
    pub phase: &'static str,
    /// Of each partition that is not served yet, how many of its events its state holds, and how many there are, if that is
    /// known.
    pub partitions: BTreeMap<u32, (u64, Option<u64>)>,
}

impl Startup {
    fn tell(&self) {
        let sum = |counts: &mut dyn Iterator<Item = u64>| counts.fold(0u64, u64::saturating_add);
        let (partitions, phase) = (self.partitions.len(), self.phase);
        let events = sum(&mut self.partitions.values().map(|(events, _)| *events));
        let of = sum(&mut self.partitions.values().filter_map(|(_, of)| *of));
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

    /// Whether a call on any partition may be decided.
    pub fn decides(&self, outages: &BTreeMap<u32, Outage>) -> bool {
        (0..self.replica.partition_count()).any(|p| outages.get(&p).is_none_or(|outage| outage.decides))
    }

    /// Looks at the partitions again and again, for as long as it is polled: whoever reads log lines is told without
    /// asking. One task runs it.
    pub async fn keep_watch(&self) {
        let mut look = tokio::time::interval(Duration::from_millis(READINESS_LOOK_MS));
        let mut line = tokio::time::interval(Duration::from_millis(STARTUP_LINE_MS));
        // The first one is due at once.
        line.tick().await;
        loop {
            tokio::select! {
                _ = look.tick() => drop(self.outages()),
                _ = line.tick() => self.startup().iter().for_each(Startup::tell),
            }
        }
    }

    /// How far the start of this process is; nothing when no partition is rebuilt any more.
    pub fn startup(&self) -> Option<Startup> {
        let restoring =
            (0..).zip(self.replica.partitions()).filter(|(_, handle)| handle.status() == PartitionStatus::Restoring);
        let restoring: Vec<_> = restoring.collect();
        let phase = if restoring.iter().all(|(_, handle)| handle.is_expiring()) { EXPIRING } else { RESTORING };
        let events = restoring.into_iter().map(|(partition, handle)| (partition, (handle.next_seq(), handle.goal())));
        let partitions: BTreeMap<_, _> = events.collect();
        (!partitions.is_empty()).then_some(Startup { phase, partitions })
    }

    fn seen(&self) -> BTreeMap<u32, Seen> {
        let in_flight = self.in_flight();
        let ours = (0..).zip(self.replica.partitions().zip(in_flight)).map(|(partition, (handle, in_flight))| {
            let waits = in_flight > 0 || handle.is_in_turn() || self.sink.waiting(partition) > 0;
            let (events, log) = (handle.next_seq(), handle.log_asked());
            (partition, Seen { condition: self.condition(handle), waits, events, log, owner: handle.beats() })
        });
        let strange = self.replica.strange().into_iter().map(|partition| {
            let condition = Condition::Stopped("not of this log: its manifest counts fewer".to_owned());
            (partition, Seen { condition, waits: false, events: 0, log: (false, 0), owner: None })
        });
        ours.chain(strange).collect()
    }

    fn condition(&self, handle: &PartitionHandle) -> Condition {
        if let Some(why) = handle.stopped() {
            return Condition::Stopped(why);
        }
        let trouble = handle.trouble();
        let trouble = match handle.status() {
            PartitionStatus::Active => trouble.map(|why| format!("waits: {why}")),
            _ => trouble.map(|why| format!("not owned: {why}")).or_else(|| handle.not_followed()),
        };
        Condition::Served(trouble.or_else(|| self.clock_disagrees(handle)).or_else(|| self.ahead(handle)))
    }

    /// What is to be said of a partition whose broker's clock is far from this machine's: it is decided by others.
    fn clock_disagrees(&self, handle: &PartitionHandle) -> Option<String> {
        handle.clock_offset(self.clock.as_ref()).filter(|offset| offset.is_far()).map(|offset| offset.to_string())
    }

    /// What is to be said of a partition whose time is too far ahead of this machine's clock. It decides all the same.
    fn ahead(&self, handle: &PartitionHandle) -> Option<String> {
        let ahead_ms = handle.ahead_us(self.clock.as_ref()) / 1_000;
        let ahead_s = ahead_ms / 1_000;
        (ahead_ms > CLOCK_AHEAD_MAX_MS).then(|| format!("its time is {ahead_s} s ahead of this machine's clock"))
    }
}

fn tell(news: &News) {
    for (why, partitions) in &news.began {
        tracing::warn!(?partitions, why, "partitions are degraded");
    }
    if !news.ended.is_empty() {
        let (partitions, after_ms) = (&news.ended, news.longest_ms);
        tracing::info!(?partitions, after_ms, "partitions are as they should be again");
    }
}
