//! The statuses of a partition: which one may follow on which, and that a caller who is late changes nothing.

use crate::world::becomes;
use headroom::domain::Micros;
use headroom::replica::StatusKind::{
    self, Active, Claiming, Failed, Reopening, Restoring, Standby, Stopped, Unreadable,
};
use headroom::replica::{PartitionHandle, PartitionStatus, Replica};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::mpsc::{RecvError, channel};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

/// The diagram as a table, from the row to the column, in the order of [`StatusKind::ALL`].
#[rustfmt::skip]
const EDGES: [(StatusKind, [bool; 8]); 8] = {
    const X: bool = true;
    const O: bool = false;
    [   //           restoring standby claiming active reopening failed unreadable stopped
        (Restoring,  [X,       X,      O,       X,     X,        X,     X,         X]),
        (Standby,    [X,       O,      X,       O,     O,        X,     O,         O]),
        (Claiming,   [O,       X,      O,       X,     O,        X,     O,         O]),
        (Active,     [O,       X,      O,       X,     X,        X,     X,         X]),
        (Reopening,  [O,       O,      O,       X,     X,        X,     X,         X]),
        (Failed,     [O,       O,      O,       O,     O,        O,     O,         O]),
        (Unreadable, [O,       O,      O,       O,     O,        O,     O,         O]),
        (Stopped,    [O,       O,      O,       O,     O,        O,     O,         O]),
    ]
};

fn status(kind: StatusKind) -> PartitionStatus {
    let why = "why".to_owned();
    match kind {
        Restoring => PartitionStatus::Restoring,
        Standby => PartitionStatus::Standby,
        Claiming => PartitionStatus::Claiming,
        Active => PartitionStatus::Active,
        Reopening => PartitionStatus::Reopening { why },
        Failed => PartitionStatus::Failed { why },
        Unreadable => PartitionStatus::Unreadable { why },
        Stopped => PartitionStatus::Stopped,
    }
}

/// A partition of a log that several processes write, which has come to this status.
fn handle(kind: StatusKind) -> Arc<PartitionHandle> {
    let handle = Replica::shared(1).partition(0).cloned().unwrap();
    if kind == Claiming {
        becomes(&handle, PartitionStatus::Standby);
    }
    if kind != Restoring {
        becomes(&handle, status(kind));
    }
    handle
}

#[test]
fn a_status_follows_on_another_where_the_diagram_has_an_edge() {
    for (from, row) in EDGES {
        for (to, is_edge) in StatusKind::ALL.into_iter().zip(row) {
            assert_eq!(from.leads_to(to), is_edge, "{from:?} to {to:?}");
            let handle = handle(from);
            let moved = handle.try_transition(&[from], status(to));
            assert_eq!(moved.is_ok(), is_edge, "{from:?} to {to:?}");
            let expected = if is_edge { to } else { from };
            assert_eq!((handle.status_kind(), handle.folds()), (expected, expected.folds()), "{from:?} to {to:?}");
            if let Err(refused) = moved {
                assert_eq!((refused.found, refused.to), (from, to));
                assert!(refused.to_string().contains(from.label()), "{refused}");
            }
        }
    }
}

#[test]
fn a_caller_that_expects_another_status_changes_nothing() {
    for (from, row) in EDGES {
        for (to, _) in StatusKind::ALL.into_iter().zip(row) {
            let handle = handle(from);
            let others: Vec<_> = StatusKind::ALL.into_iter().filter(|kind| *kind != from).collect();
            let refused = handle.try_transition(&others, status(to)).unwrap_err();
            assert_eq!((refused.found, handle.status()), (from, status(from)));
        }
    }
}

#[test]
fn every_status_can_be_reached_and_three_of_them_are_final() {
    let mut reached = vec![Restoring];
    while let Some(next) =
        StatusKind::ALL.into_iter().find(|to| !reached.contains(to) && reached.iter().any(|from| from.leads_to(*to)))
    {
        reached.push(next);
    }
    assert_eq!(reached.len(), StatusKind::ALL.len());
    let is_final = |kind: &StatusKind| !StatusKind::ALL.iter().any(|to| kind.leads_to(*to));
    let last: Vec<_> = StatusKind::ALL.into_iter().filter(is_final).collect();
    assert_eq!(last, [Failed, Unreadable, Stopped]);
}

#[test]
fn what_is_claimed_is_not_its_followers_to_change() {
    for kind in StatusKind::ALL {
        let handle = handle(kind);
        let is_followed = StatusKind::FOLLOWED.contains(&kind);
        assert_eq!(handle.follow(|_| ()).is_some(), is_followed, "{kind:?}");
        handle.caught_up(Micros(5));
        assert_eq!(handle.status_kind(), if kind == Restoring { Standby } else { kind });
        assert_eq!(handle.begin_anew().is_ok(), is_followed, "{kind:?}");
        let failed = handle.try_transition(&StatusKind::FOLLOWED, status(Failed));
        assert_eq!((failed.is_ok(), handle.status_kind()), (is_followed, if is_followed { Failed } else { kind }));
    }
}

/// A follower meets a breach in the moment in which an owner is made. Had each looked first and set the status
/// afterwards, a partition with a broken log could become Claiming.
#[test]
fn of_a_claim_and_its_followers_end_one_wins() {
    let (mut claims, mut failures) = (0, 0);
    for _ in 0..500 {
        let (handle, start) = (handle(Standby), Barrier::new(2));
        let (claimed, failed) = thread::scope(|scope| {
            let claim = scope.spawn(|| {
                start.wait();
                handle.try_transition(&[Standby], status(Claiming)).is_ok()
            });
            start.wait();
            let failed = handle.try_transition(&StatusKind::FOLLOWED, status(Failed)).is_ok();
            (claim.join().unwrap(), failed)
        });
        assert!(claimed != failed, "{claimed} {failed}");
        assert_eq!(handle.status_kind(), if claimed { Claiming } else { Failed });
        claims += u32::from(claimed);
        failures += u32::from(failed);
    }
    assert_eq!(claims + failures, 500);
}

/// The same of a state that has to be read anew: an owner never gets one that was emptied under its hands.
#[test]
fn a_claim_takes_a_whole_state_or_waits_for_one() {
    for _ in 0..500 {
        let (handle, start) = (handle(Standby), Barrier::new(2));
        let (claimed, emptied) = thread::scope(|scope| {
            let claim = scope.spawn(|| {
                start.wait();
                handle.try_transition(&[Standby], status(Claiming)).map_err(|refused| refused.found)
            });
            start.wait();
            let emptied = handle.begin_anew().is_ok();
            (claim.join().unwrap(), emptied)
        });
        assert_eq!(claimed, if emptied { Err(Restoring) } else { Ok(()) });
    }
}

#[test]
fn an_owner_waits_for_the_end_of_a_fold() {
    let (handle, is_folded, start) = (handle(Standby), AtomicBool::new(false), Barrier::new(2));
    thread::scope(|scope| {
        let claim = scope.spawn(|| {
            start.wait();
            handle.try_transition(&[Standby], status(Claiming)).unwrap();
            is_folded.load(SeqCst)
        });
        let folded = handle.follow(|_| {
            start.wait();
            // Longer than it takes to change a status that nothing holds.
            (0..1_000).for_each(|_| thread::yield_now());
            is_folded.store(true, SeqCst);
        });
        assert!(folded.is_some());
        assert!(claim.join().unwrap(), "the claim has not waited");
    });
}

#[test]
fn a_state_that_begins_anew_is_of_no_age_and_who_waits_for_it_is_told_nothing() {
    let handle = handle(Restoring);
    handle.caught_up(Micros(5));
    handle.was_current_at(Micros(7));
    assert_eq!(handle.staleness_us(Micros(9)), 2);
    let (wake, woken) = channel();
    handle.when_at(3, move || wake.send(()).unwrap());
    handle.begin_anew().unwrap();
    assert_eq!((woken.recv(), handle.staleness_us(Micros(9))), (Err(RecvError), 9));
}

/// The story: a clock was set back, which changes a large state for seconds. Somebody began to wait for an event meanwhile, and the
/// change of the status waited for him, and for that everybody who asked for the status.
#[test]
fn whoever_begins_to_wait_for_an_event_waits_for_no_fold() {
    let handle = handle(Standby);
    let (began, has_begun) = channel();
    handle.write(|_| {
        let waiting = Arc::clone(&handle);
        thread::spawn(move || {
            waiting.when_at(3, || {});
            began.send(()).unwrap();
        });
        // Longer than a busy machine takes.
        assert_eq!(has_begun.recv_timeout(Duration::from_secs(10)), Ok(()));
    });
}

/// The story: a sector of a log was bad. Readiness told it for a moment, and not while all events before it were folded again.
#[test]
fn why_a_partition_could_not_be_read_is_told_until_it_is_served() {
    let handle = handle(Restoring);
    handle.set_read_error(Some("a bad sector".to_owned()));
    assert_eq!(handle.why_not_served().as_deref(), Some("not followed: a bad sector"));
    becomes(&handle, PartitionStatus::Active);
    assert_eq!((handle.why_not_served(), handle.read_error()), (None, None));
}
