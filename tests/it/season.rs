//! Four months of a grocer in minutes: the owner, its log and checkpoints, snapshots, the bound of the log with its archive,
//! and pools that retire, all by a clock in the test's hand. Nothing grows any more after a third of it, the audit is clean,
//! and the past is what it was.

mod figures;
mod standby;
mod trade;

use crate::bed::{Bed, DAY_MS, KEEP, Stopped, Told, bucket, segments, url};
use crate::fixtures::append;
use crate::knob;
use crate::process::headroom;
use crate::world::{World, conclude_turn};
use figures::{Figures, bytes_in, counted, freed};
use headroom::archive::{Keeper, Shelf};
use headroom::config::SnapshotRule;
use headroom::domain::Micros;
use headroom::log::embedded::{Embedded, Owned};
use headroom::log::{CommittedTail as _, OwnedPartition};
use headroom::owner::Partition;
use headroom::replica::{PartitionHandle, PartitionState};
use headroom::snapshot::{Reader, Writer};
use headroom::store::Store;
use headroom::time::{Clock as _, Shown};
use headroom::wire;
use rand::rngs::StdRng;
use rand::seq::index::sample;
use rand::{RngExt, SeedableRng};
use serde_json::Value;
use standby::Standby;
use std::collections::BTreeMap;
use std::fs;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::Duration;
use trade::{Trade, time_of};

/// Long before the tests run.
const BEGAN: Micros = Micros(1_700_006_400_000_000);
const DAYS: u64 = 120;
/// Days between two restarts of the server.
const LIFE_DAYS: u64 = 10;
/// A day is so many slices of time. They are not longer than what counts as a jump of the clock.
const SLICES: u64 = 12;
const SLICE_MS: u64 = DAY_MS / SLICES;
/// A checkpoint is written after so many slices.
const CHECKPOINT_SLICES: u64 = 3;
const KEEP_MS: u64 = 10 * DAY_MS;
/// Most commands of one turn.
const TURN_MAX: usize = 500;
const MOMENTS: usize = 20;
/// Unless somebody asks for more.
const SMALL: Trade = Trade { pools: 5, reservations: 50, has_one_that_stays: false };
/// A segment is sealed with so many bytes, and so many for each order of a day: a day fills a few of them.
const SEGMENT_BYTES: u64 = 20 << 10;
const SEGMENT_BYTES_AN_ORDER: u64 = 150;
/// A snapshot a day. Those of a month stay.
const RULE: SnapshotRule = SnapshotRule { events: u64::MAX, interval_ms: DAY_MS, keep: KEEP };

/// The files of the checkpoint grow with each change, and are written anew when most of them is waste.
const CHECKPOINT_BYTES: &str = "most bytes of the checkpoint";
/// What a process has in memory that followed the partition since its first event.
const STANDBY_BYTES: &str = "bytes of a standby's state";
/// The same where no checkpoint is ever written. It grows, so the figures can tell.
const UNWRITTEN_BYTES: &str = "bytes of a standby that saves none";
/// What is freed with the state of the owner when it ends.
const STATE_BYTES: &str = "bytes of the owner's state";

/// What a partition was at a moment.
struct Recorded {
    at: Micros,
    next_seq: u64,
    digest: String,
}

struct Season {
    trade: Trade,
    asked: u64,
    standby: Standby,
    unwritten: Standby,
    days: Figures,
    starts: Figures,
    /// The slices after which a moment is remembered, and when it is.
    moments: BTreeMap<u64, Micros>,
    recorded: Vec<Recorded>,
}

/// What the turns of a day did.
#[derive(Default)]
struct Work {
    turns: u64,
    events: u64,
    timers: u64,
    bytes: u64,
    bytes_max: u64,
    allocations: u64,
    allocations_max: u64,
    rows: u64,
    checkpoint_max: u64,
}

/// The story: a grocer defines pools two weeks ahead, and takes orders, edits them and lets them go, day after day. Four months
/// later the server needs the memory, the disk, the time to start and the work for a turn that it needed after two.
#[test]
fn four_months_end_as_small_as_they_were_in_their_middle() {
    let trade = Trade {
        pools: knob("HEADROOM_SEASON_POOLS", SMALL.pools),
        reservations: knob("HEADROOM_SEASON_ORDERS", SMALL.reservations),
        ..SMALL
    };
    let (season, stopped) = Season::live(trade, DAYS);
    let differing = season.differing();
    season.audit(&stopped);
    assert_eq!(differing.names(), [UNWRITTEN_BYTES], "{differing:?}");
}

/// One pool of each day does not retire, and the same figures tell.
#[test]
fn a_season_in_which_a_pool_of_each_day_stays_does_not() {
    let (season, _stopped) = Season::live(Trade { has_one_that_stays: true, ..SMALL }, DAYS);
    let differing = season.differing();
    for name in [STATE_BYTES, STANDBY_BYTES, "pools", "rows of the checkpoint", "bytes of snapshots"] {
        assert!(!differing.of(name).is_empty(), "{name} does not differ, but {differing:?}");
    }
}

/// Nothing of a figure is by chance, and nothing in it is of another thread.
#[test]
fn a_season_that_is_lived_twice_has_the_same_figures() {
    let figures = || {
        let (season, _stopped) = Season::live(SMALL, 20);
        // The database in them writes in threads of its own.
        [season.days.without(CHECKPOINT_BYTES), season.starts]
    };
    let alone = figures();
    let is_over = AtomicBool::new(false);
    let beside_others = thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Relaxed) {
                drop((0..1_000).map(|n: u64| n.to_string()).collect::<Vec<_>>());
            }
        });
        let beside_others = figures();
        is_over.store(true, Relaxed);
        beside_others
    });
    assert_eq!(alone, beside_others);
}

impl Season {
    fn live(trade: Trade, days: u64) -> (Season, Stopped) {
        let mut random = StdRng::seed_from_u64(knob("HEADROOM_SEASON_SEED", 15));
        let slices = sample(&mut random, (days * SLICES) as usize, MOMENTS).into_vec();
        let mut moment = |slice: usize| {
            let slice = slice as u64;
            (slice, time_of(slice).plus_ms(random.random_range(0..SLICE_MS)))
        };
        let mut season = Season {
            trade,
            asked: 0,
            standby: Standby::new(),
            unwritten: Standby::new(),
            days: Figures::default(),
            starts: Figures::default(),
            moments: slices.into_iter().map(&mut moment).collect(),
            recorded: Vec::new(),
        };
        let [dir, snapshots, archive] = [(); 3].map(|()| tempfile::tempdir().unwrap());
        let mut stopped = Stopped { dir, snapshots, archive };
        for life in 0..days / LIFE_DAYS {
            stopped = season.life(stopped, life);
        }
        (season, stopped)
    }

    /// A server starts, serves for ten days, and ends without a last checkpoint. Every second one starts on an empty disk but
    /// for the log.
    fn life(&mut self, stopped: Stopped, number: u64) -> Stopped {
        let is_cold = number % 2 == 1;
        if is_cold {
            fs::remove_dir_all(stopped.dir.path().join("checkpoint")).unwrap();
        }
        let days = number * LIFE_DAYS..(number + 1) * LIFE_DAYS;
        let segment_bytes = SEGMENT_BYTES + self.trade.reservations * SEGMENT_BYTES_AN_ORDER;
        let mut bed = stopped.again(segment_bytes, time_of(days.start * SLICES));
        let heard = &bed.world.heard;
        assert_eq!((heard.snapshots.lock().len(), heard.wiped.lock().len()), (usize::from(is_cold), 0));
        assert!(heard.snapshots.lock().iter().all(Result::is_ok));
        let read = heard.read.lock()[0];
        let read_bytes = last_bytes(&bed.world.log, read);
        self.starts.note([("events read by a start", read), ("bytes of these events", read_bytes)]);
        let barrier = bed.handle.read(|state| bed.owner.barrier(state, number, bed.world.clock.wall()));
        conclude_turn(&bed.owner, &bed.handle, &mut bed.owned, barrier);
        days.for_each(|day| self.day(&mut bed, day));
        self.end(bed)
    }

    fn day(&mut self, bed: &mut Bed, day: u64) {
        let Bed { world, replica, handle, owner, owned, snapshots, archive, told, .. } = bed;
        let (world, replica, handle, owner, told) = (&*world, &*replica, &**handle, &*owner, &*told);
        let log_id = world.log.manifest().log_id;
        let objects = Arc::new(bucket(snapshots.path()));
        let reader = Reader::new(objects.clone(), log_id);
        let shelf = Shelf::new(Arc::new(bucket(archive.path())), log_id);
        let archived = bytes_in(archive.path());
        let mut writer = Writer::new((log_id, replica, &world.store), &*objects, (&world.clock, told), RULE);
        let mut keeper = Keeper::new((&world.log, replica), &reader, Some(shelf), (&world.clock, told), KEEP_MS);
        let mut work = Work::default();
        for slice in day * SLICES..(day + 1) * SLICES {
            world.clock.set(time_of(slice));
            let asked = self.trade.asked(slice, &mut self.asked);
            for turn in asked.chunks(TURN_MAX) {
                turn.iter().for_each(|command| append(&*world.log, 0, &wire::command::encode(command)));
                work.turns(world, (owner, handle), owned);
            }
            work.turns(world, (owner, handle), owned);
            self.standby.follow(&*world.log);
            self.unwritten.follow(&*world.log);
            self.remember(slice, handle);
            // The last slice of a life is not followed by a checkpoint: a start reads what came after the one before.
            if (slice + 1) % CHECKPOINT_SLICES == 0 && (slice + 1) % (LIFE_DAYS * SLICES) > 0 {
                work.checkpoint(world, handle);
                self.standby.checkpoint(log_id);
            }
            writer.round(&|| false);
            leave(&mut keeper, told);
        }
        assert_eq!((&*told.failed.lock(), &*told.ahead.lock(), &*told.uncovered.lock()), (&vec![], &vec![], &vec![]));
        let (pools, live, entries, counted) =
            handle.read(|state| (state.pools().count(), state.live_count(), state.entry_count(), state.memory_bytes()));
        self.days.note([
            (STANDBY_BYTES, self.standby.kept()),
            (UNWRITTEN_BYTES, self.unwritten.kept()),
            ("bytes of the log", bytes_in(&world.path().join("log"))),
            ("bytes of snapshots", bytes_in(snapshots.path())),
            ("bytes archived in the day", bytes_in(archive.path()) - archived),
            ("pools", pools as u64),
            ("live reservations", live as u64),
            ("entries of memory", entries as u64),
            ("counted bytes of memory", counted),
        ]);
        work.note(&mut self.days);
    }

    /// An owner that was restarted, and a standby that never was, have the same state.
    fn remember(&mut self, slice: u64, handle: &PartitionHandle) {
        if let Some(at) = self.moments.remove(&slice) {
            let (next_seq, digest) = handle.read(|state| (state.position().next_seq, state.digest().to_string()));
            assert_eq!(self.standby.state.digest().to_string(), digest);
            self.recorded.push(Recorded { at, next_seq, digest });
        }
    }

    /// Closes everything, and notes what it had taken.
    fn end(&mut self, bed: Bed) -> Stopped {
        let state = bed.handle.write(|state| mem::replace(state, PartitionState::new(0)));
        let (mut rows, mut row_bytes) = (0, 0);
        let mut count = |key: &[u8], value: &[u8]| {
            rows += 1;
            row_bytes += (key.len() + value.len()) as u64;
        };
        bed.world.store.load(0, &mut count).unwrap();
        let segments = segments(bed.world.path()).len() as u64;
        let log = Arc::clone(&bed.world.log);
        let stopped = Stopped::of(bed);
        self.starts.note([
            (STATE_BYTES, freed(state)),
            ("bytes of the open log", freed(log)),
            ("rows of the checkpoint", rows),
            ("bytes of these rows", row_bytes),
            ("segments of the log", segments),
        ]);
        stopped
    }

    /// What has not stopped growing.
    fn differing(&self) -> Figures {
        self.days.differing(&[CHECKPOINT_BYTES]).and(self.starts.differing(&[]))
    }

    /// Log and archive are clean, and the past is what it was.
    fn audit(&self, stopped: &Stopped) {
        let (archive, snapshots) = (url(stopped.archive.path()), url(stopped.snapshots.path()));
        let places = ["--log-archive", &archive, "--snapshots", &snapshots];
        let events: u64 = self.days.of("events").iter().sum();
        // Each life began with one that is not counted there.
        let end = events + DAYS / LIFE_DAYS;
        let verified = json(stopped, &["verify", "--json", "--log-archive", &archive]);
        assert_eq!((&verified["clean"], &verified["events"]), (&true.into(), &end.into()), "{verified}");
        assert_eq!(self.recorded.len(), MOMENTS);
        for Recorded { at, next_seq, digest } in &self.recorded {
            let shown = Shown(*at).to_string();
            let state = json(stopped, &[&["state", "--json", "--at", &shown], &places[..]].concat());
            assert_eq!(
                (&state["next_seq"], &state["digest"]),
                (&(*next_seq).into(), &(&**digest).into()),
                "at {shown}"
            );
        }
        let now = json(stopped, &[&["state", "--json"], &places[..]].concat());
        assert_eq!(now["next_seq"], end);
    }
}

impl Work {
    /// Decides what waits and what is due, turn by turn.
    fn turns(&mut self, world: &World, (owner, handle): (&Partition, &PartitionHandle), owned: &mut Owned) {
        let mut is_over = false;
        while !is_over {
            let (decided, counted) = counted(|| {
                let mut batch = Vec::new();
                owned.poll(&mut batch, Duration::ZERO).unwrap();
                let staged = handle.read(|state| owner.decide(state, batch, world.clock.wall()));
                is_over = staged.is_empty();
                let turn = staged.turn();
                let of_commands = turn.inputs.iter().map(|input| input.bytes.len() as u64).sum::<u64>();
                let bytes = of_commands + turn.events.iter().map(|event| event.bytes.len() as u64).sum::<u64>();
                let decided = (turn.events.len() as u64, turn.inputs.len() as u64, bytes);
                drop(turn);
                conclude_turn(owner, handle, owned, staged);
                decided
            });
            let (events, inputs, bytes) = decided;
            self.turns += u64::from(!is_over);
            self.events += events;
            self.timers += events - inputs;
            self.bytes += bytes;
            self.bytes_max = self.bytes_max.max(bytes);
            self.allocations += counted.allocations;
            self.allocations_max = self.allocations_max.max(counted.allocations);
        }
    }

    fn checkpoint(&mut self, world: &World, handle: &PartitionHandle) {
        let checkpoint = handle.write(|state| state.draft_checkpoint(world.log.manifest().log_id)).encode();
        self.rows += checkpoint.rows.len() as u64;
        world.store.apply(&checkpoint).unwrap();
        self.checkpoint_max = self.checkpoint_max.max(bytes_in(&world.path().join("checkpoint")));
    }

    fn note(&self, days: &mut Figures) {
        days.note([
            ("turns", self.turns),
            ("events", self.events),
            ("events of timers", self.timers),
            ("bytes written by turns", self.bytes),
            ("most bytes written by a turn", self.bytes_max),
            ("allocations of turns", self.allocations),
            ("most allocations of a turn", self.allocations_max),
            ("rows of checkpoints", self.rows),
            (CHECKPOINT_BYTES, self.checkpoint_max),
        ]);
    }
}

/// The bytes of the last events of a log.
fn last_bytes(log: &Embedded, events: u64) -> u64 {
    let end = log.end(0).unwrap();
    let (mut next, mut bytes) = (end - events, 0);
    while next < end {
        let read = log.read(0, next, 1 << 20).unwrap();
        next += read.len() as u64;
        bytes += read.iter().map(|event| event.bytes.len() as u64).sum::<u64>();
    }
    bytes
}

/// Lets everything leave whose time has come.
fn leave(keeper: &mut Keeper<'_>, told: &Told) {
    loop {
        let before = told.left.lock().len();
        keeper.round(&|| false);
        if told.left.lock().len() == before {
            return;
        }
    }
}

/// What a command prints of the one partition. It may take longer than other tests wait.
fn json(stopped: &Stopped, args: &[&str]) -> Value {
    let ended = headroom([]).args(args).arg("--data-dir").arg(stopped.dir.path()).output().unwrap();
    let (out, err) = (String::from_utf8(ended.stdout).unwrap(), String::from_utf8_lossy(&ended.stderr));
    assert_eq!(ended.status.code(), Some(0), "{args:?}: {out}{err}");
    serde_json::from_str(out.trim()).unwrap()
}
