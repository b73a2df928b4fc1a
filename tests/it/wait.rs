//! Waiting with a limit: a test that waits for what never comes says so, instead of standing still.

use headroom::time::{Clock, Stopwatch, SystemClock, pause};
use std::time::Duration;

/// Longer than anything may take on a machine that is very busy.
pub const PATIENCE: Duration = Duration::from_secs(180);
/// Between two looks, as long as the look before took, and within these: one that starts a process would leave no core to what it
/// waits for.
const PAUSE: [Duration; 2] = [Duration::from_millis(1), Duration::from_millis(50)];

/// Waits until the condition holds.
#[track_caller]
pub fn until(what: &str, holds: impl FnMut() -> bool) {
    assert!(soon(holds), "not within {PATIENCE:?}: {what}");
}

/// Does this for each of them at the same time: what each of them waits for is waited for once.
pub fn at_once<T: Send>(all: impl IntoIterator<Item = T>, each: impl Fn(T) + Sync) {
    std::thread::scope(|scope| {
        for one in all {
            let each = &each;
            scope.spawn(move || each(one));
        }
    });
}

/// Waits for the condition; whether it came to hold. For those who must clean up before they panic.
pub fn soon(mut holds: impl FnMut() -> bool) -> bool {
    let clock = SystemClock::new();
    let begun = clock.now();
    loop {
        let looking = Stopwatch::start();
        if holds() {
            return true;
        }
        let took = looking.elapsed();
        if u128::from(clock.now().0 - begun.0) > PATIENCE.as_micros() {
            return false;
        }
        pause(took.clamp(PAUSE[0], PAUSE[1]));
    }
}
