//! Holds that end at the same time, and how that slows down the calls of others.

use crate::target::Target;
use headroom::client::reserve_answer::ReserveAnswer;
use headroom::client::{CallError, Connection};
use headroom::domain::Micros;
use headroom::time::{Clock, SystemClock};
use parking_lot::Mutex;
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
