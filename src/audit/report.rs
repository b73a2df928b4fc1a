//! What an audit found, for a person: one line for each partition, one for each breach, and one verdict.

use super::EventFindings;
use crate::domain::{Breach, Digest, Law, Micros};
use crate::words::counted;
use std::collections::BTreeMap;
use std::fmt;

/// Most breaches that are kept with their detail; further ones are only counted.
const BREACHES_KEPT_MAX: usize = 100;

/// The first breaches, and the number of breaches of each law.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Breaches {
    kept: Vec<Breach>,
    counts: BTreeMap<Law, u64>,
}

impl Breaches {
    pub(super) fn take(&mut self, partition: u32, seq: u64, found: EventFindings) {
        for (law, detail) in found.0 {
            self.put(Breach { law, partition, seq, detail });
        }
    }

    pub(super) fn put(&mut self, breach: Breach) {
        let count = self.counts.entry(breach.law).or_default();
        *count = count.saturating_add(1);
        if self.kept.len() < BREACHES_KEPT_MAX {
            self.kept.push(breach);
        }
    }

    pub(super) fn count(&self) -> u64 {
        self.counts.values().fold(0, |sum, n| sum.saturating_add(*n))
    }

    pub(super) fn kept(&self) -> &[Breach] {
        &self.kept
    }

    fn absorb(&mut self, other: Breaches) {
        let room = BREACHES_KEPT_MAX.saturating_sub(self.kept.len());
        self.kept.extend(other.kept.into_iter().take(room));
        for (law, n) in other.counts {
            let count = self.counts.entry(law).or_default();
            *count = count.saturating_add(n);
        }
    }
}

impl fmt::Display for Breaches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kept.iter().try_for_each(|breach| writeln!(f, "{breach}"))?;
        let kept = u64::try_from(self.kept.len()).unwrap_or(u64::MAX);
        match self.count().saturating_sub(kept) {
            0 => Ok(()),
            more => writeln!(f, "and {more} more"),
        }
    }
}

/// An operator set the clock of a partition back.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClockSet {
    /// The sequence number of the event.
    pub seq: u64,
    /// The partition's time before.
    pub from: Micros,
    /// The partition's time after.
    pub to: Micros,
    /// Who set it back, and why.
    pub detail: String,
}

impl fmt::Display for ClockSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ClockSet { seq, from, to, detail } = self;
        write!(f, "its clock was set back by {} s at seq {seq}: {detail}", from.ms_since(*to) / 1_000)
    }
}

/// What was found in one partition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PartitionReport {
    /// The number of the partition.
    pub partition: u32,
    /// Number of events that were read.
    pub events: u64,
    /// Number of pools.
    pub pools: usize,
    /// Number of reservations that are live at the end.
    pub live: usize,
    /// The sequence number of the last event, if there was one.
    pub last_seq: Option<u64>,
    /// The input offset after the last command that was decided.
    pub next_input: u64,
    /// Number of commands that were lost before they were decided, as events say.
    pub lost: u64,
    /// Number of events that were committed and are lost, as events say.
    pub events_lost: u64,
    /// The first times that the clock was set back, as events say.
    pub clock_sets: Vec<ClockSet>,
    /// The digest of the last event.
    pub chain: Digest,
    pub(super) breaches: Breaches,
}

impl PartitionReport {
    /// The first breaches, in order.
    pub fn breaches(&self) -> &[Breach] {
        self.breaches.kept()
    }

    /// Number of breaches.
    pub fn breach_count(&self) -> u64 {
        self.breaches.count()
    }
}

impl fmt::Display for PartitionReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PartitionReport { partition, events, pools, live, chain, .. } = self;
        let (events, pools) = (counted(*events, "event"), counted(*pools as u64, "pool"));
        let live = counted(*live as u64, "live reservation");
        write!(f, "partition {partition}: {events}, {pools}, {live}, chain ")?;
        match self.last_seq {
            Some(seq) => write!(f, "{chain} at seq {seq}")?,
            None => f.write_str("empty")?,
        }
        if self.lost > 0 {
            write!(f, ", {} lost", counted(self.lost, "command"))?;
        }
        if self.events_lost > 0 {
            write!(f, ", {} lost", counted(self.events_lost, "event"))?;
        }
        Ok(())
    }
}

/// What was found in a whole log.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Report {
    partitions: BTreeMap<u32, PartitionReport>,
    breaches: Breaches,
}

impl Report {
    /// Adds the findings of one partition. An earlier report of the partition is replaced, but its breaches stay.
    pub fn add(&mut self, mut partition: PartitionReport) {
        self.breaches.absorb(std::mem::take(&mut partition.breaches));
        self.partitions.insert(partition.partition, partition);
    }

    /// Whether no law was found broken.
    pub fn is_clean(&self) -> bool {
        self.breach_count() == 0
    }

    /// Number of breaches.
    pub fn breach_count(&self) -> u64 {
        self.breaches.count()
    }

    /// The first breaches, by partition as added, then in order.
    pub fn breaches(&self) -> &[Breach] {
        self.breaches.kept()
    }

    /// The findings of each partition, in order. Breaches are in [`Report::breaches`].
    pub fn partitions(&self) -> impl Iterator<Item = &PartitionReport> {
        self.partitions.values()
    }

    /// Number of events that were read.
    pub fn events(&self) -> u64 {
        self.partitions.values().fold(0, |sum, p| sum.saturating_add(p.events))
    }
}

impl FromIterator<PartitionReport> for Report {
    fn from_iter<I: IntoIterator<Item = PartitionReport>>(partitions: I) -> Report {
        partitions.into_iter().fold(Report::default(), |mut report, partition| {
            report.add(partition);
            report
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.partitions.values().try_for_each(|partition| writeln!(f, "{partition}"))?;
        self.breaches.fmt(f)?;
        let (events, partitions) =
            (counted(self.events(), "event"), counted(self.partitions.len() as u64, "partition"));
        if self.is_clean() {
            return write!(f, "clean: no law broken in {events} of {partitions}");
        }
        write!(f, "BROKEN: {} (", counted(self.breach_count(), "breach"))?;
        for (at, (law, n)) in self.breaches.counts.iter().enumerate() {
            let gap = if at == 0 { "" } else { ", " };
            write!(f, "{gap}{law} {n}x")?;
        }
        write!(f, ") in {events} of {partitions}")
    }
}
