//! What everybody writes on and the screen reads from: counts, latencies, what was refused where, and for the audit
//! every answer anybody was given.

use crate::audit::history::Call;
use crate::client::{Answer, CallError};
use hdrhistogram::Histogram;
use parking_lot::Mutex;
use std::collections::{BTreeMap, VecDeque};

/// Lines of the planner's news that are kept.
const NEWS_MAX: usize = 2;

/// How often each kind of answer was given.
#[derive(Clone, Copy, Default, Debug)]
pub struct Counts {
    /// Answers 201: the caller has its reservation.
    pub yes: u64,
    /// Answers 409: the caller was refused.
    pub no: u64,
    /// 503 and 504: not in time.
    pub late: u64,
    /// Anything else, reads among it.
    pub other: u64,
    /// No answer at all.
    pub silent: u64,
}

/// What happened besides.
#[derive(Clone, Copy, Default, Debug)]
pub struct Deeds {
    /// Holds that their callers confirmed.
    pub confirmed: u64,
    /// Holds left to expire.
    pub left: u64,
    /// Reservations that their callers released.
    pub released: u64,
    /// Retries with the same key.
    pub retried: u64,
    /// Of those, answered with another reservation than the first time.
    pub contradicted: u64,
}

/// One second, or all of them.
#[derive(Clone)]
pub struct Period {
    /// How often each kind of answer was given.
    pub counts: Counts,
    /// How long they took, in microseconds.
    pub latency_us: Histogram<u64>,
}

/// The pool that refused most, and how often.
pub type Contested = Option<(String, u64)>;

#[derive(Default)]
struct Inner {
    now: Period,
    all: Period,
    deeds: Deeds,
    refused: BTreeMap<String, u64>,
    news: VecDeque<String>,
    calls: Vec<Call>,
}

/// The board. Everybody holds it for a moment only.
#[derive(Default)]
pub struct Board(Mutex<Inner>);

impl Default for Period {
    fn default() -> Period {
        let latency_us = Histogram::new(3).unwrap_or_else(|_| unreachable!("three digits are between one and five"));
        Period { counts: Counts::default(), latency_us }
    }
}

impl Period {
    fn note(&mut self, ended: &Result<Answer, CallError>, took_us: u64) {
        let counts = &mut self.counts;
        let count = match ended.as_ref().map(|answer| answer.status) {
            Ok(201) => &mut counts.yes,
            Ok(409) => &mut counts.no,
            Ok(503 | 504) => &mut counts.late,
            Ok(_) => &mut counts.other,
            Err(_) => &mut counts.silent,
        };
        *count = count.saturating_add(1);
        // Recording fails only above a fixed maximum, and there is none.
        let _ = self.latency_us.record(took_us);
    }
}

impl Board {
    /// Notes an answer, or that none came.
    pub fn answer(&self, ended: &Result<Answer, CallError>, took_us: u64) {
        let mut inner = self.0.lock();
        inner.now.note(ended, took_us);
        inner.all.note(ended, took_us);
    }

    /// Keeps what a caller was told for the audit.
    pub fn call(&self, call: Call) {
        self.0.lock().calls.push(call);
    }

    /// Notes that a pool had no room.
    pub fn refused(&self, pool: &str) {
        let mut inner = self.0.lock();
        match inner.refused.get_mut(pool) {
            Some(count) => *count = count.saturating_add(1),
            None => drop(inner.refused.insert(pool.to_owned(), 1)),
        }
    }

    /// Notes a deed.
    pub fn deed(&self, note: impl FnOnce(&mut Deeds)) {
        note(&mut self.0.lock().deeds);
    }

    /// Notes what the planner did.
    pub fn news(&self, line: String) {
        let mut inner = self.0.lock();
        inner.news.push_back(line);
        if inner.news.len() > NEWS_MAX {
            inner.news.pop_front();
        }
    }

    /// The period since the last time, and a new one begins.
    pub fn turn(&self) -> Period {
        std::mem::take(&mut self.0.lock().now)
    }

    /// Everything so far.
    pub fn all(&self) -> (Period, Deeds) {
        let inner = self.0.lock();
        (inner.all.clone(), inner.deeds)
    }

    /// The most contested pool.
    pub fn contested(&self) -> Contested {
        let inner = self.0.lock();
        inner.refused.iter().max_by_key(|(_, count)| **count).map(|(pool, count)| (pool.clone(), *count))
    }

    /// The planner's last deeds.
    pub fn last_news(&self) -> Vec<String> {
        self.0.lock().news.iter().cloned().collect()
    }

    /// Every answer that was kept; none is left.
    pub fn take_calls(&self) -> Vec<Call> {
        std::mem::take(&mut self.0.lock().calls)
    }
}
