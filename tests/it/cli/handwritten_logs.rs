//! Logs that a test writes event by event, without an owner: sound ones, and ones that no owner would write.

use super::{assert_says, on};
use crate::fixtures::{command, define, open_pool, orders, pool_id, reserve_as};
use crate::turns;
use headroom::domain::{
    Cause, Command, CommandBody, Digest, Entry, Event, EventBody, Micros, Pool, PoolId, ReservationId, Status, route,
};
use headroom::log::embedded::{Embedded, Options, Owned};
use headroom::log::{CommitOutcome, CommittedTail, OwnedPartition, PartitionLog, StoredCommand, StoredEvent};
use headroom::owner::recover::rebuild;
use headroom::store::Store;
use headroom::store::sled::SledStore;
use headroom::wire;
use headroom::wire::frame::mark;
use headroom::wire::schema::{EVENT, fingerprint_of};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;

const LOG_ID: u128 = 7;
/// When everything is decided.
const NOW: Micros = Micros(1);

fn the_pool() -> PoolId {
    pool_id("slot")
}

/// Its deadline has passed long ago: who reads a log does not care.
fn old_command(number: u64, body: CommandBody) -> Command {
    Command { deadline: Micros(1), ..command(number, body) }
}

/// A log of one partition being written.
pub struct Writing {
    pub events: Vec<StoredEvent>,
    pub inputs: Vec<StoredCommand>,
    prev: Digest,
    used: u64,
    /// Places that the next event says hold no command.
    skipped: u64,
}

impl Writing {
    /// A claim, and a pool for this many orders.
    pub fn new(limit: u64) -> Writing {
        let mut writing =
            Writing { events: Vec::new(), inputs: Vec::new(), prev: Digest::default(), used: 0, skipped: 0 };
        writing.add(None, EventBody::Barrier { nonce: 1 });
        let pool = Pool { id: the_pool(), spec: open_pool(orders(limit)), used: orders(0), version: 1 };
        let body = define(&pool.id, orders(limit));
        writing.add(Some(body), EventBody::PoolDefined(pool));
        writing
    }

    /// An acceptance of one order under this limit, whether it fits or not.
    pub fn accept(&mut self, limit: u64) {
        self.take_for(limit, 1, 1);
    }

    /// A hold of one order under this limit, until this time.
    pub fn hold(&mut self, limit: u64, until: Micros) {
        let entry = self.entry(limit, 1);
        let entry = Entry { status: Status::Held, hold_until: Some(until), hold_since: Some(NOW), ..entry };
        let body = reserve_as(&entry.pool, entry.reservation, 1);
        self.add(Some(body), EventBody::Accepted(entry));
    }

    /// A clock that had come to this time is set back to when everything is decided here.
    pub fn set_clock_back(&mut self, from: Micros) {
        self.add(None, EventBody::ClockSet { from, detail: "by hand".to_owned() });
    }

    /// An acceptance of so many orders, where so many were asked for.
    fn take_for(&mut self, limit: u64, taken: u64, asked: u64) {
        let entry = self.entry(limit, taken);
        let body = reserve_as(&entry.pool, entry.reservation, asked);
        self.add(Some(body), EventBody::Accepted(entry));
    }

    fn entry(&mut self, limit: u64, taken: u64) -> Entry {
        self.used += taken;
        let mut unique = [0; 11];
        unique[..8].copy_from_slice(&self.used.to_be_bytes());
        Entry {
            pool: the_pool(),
            reservation: ReservationId::new(route::pool_hash(&the_pool()), unique),
            status: Status::Confirmed,
            demand: orders(taken),
            hold_until: None,
            hold_since: None,
            order_ref: None,
            limits: orders(limit),
            used: orders(self.used),
        }
    }

    fn add(&mut self, asked: Option<CommandBody>, body: EventBody) {
        let cause = asked.map(|asked| {
            let input_offset = self.inputs.len() as u64;
            let command = old_command(input_offset, asked);
            self.inputs.push(StoredCommand {
                offset: input_offset,
                skipped: 0,
                bytes: wire::command::encode(&command),
                trace: None,
            });
            Cause { skipped: std::mem::take(&mut self.skipped), ..Cause::of(input_offset, command.stamp()) }
        });
        self.event(cause, body);
    }

    /// A command that the next event says is none.
    fn skip(&mut self) {
        let offset = self.inputs.len() as u64;
        let body = CommandBody::Release { reservation: ReservationId::new(7, [1; 11]) };
        let bytes = wire::command::encode(&old_command(offset, body));
        self.inputs.push(StoredCommand { offset, skipped: 0, bytes, trace: None });
        self.skipped += 1;
    }

    /// A command that is said to be lost, and those skipped before it too.
    fn lose(&mut self) {
        self.skip();
        let (input_offset, skipped) = (self.inputs.len() as u64 - 1, std::mem::take(&mut self.skipped) - 1);
        let cause = Cause { input_offset, skipped, command: None, unread: None };
        self.event(Some(cause), EventBody::CommandsLost { detail: "by hand".to_owned() });
    }

    fn event(&mut self, cause: Option<Cause>, body: EventBody) {
        let seq = self.events.len() as u64;
        let event = Event { partition: 0, seq, epoch: 1, prev: self.prev, decided_at: NOW, cause, body };
        let (bytes, digest) = wire::event::encode(&event);
        self.prev = digest;
        self.events.push(StoredEvent { seq, bytes, trace: None });
    }

    /// In place of the next event, bytes that are none.
    pub fn add_garbage(&mut self) {
        self.events.push(StoredEvent { seq: self.events.len() as u64, bytes: b"no event".to_vec(), trace: None });
    }

    /// An acceptance as the next version may write it: under a schema with one field more, which may be null and is not.
    pub fn accept_as_a_newer_version(&mut self, limit: u64) {
        self.accept(limit);
        let mut schema: Value = serde_json::from_str(EVENT.last().unwrap()).unwrap();
        let field = json!({"name": "of_a_newer_version", "type": ["null", "long"], "default": null});
        schema["fields"].as_array_mut().unwrap().push(field);
        let bytes = &mut self.events.last_mut().unwrap().bytes;
        mark(bytes, fingerprint_of(&schema.to_string()).unwrap());
        // The second branch of the union, and a 7.
        bytes.extend_from_slice(&[2, 14]);
    }

    pub fn write(&self, dir: &Path) {
        self.commit(dir);
    }

    /// The same in several turns, for a log that is longer than a turn may be. Each event but the first decides a command.
    pub fn write_long(&self, dir: &Path) {
        const TURN: usize = 1_000;
        let (log, mut owned) = claimed(dir);
        for (events, inputs) in self.events[1..].chunks(TURN).zip(self.inputs.chunks(TURN)) {
            let events = if events[0].seq == 1 { &self.events[..=events.len()] } else { events };
            assert_eq!(owned.commit(Arc::new(turns::turn(inputs.to_vec(), events))), CommitOutcome::Ok);
        }
        drop(log);
    }

    fn commit(&self, dir: &Path) -> Arc<Embedded> {
        let (log, mut owned) = claimed(dir);
        let turn = turns::turn(self.inputs.clone(), &self.events);
        assert_eq!(owned.commit(Arc::new(turn)), CommitOutcome::Ok);
        log
    }
}

/// A new log of one partition, and its owner.
fn claimed(dir: &Path) -> (Arc<Embedded>, Owned) {
    let options = Options { partitions: Some(1), log_id: LOG_ID, now: Micros(1) };
    let log = Embedded::open(dir, options).unwrap();
    let owned = log.claim(0, 0, &mut |_| Ok(0)).unwrap();
    (log, owned)
}

/// A sound log of five orders under a limit of five, with its checkpoint.
fn sound(dir: &Path) {
    let mut writing = Writing::new(5);
    (0..5).for_each(|_| writing.accept(5));
    let log = writing.commit(dir);
    checkpoint(dir, &log);
}

fn checkpoint(dir: &Path, log: &Embedded) {
    let mut state = rebuild(log, 0, log.end(0).unwrap(), &mut |_| {}).unwrap();
    SledStore::open(dir).apply(&state.draft_checkpoint(LOG_ID).encode()).unwrap();
}

#[test]
fn a_sound_log_is_clean_and_rebuilds_to_the_same_state() {
    let dir = tempfile::tempdir().unwrap();
    sound(dir.path());
    let verified = on(dir.path(), ["verify"]);
    assert_eq!(verified.code, 0, "{}{}", verified.out, verified.err);
    assert_says(&verified.out, &["fold, checkpoint at 7", "clean: no law broken in 7 events of 1 partition"]);
    let json: serde_json::Value = serde_json::from_str(&on(dir.path(), ["verify", "--json"]).out).unwrap();
    let partition = &json["partitions"][0];
    assert_eq!((&json["clean"], &partition["events"], &partition["live"]), (&true.into(), &7.into(), &5.into()));
    assert_says(&verified.out, &[partition["digest"].as_str().unwrap()]);
    let rebuilt = on(dir.path(), ["rebuild"]);
    assert_eq!(rebuilt.code, 0, "{}{}", rebuilt.out, rebuilt.err);
    assert_says(&rebuilt.out, &["it was at 7 and led to the same state", "reads back as the same state", "events/s"]);
    assert_says(&rebuilt.err, &["7 of 7 events"]);
}

#[test]
fn a_lost_or_unreadable_checkpoint_is_no_breach() {
    let dir = tempfile::tempdir().unwrap();
    sound(dir.path());
    let rows = dir.path().join("checkpoint/p0/rows.0");
    let mut bytes = std::fs::read(&rows).unwrap();
    bytes[40] ^= 1;
    std::fs::write(&rows, bytes).unwrap();
    let verified = on(dir.path(), ["verify"]);
    assert_eq!(verified.code, 0, "{}{}", verified.out, verified.err);
    assert_says(&verified.out, &["the checkpoint does not match the log, and the next start rebuilds it"]);
    assert!(rows.exists(), "looking removes nothing");
    assert_says(&on(dir.path(), ["rebuild"]).out, &["it did not match the log", "reads back as the same state"]);
    std::fs::remove_dir_all(dir.path().join("checkpoint")).unwrap();
    let verified = on(dir.path(), ["verify"]);
    assert_eq!(verified.code, 0);
    assert_says(&verified.out, &["no checkpoint"]);
}

#[test]
fn a_checkpoint_ahead_of_its_log_is_a_breach_that_no_rebuild_removes() {
    let (long, short) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    sound(long.path());
    Writing::new(5).write(short.path());
    std::fs::rename(long.path().join("checkpoint"), short.path().join("checkpoint")).unwrap();
    let verified = on(short.path(), ["verify"]);
    assert_eq!(verified.code, 1);
    let lost = "events 2 to 6 were seen as committed and are gone, 5 in all, decided since 1970-01-01T00:00:00.000001Z";
    assert_says(&verified.out, &["L10 broken at partition 0 seq 2: ", lost, "BROKEN: 1 breach in 2 events"]);
    let rebuilt = on(short.path(), ["rebuild"]);
    assert_eq!(rebuilt.code, 1);
    assert_says(
        &rebuilt.err,
        &["nothing was rebuilt: partition 0: ", lost, "headroom log accept-loss --log 000000000"],
    );
    let served = on(short.path(), ["serve", "--listen", "127.0.0.1:0"]);
    assert_eq!((served.code, &*served.out), (1, ""));
    assert_says(&served.err, &["/log has lost something, or may have, and was left as it is: partition 0: ", lost]);
    assert!(short.path().join("checkpoint/p0").exists(), "what shows it is left");
}

#[test]
fn an_order_too_many_is_found_where_it_was_accepted() {
    let dir = tempfile::tempdir().unwrap();
    let mut writing = Writing::new(2);
    (0..3).for_each(|_| writing.accept(2));
    writing.write(dir.path());
    let verified = on(dir.path(), ["verify"]);
    assert_eq!(verified.code, 1);
    assert_says(&verified.out, &["L1 broken at partition 0 seq 4", "BROKEN: "]);
    let json: serde_json::Value = serde_json::from_str(&on(dir.path(), ["verify", "--json"]).out).unwrap();
    assert_eq!((&json["clean"], &json["breaches"][0]["law"]), (&false.into(), &"L1".into()));
    // An owner would not fold it, either.
    assert_eq!(on(dir.path(), ["rebuild"]).code, 1);
}

#[test]
fn bytes_that_are_no_event_break_the_chain_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let mut writing = Writing::new(5);
    writing.add_garbage();
    writing.accept(5);
    writing.write(dir.path());
    let verified = on(dir.path(), ["verify"]);
    assert_eq!((verified.code, &*verified.err), (1, ""));
    assert_says(&verified.out, &["L3 broken at partition 0 seq 2: its bytes cannot be decoded as an event"]);
    let printed = on(dir.path(), ["cat"]);
    assert_eq!((printed.code, printed.out.lines().count()), (1, 3));
    assert_says(&printed.err, &["partition 0 seq 2 cannot be decoded"]);
}

#[test]
fn a_changed_byte_of_the_file_is_found() {
    // From the end: in the check of the last packed body, and within the body.
    for back in [2, 40] {
        let dir = tempfile::tempdir().unwrap();
        sound(dir.path());
        let file = dir.path().join("log/segment-00000000");
        let mut bytes = std::fs::read(&file).unwrap();
        let last = bytes.iter().rposition(|byte| *byte != 0).unwrap();
        bytes[last - back] ^= 1;
        std::fs::write(&file, bytes).unwrap();
        let verified = on(dir.path(), ["verify"]);
        assert_eq!(verified.code, 1, "{}{}", verified.out, verified.err);
        assert_says(&(verified.out + &verified.err), &["segment-00000000 is damaged and was left as it is"]);
    }
}

/// The counters agree with each other and with every later event: only the command knows better.
#[test]
fn an_acceptance_of_something_else_than_was_asked_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let mut writing = Writing::new(5);
    writing.accept(5);
    writing.take_for(5, 2, 1);
    writing.write(dir.path());
    let verified = on(dir.path(), ["verify"]);
    assert_eq!(verified.code, 1, "{}{}", verified.out, verified.err);
    assert_says(
        &verified.out,
        &["L6 broken at partition 0 seq 3: Accepted is not what was asked", "seq 3: it accepts"],
    );
}

/// A place that is said to hold no command must hold none; commands that are said to be lost are counted, and a note
/// says where they are still there.
#[test]
fn commands_that_are_skipped_or_lost_and_are_there_are_found() {
    let dir = tempfile::tempdir().unwrap();
    let mut writing = Writing::new(5);
    writing.accept(5);
    writing.skip();
    writing.accept(5);
    writing.write(dir.path());
    let verified = on(dir.path(), ["verify"]);
    assert_eq!(verified.code, 1, "{}{}", verified.out, verified.err);
    let says = "L2 broken at partition 0 seq 3: the event says that there is no command right before 3, and the log holds command 2";
    assert_says(&verified.out, &[says, "BROKEN: 1 breach in 4 events"]);

    let dir = tempfile::tempdir().unwrap();
    let mut writing = Writing::new(5);
    writing.skip();
    writing.lose();
    writing.accept(5);
    writing.lose();
    writing.write(dir.path());
    let verified = on(dir.path(), ["verify"]);
    assert_eq!(verified.code, 0, "{}{}", verified.out, verified.err);
    let notes = [
        "partition 0: seq 2 records that commands 1 to 2 are lost, and the log holds command 1",
        "partition 0: seq 4 records that commands 4 to 4 are lost, and the log holds command 4",
        "partition 0: 3 commands were gone before they were decided, as events record",
        "clean: no law broken in 5 events",
    ];
    assert_says(&verified.out, &notes);
    let verified = on(dir.path(), ["verify", "--json"]);
    assert_says(&verified.out, &[r#""commands_lost":3"#]);
}

/// The log's own commands against what its events say they answer.
#[test]
fn a_command_that_is_not_the_one_its_event_answers_is_found_there() {
    type Spoil = fn(&mut Writing, Vec<u8>);
    let other = |n: u64, body| wire::command::encode(&command(n, body));
    let release = || CommandBody::Release { reservation: ReservationId::new(7, [1; 11]) };
    let cases: [(Spoil, Vec<u8>, &str); 5] = [
        (
            |w, bytes| w.inputs[1].bytes = bytes,
            other(9, release()),
            "seq 2: the event answers command 00000000000000000000000000000001, and at offset 1 is 00000000000000000000000000000009",
        ),
        (|w, bytes| w.inputs[1].bytes = bytes, other(1, release()), "seq 2: the event says of command 1 that it is"),
        (
            |w, bytes| w.inputs[1].bytes = bytes,
            b"no command".to_vec(),
            "seq 2: the event answers command 1, which cannot be decoded",
        ),
        (
            |w, bytes| w.inputs.push(StoredCommand { offset: 3, skipped: 0, bytes, trace: None }),
            other(3, release()),
            "seq 3: the log ends here, and holds command 3, which no event answers",
        ),
        (|w, _| drop(w.inputs.pop()), Vec::new(), "seq 3: the event answers command 2, which the log does not hold"),
    ];
    for (spoil, bytes, says) in cases {
        let dir = tempfile::tempdir().unwrap();
        let mut writing = Writing::new(5);
        (0..2).for_each(|_| writing.accept(5));
        spoil(&mut writing, bytes);
        writing.write(dir.path());
        let verified = on(dir.path(), ["verify"]);
        assert_eq!(verified.code, 1, "{}{}", verified.out, verified.err);
        assert_says(&verified.out, &[&format!("L2 broken at partition 0 {says}"), "BROKEN: 1 breach in 4 events"]);
    }
}
