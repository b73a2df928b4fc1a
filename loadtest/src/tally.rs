//! What is counted of a phase: every request is counted in exactly one class, and its latency is measured from when it
//! was due.

use crate::lane::Job;
use hdrhistogram::Histogram;
use headroom::client::{Answer, CallError};
use headroom::domain::Micros;
use std::array;

/// A request that leaves this much after it was due is late: the generator, or too few connections, held it up.
pub const LATE_US: u64 = 1_000;

/// How a request ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Class {
    /// 200: a read.
    Read,
    /// 201: the reservation was accepted.
    Accepted,
    /// 409: refused by a decision.
    Refused,
    /// 429: refused, because the caller is over its quota.
    OverQuota,
    /// 503: shed or timed out, nothing applied.
    Unavailable,
    /// 504: timed out, and it is unknown whether it was applied.
    Unknown,
    /// Any other status.
    Other,
    /// No answer came.
    Silent,
}

impl Class {
    /// All of them, in the order of the table.
    pub const ALL: [Class; 8] = [
        Class::Read,
        Class::Accepted,
        Class::Refused,
        Class::OverQuota,
        Class::Unavailable,
        Class::Unknown,
        Class::Other,
        Class::Silent,
    ];

    /// Its name in the table.
    pub fn name(self) -> &'static str {
        match self {
            Class::Read => "200",
            Class::Accepted => "201",
            Class::Refused => "409",
            Class::OverQuota => "429",
            Class::Unavailable => "503",
            Class::Unknown => "504",
            Class::Other => "other",
            Class::Silent => "no answer",
        }
    }

    /// The class of an answer over HTTP.
    pub fn of(ended: &Result<Answer, CallError>) -> Class {
        match ended.as_ref().map(|answer| answer.status) {
            Ok(200) => Class::Read,
            Ok(201) => Class::Accepted,
            Ok(409) => Class::Refused,
            Ok(429) => Class::OverQuota,
            Ok(503) => Class::Unavailable,
            Ok(504) => Class::Unknown,
            Ok(_) => Class::Other,
            Err(_) => Class::Silent,
        }
    }
}

/// The counts of one stream in one phase.
pub struct Tally {
    latency_us: [Histogram<u64>; Class::ALL.len()],
    /// Time from due to sent.
    pub delay_us: Histogram<u64>,
    /// Requests that were due in the phase.
    pub scheduled: u64,
    /// Of those, sent more than [`LATE_US`] after they were due.
    pub late: u64,
    /// Of those, never sent: every connection was busy and the backlog full.
    pub dropped: u64,
    /// Answers that came within the measured time, whenever their request was due.
    pub answered_in_time: u64,
    /// The measured time.
    window: (Micros, Micros),
}

/// A histogram without an upper end, exact to three digits.
pub fn histogram() -> Histogram<u64> {
    let made = Histogram::new(3);
    made.unwrap_or_else(|_| unreachable!("three digits are between one and five"))
}

impl Tally {
    /// Nothing counted, for a measured time from `start` to `end`.
    pub fn new(start: Micros, end: Micros) -> Tally {
        Tally {
            latency_us: array::from_fn(|_| histogram()),
            delay_us: histogram(),
            scheduled: 0,
            late: 0,
            dropped: 0,
            answered_in_time: 0,
            window: (start, end),
        }
    }

    /// Counts a request that became due, and whether the backlog took it.
    pub fn due(&mut self, is_taken: bool) {
        self.scheduled += 1;
        self.dropped += u64::from(!is_taken);
    }

    /// Counts a request that ended.
    pub fn ended(&mut self, job: Job, sent: Micros, over: Micros, class: Class) {
        let (start, end) = self.window;
        self.answered_in_time += u64::from(class != Class::Silent && start <= over && over < end);
        if !job.is_measured {
            return;
        }
        let delay_us = sent.0.saturating_sub(job.due.0);
        self.late += u64::from(delay_us > LATE_US);
        // Recording fails only above a fixed maximum, and these have none.
        let _ = self.delay_us.record(delay_us);
        if let Some(latency_us) = self.latency_us.get_mut(class as usize) {
            let _ = latency_us.record(over.0.saturating_sub(job.due.0));
        }
    }

    /// The latencies of one class, in microseconds from when its requests were due.
    pub fn latency_us(&self, class: Class) -> &Histogram<u64> {
        &self.latency_us[class as usize]
    }

    /// How many requests ended in this class.
    pub fn count(&self, class: Class) -> u64 {
        self.latency_us(class).len()
    }

    /// The latencies of everything that was sent, also of what was never answered.
    pub fn all_us(&self) -> Histogram<u64> {
        self.latency_us.iter().fold(histogram(), |mut all, part| {
            // Adding fails only above a fixed maximum.
            let _ = all.add(part);
            all
        })
    }

    /// Requests that got no decision: dropped, shed, timed out, answered oddly or not at all.
    pub fn failed(&self) -> u64 {
        let undecided = [Class::OverQuota, Class::Unavailable, Class::Unknown, Class::Other, Class::Silent];
        self.dropped + undecided.into_iter().map(|class| self.count(class)).sum::<u64>()
    }

    /// Requests that were sent, whatever their answer.
    pub fn sent(&self) -> u64 {
        self.latency_us.iter().map(Histogram::len).sum()
    }
}
