//! A commit that nobody answers: its owner gives it up, and the next claim decides what became of it.

use super::proxy::frame::END_TXN;
use super::proxy::{Fault, Proxy, Which};
use super::proxy_late_writes::{Owner, seen};
use super::service::Log;
use crate::rig::Rig;
use headroom::log::CommitOutcome;
use headroom::log::kafka::client::settings::TRANSACTION_LIMIT;
use headroom::time::Stopwatch;
use std::time::Duration;

/// Turns before the one that is given up.
const BEFORE: u64 = 2;
/// More than it takes to drop a client that waits for an answer.
const GOING: Duration = Duration::from_secs(4);

/// The commit's request comes to the broker when the next owner has claimed, or never.
fn given_up(rig: &Rig, proxy: &Proxy, is_late: bool) {
    let log = Log::on(rig.brokers(), 1);
    let old = log.by(&rig.proxied_broker()).open();
    let (mut owner, new) = (Owner::claim(&old), log.open());
    for _ in 0..BEFORE {
        assert_eq!(owner.turn("old"), CommitOutcome::Ok);
    }
    let held = proxy.every(Which::api(END_TXN).of("turns"), Fault::Hold);
    let committing = Stopwatch::start();
    assert_eq!(owner.turn("old"), CommitOutcome::Unknown);
    let took = committing.elapsed();
    assert!(held.count() > 0);
    let mut heir = if is_late {
        let heir = Owner::claim(&new);
        drop(held);
        heir
    } else {
        let going = Stopwatch::start();
        drop(owner);
        println!("given up after {took:.1?}, gone after {:.1?}", going.elapsed());
        assert!(going.elapsed() < GOING, "{:?}", going.elapsed());
        Owner::claim(&new)
    };
    assert!(took < TRANSACTION_LIMIT * 2, "{took:?}");
    // Both of its producers have had their turns, twice.
    for _ in 0..4 {
        assert_eq!(heir.turn("new"), CommitOutcome::Ok);
    }
    let right = (0..BEFORE + 4).map(|seq| format!("{}-{seq}", if seq < BEFORE { "old" } else { "new" }));
    let right: Vec<_> = right.collect();
    assert_eq!(seen(&log, right.last().unwrap()), right, "late: {is_late}");
}

/// The story: the request to commit is lost, or hangs in the network until another owner has claimed. An owner that
/// guessed would tell yes for what is aborted, or decide again what is committed. It gives up without a guess, and the
/// next claim reads what became of the turn.
#[test]
fn an_unanswered_commit_is_given_up_and_the_next_claim_resolves_it() {
    let rig = Rig::proxied(&[]);
    let proxy = Proxy::start(&rig);
    for is_late in [false, true] {
        given_up(&rig, &proxy, is_late);
    }
}
