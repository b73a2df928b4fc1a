//! What every log owes its users: one list of cases, run over each. The duties are in the doc comments of
//! [`headroom::log`]; what a log owes beyond them (files, brokers) is tested elsewhere.
//!
//! An event of these tests is a sign, the next input offset and a text, so that folding it needs no state.

use crate::turns::{self, stored};
use crate::wait::until;
use headroom::domain::{Breach, CommandId, Law};
use headroom::limits::{COMMAND_BYTES_MAX, QUEUED_ABANDONS_RESERVE, TURN_BYTES_MAX, TURN_RECORDS_MAX};
use headroom::log::{
    AppendError, ClaimError, CommandSink, CommitOutcome, CommittedTail, NewCommand, OwnedPartition, PartitionLog,
    Polled, StoredCommand, StoredEvent, Turn,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// Longer than anything here takes: a wait that ends by it is a failure.
const LONG: Duration = Duration::from_secs(30);

/// A log to be held to the contract.
pub trait Harness: Sized + Sync {
    /// What partitions are claimed from; its owners may move to other threads.
    type Log: PartitionLog<Owned: Send>;
    /// Whether it may take so long to answer that nobody knows what came of a commit.
    const MAY_BE_SLOW: bool;

    /// An empty log.
    fn fresh(partitions: u32) -> Self;
    /// The same log after the process ended and started again.
    fn reopened(self) -> Self;
    /// Where commands go in.
    fn sink(&self) -> Arc<dyn CommandSink>;
    /// Where partitions are taken.
    fn log(&self) -> Arc<Self::Log>;
    /// Where events come out.
    fn tail(&self) -> Arc<dyn CommittedTail>;
    /// Ends intake: owners are told that no more commands come.
    fn close(&self);
}

type OwnedOf<H> = <<H as Harness>::Log as PartitionLog>::Owned;

fn next_input_of(event: &StoredEvent) -> u64 {
    u64::from_le_bytes(event.bytes[1..9].try_into().unwrap())
}

fn event(seq: u64, next_input: u64, text: &[u8]) -> StoredEvent {
    StoredEvent { seq, bytes: [b"#", &next_input.to_le_bytes()[..], text].concat(), trace: None }
}

fn append(sink: &dyn CommandSink, partition: u32, bytes: &[u8]) -> Result<(), AppendError> {
    sink.append(NewCommand { partition, key: b"pool", bytes, cancels: None, trace: None })
}

/// An owner that decides as these tests do: one event for each input, holding the input's bytes.
struct Owner<O> {
    owned: O,
    partition: u32,
    next_seq: u64,
    next_input: u64,
    /// What the claim folded.
    folded: Vec<StoredEvent>,
}

fn claim<H: Harness>(harness: &H, partition: u32, from_seq: u64) -> Owner<OwnedOf<H>> {
    try_claim(harness, partition, from_seq).unwrap()
}

fn try_claim<H: Harness>(harness: &H, partition: u32, from_seq: u64) -> Result<Owner<OwnedOf<H>>, ClaimError> {
    let mut folded = Vec::new();
    let mut next_input = 0;
    let owned = harness.log().claim(partition, from_seq, &mut |event| {
        next_input = next_input_of(&event);
        folded.push(event);
        Ok(next_input)
    })?;
    let next_seq = folded.last().map_or(from_seq, |event| event.seq + 1);
    Ok(Owner { owned, partition, next_seq, next_input, folded })
}

impl<O: OwnedPartition> Owner<O> {
    /// Polls until `count` commands are there, which no single poll exceeds.
    fn poll(&mut self, count: usize) -> Vec<StoredCommand> {
        let mut all = Vec::new();
        while all.len() < count {
            let mut batch = Vec::new();
            assert_eq!(self.owned.poll(&mut batch, LONG), Ok(Polled::Records), "after {} of {count}", all.len());
            assert!(!batch.is_empty() && batch.len() <= TURN_RECORDS_MAX);
            all.append(&mut batch);
        }
        all
    }

    fn turn(&self, inputs: Vec<StoredCommand>) -> Arc<Turn> {
        let events = inputs.iter().zip(self.next_seq..);
        let events: Vec<_> = events.map(|(input, seq)| event(seq, input.offset + 1, &input.bytes)).collect();
        Arc::new(turns::turn(inputs, &events))
    }

    fn commit(&mut self, turn: &Arc<Turn>) -> CommitOutcome {
        let outcome = self.owned.commit(Arc::clone(turn));
        if outcome == CommitOutcome::Ok {
            self.next_seq += turn.events.len() as u64;
            self.next_input += turn.inputs.len() as u64;
        }
        outcome
    }

    /// Appends, polls, decides and commits these as one turn.
    fn run(&mut self, sink: &dyn CommandSink, commands: &[&str]) -> Arc<Turn> {
        commands.iter().for_each(|command| append(sink, self.partition, command.as_bytes()).unwrap());
        let inputs = self.poll(commands.len());
        let turn = self.turn(inputs);
        assert_eq!(self.commit(&turn), CommitOutcome::Ok);
        turn
    }
}

/// A log with one partition and three turns in it, of one, three and two events.
fn three_turns<H: Harness>() -> (H, Owner<OwnedOf<H>>, Vec<StoredEvent>) {
    let harness = H::fresh(1);
    let mut owner = claim(&harness, 0, 0);
    let sink = harness.sink();
    let turns = [&["a"][..], &["b", "c", "d"], &["e", "f"]].map(|commands| owner.run(&*sink, commands));
    let events = turns.iter().flat_map(|turn| stored(turn)).collect();
    (harness, owner, events)
}

fn read_all(tail: &dyn CommittedTail, partition: u32, from_seq: u64, bytes_max: usize) -> Vec<StoredEvent> {
    let mut all = Vec::new();
    let mut from = from_seq;
    loop {
        let read = tail.read(partition, from, bytes_max).unwrap();
        let Some(last) = read.last() else { return all };
        assert!(read.iter().zip(from..).all(|(event, seq)| event.seq == seq), "a gap after {from}");
        from = last.seq + 1;
        all.extend(read);
    }
}

fn a_new_log_is_empty<H: Harness>() {
    let harness = H::fresh(3);
    assert_eq!(harness.tail().partitions(), 3);
    for partition in 0..3 {
        assert_eq!(harness.tail().end(partition), Ok(0));
        assert_eq!(harness.tail().read(partition, 0, 1), Ok(vec![]));
        let mut owner = claim(&harness, partition, 0);
        assert!(owner.folded.is_empty());
        // Whatever there had been would come before it.
        append(&*harness.sink(), partition, b"first").unwrap();
        let inputs: Vec<Vec<u8>> = owner.poll(1).into_iter().map(|input| input.bytes).collect();
        assert_eq!(inputs, [b"first"]);
    }
}

fn what_the_log_does_not_have_is_an_error<H: Harness>() {
    let (harness, owner, events) = three_turns::<H>();
    drop(owner);
    let beyond = events.len() as u64 + 1;
    assert!(harness.tail().read(0, beyond, 1).is_err());
    assert!(harness.tail().read(1, 0, 1).is_err() && harness.tail().end(1).is_err());
    assert!(matches!(harness.log().claim(0, beyond, &mut |_| Ok(0)), Err(ClaimError::Log(_))));
    assert!(matches!(harness.log().claim(1, 0, &mut |_| Ok(0)), Err(ClaimError::Log(_))));
    assert!(append(&*harness.sink(), 1, b"x").is_err());
}

fn nothing_is_visible_before_its_commit<H: Harness>() {
    let harness = H::fresh(1);
    let mut owner = claim(&harness, 0, 0);
    append(&*harness.sink(), 0, b"a").unwrap();
    let seen = |count: u64| {
        assert_eq!(harness.tail().end(0), Ok(count));
        assert_eq!(harness.tail().read(0, 0, usize::MAX).unwrap().len() as u64, count);
    };
    seen(0);
    let inputs = owner.poll(1);
    seen(0);
    let turn = owner.turn(inputs);
    assert_eq!(owner.commit(&turn), CommitOutcome::Ok);
    seen(1);
}

fn a_turn_is_seen_whole_or_not_at_all<H: Harness>() {
    const TURNS: u64 = 60;
    const EVENTS: u64 = 700;
    let harness = H::fresh(1);
    let tail = harness.tail();
    let mut owner = claim(&harness, 0, 0);
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut from = 0;
            while from < TURNS * EVENTS {
                let read = tail.read(0, from, usize::MAX).unwrap().len() as u64;
                assert_eq!(read % EVENTS, 0, "part of a turn after {from}");
                assert_eq!(tail.end(0).unwrap() % EVENTS, 0);
                from += read;
            }
        });
        for _ in 0..TURNS {
            let events: Vec<_> = (0..EVENTS).map(|i| event(owner.next_seq + i, 0, &[7; 100])).collect();
            assert_eq!(owner.commit(&Arc::new(turns::turn(Vec::new(), &events))), CommitOutcome::Ok);
        }
        reader.join().unwrap();
    });
}

fn offsets_are_dense_and_in_the_order_of_appending<H: Harness>() {
    let harness = H::fresh(1);
    let mut owner = claim(&harness, 0, 0);
    for round in 0..3u64 {
        for i in 0..10u64 {
            append(&*harness.sink(), 0, &(round * 10 + i).to_le_bytes()).unwrap();
        }
        let inputs = owner.poll(10);
        for (record, offset) in inputs.iter().zip(round * 10..) {
            assert_eq!((record.offset, record.bytes.as_slice()), (offset, &offset.to_le_bytes()[..]));
        }
        // The other rounds go without a commit: offsets go on where the last poll ended.
        if round == 0 {
            let turn = owner.turn(inputs);
            assert_eq!(owner.commit(&turn), CommitOutcome::Ok);
        }
    }
}

fn waiting_counts_what_was_not_polled<H: Harness>() {
    let harness = H::fresh(2);
    let mut owner = claim(&harness, 0, 0);
    let sink = harness.sink();
    for _ in 0..3 {
        append(&*sink, 0, b"a").unwrap();
    }
    assert_eq!((sink.waiting(0), sink.waiting(1)), (3, 0));
    owner.poll(3);
    until("nothing waits", || sink.waiting(0) == 0);
}

fn a_claim_folds_everything_from_any_position<H: Harness>() {
    let (harness, owner, events) = three_turns::<H>();
    drop(owner);
    append(&*harness.sink(), 0, b"next").unwrap();
    for from in 0..=events.len() {
        let mut owner = claim(&harness, 0, from as u64);
        assert_eq!(owner.folded, events[from..], "from {from}");
        assert_eq!(
            owner.poll(1),
            [StoredCommand { offset: events.len() as u64, skipped: 0, bytes: b"next".to_vec(), trace: None }],
            "from {from}"
        );
    }
}

fn a_fold_that_finds_a_breach_leaves_nothing_owned<H: Harness>() {
    let (harness, mut before, events) = three_turns::<H>();
    let breach = || Breach { law: Law::Chain, partition: 0, seq: 2, detail: "planted".into() };
    let mut seen = 0;
    let claimed = harness.log().claim(0, 0, &mut |event| {
        seen = event.seq;
        if event.seq == 2 { Err(breach()) } else { Ok(next_input_of(&event)) }
    });
    assert_eq!((claimed.err(), seen), (Some(ClaimError::Breach(breach())), 2));
    let turn = before.turn(vec![StoredCommand {
        offset: before.next_input,
        skipped: 0,
        bytes: b"late".to_vec(),
        trace: None,
    }]);
    assert_eq!(before.commit(&turn), CommitOutcome::Fenced);
    assert_eq!(claim(&harness, 0, 0).folded, events);
}

fn a_claim_fences_the_earlier_owner_without_a_trace<H: Harness>() {
    let (harness, mut before, mut events) = three_turns::<H>();
    append(&*harness.sink(), 0, b"g").unwrap();
    append(&*harness.sink(), 0, b"h").unwrap();
    let inputs = before.poll(2);
    let late = before.turn(inputs);
    let mut after = claim(&harness, 0, 0);
    assert_eq!(after.folded, events);
    assert_eq!(before.commit(&late), CommitOutcome::Fenced);
    assert!(before.owned.poll(&mut Vec::new(), LONG).is_err());
    assert_eq!(harness.tail().read(0, 0, usize::MAX).unwrap(), events);
    // What the earlier owner had polled is decided by the new one, once, and the earlier one's going changes nothing.
    drop(before);
    let turn = after.run(&*harness.sink(), &["i"]);
    let mut offsets: Vec<_> = turn.inputs.iter().map(|input| input.offset).collect();
    events.extend(stored(&turn));
    while events.len() < 9 {
        let inputs = after.poll(1);
        offsets.extend(inputs.iter().map(|input| input.offset));
        let turn = after.turn(inputs);
        assert_eq!(after.commit(&turn), CommitOutcome::Ok);
        events.extend(stored(&turn));
    }
    assert_eq!(offsets, [6, 7, 8]);
    let texts: Vec<_> = events.iter().map(|event| event.bytes[9..].to_vec()).collect();
    assert_eq!(texts.concat(), b"abcdefghi");
    assert_eq!(harness.tail().read(0, 0, usize::MAX).unwrap(), events);
}

fn a_waiting_owner_learns_of_its_fencing<H: Harness>() {
    let harness = H::fresh(1);
    let mut before = claim(&harness, 0, 0);
    thread::scope(|scope| {
        let waiting = scope.spawn(move || before.owned.poll(&mut Vec::new(), LONG));
        let _after = claim(&harness, 0, 0);
        assert!(waiting.join().unwrap().is_err());
    });
}

fn what_was_polled_and_not_committed_is_polled_again<H: Harness>() {
    let harness = H::fresh(1);
    let sink = harness.sink();
    let mut owner = claim(&harness, 0, 0);
    for command in ["a", "b", "c", "d"] {
        append(&*sink, 0, command.as_bytes()).unwrap();
    }
    let mut inputs = owner.poll(4);
    inputs.truncate(1);
    let turn = owner.turn(inputs);
    assert_eq!(owner.commit(&turn), CommitOutcome::Ok);
    drop(owner);
    append(&*sink, 0, b"e").unwrap();
    let again = claim(&harness, 0, 0).poll(4);
    let expected = [(1, "b"), (2, "c"), (3, "d"), (4, "e")];
    assert_eq!(
        again,
        expected.map(|(offset, text)| StoredCommand { offset, skipped: 0, bytes: text.into(), trace: None })
    );
}

fn a_turn_may_leave_inputs_for_later_and_have_none<H: Harness>() {
    let harness = H::fresh(1);
    let mut owner = claim(&harness, 0, 0);
    assert_eq!(owner.commit(&Arc::new(Turn::default())), CommitOutcome::Ok);
    assert_eq!(harness.tail().end(0), Ok(0));
    for command in ["a", "b"] {
        append(&*harness.sink(), 0, command.as_bytes()).unwrap();
    }
    let mut first = owner.poll(2);
    let second = first.split_off(1);
    let timers = turns::turn(Vec::new(), &[event(0, 0, b"timer")]);
    assert_eq!(owner.commit(&Arc::new(timers)), CommitOutcome::Ok);
    for inputs in [first, second] {
        let turn = owner.turn(inputs);
        assert_eq!(owner.commit(&turn), CommitOutcome::Ok);
    }
    let folded = claim(&harness, 0, 0).folded;
    assert_eq!(folded, [event(0, 0, b"timer"), event(1, 1, b"a"), event(2, 2, b"b")]);
}

fn a_restart_keeps_events_and_the_next_input<H: Harness>() {
    let (harness, owner, events) = three_turns::<H>();
    drop(owner);
    let harness = harness.reopened();
    assert_eq!(harness.tail().end(0), Ok(events.len() as u64));
    assert_eq!(read_all(&*harness.tail(), 0, 0, usize::MAX), events);
    // From the end, so that the log alone knows the next input.
    let mut owner = claim(&harness, 0, events.len() as u64);
    owner.next_input = events.len() as u64;
    let turn = owner.run(&*harness.sink(), &["g"]);
    assert_eq!(turn.inputs[0].offset, events.len() as u64);
    drop(owner);
    let harness = harness.reopened();
    assert_eq!(claim(&harness, 0, 0).folded, [events, stored(&turn)].concat());
}

fn readers_agree_from_any_position<H: Harness>() {
    let (harness, owner, events) = three_turns::<H>();
    drop(owner);
    let tail = harness.tail();
    thread::scope(|scope| {
        for bytes_max in [0, 1, 9, 10, 20, usize::MAX] {
            let (tail, events) = (&tail, &events);
            scope.spawn(move || {
                for from in 0..=events.len() {
                    assert_eq!(read_all(&**tail, 0, from as u64, bytes_max), events[from..], "from {from}");
                }
            });
        }
    });
}

fn a_read_stays_within_its_bytes_but_gives_one_event<H: Harness>() {
    let harness = H::fresh(1);
    let mut owner = claim(&harness, 0, 0);
    let sizes = [100, 100, 50, 300_000, 10, 10];
    let events: Vec<_> = sizes.iter().zip(0..).map(|(size, seq)| event(seq, 0, &vec![1; size - 9])).collect();
    assert_eq!(owner.commit(&Arc::new(turns::turn(Vec::new(), &events))), CommitOutcome::Ok);
    let count = |from, bytes_max| harness.tail().read(0, from, bytes_max).unwrap().len();
    assert_eq!([count(0, 0), count(0, 199), count(0, 200), count(0, 250), count(0, 300_249)], [1, 1, 2, 3, 3]);
    assert_eq!([count(0, 300_250), count(3, 10), count(4, 19), count(4, 20)], [4, 1, 1, 2]);
}

fn a_full_queue_refuses_but_keeps_places_for_what_takes_back<H: Harness>() {
    let harness = H::fresh(2);
    let sink = harness.sink();
    let fill = |cancels: bool| {
        let cancels = cancels.then_some(CommandId(1));
        let command = NewCommand { partition: 0, key: b"pool", bytes: b"c", cancels, trace: None };
        (0..).find_map(|count| sink.append(command).err().map(|error| (count, error))).unwrap()
    };
    assert!(matches!(fill(false), (1.., AppendError::Full)));
    assert_eq!(fill(true), (QUEUED_ABANDONS_RESERVE, AppendError::Full));
    assert_eq!(append(&*sink, 1, b"another partition"), Ok(()));
    let waiting = sink.waiting(0);
    let mut owner = claim(&harness, 0, 0);
    // More than one poll hands over, perhaps, while some are on their way into the log.
    let batch = owner.poll(QUEUED_ABANDONS_RESERVE);
    until("those polled do not wait", || sink.waiting(0) == waiting - batch.len());
    // The places freed are those of the reserve first.
    assert_eq!(fill(false), (batch.len() - QUEUED_ABANDONS_RESERVE, AppendError::Full));
    let turn = owner.turn(batch);
    assert_eq!(owner.commit(&turn), CommitOutcome::Ok);
    let batch = owner.poll(TURN_RECORDS_MAX);
    let turn = owner.turn(batch);
    assert_eq!(owner.commit(&turn), CommitOutcome::Ok);
    assert_eq!(append(&*sink, 0, b"c"), Ok(()));
}

fn a_closed_log_takes_nothing_and_hands_over_the_rest<H: Harness>() {
    let harness = H::fresh(1);
    let sink = harness.sink();
    let mut owner = claim(&harness, 0, 0);
    append(&*sink, 0, b"a").unwrap();
    harness.close();
    assert_eq!(append(&*sink, 0, b"b"), Err(AppendError::Closed));
    let inputs = owner.poll(1);
    assert_eq!(inputs.len(), 1);
    assert_eq!(owner.owned.poll(&mut Vec::new(), LONG), Ok(Polled::Closed));
    let turn = owner.turn(inputs);
    assert_eq!(owner.commit(&turn), CommitOutcome::Ok);
}

fn a_waiting_owner_is_woken<H: Harness>() {
    let harness = H::fresh(1);
    let mut owner = claim(&harness, 0, 0);
    thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let batch = owner.poll(2);
            let mut none = Vec::new();
            (batch.len(), owner.owned.poll(&mut none, LONG))
        });
        append(&*harness.sink(), 0, b"a").unwrap();
        append(&*harness.sink(), 0, b"b").unwrap();
        harness.close();
        assert_eq!(waiting.join().unwrap(), (2, Ok(Polled::Closed)));
    });
}

fn a_poll_stays_within_its_records_and_bytes<H: Harness>() {
    let harness = H::fresh(1);
    let sink = harness.sink();
    let mut owner = claim(&harness, 0, 0);
    for _ in 0..=TURN_RECORDS_MAX {
        append(&*sink, 0, b"c").unwrap();
    }
    let mut batch = Vec::new();
    assert_eq!(owner.owned.poll(&mut batch, LONG), Ok(Polled::Records));
    assert!(batch.len() <= TURN_RECORDS_MAX);
    let mut batch = owner.poll(TURN_RECORDS_MAX + 1 - batch.len());
    let large = vec![1; COMMAND_BYTES_MAX];
    let fit = TURN_BYTES_MAX / COMMAND_BYTES_MAX;
    for _ in 0..=fit {
        append(&*sink, 0, &large).unwrap();
    }
    batch.clear();
    assert_eq!(owner.owned.poll(&mut batch, LONG), Ok(Polled::Records));
    // A log may hand over less than would fit, never more.
    assert!(batch.len() <= fit);
    assert_eq!(owner.poll(fit + 1 - batch.len()).len(), fit + 1 - batch.len());
}

fn partitions_committing_at_once_lose_nothing<H: Harness>() {
    const PARTITIONS: u32 = 4;
    const TURNS: u64 = 50;
    let harness = H::fresh(PARTITIONS);
    let text = |partition: u32, offset: u64| format!("{partition}/{offset}");
    let reading = AtomicBool::new(true);
    thread::scope(|scope| {
        let owners: Vec<_> = (0..PARTITIONS)
            .map(|partition| {
                let harness = &harness;
                scope.spawn(move || {
                    let mut owner = claim(harness, partition, 0);
                    for offset in 0..TURNS {
                        owner.run(&*harness.sink(), &[&text(partition, offset)]);
                        assert_eq!(harness.tail().end(partition), Ok(offset + 1));
                        assert_eq!(harness.tail().read(partition, offset, 1).unwrap().len(), 1);
                    }
                })
            })
            .collect();
        let (harness, reading) = (&harness, &reading);
        scope.spawn(move || {
            while reading.load(Ordering::Relaxed) {
                (0..PARTITIONS).for_each(|partition| drop(read_all(&*harness.tail(), partition, 0, 64)));
            }
        });
        let results: Vec<_> = owners.into_iter().map(thread::ScopedJoinHandle::join).collect();
        reading.store(false, Ordering::Relaxed);
        assert!(results.iter().all(Result::is_ok));
    });
    let harness = harness.reopened();
    for partition in 0..PARTITIONS {
        let expected = (0..TURNS).map(|i| event(i, i + 1, text(partition, i).as_bytes())).collect::<Vec<_>>();
        assert_eq!(claim(&harness, partition, 0).folded, expected);
    }
}

/// Owners that take the partition from each other all the time: every command is decided once, by one of them.
fn owners_that_fight_lose_and_repeat_nothing<H: Harness>() {
    const COMMANDS: u64 = 300;
    let harness = H::fresh(1);
    (0..COMMANDS).for_each(|i| append(&*harness.sink(), 0, &i.to_le_bytes()).unwrap());
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                loop {
                    // Who is fenced while it claims has lost this round.
                    let Ok(mut owner) = try_claim(&harness, 0, 0) else { continue };
                    if owner.next_input == COMMANDS {
                        return;
                    }
                    let mut inputs = Vec::new();
                    if owner.owned.poll(&mut inputs, Duration::from_millis(200)).is_err() {
                        continue;
                    }
                    inputs.truncate(20);
                    let turn = owner.turn(inputs);
                    let outcome = owner.commit(&turn);
                    // The next claim reads what came of one that is not known.
                    let is_known = matches!(outcome, CommitOutcome::Ok | CommitOutcome::Fenced);
                    assert!(is_known || H::MAY_BE_SLOW && outcome == CommitOutcome::Unknown, "{outcome:?}");
                }
            });
        }
    });
    let texts = claim(&harness, 0, 0).folded.iter().map(|event| event.bytes[9..].to_vec()).collect::<Vec<_>>();
    assert_eq!(texts, (0..COMMANDS).map(|i| i.to_le_bytes().to_vec()).collect::<Vec<_>>());
}

/// Every case, over one log.
macro_rules! contract {
    ($harness:ty) => {
        contract! { $harness;
            a_new_log_is_empty
            what_the_log_does_not_have_is_an_error
            nothing_is_visible_before_its_commit
            a_turn_is_seen_whole_or_not_at_all
            offsets_are_dense_and_in_the_order_of_appending
            waiting_counts_what_was_not_polled
            a_claim_folds_everything_from_any_position
            a_fold_that_finds_a_breach_leaves_nothing_owned
            a_claim_fences_the_earlier_owner_without_a_trace
            a_waiting_owner_learns_of_its_fencing
            what_was_polled_and_not_committed_is_polled_again
            a_turn_may_leave_inputs_for_later_and_have_none
            a_restart_keeps_events_and_the_next_input
            readers_agree_from_any_position
            a_read_stays_within_its_bytes_but_gives_one_event
            a_full_queue_refuses_but_keeps_places_for_what_takes_back
            a_closed_log_takes_nothing_and_hands_over_the_rest
            a_waiting_owner_is_woken
            a_poll_stays_within_its_records_and_bytes
            partitions_committing_at_once_lose_nothing
            owners_that_fight_lose_and_repeat_nothing
        }
    };
    ($harness:ty; $($case:ident)*) => {
        $(#[test]
        fn $case() {
            super::$case::<$harness>();
        })*
    };
}

// Here because a macro is known below its definition only.
mod bounded;
mod brokered;
mod cluster;
mod embedded;
