//! Threads and tasks that run for as long as the process does. The process needs every one of them. When one panics, an
//! error line names it and the process aborts at once: it must not go on with a part missing. At shutdown this says
//! which of them still run. Work that may wait runs here at a lower priority.

use parking_lot::Mutex;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::io;
use std::num::NonZero;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::OnceLock;
use std::thread::{Builder, JoinHandle, ScopedJoinHandle, available_parallelism, scope};
use tokio::runtime::{self, Runtime};
use tokio::task;

/// Names of the threads and tasks that run, in the order in which they began.
static RUNNING: Mutex<BTreeMap<u64, String>> = Mutex::new(BTreeMap::new());

thread_local! {
    /// Whether this thread does work that may panic.
    static IS_GUARDED: Cell<bool> = const { Cell::new(false) };
}

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

/// How many threads run at the same time.
pub fn processors() -> usize {
    available_parallelism().map_or(1, NonZero::get)
}

/// By how much the priority of work that may wait is lower. Beside callers that take all of the processors it still gets a
/// share.
pub const NICE: i32 = 10;
/// Most threads for [`aside`]. More work waits.
const ASIDE_MAX: usize = 2;

/// Lowers the priority of the calling thread, and of those that it starts later.
pub fn stand_back(by: i32) {
    if let Err(error) = rustix::process::nice(by) {
        tracing::warn!(%error, "the priority of this thread is as it was");
    }
}

/// Runs work of processor and disk on a thread that stands back for those who answer callers. It must not hold a lock that
/// they take as well for longer than a moment.
///
/// # Errors
/// When the system cannot start a thread.
pub fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> io::Result<task::JoinHandle<T>> {
    static ASIDE: OnceLock<io::Result<Runtime>> = OnceLock::new();
    let aside = ASIDE.get_or_init(|| {
        let mut threads = runtime::Builder::new_current_thread();
        threads.thread_name("aside").max_blocking_threads(ASIDE_MAX).on_thread_start(|| stand_back(NICE)).build()
    });
    match aside {
        Ok(aside) => Ok(aside.spawn_blocking(work)),
        Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
    }
}

/// Runs work that blocks on a thread for such work. It goes on when its caller leaves meanwhile, and keeps what bounds it, such as a
/// permit, until it ends: callers who leave must not make more of it run at once than may.
pub fn blocking<T: Send + 'static>(
    bound: impl Send + 'static,
    work: impl FnOnce() -> T + Send + 'static,
) -> task::JoinHandle<T> {
    task::spawn_blocking(move || {
        let _bound = bound;
        work()
    })
}

/// Does two things, the first of them on a thread of this name while the caller does the second one. Where the system gives no
/// thread, the caller does both.
///
/// # Panics
/// When one of them panics.
pub fn beside<A: Send, B>(name: String, first: impl Fn() -> A + Sync, second: impl FnOnce() -> B) -> (A, B) {
    scope(|scope| {
        let doing = Builder::new().name(name).spawn_scoped(scope, &first);
        let second = second();
        match doing.map(ScopedJoinHandle::join) {
            Ok(Ok(first)) => (first, second),
            Ok(Err(panic)) => resume_unwind(panic),
            Err(_) => (first(), second),
        }
    })
}

/// Does work of a library that panics at what others may write, and answers `None` where it does. Nothing has gone wrong here
/// then, so nobody is told of the panic.
pub fn unless_it_panics<T>(work: impl FnOnce() -> T) -> Option<T> {
    let before = IS_GUARDED.replace(true);
    let done = catch_unwind(AssertUnwindSafe(work)).ok();
    IS_GUARDED.set(before);
    done
}

/// Whether [`unless_it_panics`] takes the panics of this thread now.
pub fn is_guarded() -> bool {
    IS_GUARDED.get()
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
    use rustix::process::getpriority_process;

    #[test]
    fn work_that_may_wait_has_a_lower_priority_than_who_asks_for_it() {
        let runtime = runtime::Builder::new_current_thread().build().unwrap();
        let aside = runtime.block_on(aside(|| getpriority_process(None).unwrap()).unwrap()).unwrap();
        assert_eq!(aside, (getpriority_process(None).unwrap() + NICE).min(19));
    }

    #[test]
    fn a_panic_of_work_that_may_panic_ends_nothing_else() {
        let panics: fn() -> u8 = || panic!("at what others have written");
        assert_eq!((unless_it_panics(panics), unless_it_panics(is_guarded)), (None, Some(true)));
        let inner = unless_it_panics(|| (unless_it_panics(panics), is_guarded()));
        assert_eq!((inner, is_guarded()), (Some((None, true)), false));
    }

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
