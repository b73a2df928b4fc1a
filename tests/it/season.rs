//! Four months of a grocer in minutes: the owner, its log and checkpoints, snapshots, the bound of the log with its archive,
//! and pools that retire, all by a clock in the test's hand. Nothing grows any more after a third of it, the audit is clean,
//! and the past is what it was.

mod figures;
mod trade;

use crate::bed::{Bed, DAY_MS, KEEP, Stopped, Told, bucket, segments, url};
use crate::fixtures::append;
use crate::knob;
use crate::process::headroom;
use crate::world::{World, conclude_turn};
use figures::{Figures, allocated, allocations, bytes_in};
use headroom::archive::{Keeper, Shelf};
use headroom::config::SnapshotRule;
use headroom::domain::Micros;
use headroom::log::OwnedPartition;
use headroom::log::embedded::Owned;
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
use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::sync::Arc;
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
/// A segment is sealed with so many bytes for each order of a day: a day fills a few of them.
const SEGMENT_BYTES_AN_ORDER: u64 = 500;
/// A snapshot a day. Those of a month stay.
const RULE: SnapshotRule = SnapshotRule { events: u64::MAX, interval_ms: DAY_MS, keep: KEEP };
/// In a process with this in its environment the season is lived, and nothing else.
const ALONE: &str = "HEADROOM_SEASON_ALONE";

/// Of each day.
const OF_DAYS: &[&str] = &[
    "bytes of memory",
    "bytes of the log",
    CHECKPOINT_BYTES,
    "bytes of snapshots",
    "bytes archived in the day",
    "pools",
    "live reservations",
    "entries of memory",
    "counted bytes of memory",
    "turns",
    "events",
    "bytes written by turns",
    "most bytes written by a turn",
    "allocations of turns",
    "most allocations of a turn",
    "rows of checkpoints",
];

/// The file grows with each change, and is written anew when most of it is waste.
const CHECKPOINT_BYTES: &str = "most bytes of the checkpoint";
/// What is freed with the state of the partition.
const STATE_BYTES: &str = "bytes of the state";

/// Of each start.
const OF_STARTS: &[&str] = &[
    STATE_BYTES,
    "bytes of the whole server",
    "rows of the checkpoint",
    "bytes of these rows",
    "events read by a start",
    "segments of the log",
];

/// What a partition was at a moment.
struct Recorded {
    at: Micros,
    next_seq: u64,
    digest: String,
}

struct Season {
    trade: Trade,
    asked: u64,
    /// Bytes of memory without a server.
    idle: u64,
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
    if std::env::var_os(ALONE).is_some() {
        return Season::live();
    }
    // Only in a process of its own all that is allocated belongs to it.
    let this = "season::four_months_end_as_small_as_they_were_in_their_middle";
    let lived = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", this, "--nocapture"])
        .env(ALONE, "1")
        .output()
        .unwrap();
    let out = String::from_utf8(lived.stdout).unwrap();
    out.lines().filter(|line| line.starts_with("  ")).for_each(|line| println!("{line}"));
    assert!(lived.status.success(), "{out}{}", String::from_utf8_lossy(&lived.stderr));
}

impl Season {
    fn live() {
        let trade = Trade { pools: knob("HEADROOM_SEASON_POOLS", 5), reservations: knob("HEADROOM_SEASON_ORDERS", 50) };
        let mut random = StdRng::seed_from_u64(knob("HEADROOM_SEASON_SEED", 15));
        let slices = sample(&mut random, (DAYS * SLICES) as usize, MOMENTS).into_vec();
        let mut moment = |slice: usize| {
            let slice = slice as u64;
            (slice, time_of(slice).plus_ms(random.random_range(0..SLICE_MS)))
        };
        let mut season = Season {
            trade,
            asked: 0,
            idle: 0,
            days: Figures::with_room(OF_DAYS, DAYS as usize),
            starts: Figures::with_room(OF_STARTS, (DAYS / LIFE_DAYS) as usize),
            moments: slices.into_iter().map(&mut moment).collect(),
            recorded: Vec::with_capacity(MOMENTS),
        };
        let [dir, snapshots, archive] = [(); 3].map(|()| tempfile::tempdir().unwrap());
        let mut stopped = Stopped { dir, snapshots, archive };
        for life in 0..DAYS / LIFE_DAYS {
            stopped = season.life(stopped, life);
        }
        season.judge(&stopped);
    }

    /// A server starts, serves for ten days, and ends without a last checkpoint. Every second one starts on an empty disk but
    /// for the log.
    fn life(&mut self, stopped: Stopped, number: u64) -> Stopped {
        let is_cold = number % 2 == 1;
        if is_cold {
            fs::remove_dir_all(stopped.dir.path().join("checkpoint")).unwrap();
        }
        self.idle = allocated();
        let days = number * LIFE_DAYS..(number + 1) * LIFE_DAYS;
        let mut bed = stopped.again(self.trade.reservations * SEGMENT_BYTES_AN_ORDER, time_of(days.start * SLICES));
        let heard = &bed.world.heard;
        assert_eq!((heard.snapshots.lock().len(), heard.wiped.lock().len()), (usize::from(is_cold), 0));
        assert!(heard.snapshots.lock().iter().all(Result::is_ok));
        let read = heard.read.lock()[0];
        let barrier = bed.handle.read(|state| bed.owner.barrier(state, number, bed.world.clock.wall()));
        conclude_turn(&bed.owner, &bed.handle, &mut bed.owned, barrier);
        days.for_each(|day| self.day(&mut bed, day));
        self.end(bed, read)
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
            self.remember(slice, handle);
            // The last slice of a life is not followed by a checkpoint: a start reads what came after the one before.
            if (slice + 1) % CHECKPOINT_SLICES == 0 && (slice + 1) % (LIFE_DAYS * SLICES) > 0 {
                let checkpoint = handle.write(|state| state.draft_checkpoint(log_id)).encode();
                work.rows += checkpoint.rows.len() as u64;
                world.store.apply(&checkpoint).unwrap();
                work.checkpoint_max = work.checkpoint_max.max(bytes_in(&world.path().join("checkpoint")));
            }
            writer.round(&|| false);
            leave(&mut keeper, told);
        }
        assert_eq!((&*told.failed.lock(), &*told.ahead.lock(), &*told.uncovered.lock()), (&vec![], &vec![], &vec![]));
        let (pools, live, entries, counted) =
            handle.read(|state| (state.pools().count(), state.live_count(), state.entry_count(), state.memory_bytes()));
        self.days.note([
            ("bytes of memory", allocated() - self.idle),
            ("bytes of the log", bytes_in(&world.path().join("log"))),
            (CHECKPOINT_BYTES, work.checkpoint_max),
            ("bytes of snapshots", bytes_in(snapshots.path())),
            ("bytes archived in the day", bytes_in(archive.path()) - archived),
            ("pools", pools as u64),
            ("live reservations", live as u64),
            ("entries of memory", entries as u64),
            ("counted bytes of memory", counted),
        ]);
        self.days.note([
            ("turns", work.turns),
            ("events", work.events),
            ("bytes written by turns", work.bytes),
            ("most bytes written by a turn", work.bytes_max),
            ("allocations of turns", work.allocations),
            ("most allocations of a turn", work.allocations_max),
            ("rows of checkpoints", work.rows),
        ]);
    }

    fn remember(&mut self, slice: u64, handle: &PartitionHandle) {
        if let Some(at) = self.moments.remove(&slice) {
            let (next_seq, digest) = handle.read(|state| (state.position().next_seq, state.digest().to_string()));
            self.recorded.push(Recorded { at, next_seq, digest });
        }
    }

    /// Closes everything, and notes what it had taken.
    fn end(&mut self, bed: Bed, read: u64) -> Stopped {
        let whole = allocated();
        bed.handle.write(|state| *state = PartitionState::new(0));
        let state = whole - allocated();
        let (mut rows, mut row_bytes) = (0, 0);
        let mut count = |key: &[u8], value: &[u8]| {
            rows += 1;
            row_bytes += (key.len() + value.len()) as u64;
        };
        bed.world.store.load(0, &mut count).unwrap();
        let segments = segments(bed.world.path()).len() as u64;
        let stopped = Stopped::of(bed);
        self.starts.note([
            (STATE_BYTES, state),
            ("bytes of the whole server", whole - allocated()),
            ("rows of the checkpoint", rows),
            ("bytes of these rows", row_bytes),
            ("events read by a start", read),
            ("segments of the log", segments),
        ]);
        stopped
    }

    fn judge(&self, stopped: &Stopped) {
        let differing = [self.days.judge(&[CHECKPOINT_BYTES], &[]), self.starts.judge(&[], &[STATE_BYTES])].concat();
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
        assert!(differing.is_empty(), "{}", differing.join("\n"));
    }
}

impl Work {
    /// Decides what waits and what is due, turn by turn.
    fn turns(&mut self, world: &World, (owner, handle): (&Partition, &PartitionHandle), owned: &mut Owned) {
        loop {
            let before = allocations();
            let mut batch = Vec::new();
            owned.poll(&mut batch, Duration::ZERO).unwrap();
            let staged = handle.read(|state| owner.decide(state, batch, world.clock.wall()));
            if staged.is_empty() {
                return;
            }
            let turn = staged.turn();
            let of_commands = turn.inputs.iter().map(|input| input.bytes.len() as u64).sum::<u64>();
            let bytes = of_commands + turn.events.iter().map(|event| event.bytes.len() as u64).sum::<u64>();
            self.events += turn.events.len() as u64;
            drop(turn);
            conclude_turn(owner, handle, owned, staged);
            let allocations = allocations() - before;
            self.turns += 1;
            self.bytes += bytes;
            self.bytes_max = self.bytes_max.max(bytes);
            self.allocations += allocations;
            self.allocations_max = self.allocations_max.max(allocations);
        }
    }
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
