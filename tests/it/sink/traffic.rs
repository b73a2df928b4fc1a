//! Callers and planners who do everything that an event can come of, by a seed.

use crate::process::agent;
use crate::wait::until;
use headroom::time::pause;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

const POOLS: u64 = 9;
/// Between two calls beside something else: each batch of a sink that writes every 100 ms has several, and a machine that is fast
/// does not make so many of them that what they come to is compared for minutes.
const BESIDE_EVERY: Duration = Duration::from_millis(10);

/// Ends the calls, also when a test fails.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

pub struct Traffic {
    url: String,
    random: StdRng,
    keys: u64,
    lives: Vec<(String, String)>,
    pools: Vec<String>,
    seed: u64,
    made: u64,
    /// The pools whose life has ended.
    pub retired: Vec<String>,
    /// Whether the service may fail now and then.
    is_shaken: bool,
}

impl Traffic {
    /// Callers of this server, whose pools are there afterwards.
    pub fn new(url: &str, seed: u64) -> Traffic {
        let random = StdRng::seed_from_u64(seed);
        let (lives, pools, retired) = Default::default();
        let mut traffic = Traffic {
            url: url.to_owned(),
            random,
            keys: seed * 1_000_000,
            lives,
            pools,
            seed,
            made: 0,
            retired,
            is_shaken: false,
        };
        for _ in 0..POOLS {
            let pool = traffic.define();
            traffic.pools.push(pool);
        }
        traffic
    }

    /// Ends the life of one of its pools, and makes another in its place: the id itself is not free for 24 hours.
    pub fn retire(&mut self, at: usize) {
        let pool = self.define();
        let pool = std::mem::replace(&mut self.pools[at], pool);
        let path = format!("/v1/pools/{pool}?with_reservations=true");
        let (status, reply) = self.send("DELETE", &path, "", &Value::Null);
        assert!(status == 200 || self.is_shaken && status >= 500, "{reply}");
        if status == 200 {
            self.retired.push(pool);
        }
    }

    /// Makes a pool that was not there before.
    fn define(&mut self) -> String {
        let pool = format!("slot-{}-{}", self.seed, self.made);
        self.made += 1;
        let body = json!({
            "limits": {"orders": 12, "crates": 90}, "areas": ["SG-01", "a \"b\\c"], "labels": {"fleet": "van"},
            "window": {"start": "2126-11-21T04:00:00Z", "end": "2126-11-21T06:00:00Z"},
        });
        // A server that has just come back may not know what became of a call: the same again is the same.
        until("the pool is defined", || {
            matches!(self.send("PUT", &format!("/v1/pools/{pool}"), "", &body).0, 200 | 201)
        });
        pool
    }

    /// The same of a service that may fail calls while its processes come and go.
    pub fn of_shaken(url: &str, seed: u64) -> Traffic {
        Traffic { is_shaken: true, ..Traffic::new(url, seed) }
    }

    fn send(&mut self, method: &str, path: &str, key: &str, body: &Value) -> (u16, Value) {
        let request = ureq::http::Request::builder().method(method).uri(format!("{}{path}", self.url));
        let request = request.header("content-type", "application/json").header("request-timeout-ms", "5000");
        let request = if key.is_empty() { request } else { request.header("idempotency-key", key) };
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let mut reply = agent().run(request.body(body).unwrap()).unwrap();
        let text = reply.body_mut().read_to_string().unwrap();
        (reply.status().as_u16(), serde_json::from_str(&text).unwrap_or_default())
    }

    /// Calls as long as this takes.
    pub fn beside<T>(mut self, work: impl FnOnce() -> T) -> T {
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !is_over.load(Relaxed) {
                    self.calls(1);
                    pause(BESIDE_EVERY);
                }
            });
            let _over = Over(&is_over);
            work()
        })
    }

    /// So many calls, and then whatever holds are due expire.
    pub fn calls(&mut self, count: u64) {
        for _ in 0..count {
            self.call();
        }
    }

    fn call(&mut self) {
        let at = self.random.random_range(0..self.pools.len());
        let pool = self.pools[at].clone();
        let path = format!("/v1/pools/{pool}");
        match self.random.random_range(0..20) {
            0 => {
                let body = json!({"adjust": {"orders": self.random.random_range(-2..4)}});
                self.send("PATCH", &path, "", &body);
            }
            1 => {
                self.send("POST", &format!("{path}/mode"), "", &json!({"mode": "paused"}));
                self.send("POST", &format!("{path}/mode"), "", &json!({"mode": "open"}));
            }
            2 => self.retire(at),
            3..=12 => self.reserve(&pool),
            _ => self.change(),
        }
    }

    fn reserve(&mut self, pool: &str) {
        self.keys += 1;
        let key = format!("key-{}", self.keys);
        let ttl = [None, None, Some(100), Some(600_000)][self.random.random_range(0..4usize)];
        let demand = json!({"orders": self.random.random_range(1..3), "crates": self.random.random_range(1..12)});
        let body = json!({"pool": pool, "demand": demand, "hold_ttl_ms": ttl, "order_ref": format!("order \"\\{}", self.keys % 50)});
        let (status, reply) = self.send("POST", "/v1/reservations", &key, &body);
        assert!(matches!(status, 201 | 409) || self.is_shaken && status >= 500, "{reply}");
        if status == 201 {
            self.lives.push((reply["reservation"].as_str().unwrap().to_owned(), key.clone()));
        }
        if self.random.random_bool(0.2) {
            self.send("POST", "/v1/reservations", &key, &body);
        }
    }

    fn change(&mut self) {
        if self.lives.is_empty() {
            return;
        }
        let at = self.random.random_range(0..self.lives.len());
        let (id, _) = self.lives[at].clone();
        let path = format!("/v1/reservations/{id}");
        match self.random.random_range(0..5) {
            0 => drop(self.send("POST", &format!("{path}/confirm"), "", &Value::Null)),
            1 => drop(self.send("POST", &format!("{path}/extend"), "", &json!({"hold_ttl_ms": 700_000}))),
            2 => {
                let body = json!({"demand": {"orders": 1, "crates": self.random.random_range(1..9)}});
                self.send("PATCH", &path, "", &body);
            }
            _ => {
                self.send("DELETE", &path, "", &Value::Null);
                self.lives.swap_remove(at);
            }
        }
    }

    /// What the server says of each pool: its limits and what is in use.
    pub fn pools(&mut self) -> Vec<(String, Value, Value)> {
        let pools = self.pools.clone();
        let of = |pool: String| {
            let (_, told) = self.send("GET", &format!("/v1/pools/{pool}?fresh=true"), "", &Value::Null);
            (pool, told["limits"].clone(), told["used"].clone())
        };
        pools.into_iter().map(of).collect()
    }
}
