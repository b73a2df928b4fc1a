//! Admission control. A call that cannot be answered in time is refused ("shed") before anything is appended, so that
//! it costs the log nothing.

use crate::domain::Micros;
use crate::limits::{INFLIGHT_PER_PARTITION_MAX, TURN_RECORDS_MAX};
use crate::replica::PartitionHandle;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

/// Why a call was shed. Nothing of it is in the log, now or later.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Shed {
    /// The partition has as many calls in flight as it may have.
    InFlight,
    /// The partition would probably not decide the call before its deadline.
    Wait,
    /// The queue of the partition is full.
    Full,
    /// No process decides for the partition at present.
    NoOwner,
    /// The process is shutting down.
    Closing,
    /// The process serves as many connections as it may.
    Connections,
    /// The process runs as many searches over pools as it may.
    Reads,
}

impl Shed {
    /// Every variant, once.
    pub const ALL: [Shed; 7] =
        [Shed::InFlight, Shed::Wait, Shed::Full, Shed::NoOwner, Shed::Closing, Shed::Connections, Shed::Reads];

    /// The stable name in metrics and in the `reason` of a problem.
    pub fn code(self) -> &'static str {
        match self {
            Shed::InFlight => "in_flight",
            Shed::Wait => "wait",
            Shed::Full => "full",
            Shed::NoOwner => "no_owner",
            Shed::Closing => "closing",
            Shed::Connections => "connections",
            Shed::Reads => "reads",
        }
    }
}

impl fmt::Display for Shed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// Counts the calls in flight on one partition.
#[derive(Default)]
pub struct InFlight(AtomicUsize);

impl InFlight {
    /// Counts a call in.
    ///
    /// # Errors
    /// [`Shed::InFlight`] when there are too many.
    pub fn enter(&self) -> Result<(), Shed> {
        let one_more = |n: usize| (n < INFLIGHT_PER_PARTITION_MAX).then(|| n.saturating_add(1));
        self.0.fetch_update(Relaxed, Relaxed, one_more).map(drop).map_err(|_| Shed::InFlight)
    }

    /// Counts a call out.
    pub fn leave(&self) {
        self.0.fetch_sub(1, Relaxed);
    }

    /// How many calls are in flight now.
    pub fn count(&self) -> usize {
        self.0.load(Relaxed)
    }
}

/// What waits in the queue of a partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct QueueLoad {
    /// Commands that wait.
    pub waiting: usize,
    /// For how long the queue has not moved although commands wait.
    pub stalled: Duration,
}

/// Refuses a call that the partition is not likely to answer before `deadline`. The estimate: the turn under way has to
/// end, and then as many turns follow as the queue fills; a queue that has not moved for some time is expected to wait
/// for as long again. An idle partition is never taken for slow, because only calls can show that it is fast again.
///
/// # Errors
/// [`Shed`] says why not.
pub fn in_time(
    handle: &PartitionHandle,
    QueueLoad { waiting, stalled }: QueueLoad,
    now: Micros,
    deadline: Micros,
) -> Result<(), Shed> {
    if !handle.folds() {
        return Err(Shed::NoOwner);
    }
    if now >= deadline {
        return Err(Shed::Wait);
    }
    let turn_age_us = handle.load().turn_age_us(now);
    if waiting == 0 && turn_age_us == 0 {
        return Ok(());
    }
    let turns = u64::try_from(waiting / TURN_RECORDS_MAX).unwrap_or(u64::MAX).saturating_add(1);
    let stalled_us = u64::try_from(stalled.as_micros()).unwrap_or(u64::MAX);
    let wait_us = handle.load().average_turn_us().max(turn_age_us).saturating_mul(turns).max(stalled_us);
    if now.0.saturating_add(wait_us) < deadline.0 { Ok(()) } else { Err(Shed::Wait) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replica::{PartitionStatus, Replica, StatusKind};

    fn load(waiting: usize, stalled: Duration) -> QueueLoad {
        QueueLoad { waiting, stalled }
    }

    #[test]
    fn no_more_calls_enter_than_may() {
        let in_flight = InFlight::default();
        for _ in 0..INFLIGHT_PER_PARTITION_MAX {
            assert_eq!(in_flight.enter(), Ok(()));
        }
        assert_eq!(in_flight.enter(), Err(Shed::InFlight));
        in_flight.leave();
        assert_eq!(in_flight.enter(), Ok(()));
        assert_eq!(in_flight.count(), INFLIGHT_PER_PARTITION_MAX);
    }

    #[test]
    fn a_stalled_turn_sheds_what_could_not_be_answered() {
        let handle = Replica::new(1).partition(0).cloned().unwrap();
        let (now, soon) = (Micros(1_000_000), Micros(1_250_000));
        assert_eq!(in_time(&handle, load(0, Duration::ZERO), now, soon), Err(Shed::NoOwner));
        handle.try_transition(&[StatusKind::Restoring], PartitionStatus::Active).unwrap();
        assert_eq!(in_time(&handle, load(0, Duration::ZERO), now, soon), Ok(()));
        handle.turn_begins(Micros(700_000));
        assert_eq!(in_time(&handle, load(0, Duration::ZERO), now, soon), Err(Shed::Wait));
        handle.turn_ends(now, now);
        assert_eq!(in_time(&handle, load(0, Duration::ZERO), now, soon), Ok(()));
        assert_eq!(in_time(&handle, load(7 * TURN_RECORDS_MAX, Duration::ZERO), now, soon), Err(Shed::Wait));
    }

    #[test]
    fn a_queue_that_stands_still_sheds_what_could_not_be_answered() {
        let handle = Replica::shared(1).partition(0).cloned().unwrap();
        handle.try_transition(&[StatusKind::Restoring], PartitionStatus::Standby).unwrap();
        let (now, soon) = (Micros(1_000_000), Micros(1_250_000));
        let stalled = Duration::from_millis;
        assert_eq!(in_time(&handle, load(3, stalled(200)), now, soon), Ok(()));
        assert_eq!(in_time(&handle, load(3, stalled(300)), now, soon), Err(Shed::Wait));
        assert_eq!(in_time(&handle, load(0, stalled(300)), now, soon), Ok(()));
    }

    #[test]
    fn an_idle_partition_is_not_shed_for_what_its_last_turns_took() {
        let handle = Replica::new(1).partition(0).cloned().unwrap();
        handle.try_transition(&[StatusKind::Restoring], PartitionStatus::Active).unwrap();
        handle.turn_begins(Micros(0));
        let now = Micros(3_600_000_000);
        handle.turn_ends(now, now);
        assert_eq!(in_time(&handle, load(0, Duration::ZERO), now, now.plus_ms(250)), Ok(()));
        assert_eq!(in_time(&handle, load(1, Duration::ZERO), now, now.plus_ms(250)), Err(Shed::Wait));
    }
}
