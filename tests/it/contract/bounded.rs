//! What a log owes that has lost its first events: it says where it begins, refuses what is gone by name, and goes on.

use super::*;
use headroom::log::{LogError, LogErrorKind};

/// A log whose first events can leave it.
pub trait Beheading: Harness {
    /// Some of the first events of partition 0 leave, and some stay.
    fn lose_head(&self);
}

/// A log of two partitions of which the first has lost some of its events, and all that it had.
fn beheaded<H: Beheading>() -> (H, Owner<OwnedOf<H>>, Vec<StoredEvent>) {
    let harness = H::fresh(2);
    let mut owner = claim(&harness, 0, 0);
    let texts: Vec<_> = (0..60).map(|n| format!("command {n} {}", "x".repeat(60))).collect();
    let events = texts.iter().flat_map(|text| stored(&owner.run(&*harness.sink(), &[text]))).collect();
    harness.lose_head();
    (harness, owner, events)
}

#[track_caller]
fn assert_gone<T>(refused: Result<T, LogError>) {
    assert_eq!(refused.err().map(|error| error.kind), Some(LogErrorKind::OutOfRange));
}

pub(super) fn a_log_says_where_it_begins_and_refuses_what_is_gone<H: Beheading>() {
    let (harness, owner, events) = beheaded::<H>();
    let judge = |harness: &H| {
        let tail = harness.tail();
        let first = tail.first(0).unwrap();
        assert!((1..events.len() as u64).contains(&first), "{first}");
        assert_eq!((tail.first(1), tail.end(1)), (Ok(0), Ok(0)), "another partition has lost nothing");
        assert_eq!(tail.end(0), Ok(events.len() as u64));
        for from in 0..first {
            assert_gone(tail.read(0, from, usize::MAX));
        }
        for from in first..=events.len() as u64 {
            assert_eq!(read_all(&*tail, 0, from, 200), events[from as usize..]);
        }
        first
    };
    let first = judge(&harness);
    drop(owner);
    assert_eq!(judge(&harness.reopened()), first, "also after a restart");
}

pub(super) fn a_claim_folds_what_is_left_and_never_passes_over_what_is_gone<H: Beheading>() {
    let (harness, mut before, events) = beheaded::<H>();
    let first = harness.tail().first(0).unwrap();
    match try_claim(&harness, 0, 0) {
        Err(ClaimError::Log(error)) => assert_eq!(error.kind, LogErrorKind::OutOfRange),
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("the first event is gone"),
    }
    // Who tried has fenced the owner, and nothing is lost by that.
    let late = before.turn(vec![StoredCommand {
        offset: events.len() as u64,
        skipped: 0,
        bytes: b"late".to_vec(),
        trace: None,
    }]);
    assert_eq!(before.commit(&late), CommitOutcome::Fenced);
    for from in [first, first + 1, events.len() as u64] {
        assert_eq!(claim(&harness, 0, from).folded, events[from as usize..]);
    }
    let mut owner = claim(&harness, 0, first);
    let turn = owner.run(&*harness.sink(), &["and on"]);
    assert_eq!(turn.inputs[0].offset, events.len() as u64);
    drop((owner, before));
    let harness = harness.reopened();
    assert_eq!(read_all(&*harness.tail(), 0, first, 200), [&events[first as usize..], &stored(&turn)].concat());
}

/// One test for each case, over this harness.
macro_rules! bounded_contract {
    ($harness:ty) => {
        #[test]
        fn a_log_says_where_it_begins_and_refuses_what_is_gone() {
            super::bounded::a_log_says_where_it_begins_and_refuses_what_is_gone::<$harness>();
        }

        #[test]
        fn a_claim_folds_what_is_left_and_never_passes_over_what_is_gone() {
            super::bounded::a_claim_folds_what_is_left_and_never_passes_over_what_is_gone::<$harness>();
        }
    };
}
pub(super) use bounded_contract;
