//! A start that is given up before the log is open: it ends, and leaves the log as it was.

use crate::carried_log;
use crate::cli::assert_says;
use crate::fixtures::append;
use crate::lost_data::contents;
use crate::process::{Running, Served, agent, headroom};
use crate::wait::until;
use crate::world::{World, commit_turn};
use headroom::domain::Micros;
use headroom::limits::TURN_RECORDS_MAX;
use headroom::log::embedded::{Before, Embedded, OpenError, Options};
use headroom::log::{ClaimError, CommittedTail, LogError, LogErrorKind, Opening, PartitionLog};
use headroom::owner::Partition;
use serde_json::Value;
use std::cell::Cell;
use std::fs::{self, File};
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;

/// It would take minutes to read so much.
const LONG_BYTES: u64 = 1 << 40;

fn lengthened(segment: &Path, bytes: u64) {
    File::options().write(true).open(segment).unwrap().set_len(bytes).unwrap();
}

/// The story: a supervisor starts a server on a large log, changes its mind, and would kill it after some seconds.
#[test]
fn a_server_that_is_to_end_does_not_wait_for_its_log() {
    let dir = tempfile::tempdir().unwrap();
    let serve = |listen: &str| {
        let mut serve = headroom(["serve", "--partitions", "1", "--listen", listen, "--data-dir"]);
        serve.arg(dir.path());
        serve
    };
    let mut served = Served::start(&mut serve("127.0.0.1:0"));
    served.sell_out("slot-1");
    served.running.kill();
    let segment = dir.path().join("log/segment-00000000");
    let bytes = fs::metadata(&segment).unwrap().len();
    let before = contents(dir.path());
    lengthened(&segment, LONG_BYTES);
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let starting = Running::start(&mut serve(&address.to_string()));
    until("it reads the log", || {
        let Ok(mut told) = agent().get(format!("http://{address}/startupz")).call() else { return false };
        let told: Value = serde_json::from_str(&told.body_mut().read_to_string().unwrap()).unwrap();
        told["startup"]["phase"] == "opening" && told["startup"]["read_bytes"].as_u64() > Some(1 << 20)
    });
    let ended = starting.terminate();
    assert_eq!((ended.code, &*ended.out), (0, ""), "{}", ended.err);
    assert_says(&ended.err, &["stopped before the log was open; it was left as it was"]);
    assert_eq!(fs::metadata(&segment).unwrap().len(), LONG_BYTES);
    lengthened(&segment, bytes);
    assert!(contents(dir.path()) == before, "all of it is as it was");
    assert_eq!(Served::start(&mut serve("127.0.0.1:0")).running.terminate().code, 0);
}

fn open(dir: &Path, before: Before<'_>, opening: &Arc<Opening>) -> OpenError {
    let options = Options { partitions: None, log_id: 7, now: Micros(0) };
    Embedded::open_after(dir, options, before, opening).err().unwrap()
}

/// Whatever is opened, a file of an earlier version as well, and also when it is given up while the log is judged.
#[test]
fn an_opening_that_is_given_up_changes_nothing() {
    let (new, old) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let options = Options { partitions: Some(2), log_id: 7, now: Micros(0) };
    drop(Embedded::open(new.path(), options).unwrap());
    fs::copy(carried_log::OLD, old.path().join("log.redb")).unwrap();
    for dir in [new.path(), old.path()] {
        let before = contents(dir);
        let opening = Arc::<Opening>::default();
        opening.give_up();
        assert_eq!(open(dir, Before::NOTHING, &opening), OpenError::GivenUp);
        assert!(contents(dir) == before);
        let (opening, is_raised) = (Arc::<Opening>::default(), Cell::new(false));
        let judge = |_: Option<&Embedded>| {
            opening.give_up();
            Err(LogError::operator("it was read in part"))
        };
        let raise = || {
            is_raised.set(true);
            Ok(())
        };
        assert_eq!(open(dir, Before { judge: &judge, raise: &raise }, &opening), OpenError::GivenUp);
        assert!(contents(dir) == before && !is_raised.get());
    }
}

/// The story: the state of a partition is folded anew from a long log, and the server is to end meanwhile. What is left is read to
/// its end only where that is little.
#[test]
fn an_owner_that_is_to_end_does_not_fold_a_long_log_to_its_end() {
    let world = World::new(1);
    let (handle, mut owned) = world.recover(0);
    let owner = handle.read(|state| Partition::claim(state, 1));
    for turn in 0..8 {
        // Nobody can read them, so each is refused by an event.
        (0..TURN_RECORDS_MAX).for_each(|_| append(&*world.log, 0, &[7; 40]));
        commit_turn(&owner, &handle, &mut owned, Micros(turn));
    }
    let end = world.log.end(0).unwrap();
    world.log.close();
    let claim = |from: u64| {
        let mut folded = 0;
        let claimed = world.log.claim(0, from, &mut |event| {
            folded += 1;
            Ok(event.seq + 1)
        });
        (claimed.err(), folded)
    };
    let (refused, folded) = claim(0);
    assert!(matches!(refused, Some(ClaimError::Log(error)) if error.kind == LogErrorKind::Superseded));
    assert!(folded < end, "{folded} of {end}");
    assert_eq!(claim(end - 10), (None, 10));
}
