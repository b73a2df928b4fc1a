//! Runs the withdrawal machine: watches turns and the round trip to the cluster, and leaves the group of owners or
//! returns to it.

use super::process::Process;
use crate::limits::OWNERLESS_MS;
use crate::log::{ClusterDistance, ClusterLog, Company, Membership};
use crate::owner::withdrawal::{Input, Lack, Look, Others, Output, TurnTimes, Why, Withdrawal};
use crate::replica::partition::EndedTurns;
use crate::replica::{PartitionHandle, Replica, StatusKind};
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
    /// Whether it was told that this process stays out of the group because of a state that it lacks.
    is_told: bool,
}

impl Watch {
    pub(super) fn new<L: ClusterLog>(
        process: &Process<L>,
        distance: Box<dyn ClusterDistance>,
        membership: Arc<dyn Membership>,
    ) -> Watch {
        let Process { context, replica, deadline_ms, incarnation, .. } = process;
        Watch {
            replica: Arc::clone(replica),
            metrics: Arc::clone(&context.metrics),
            clock: Arc::clone(&context.clock),
            membership,
            distance,
            machine: Withdrawal::new(*deadline_ms, *incarnation),
            deadline_ms: *deadline_ms,
            since: Stopwatch::start(),
            seen: BTreeMap::new(),
            measured: 0,
            is_told: false,
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
            let (is_clock_wrong, lack) = (self.is_clock_wrong(), self.lack());
            let look = Input::Look(Look { turns, trip_ms: trip.map(as_ms), is_clock_wrong, lack });
            let mut output = self.machine.handle(look, self.since.now());
            if output == Some(Output::Ask) {
                let others = self.others(trip);
                self.tell_kept_out(lack, others);
                output = self.machine.handle(Input::Group(others), self.since.now());
            }
            match output {
                Some(Output::Leave(why)) => self.leaves(why, trip),
                Some(Output::Return) => self.returns(lack, trip),
                Some(Output::Ask) | None => {}
            }
        }
    }

    fn returns(&self, lack: Lack, trip: Option<Duration>) {
        match lack.is_any {
            true => tracing::warn!(
                "nobody else serves what this process can: it enters the group of owners although it lacks states"
            ),
            false => tracing::info!(trip_ms = trip.map(as_ms), "this process may own partitions again"),
        }
        self.membership.resume();
    }

    /// Tells once that this process stays out of the group, which has members.
    fn tell_kept_out(&mut self, lack: Lack, others: Others) {
        let has_others = matches!(others, Others::Better | Others::NoneBetter);
        if lack.is_kept_out && has_others && !self.is_told {
            self.is_told = true;
            tracing::warn!("this process cannot restore the state of a partition: partitions are left to others");
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
            Why::State { partition } => tracing::warn!(
                partition,
                "this process was given a partition whose state it does not have: partitions are left to others"
            ),
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

    /// Which states this process lacks, and whether it could serve more than is served all the same.
    fn lack(&self) -> Lack {
        let is_any = self.replica.partitions().any(|handle| handle.is_unrestorable());
        let given = self.replica.partitions().find(|handle| handle.is_kept_from_others()).map(|handle| handle.id());
        let warm = self.replica.partitions().filter(|handle| handle.is_warm()).count();
        let served = self.replica.partitions().filter(|handle| self.is_served(handle)).count();
        Lack {
            is_any,
            given,
            could_serve_more: is_any && warm > served,
            is_kept_out: is_any && warm > 0 && !self.membership.has_entered(),
        }
    }

    /// Whether an owner of the partition has shown itself lately, or nobody knows whether one has.
    fn is_served(&self, handle: &PartitionHandle) -> bool {
        let now = self.clock.now();
        let shown = handle.liveness().owner_shown_at().filter(|at| now.ms_since(*at) < OWNERLESS_MS);
        handle.owner_notes().is_none() || shown.is_some()
    }

    fn others(&self, trip: Option<Duration>) -> Others {
        let is_ours = |partition| {
            self.replica.partition(partition).is_some_and(|handle| handle.status_kind() == StatusKind::Active)
        };
        match (self.distance.company(), trip) {
            (Ok(company), Some(trip)) => others(&company, !self.machine.is_out(), trip, is_ours),
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
