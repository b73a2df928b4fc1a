//! The planner: now and then a limit is lowered or raised, or a slot is paused or closed and opened again, while
//! everybody shops. Lowering a limit below what is taken evicts nobody: the slot takes no more until it fits again.

use super::Stage;
use super::shopper::GIVE_UP;
use super::week::{HOURS, Week, ZONES, choose};
use crate::client::{self, Connection, Method};
use jiff::civil::Date;
use rand::RngExt;
use rand::rngs::StdRng;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// Between two deeds.
const EVERY: Duration = Duration::from_millis(1_300);
/// Deeds for which a slot stays closed.
const CLOSED_FOR: usize = 2;

/// There is one.
pub struct Planner {
    stage: Arc<Stage>,
    rng: StdRng,
    server: Connection,
    /// Slots to open again.
    shut: Vec<String>,
}

impl Planner {
    /// A planner of this stage, who draws its edits from `rng`.
    pub fn new(stage: Arc<Stage>, rng: StdRng) -> Planner {
        let server = Connection::new(stage.address);
        Planner { stage, rng, server, shut: Vec::new() }
    }

    /// Plans until the time is up.
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

    /// A slot of the day that is shown; more likely one that is wanted.
    fn pick(&mut self) -> Option<String> {
        let zone = self.rng.random_range(0..ZONES.len());
        let slots = self.stage.week.of(self.stage.week.shown, zone);
        let weighed = slots.iter().map(|slot| (slot.pool.clone(), Week::wanted(&slot.pool)));
        choose(&mut self.rng, weighed)
    }

    async fn shut(&mut self, pool: String, mode: &str, verb: &str) {
        self.set_mode(&pool, mode, verb).await;
        self.shut.push(pool);
    }

    async fn set_mode(&mut self, pool: &str, mode: &str, verb: &str) {
        let body = format!(r#"{{"mode":"{mode}"}}"#);
        self.send(Method::POST, &format!("/v1/pools/{pool}/mode"), body, &format!("{verb} {}", spoken(pool))).await;
    }

    async fn adjust(&mut self, pool: &str, by: i64, verb: &str) {
        let body = format!(r#"{{"adjust":{{"orders":{by}}}}}"#);
        let what = format!("{verb} {} by {} orders", spoken(pool), by.unsigned_abs());
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
        self.stage.board.news(format!("the planner {what}{end}"));
    }
}

/// A pool as people say it: `Marina Sun 18-20`.
pub fn spoken(pool: &str) -> String {
    let told = || {
        let (zone, time) = pool.split_once(':')?;
        let (day, hour) = time.split_once('T')?;
        let (day, hour): (Date, u64) = (day.parse().ok()?, hour.parse().ok()?);
        let is_slot = HOURS.iter().any(|(h, _)| *h == hour);
        is_slot.then(|| format!("{zone} {} {hour}-{}", day.strftime("%a"), hour + 2))
    };
    told().unwrap_or_else(|| pool.to_owned())
}

#[cfg(test)]
mod tests {
    use super::spoken;

    #[test]
    fn slots_are_said_by_zone_and_hours() {
        assert_eq!(spoken("Marina:2026-11-22T18"), "Marina Sun 18-20");
        assert_eq!(spoken("something-else"), "something-else");
    }
}
