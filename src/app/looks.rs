//! What tasks share that look at something from time to time.

use std::time::Duration;
use tokio::task::JoinError;
use tokio::time::{Interval, MissedTickBehavior, interval};

/// Ticks at once, and then every `ms` milliseconds. After a look that took longer, the next ones are later too: a file
/// system that hangs must not lead to a crowd of looks afterwards.
pub(super) fn every(ms: u64) -> Interval {
    let mut looks = interval(Duration::from_millis(ms));
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    looks
}

/// Runs work that blocks on a thread for such work, and returns its result. `None` when the runtime is ending. A panic
/// of the work goes on in the caller.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    match tokio::task::spawn_blocking(work).await.map_err(JoinError::try_into_panic) {
        Ok(done) => Some(done),
        Err(Ok(panic)) => std::panic::resume_unwind(panic),
        Err(Err(_)) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_of_blocking_work_reaches_the_task_that_waits_for_it() {
        let task = tokio::spawn(blocking(|| panic!("planted")));
        assert!(task.await.unwrap_err().is_panic());
        assert_eq!(blocking(|| 7).await, Some(7));
    }
}
