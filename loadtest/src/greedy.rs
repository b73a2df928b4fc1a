//! One more caller, who reserves in the same pools far more often than its quota allows. It runs on a thread of its own, so
//! that its work does not add to the measured latency of the others.

use crate::lane::Job;
use crate::tally::{Class, Tally};
use crate::target::Target;
use headroom::client::Connection;
use headroom::client::reserve_answer::ReserveAnswer;
use headroom::domain::Micros;
use headroom::time::{Clock, SystemClock};
use parking_lot::Mutex;
use std::ops::Range;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;
use tokio::task::JoinSet;

/// Its name, which its quota is set for.
pub const NAME: &str = "greedy";
/// How many times more often it calls than its quota allows.
pub const TIMES: f64 = 100.0;
/// Its connections, each with one request at a time.
const CONNECTIONS: u32 = 16;

/// The caller at work.
pub struct Greedy(JoinHandle<Result<Tally, String>>);

/// What it does.
#[derive(Clone)]
pub struct Course {
    /// A connection under its own token, not open yet.
    pub server: Connection,
    /// The requests to send.
    pub target: Arc<Target>,
    /// The clock that all measure by.
    pub clock: Arc<SystemClock>,
    /// When it begins, from when its answers count, and when it ends.
    pub times: (Micros, Micros, Micros),
    /// The numbers of its requests, which are due evenly from its beginning to its end.
    pub numbers: Range<u32>,
    /// How each request was answered, by its number.
    pub endings: Arc<Mutex<Vec<(u32, ReserveAnswer)>>>,
    /// Time after which an answer is not waited for any more.
    pub give_up: Duration,
}

impl Greedy {
    /// Lets it begin.
    ///
    /// # Errors
    /// When the system has no thread to give.
    pub fn start(course: Course) -> Result<Greedy, String> {
        let run = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.map_err(|e| e.to_string())?.block_on(all(course))
        };
        Builder::new().name(NAME.to_owned()).spawn(run).map(Greedy).map_err(|e| format!("no thread: {e}"))
    }

    /// The tally of its answers, once the last one has come.
    ///
    /// # Errors
    /// Why the tally is not known.
    pub async fn end(self) -> Result<Tally, String> {
        let ended = tokio::task::spawn_blocking(move || self.0.join()).await.map_err(|e| e.to_string())?;
        ended.map_err(|_| "the greedy caller panicked".to_owned())?
    }
}

async fn all(course: Course) -> Result<Tally, String> {
    let (_, measured, end) = course.times;
    let tally = Arc::new(Mutex::new(Tally::new(measured, end)));
    let mut connections = JoinSet::new();
    for first in 0..CONNECTIONS {
        connections.spawn(reserve(course.clone(), first, Arc::clone(&tally)));
    }
    while let Some(ended) = connections.join_next().await {
        ended.map_err(|e| e.to_string())?;
    }
    Ok(std::mem::replace(&mut *tally.lock(), Tally::new(measured, end)))
}

/// Sends every so many-th request when it is due, or as soon as the one before is answered.
async fn reserve(mut course: Course, first: u32, tally: Arc<Mutex<Tally>>) {
    let (start, measured, end) = course.times;
    let (count, lasts_us) = (course.numbers.len() as u64, end.0 - start.0);
    for at in (u64::from(first)..count).step_by(CONNECTIONS as usize) {
        let due = Micros(start.0 + lasts_us * at / count.max(1));
        let ahead_us = due.0.saturating_sub(course.clock.now().0);
        if ahead_us > 0 {
            tokio::time::sleep_until(tokio::time::Instant::now() + Duration::from_micros(ahead_us)).await;
        }
        let sent = course.clock.now();
        if sent >= end {
            return;
        }
        let number = course.numbers.start + u32::try_from(at).unwrap_or_default();
        let ended = course.server.call(course.target.reserve(number, None), course.give_up).await;
        let job = Job { number, due, is_measured: due >= measured };
        let mut tally = tally.lock();
        if job.is_measured {
            tally.due(true);
        }
        tally.ended(job, sent, course.clock.now(), Class::of(&ended));
        drop(tally);
        course.endings.lock().push((number, ReserveAnswer::of(&ended)));
    }
}
