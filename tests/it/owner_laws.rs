//! What must hold of an owner and its state for any commands in any order: the same inputs make the same bytes, nothing
//! counts but what was committed, and a state that comes back from the log or from a checkpoint at any point answers
//! whatever comes next like the one that lived on: remembered keys, cancelled attempts and timers came back too.

use crate::machine_laws::{Timed, commands, config};
use crate::turns::stored;
use headroom::audit::PartitionAudit;
use headroom::domain::retention::Bounds;
use headroom::domain::{ChainedEvent, Command, CommandBody, CommandId, Digest, EventKind, Ledger, Micros};
use headroom::log::{CommitOutcome, StoredCommand, StoredEvent};
use headroom::owner::Partition;
use headroom::owner::partition::Staged;
use headroom::owner::recover::fold_stored;
use headroom::replica::checkpoint::Restoring;
use headroom::replica::{PartitionState, Position};
use headroom::store::{Mark, Row};
use headroom::wire;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use std::collections::BTreeMap;

const LOG_ID: u128 = 7;

/// What happens around one command.
#[derive(Clone, Copy, Debug)]
struct Around {
    /// Its bytes are damaged.
    is_garbage: bool,
    /// The turn ends after it, whatever the time of the next.
    is_cut: bool,
    /// What becomes of the turn's first commit.
    outcome: CommitOutcome,
    /// A checkpoint is written after its turn.
    is_checkpoint: bool,
    /// The owner is claimed anew after its turn.
    is_claim: bool,
}

fn around() -> impl Strategy<Value = Around> {
    use CommitOutcome::{Aborted, Fenced, Ok, Unknown};
    let rare = || prop::bool::weighted(0.05);
    let outcome = select(vec![Ok, Ok, Ok, Aborted, Fenced, Unknown]);
    (rare(), any::<bool>(), outcome, prop::bool::weighted(0.15), rare()).prop_map(
        |(is_garbage, is_cut, outcome, is_checkpoint, is_claim)| Around {
            is_garbage,
            is_cut,
            outcome,
            is_checkpoint,
            is_claim,
        },
    )
}

/// Commands, and what happens around each.
fn story() -> impl Strategy<Value = Vec<(Timed, Around)>> {
    commands().prop_flat_map(|commands| {
        let arounds = vec(around(), commands.len());
        (Just(commands), arounds).prop_map(|(commands, arounds)| commands.into_iter().zip(arounds).collect())
    })
}

/// The usual memory, or one that is soon full.
fn bounds() -> impl Strategy<Value = Bounds> {
    let few = (0..6_000u64, 0..1_000u64, 0..1_000u64, 0..4_000u64);
    let few = few.prop_map(|(memory, reserve, refusals, refused_answers)| Bounds {
        memory,
        reserve,
        refusals,
        refused_answers,
    });
    prop_oneof![Just(Bounds::default()), few]
}

/// A partition with its log and its store.
pub struct Life {
    owner: Partition,
    bounds: Bounds,
    pub state: PartitionState,
    pub log: Vec<StoredEvent>,
    inputs: u64,
    rows: BTreeMap<Vec<u8>, Vec<u8>>,
    mark: Option<Mark>,
}

/// All that is compared of two states, beside what they answer.
fn look(state: &PartitionState) -> (Position, Digest, Option<Micros>, usize, u64) {
    let used = state.memory_used(state.position().decided_at);
    let due = state.next_due(state.position().decided_at);
    (*state.position(), state.digest(), due, state.pools().count(), used)
}

impl Life {
    pub fn new(bounds: Bounds) -> Life {
        let state = PartitionState::new(0).bounded(bounds);
        let owner = Partition::claim(&state, 1);
        Life { owner, bounds, state, log: Vec::new(), inputs: 0, rows: BTreeMap::new(), mark: None }
    }

    /// Takes the partition as the next owner.
    pub fn claim(&mut self, now: Micros) {
        self.owner = Partition::claim(&self.state, 1);
        let staged = self.owner.barrier(&self.state, 9, now);
        self.settle(staged, CommitOutcome::Ok);
    }

    /// Sets the partition's clock back.
    pub fn set_clock(&mut self, from: Micros, to: Micros) {
        let staged = self.owner.set_clock(&self.state, from, to, "by hand");
        self.settle(staged, CommitOutcome::Ok);
    }

    fn settle(&mut self, staged: Staged, outcome: CommitOutcome) {
        let written = stored(&staged.turn());
        let before = look(&self.state);
        let concluded = self.owner.conclude(&mut self.state, staged, outcome).unwrap();
        if outcome == CommitOutcome::Ok {
            self.log.extend(written);
        } else {
            assert!(concluded.replies.is_empty() && look(&self.state) == before, "{outcome:?} left something");
        }
    }

    /// Decides a batch, twice, and again when its first commit comes to nothing.
    pub fn turn(&mut self, batch: &[Vec<u8>], now: Micros, outcome: CommitOutcome) -> Vec<ChainedEvent> {
        let first = self.inputs;
        let records: Vec<_> = batch
            .iter()
            .zip(first..)
            .map(|(bytes, offset)| StoredCommand { offset, skipped: 0, bytes: bytes.clone(), trace: None })
            .collect();
        let staged = self.owner.decide(&self.state, records.clone(), now);
        assert_eq!(staged, self.owner.decide(&self.state, records.clone(), now), "decided twice");
        let decided = staged.decided().to_vec();
        if outcome != CommitOutcome::Ok {
            let again = staged.clone();
            self.settle(staged, outcome);
            let staged = self.owner.decide(&self.state, records, now);
            assert_eq!(staged, again, "decided again after {outcome:?}");
            self.settle(staged, CommitOutcome::Ok);
        } else {
            self.settle(staged, outcome);
        }
        self.inputs += batch.len() as u64;
        decided
    }

    /// Decides a batch, and says of what callers are told.
    pub fn told(&mut self, batch: &[Vec<u8>], now: Micros) -> Vec<EventKind> {
        let record =
            |(bytes, offset): (&Vec<u8>, u64)| StoredCommand { offset, skipped: 0, bytes: bytes.clone(), trace: None };
        let records = batch.iter().zip(self.inputs..).map(record).collect();
        let staged = self.owner.decide(&self.state, records, now);
        let concluded = self.owner.conclude(&mut self.state, staged, CommitOutcome::Ok).unwrap();
        concluded.replies.iter().map(|reply| reply.decided.event.body.kind()).collect()
    }

    /// The keys of what its checkpoints hold.
    pub fn rows(&self) -> impl Iterator<Item = &Vec<u8>> {
        self.rows.keys()
    }

    pub fn checkpoint(&mut self) {
        let checkpoint = self.state.draft_checkpoint(LOG_ID).encode();
        for Row { key, value } in checkpoint.rows {
            match value {
                Some(value) => self.rows.insert(key, value),
                None => self.rows.remove(&key),
            };
        }
        self.mark = Some(checkpoint.mark);
    }

    /// Runs the commands; `each` sees the life after every turn.
    fn run(&mut self, story: &[(Timed, Around)], each: impl Fn(&Life, &[ChainedEvent])) {
        let mut batch = Vec::new();
        for (at, ((now, command), around)) in story.iter().enumerate() {
            batch.push(bytes(command, around.is_garbage));
            let is_over = around.is_cut || story.get(at + 1).is_none_or(|((next, _), _)| next != now);
            if is_over {
                let decided = self.turn(&batch, *now, around.outcome);
                batch.clear();
                each(self, &decided);
            }
            if is_over && around.is_checkpoint {
                self.checkpoint();
            }
            if is_over && around.is_claim {
                self.claim(*now);
            }
        }
    }

    /// The state as a process finds it that starts now: its checkpoint, if any, and the log after it.
    fn restored(&self) -> PartitionState {
        let mut state = match &self.mark {
            None => PartitionState::new(0).bounded(self.bounds),
            Some(mark) => {
                let mut restoring = Restoring::new(0, LOG_ID);
                self.rows.iter().for_each(|(key, value)| restoring.row(key, value));
                restoring.finish(mark, None).unwrap().bounded(self.bounds)
            }
        };
        fold(&mut state, &self.log);
        state
    }

    /// The state after a restart when the store has lost every row whose key begins so.
    pub fn without(&self, lost: u8) -> PartitionState {
        let mut restoring = Restoring::new(0, LOG_ID);
        let kept = self.rows.iter().filter(|(key, _)| key.first() != Some(&lost));
        kept.for_each(|(key, value)| restoring.row(key, value));
        restoring.finish(&self.mark.unwrap(), None).unwrap().bounded(self.bounds)
    }

    /// The same partition in another process: from its checkpoints, or with a store that is lost.
    pub fn restarted(&self, is_store_lost: bool) -> Life {
        let log = self.log.clone();
        let mut life = Life { log, owner: self.owner.clone(), inputs: self.inputs, ..Life::new(self.bounds) };
        if !is_store_lost {
            (life.rows, life.mark) = (self.rows.clone(), self.mark);
        }
        life.state = life.restored();
        life
    }
}

/// Folds what the state has not seen.
fn fold(state: &mut PartitionState, log: &[StoredEvent]) {
    let from = usize::try_from(state.position().next_seq).unwrap();
    for event in &log[from..] {
        fold_stored(state, event).unwrap();
    }
}

fn bytes(command: &Command, is_garbage: bool) -> Vec<u8> {
    let mut bytes = wire::command::encode(command);
    if is_garbage {
        bytes.truncate(bytes.len() / 2);
    }
    bytes
}

/// The same story, told when `life` is over.
fn later(life: &Life, story: &[(Timed, Around)]) -> Vec<(Timed, Around)> {
    let begun = story.first().map_or(Micros(0), |((now, _), _)| *now);
    let by = life.state.position().decided_at.0 - begun.0;
    let told = |((now, command), around): &(Timed, Around)| {
        // Other commands than those of the first story, which may be copied still.
        let id = CommandId(command.id.0 | 1 << 100);
        let deadline = Micros(if command.deadline < begun { 0 } else { command.deadline.0 + by });
        ((Micros(now.0 + by), Command { id, deadline, ..command.clone() }), *around)
    };
    story.iter().map(told).collect()
}

proptest! {
    #![proptest_config(config())]

    /// A state that only sees the bytes of each turn is at every turn the one that lives, and the auditor's model comes to
    /// the same, whatever is forgotten (L7).
    #[test]
    fn only_what_was_committed_counts_and_its_bytes_say_all_of_it(story in story(), bounds in bounds()) {
        let follower = std::cell::RefCell::new(PartitionState::new(0).bounded(bounds));
        let audit = PartitionAudit::bounded(0, 1, bounds);
        let audit = std::cell::RefCell::new((audit, 0));
        let mut life = Life::new(bounds);
        life.run(&story, |life, decided| {
            let mut follower = follower.borrow_mut();
            fold(&mut follower, &life.log);
            assert_eq!(look(&follower), look(&life.state));
            let (audit, seen) = &mut *audit.borrow_mut();
            for event in &life.log[*seen..] {
                audit.observe(&wire::event::decode(&event.bytes).unwrap());
            }
            *seen = life.log.len();
            assert_eq!(audit.digest(), life.state.digest(), "by the auditor's model");
            let used = life.state.memory_used(life.state.position().decided_at);
            assert_eq!(audit.memory_used(), used, "by the auditor's model");
            for id in decided.iter().filter_map(|recorded| recorded.event.body.reservation_id()) {
                assert_eq!(follower.reservation(&id), life.state.reservation(&id));
            }
        });
    }

    /// Whatever comes next is answered alike, byte for byte, by the living state, the one from the log alone and the one
    /// from checkpoints and the log's tail.
    #[test]
    fn a_restored_state_answers_like_the_one_that_lived(before in story(), after in story(), bounds in bounds()) {
        let mut living = Life::new(bounds);
        living.run(&before, |_, _| {});
        let (mut from_checkpoint, mut from_log) = (living.restarted(false), living.restarted(true));
        prop_assert_eq!(look(&from_checkpoint.state), look(&living.state));
        let after = later(&living, &after);
        for life in [&mut living, &mut from_checkpoint, &mut from_log] {
            life.run(&after, |_, _| {});
        }
        prop_assert_eq!(&from_log.log, &living.log);
        prop_assert_eq!(&from_checkpoint.log, &living.log);
        let now = living.state.position().decided_at;
        for ((_, command), _) in before.iter().chain(&after) {
            if let CommandBody::Reserve { reservation, .. } = &command.body {
                // What is over counts no more, and each state forgets it in its own time.
                let known = |life: &Life| life.state.reservation(reservation).filter(|r| r.is_known(now)).cloned();
                prop_assert_eq!(known(&from_checkpoint), known(&living));
            }
        }
        // The checkpoints of the second life, on top of those of the first, hold the same again.
        for life in [&living, &from_checkpoint, &from_log] {
            prop_assert_eq!(look(&life.restored()), look(&living.state));
        }
    }
}
