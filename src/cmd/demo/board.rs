//! The scoreboard: shoppers and planner write counts, latencies and news, the screen reads them, and the audit takes
//! every answer that a shopper was given.

use crate::audit::history::Call;
use crate::client::{Answer, CallError};
use hdrhistogram::Histogram;
use parking_lot::Mutex;
use std::collections::{BTreeMap, VecDeque};

/// Lines about the planner that are kept.
const NEWS_MAX: usize = 2;

/// Numbers of answers by kind.
#[derive(Clone, Copy, Default, Debug)]
pub struct Counts {
    /// Calls that were answered 201: accepted.
    pub yes: u64,
    /// Calls that were answered 409: refused.
    pub no: u64,
    /// 503 and 504: not decided in time.
    pub late: u64,
    /// Every other status, reads among them.
    pub other: u64,
    /// Calls without an answer.
    pub silent: u64,
}

/// Numbers of what shoppers did after a yes.
#[derive(Clone, Copy, Default, Debug)]
pub struct Actions {
    /// Holds that were confirmed.
    pub confirmed: u64,
    /// Holds that were left to expire.
    pub left: u64,
    /// Reservations that were released.
    pub released: u64,
    /// Retries with the same idempotency key.
    pub retried: u64,
    /// Retries whose answer contradicted the first one.
    pub contradicted: u64,
}

/// The answers of one second, or of the whole run.
#[derive(Clone)]
pub struct Period {
    /// The answers by kind.
    pub counts: Counts,
    /// The latencies of calls, in microseconds.
    pub latency_us: Histogram<u64>,
}

/// The pool that refused most.
#[derive(Clone, Debug)]
pub struct Contested {
    /// The id of the pool.
    pub pool: String,
    /// How often the pool refused a Reserve.
    pub refusals: u64,
}

#[derive(Default)]
struct Inner {
    now: Period,
    all: Period,
    actions: Actions,
    refused: BTreeMap<String, u64>,
    news: VecDeque<String>,
    calls: Vec<Call>,
}

/// The scoreboard. Its lock is held for a moment only.
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
    /// Counts an answer, or that none came.
    pub fn answer(&self, ended: &Result<Answer, CallError>, took_us: u64) {
        let mut inner = self.0.lock();
        inner.now.note(ended, took_us);
        inner.all.note(ended, took_us);
    }

    /// Keeps the answer to a call for the audit.
    pub fn call(&self, call: Call) {
        self.0.lock().calls.push(call);
    }

    /// Counts a refusal of a pool that had no room.
    pub fn refused(&self, pool: &str) {
        let mut inner = self.0.lock();
        match inner.refused.get_mut(pool) {
            Some(count) => *count = count.saturating_add(1),
            None => drop(inner.refused.insert(pool.to_owned(), 1)),
        }
    }

    /// Counts an action.
    pub fn count(&self, note: impl FnOnce(&mut Actions)) {
        note(&mut self.0.lock().actions);
    }

    /// Adds a line about the planner.
    pub fn news(&self, line: String) {
        let mut inner = self.0.lock();
        inner.news.push_back(line);
        if inner.news.len() > NEWS_MAX {
            inner.news.pop_front();
        }
    }

    /// Takes the period since the last call, and begins a new one.
    pub fn take_period(&self) -> Period {
        std::mem::take(&mut self.0.lock().now)
    }

    /// The answers and actions of the whole run so far.
    pub fn all(&self) -> (Period, Actions) {
        let inner = self.0.lock();
        (inner.all.clone(), inner.actions)
    }

    /// The pool that refused most; `None` before the first refusal.
    pub fn contested(&self) -> Option<Contested> {
        let inner = self.0.lock();
        let most = inner.refused.iter().max_by_key(|(_, count)| **count);
        most.map(|(pool, count)| Contested { pool: pool.clone(), refusals: *count })
    }

    /// The last lines about the planner, oldest first.
    pub fn last_news(&self) -> Vec<String> {
        self.0.lock().news.iter().cloned().collect()
    }

    /// Takes every answer that was kept.
    pub fn take_calls(&self) -> Vec<Call> {
        std::mem::take(&mut self.0.lock().calls)
    }
}
