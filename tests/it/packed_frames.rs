//! What the frames of the embedded log take of the disk, and how the dictionary is made against which they are packed.
//!
//! A dictionary is trained on turns of the real owner, with the traffic of `traffic.rs`:
//!
//! ```text
//! HEADROOM_TRAIN_DICTIONARY=FILE cargo test --test it -- packed_frames::a_dictionary
//! ```
//!
//! writes one. It may take the place of the one in use at any time: a log has in itself what it is read with. The recorded log of
//! the newest form in `tests/golden/formats` has to be written anew then.

mod traffic;

use crate::bed::segments;
use crate::fixtures::NOW;
use crate::world::{World, commit_turn};
use headroom::domain::{Command, Micros};
use headroom::log::embedded::{Owned, sample};
use headroom::log::{CommandSink, CommitOutcome, NewCommand, StoredCommand};
use headroom::owner::Partition;
use headroom::replica::{PartitionHandle, PartitionState};
use headroom::trace::TraceContext;
use headroom::wire;
use std::fs;
use std::sync::Arc;
use traffic::{KNOWN, OTHERS, Style, Traffic};
use zstd::bulk::Compressor;

/// Bytes of a dictionary.
const DICTIONARY_BYTES: usize = 8 << 10;
/// So few bytes that a log makes its first own dictionary soon.
const SEGMENT_BYTES: u64 = 1 << 20;
const IN_USE: &str = "src/log/embedded/dictionary";

/// An owner over a real log, with the pools of some clients.
struct Shop {
    world: World,
    handle: Arc<PartitionHandle>,
    owned: Owned,
    owner: Partition,
    traffic: Traffic,
    now: Micros,
}

impl Shop {
    fn of(styles: &'static [Style], seed: u64) -> Shop {
        let (world, mut traffic) = (World::sealing_at(1, SEGMENT_BYTES), Traffic::of(styles, seed));
        world.clock.set(NOW);
        let (handle, owned) = world.recover(0);
        let owner = handle.read(|state| Partition::claim(state, 1));
        let pools = traffic.pools(NOW);
        let mut shop = Shop { world, handle, owned, owner, traffic, now: NOW };
        for pools in pools.chunks(100) {
            pools.iter().for_each(|asked| shop.append(asked, None));
            commit_turn(&shop.owner, &shop.handle, &mut shop.owned, NOW);
        }
        shop
    }

    fn append(&self, asked: &Command, trace: Option<&TraceContext>) {
        let bytes = wire::command::encode(asked);
        let new = NewCommand { partition: 0, key: b"", bytes: &bytes, cancels: None, trace };
        self.world.log.append(new).unwrap();
    }

    /// Commits these calls as one turn.
    fn turn(&mut self, calls: &[(Command, Option<TraceContext>)]) {
        calls.iter().for_each(|(asked, trace)| self.append(asked, trace.as_ref()));
        self.now = self.now.plus_ms(40);
        commit_turn(&self.owner, &self.handle, &mut self.owned, self.now);
    }

    /// So many turns of so many orders.
    fn orders(&mut self, turns: usize, turn: usize) {
        for _ in 0..turns {
            let calls = self.traffic.orders(turn, self.now);
            self.turn(&calls);
        }
    }

    /// Bytes of the last segment up to its last frame.
    fn written(&self) -> usize {
        let bytes = fs::read(segments(self.world.path()).pop().unwrap()).unwrap();
        bytes.iter().rposition(|byte| *byte != 0).unwrap()
    }

    /// Bytes of the disk for an order, in turns of so many.
    fn bytes_an_order(&mut self, turn: usize) -> usize {
        let (before, turns) = (self.written(), 200usize.div_ceil(turn));
        self.orders(turns, turn);
        (self.written() - before) / (turns * turn)
    }
}

/// Bodies of turns of every kind that are small enough to need a dictionary.
fn bodies(styles: &'static [Style], seed: u64, turns: usize) -> Vec<Vec<u8>> {
    let mut now = NOW.plus_ms(seed * 97 * 24 * 3_600_000);
    let (mut traffic, mut state, mut asked) = (Traffic::of(styles, seed), PartitionState::new(0), 0..);
    let owner = Partition::claim(&state, 1);
    let mut turn = |calls: Vec<(Command, Option<TraceContext>)>, now| {
        let stored = |((asked, trace), offset)| {
            let bytes = wire::command::encode(&asked);
            StoredCommand { offset, skipped: 0, bytes, trace }
        };
        let staged = owner.decide(&state, calls.into_iter().zip(&mut asked).map(stored).collect(), now);
        let turn = staged.turn();
        owner.conclude(&mut state, staged, CommitOutcome::Ok).unwrap();
        sample(&turn)
    };
    let pools = traffic.pools(now);
    pools.into_iter().for_each(|asked| drop(turn(vec![(asked, None)], now)));
    let turns = (0..turns).map(|_| {
        let count = traffic.count();
        now = now.plus_ms(traffic.pause_ms());
        turn(traffic.turn(count, now), now)
    });
    turns.filter(|body| body.len() <= 4_000).collect()
}

fn packed(bodies: &[Vec<u8>], dictionary: &[u8]) -> usize {
    let mut zstd = Compressor::with_dictionary(-1, dictionary).unwrap();
    bodies.iter().map(|body| zstd.compress(body).unwrap().len()).sum()
}

/// The clients are others than those of whom the dictionary was made.
#[test]
fn an_order_takes_a_part_of_the_disk_that_its_event_and_command_have() {
    let mut shop = Shop::of(OTHERS, 11);
    let taken = [1, 10, 100].map(|turn| (turn, shop.bytes_an_order(turn)));
    println!("bytes of an order, by turns: {taken:?}");
    for ((_, bytes), most) in taken.iter().zip([340, 190, 175]) {
        assert!(*bytes <= most, "{taken:?}");
    }
}

/// The story: a shop has names of its own, which the program does not know. Its log has seen them, and takes less from then on.
#[test]
fn an_order_takes_less_once_the_log_has_made_its_own_dictionary() {
    let mut shop = Shop::of(OTHERS, 12);
    let before = [1, 2, 10].map(|turn| shop.bytes_an_order(turn));
    while segments(shop.world.path()).len() < 2 {
        shop.orders(50, 2);
    }
    let after = [1, 2, 10].map(|turn| shop.bytes_an_order(turn));
    println!("bytes of an order in turns of 1, 2 and 10: {before:?}, then {after:?}");
    assert!(after.iter().zip(&before).all(|(after, before)| after * 100 <= before * 95), "{before:?}, {after:?}");
}

/// It is what is in use, or as good: a change of what is recorded asks for a new one.
#[test]
fn a_dictionary_is_made_of_turns_of_every_kind_and_the_one_in_use_is_as_good() {
    let samples = [1, 2, 3, 4].map(|seed| bodies(KNOWN, seed, 600)).concat();
    let made = zstd::dict::from_samples(&samples, DICTIONARY_BYTES).unwrap();
    if let Some(path) = std::env::var_os("HEADROOM_TRAIN_DICTIONARY") {
        fs::write(path, &made).unwrap();
    }
    let small = bodies(OTHERS, 8, 300);
    let in_use = fs::read(IN_USE).unwrap();
    let [plain, made, used] = [&[][..], &made, &in_use].map(|dictionary| packed(&small, dictionary));
    println!("small turns: {plain} bytes without a dictionary, {made} with a new one, {used} with the one in use");
    assert!(used * 100 <= made * 105 && used * 100 <= plain * 95, "{plain}, {made}, {used}");
}
