//! What a log owes that several processes share: one list of cases, run over each. The duties are in the doc comments of
//! [`headroom::log`], beside those of every log.

use super::{Harness, LONG, OwnedOf, Owner, append, claim, event};
use crate::turns;
use crate::wait::until;
use headroom::log::{
    ClusterLog, CommitOutcome, CommittedTail, EndOffsets, Fitness, JoinedGroup, MembershipChange, OwnedPartition,
    OwnedPosition, OwnerControl, Polled, StopWhen,
};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// A poll that need not wait for what comes over the network: several of them make a wait.
const SHORT: Duration = Duration::from_millis(60);

/// A log of a cluster, as one of its processes uses it.
pub trait ClusterHarness: Harness<Log: ClusterLog> {
    /// The same log, as another process uses it.
    fn beside(&self) -> Self;
}

/// Commits one event that answers no command.
fn commit_one<H: Harness>(owner: &mut Owner<OwnedOf<H>>) -> CommitOutcome {
    let events = [event(owner.next_seq, owner.next_input, b"timer")];
    owner.commit(&Arc::new(turns::turn(Vec::new(), &events)))
}

pub fn a_waiting_owner_hears_that_it_is_to_stop<H: ClusterHarness>() {
    let harness = H::fresh(2);
    let [mut first, mut second] = [0, 1].map(|partition| claim(&harness, partition, 0));
    thread::scope(|scope| {
        let waiting = scope.spawn(|| first.owned.poll(&mut Vec::new(), LONG));
        harness.log().stop(0, StopWhen::Now);
        assert_eq!(waiting.join().unwrap(), Ok(Polled::Closed));
    });
    assert!(harness.log().is_to_stop(0) && !harness.log().is_to_stop(1));
    // The other one is not meant: it goes on.
    second.run(&*harness.sink(), &["later"]);
}

pub fn an_owner_that_is_to_stop_still_commits<H: ClusterHarness>() {
    let harness = H::fresh(1);
    let mut owner = claim(&harness, 0, 0);
    append(&*harness.sink(), 0, b"a").unwrap();
    let inputs = owner.poll(1);
    harness.log().stop(0, StopWhen::Now);
    let turn = owner.turn(inputs);
    assert_eq!(owner.commit(&turn), CommitOutcome::Ok);
    assert_eq!(owner.owned.poll(&mut Vec::new(), LONG), Ok(Polled::Closed));
}

pub fn who_is_allowed_again_is_served_again<H: ClusterHarness>() {
    let harness = H::fresh(1);
    let log = harness.log();
    log.stop(0, StopWhen::Now);
    log.step_down_when_fenced(0);
    assert!(log.is_to_stop(0), "what is said holds for the owner that is not made yet");
    log.allow(0);
    assert!(!log.is_to_stop(0));
    let mut owner = claim(&harness, 0, 0);
    owner.run(&*harness.sink(), &["a", "b"]);
    owner.run(&*harness.sink(), &["later"]);
}

pub fn an_owner_steps_down_for_another_and_not_for_itself<H: ClusterHarness>() {
    let harness = H::fresh(1);
    let (log, other) = (harness.log(), harness.beside());
    let mut owner = claim(&harness, 0, 0);
    for _ in 0..10 {
        for _ in 0..7 {
            assert_eq!(commit_one::<H>(&mut owner), CommitOutcome::Ok);
        }
        log.step_down_when_fenced(0);
        // Longer than a look takes to come again.
        for _ in 0..4 {
            assert_eq!(owner.owned.poll(&mut Vec::new(), SHORT), Ok(Polled::Idle));
        }
        log.allow(0);
    }
    log.step_down_when_fenced(0);
    let successor = claim(&other, 0, owner.next_seq);
    until("it sees its successor", || owner.owned.poll(&mut Vec::new(), SHORT) == Ok(Polled::Closed));
    drop(successor);
}

pub fn end_offsets_never_go_back_and_hide_no_event<H: ClusterHarness>() {
    let harness = H::fresh(1);
    let beside = harness.beside();
    let (log, other) = (harness.log(), beside.log());
    assert!(log.end_offset(1).is_err(), "there is no such partition");
    assert_eq!(log.written_end_offset(0), None);
    let mut owner = claim(&harness, 0, 0);
    let mut last = log.end_offset(0).unwrap();
    for _ in 0..20 {
        assert_eq!(commit_one::<H>(&mut owner), CommitOutcome::Ok);
        let ends = [&log, &other].map(|log| log.end_offset(0).unwrap());
        let told = i64::try_from(log.end(0).unwrap()).unwrap();
        assert!(ends.iter().all(|end| *end >= last && *end >= told), "{ends:?} after {last}, with {told} events");
        last = ends[0].max(ends[1]);
    }
    until("nothing is open", || log.written_end_offset(0) == log.end_offset(0).ok());
    assert_eq!(other.written_end_offset(0), None, "it has written nothing");
}

pub fn a_member_is_given_partitions_and_rests<H: ClusterHarness>() {
    let harness = H::fresh(2);
    let log = harness.log();
    let all = || [0, 1].map(|partition| OwnedPosition { partition, next_input: 7 }).to_vec();
    let JoinedGroup { membership, changes } = log.join(Box::new(|| Fitness::Whole), Box::new(all)).unwrap();
    let assigned = || {
        let mut given = BTreeSet::new();
        while given.len() < 2 {
            match changes.recv_timeout(LONG).unwrap() {
                MembershipChange::Assigned(partitions) => given.extend(partitions),
                other => panic!("{other:?}"),
            }
        }
    };
    assigned();
    let (notes, distance) = (log.owner_notes().unwrap(), log.distance().unwrap());
    assert_eq!(distance.company().unwrap().members, 1);
    let beat = || notes.beats().unwrap().get(&1).copied().flatten().filter(|beat| *beat > 0);
    until("it notes that it is there", || beat().is_some());
    let first = beat();
    until("it notes it again", || beat() > first);
    assert!(distance.round_trip(0).is_some());
    membership.rest();
    match changes.recv_timeout(LONG).unwrap() {
        MembershipChange::Revoked { partitions, released } => {
            assert_eq!(partitions.len(), 2);
            released.send(()).unwrap();
        }
        other => panic!("{other:?}"),
    }
    until("it is no member while it rests", || distance.company().unwrap().members == 0);
    membership.resume();
    assigned();
    thread::scope(|scope| {
        scope.spawn(|| membership.leave());
        match changes.recv_timeout(LONG).unwrap() {
            MembershipChange::Revoked { released, .. } => released.send(()).unwrap(),
            other => panic!("{other:?}"),
        }
    });
    assert_eq!(distance.company().unwrap().members, 0);
}

pub fn who_can_serve_nothing_does_not_join<H: ClusterHarness>() {
    let harness = H::fresh(1);
    let log = harness.log();
    let joined = log.join(Box::new(|| Fitness::Never), Box::new(Vec::new)).unwrap();
    assert!(joined.changes.recv_timeout(LONG).is_err(), "it leaves for good before it was a member");
    assert_eq!(log.distance().unwrap().company().unwrap().members, 0);
}

pub fn who_lacks_a_state_joins_when_it_is_called<H: ClusterHarness>() {
    let harness = H::fresh(1);
    let log = harness.log();
    let JoinedGroup { membership, changes } = log.join(Box::new(|| Fitness::Lacking), Box::new(Vec::new)).unwrap();
    assert!(changes.recv_timeout(SHORT).is_err(), "nobody has called it");
    assert_eq!((membership.has_entered(), log.distance().unwrap().company().unwrap().members), (false, 0));
    membership.resume();
    until(
        "it has its partition",
        || matches!(changes.recv_timeout(LONG), Ok(MembershipChange::Assigned(given)) if given == [0]),
    );
    assert!(membership.has_entered());
    drop(changes);
    membership.leave();
}

/// Every case, over one log.
macro_rules! cluster_contract {
    ($harness:ty) => {
        cluster_contract! { $harness;
            a_waiting_owner_hears_that_it_is_to_stop
            an_owner_that_is_to_stop_still_commits
            who_is_allowed_again_is_served_again
            an_owner_steps_down_for_another_and_not_for_itself
            end_offsets_never_go_back_and_hide_no_event
            a_member_is_given_partitions_and_rests
            who_can_serve_nothing_does_not_join
            who_lacks_a_state_joins_when_it_is_called
        }
    };
    ($harness:ty; $($case:ident)*) => {
        $(#[test]
        fn $case() {
            super::cluster::$case::<$harness>();
        })*
    };
}
pub(super) use cluster_contract;
