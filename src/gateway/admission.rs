//! Admission control. A call that cannot be answered in time is refused ("shed") before anything is appended, so that
//! it costs the log nothing. So is one for which the process has no memory, see [`super::memory`].

use crate::domain::{CommandBody, Micros, Name};
use crate::limits::{
    INFLIGHT_FOLLOW_UPS_MAX, INFLIGHT_TAKES_MAX, SHARE_ALONE_PERCENT, SHARE_BESIDE_OTHERS_PERCENT, TURN_RECORDS_MAX,
};
use crate::replica::PartitionHandle;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// Why a call was shed. Nothing of it is in the log, now or later.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Shed {
    /// The partition has as many calls of this [`Lane`] in flight as it may have.
    InFlight,
    /// The caller has its share of the calls that the partition may have in flight.
    Share,
    /// The partition would probably not decide the call before its deadline.
    Wait,
    /// The queue of the partition is full.
    Full,
    /// No process decides for the partition at present.
    NoOwner,
    /// The partitions of the process remember more than it has memory for, and the call asks to remember more.
    Memory,
    /// The process is shutting down.
    Closing,
    /// The process serves as many connections as it may.
    Connections,
    /// The process runs as many searches over pools and reservations as it may.
    Reads,
    /// The process serves as many watches, or calls of another kind that their callers leave open, as it may.
    Watches,
}

impl Shed {
    /// Every variant, once.
    pub const ALL: [Shed; 10] = [
        Shed::InFlight,
        Shed::Share,
        Shed::Wait,
        Shed::Full,
        Shed::NoOwner,
        Shed::Memory,
        Shed::Closing,
        Shed::Connections,
        Shed::Reads,
        Shed::Watches,
    ];

    /// The stable name in metrics and in the `reason` of a problem.
    pub fn code(self) -> &'static str {
        match self {
            Shed::InFlight => "in_flight",
            Shed::Share => "share",
            Shed::Wait => "wait",
            Shed::Full => "full",
            Shed::NoOwner => "no_owner",
            Shed::Memory => "memory",
            Shed::Closing => "closing",
            Shed::Connections => "connections",
            Shed::Reads => "reads",
            Shed::Watches => "watches",
        }
    }
}

impl fmt::Display for Shed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// The two ways in. Each has places of its own, so that neither kind of call keeps the other out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lane {
    /// Calls that take capacity, or change what there is to take.
    Takes,
    /// Calls on what their caller already has, and that take no more: Confirm, Extend and Release.
    FollowUps,
}

impl Lane {
    /// The lane of a command.
    pub fn of(body: &CommandBody) -> Lane {
        match body {
            CommandBody::Confirm { .. }
            | CommandBody::Extend { .. }
            | CommandBody::Release { .. }
            | CommandBody::Abandon { .. } => Lane::FollowUps,
            CommandBody::Reserve { .. }
            | CommandBody::Amend { .. }
            | CommandBody::DefinePool { .. }
            | CommandBody::AdjustLimits { .. }
            | CommandBody::ChangePool { .. }
            | CommandBody::RetirePool { .. }
            | CommandBody::SetMode { .. } => Lane::Takes,
        }
    }

    /// How many of its calls a partition may have in flight.
    pub fn places(self) -> usize {
        match self {
            Lane::Takes => INFLIGHT_TAKES_MAX,
            Lane::FollowUps => INFLIGHT_FOLLOW_UPS_MAX,
        }
    }
}

/// Counts the calls in flight on one partition.
#[derive(Default)]
pub struct InFlight {
    takes: Mutex<Places>,
    follow_ups: Mutex<Places>,
}

/// The places of one lane.
#[derive(Default)]
struct Places {
    taken: usize,
    /// How many of them each caller has. Calls without a name are not counted here: they may be anybody's.
    of: BTreeMap<Name, usize>,
}

impl InFlight {
    /// Counts a call in.
    ///
    /// # Errors
    /// [`Shed::InFlight`] when there are too many, [`Shed::Share`] when there are too many of this caller.
    pub fn enter(&self, lane: Lane, caller: Option<&Name>) -> Result<(), Shed> {
        let mut places = self.of(lane).lock();
        if let Some(caller) = caller {
            let mine = places.of.get(caller).copied().unwrap_or_default();
            let percent = if places.taken > mine { SHARE_BESIDE_OTHERS_PERCENT } else { SHARE_ALONE_PERCENT };
            if mine >= lane.places().saturating_mul(percent) / 100 {
                return Err(Shed::Share);
            }
        }
        if places.taken >= lane.places() {
            return Err(Shed::InFlight);
        }
        places.taken = places.taken.saturating_add(1);
        if let Some(caller) = caller {
            let mine = places.of.entry(caller.clone()).or_default();
            *mine = mine.saturating_add(1);
        }
        Ok(())
    }

    /// Counts a call out.
    pub fn leave(&self, lane: Lane, caller: Option<&Name>) {
        let mut places = self.of(lane).lock();
        places.taken = places.taken.saturating_sub(1);
        if let Some(caller) = caller
            && let Some(mine) = places.of.get_mut(caller)
        {
            *mine = mine.saturating_sub(1);
            if *mine == 0 {
                places.of.remove(caller);
            }
        }
    }

    /// How many calls are in flight now.
    pub fn count(&self) -> usize {
        let (takes, follow_ups) = (self.takes.lock().taken, self.follow_ups.lock().taken);
        takes.saturating_add(follow_ups)
    }

    fn of(&self, lane: Lane) -> &Mutex<Places> {
        match lane {
            Lane::Takes => &self.takes,
            Lane::FollowUps => &self.follow_ups,
        }
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
/// A call that takes capacity leaves room for follow-ups: it is admitted only if as many of them as may be in flight,
/// and one more behind them, would be in time as well.
///
/// # Errors
/// [`Shed`] says why not.
pub fn in_time(
    handle: &PartitionHandle,
    lane: Lane,
    QueueLoad { waiting, stalled }: QueueLoad,
    now: Micros,
    deadline: Micros,
) -> Result<(), Shed> {
    if !handle.folds() {
        return Err(Shed::NoOwner);
    }
    let turn_age_us = handle.load().turn_age_us(now);
    if waiting == 0 && turn_age_us == 0 {
        return Ok(());
    }
    let ahead = match lane {
        Lane::Takes => waiting.saturating_add(INFLIGHT_FOLLOW_UPS_MAX),
        Lane::FollowUps => waiting,
    };
    let turns = u64::try_from(ahead / TURN_RECORDS_MAX).unwrap_or(u64::MAX).saturating_add(1);
    let stalled_us = u64::try_from(stalled.as_micros()).unwrap_or(u64::MAX);
    let wait_us = handle.load().average_turn_us().max(turn_age_us).saturating_mul(turns).max(stalled_us);
    if now.0.saturating_add(wait_us) < deadline.0 { Ok(()) } else { Err(Shed::Wait) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ReservationId;
    use crate::limits::INFLIGHT_PER_PARTITION_MAX;
    use crate::replica::{PartitionStatus, Replica, StatusKind};

    fn load(waiting: usize, stalled: Duration) -> QueueLoad {
        QueueLoad { waiting, stalled }
    }

    const LANES: [Lane; 2] = [Lane::Takes, Lane::FollowUps];

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    /// Enters as often as it may, and answers how often that was and why no more.
    fn fill(in_flight: &InFlight, lane: Lane, caller: Option<&Name>) -> (usize, Shed) {
        (0..).find_map(|entered| Some((entered, in_flight.enter(lane, caller).err()?))).unwrap()
    }

    #[test]
    fn no_more_calls_enter_than_may() {
        let in_flight = InFlight::default();
        for lane in LANES {
            assert_eq!(fill(&in_flight, lane, None), (lane.places(), Shed::InFlight));
        }
        assert_eq!(in_flight.count(), INFLIGHT_PER_PARTITION_MAX);
        in_flight.leave(Lane::Takes, None);
        assert_eq!(in_flight.enter(Lane::FollowUps, None), Err(Shed::InFlight));
        assert_eq!(in_flight.enter(Lane::Takes, None), Ok(()));
    }

    #[test]
    fn a_flood_of_reserves_leaves_every_place_of_follow_ups() {
        let in_flight = InFlight::default();
        for caller in [Some(&name("greedy")), Some(&name("other")), None] {
            fill(&in_flight, Lane::Takes, caller);
        }
        let release = CommandBody::Release { reservation: ReservationId::new(7, [7; 11]) };
        assert_eq!(in_flight.enter(Lane::of(&release), Some(&name("greedy"))), Ok(()));
        assert_eq!(fill(&in_flight, Lane::of(&release), None), (INFLIGHT_FOLLOW_UPS_MAX - 1, Shed::InFlight));
    }

    #[test]
    fn whatever_one_caller_does_others_find_places_and_get_an_equal_share() {
        let (greedy, other) = (name("greedy"), name("other"));
        for lane in LANES {
            let (in_flight, half) = (InFlight::default(), lane.places() / 2);
            let (alone, shed) = fill(&in_flight, lane, Some(&greedy));
            assert_eq!((alone, shed), (lane.places() * 3 / 4, Shed::Share));
            // Every call of another caller enters, and the greedy one does not while it has more than half.
            for free in (1..=lane.places() - alone).rev() {
                assert_eq!(in_flight.enter(lane, Some(&other)), Ok(()), "{free} places are free");
                assert_eq!(in_flight.enter(lane, Some(&greedy)), Err(Shed::Share));
            }
            (0..alone - half).for_each(|_| in_flight.leave(lane, Some(&greedy)));
            assert_eq!(in_flight.enter(lane, Some(&greedy)), Err(Shed::Share));
            assert_eq!(fill(&in_flight, lane, Some(&other)), (half - (lane.places() - alone), Shed::Share));
            in_flight.leave(lane, Some(&greedy));
            assert_eq!(in_flight.enter(lane, Some(&greedy)), Ok(()));
        }
    }

    #[test]
    fn callers_who_have_left_are_forgotten() {
        let in_flight = InFlight::default();
        in_flight.enter(Lane::Takes, Some(&name("a"))).unwrap();
        in_flight.leave(Lane::Takes, Some(&name("a")));
        assert!(in_flight.count() == 0 && in_flight.takes.lock().of.is_empty());
    }

    /// Behind the last take that is admitted, a whole lane of follow-ups is.
    #[test]
    fn a_take_leaves_time_for_the_follow_ups_behind_it() {
        let handle = Replica::new(1).partition(0).cloned().unwrap();
        handle.try_transition(&[StatusKind::Restoring], PartitionStatus::Active).unwrap();
        // The average moves by an eighth of this turn, to 100 ms.
        handle.turn_begins(Micros(0));
        let now = Micros(800_000);
        handle.turn_ends(now, now);
        let mut admitted = 0;
        for (waiting, turns) in [(1, 1), (1_023, 1), (1_024, 2), (5_000, 2), (6_000, 3)] {
            for left_ms in (1..=500).step_by(7) {
                let in_time =
                    |lane, waiting| in_time(&handle, lane, load(waiting, Duration::ZERO), now, now.plus_ms(left_ms));
                assert_eq!(in_time(Lane::Takes, waiting).is_ok(), left_ms > turns * 100, "{waiting} in {left_ms} ms");
                if in_time(Lane::Takes, waiting).is_ok() {
                    admitted += 1;
                    assert_eq!(in_time(Lane::FollowUps, waiting + INFLIGHT_FOLLOW_UPS_MAX), Ok(()), "{waiting}");
                }
            }
        }
        assert!(admitted > 0);
    }

    #[test]
    fn a_stalled_turn_sheds_what_could_not_be_answered() {
        let handle = Replica::new(1).partition(0).cloned().unwrap();
        let (now, soon) = (Micros(1_000_000), Micros(1_250_000));
        assert_eq!(in_time(&handle, Lane::Takes, load(0, Duration::ZERO), now, soon), Err(Shed::NoOwner));
        handle.try_transition(&[StatusKind::Restoring], PartitionStatus::Active).unwrap();
        assert_eq!(in_time(&handle, Lane::Takes, load(0, Duration::ZERO), now, soon), Ok(()));
        handle.turn_begins(Micros(700_000));
        assert_eq!(in_time(&handle, Lane::Takes, load(0, Duration::ZERO), now, soon), Err(Shed::Wait));
        handle.turn_ends(now, now);
        assert_eq!(in_time(&handle, Lane::Takes, load(0, Duration::ZERO), now, soon), Ok(()));
        assert_eq!(
            in_time(&handle, Lane::Takes, load(7 * TURN_RECORDS_MAX, Duration::ZERO), now, soon),
            Err(Shed::Wait)
        );
    }

    #[test]
    fn a_queue_that_stands_still_sheds_what_could_not_be_answered() {
        let handle = Replica::shared(1).partition(0).cloned().unwrap();
        handle.try_transition(&[StatusKind::Restoring], PartitionStatus::Standby).unwrap();
        let (now, soon) = (Micros(1_000_000), Micros(1_250_000));
        let stalled = Duration::from_millis;
        assert_eq!(in_time(&handle, Lane::Takes, load(3, stalled(200)), now, soon), Ok(()));
        assert_eq!(in_time(&handle, Lane::Takes, load(3, stalled(300)), now, soon), Err(Shed::Wait));
        assert_eq!(in_time(&handle, Lane::Takes, load(0, stalled(300)), now, soon), Ok(()));
    }

    #[test]
    fn an_idle_partition_is_not_shed_for_what_its_last_turns_took() {
        let handle = Replica::new(1).partition(0).cloned().unwrap();
        handle.try_transition(&[StatusKind::Restoring], PartitionStatus::Active).unwrap();
        handle.turn_begins(Micros(0));
        let now = Micros(3_600_000_000);
        handle.turn_ends(now, now);
        assert_eq!(in_time(&handle, Lane::Takes, load(0, Duration::ZERO), now, now.plus_ms(250)), Ok(()));
        assert_eq!(in_time(&handle, Lane::Takes, load(1, Duration::ZERO), now, now.plus_ms(250)), Err(Shed::Wait));
    }
}
