//! How a thread waits for time to pass. Nothing else here parks a thread for a time or sleeps: a timed park may end
//! early for no reason, so it has to be repeated, and a sleep cannot be ended.

use super::Stopwatch;
use std::time::Duration;

/// Blocks this thread for `limit`, and never for less.
pub fn pause(limit: Duration) {
    pause_unless(limit, || false);
}

/// Blocks this thread for `limit`, or until `is_over` holds. It is asked at the start and each time the thread is
/// unparked, so whoever makes it hold unparks the thread afterwards.
#[expect(clippy::disallowed_methods, reason = "the one place that parks a thread for a time")]
pub fn pause_unless(limit: Duration, is_over: impl Fn() -> bool) {
    let pausing = Stopwatch::start();
    while !is_over() {
        let left = pausing.left_of(limit);
        if left.is_zero() {
            return;
        }
        std::thread::park_timeout(left);
    }
}

/// The pause in milliseconds before something is tried again that has failed so often before: the first one, twice as long
/// after every further failure, and never longer than the longest.
pub fn retry_ms(failures_before: u32, first_ms: u64, longest_ms: u64) -> u64 {
    first_ms.saturating_mul(1 << failures_before.min(16)).min(longest_ms)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

    #[test]
    fn pauses_double_up_to_the_longest() {
        let pauses = [0, 1, 2, 3, u32::MAX].map(|failures| retry_ms(failures, 100, 500));
        assert_eq!(pauses, [100, 200, 400, 500, 500]);
    }

    #[test]
    fn a_pause_lasts_to_its_end_though_the_thread_is_unparked() {
        let pausing = Stopwatch::start();
        std::thread::current().unpark();
        pause(Duration::from_millis(20));
        assert!(pausing.elapsed() >= Duration::from_millis(20));
    }

    #[test]
    fn a_pause_ends_when_it_is_told_that_it_is_over() {
        let (is_over, looks) = (AtomicBool::new(false), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            let pausing = scope.spawn(|| {
                pause_unless(Duration::MAX, || {
                    looks.fetch_add(1, SeqCst);
                    is_over.load(SeqCst)
                });
            });
            // An early end of a park is no reason to go on.
            while looks.load(SeqCst) < 2 {
                pausing.thread().unpark();
            }
            assert!(!pausing.is_finished());
            is_over.store(true, SeqCst);
            pausing.thread().unpark();
        });
    }
}
