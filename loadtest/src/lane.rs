//! One stream of requests: what is due waits here for a connection that is free. The queue is bounded: a request that
//! finds it full is dropped and counted.

use headroom::domain::Micros;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use tokio::sync::Notify;

/// A request that is due.
#[derive(Clone, Copy, Debug)]
pub struct Job {
    /// Its number in the session, from which its content follows.
    pub number: u32,
    /// When it was to be sent.
    pub due: Micros,
    /// Whether it counts, or only warms up.
    pub is_measured: bool,
}

/// The queue between the schedule and the connections.
pub struct Lane {
    waiting: Mutex<VecDeque<Job>>,
    bell: Notify,
    is_closed: AtomicBool,
    backlog_max: usize,
}

impl Lane {
    /// An empty queue.
    pub fn new(backlog_max: usize) -> Lane {
        let waiting = Mutex::new(VecDeque::new());
        Lane { waiting, bell: Notify::new(), is_closed: AtomicBool::new(false), backlog_max }
    }

    /// Queues a request; false when the queue is full.
    pub fn offer(&self, job: Job) -> bool {
        let mut waiting = self.waiting.lock();
        if waiting.len() >= self.backlog_max {
            return false;
        }
        waiting.push_back(job);
        drop(waiting);
        self.bell.notify_one();
        true
    }

    /// Says that no more will come.
    pub fn close(&self) {
        self.is_closed.store(true, Relaxed);
        self.bell.notify_waiters();
    }

    /// The next request, oldest first; `None` when none is left and none will come. Connections that wait longest go
    /// first, so that none is idle for so long that the server closes it.
    pub async fn next(&self) -> Option<Job> {
        loop {
            let rung = self.bell.notified();
            if let Some(job) = self.waiting.lock().pop_front() {
                return Some(job);
            }
            if self.is_closed.load(Relaxed) {
                return None;
            }
            rung.await;
        }
    }
}
