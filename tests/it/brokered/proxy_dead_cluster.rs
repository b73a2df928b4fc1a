//! A cluster that goes away while a command reads it.

use super::proxy::frame::LIST_OFFSETS;
use super::proxy::{Fault, Proxy, Which};
use super::serve::Site;
use crate::rig::Rig;
use crate::wait::until;
use std::time::Duration;

const PARTITIONS: u32 = 4;

/// The story: no broker answers any more, in the middle of a verify. The command waits for one partition, says which brokers it
/// asked in vain, and does not wait as long again for each of the others.
#[test]
fn a_verify_gives_up_when_no_broker_answers_any_more() {
    let rig = Rig::proxied(&[]);
    let (site, proxy) = (Site::new(&rig, PARTITIONS), Proxy::start(&rig));
    let process = site.serve("a");
    process.terminate();
    let broker = rig.proxied_broker();
    let verify = || site.run(["verify", "--kafka-brokers", &broker]);
    let questions = Which::api(LIST_OFFSETS);
    let watched = proxy.every(questions.clone(), Fault::Watch);
    let clean = verify();
    assert_eq!(clean.code, 0, "{}{}", clean.out, clean.err);
    let half = watched.count() / 2;
    drop(watched);
    let late = Duration::from_millis(100);
    let slow = proxy.every(questions, Fault::Late { request: late, answer: Duration::ZERO });
    let told = std::thread::scope(|scope| {
        let verifying = scope.spawn(verify);
        until("half of it is verified", || slow.count() >= half);
        let gone = proxy.every(Which::all(), Fault::Hold);
        drop(slow);
        let told = verifying.join().unwrap();
        drop(gone);
        told
    });
    assert_eq!((told.code, &*told.out), (2, ""), "{}", told.err);
    // Whoever is waited for has an error of its own.
    let gave_up = format!("no broker answers any more: kafka at {broker} does not answer");
    assert_eq!(told.err.matches(&gave_up).count(), 1, "{}", told.err);
    let not_proven: Vec<_> = (0..PARTITIONS).filter(|n| told.err.contains(&format!("partition {n}"))).collect();
    assert!(not_proven.len() > 1 && not_proven.contains(&(PARTITIONS - 1)), "{}", told.err);
}
