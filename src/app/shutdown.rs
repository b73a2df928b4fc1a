//! A time limit for the shutdown: threads that still run then are named in the log, and the process ends without them.

use crate::limits::{LEAVE_MS, SHUTDOWN_MS};
use crate::threads;
use crossbeam_channel::{RecvTimeoutError, Sender, bounded};
use parking_lot::Mutex;
use std::time::Duration;

/// The name of the watching thread, which is not one of the threads that have to end.
const NAME: &str = "shutdown";
const LIMIT: Duration = Duration::from_millis(LEAVE_MS + SHUTDOWN_MS);

/// The limit of a shutdown; it is dropped when everything has ended.
#[derive(Default)]
pub(super) struct Shutdown(Mutex<Option<Sender<()>>>);

impl Shutdown {
    /// Starts the time limit.
    pub(super) fn begin(&self) {
        let (over, wait) = bounded::<()>(0);
        *self.0.lock() = Some(over);
        let watching = threads::spawn(NAME, move || {
            if wait.recv_timeout(LIMIT) == Err(RecvTimeoutError::Timeout) {
                let threads: Vec<_> = threads::running().into_iter().filter(|name| name != NAME).collect();
                let limit_ms = LIMIT.as_millis();
                tracing::error!(?threads, limit_ms, "the shutdown takes too long: the process does not wait for these");
                std::process::exit(1);
            }
        });
        if let Err(error) = watching {
            tracing::error!(%error, "the time of the shutdown has no limit, because its thread cannot be started");
        }
    }
}
