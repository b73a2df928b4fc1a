//! Runs the withdrawal machine: watches turns and the round trip to the cluster, and leaves the group of owners or
//! returns to it.

use super::process::Process;
use crate::log::{ClusterDistance, ClusterLog, Company, Membership};
use crate::owner::withdrawal::{Input, Look, Others, Output, TurnTimes, Why, Withdrawal};
use crate::replica::partition::EndedTurns;
use crate::replica::{Replica, StatusKind};
use crate::telemetry::Metrics;
use crate::time::{Clock, Stopwatch, pause_unless};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

/// Time between two looks.
const LOOK: Duration = Duration::from_millis(500);

/// The thread that watches twice a second, for as long as this process may own partitions.
pub(super) struct Watch {
    replica: Arc<Replica>,
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
    membership: Arc<dyn Membership>,
    distance: Box<dyn ClusterDistance>,
    machine: Withdrawal,
    deadline_ms: u64,
    since: Stopwatch,
    /// The number of turns that had ended at the last look, by partition.
    seen: BTreeMap<u32, u64>,
    /// The partition whose round trip is measured.
    measured: u32,
}

impl Watch {
    pub(super) fn new<L: ClusterLog>(
        process: &Process<L>,
        distance: Box<dyn ClusterDistance>,
        membership: Arc<dyn Membership>,
    ) -> Watch {
        let Process { context, replica, deadline_ms, .. } = process;
        Watch {
            replica: Arc::clone(replica),
            metrics: Arc::clone(&context.metrics),
            clock: Arc::clone(&context.clock),
            membership,
            distance,
            machine: Withdrawal::new(*deadline_ms),
            deadline_ms: *deadline_ms,
            since: Stopwatch::start(),
            seen: BTreeMap::new(),
            measured: 0,
        }
    }

    pub(super) fn run(mut self, ending: &AtomicBool) {
        while !ending.load(Relaxed) {
            pause_unless(LOOK, || ending.load(Relaxed));
            let turns = self.turns();
            if let Some((partition, _)) = turns.iter().find(|(_, turns)| turns.last_ms >= self.deadline_ms) {
                self.measured = *partition;
            }
            let trip = self.distance.round_trip(self.measured);
            if ending.load(Relaxed) {
                return;
            }
            let look = Input::Look(Look { turns, trip_ms: trip.map(as_ms), is_clock_wrong: self.is_clock_wrong() });
            let mut output = self.machine.handle(look, self.since.now());
            if output == Some(Output::Ask) {
                let others = self.others(trip);
                output = self.machine.handle(Input::Group(others), self.since.now());
            }
            match output {
                Some(Output::Leave(why)) => self.leaves(why, trip),
                Some(Output::Return) => {
                    tracing::info!(trip_ms = trip.map(as_ms), "this process may own partitions again");
                    self.membership.resume();
                }
                Some(Output::Ask) | None => {}
            }
        }
    }

    fn leaves(&self, why: Why, trip: Option<Duration>) {
        let (trip_ms, deadline_ms) = (trip.map(as_ms), self.deadline_ms);
        match why {
            Why::Far { partition, slow_ms } => tracing::warn!(
                partition,
                slow_ms,
                trip_ms,
                deadline_ms,
                "the cluster is too far for turns to fit callers' deadlines: partitions are left to others"
            ),
            Why::Clock => tracing::warn!("this machine's clock and the brokers' differ: partitions are left to others"),
        }
        self.metrics.withdrew(why);
        self.membership.rest();
    }

    /// Whether this machine's clock is wrong and keeps partitions from being decided. When most brokers agree with it,
    /// the wrong clock is a broker's.
    fn is_clock_wrong(&self) -> bool {
        let offsets = self.replica.partitions().filter_map(|handle| handle.time().broker_offset(self.clock.as_ref()));
        let (far, near): (Vec<_>, Vec<_>) = offsets.partition(|offset| offset.is_far());
        let is_refused = self.replica.partitions().any(|handle| handle.time().is_clock_refused());
        far.len() > near.len() && (is_refused || self.machine.is_resting())
    }

    fn others(&self, trip: Option<Duration>) -> Others {
        let is_ours = |partition| {
            self.replica.partition(partition).is_some_and(|handle| handle.status_kind() == StatusKind::Active)
        };
        match (self.distance.company(), trip) {
            (Ok(company), Some(trip)) => others(&company, !self.machine.is_resting(), trip, is_ours),
            (Ok(_), None) => Others::Unknown,
            (Err(error), _) => {
                tracing::debug!(%error, "the other members of the group are not known");
                Others::Unknown
            }
        }
    }

    /// The times of turns, for the partitions in which turns have ended since the last look.
    fn turns(&mut self) -> BTreeMap<u32, TurnTimes> {
        let mut turns = BTreeMap::new();
        for (partition, handle) in (0..).zip(self.replica.partitions()) {
            let EndedTurns { count, last_us } = handle.load().ended_turns();
            let before = self.seen.insert(partition, count).unwrap_or(count);
            if count > before {
                turns.insert(partition, TurnTimes { ended: count.saturating_sub(before), last_ms: last_us / 1_000 });
            }
        }
        turns
    }
}

fn as_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The other owners, for a process with this round trip that may be a member of the group. A member without notes owns
/// nothing, and counts as nearer to the cluster. A member whose round trip is more than half of this one does not count
/// as nearer.
fn others(company: &Company, is_member: bool, trip: Duration, is_ours: impl Fn(u32) -> bool) -> Others {
    if company.members <= usize::from(is_member) {
        return Others::Nobody;
    }
    let mut theirs = company.round_trips.iter().filter(|(partition, _)| !is_ours(**partition)).peekable();
    if theirs.peek().is_none() || theirs.any(|(_, theirs)| theirs.saturating_mul(2) <= trip) {
        return Others::Better;
    }
    Others::NoneBetter
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_better_off_is_nearer_by_half_or_owns_nothing() {
        let ms = Duration::from_millis;
        let company = |members, trips: &[(u32, u64)]| Company {
            members,
            round_trips: trips.iter().map(|(partition, trip_ms)| (*partition, ms(*trip_ms))).collect(),
        };
        let is_ours = |partition| partition == 0;
        let cases = [
            (company(1, &[(0, 600)]), true, Others::Nobody),
            (company(0, &[(1, 5)]), false, Others::Nobody),
            (company(1, &[]), false, Others::Better),
            (company(2, &[(0, 600)]), true, Others::Better),
            (company(2, &[(0, 600), (1, 5)]), true, Others::Better),
            (company(2, &[(0, 600), (1, 301)]), true, Others::NoneBetter),
            (company(3, &[(0, 600), (1, 301), (2, 300)]), true, Others::Better),
        ];
        for (company, is_member, expected) in cases {
            assert_eq!(others(&company, is_member, ms(600), is_ours), expected, "{company:?}");
        }
    }
}
