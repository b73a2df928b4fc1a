//! An upgrade of three processes under load, one after the other, a way back, and the feature level that is raised in the end.

use super::readiness::{metric, owns};
use super::serve::{OLDER, Serving, Site};
use super::service::all_events;
use super::topics::Place;
use crate::cli::assert_says;
use crate::process::{Ended, agent, run};
use crate::rig::Rig;
use crate::wait::{PATIENCE, until};
use headroom::domain::EventKind;
use headroom::log::kafka::ops::admin::Admin;
use headroom::time::Stopwatch;
use headroom::wire;
use parking_lot::Mutex;
use rdkafka::consumer::{BaseConsumer, Consumer};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;
use ureq::http::Response;
use ureq::{Agent, Body};

const PARTITIONS: u32 = 4;
const POOLS: usize = 8;
const LIMIT: u64 = 100_000;
/// Units of the pool that is soon sold out.
const SCARCE: u64 = 20;

/// What a caller wants with an order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Wish {
    /// One of the few units of the scarce pool.
    Scarce,
    /// A hold, which is confirmed.
    Hold,
    /// A reservation that is released.
    Release,
    /// A reservation that stays.
    Keep,
}

impl Wish {
    fn of(order: usize) -> Wish {
        match order % 9 {
            8 => Wish::Scarce,
            2 => Wish::Hold,
            5 => Wish::Release,
            _ => Wish::Keep,
        }
    }
}

fn pool_of(order: usize) -> String {
    if Wish::of(order) == Wish::Scarce { "scarce".to_owned() } else { format!("p{}", order % POOLS) }
}

/// What a caller was told for good of an order.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Told {
    /// The id of the reservation that it got.
    Taken(String),
    /// There is nothing left.
    SoldOut,
}

impl Told {
    fn reservation(&self) -> Option<String> {
        match self {
            Told::Taken(id) => Some(id.clone()),
            Told::SoldOut => None,
        }
    }
}

/// Callers, who know which processes are about to be restarted and call the others.
#[derive(Default)]
struct Callers {
    is_over: AtomicBool,
    serving: Mutex<BTreeMap<usize, String>>,
    /// What callers were told of each order, by its number and its key.
    told: Mutex<BTreeMap<(usize, String), Told>>,
    rounds: AtomicUsize,
    /// Restarts that have begun, and those that are over: partitions that were moved for them have their owners.
    begun: AtomicUsize,
    over: AtomicUsize,
    failed: Mutex<BTreeMap<Failure, usize>>,
}

/// A call that nobody answered as its caller wanted.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Failure {
    /// Whether a planned restart was under way while the call was.
    is_in_a_restart: bool,
    /// What the caller was told.
    kind: String,
}

impl Callers {
    /// One caller: each order is placed under its own key, again and again until there is a definite answer.
    fn call(&self, caller: usize) {
        let agent = agent();
        for order in 0.. {
            if self.is_over.load(SeqCst) {
                return;
            }
            let key = format!("{caller}-{order}");
            let told = self.until_told(order, |url| reserve(&agent, url, order, &key));
            if let Told::Taken(id) = &told {
                let after = |url: &str| after(&agent, Wish::of(order), &format!("{url}/v1/reservations/{id}"));
                self.until_told(order, after);
            }
            self.told.lock().insert((order, key), told);
            self.rounds.fetch_add(1, SeqCst);
        }
    }

    /// Notes that a call has failed that began when so many restarts were over.
    fn note(&self, over: usize, kind: String) {
        let failure = Failure { is_in_a_restart: self.begun.load(SeqCst) > over, kind };
        *self.failed.lock().entry(failure).or_default() += 1;
    }

    /// Asks one of the processes, again and again until there is a definite answer.
    fn until_told<T>(&self, order: usize, ask: impl Fn(&str) -> Result<T, String>) -> T {
        let begun = Stopwatch::start();
        loop {
            assert!(begun.elapsed() < PATIENCE, "nobody answered order {order}");
            let over = self.over.load(SeqCst);
            let urls: Vec<_> = self.serving.lock().values().cloned().collect();
            match ask(&urls[order % urls.len()]) {
                Ok(answer) => return answer,
                Err(kind) => self.note(over, kind),
            }
        }
    }

    /// Waits until everybody has placed some orders more.
    fn go_on(&self) {
        let wanted = self.rounds.load(SeqCst) + 50;
        until("callers are answered", || self.rounds.load(SeqCst) >= wanted);
    }

    /// Starts all processes as the version that knew the feature levels up to this one.
    fn start(&self, processes: &[Serving<'_>], plays: u32) {
        for (n, process) in processes.iter().enumerate() {
            process.plays(Some(plays));
            process.start();
            process.ready();
            self.serving.lock().insert(n, process.url().unwrap());
        }
        settled(processes);
    }

    /// Restarts one of the processes as this version, out of the callers' sight.
    fn restart(&self, n: usize, processes: &[Serving<'_>], plays: Option<u32>) {
        self.begun.fetch_add(1, SeqCst);
        self.serving.lock().remove(&n);
        processes[n].terminate();
        processes[n].plays(plays);
        processes[n].start();
        processes[n].ready();
        settled(processes);
        self.over.fetch_add(1, SeqCst);
        self.serving.lock().insert(n, processes[n].url().unwrap());
        self.go_on();
    }

    /// The calls that failed while no planned restart was under way.
    fn failed_outside_of_restarts(&self) -> Vec<(Failure, usize)> {
        let failed = self.failed.lock().clone();
        failed.into_iter().filter(|(failure, _)| !failure.is_in_a_restart).collect()
    }
}

/// Status and text of a definite answer; otherwise what kind of failure the caller saw.
fn definite(answer: Result<Response<Body>, ureq::Error>) -> Result<(u16, Value), String> {
    let cut = |error: ureq::Error| format!("no answer: {error}");
    let mut answer = answer.map_err(cut)?;
    let said: Value = serde_json::from_str(&answer.body_mut().read_to_string().map_err(cut)?).unwrap();
    match answer.status().as_u16() {
        status @ (503 | 504) => Err(format!("{status} {}", said["code"].as_str().unwrap_or_default())),
        status => Ok((status, said)),
    }
}

fn reserve(agent: &Agent, url: &str, order: usize, key: &str) -> Result<Told, String> {
    let request = agent.post(format!("{url}/v1/reservations")).header("idempotency-key", key);
    let request = request.header("request-timeout-ms", "2000").content_type("application/json");
    let mut body = json!({ "pool": pool_of(order), "demand": { "orders": 1 } });
    if Wish::of(order) == Wish::Hold {
        body["hold_ttl_ms"] = 600_000.into();
    }
    let (status, said) = definite(request.send(body.to_string()))?;
    match (status, said["code"].as_str()) {
        (201, _) => Ok(Told::Taken(said["reservation"].as_str().unwrap().to_owned())),
        (409, Some("over_limit")) if Wish::of(order) == Wish::Scarce => Ok(Told::SoldOut),
        _ => panic!("{status}: {said}"),
    }
}

/// What a caller does with a reservation. It may have been done by a call before, of which the caller heard nothing.
fn after(agent: &Agent, wish: Wish, reservation: &str) -> Result<(), String> {
    let answer = match wish {
        Wish::Hold => {
            let confirm = agent.post(format!("{reservation}/confirm"));
            confirm.header("request-timeout-ms", "2000").send_empty()
        }
        Wish::Release => agent.delete(reservation).header("request-timeout-ms", "2000").call(),
        Wish::Scarce | Wish::Keep => return Ok(()),
    };
    let (status, said) = definite(answer)?;
    let is_done = status == 200 || (wish == Wish::Release && said["code"] == "already_released");
    assert!(is_done, "{wish:?}: {status} {said}");
    Ok(())
}

/// Checks that the pools have what callers were told, no more and no less, and that the same question gets the same answer.
fn is_as_told(callers: &Callers, url: &str) {
    let (agent, told) = (agent(), callers.told.lock());
    let mut used: BTreeMap<String, u64> = BTreeMap::new();
    for ((order, _), told) in &*told {
        let is_kept = matches!(told, Told::Taken(_)) && Wish::of(*order) != Wish::Release;
        *used.entry(pool_of(*order)).or_default() += u64::from(is_kept);
    }
    assert_eq!(used["scarce"], SCARCE, "all of it was sold");
    assert!(told.values().any(|told| *told == Told::SoldOut));
    for (pool, expected) in used {
        until(&format!("{pool} has {expected} orders"), || {
            let mut found = agent.get(format!("{url}/v1/pools/{pool}")).call().unwrap();
            let found: Value = serde_json::from_str(&found.body_mut().read_to_string().unwrap()).unwrap();
            found["used"]["orders"] == expected
        });
    }
    let kept = || told.iter().filter(|((order, _), _)| Wish::of(*order) != Wish::Release);
    for ((order, key), told) in kept().step_by(1 + kept().count() / 100) {
        assert_eq!(&callers.until_told(*order, |url| reserve(&agent, url, *order, key)), told, "{key}");
    }
}

/// The check of the test below is itself checked: it forgives what fails for a planned restart, and nothing else.
#[test]
fn a_call_that_fails_outside_of_a_restart_is_noticed() {
    let callers = Callers::default();
    let outside = || callers.failed_outside_of_restarts().into_iter().map(|(failure, times)| (failure.kind, times));
    callers.begun.store(1, SeqCst);
    callers.note(0, "during a restart".to_owned());
    callers.over.store(1, SeqCst);
    callers.note(0, "begun during a restart".to_owned());
    assert_eq!(outside().count(), 0);
    callers.note(1, "between two restarts".to_owned());
    callers.begun.store(2, SeqCst);
    callers.note(1, "begun before a restart".to_owned());
    assert_eq!(outside().collect::<Vec<_>>(), [("between two restarts".to_owned(), 1)]);
}

/// Waits until each partition has its owner, each process its share, and nothing moves any more.
#[track_caller]
fn settled(processes: &[Serving<'_>]) {
    until("every process owns its share", || {
        let shares: Vec<_> =
            processes.iter().map(|process| (0..PARTITIONS).filter(|p| owns(process, *p)).count()).collect();
        shares.iter().all(|share| *share > 0) && shares.iter().sum::<usize>() == PARTITIONS as usize
    });
}

fn level_of(process: &Serving<'_>) -> u64 {
    metric(process, "headroom_log_feature_level") as u64
}

/// The versions of the schemas under which the log's events are written.
fn versions(site: &Site) -> BTreeSet<u32> {
    let log = site.log();
    let stored = (0..PARTITIONS).flat_map(|partition| all_events(&log, partition));
    stored.map(|event| wire::event::decode(&event.bytes).unwrap().version).collect()
}

/// The reservations that the log says were accepted.
fn accepted(site: &Site) -> BTreeSet<String> {
    let log = site.log();
    let events = (0..PARTITIONS).flat_map(|partition| all_events(&log, partition));
    let entries = events.filter_map(|event| {
        let event = wire::event::decode(&event.bytes).unwrap().event;
        let is_accepted = event.body.kind() == EventKind::Accepted;
        event.body.entry().filter(|_| is_accepted).map(|entry| entry.reservation.to_string())
    });
    entries.collect()
}

/// The story: three processes are upgraded one after the other, one of them goes back and forth, and callers go on all the time.
/// No answer is wrong, and no call fails but while one of the processes is restarted and partitions move for it.
#[test]
fn nobody_notices_an_upgrade_nor_a_way_back() {
    if !cfg!(feature = "crash-points") {
        return;
    }
    let site = Site::made_by(Rig::shared(), PARTITIONS, Some(1));
    let processes = ["a", "b", "c"].map(|name| site.serving(name));
    let callers = Callers::default();
    callers.start(&processes, 1);
    let url = |n: usize, path: &str| format!("{}/v1/pools/{path}", processes[n].url().unwrap());
    let pools = (0..POOLS).map(|pool| (format!("p{pool}"), LIMIT)).chain([("scarce".to_owned(), SCARCE)]);
    for (pool, limit) in pools {
        let put = agent().put(url(0, &pool)).header("request-timeout-ms", "5000");
        let made = put.content_type("application/json").send(json!({ "limits": { "orders": limit } }).to_string());
        assert_eq!(made.unwrap().status(), 201);
    }
    std::thread::scope(|scope| {
        // They end also when this test fails.
        let over = Over(&callers);
        for caller in 0..3 {
            scope.spawn({
                let callers = &callers;
                move || callers.call(caller)
            });
        }
        callers.go_on();
        callers.restart(0, &processes, None);
        callers.restart(1, &processes, None);
        let early = site.run(["topics", "finalize"]);
        assert_eq!(early.code, 1, "{}{}", early.out, early.err);
        assert!(early.out.contains("1 of 3 processes cannot read feature level 2: it stays 1"), "{}", early.out);
        let delete = |n: usize| agent().delete(url(n, "p7?with_reservations=true")).call().unwrap();
        let mut refused = delete(0);
        let said = refused.body_mut().read_to_string().unwrap();
        assert!(refused.status() == 409 && said.contains("\"code\":\"feature_level\""), "{said}");
        // A way back, and on.
        callers.restart(0, &processes, Some(1));
        callers.restart(2, &processes, None);
        callers.restart(0, &processes, None);
        assert_eq!(versions(&site), [4].into(), "an older version could serve until now");
        let finalized = site.run(["topics", "finalize"]);
        assert_eq!(finalized.code, 0, "{}{}", finalized.out, finalized.err);
        until("all know it", || processes.iter().all(|process| level_of(process) == 2));
        callers.go_on();
        assert_eq!(versions(&site), [4, 5].into());
        drop(over);
    });
    println!(
        "{} orders were placed; calls that failed before they were: {:?}",
        callers.rounds.load(SeqCst),
        callers.failed.lock()
    );
    assert_eq!(callers.failed_outside_of_restarts(), []);
    for process in &processes {
        assert!(!process.logged().contains("ERROR"), "{}", process.logged());
    }
    is_as_told(&callers, &processes[2].url().unwrap());
    let again = site.run(["topics", "finalize"]);
    assert!(again.code == 0 && again.out.contains("already"), "{}{}", again.out, again.err);
    let deleted = agent().delete(url(1, "p7?with_reservations=true")).header("request-timeout-ms", "5000").call();
    assert_eq!(deleted.unwrap().status(), 200);
    let mut late = site.command(["serve", "--listen", "127.0.0.1:0"]);
    let refused = run(late.arg("--data-dir").arg(site.path("late")).env(OLDER, "1"));
    let why = format!("feature_level=2, given by version {}, and here it is 1", env!("CARGO_PKG_VERSION"));
    assert!(refused.code != 0 && refused.err.contains(&why), "{}", refused.err);
    processes.iter().for_each(|process| process.terminate());
    let verified = site.run(["verify"]);
    assert_eq!(verified.code, 0, "{}{}", verified.out, verified.err);
    let taken: BTreeSet<_> = callers.told.lock().values().filter_map(Told::reservation).collect();
    assert!(taken.is_subset(&accepted(&site)), "somebody was told of what the log does not have");
}

/// What `headroom topics finalize` has told, with its exit code. The processes come in any order.
#[track_caller]
fn says(ended: &Ended, code: i32, lines: &[&str]) {
    let (mut found, mut expected): (Vec<_>, Vec<_>) = (ended.out.lines().collect(), lines.to_vec());
    found.sort_unstable();
    expected.sort_unstable();
    assert_eq!((ended.code, found), (code, expected), "{}", ended.err);
}

/// The story: an operator ends an upgrade before it is done, then when nobody serves, at the right time, and once more. Each
/// time the command says what it found, and raises the level only when all who serve can read what is then written.
#[test]
fn finalize_names_who_keeps_the_level_as_it_is_and_raises_it_when_all_know_it() {
    if !cfg!(feature = "crash-points") {
        return;
    }
    let site = Site::made_by(Rig::shared(), 1, Some(1));
    let finalize = || site.run(["topics", "finalize"]);
    let nobody = finalize();
    says(&nobody, 2, &[]);
    assert_says(
        &nobody.err,
        &["the cluster shows no process in the group ", "start the processes of this version", "headroom topics acls"],
    );
    let knows =
        |level| format!("127.0.0.1: version {} knows the feature levels up to {level}", env!("CARGO_PKG_VERSION"));
    let [old, new] = ["old", "new"].map(|name| site.serving(name));
    old.plays(Some(1));
    old.start();
    old.ready();
    says(&finalize(), 1, &[&knows(1), "1 of 1 process cannot read feature level 2: it stays 1"]);
    new.start();
    new.ready();
    says(&finalize(), 1, &[&knows(1), &knows(2), "1 of 2 processes cannot read feature level 2: it stays 1"]);
    assert_eq!([&old, &new].map(level_of), [1, 1]);
    old.terminate();
    old.plays(None);
    old.start();
    old.ready();
    let raised = "the log has feature level 2, it was 1: older versions cannot serve it any more";
    says(&finalize(), 0, &[&knows(2), &knows(2), raised]);
    until("both know it", || [&old, &new].map(level_of) == [2, 2]);
    let nothing = "the log has feature level 2 already; nothing to do";
    says(&finalize(), 0, &[nothing]);
    [&old, &new].into_iter().for_each(Serving::terminate);
    says(&finalize(), 0, &[nothing]);
}

/// The story: an owner of an older version still serves, and a gateway of this version is on the same host, or behind the same
/// address. The level was raised, and the owner could not decide what was then asked for.
#[test]
fn an_owner_that_does_not_say_what_it_can_read_is_not_taken_for_a_gateway_of_its_host() {
    if !cfg!(feature = "crash-points") {
        return;
    }
    let site = Site::made_by(Rig::shared(), 1, Some(1));
    let admin = Admin::new(site.cluster().clone()).unwrap();
    let log_id = admin.look().unwrap().manifest.unwrap().unwrap().manifest.log_id;
    let seen = || admin.processes(log_id).unwrap_or_default();
    let old: BaseConsumer = site.cluster().member(log_id).create().unwrap();
    old.subscribe(&[&site.cluster().topics.commands]).unwrap();
    let is_in = || {
        // What it reads, and what it cannot read, is of no interest.
        let _ = old.poll(Duration::from_millis(10));
        old.assignment().unwrap().count() > 0
    };
    until("the owner is in its group", is_in);
    let new = site.serving("new").with(["--roles", "gateway"]);
    new.start();
    until("the gateway is in the group of processes", || is_in() && seen().iter().any(|process| process.knows(2)));
    let knows = format!("127.0.0.1: version {} knows the feature levels up to 2", env!("CARGO_PKG_VERSION"));
    let silent = "127.0.0.1: \"headroom.member\" does not say what it can read";
    let stays = "1 of 2 processes cannot read feature level 2: it stays 1";
    says(&site.run(["topics", "finalize"]), 1, &[&knows, silent, stays]);
    drop(old);
    until("the owner is gone", || seen().len() == 1);
    let raised = "the log has feature level 2, it was 1: older versions cannot serve it any more";
    says(&site.run(["topics", "finalize"]), 0, &[&knows, raised]);
}

#[test]
fn there_is_no_level_to_raise_where_there_is_no_log() {
    let none = Place::on(Rig::shared(), "finalized").headroom(&["topics", "finalize"]);
    assert_eq!(none.code, 1, "{}", none.err);
    let last = "the feature level stays as it is: there is no log whose topics are as they should be";
    assert_eq!(none.out.lines().last(), Some(last), "{}", none.out);
    assert_says(&none.out, &["create finalized.commands: "]);
}

/// Tells callers to stop, however a test ends.
struct Over<'a>(&'a Callers);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.is_over.store(true, SeqCst);
    }
}
