//! Logs that lost something: whatever way that happens, the real binary neither serves what is left nor calls it clean.
//! It names what is missing, and leaves all that shows it.

use crate::cli::{assert_says, on};
use crate::process::{Ended, Served, agent, headroom};
use crate::store::copy_tree;
use crate::wait::until;
use headroom::app;
use headroom::domain::{Digest, Micros};
use headroom::log::embedded::{Embedded, EmbeddedReader, OpenError, Options, Owned};
use headroom::log::{CommandSink, CommitOutcome, CommittedTail, NewCommand, OwnedPartition, PartitionLog};
use headroom::owner::Partition;
use headroom::replica::PartitionState;
use headroom::store::sled::SledStore;
use headroom::store::{Seen, Store};
use headroom::wire;
use proptest::prelude::*;
use proptest::sample::Index;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

/// The only segment of a log.
fn log_in(dir: &Path) -> PathBuf {
    dir.join("log/segment-00000000")
}

fn serve(dir: &Path) -> Served {
    Served::start(headroom(["serve", "--listen", "127.0.0.1:0", "--partitions", "1", "--data-dir"]).arg(dir))
}

/// How many of so many orders are told yes.
fn reserve(server: &Served, pool: &str, calls: usize) -> usize {
    let agent = agent();
    let put = agent.put(format!("{}/v1/pools/{pool}", server.url)).content_type("application/json");
    put.send(r#"{"limits":{"orders":1000}}"#).unwrap();
    let body = format!(r#"{{"pool":"{pool}","demand":{{"orders":1}}}}"#);
    let call = |_: &usize| {
        let post = agent.post(format!("{}/v1/reservations", server.url)).content_type("application/json");
        // On a busy machine a call may take longer than usual.
        post.header("Request-Timeout-Ms", "5000").send(&body).unwrap().status() == 201
    };
    (0..calls).filter(call).count()
}

/// What is in a directory, by name.
pub fn contents(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            found.extend(contents(&entry))
        } else {
            found.push((entry.clone(), fs::read(&entry).unwrap()))
        }
    }
    found.sort();
    found
}

/// Neither served nor called clean, and nothing of it is changed.
#[track_caller]
fn refused(dir: &Path, says: &[&str]) {
    // A server that looks at its checkpoints writes a little beside them.
    let kept = |dir: &Path| -> Vec<_> {
        let index = |path: &Path| path.components().any(|part| part.as_os_str() == "index");
        contents(dir).into_iter().filter(|(path, _)| !index(path)).collect()
    };
    let before = kept(dir);
    let served = on(dir, ["serve", "--listen", "127.0.0.1:0"]);
    assert_eq!((served.code, &*served.out), (1, ""), "{}", served.err);
    assert_says(&served.err, says);
    let Ended { code, out, err } = on(dir, ["verify"]);
    assert_eq!(code, 1, "{out}{err}");
    assert_says(&(out + &err), &says[..1]);
    assert!(kept(dir) == before, "what shows it is left as it was");
}

/// A directory in which a server was killed, or stopped, after 20 acceptances.
fn ended(killed: bool) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let mut server = serve(dir.path());
    assert_eq!(reserve(&server, "van-1", 20), 20);
    if killed {
        server.running.kill();
    } else {
        assert_eq!(server.running.terminate().code, 0);
    }
    dir
}

/// The story: somebody deletes the log, or mounts an empty volume in its place. A server that made a new log would
/// begin with empty pools and sell every order a second time. While a checkpoint or the witness still says what was
/// committed, the server refuses to start, names the events that are gone, and makes no other file.
#[test]
fn a_log_that_is_gone_is_refused_while_anything_has_seen_it() {
    for (killed, without) in [(true, "checkpoint"), (false, "checkpoint"), (false, "witness")] {
        let dir = ended(killed);
        fs::rename(log_in(dir.path()), dir.path().join("elsewhere")).unwrap();
        let path = dir.path().join(without);
        let _ = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
        let says = "events 0 to 21 were seen as committed and are gone, 22 in all";
        refused(dir.path(), &[says, "headroom log accept-loss --log "]);
        assert!(!log_in(dir.path()).exists(), "nor is another one made");
        fs::rename(dir.path().join("elsewhere"), log_in(dir.path())).unwrap();
        assert_eq!(on(dir.path(), ["verify"]).code, 0);
    }
}

/// The story: a backup from this morning is restored over the log of tonight. A server that served it would sell again
/// what was sold since. The witness knows how far the log was committed, so the server refuses and names the events
/// that are missing and since when.
#[test]
fn an_older_copy_of_a_log_is_refused() {
    let dir = ended(false);
    let copy = fs::read(log_in(dir.path())).unwrap();
    let mut server = serve(dir.path());
    assert_eq!(reserve(&server, "van-1", 200), 200);
    server.running.kill();
    let newer = fs::read(log_in(dir.path())).unwrap();
    fs::write(log_in(dir.path()), copy).unwrap();
    refused(dir.path(), &["events 22 to 223 were seen as committed and are gone, 202 in all, decided since "]);
    fs::write(log_in(dir.path()), newer).unwrap();
    assert_eq!(on(dir.path(), ["verify"]).code, 0);
}

/// The story: the file of another environment is copied into this data directory. Served, it would answer with pools
/// that are not these. The log's id is not the one that the directory has seen, so the server refuses it by name.
#[test]
fn another_log_in_the_place_of_the_one_that_was_seen_is_refused() {
    let (dir, other) = (ended(false), ended(false));
    fs::copy(log_in(other.path()), log_in(dir.path())).unwrap();
    let says = ["were seen as committed, and this is log ", "bring back that log, or name another data_dir"];
    refused(dir.path(), &says);
}

/// The story: after a kill, a byte of the last commit is damaged on the disk. The file then opens with what it held one
/// commit before, and looks sound: an order that was answered yes would be gone without a word. The witness holds the
/// last commit too, so the shorter log is refused.
#[test]
fn a_changed_byte_that_takes_the_last_commit_is_noticed() {
    let dir = ended(true);
    let bytes = fs::read(log_in(dir.path())).unwrap();
    let end = |dir: &Path| EmbeddedReader::open(dir).map(|log| log.end(0).unwrap());
    let whole = end(dir.path()).unwrap();
    let written = (0..bytes.len()).rev().filter(|at| bytes[*at] != 0);
    let mut shorter = 0;
    for at in written.take(3_000).step_by(53) {
        let copy = tempfile::tempdir().unwrap();
        copy_tree(dir.path(), copy.path());
        let mut changed = bytes.clone();
        changed[at] ^= 0x10;
        fs::write(log_in(copy.path()), changed).unwrap();
        // What the file itself notices is another affair.
        if end(copy.path()).is_ok_and(|end| end < whole) {
            shorter += 1;
            if shorter <= 2 {
                refused(copy.path(), &["were seen as committed and are gone, 1 in all, decided since "]);
            }
        }
    }
    assert!(shorter > 2, "only {shorter} of the changes take the last commit");
}

/// The story: somebody deletes or replaces the log while the server runs. The open file still takes commits, and all
/// of them vanish when the process ends. The server notices that the path leads to another file, says yes no more, and
/// tells where the open file can still be rescued.
#[test]
fn a_server_whose_file_is_taken_away_says_yes_no_more() {
    for is_idle in [false, true] {
        let dir = ended(false);
        let copy = dir.path().join("copy");
        fs::copy(log_in(dir.path()), &copy).unwrap();
        let mut server = serve(dir.path());
        assert_eq!(reserve(&server, "van-1", 20), 20);
        let ready = || {
            let mut reply = agent().get(format!("{}/readyz", server.url)).call().unwrap();
            (reply.status().as_u16(), reply.body_mut().read_to_string().unwrap())
        };
        if is_idle {
            fs::rename(&copy, log_in(dir.path())).unwrap();
        } else {
            fs::remove_file(log_in(dir.path())).unwrap();
            assert_eq!(reserve(&server, "van-1", 20), 0);
        }
        until("it says so", || ready().0 == 503);
        assert_says(&ready().1, &["segment-00000000 was removed or replaced under this process", "/fd"]);
        server.running.kill();
        let says = if is_idle { "events 22 to 43 were seen" } else { "events 0 to 43 were seen" };
        refused(dir.path(), &[says]);
    }
}

/// What a refusal says of the log to name.
pub fn id_in(told: &str) -> String {
    told.split("--log ").nth(1).unwrap().split_whitespace().next().unwrap().to_owned()
}

fn accept(dir: &Path, id: &str) -> Ended {
    on(dir, ["log", "accept-loss", "--log", id, "--because", "told by the tests"])
}

/// The story: the data is gone for good, no backup is newer, and business must go on. A server that could be talked
/// into forgetting by a flag would forget again the next time. A person accepts the loss once, by the log's id: the
/// acceptance is an event, the evidence is moved aside and kept, and a later loss is refused as a new one.
#[test]
fn an_accepted_loss_is_recorded_in_the_log_and_its_evidence_is_kept() {
    for is_gone in [false, true] {
        let dir = ended(false);
        let older = fs::read(log_in(dir.path())).unwrap();
        let mut server = serve(dir.path());
        assert_eq!(reserve(&server, "van-1", 20), 20);
        server.running.kill();
        if is_gone { fs::remove_file(log_in(dir.path())) } else { fs::write(log_in(dir.path()), &older) }.unwrap();
        let told = on(dir.path(), ["serve", "--listen", "127.0.0.1:0"]).err;
        let witness = fs::read(dir.path().join("witness")).unwrap();
        let other = accept(dir.path(), &"7".repeat(32));
        assert_eq!(other.code, 2, "{}", other.out);
        assert_says(&other.err, &["--log names 77777777777777777777777777777777"]);
        let accepted = accept(dir.path(), &id_in(&told));
        assert_eq!(accepted.code, 0, "{}{}", accepted.out, accepted.err);
        let lost = if is_gone { "events 0 to 43 were seen" } else { "events 22 to 43 were seen" };
        assert_says(&accepted.out, &["partition 0: ", lost, "recorded in the log as accepted", "lost-1"]);
        assert_eq!(fs::read(dir.path().join("lost-1/witness")).unwrap(), witness);
        assert!(dir.path().join("lost-1/checkpoint/p0").exists());
        let again = accept(dir.path(), &id_in(&told));
        assert_eq!((again.code, &*again.out), (0, "the log holds every event that was seen; nothing was changed\n"));
        let copy = fs::read(log_in(dir.path())).unwrap();
        // What has seen it may come back, with a backup or because the machine stopped: the event answers it.
        copy_tree(&dir.path().join("lost-1"), dir.path());
        let mut server = serve(dir.path());
        assert_eq!(reserve(&server, "van-1", 5), 5);
        server.running.kill();
        let verified = on(dir.path(), ["verify"]);
        assert_eq!(verified.code, 0, "{}{}", verified.out, verified.err);
        let said = if is_gone { "events 0 to before 44 are lost" } else { "events 22 to before 44 are lost" };
        assert_says(&verified.out, &[said, "told by the tests: events ", "clean: no law broken"]);
        let now = fs::read(log_in(dir.path())).unwrap();
        for back in [&copy, &older] {
            fs::write(log_in(dir.path()), back).unwrap();
            refused(dir.path(), &["seen as committed"]);
        }
        fs::write(log_in(dir.path()), now).unwrap();
        assert_eq!(serve(dir.path()).running.terminate().code, 0);
    }
}

/// The story: the note is cut off, and the log beside it is whole. Told that events are lost and to bring back the log that has them,
/// somebody looks for a log that does not exist, and accepts for good that orders are gone which are all there.
#[test]
fn a_note_that_cannot_be_read_is_not_told_as_events_that_are_gone() {
    let dir = ended(false);
    let witness = dir.path().join("witness");
    let whole = fs::read(&witness).unwrap();
    fs::write(&witness, &whole[..100]).unwrap();
    let advice =
        "nobody can tell whether events are gone: bring the file back from a copy, or accept that for good with ";
    refused(dir.path(), &["witness is shorter than it should be", advice]);
    let told = on(dir.path(), ["serve", "--listen", "127.0.0.1:0"]).err;
    assert!(!told.contains("bring back the log"), "{told}");
    fs::write(&witness, whole).unwrap();
    assert_eq!(on(dir.path(), ["verify"]).code, 0);
    fs::write(&witness, &fs::read(&witness).unwrap()[..100]).unwrap();
    let accepted = accept(dir.path(), &id_in(&told));
    assert_eq!(accepted.code, 0, "{}{}", accepted.out, accepted.err);
    let verified = on(dir.path(), ["verify"]);
    assert_eq!(verified.code, 0, "{}{}", verified.out, verified.err);
    assert_says(
        &verified.out,
        &["records that events may be lost: told by the tests: the note of what was seen", "clean"],
    );
}

/// The story: root copied the directory, and the server's user may not open the note, which is sound. The server told to accept a
/// loss, and whoever did had a log that says for good that events may be lost, and the note was gone. Here a directory is in its
/// place: a test that runs as root may open every file.
#[test]
fn a_note_that_the_system_does_not_give_is_no_loss_and_none_can_be_accepted() {
    for is_gone in [false, true] {
        let dir = ended(false);
        let id = {
            let reader = EmbeddedReader::open(dir.path()).unwrap();
            format!("{:032x}", reader.manifest().log_id)
        };
        let (witness, aside) = (dir.path().join("witness"), dir.path().join("elsewhere"));
        fs::rename(&witness, &aside).unwrap();
        fs::create_dir(&witness).unwrap();
        let log = dir.path().join("log");
        if is_gone {
            fs::rename(&log, dir.path().join("log-elsewhere")).unwrap();
        }
        let says = format!("the witness {} cannot be read: Is a directory", witness.display());
        let refused = [on(dir.path(), ["serve", "--listen", "127.0.0.1:0"]), on(dir.path(), ["verify"])];
        for Ended { code, out, err } in refused.into_iter().chain([accept(dir.path(), &id)]) {
            assert_eq!(code, 2, "{out}{err}");
            assert_says(&err, &[&says]);
            assert!(!(out + &err).contains("lost something"), "{err}");
            assert!(!err.contains("accept that") && !err.contains("accept the loss"), "{err}");
        }
        assert!(witness.is_dir() && !dir.path().join("lost-1").exists(), "nothing is moved away");
        assert_eq!(log.exists(), !is_gone, "nor is another log made");
        if is_gone {
            fs::rename(dir.path().join("log-elsewhere"), &log).unwrap();
        }
        fs::remove_dir(&witness).unwrap();
        fs::rename(&aside, &witness).unwrap();
        assert_eq!(accept(dir.path(), &id).out, "the log holds every event that was seen; nothing was changed\n");
        assert_eq!(on(dir.path(), ["verify"]).code, 0);
    }
}

const LOG_ID: u128 = 7;
const PARTITIONS: u32 = 2;

/// A log in a test's hand, noted like a server's.
struct Noted {
    dir: TempDir,
    store: SledStore,
    log: Arc<Embedded>,
    owners: Vec<(Partition, PartitionState, Owned)>,
    /// What was committed and noted, of each partition.
    committed: Vec<Vec<Digest>>,
}

/// What a kill leaves, and what was told by then.
struct Left {
    dir: TempDir,
    committed: Vec<Vec<Digest>>,
}

fn open(dir: &Path) -> Result<Arc<Embedded>, OpenError> {
    let options = Options { partitions: Some(PARTITIONS), log_id: LOG_ID, now: Micros(0) };
    crate::process::once_free(|| app::open(dir, options, &SledStore::open(dir), &Default::default()))
}

impl Noted {
    fn new() -> Noted {
        let dir = tempfile::tempdir().unwrap();
        let (log, store) = (open(dir.path()).unwrap(), SledStore::open(dir.path()));
        store.witness().begin(LOG_ID, PARTITIONS).unwrap();
        let owners = (0..PARTITIONS).map(|partition| {
            let state = PartitionState::new(partition);
            (Partition::claim(&state, PARTITIONS), state, log.claim(partition, 0, &mut |_| unreachable!()).unwrap())
        });
        let (owners, committed) = (owners.collect(), vec![Vec::new(); PARTITIONS as usize]);
        Noted { dir, store, log, owners, committed }
    }

    /// A turn of so many commands that nobody can read.
    fn turn(&mut self, partition: u32, commands: u8) {
        for _ in 0..=commands {
            let bytes = vec![7; 40 + usize::from(commands)];
            self.log.append(NewCommand { partition, key: b"", bytes: &bytes, cancels: None, trace: None }).unwrap();
        }
        let (owner, state, owned) = &mut self.owners[partition as usize];
        let mut batch = Vec::new();
        owned.poll(&mut batch, Duration::ZERO).unwrap();
        let staged = owner.decide(state, batch, Micros(1));
        let decided = staged.decided().to_vec();
        assert_eq!(owned.commit(staged.turn()), CommitOutcome::Ok);
        owner.conclude(state, staged, CommitOutcome::Ok).unwrap();
        self.store.note(partition, &Seen::of(LOG_ID, decided.last().unwrap()));
        self.committed[partition as usize].extend(decided.iter().map(|recorded| recorded.digest));
    }

    fn checkpoint(&mut self, partition: u32) {
        let (_, state, _) = &mut self.owners[partition as usize];
        self.store.apply(&state.draft_checkpoint(LOG_ID).encode()).unwrap();
    }

    fn left(&self) -> Left {
        let dir = tempfile::tempdir().unwrap();
        copy_tree(self.dir.path(), dir.path());
        Left { dir, committed: self.committed.clone() }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Turn(u32, u8),
    Checkpoint(u32),
    /// A copy of the file is made, which may come back.
    Copy,
}

#[derive(Clone, Debug)]
enum Harm {
    Flip(Index, u8),
    Zero(Index, u16),
    Cut(Index),
    Older(Index),
    Gone,
    /// The file is as the kill left it, and a file beside it is not there.
    Without(&'static str),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0..PARTITIONS, 0..30u8).prop_map(|(partition, commands)| Step::Turn(partition, commands)),
        1 => (0..PARTITIONS).prop_map(Step::Checkpoint),
        1 => Just(Step::Copy),
    ];
    prop::collection::vec(step, 1..25)
}

fn harms() -> impl Strategy<Value = Vec<Harm>> {
    let harm = prop_oneof![
        8 => (any::<Index>(), 0..8u8).prop_map(|(at, bit)| Harm::Flip(at, bit)),
        2 => (any::<Index>(), 1..5_000u16).prop_map(|(at, bytes)| Harm::Zero(at, bytes)),
        2 => any::<Index>().prop_map(Harm::Cut),
        3 => any::<Index>().prop_map(Harm::Older),
        1 => Just(Harm::Gone),
        1 => prop_oneof![Just("witness"), Just("checkpoint")].prop_map(Harm::Without),
    ];
    prop::collection::vec(harm, 1..3)
}

fn harm(dir: &Path, copies: &[Vec<u8>], harm: &Harm) {
    let Ok(mut bytes) = fs::read(log_in(dir)) else { return };
    let written = bytes.iter().rposition(|byte| *byte != 0).map_or(1, |last| last + 1);
    match harm {
        Harm::Flip(at, bit) => bytes[at.index(written)] ^= 1 << bit,
        Harm::Zero(at, length) => bytes.iter_mut().skip(at.index(written)).take((*length).into()).for_each(|b| *b = 0),
        Harm::Cut(at) => bytes.truncate(at.index(written)),
        Harm::Older(which) if !copies.is_empty() => bytes.clone_from(which.get(copies)),
        Harm::Older(_) => {}
        Harm::Gone => return fs::remove_file(log_in(dir)).unwrap(),
        Harm::Without(name) => {
            let path = dir.join(name);
            let _ = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
        }
    }
    fs::write(log_in(dir), bytes).unwrap();
}

fn digests(log: &Embedded, partition: u32) -> Option<Vec<Digest>> {
    let mut found = Vec::new();
    while (found.len() as u64) < log.end(partition).ok()? {
        let events = log.read(partition, found.len() as u64, 1 << 16).ok()?;
        found.extend(events.iter().map(|event| wire::event::decode(&event.bytes).unwrap().digest));
    }
    Some(found)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    /// The story: a disk, a copy tool or a person harms the file of a killed server in a way that nobody thought of. What
    /// was committed would be missing, or other events would stand in its place, and the server would sell on top of it.
    /// The file is refused, or a read of it is, or it holds all that was committed. An unharmed file is served, with one of
    /// its two witnesses or none, and all of it is read.
    #[test]
    fn a_harmed_file_is_refused_or_holds_all_that_was_committed(steps in steps(), harms in harms()) {
        let (mut noted, mut copies) = (Noted::new(), Vec::new());
        for step in &steps {
            match step {
                Step::Turn(partition, commands) => noted.turn(*partition, *commands),
                Step::Checkpoint(partition) => noted.checkpoint(*partition),
                Step::Copy => copies.push(fs::read(log_in(noted.dir.path())).unwrap()),
            }
        }
        let Left { dir, committed } = noted.left();
        drop(noted);
        harms.iter().for_each(|how| harm(dir.path(), &copies, how));
        let is_whole = harms.iter().all(|harm| matches!(harm, Harm::Without(_)));
        // Without both witnesses nobody knows what a file should hold.
        let is_seen = !harms.iter().any(|harm| matches!(harm, Harm::Without("witness")));
        match open(dir.path()) {
            Err(error) => prop_assert!(!is_whole, "{error}"),
            Ok(log) if is_seen || is_whole => {
                for (partition, committed) in (0..).zip(&committed) {
                    // Only of a harmed file a read may be refused.
                    let is_right = digests(&log, partition).map_or(!is_whole, |found| found == *committed);
                    prop_assert!(is_right, "partition {partition} is another one");
                }
            }
            Ok(_) => {}
        }
    }
}
