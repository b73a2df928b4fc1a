//! What turns cost a server on a cluster, by its own metrics. A server with an embedded log has none of these.

use headroom::client::{self, Connection, Method};
use std::time::Duration;

/// Longest wait for the metrics.
const LIMIT: Duration = Duration::from_secs(2);

/// Sums over all partitions.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Turns {
    /// Turns that were committed.
    pub committed: f64,
    /// Of those, how many met a coordinator that was busy.
    pub waited: f64,
    /// Commits that took 90 ms or more.
    pub slow: f64,
    /// The longest pause before a turn, in milliseconds.
    pub pause_ms: f64,
}

impl Turns {
    /// Reads the sums as of now; `None` when the server has no such metrics.
    pub async fn read(server: &mut Connection) -> Option<Turns> {
        let request = client::bare(Method::GET, client::path("/metrics").ok()?);
        let answer = server.call(request, LIMIT).await.ok()?;
        Turns::of(std::str::from_utf8(&answer.body).ok()?)
    }

    fn of(text: &str) -> Option<Turns> {
        let values = |name: &str, label: &str| -> Vec<f64> {
            let samples = text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('{')?.split_once("} "));
            samples.filter(|(labels, _)| labels.contains(label)).filter_map(|(_, value)| value.parse().ok()).collect()
        };
        let pauses_s = values("headroom_kafka_turn_pause_seconds", "");
        (!pauses_s.is_empty()).then(|| Turns {
            committed: values("headroom_turns_total", "outcome=\"ok\"").iter().sum(),
            waited: values("headroom_kafka_turns_waited_total", "").iter().sum(),
            slow: values("headroom_kafka_slow_commits_total", "").iter().sum(),
            pause_ms: pauses_s.into_iter().fold(0.0, f64::max) * 1e3,
        })
    }

    /// What was added since `earlier`.
    pub fn since(&self, earlier: &Turns) -> Turns {
        let (committed, waited) = (self.committed - earlier.committed, self.waited - earlier.waited);
        Turns { committed, waited, slow: self.slow - earlier.slow, pause_ms: self.pause_ms }
    }

    /// The part that met a busy coordinator.
    pub fn waited_part(&self) -> f64 {
        if self.committed > 0.0 { self.waited / self.committed } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::Turns;

    #[test]
    fn partitions_are_added_up_and_an_embedded_log_has_none() {
        let text = "# HELP headroom_turns_total x\n\
                    headroom_turns_total{outcome=\"ok\",partition=\"0\"} 40\n\
                    headroom_turns_total{outcome=\"fenced\",partition=\"0\"} 1\n\
                    headroom_turns_total{outcome=\"ok\",partition=\"1\"} 10\n\
                    headroom_kafka_turns_waited_total{partition=\"0\"} 5\n\
                    headroom_kafka_slow_commits_total{partition=\"1\"} 1\n\
                    headroom_kafka_turn_pause_seconds{partition=\"0\"} 0.0035\n\
                    headroom_kafka_turn_pause_seconds{partition=\"1\"} 0\n";
        let turns = Turns::of(text).unwrap();
        assert_eq!((turns.committed, turns.waited, turns.slow), (50.0, 5.0, 1.0));
        assert!((turns.waited_part() - 0.1).abs() < 1e-9 && (turns.pause_ms - 3.5).abs() < 1e-9);
        assert_eq!(Turns::of("headroom_turns_total{outcome=\"ok\",partition=\"0\"} 40\n"), None);
    }
}
