//! Waiting to the microsecond. The runtime's own timer counts milliseconds and rounds up: between arrivals that are
//! 100 µs apart that would be most of what is measured. The kernel's timer, as a file, wakes the same event loop.

use rustix::fd::OwnedFd;
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};
use rustix::time::{timerfd_create, timerfd_settime};
use std::io;
use tokio::io::unix::AsyncFd;

/// A timer of the kernel.
pub struct Alarm(AsyncFd<OwnedFd>);

impl Alarm {
    /// A timer on this thread's runtime.
    ///
    /// # Errors
    /// When the kernel gives none.
    #[expect(deprecated, reason = "its successor is unsafe; an OwnedFd that stays in here does what that asks for")]
    pub fn new() -> io::Result<Alarm> {
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        Ok(Alarm(AsyncFd::new(timer)?))
    }

    /// Waits for so many microseconds, at least one.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn wait(&self, micros: u64) -> io::Result<()> {
        let micros = micros.max(1);
        let seconds = i64::try_from(micros / 1_000_000).unwrap_or(i64::MAX);
        let nanos = i64::try_from(micros % 1_000_000 * 1_000).unwrap_or_default();
        let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
        let once = Itimerspec { it_interval: zero, it_value: Timespec { tv_sec: seconds, tv_nsec: nanos } };
        timerfd_settime(self.0.get_ref(), TimerfdTimerFlags::empty(), &once)?;
        // Setting the timer again clears an unread expiry, so that no expiry has to be read.
        self.0.readable().await?.clear_ready();
        Ok(())
    }
}
