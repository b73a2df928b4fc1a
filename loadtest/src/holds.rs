//! Holds that end at the same time, and how that slows down the calls of others. Each round measures reservations
//! twice, without holds and with them. The speed of a machine changes from minute to minute, but the ratio of the two
//! changes much less.

use crate::session::Figures;
use crate::target::Target;
use headroom::client::reserve_answer::ReserveAnswer;
use headroom::client::{CallError, Connection};
use headroom::domain::Micros;
use headroom::time::{Clock, SystemClock};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;
use tokio::task::JoinSet;

/// Connections that make holds at the same time.
const MAKERS: usize = 64;
/// Holds a second that a server is expected to make; the schedule leaves time for this pace, and [`SPARE_US`].
const PACE: u64 = 2_000;
/// Further time that the schedule leaves, in microseconds.
const SPARE_US: u64 = 1_000_000;
/// Most attempts to make one hold.
const TRIES: u32 = 20;
/// Time after which a hold counts as never answered.
const GIVE_UP: Duration = Duration::from_secs(5);

/// Time to make so many, in microseconds.
pub fn time_us(count: u32) -> u64 {
    SPARE_US + u64::from(count) * 1_000_000 / PACE
}

/// What all connections share.
#[derive(Clone)]
pub struct Course {
    /// The server, by a connection like those of the makers.
    pub server: Connection,
    /// The requests to send.
    pub target: Arc<Target>,
    /// The clock that all of them measure by.
    pub clock: Arc<SystemClock>,
    /// How each hold was answered, by its number.
    pub endings: Arc<Mutex<Vec<(u32, ReserveAnswer)>>>,
    /// When all holds end, apart from the time that their calls take.
    pub due: Micros,
}

/// Makes the holds with these numbers.
///
/// # Errors
/// When one was not made, or not in time.
pub async fn make(course: Course, numbers: Range<u32>) -> Result<(), String> {
    let next = Arc::new(AtomicU32::new(numbers.start));
    let mut makers = JoinSet::new();
    for _ in 0..MAKERS {
        makers.spawn(maker(course.clone(), Arc::clone(&next), numbers.end));
    }
    while let Some(ended) = makers.join_next().await {
        ended.map_err(|e| e.to_string())??;
    }
    Ok(())
}

async fn maker(course: Course, next: Arc<AtomicU32>, end: u32) -> Result<(), String> {
    let mut connection = course.server.clone();
    loop {
        let number = next.fetch_add(1, Relaxed);
        if number >= end {
            return Ok(());
        }
        let left_ms = course.due.ms_since(course.clock.now());
        let mut ended = Err(CallError::GaveUp);
        // The request is repeated when it was not decided in time, because a machine may be busy.
        for _ in 0..TRIES {
            ended = connection.call(course.target.reserve(number, Some(left_ms)), GIVE_UP).await;
            if ended.as_ref().is_ok_and(|answer| answer.status < 500) {
                break;
            }
        }
        course.endings.lock().push((number, ReserveAnswer::of(&ended)));
        match ended {
            Ok(answer) if answer.status == 201 => {}
            Ok(answer) => return Err(format!("a hold was refused: {}", String::from_utf8_lossy(&answer.body))),
            Err(error) => return Err(format!("a hold was not answered: {error}")),
        }
    }
}

/// The results of rounds of two phases: the 99th percentiles without holds and with them, and their ratio.
pub struct Rounds(Vec<[f64; 3]>);

impl Rounds {
    /// The rounds of phases that alternate, the first one without holds.
    pub fn of(phases: &[Figures]) -> Rounds {
        let p99_ms = |figures: &Figures| figures.reserves.all_us().value_at_quantile(0.99) as f64 / 1e3;
        let round = |pair: &[Figures]| match pair {
            [without, with] => Some([p99_ms(without), p99_ms(with), p99_ms(with) / p99_ms(without).max(1e-3)]),
            _ => None,
        };
        Rounds(phases.chunks(2).filter_map(round).collect())
    }

    fn medians(&self) -> [f64; 3] {
        std::array::from_fn(|of| {
            let mut values: Vec<f64> = self.0.iter().map(|round| round[of]).collect();
            values.sort_by(f64::total_cmp);
            values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
        })
    }

    /// The medians in one line.
    pub fn text(&self) -> String {
        let ([without, with, ratio], rounds) = (self.medians(), self.0.len());
        format!("p99 {without:.2} ms without, {with:.2} ms with; {ratio:.2} times as long (medians of {rounds} rounds)")
    }

    /// The medians, as JSON.
    pub fn json(&self) -> Value {
        let [without, with, ratio] = self.medians();
        json!({"rounds": self.0.len(), "p99_ms_without": without, "p99_ms_with": with, "ratio": ratio})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_those_of_one_round() {
        // The second round had a bad minute.
        let rounds = Rounds(vec![[2.0, 3.0, 1.5], [20.0, 30.0, 1.5], [4.0, 4.0, 1.0]]);
        assert_eq!(rounds.medians(), [4.0, 4.0, 1.5]);
        assert_eq!(rounds.text(), "p99 4.00 ms without, 4.00 ms with; 1.50 times as long (medians of 3 rounds)");
    }
}
