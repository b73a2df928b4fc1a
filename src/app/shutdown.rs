//! The end has a bound: whatever hangs then is named, and the process ends without it.

use crate::limits::{LEAVE_MS, SHUTDOWN_MS};
use crate::threads;
use crossbeam_channel::{RecvTimeoutError, Sender, bounded};
use parking_lot::Mutex;
use std::time::Duration;

/// The thread that watches, which is no part of what has to end.
const NAME: &str = "shutdown";
const LIMIT: Duration = Duration::from_millis(LEAVE_MS + SHUTDOWN_MS);

/// Dropped when everything has ended.
#[derive(Default)]
pub(super) struct Shutdown(Mutex<Option<Sender<()>>>);

impl Shutdown {
    /// From now on the end is bounded.
    pub(super) fn begin(&self) {
        let (over, wait) = bounded::<()>(0);
        *self.0.lock() = Some(over);
        let watching = threads::spawn(NAME, move || {
            if wait.recv_timeout(LIMIT) == Err(RecvTimeoutError::Timeout) {
                let threads: Vec<_> = threads::running().into_iter().filter(|name| name != NAME).collect();
                let limit_ms = LIMIT.as_millis();
                tracing::error!(?threads, limit_ms, "the shutdown takes too long: the process ends without these");
                std::process::exit(1);
            }
        });
        if let Err(error) = watching {
            tracing::error!(%error, "nobody watches how long the shutdown takes");
        }
    }
}
