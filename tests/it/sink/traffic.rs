//! Callers and planners who do everything that an event can come of, by a seed.

use crate::process::agent;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

const POOLS: u64 = 9;

pub struct Traffic {
    url: String,
    random: StdRng,
    keys: u64,
    lives: Vec<(String, String)>,
}

impl Traffic {
    /// Callers of this server, whose pools are there afterwards.
    pub fn new(url: &str, seed: u64) -> Traffic {
        let random = StdRng::seed_from_u64(seed);
        let mut traffic = Traffic { url: url.to_owned(), random, keys: seed * 1_000_000, lives: Vec::new() };
        for number in 0..POOLS {
            let body = json!({
                "limits": {"orders": 12, "crates": 90}, "areas": ["SG-01", "a \"b\\c"], "labels": {"fleet": "van"},
                "window": {"start": "2126-11-21T04:00:00Z", "end": "2126-11-21T06:00:00Z"},
            });
            traffic.send("PUT", &format!("/v1/pools/slot-{number}"), "", &body);
        }
        traffic
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

    /// So many calls, and then whatever holds are due expire.
    pub fn calls(&mut self, count: u64) {
        for _ in 0..count {
            self.call();
        }
    }

    fn call(&mut self) {
        let pool = format!("slot-{}", self.random.random_range(0..POOLS));
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
            2..=12 => self.reserve(&pool),
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
        assert!(matches!(status, 201 | 409), "{reply}");
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
        let of = |number| {
            let pool = format!("slot-{number}");
            let (_, told) = self.send("GET", &format!("/v1/pools/{pool}?fresh=true"), "", &Value::Null);
            (pool, told["limits"].clone(), told["used"].clone())
        };
        (0..POOLS).map(of).collect()
    }
}
