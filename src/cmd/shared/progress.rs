//! Progress of reading a log on standard error: a bar on a terminal, otherwise a line after each tenth of the events. Both say
//! how much time is left.

use super::stderr;
use crate::time::Stopwatch;
use crate::words::{counted, named};
use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;

/// Lines that are written in all, where there is no terminal.
const LINES: u64 = 10;

/// Progress over all partitions.
pub(in crate::cmd) struct Progress {
    events: u64,
    /// Events of the partitions that are finished.
    done: u64,
    /// Events that nobody has to read, because a snapshot holds them.
    given: u64,
    since: Stopwatch,
    bar: Option<ProgressBar>,
    lines: u64,
}

impl Progress {
    /// No progress yet, of so many events in all partitions.
    pub(in crate::cmd) fn new(events: u64) -> Progress {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template(&template(events));
            ProgressBar::new(events).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        Progress { events, done: 0, given: 0, since: Stopwatch::start(), bar, lines: 0 }
    }

    /// The current partition begins with this event: a snapshot holds those before it.
    pub(in crate::cmd) fn begin_at(&mut self, next_seq: u64) {
        self.given = self.given.saturating_add(next_seq);
        if let Some(bar) = &self.bar {
            bar.set_position(self.done.saturating_add(next_seq));
            bar.reset_eta();
        }
    }

    /// The current partition has reached this sequence number.
    pub(in crate::cmd) fn reach(&mut self, next_seq: u64) {
        let reached = self.done.saturating_add(next_seq);
        if let Some(bar) = &self.bar {
            return bar.set_position(reached);
        }
        let due = reached.saturating_mul(LINES).checked_div(self.events).unwrap_or(LINES);
        if due > self.lines {
            self.lines = due;
            let took_ms = self.since.now().0 / 1_000;
            stderr::line(so_far((reached, self.events), reached.saturating_sub(self.given), took_ms));
        }
    }

    /// The current partition is finished; it had so many events.
    pub(in crate::cmd) fn partition_done(&mut self, events: u64) {
        self.done = self.done.saturating_add(events);
    }

    /// Removes the bar from the terminal.
    pub(in crate::cmd) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// What a bar shows of so many events.
fn template(events: u64) -> String {
    format!("{{bar:40}} {{human_pos}} of {{human_len}} {}, {{per_sec}}, {{eta}} left", named(events, "event"))
}

/// How far something has come that handles so many events in all, of which it has handled this many in this time, and how long
/// the rest takes if it goes on like that.
pub(in crate::cmd) fn so_far((reached, all): (u64, u64), handled: u64, took_ms: u64) -> String {
    let left_s = left_ms(handled, all.saturating_sub(reached), took_ms) / 1_000;
    format!("{reached} of {}, {left_s} s left", counted(all, "event"))
}

/// How long so many more events take, when so many have taken this time.
fn left_ms(read: u64, left: u64, took_ms: u64) -> u64 {
    took_ms.saturating_mul(left).checked_div(read).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_of_one_event_does_not_say_events() {
        for (events, expected) in [(0, "of {human_len} events, "), (1, "of {human_len} event, "), (2, " events, ")] {
            assert!(template(events).contains(expected), "{}", template(events));
        }
        assert!(ProgressStyle::with_template(&template(1)).is_ok());
    }

    #[test]
    fn how_far_it_is_says_how_long_the_rest_takes() {
        assert_eq!(so_far((250, 1_000), 250, 10_000), "250 of 1000 events, 30 s left");
        // The first half was there before.
        assert_eq!(so_far((750, 1_000), 250, 10_000), "750 of 1000 events, 10 s left");
        assert_eq!(so_far((1, 1), 1, 10_000), "1 of 1 event, 0 s left");
    }

    #[test]
    fn the_time_left_is_that_of_the_events_before() {
        for (read, left, took_ms, expected) in [(100, 300, 1_000, 3_000), (100, 0, 1_000, 0), (0, 300, 1_000, 0)] {
            assert_eq!(left_ms(read, left, took_ms), expected, "{read} read, {left} left");
        }
    }
}
