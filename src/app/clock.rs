//! Watches the wall clock and logs its steps, because decisions use its time.

use crate::gateway::Gateway;
use crate::limits::{CLOCK_LOOK_MS, CLOCK_STEP_MS};
use crate::telemetry::Metrics;
use crate::threads;
use crate::time::Steps;
use std::sync::Arc;
use std::time::Duration;

/// Watches the clocks for as long as it is polled.
pub(super) async fn watch(gateway: Arc<Gateway>, metrics: Arc<Metrics>) {
    let _watched = threads::watch("clock");
    let clock = gateway.clock();
    let mut steps = Steps::new(clock.wall(), clock.now());
    let mut look = tokio::time::interval(Duration::from_millis(CLOCK_LOOK_MS));
    loop {
        look.tick().await;
        let (before, wall, after) = (clock.now(), clock.wall(), clock.now());
        // A machine that was suspended between two readings has not stepped its clock.
        if after.ms_since(before) >= CLOCK_STEP_MS / 2 {
            continue;
        }
        if let Some(by_us) = steps.look(wall, after) {
            metrics.clock_stepped(by_us);
        }
    }
}
