//! Progress of reading a log on standard error: a bar on a terminal, otherwise a line after each tenth of the events.

use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;

/// Lines that are written in all, where there is no terminal.
const LINES: u64 = 10;

/// Progress over all partitions.
pub(in crate::cmd) struct Progress {
    events: u64,
    /// Events of the partitions that are finished.
    done: u64,
    bar: Option<ProgressBar>,
    lines: u64,
}

impl Progress {
    /// No progress yet, of so many events in all partitions.
    pub(in crate::cmd) fn new(events: u64) -> Progress {
        let bar = std::io::stderr().is_terminal().then(|| {
            let template = "{bar:40} {human_pos} of {human_len} events, {per_sec}, {eta} left";
            let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
            ProgressBar::new(events).with_style(style)
        });
        Progress { events, done: 0, bar, lines: 0 }
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
            eprintln!("{reached} of {} events", self.events);
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
