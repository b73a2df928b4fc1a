//! The shell of [`Readiness`]: what this process sees of its partitions, and the lines that say what has changed.

use super::Gateway;
use crate::gateway::readiness::{Condition, News, Seen, Standing};
use crate::limits::{CLOCK_AHEAD_MAX_MS, READINESS_LOOK_MS};
use crate::replica::{Mood, Shared};
use std::collections::BTreeMap;
use std::time::Duration;

impl Gateway {
    /// Every partition that is not as it should be, by the gateway's clock.
    pub fn standings(&self) -> BTreeMap<u32, Standing> {
        let (mut readiness, seen) = (self.readiness.lock(), self.seen());
        let now = self.running.now();
        let (mut standings, news) = readiness.look(seen, now);
        drop(readiness);
        tell(&news);
        let wall = self.clock.wall();
        for standing in standings.values_mut() {
            let ago = now.0.saturating_sub(standing.since.0);
            standing.since = crate::domain::Micros(wall.0.saturating_sub(ago));
        }
        standings
    }

    /// Whether a call on any partition may be decided.
    pub fn decides(&self, standings: &BTreeMap<u32, Standing>) -> bool {
        (0..self.replica.partition_count()).any(|p| standings.get(&p).is_none_or(|standing| standing.decides))
    }

    /// Looks at the partitions again and again, for as long as it is polled: whoever reads log lines is told without
    /// asking. One task runs it.
    pub async fn keep_watch(&self) {
        let mut look = tokio::time::interval(Duration::from_millis(READINESS_LOOK_MS));
        loop {
            look.tick().await;
            self.standings();
        }
    }

    fn seen(&self) -> BTreeMap<u32, Seen> {
        let in_flight = self.in_flight();
        let ours = (0..).zip(self.replica.partitions().zip(in_flight)).map(|(partition, (shared, in_flight))| {
            let waits = in_flight > 0 || shared.is_in_turn() || self.sink.waiting(partition) > 0;
            let (events, log) = (shared.next_seq(), shared.log_asked());
            (partition, Seen { condition: self.condition(shared), waits, events, log })
        });
        let strange = self.replica.strange().into_iter().map(|partition| {
            let condition = Condition::Stopped("not of this log: its manifest counts fewer".to_owned());
            (partition, Seen { condition, waits: false, events: 0, log: (false, 0) })
        });
        ours.chain(strange).collect()
    }

    fn condition(&self, shared: &Shared) -> Condition {
        let not_followed = || shared.unread().map(|why| format!("not followed: {why}"));
        match shared.mood() {
            Mood::Owning => {
                let waits = shared.trouble().map(|why| format!("waits: {why}"));
                Condition::Served(waits.or_else(|| self.ahead(shared)))
            }
            Mood::Claiming | Mood::Following => {
                let not_owned = shared.trouble().map(|why| format!("not owned: {why}"));
                Condition::Served(not_owned.or_else(not_followed).or_else(|| self.ahead(shared)))
            }
            Mood::Rebuilding => Condition::Stopped(not_followed().unwrap_or_else(|| "rebuilding".to_owned())),
            Mood::Reopening(why) => Condition::Stopped(format!("waits for its log: {why}")),
            Mood::Halted(why) => Condition::Stopped(format!("halted: {why}")),
            Mood::Lost(why) => Condition::Stopped(format!("lost: {why}")),
            Mood::Stopped => Condition::Stopped("stopped".to_owned()),
        }
    }

    /// What is to be said of a partition whose time is too far ahead of this machine's clock. It decides all the same.
    fn ahead(&self, shared: &Shared) -> Option<String> {
        let ahead_ms = shared.ahead_us(self.clock.as_ref()) / 1_000;
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
