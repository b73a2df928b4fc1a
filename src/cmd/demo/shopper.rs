//! A shopper: looks at what is available, prefers an evening as most do, tries to reserve it, thinks, and is as careless
//! with holds, retries and deadlines as real callers are. Every call goes over HTTP.

use super::Demo;
use super::week::{Order, Week, choose};
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

/// How long a hold lasts, in milliseconds: short, so that some expire during the demonstration.
pub const HOLD_TTL_MS: u64 = 1_500;
/// Longest wait for an answer.
pub const GIVE_UP: Duration = Duration::from_secs(4);
/// Slots that a shopper tries to reserve in one visit.
const TRIES: u32 = 3;
/// The deadline of impatient calls, in milliseconds: less than a decision usually takes.
const IMPATIENT_MS: u64 = 2;

/// One of the shoppers.
pub struct Shopper {
    demo: Arc<Demo>,
    name: String,
    rng: StdRng,
    server: Connection,
    zone: usize,
    keys: u64,
}

/// The part of an availability answer that a shopper reads.
#[derive(Deserialize)]
struct Offers<'a> {
    #[serde(borrow)]
    pools: Vec<Offer<'a>>,
}

#[derive(Deserialize)]
struct Offer<'a> {
    pool: &'a str,
}

/// A reservation that the shopper has.
struct Got {
    id: ReservationId,
    pool: PoolId,
    is_held: bool,
}

impl Shopper {
    /// The shopper with this number, who lives in this zone.
    pub fn new(demo: Arc<Demo>, number: usize, zone: usize, rng: StdRng) -> Shopper {
        let server = Connection::new(demo.address);
        Shopper { demo, name: format!("shopper-{number}"), rng, server, zone, keys: 0 }
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

    /// One visit: looks, and tries to reserve until it has a slot or gives up.
    async fn round(&mut self) {
        let day = self.demo.week.choose_day(&mut self.rng);
        let crates = self.rng.random_range(1..8);
        // Some want their usual evening and do not look first.
        let habit = self.rng.random_bool(0.2);
        let mut offers = if habit { self.usual() } else { self.look(day, crates).await };
        // While a shopper decides, another one may take the slot.
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
        let evening = self.demo.week.of(self.demo.week.shown, self.zone).iter().skip(8);
        evening.map(|slot| slot.pool.clone()).collect()
    }

    async fn look(&mut self, day: usize, crates: u64) -> Vec<String> {
        let Ok(path) = client::path("/v1/availability") else { return Vec::new() };
        let question = self.demo.week.question(day, Some(Order { zone: self.zone, crates }));
        let Ok(answer) = self.send(client::json(Method::POST, path, question)).await else { return Vec::new() };
        let offers: Offers<'_> = serde_json::from_slice(&answer.body).unwrap_or(Offers { pools: Vec::new() });
        offers.pools.iter().map(|offer| offer.pool.to_owned()).collect()
    }

    /// Tries to reserve a slot. Retries with the same key when no decision came, and sometimes for no reason.
    async fn reserve(&mut self, pool: &str, crates: u64, hold: bool) -> Option<Got> {
        self.keys = self.keys.saturating_add(1);
        let key = format!("{}-{}", self.name, self.keys);
        let ttl = if hold { format!(r#","hold_ttl_ms":{HOLD_TTL_MS}"#) } else { String::new() };
        let body = format!(r#"{{"pool":"{pool}","demand":{{"orders":1,"crates":{crates}}}{ttl},"order_ref":"{key}"}}"#);
        let is_impatient = self.rng.random_bool(0.03);
        let mut answer = self.ask(pool, &key, &body, is_impatient.then_some(IMPATIENT_MS)).await;
        let undecided = matches!(answer, ReserveAnswer::Unknown | ReserveAnswer::No("timeout" | "shed" | "not_sent"));
        if undecided && self.rng.random_bool(0.8) {
            self.demo.board.count(|actions| actions.retried += 1);
            answer = self.ask(pool, &key, &body, None).await;
        }
        if answer == ReserveAnswer::No("over_limit") {
            self.demo.board.refused(pool);
        }
        let ReserveAnswer::Yes(proof) = answer else { return None };
        if self.rng.random_bool(0.1) {
            self.ask_again(pool, &key, &body, proof.reservation).await;
        }
        Some(Got { id: proof.reservation, pool: PoolId::new(pool).ok()?, is_held: hold })
    }

    /// L4, checked as a caller: the same key gets the same reservation.
    async fn ask_again(&mut self, pool: &str, key: &str, body: &str, first: ReservationId) {
        let again = self.ask(pool, key, body, None).await;
        let contradicts = match again {
            ReserveAnswer::Yes(proof) => proof.reservation != first,
            // A repeat may miss its deadline; it may not be refused for any other reason.
            ReserveAnswer::No(code) => code != "timeout" && code != "shed",
            ReserveAnswer::Unknown => false,
            ReserveAnswer::Unreadable => true,
        };
        self.demo.board.count(|actions| {
            actions.retried += 1;
            actions.contradicted += u64::from(contradicts);
        });
    }

    async fn ask(&mut self, pool: &str, key: &str, body: &str, timeout_ms: Option<u64>) -> ReserveAnswer {
        let Ok(path) = client::path("/v1/reservations") else { return ReserveAnswer::Unreadable };
        let request = client::keyed(client::json(Method::POST, path, body.to_owned()), key);
        let request = match timeout_ms {
            Some(ms) => client::timed(request, ms),
            None => request,
        };
        let answer = ReserveAnswer::of(&self.send(request).await);
        let names = (PoolId::new(pool), IdempotencyKey::new(key));
        if let (Ok(pool), Ok(key)) = names {
            self.demo.board.call(Call { pool, key: Some(key), reservation: None, told: answer.told() });
        }
        answer
    }

    /// Confirms, forgets or releases the reservation.
    async fn keep_or_not(&mut self, got: Got) {
        let thinking_ms = self.rng.random_range(100..900);
        self.pause(thinking_ms).await;
        let choice: f64 = self.rng.random();
        if got.is_held {
            match choice {
                m if m < 0.72 => self.confirm(&got).await,
                m if m < 0.88 => return self.demo.board.count(|actions| actions.left += 1),
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
            self.demo.board.count(|actions| actions.confirmed += 1);
        }
    }

    async fn release(&mut self, got: &Got) {
        let Ok(path) = client::path(&format!("/v1/reservations/{}", got.id)) else { return };
        let released = self.send(client::bare(Method::DELETE, path)).await;
        if released.is_ok_and(|answer| answer.status == 200) {
            self.demo.board.count(|actions| actions.released += 1);
            let call = Call { pool: got.pool.clone(), key: None, reservation: Some(got.id), told: Told::Released };
            self.demo.board.call(call);
        }
    }

    async fn send(&mut self, request: Outgoing) -> Result<Answer, CallError> {
        let sent = self.demo.clock.now();
        let ended = self.server.call(request, GIVE_UP).await;
        let took_us = self.demo.clock.now().0.saturating_sub(sent.0);
        self.demo.board.answer(&ended, took_us);
        ended
    }

    async fn pause(&self, ms: u64) {
        sleep_until(Instant::now() + Duration::from_millis(ms)).await;
    }
}
