//! The live picture: asks the running service what is taken, a few times a second, and draws it; without a terminal,
//! one plain line a second.

use super::Stage;
use super::board::Period;
use super::paint::{CURVE_SECONDS, Shown, View, frame, heat};
use super::shopper::GIVE_UP;
use crate::client::{self, Connection, Method, internal};
use std::collections::BTreeMap;
use std::io::{IsTerminal, Write, stdout};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// Between two pictures.
const FRAME: Duration = Duration::from_millis(200);
/// Pictures in a second.
const FRAMES_A_SECOND: u32 = 5;

/// How the picture is shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Look {
    /// Drawn over and over in place.
    pub is_live: bool,
    /// Whether the picture has colours.
    pub in_colour: bool,
}

impl Look {
    /// What standard output is good for, and what the environment asks for.
    pub fn of_environment() -> Look {
        let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        let is_live = stdout().is_terminal() && !is_dumb;
        let is_plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Look { is_live, in_colour: is_live && !is_plain }
    }
}

/// The picture and what it remembers.
pub struct Screen {
    stage: Arc<Stage>,
    look: Look,
    title: String,
    server: Connection,
    heat: BTreeMap<String, Shown>,
    second: Period,
    events: (u64, u64),
    curve: Vec<u64>,
}

/// Gives the terminal's cursor back.
struct Cursor;

impl Drop for Cursor {
    fn drop(&mut self) {
        // A terminal that is gone needs none.
        let _ = stdout().write_all(b"\x1b[?25h").and_then(|()| stdout().flush());
    }
}

impl Screen {
    /// A screen that shows nothing yet.
    pub fn new(stage: Arc<Stage>, look: Look, title: String) -> Screen {
        let server = Connection::new(stage.address);
        let (heat, second) = (BTreeMap::new(), Period::default());
        Screen { stage, look, title, server, heat, second, events: (0, 0), curve: Vec::new() }
    }

    /// Shows what goes on until the time is up; false when nobody reads it any more.
    pub async fn show(mut self, until: Instant, out: &mut dyn Write) -> bool {
        let _cursor = self.look.is_live.then(|| {
            // Once: everything before stays in the terminal's memory.
            put(out, "\x1b[2J\x1b[?25l");
            Cursor
        });
        // What was there before anybody came is nobody's event.
        self.turn().await;
        if !self.look.is_live {
            say(out, &self.view(0).heading().join("\n"));
        }
        self.events.1 = 0;
        let mut next = Instant::now();
        loop {
            for nth in 0..FRAMES_A_SECOND {
                next += FRAME;
                sleep_until(next).await;
                self.look_around().await;
                let is_second = nth + 1 == FRAMES_A_SECOND;
                if is_second {
                    self.turn().await;
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

    /// What is taken, as any caller is told.
    async fn look_around(&mut self) {
        let Ok(path) = client::path("/v1/availability") else { return };
        let question = self.stage.week.question(self.stage.week.shown, None);
        let answer = self.server.call(client::json(Method::POST, path, question), GIVE_UP).await;
        if let Ok(answer) = answer
            && answer.status == 200
        {
            self.heat = heat(&answer.body);
        }
    }

    /// A second is over.
    async fn turn(&mut self) {
        self.second = self.stage.board.turn();
        let counts = self.second.counts;
        self.curve.push(counts.yes + counts.no + counts.late + counts.other + counts.silent);
        if self.curve.len() > CURVE_SECONDS {
            self.curve.remove(0);
        }
        if let Ok(ends) = internal::ends(&mut self.server).await {
            let events = ends.iter().sum::<u64>();
            self.events = (events, events.saturating_sub(self.events.0));
        }
    }

    fn view(&self, left: u64) -> View<'_> {
        let board = &self.stage.board;
        let (all, deeds) = board.all();
        View {
            week: &self.stage.week,
            heat: &self.heat,
            title: self.title.clone(),
            left,
            second: &self.second,
            all: all.counts,
            deeds,
            events: self.events,
            contested: board.contested(),
            news: board.last_news(),
            curve: &self.curve,
            in_colour: self.look.in_colour,
        }
    }
}

/// Prints a line; false when nobody reads it.
pub fn say(out: &mut dyn Write, line: &str) -> bool {
    put(out, &format!("{line}\n"))
}

/// Whoever closed the output has seen enough; the run still ends with its audit.
fn put(out: &mut dyn Write, text: &str) -> bool {
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_ok()
}
