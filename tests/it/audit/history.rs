//! Callers' histories against the script: the true one is clean, and every lie is found.

use super::owner::{command, key};
use super::script::{At, abandon, id, play, reserve, the_pool};
use headroom::audit::history::{Call, History, HistoryReport, Proof, Told};
use headroom::domain::{ChainedEvent, CommandBody, EventKind, Law};

fn call(n: u8, told: Told) -> Call {
    Call { pool: the_pool(), key: key(&format!("key-{n}")), reservation: None, told }
}

fn yes(log: &[ChainedEvent], n: u8, at: At) -> Call {
    let ChainedEvent { event, digest, .. } = &log[at as usize];
    let (partition, seq, epoch) = (event.partition, event.seq, event.epoch);
    call(n, Told::Yes(Proof { reservation: id(n), partition, seq, epoch, digest: *digest }))
}

fn no(n: u8, code: &str) -> Call {
    call(n, Told::No(code.to_owned()))
}

fn released(n: u8) -> Call {
    Call { pool: the_pool(), key: None, reservation: Some(id(n)), told: Told::Released }
}

fn truth(log: &[ChainedEvent]) -> Vec<Call> {
    vec![
        no(1, "timeout"),
        yes(log, 1, At::R1_AGAIN),
        yes(log, 2, At::R2_HELD),
        released(2),
        released(2),
        call(3, Told::Unknown),
        no(4, "over_limit"),
        no(4, "over_limit"),
        no(5, "timeout"),
        no(6, "closed"),
        no(7, "expired"),
        call(8, Told::Unknown),
        no(99, "shed"),
        call(98, Told::Unknown),
    ]
}

fn judged(calls: Vec<Call>, log: &[ChainedEvent]) -> HistoryReport {
    let mut history = History::new();
    calls.into_iter().for_each(|call| history.record(call));
    log.iter().for_each(|recorded| history.observe(recorded));
    history.finish()
}

#[test]
fn a_true_caller_history_is_clean() {
    let log = play().log;
    let report = judged(truth(&log), &log);
    assert_eq!(report.breaches(), []);
    let text = "clean: 0 breaches; 2 yes, 7 no, 3 unknown (1 of them live), 2 released, 2 unseen";
    assert_eq!(report.to_string(), text);
}

/// A no is true although the reservation lives, where another caller has confirmed it in between.
#[test]
fn who_was_told_no_holds_nothing_of_what_another_has_confirmed() {
    for is_confirmed in [true, false] {
        let mut owner = play();
        owner.take(&reserve(20, 1, 200, Some(60_000)));
        if is_confirmed {
            owner.take(&command(CommandBody::Confirm { reservation: id(20) }, 201, None));
            owner.take(&abandon(20, 200));
            assert_eq!(owner.log.last().unwrap().event.body.kind(), EventKind::Abandoned);
        }
        let report = judged(vec![no(20, "timeout")], &owner.log);
        assert_eq!(report.is_clean(), is_confirmed, "{report}");
    }
}

#[test]
fn a_false_caller_history_is_found() {
    type Lie = (&'static str, Law, At, fn(&mut Vec<Call>, &mut Vec<ChainedEvent>));
    fn proof(call: &mut Call) -> &mut Proof {
        match &mut call.told {
            Told::Yes(proof) => proof,
            told => panic!("{told:?} has no proof"),
        }
    }
    let lies: [Lie; 12] = [
        ("yes with another digest", Law::TrueYes, At::R1_AGAIN, |calls, _| proof(&mut calls[1]).digest.0[0] ^= 1),
        ("yes with another epoch", Law::TrueYes, At::R1_AGAIN, |calls, _| proof(&mut calls[1]).epoch = 9),
        ("yes with another record", Law::TrueYes, At::TICK, |calls, _| proof(&mut calls[1]).seq = At::TICK as u64),
        ("yes with no record", Law::TrueYes, At::END, |calls, _| proof(&mut calls[1]).seq = At::END as u64),
        ("yes of another reservation", Law::TrueYes, At::R1_AGAIN, |calls, _| proof(&mut calls[1]).reservation = id(2)),
        ("yes of an earlier run", Law::TrueYes, At::R1_AGAIN, |_, log| drop(log.remove(At::R1_ACCEPTED as usize))),
        ("accepted twice", Law::TrueYes, At::R1_AGAIN, |_, log| {
            log[At::R1_AGAIN as usize].event.body = log[At::R1_ACCEPTED as usize].event.body.clone();
        }),
        ("no, and yet it holds", Law::FinalNo, At::R1_REUSED, |calls, _| drop(calls.remove(1))),
        ("no by id, and yet it holds", Law::FinalNo, At::R8_ACCEPTED, |calls, _| {
            calls[11] = Call { key: None, reservation: Some(id(8)), ..no(8, "timeout") };
        }),
        ("yes, then taken away", Law::TrueYes, At::R5_TAKEN_BACK, |calls, log| {
            calls.push(yes(log, 5, At::R5_ACCEPTED))
        }),
        ("released, and yet it holds", Law::TrueYes, At::R8_ACCEPTED, |calls, _| calls.push(released(8))),
        ("released, and never was", Law::TrueYes, At::R4_AGAIN, |calls, _| calls.push(released(4))),
    ];
    for (what, law, at, tell) in lies {
        let mut log = play().log;
        let mut calls = truth(&log);
        tell(&mut calls, &mut log);
        let report = judged(calls, &log);
        let found = report.breaches().iter().any(|b| b.law == law && b.seq == at as u64);
        assert!(found, "{what}: not found as {law} at {at:?} ({}), but {report}", at as u64);
    }
}
