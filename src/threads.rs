//! Threads and tasks that run for as long as the process does. The process needs every one of them. When one panics, an
//! error line names it and the process aborts at once: it must not go on with a part missing. At shutdown this says
//! which of them still run.

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::io;
use std::thread::{Builder, JoinHandle};

/// Names of the threads and tasks that run, in the order in which they began.
static RUNNING: Mutex<BTreeMap<u64, String>> = Mutex::new(BTreeMap::new());

/// Held by a thread or task while it does its work. When a panic drops it, the process aborts.
#[must_use = "it watches until it is dropped"]
pub struct Watched {
    number: u64,
    name: String,
}

/// Watches the calling thread or task until the answer is dropped. `name` stands in error lines and in [`running`].
///
/// # Panics
/// When a test has planted a panic here; see [`planted`].
pub fn watch(name: &str) -> Watched {
    let mut running = RUNNING.lock();
    let number = running.last_key_value().map_or(0, |(last, _)| last.saturating_add(1));
    running.insert(number, name.to_owned());
    drop(running);
    let watched = Watched { number, name: name.to_owned() };
    planted(name);
    watched
}

/// Starts a thread that is watched under its name.
///
/// # Errors
/// When the system cannot start a thread.
pub fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    let watched = name.to_owned();
    Builder::new().name(name.to_owned()).spawn(move || {
        let _watched = watch(&watched);
        work();
    })
}

/// Names of the threads and tasks that run now, in the order in which they began.
pub fn running() -> Vec<String> {
    RUNNING.lock().values().cloned().collect()
}

impl Drop for Watched {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!(thread = self.name, "a thread panicked: the process aborts");
            std::process::abort();
        }
        RUNNING.lock().remove(&self.number);
    }
}

/// Panics here if `HEADROOM_CRASH_AT` says `panic:<name>` or `panic:<name>:<text>`, with a reason that quotes the variable, and
/// gets no further if it says `hang:<name>`.
#[cfg(feature = "crash-points")]
fn planted(name: &str) {
    let wanted = std::env::var("HEADROOM_CRASH_AT").unwrap_or_default();
    let mut parts = wanted.splitn(3, ':');
    let wanted_here = parts.next().filter(|_| parts.next() == Some(name));
    assert!(wanted_here != Some("panic"), "planted in {name} by {wanted:?}");
    while wanted_here == Some("hang") {
        std::thread::park();
    }
}

/// Without the feature `crash-points` nothing is planted.
#[cfg(not(feature = "crash-points"))]
fn planted(_name: &str) {}

#[cfg(test)]
mod tests {
    use super::*;
    use crossbeam_channel::bounded;

    #[test]
    fn a_thread_is_named_for_as_long_as_it_runs() {
        let is_running = || running().iter().any(|name| name == "named");
        let (end, ended) = bounded::<()>(0);
        let (begin, begun) = bounded::<()>(0);
        let thread = spawn("named", move || {
            drop(begin);
            let _ = ended.recv();
        });
        let _ = begun.recv();
        assert!(is_running());
        drop(end);
        thread.unwrap().join().unwrap();
        assert!(!is_running());
    }
}
