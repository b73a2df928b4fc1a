//! What a process does only for tests: it kills itself at named points, so that the crash tests can die exactly there, and
//! it plays an older version. All of it exists only with the feature `crash-points`; without it the calls do nothing.

/// Dies here if `HEADROOM_CRASH_AT` says `<point>:<n>` and this is the n-th time.
#[cfg(feature = "crash-points")]
pub fn point(name: &str) {
    use rustix::process::{Signal, getpid, kill_process};
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
    static PASSED: AtomicU64 = AtomicU64::new(0);
    let Ok(wanted) = std::env::var("HEADROOM_CRASH_AT") else { return };
    let Some((point, n)) = wanted.split_once(':') else { return };
    if point == name && PASSED.fetch_add(1, Relaxed).saturating_add(1) == n.parse().unwrap_or(1) {
        // By kill -9: no destructors and no exit handlers run, and no panic ends a process in the same way.
        let _ = kill_process(getpid(), Signal::KILL);
        std::process::abort();
    }
}

/// The feature level of the older version that this process plays, from `HEADROOM_OLDER_LEVEL`.
#[cfg(feature = "crash-points")]
pub fn older_level() -> Option<u32> {
    static LEVEL: std::sync::LazyLock<Option<u32>> =
        std::sync::LazyLock::new(|| std::env::var("HEADROOM_OLDER_LEVEL").ok()?.parse().ok());
    *LEVEL
}

/// No process plays an older version: that is for the builds of tests.
#[cfg(not(feature = "crash-points"))]
pub fn older_level() -> Option<u32> {
    None
}

/// Does nothing: crash points are for the builds of tests.
#[cfg(not(feature = "crash-points"))]
pub fn point(_name: &str) {}
