//! Readers in a closed loop: each asks for availability again as soon as it is answered. They offer as much load as the
//! server takes, however many they are. They run on a thread of their own, so that their work does not add to the
//! measured latency of reservations.

use crate::lane::Job;
use crate::tally::{Class, Tally};
use crate::target::Target;
use headroom::client::Connection;
use headroom::domain::Micros;
use headroom::time::{Clock, SystemClock};
use parking_lot::Mutex;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;
use tokio::task::JoinSet;

/// Readers at work.
pub struct Readers(JoinHandle<Result<Tally, String>>);

/// What all readers share.
#[derive(Clone)]
pub struct Course {
    /// The server, by a connection like those of the readers.
    pub server: Connection,
    /// The requests to send.
    pub target: Arc<Target>,
    /// The clock that all of them measure by.
    pub clock: Arc<SystemClock>,
    /// From when their answers count, and when they stop.
    pub measured: (Micros, Micros),
    /// Time after which an answer is not waited for any more.
    pub give_up: Duration,
}

impl Readers {
    /// Starts so many readers, which run until the course ends.
    ///
    /// # Errors
    /// When the system has no thread to give.
    pub fn start(course: Course, count: usize) -> Result<Readers, String> {
        let run = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.map_err(|e| e.to_string())?.block_on(all(course, count))
        };
        Builder::new().name("readers".to_owned()).spawn(run).map(Readers).map_err(|e| format!("no thread: {e}"))
    }

    /// The tally of their answers, once all readers have ended.
    ///
    /// # Errors
    /// Why the tally is not known.
    pub async fn end(self) -> Result<Tally, String> {
        let ended = tokio::task::spawn_blocking(move || self.0.join()).await.map_err(|e| e.to_string())?;
        ended.map_err(|_| "the readers panicked".to_owned())?
    }
}

async fn all(course: Course, count: usize) -> Result<Tally, String> {
    let (start, end) = course.measured;
    let tally = Arc::new(Mutex::new(Tally::new(start, end)));
    let mut readers = JoinSet::new();
    for number in (0..).take(count) {
        readers.spawn(read(course.clone(), number, Arc::clone(&tally)));
    }
    while let Some(ended) = readers.join_next().await {
        ended.map_err(|e| e.to_string())?;
    }
    Ok(std::mem::replace(&mut *tally.lock(), Tally::new(start, end)))
}

async fn read(course: Course, first: u32, tally: Arc<Mutex<Tally>>) {
    let mut connection = course.server.clone();
    let (start, end) = course.measured;
    let mut number = first;
    loop {
        let sent = course.clock.now();
        if sent >= end {
            return;
        }
        let ended = connection.call(course.target.query(number), course.give_up).await;
        let job = Job { number, due: sent, is_measured: sent >= start };
        let mut tally = tally.lock();
        if job.is_measured {
            tally.due(true);
        }
        tally.ended(job, sent, course.clock.now(), Class::of(&ended));
        number = number.wrapping_add(1);
    }
}
