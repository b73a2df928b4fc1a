//! What a loop measured, in the same format as every other figure, and how long turns took.

use super::Loop;
use super::gateway::{Offer, Replies};
use super::owner::Turns;
use crate::report::{histogram_json, latency, latency_head};
use crate::session::not_sustained;
use hdrhistogram::Histogram;
use serde_json::{Value, json};
use std::fmt::Write;

/// A cycle of this length comes from the client's flush, which waits in steps of 100 ms.
const TRAPPED_US: u64 = 90_000;
/// A turn whose first record took this much longer than the quick ones met a coordinator that was busy.
const WAITED_US: u64 = 12_000;
/// A turn slower than this never counts as quick, even if no turn was quicker: all of them may have waited.
const QUICK_MAX_US: u64 = 6_000;

/// What a loop measured.
pub struct Figures {
    seconds: f64,
    offer: Offer,
    replies: Replies,
    turns: Turns,
}

impl Figures {
    pub(super) fn new(it: &Loop, offer: Offer, replies: Replies, turns: Turns) -> Figures {
        Figures { seconds: it.args.pace.seconds, offer, replies, turns }
    }

    /// Commands that were never answered.
    pub fn lost(&self) -> u64 {
        self.offer.sent.saturating_sub(self.replies.all)
    }

    /// Why the offered rate was not sustained; `None` when it was. Commands without a reply are in no latency.
    pub fn not_sustained(&self) -> Option<String> {
        not_sustained(self.offer.scheduled, self.replies.in_time, self.offer.dropped + self.lost())
    }

    /// From when commands were due to their replies.
    pub fn latency_us(&self) -> &Histogram<u64> {
        &self.replies.latency_us
    }

    fn trapped(&self) -> u64 {
        self.turns.cycle_us.count_between(TRAPPED_US, u64::MAX)
    }

    /// The part of turns that met a busy coordinator.
    fn waited(&self) -> f64 {
        let first_us = &self.turns.first_us;
        let quick = first_us.value_at_quantile(0.1).min(QUICK_MAX_US);
        first_us.count_between(quick.saturating_add(WAITED_US), u64::MAX) as f64 / first_us.len().max(1) as f64
    }

    /// As a table.
    pub fn table(&self) -> String {
        let mut out = String::new();
        // Writing to a string does not fail.
        let _ = self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        let Figures { seconds, offer, replies, turns } = self;
        let columns = ["offered/s", "answered/s", "sent", "dropped", "no answer"];
        writeln!(
            out,
            "{:<9}{:>10}{:>12}{:>10}{:>9}{:>10}",
            "", columns[0], columns[1], columns[2], columns[3], columns[4]
        )?;
        let (offered, answered) = (offer.scheduled as f64 / seconds, replies.in_time as f64 / seconds);
        let (sent, lost) = (offer.scheduled - offer.dropped, self.lost());
        writeln!(out, "{:<9}{offered:>10.1}{answered:>12.1}{sent:>10}{:>9}{lost:>10}\n", "bare", offer.dropped)?;
        latency_head(out)?;
        latency(out, "bare, all answered", &replies.latency_us)?;
        latency(out, "a turn, to its commit", &turns.cycle_us)?;
        latency(out, "a turn, first delivery", &turns.first_us)?;
        let records = &turns.records;
        write!(out, "\nturns    {:.1} a second of {:.1} records", records.len() as f64 / seconds, records.mean())?;
        write!(out, " (p99 {}); {} took 90 ms or more", records.value_at_quantile(0.99), self.trapped())?;
        writeln!(out, "; {:.1} % met a busy coordinator", self.waited() * 100.0)?;
        let cpu = &offer.cpu;
        write!(out, "cpu      client {:.2} cores; brokers ", cpu.generator / seconds)?;
        match cpu.brokers {
            Some(used) => write!(out, "{:.2} cores", used / seconds)?,
            None => write!(out, "unknown")?,
        }
        writeln!(out, "; {:.0} % idle, {:.1} % stolen", cpu.idle() * 100.0, cpu.stolen() * 100.0)
    }

    /// As JSON; times in microseconds.
    pub fn json(&self) -> Value {
        let Figures { seconds, offer, replies, turns } = self;
        json!({
            "seconds": seconds, "scheduled": offer.scheduled, "dropped": offer.dropped, "lost": self.lost(),
            "answered_per_s": replies.in_time as f64 / seconds,
            "latency_us": histogram_json(&replies.latency_us),
            "cycle_us": histogram_json(&turns.cycle_us),
            "first_delivery_us": histogram_json(&turns.first_us),
            "records": histogram_json(&turns.records),
            "cycles_of_90_ms": self.trapped(), "waited": self.waited(),
            "client_cores": offer.cpu.generator / seconds,
            "broker_cores": offer.cpu.brokers.map(|used| used / seconds),
            "idle": offer.cpu.idle(), "stolen": offer.cpu.stolen(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Cpu;
    use crate::tally::histogram;

    #[test]
    fn a_loop_that_lags_or_loses_commands_has_not_sustained_its_rate() {
        let measured = |dropped, in_time, all| Figures {
            seconds: 1.0,
            offer: Offer { scheduled: 1_000, dropped, sent: 1_500, cpu: Cpu::default() },
            replies: Replies { all, in_time, latency_us: histogram() },
            turns: Turns::new(),
        };
        let says = |dropped, in_time, all| measured(dropped, in_time, all).not_sustained().unwrap_or_default();
        assert_eq!(says(0, 1_000, 1_500), "");
        assert_eq!(says(0, 989, 1_500), "98.9 % of what was offered was answered in the measured time");
        assert_eq!(says(0, 1_000, 1_498), "0.20 % of what was offered got no decision");
        assert_eq!(says(2, 1_000, 1_500), "0.20 % of what was offered got no decision");
    }
}
