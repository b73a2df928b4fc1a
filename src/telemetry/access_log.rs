//! The access log: a line for each call that is finished. A line holds the pattern of a route and never a path, a query, a
//! header or a body, so that no key, no reference of an order and no credential can get into it.

use super::lines::{ACCESS_LOG, flush};
use super::sample::Samples;
use crate::api::http::Finished;
use crate::config::AccessLog;
use crate::domain::{Micros, Name};
use crate::limits::ACCESS_ONE_OF;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use tracing::field::display;

/// Decides which calls get a line, and writes it.
#[derive(Debug)]
pub(super) struct AccessLines {
    pub(super) which: AccessLog,
    /// Calls that were done.
    done: AtomicU64,
    samples: Mutex<Samples>,
    /// Whether there are refusals without a line that no other line has counted yet.
    has_left_out: AtomicBool,
}

impl AccessLines {
    pub(super) fn new(which: AccessLog) -> AccessLines {
        AccessLines { which, done: AtomicU64::new(0), samples: Mutex::default(), has_left_out: AtomicBool::new(false) }
    }

    pub(super) fn finished(&self, finished: &Finished<'_>) {
        match self.which {
            AccessLog::Off => {}
            AccessLog::All => write(finished, 1),
            AccessLog::Sampled => self.sample(finished),
        }
    }

    /// Of calls that were done, one of [`ACCESS_ONE_OF`] has a line. Of the others all have one, up to a bounded number
    /// in a second of each code.
    fn sample(&self, finished: &Finished<'_>) {
        let is_done = finished.title.is_empty();
        if is_done && self.done.fetch_add(1, Relaxed).wrapping_add(1).is_multiple_of(ACCESS_ONE_OF) {
            write(finished, ACCESS_ONE_OF);
        }
        if is_done && !self.has_left_out.load(Relaxed) {
            return;
        }
        let mut samples = self.samples.lock();
        let left_out = samples.left_out(finished.at);
        let is_logged = !is_done && samples.admits(finished.code, finished.at);
        self.has_left_out.store(samples.has_left_out(), Relaxed);
        drop(samples);
        count(left_out);
        if is_logged {
            write(finished, 1);
        }
    }

    /// Writes how many refusals got no line of their own and were not counted yet, and waits until all lines are written.
    pub(super) fn end(&self) {
        let left_out = self.samples.lock().left_out(Micros::MAX);
        count(left_out);
        flush();
    }
}

/// Writes the line of a call that stands for this many calls.
fn write(finished: &Finished<'_>, one_of: u64) {
    let Finished { trace_id, method, route, status, code, took_us, protocol, bytes, .. } = *finished;
    let principal = finished.principal.map(Name::as_str);
    let operation = finished.operation.map(crate::api::operation::Operation::name);
    let peer = finished.peer.map(display);
    let (what, title) =
        if finished.title.is_empty() { ("request done", "") } else { ("request not done: ", finished.title) };
    tracing::info!(
        target: ACCESS_LOG,
        trace_id,
        principal,
        operation,
        method,
        route,
        status,
        code,
        took_us,
        bytes,
        protocol,
        peer,
        one_of,
        "{what}{title}"
    );
}

fn count(left_out: Vec<(&'static str, u64)>) {
    for (code, count) in left_out {
        tracing::info!(target: ACCESS_LOG, code, count, "more requests not done; they have no line of their own");
    }
}
