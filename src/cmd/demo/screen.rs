//! The screen: asks the server several times a second what is taken, and draws it. Without a terminal it prints one plain
//! line a second.

use super::Demo;
use super::board::Period;
use super::render::{CURVE_SECONDS, LogLength, Shown, View, frame, heat};
use super::shopper::GIVE_UP;
use crate::client::{self, Connection, Method, internal};
use std::collections::BTreeMap;
use std::io::{IsTerminal, Write, stdout};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// Time between two frames.
const FRAME: Duration = Duration::from_millis(200);
/// Frames in a second.
const FRAMES_A_SECOND: u32 = 5;

/// The way the screen is shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Look {
    /// Whether each frame is drawn over the last one.
    pub is_live: bool,
    /// Whether colours are used.
    pub in_colour: bool,
}

impl Look {
    /// What standard output can show, and what TERM and NO_COLOR ask for.
    pub fn of_environment() -> Look {
        let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        let is_live = stdout().is_terminal() && !is_dumb;
        let is_plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Look { is_live, in_colour: is_live && !is_plain }
    }
}

/// The screen, with what it shows.
pub struct Screen {
    demo: Arc<Demo>,
    look: Look,
    title: String,
    server: Connection,
    heat: BTreeMap<String, Shown>,
    second: Period,
    events: LogLength,
    curve: Vec<u64>,
}

/// Shows the terminal's cursor again when it is dropped.
struct Cursor;

impl Drop for Cursor {
    fn drop(&mut self) {
        // A terminal that was closed has no cursor.
        let _ = stdout().write_all(b"\x1b[?25h").and_then(|()| stdout().flush());
    }
}

impl Screen {
    /// An empty screen.
    pub fn new(demo: Arc<Demo>, look: Look, title: String) -> Screen {
        let server = Connection::new(demo.address);
        let (heat, second) = (BTreeMap::new(), Period::default());
        Screen { demo, look, title, server, heat, second, events: LogLength::default(), curve: Vec::new() }
    }

    /// Draws until the time is up; returns false when the output was closed.
    pub async fn show(mut self, until: Instant, out: &mut dyn Write) -> bool {
        let _cursor = self.look.is_live.then(|| {
            // Cleared once: what was there before stays in the terminal's scrollback.
            put(out, "\x1b[2J\x1b[?25l");
            Cursor
        });
        // Events from before the shoppers came do not count as those of the first second.
        self.end_second().await;
        if !self.look.is_live {
            say(out, &self.view(0).heading().join("\n"));
        }
        self.events.last_second = 0;
        let mut next = Instant::now();
        loop {
            for nth in 0..FRAMES_A_SECOND {
                next += FRAME;
                sleep_until(next).await;
                self.look_around().await;
                let is_second = nth + 1 == FRAMES_A_SECOND;
                if is_second {
                    self.end_second().await;
                }
                let left = until.saturating_duration_since(Instant::now()).as_secs();
                let is_read = if self.look.is_live {
                    put(out, &frame(&self.view(left).lines()))
                } else {
                    !is_second || say(out, &self.view(left).line())
                };
                if !is_read || Instant::now() >= until {
                    return is_read;
                }
            }
        }
    }

    /// Asks what is taken, with the query that any caller can make.
    async fn look_around(&mut self) {
        let Ok(path) = client::path("/v1/availability") else { return };
        let question = self.demo.week.question(self.demo.week.shown, None);
        let answer = self.server.call(client::json(Method::POST, path, question), GIVE_UP).await;
        if let Ok(answer) = answer
            && answer.status == 200
        {
            self.heat = heat(&answer.body);
        }
    }

    /// Ends a second: takes its answers, and asks how long the log is.
    async fn end_second(&mut self) {
        self.second = self.demo.board.take_period();
        let counts = self.second.counts;
        self.curve.push(counts.yes + counts.no + counts.late + counts.other + counts.silent);
        if self.curve.len() > CURVE_SECONDS {
            self.curve.remove(0);
        }
        if let Ok(ends) = internal::ends(&mut self.server).await {
            let events = ends.iter().sum::<u64>();
            self.events = LogLength { events, last_second: events.saturating_sub(self.events.events) };
        }
    }

    fn view(&self, left: u64) -> View<'_> {
        let board = &self.demo.board;
        let (all, actions) = board.all();
        View {
            week: &self.demo.week,
            heat: &self.heat,
            title: self.title.clone(),
            left,
            second: &self.second,
            all: all.counts,
            actions,
            events: self.events,
            contested: board.contested(),
            news: board.last_news(),
            curve: &self.curve,
            in_colour: self.look.in_colour,
        }
    }
}

/// Prints a line; returns false when the output was closed.
pub fn say(out: &mut dyn Write, line: &str) -> bool {
    put(out, &format!("{line}\n"))
}

/// Writes a text; returns false when the output was closed. The demonstration ends with its audit all the same.
fn put(out: &mut dyn Write, text: &str) -> bool {
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_ok()
}
