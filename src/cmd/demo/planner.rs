//! The planner: from time to time it lowers or raises a limit, or pauses or closes a slot and opens it again, while
//! shoppers shop. A limit below what is taken cancels no order: the slot accepts none until it fits again.

use super::Demo;
use super::shopper::GIVE_UP;
use super::week::{HOURS, Week, ZONES, choose};
use crate::client::{self, Connection, Method};
use jiff::civil::Date;
use rand::RngExt;
use rand::rngs::StdRng;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// Pause between two changes.
const EVERY: Duration = Duration::from_millis(1_300);
/// Changes after which a closed slot is opened again.
const CLOSED_FOR: usize = 2;

/// The only planner of the demonstration.
pub struct Planner {
    demo: Arc<Demo>,
    rng: StdRng,
    server: Connection,
    /// The pools of closed slots, oldest first.
    shut: Vec<String>,
}

impl Planner {
    /// A planner that has changed nothing yet.
    pub fn new(demo: Arc<Demo>, rng: StdRng) -> Planner {
        let server = Connection::new(demo.address);
        Planner { demo, rng, server, shut: Vec::new() }
    }

    /// Changes slots until the time is up.
    pub async fn plan(mut self, until: Instant) {
        loop {
            let next = Instant::now() + EVERY;
            sleep_until(next).await;
            if Instant::now() >= until {
                return;
            }
            self.act().await;
        }
    }

    async fn act(&mut self) {
        if self.shut.len() > CLOSED_FOR {
            let pool = self.shut.remove(0);
            return self.set_mode(&pool, "open", "opens").await;
        }
        let Some(pool) = self.pick() else { return };
        match self.rng.random_range(0..10) {
            0..=3 => self.adjust(&pool, -4, "lowers").await,
            4..=6 => self.adjust(&pool, 3, "raises").await,
            7..=8 => self.shut(pool, "closed", "closes").await,
            _ => self.shut(pool, "paused", "pauses").await,
        }
    }

    /// A slot of the day that is shown; popular hours are chosen more often.
    fn pick(&mut self) -> Option<String> {
        let zone = self.rng.random_range(0..ZONES.len());
        let slots = self.demo.week.of(self.demo.week.shown, zone);
        let weighed = slots.iter().map(|slot| (slot.pool.clone(), Week::wanted(&slot.pool)));
        choose(&mut self.rng, weighed)
    }

    async fn shut(&mut self, pool: String, mode: &str, verb: &str) {
        self.set_mode(&pool, mode, verb).await;
        self.shut.push(pool);
    }

    async fn set_mode(&mut self, pool: &str, mode: &str, verb: &str) {
        let body = format!(r#"{{"mode":"{mode}"}}"#);
        self.send(Method::POST, &format!("/v1/pools/{pool}/mode"), body, &format!("{verb} {}", in_words(pool))).await;
    }

    async fn adjust(&mut self, pool: &str, by: i64, verb: &str) {
        let body = format!(r#"{{"adjust":{{"orders":{by}}}}}"#);
        let what = format!("{verb} {} by {} orders", in_words(pool), by.unsigned_abs());
        self.send(Method::PATCH, &format!("/v1/pools/{pool}"), body, &what).await;
    }

    async fn send(&mut self, method: Method, target: &str, body: String, what: &str) {
        let Ok(path) = client::path(target) else { return };
        let ended = self.server.call(client::json(method, path, body), GIVE_UP).await;
        let end = match ended {
            Ok(answer) if answer.status == 200 => String::new(),
            Ok(answer) => format!(": {}", answer.status),
            Err(error) => format!(": {error}"),
        };
        self.demo.board.news(format!("the planner {what}{end}"));
    }
}

/// A pool in words: `Marina Sun 18-20`.
pub fn in_words(pool: &str) -> String {
    let words = || {
        let (zone, time) = pool.split_once(':')?;
        let (day, hour) = time.split_once('T')?;
        let (day, hour): (Date, u64) = (day.parse().ok()?, hour.parse().ok()?);
        let is_slot = HOURS.iter().any(|slot| slot.begins == hour);
        is_slot.then(|| format!("{zone} {} {hour}-{}", day.strftime("%a"), hour + 2))
    };
    words().unwrap_or_else(|| pool.to_owned())
}

#[cfg(test)]
mod tests {
    use super::in_words;

    #[test]
    fn a_slot_is_named_by_zone_day_and_hours() {
        assert_eq!(in_words("Marina:2026-11-22T18"), "Marina Sun 18-20");
        assert_eq!(in_words("something-else"), "something-else");
    }
}
