//! A shopper: looks at what is left, wants an evening like everybody, races for it, thinks, and is as careless with
//! holds, retries and deadlines as callers are. Every call goes over HTTP.

use super::Stage;
use super::week::{Week, choose};
use crate::audit::history::{Call, Told};
use crate::client::reserve_answer::ReserveAnswer;
use crate::client::{self, Answer, CallError, Connection, Method, Outgoing};
use crate::domain::{IdempotencyKey, PoolId, ReservationId};
use crate::time::Clock;
use rand::RngExt;
use rand::rngs::StdRng;
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// How long a hold lasts: short, so that some run out while one watches.
pub const HOLD_TTL_MS: u64 = 1_500;
/// Time after which a call counts as never answered.
pub const GIVE_UP: Duration = Duration::from_secs(4);
/// Slots a shopper tries before going away.
const TRIES: u32 = 3;
/// The deadline of the impatient, in milliseconds: less than a decision usually takes.
const IMPATIENT_MS: u64 = 2;

/// One of several hundred.
pub struct Shopper {
    stage: Arc<Stage>,
    name: String,
    rng: StdRng,
    server: Connection,
    zone: usize,
    keys: u64,
}

/// What is on offer.
#[derive(Deserialize)]
struct Offers<'a> {
    #[serde(borrow)]
    pools: Vec<Offer<'a>>,
}

#[derive(Deserialize)]
struct Offer<'a> {
    pool: &'a str,
}

/// A reservation that was got.
struct Got {
    id: ReservationId,
    pool: PoolId,
    is_held: bool,
}

impl Shopper {
    /// The shopper with this number, at home in this zone.
    pub fn new(stage: Arc<Stage>, number: usize, zone: usize, rng: StdRng) -> Shopper {
        let server = Connection::new(stage.address);
        Shopper { stage, name: format!("shopper-{number}"), rng, server, zone, keys: 0 }
    }

    /// Shops until the time is up.
    pub async fn shop(mut self, until: Instant) {
        loop {
            let pause_ms = self.rng.random_range(50..1_000);
            self.pause(pause_ms).await;
            if Instant::now() >= until {
                return;
            }
            self.round().await;
        }
    }

    /// One visit: from looking to having, or to going away.
    async fn round(&mut self) {
        let day = self.stage.week.choose_day(&mut self.rng);
        let crates = self.rng.random_range(1..8);
        // Some have a habit and ask for their evening without looking.
        let habit = self.rng.random_bool(0.2);
        let mut offers = if habit { self.usual() } else { self.look(day, crates).await };
        // By the time people have made up their minds, what they saw may be gone.
        let deciding_ms = self.rng.random_range(100..1_500);
        self.pause(deciding_ms).await;
        for _ in 0..TRIES {
            let weighed = offers.iter().enumerate().map(|(at, pool)| (at, Week::wanted(pool)));
            let Some(at) = choose(&mut self.rng, weighed) else { return };
            let pool = offers.swap_remove(at);
            let hold = self.rng.random_bool(0.6);
            if let Some(got) = self.reserve(&pool, crates, hold).await {
                return self.keep_or_not(got).await;
            }
        }
    }

    fn usual(&self) -> Vec<String> {
        let evening = self.stage.week.of(self.stage.week.shown, self.zone).iter().skip(8);
        evening.map(|slot| slot.pool.clone()).collect()
    }

    async fn look(&mut self, day: usize, crates: u64) -> Vec<String> {
        let Ok(path) = client::path("/v1/availability") else { return Vec::new() };
        let question = self.stage.week.question(day, Some((self.zone, crates)));
        let Ok(answer) = self.send(client::json(Method::POST, path, question)).await else { return Vec::new() };
        let offers: Offers<'_> = serde_json::from_slice(&answer.body).unwrap_or(Offers { pools: Vec::new() });
        offers.pools.iter().map(|offer| offer.pool.to_owned()).collect()
    }

    /// Tries to get a slot; with the same key again when no decision came, and sometimes for no reason.
    async fn reserve(&mut self, pool: &str, crates: u64, hold: bool) -> Option<Got> {
        self.keys = self.keys.saturating_add(1);
        let key = format!("{}-{}", self.name, self.keys);
        let ttl = if hold { format!(r#","hold_ttl_ms":{HOLD_TTL_MS}"#) } else { String::new() };
        let body = format!(r#"{{"pool":"{pool}","demand":{{"orders":1,"crates":{crates}}}{ttl},"order_ref":"{key}"}}"#);
        let is_impatient = self.rng.random_bool(0.03);
        let mut ending = self.ask(pool, &key, &body, is_impatient.then_some(IMPATIENT_MS)).await;
        let undecided = matches!(ending, ReserveAnswer::Unknown | ReserveAnswer::No("timeout" | "shed" | "not_sent"));
        if undecided && self.rng.random_bool(0.8) {
            self.stage.board.deed(|deeds| deeds.retried += 1);
            ending = self.ask(pool, &key, &body, None).await;
        }
        if ending == ReserveAnswer::No("over_limit") {
            self.stage.board.refused(pool);
        }
        let ReserveAnswer::Yes(proof) = ending else { return None };
        if self.rng.random_bool(0.1) {
            self.ask_again(pool, &key, &body, proof.reservation).await;
        }
        Some(Got { id: proof.reservation, pool: PoolId::new(pool).ok()?, is_held: hold })
    }

    /// L4, from outside: the same key is given the same reservation.
    async fn ask_again(&mut self, pool: &str, key: &str, body: &str, first: ReservationId) {
        let again = self.ask(pool, key, body, None).await;
        let contradicts = match again {
            ReserveAnswer::Yes(proof) => proof.reservation != first,
            // A repeat may come too late for its deadline, and says so; it may not be refused.
            ReserveAnswer::No(code) => code != "timeout" && code != "shed",
            ReserveAnswer::Unknown => false,
            ReserveAnswer::Unreadable => true,
        };
        self.stage.board.deed(|deeds| {
            deeds.retried += 1;
            deeds.contradicted += u64::from(contradicts);
        });
    }

    async fn ask(&mut self, pool: &str, key: &str, body: &str, timeout_ms: Option<u64>) -> ReserveAnswer {
        let Ok(path) = client::path("/v1/reservations") else { return ReserveAnswer::Unreadable };
        let request = client::keyed(client::json(Method::POST, path, body.to_owned()), key);
        let request = match timeout_ms {
            Some(ms) => client::timed(request, ms),
            None => request,
        };
        let ending = ReserveAnswer::of(&self.send(request).await);
        let names = (PoolId::new(pool), IdempotencyKey::new(key));
        if let (Ok(pool), Ok(key)) = names {
            self.stage.board.call(Call { pool, key: Some(key), reservation: None, told: ending.told() });
        }
        ending
    }

    /// Confirms, forgets or gives back what was got.
    async fn keep_or_not(&mut self, got: Got) {
        let thinking_ms = self.rng.random_range(100..900);
        self.pause(thinking_ms).await;
        let status: f64 = self.rng.random();
        if got.is_held {
            match status {
                m if m < 0.72 => self.confirm(&got).await,
                m if m < 0.88 => return self.stage.board.deed(|deeds| deeds.left += 1),
                _ => return self.release(&got).await,
            }
        }
        if self.rng.random_bool(0.06) {
            self.pause(thinking_ms).await;
            self.release(&got).await;
        }
    }

    async fn confirm(&mut self, got: &Got) {
        let Ok(path) = client::path(&format!("/v1/reservations/{}/confirm", got.id)) else { return };
        let confirmed = self.send(client::bare(Method::POST, path)).await;
        if confirmed.is_ok_and(|answer| answer.status == 200) {
            self.stage.board.deed(|deeds| deeds.confirmed += 1);
        }
    }

    async fn release(&mut self, got: &Got) {
        let Ok(path) = client::path(&format!("/v1/reservations/{}", got.id)) else { return };
        let released = self.send(client::bare(Method::DELETE, path)).await;
        if released.is_ok_and(|answer| answer.status == 200) {
            self.stage.board.deed(|deeds| deeds.released += 1);
            let call = Call { pool: got.pool.clone(), key: None, reservation: Some(got.id), told: Told::Released };
            self.stage.board.call(call);
        }
    }

    async fn send(&mut self, request: Outgoing) -> Result<Answer, CallError> {
        let sent = self.stage.clock.now();
        let ended = self.server.call(request, GIVE_UP).await;
        let took_us = self.stage.clock.now().0.saturating_sub(sent.0);
        self.stage.board.answer(&ended, took_us);
        ended
    }

    async fn pause(&self, ms: u64) {
        sleep_until(Instant::now() + Duration::from_millis(ms)).await;
    }
}
