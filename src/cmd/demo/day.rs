//! One small day of a van, the same in every run: the questions of the page for analysts are answered on it. The day lies in
//! the past, by a clock of its own, so that nothing of it depends on when it is played.

use super::Demonstrated;
use crate::client::{self, Bytes, Connection, Method};
use crate::domain::Micros;
use crate::limits::{DEADLINE_MAX_MS, RETIRE_AFTER_MAX_MS};
use crate::time::Clock;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// When the day begins: 2025-11-21T10:00:00Z.
const TEN: Micros = Micros(1_763_719_200_000_000);
const MINUTE_MS: u64 = 60_000;
/// Longest wait for one answer.
const GIVE_UP: Duration = Duration::from_secs(10);

/// A clock that stands still between calls.
pub(super) struct DayClock(AtomicU64);

impl DayClock {
    pub(super) fn new() -> DayClock {
        DayClock(AtomicU64::new(TEN.0))
    }

    fn pass_ms(&self, ms: u64) {
        self.0.fetch_add(ms.saturating_mul(1_000), Relaxed);
    }
}

impl Clock for DayClock {
    fn now(&self) -> Micros {
        Micros(self.0.load(Relaxed))
    }

    fn wall(&self) -> Micros {
        self.now()
    }
}

/// Calls the server, a minute after the other.
pub(super) struct Day {
    pub(super) server: Connection,
    pub(super) clock: Arc<DayClock>,
}

impl Day {
    /// A morning and an afternoon of a van, sold by callers who come too late, come again, and change their minds.
    pub(super) async fn pass(&mut self) -> Demonstrated {
        for (pool, start, end) in [("van-am", "08", "10"), ("van-pm", "14", "16")] {
            let body = json!({
                "limits": {"orders": 3, "crates": 20}, "areas": ["SG-01"], "retire_after_ms": RETIRE_AFTER_MAX_MS,
                "window": {"start": format!("2025-11-22T{start}:00:00Z"), "end": format!("2025-11-22T{end}:00:00Z")},
            });
            self.send(Method::PUT, &format!("/v1/pools/{pool}"), None, &body, 201).await?;
        }
        self.reserve("van-am", 1, 4, None, 201).await?;
        self.reserve("van-am", 2, 4, None, 201).await?;
        let third = self.reserve("van-am", 3, 8, Some(20 * MINUTE_MS), 201).await?;
        // Sold out: two callers are refused, one of them twice, and books the afternoon.
        self.reserve("van-am", 4, 2, None, 409).await?;
        self.reserve("van-am", 5, 2, None, 409).await?;
        self.reserve("van-am", 5, 2, None, 409).await?;
        self.reserve("van-pm", 5, 2, None, 201).await?;
        // A hold that is confirmed, and one that nobody confirms.
        self.send(Method::POST, &format!("/v1/reservations/{third}/confirm"), None, &Value::Null, 200).await?;
        self.reserve("van-pm", 6, 6, Some(2 * MINUTE_MS), 201).await?;
        self.clock.pass_ms(5 * MINUTE_MS);
        // One order from begin to end: booked, changed, cancelled.
        let seventh = format!("/v1/reservations/{}", self.reserve("van-pm", 7, 3, None, 201).await?);
        self.send(Method::PATCH, &seventh, None, &json!({"demand": {"orders": 1, "crates": 9}}), 200).await?;
        self.send(Method::DELETE, &seventh, None, &Value::Null, 200).await?;
        // A planner gives room, takes it away below what is booked, and closes the afternoon.
        self.send(Method::PATCH, "/v1/pools/van-am", None, &json!({"adjust": {"orders": 1}}), 200).await?;
        self.reserve("van-am", 8, 2, None, 201).await?;
        self.send(Method::PATCH, "/v1/pools/van-am", None, &json!({"limits": {"orders": 2}}), 200).await?;
        self.send(Method::POST, "/v1/pools/van-pm/mode", None, &json!({"mode": "closed"}), 200).await?;
        self.reserve("van-pm", 9, 2, None, 409).await?;
        Ok(true)
    }

    /// Asks for one order of so many crates; returns the id of the reservation.
    async fn reserve(
        &mut self,
        pool: &str,
        order: u32,
        crates: u64,
        hold_ttl_ms: Option<u64>,
        status: u16,
    ) -> Result<String, String> {
        let body = json!({
            "pool": pool, "demand": {"orders": 1, "crates": crates}, "hold_ttl_ms": hold_ttl_ms,
            "order_ref": format!("order-{order}"),
        });
        let key = format!("key-{order}");
        let answer = self.send(Method::POST, "/v1/reservations", Some(&key), &body, status).await?;
        Ok(answer["reservation"].as_str().unwrap_or_default().to_owned())
    }

    async fn send(
        &mut self,
        method: Method,
        path: &str,
        key: Option<&str>,
        body: &Value,
        status: u16,
    ) -> Result<Value, String> {
        let what = format!("{method} {path}");
        let bytes = if body.is_null() { Bytes::new() } else { Bytes::from(body.to_string()) };
        let request = client::timed(client::json(method, client::path(path)?, bytes), DEADLINE_MAX_MS);
        let request = match key {
            Some(key) => client::keyed(request, key),
            None => request,
        };
        let answer = self.server.call(request, GIVE_UP).await.map_err(|error| format!("{what}: {error}"))?;
        if answer.status != status {
            return Err(format!("{what}: {} {}", answer.status, String::from_utf8_lossy(&answer.body)));
        }
        self.clock.pass_ms(MINUTE_MS);
        Ok(serde_json::from_slice(&answer.body).unwrap_or_default())
    }
}
