//! How far a rebuild has come, on standard error: a bar for a terminal, a line now and then for anything else.

use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;

/// Lines written on the way to the end, where there is no terminal.
const LINES: u64 = 10;

/// Progress over all partitions.
pub(super) struct Progress {
    events: u64,
    /// Events of the partitions that are done.
    done: u64,
    bar: Option<ProgressBar>,
    lines: u64,
}

impl Progress {
    /// Of so many events.
    pub(super) fn new(events: u64) -> Progress {
        let bar = std::io::stderr().is_terminal().then(|| {
            let template = "{bar:40} {human_pos} of {human_len} events, {per_sec}, {eta} left";
            let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
            ProgressBar::new(events).with_style(style)
        });
        Progress { events, done: 0, bar, lines: 0 }
    }

    /// The partition at work has reached this sequence number.
    pub(super) fn reach(&mut self, next_seq: u64) {
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

    /// The partition at work had so many events.
    pub(super) fn partition_done(&mut self, events: u64) {
        self.done = self.done.saturating_add(events);
    }

    /// Leaves the terminal as it was.
    pub(super) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
