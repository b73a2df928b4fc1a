//! Whole processes whose wall clock is off: brokers' clocks are the witness, and nothing is decided by one that is far from
//! them. The other way round, a log that is ahead of all clocks is set back by hand.

use super::answers::pool;
use super::readiness::{PARTITIONS, metric, owns, put, readyz};
use super::serve::{Serving, Site};
use crate::clock::real_binary::Stepped;
use crate::process::run;
use crate::rig::Rig;
use crate::server::Server;
use crate::wait::until;
use crate::world::ManualClock;
use headroom::config::{Config, FileText, Inputs};
use headroom::domain::Micros;
use headroom::log::CommittedTail;
use headroom::time::{Clock, Stopwatch, SystemClock};
use headroom::wire;
use std::sync::Arc;

const HOUR_S: i64 = 3_600;

/// When the events of the log were decided.
fn decided(site: &Site) -> Vec<Micros> {
    let log = site.log();
    let events = |partition| {
        let events = log.read(partition, 0, usize::MAX).unwrap();
        events.into_iter().map(|event| wire::event::decode(&event.bytes).unwrap().event.decided_at)
    };
    (0..PARTITIONS).flat_map(events).collect()
}

/// Whether it says of every partition that its clock is off by about an hour. A follower is certain of a little less: of the time
/// since it asked for the end of the log, it does not know how much passed before the record was written.
fn disagrees(process: &Serving<'_>, how: &str) -> bool {
    let seen = readyz(process).1;
    let why = |p: u32| seen["partitions"][p.to_string()]["why"].as_str().unwrap_or_default().to_owned();
    let by = |s: u32| format!("clock_disagrees: this machine's clock is {s} s {how} its broker's");
    let off: Vec<String> = (3_590..=3_600).map(by).collect();
    (0..PARTITIONS).all(|p| off.iter().any(|off| why(p).contains(off)))
}

fn decide(process: &Serving<'_>) -> bool {
    (0..PARTITIONS).all(|p| put(process, p, 5_000) < 300)
}

/// The story: time synchronisation on one machine fails, and its wall clock jumps by an hour. An owner that decided by
/// it would expire holds an hour early, or keep them an hour longer. It compares its clock with its broker's before
/// each turn, decides nothing, and another process takes over.
#[test]
fn an_owner_whose_clock_steps_by_an_hour_decides_nothing_and_another_takes_over() {
    let site = Site::new(Rig::shared(), PARTITIONS);
    let clock = Stepped::by(0);
    let wrong = site.serving("a").by(&clock);
    wrong.start();
    until("it serves", || decide(&wrong));
    clock.step(HOUR_S);
    let stepped = Stopwatch::start();
    until("it says so", || disagrees(&wrong, "ahead of"));
    println!("a clock that is an hour ahead is told after {:?}", stepped.elapsed());
    let before = decided(&site).len();
    // Nobody is better.
    for p in 0..PARTITIONS {
        assert!(put(&wrong, p, 250) >= 500);
    }
    until("nothing is decided, and it says so", || readyz(&wrong).0 == 503);
    assert_eq!(decided(&site).len(), before);
    let alone = stepped.elapsed();
    let right = site.serve("b");
    until("the other decides", || decide(&right) && readyz(&right).1["status"] == "ok");
    println!("an hour ahead: another, started {:?} later, decides after {:?}", alone, stepped.elapsed());
    let (now, decided) = (SystemClock::new().wall(), decided(&site));
    assert!(decided.iter().all(|at| *at <= now), "{now:?}: {decided:?}");
    assert_eq!(metric(&wrong, "headroom_withdrawals_total{reason=\"clock\"}"), 1.0);
    assert!(metric(&wrong, "headroom_clock_broker_offset_seconds{partition=\"0\"}") > 3_500.0);
    assert!(disagrees(&wrong, "ahead of") && readyz(&wrong).0 == 200, "others decide, and its clock is still wrong");
    clock.step(0);
    until("its clock is right", || readyz(&wrong).1["status"] == "ok");
    until("calls by way of it are decided", || decide(&wrong));
    let logged = wrong.logged();
    let count = |what| logged.lines().filter(|line| line.contains(what)).count();
    let begun = count("nothing is decided by this machine's clock");
    assert!(begun >= PARTITIONS as usize && logged.contains("ERROR"), "{logged}");
    assert_eq!(count("clock kept undecided is given up") + count("clock is as its broker's again"), begun, "{logged}");
    let verified = site.run(["verify"]);
    assert_eq!(verified.code, 0, "{}{}", verified.out, verified.err);
}

/// The story: a process starts on a machine whose clock is an hour behind. It waits, says why, and decides as soon as
/// the clock is right; nobody has to restart it.
#[test]
fn a_process_that_starts_an_hour_behind_decides_nothing_until_its_clock_is_right() {
    let site = Site::new(Rig::shared(), PARTITIONS);
    let clock = Stepped::by(-HOUR_S);
    let process = site.serving("a").by(&clock);
    process.start();
    until("it says so, and is not ready", || disagrees(&process, "behind") && readyz(&process).0 == 503);
    assert_eq!(decided(&site), []);
    clock.step(0);
    until("it serves", || decide(&process) && readyz(&process).1["status"] == "ok");
    let now = SystemClock::new().wall();
    let hour_ago = Micros(now.0 - HOUR_S.unsigned_abs() * 1_000_000 / 2);
    assert!(decided(&site).iter().all(|at| (hour_ago..=now).contains(at)));
}

/// The story: a wrong clock has written times into the log that are far ahead. Time never goes back by itself, so holds
/// would last until the world has caught up. A person sets the log's clock back, once, by an event.
#[test]
fn a_log_that_is_ahead_is_set_back_by_hand_on_a_cluster() {
    let site = Site::new(Rig::shared(), PARTITIONS);
    let path = site.path("headroom.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let file = Some(FileText { path: path.display().to_string(), text });
    let mut config = Config::load(&Inputs { file, ..Inputs::default() }).unwrap();
    (config.listen, config.data_dir) = ("127.0.0.1:0".parse().unwrap(), site.path("ahead"));
    // As an older version did, this one goes by its own clock alone.
    let ahead = SystemClock::new().wall().plus_ms(HOUR_S.unsigned_abs() * 1_000);
    let server = Server::of(&config, Arc::new(ManualClock::at(ahead)));
    (0..4).for_each(|n| pool(&server, &format!("van-{n}"), 100));
    drop(server);
    let process = site.serve("a");
    until("it says so", || {
        let seen = readyz(&process).1;
        (0..PARTITIONS)
            .all(|p| seen["partitions"][p.to_string()]["why"].to_string().contains("s ahead of this machine"))
    });
    until("it owns them", || (0..PARTITIONS).all(|p| owns(&process, p)));
    let mut set = site.command(["clock", "set"]);
    let set = run(set.args(["--because", "on call: a clock was wrong", "--data-dir"]).arg(site.path("a")));
    assert_eq!(set.code, 0, "{}{}", set.out, set.err);
    assert_eq!(set.out.matches("set back from").count(), PARTITIONS as usize, "{}", set.out);
    until("nothing is wrong any more", || readyz(&process).1["status"] == "ok");
    assert!(decide(&process));
    let verified = site.run(["verify"]);
    assert_eq!(verified.code, 0, "{}{}", verified.out, verified.err);
    assert!(verified.out.contains("on call: a clock was wrong"), "{}", verified.out);
}
