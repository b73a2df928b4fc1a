//! The past: what `headroom state` prints of a time or of an event is what was there, whatever it begins with.

mod golden;
mod refused;

use crate::bed::{HOUR_MS, Told, bucket, url};
use crate::cli::assert_says;
use crate::fixtures::{append, command, define, hold, orders, pools_of, reservation_id, reserve};
use crate::process::{Ended, Served, headroom, run};
use crate::world::{World, becomes, commit_turn, conclude_turn};
use headroom::config::{Keep, SnapshotRule};
use headroom::domain::{Amounts, Command, CommandBody, LimitChange, Micros, PoolId, ReservationId, Status};
use headroom::log::embedded::Owned;
use headroom::owner::Partition;
use headroom::owner::recover::rebuild;
use headroom::replica::{PartitionHandle, PartitionStatus, Replica};
use headroom::snapshot::Writer;
use headroom::store::Store;
use headroom::time::Shown;
use headroom::wire;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::Value;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;
use tempfile::TempDir;

/// When every history begins: long before the tests run.
const BEGAN: Micros = Micros(1_700_000_000_000_000);
const PARTITIONS: u32 = 2;
/// None of them goes.
const KEEP_ALL: Keep = Keep { all_ms: 10_000 * HOUR_MS, hourly_ms: 10_000 * HOUR_MS, daily_ms: 10_000 * HOUR_MS };
const RULE: SnapshotRule = SnapshotRule { events: 1, interval_ms: HOUR_MS, keep: KEEP_ALL };

/// One partition with its owner.
struct Side {
    handle: Arc<PartitionHandle>,
    owner: Partition,
    owned: Owned,
}

/// A reservation as it was recorded: its id, its pool, its status, and until when it is known if it has ended.
type Was = (ReservationId, PoolId, Status, Micros);

/// What a partition was after a turn.
#[derive(Clone)]
struct Recorded {
    time: Micros,
    next_seq: u64,
    digest: String,
    used: BTreeMap<String, Amounts>,
    known: Vec<Was>,
}

impl Recorded {
    fn of(time: Micros, handle: &PartitionHandle) -> Recorded {
        handle.read(|state| Recorded {
            time,
            next_seq: state.position().next_seq,
            digest: state.digest().to_string(),
            used: state.pools().iter().map(|pool| (pool.id.to_string(), pool.used.clone())).collect(),
            known: state.known(time).into_iter().map(|(id, r)| (id, r.pool.clone(), r.status, r.until)).collect(),
        })
    }
}

/// A log that is being written, with snapshots now and then.
struct Course {
    world: World,
    replica: Replica,
    sides: Vec<Side>,
    folder: TempDir,
    time: Micros,
    number: u64,
    /// By partition, in order.
    records: Vec<Vec<Recorded>>,
}

impl Course {
    fn new() -> Course {
        let (world, replica) = (World::new(PARTITIONS), Replica::new(PARTITIONS));
        world.clock.set(BEGAN);
        let side = |partition| {
            let (handle, owned) = world.recover_in(&replica, partition);
            becomes(&handle, PartitionStatus::Active);
            let owner = handle.read(|state| Partition::claim(state, PARTITIONS));
            Side { handle, owner, owned }
        };
        let sides: Vec<Side> = (0..PARTITIONS).map(side).collect();
        let records = sides.iter().map(|side| vec![Recorded::of(BEGAN, &side.handle)]).collect();
        Course { world, replica, sides, folder: tempfile::tempdir().unwrap(), time: BEGAN, number: 0, records }
    }

    /// So much time passes, and then these commands are decided in one turn of their partition. Both partitions take a turn.
    fn turn(&mut self, passes_ms: u64, asked: impl IntoIterator<Item = (u32, CommandBody)>) {
        self.world.clock.pass_ms(passes_ms);
        self.time = self.time.plus_ms(passes_ms);
        for (partition, body) in asked {
            self.number += 1;
            let command = Command { deadline: self.time.plus_ms(5_000), ..command(self.number, body) };
            append(&*self.world.log, partition, &wire::command::encode(&command));
        }
        for Side { handle, owner, owned } in &mut self.sides {
            commit_turn(owner, handle, owned, self.time);
        }
        self.record();
    }

    fn record(&mut self) {
        for (side, records) in self.sides.iter().zip(&mut self.records) {
            records.push(Recorded::of(self.time, &side.handle));
        }
    }

    /// The clocks were ahead by so much, and are set back.
    fn set_back(&mut self, ms: u64) {
        let (from, to) = (self.time, self.time.set_back(ms * 1_000));
        for Side { handle, owner, owned } in &mut self.sides {
            let staged = handle.read(|state| owner.set_clock(state, from, to, "by hand"));
            conclude_turn(owner, handle, owned, staged);
        }
        self.time = to;
        self.world.clock.step(to);
        self.record();
    }

    fn snapshot(&self) {
        self.sides.iter().for_each(|side| self.world.checkpoint(&side.handle));
        let log = (self.world.log.manifest().log_id, &self.replica, &self.world.store as &dyn Store);
        let (bucket, told) = (bucket(self.folder.path()), Told::default());
        Writer::new(log, &bucket, (&self.world.clock, &told), RULE).round(&|| false);
        assert_eq!((&*told.failed.lock(), &*told.ahead.lock()), (&vec![], &vec![]));
    }

    /// The log is closed.
    fn end(self) -> Past {
        let Course { world, sides, folder, records, .. } = self;
        drop(sides);
        Past { dir: world.close(), folder, records }
    }
}

/// A log that nobody writes any more.
struct Past {
    dir: TempDir,
    folder: TempDir,
    records: Vec<Vec<Recorded>>,
}

impl Past {
    fn run(&self, args: &[&str]) -> Ended {
        run(headroom(["state"]).args(args).arg("--data-dir").arg(self.dir.path()))
    }

    /// What is printed as JSON, a value for each partition.
    #[track_caller]
    fn json(&self, args: &[&str]) -> Vec<Value> {
        let ended = self.run(&[args, &["--json"]].concat());
        assert_eq!((ended.code, &*ended.err), (0, ""), "{args:?}: {}", ended.out);
        ended.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn place(&self) -> String {
        url(self.folder.path())
    }

    /// The snapshots of a partition, the oldest first: up to which event each reaches, and when that was decided.
    fn snapshots(&self, partition: u32) -> Vec<(u64, Micros)> {
        let log = std::fs::read_dir(self.folder.path()).unwrap().next().unwrap().unwrap().path();
        let names = std::fs::read_dir(log.join(format!("p{partition}"))).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let parsed = |name: String| {
            let mut parts = name.strip_suffix(".json")?.split('-');
            Some((parts.next()?.parse().ok()?, Micros(parts.next()?.parse().ok()?)))
        };
        let mut found: Vec<_> = names.filter_map(parsed).collect();
        found.sort_unstable();
        found
    }

    /// Starts a server on the directory, which decides something of its own, and asks this again: the answers are the same. What
    /// had to be read for them may differ.
    #[track_caller]
    fn answers_the_same(&self, asked: &[(Vec<String>, Vec<Value>)]) -> Served {
        let serve = ["serve", "--listen", "127.0.0.1:0", "--partitions", "2", "--data-dir"];
        let served = Served::start(headroom(serve).arg(self.dir.path()));
        assert!(!asked.is_empty());
        for (args, before) in asked {
            let (args, mut before): (Vec<_>, _) = (args.iter().map(String::as_str).collect(), before.clone());
            let mut through = self.json(&args);
            for state in through.iter_mut().chain(before.iter_mut()) {
                ["events_read", "snapshot"].iter().for_each(|of| drop(state.as_object_mut().unwrap().remove(*of)));
            }
            assert_eq!(through, before, "through a server, {args:?}");
        }
        served
    }

    /// What a partition was at this time.
    fn at(&self, partition: u32, time: Micros) -> &Recorded {
        self.records[partition as usize].iter().rfind(|record| record.time <= time).unwrap()
    }
}

/// What is printed of a partition is what was recorded of it.
#[track_caller]
fn assert_was(printed: &Value, was: &Recorded, what: &str) {
    assert_eq!(
        (printed["next_seq"].as_u64(), &printed["digest"]),
        (Some(was.next_seq), &was.digest.clone().into()),
        "{what}"
    );
    let used = |units: &Amounts| {
        units.iter().map(|(d, units)| (d.to_string(), units.into())).collect::<serde_json::Map<_, _>>()
    };
    let pools: BTreeMap<_, _> = printed["pools"]
        .as_array()
        .unwrap()
        .iter()
        .map(|pool| (pool["pool"].as_str().unwrap(), &pool["used"]))
        .collect();
    assert_eq!(pools.len(), was.used.len(), "{what}");
    for (pool, amounts) in &was.used {
        assert_eq!(pools[pool.as_str()], &Value::Object(used(amounts)), "{what}: {pool}");
    }
}

/// A history of some 90 hours in which everything happens that changes a state, with a snapshot now and then.
fn random(seed: u64) -> (Past, StdRng) {
    let (mut random, mut course) = (StdRng::seed_from_u64(seed), Course::new());
    let pools: Vec<Vec<PoolId>> = (0..PARTITIONS).map(|p| pools_of(p, PARTITIONS).take(4).collect()).collect();
    // What was asked for: the partition, the pool and the key of each.
    let mut keys: Vec<(u32, PoolId, String)> = Vec::new();
    for turn in 0..220 {
        let mut asked = Vec::new();
        for _ in 0..random.random_range(0..12) {
            let partition = random.random_range(0..PARTITIONS);
            let pool = pools[partition as usize][random.random_range(0..4)].clone();
            let key = format!("K{}", keys.len());
            let earlier = keys.len().checked_sub(1).map(|last| {
                let (partition, pool, key) = &keys[random.random_range(last.saturating_sub(20)..=last)];
                (*partition, reservation_id(pool, key))
            });
            let of_pool = |body| (partition, body);
            asked.push(match (random.random_range(0..100), earlier) {
                (0..12, _) => of_pool(define(&pool, orders(random.random_range(1..60)))),
                (12..20, _) => {
                    let change = LimitChange::To(orders(random.random_range(1..60)));
                    of_pool(CommandBody::AdjustLimits { pool, change, expected_version: None })
                }
                (20..23, _) => {
                    of_pool(CommandBody::RetirePool { pool, with_reservations: true, expected_version: None })
                }
                (23..33, Some((partition, reservation))) => (partition, CommandBody::Confirm { reservation }),
                (33..48, Some((partition, reservation))) => (partition, CommandBody::Release { reservation }),
                (choice, _) => {
                    keys.push((partition, pool.clone(), key.clone()));
                    let ttl_ms = random.random_range(1..8) * 600_000;
                    of_pool(if choice % 2 == 0 { reserve(&pool, &key) } else { hold(&pool, &key, ttl_ms) })
                }
            });
        }
        course.turn(random.random_range(1..50) * 60_000, asked);
        match turn {
            130 => course.set_back(5 * HOUR_MS),
            _ if turn % 37 == 36 => course.snapshot(),
            _ => {}
        }
    }
    let events: u64 = course.records.iter().map(|records| records.last().unwrap().next_seq).sum();
    assert!(events > 800, "{events}");
    (course.end(), random)
}

/// Twenty random moments, none of them exactly at a turn.
fn moments(past: &Past, random: &mut StdRng) -> Vec<Micros> {
    let end = past.records[0].last().unwrap().time.plus_ms(HOUR_MS);
    (0..20).map(|_| Micros(random.random_range(BEGAN.0..end.0))).collect()
}

/// The story: somebody asks in the new year what a slot looked like on the evening of the 23rd. Whatever the state is begun
/// with, whether a server runs or not, the answer is what was there; and with a snapshot, only what came after it is read.
#[test]
fn twenty_moments_of_a_history_are_what_was_recorded_then() {
    let (past, mut random) = random(15);
    let moments = moments(&past, &mut random);
    let place = past.place();
    let seqs: Vec<Vec<u64>> = past.records.iter().map(|of| of.iter().map(|record| record.next_seq).collect()).collect();
    let mut printed = Vec::new();
    let mut begun = 0;
    for time in &moments {
        let at = Shown(*time).to_string();
        let (bare, from_snapshot) = (past.json(&["--at", &at]), past.json(&["--at", &at, "--snapshots", &place]));
        for (partition, (bare, from_snapshot)) in (0..PARTITIONS).zip(bare.iter().zip(&from_snapshot)) {
            let what = format!("partition {partition} at {at}");
            let (was, end) = (past.at(partition, *time), *seqs[partition as usize].last().unwrap());
            assert_was(bare, was, &what);
            assert_was(from_snapshot, was, &what);
            assert_eq!((bare["events_read"].as_u64(), &bare["snapshot"]), (Some(end), &Value::Null), "{what}");
            let nearest = past.snapshots(partition).into_iter().rfind(|(_, decided_at)| decided_at <= time);
            let reached = nearest.map_or(0, |(next_seq, _)| next_seq);
            assert_eq!(from_snapshot["events_read"].as_u64(), Some(end - reached), "{what}");
            let name = from_snapshot["snapshot"].as_str().map(|name| name.split('-').next().unwrap().parse().unwrap());
            assert_eq!(name, nearest.map(|(next_seq, _)| next_seq), "{what}");
            begun += usize::from(nearest.is_some());
        }
        printed.push((vec!["--at".to_owned(), at, "--snapshots".to_owned(), place.clone()], bare));
    }
    assert!(begun > 10, "only {begun} of {} began with a snapshot", 2 * moments.len());
    let served = past.answers_the_same(&printed);
    let now = past.json(&[]);
    drop(served);
    for (partition, (now, seqs)) in now.iter().zip(seqs).enumerate() {
        assert!(now["next_seq"].as_u64() > seqs.last().copied(), "the server has decided in partition {partition}");
    }
}

/// With the reservations of one pool: those that live, and those of which it is still known how they ended.
#[test]
fn the_reservations_of_a_pool_are_those_of_then() {
    let (past, mut random) = random(16);
    let place = past.place();
    let (mut seen, mut asked) = (BTreeMap::<&str, u64>::new(), Vec::new());
    for time in moments(&past, &mut random) {
        let at = Shown(time).to_string();
        for partition in 0..PARTITIONS {
            let was = past.at(partition, time);
            for pool in was.used.keys() {
                let args = ["--at", &at, "--pool", pool, "--snapshots", &place];
                let printed = past.json(&args).remove(0);
                assert_eq!(printed["pools"].as_array().unwrap().len(), 1);
                let expected = was.known.iter().filter_map(|(id, of, status, until)| {
                    let status = match status {
                        Status::Held => "held",
                        Status::Confirmed => "confirmed",
                        Status::Released if *until > time => "released",
                        Status::Expired if *until > time => "expired",
                        _ => return None,
                    };
                    (of.as_str() == pool).then(|| (id.to_string(), status))
                });
                let expected: Vec<_> = expected.collect();
                let found = printed["reservations"].as_array().unwrap().iter();
                let text = |value: &Value| value.as_str().unwrap().to_owned();
                let found: Vec<_> = found.map(|r| (text(&r["reservation"]), text(&r["status"]))).collect();
                let plain: Vec<_> = expected.iter().map(|(id, status)| (id.clone(), (*status).to_owned())).collect();
                assert_eq!(found, plain, "{pool} at {at}");
                for (_, status) in expected {
                    *seen.entry(status).or_default() += 1;
                }
                asked.push((args.map(str::to_owned).to_vec(), vec![printed]));
            }
        }
    }
    // Those with the most reservations.
    asked.sort_by_key(|(_, printed)| Reverse(printed[0]["reservations"].as_array().unwrap().len()));
    asked.truncate(12);
    past.answers_the_same(&asked);
    assert_eq!(seen.keys().copied().collect::<Vec<_>>(), ["confirmed", "expired", "held", "released"], "{seen:?}");
}

#[test]
fn the_state_after_an_event_is_what_the_events_up_to_it_make() {
    let (past, mut random) = random(17);
    let (place, mut asked) = (past.place(), Vec::new());
    for _ in 0..20 {
        let partition = random.random_range(0..PARTITIONS);
        let end = past.records[partition as usize].last().unwrap().next_seq;
        let seq = random.random_range(0..end);
        let expected = {
            let log =
                crate::process::once_free(|| headroom::log::embedded::EmbeddedReader::open(past.dir.path())).unwrap();
            rebuild(&log, partition, seq + 1, &mut |_| {}).unwrap().digest().to_string()
        };
        let at_seq = format!("{partition}:{seq}");
        let nearest = past.snapshots(partition).into_iter().rfind(|(next_seq, _)| *next_seq <= seq + 1);
        let reached = nearest.map_or(0, |(next_seq, _)| next_seq);
        for (args, read) in
            [(&["--at-seq", &*at_seq][..], seq + 1), (&["--at-seq", &at_seq, "--snapshots", &place], seq + 1 - reached)]
        {
            let all = past.json(args);
            let [printed] = &all[..] else { panic!("one partition is asked for") };
            let found = (printed["partition"].as_u64(), printed["next_seq"].as_u64(), printed["digest"].as_str());
            assert_eq!(found, (Some(partition.into()), Some(seq + 1), Some(&*expected)), "{args:?}");
            assert_eq!(printed["events_read"].as_u64(), Some(read), "{args:?}");
            asked.push((args.iter().map(|arg| (*arg).to_owned()).collect(), all));
        }
    }
    past.answers_the_same(&asked);
}

/// The story: the clock ran two hours ahead, and a planner asks for a time which it showed twice. What had been decided by
/// then is what the right clock says, with all that was decided under the wrong one.
#[test]
fn a_time_that_a_clock_showed_twice_is_the_second_one() {
    let mut course = Course::new();
    let pool = pools_of(0, PARTITIONS).next().unwrap();
    course.turn(1_000, [(0, define(&pool, orders(100)))]);
    course.turn(2 * HOUR_MS, [(0, reserve(&pool, "ahead"))]);
    course.set_back(2 * HOUR_MS);
    course.turn(60_000, [(0, reserve(&pool, "right"))]);
    let asked = course.time.plus_ms(1_000);
    course.turn(60_000, [(0, reserve(&pool, "later"))]);
    course.snapshot();
    let past = course.end();
    for place in [None, Some(past.place())] {
        let mut args = vec!["--at".to_owned(), Shown(asked).to_string()];
        args.extend(place.map(|place| [String::from("--snapshots"), place]).into_iter().flatten());
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let state = past.json(&args).remove(0);
        assert_eq!((&state["pools"][0]["used"]["orders"], &state["pools"][0]["confirmed"]), (&2.into(), &2.into()));
    }
}

#[track_caller]
fn assert_refused(ended: &Ended, code: i32, says: &[&str]) {
    assert_eq!((ended.code, &*ended.out), (code, ""), "{}", ended.err);
    assert_says(&ended.err, says);
}
