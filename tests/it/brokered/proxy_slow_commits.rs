//! A cluster that is slow to commit: callers who wait long enough are told yes all the same.

use super::answers::{callers, pool};
use super::proxy::frame::END_TXN;
use super::proxy::{Fault, Proxy, Which};
use super::service::Log;
use crate::rig::Rig;
use crate::server::Server;
use crate::wait::until;
use headroom::domain::EventBody;
use headroom::time::{Stopwatch, SystemClock};
use std::sync::Arc;
use std::time::Duration;

/// Longer than a commit may take that is trusted, and shorter than a caller waits.
const SLOW: Duration = Duration::from_millis(900);

/// The story: the cluster needs nearly a second for each commit. An owner that lost trust in every one of them would
/// claim its partition after each turn and answer nobody. Callers who wait long enough are told yes, and nothing is
/// decided twice.
#[test]
fn slow_commits_are_answered_yes_and_nothing_is_decided_twice() {
    let rig = Rig::proxied(&[]);
    let (log, proxy) = (Log::on(rig.brokers(), 1), Proxy::start(&rig));
    let slow = proxy.every(Which::api(END_TXN).of("turns"), Fault::Late { request: SLOW, answer: Duration::ZERO });
    let dir = tempfile::tempdir().unwrap();
    let config = log.by(&rig.proxied_broker()).config(dir.path(), "gateway,owner");
    let server = Server::of(&config, Arc::new(SystemClock::new()));
    pool(&server, "van-1", 1_000);
    let before = slow.count();
    let (told, took) = callers(&server, "van-1", 4, |yes| {
        let asking = Stopwatch::start();
        until("callers are told yes", || yes() >= 40);
        asking.elapsed()
    });
    let commits = slow.count() - before;
    let barriers = log.audited(0).iter().filter(|r| matches!(r.event.body, EventBody::Barrier { .. })).count();
    let (yes, no) = (told.yes(), told.no());
    println!(
        "{yes} told yes, {no} told no in {took:.1?}; {commits} slow commits, {barriers} claims since the beginning"
    );
    assert!(commits > 0);
    assert_eq!(no, 0);
    // Whoever is slow is still the owner.
    assert!(barriers < commits, "every turn is followed by a claim");
    told.check(&log, 0);
    log.alike(0, &[&server]);
}
