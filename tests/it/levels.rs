//! What an owner and a process do while older versions may serve the log, and what a later version has left behind.

use crate::carried_log::{OLD, RECORDED_PLAIN};
use crate::fixtures::{NOW, command, name, open_pool, orders, pool_id, reserve};
use crate::process::{KILLED, Served, headroom, run};
use headroom::domain::{CommandBody, Edit, EventKind, Micros, PoolChange, PoolSpec, RuleChange, Window};
use headroom::limits::RETIRE_AFTER_DEFAULT_MS;
use headroom::log::{CommitOutcome, EMBEDDED_LEVEL, FEATURE_LEVEL, FeatureLevel, StoredCommand};
use headroom::owner::Partition;
use headroom::replica::PartitionState;
use headroom::replica::state::STEADY_MS;
use headroom::wire;
use std::process::Command;

/// An owner without a log, in a log of some level.
struct Owned {
    owner: Partition,
    state: PartitionState,
    inputs: u64,
}

impl Owned {
    fn at(level: &FeatureLevel) -> Owned {
        let state = PartitionState::new(0);
        Owned { owner: Partition::claim(&state, 1).writing(level.clone()), state, inputs: 0 }
    }

    /// The kinds of a turn's events, and the versions of the schemas under which they are written.
    fn turn(&mut self, bodies: impl IntoIterator<Item = CommandBody>, now: Micros) -> Vec<(EventKind, u32)> {
        let mut records = Vec::new();
        for body in bodies {
            let asked = headroom::domain::Command { deadline: now.plus_ms(5_000), ..command(self.inputs, body) };
            let bytes = wire::command::encode(&asked);
            records.push(StoredCommand { offset: self.inputs, skipped: 0, bytes, trace: None });
            self.inputs += 1;
        }
        let staged = self.owner.decide(&self.state, records, now);
        for (decided, written) in staged.decided().iter().zip(&staged.turn().events) {
            assert_eq!(&wire::event::decode(&written.bytes).unwrap(), decided, "the log has what was decided");
        }
        let told = staged.decided().iter().map(|decided| (decided.event.body.kind(), decided.version)).collect();
        self.owner.conclude(&mut self.state, staged, CommitOutcome::Ok).unwrap();
        told
    }
}

/// A pool whose window ended so long ago that it would retire at once.
fn long_over() -> CommandBody {
    let end = Micros(NOW.0 - 2 * RETIRE_AFTER_DEFAULT_MS * 1_000);
    let window = Some(Window { start: Micros(end.0 - 3_600_000_000), end, cutoff: None });
    let spec = PoolSpec { window, ..open_pool(orders(9)) };
    CommandBody::DefinePool { pool: pool_id("over"), spec, expected_version: None }
}

#[test]
fn an_owner_writes_what_the_level_has_and_retires_nothing_before_it_is_raised() {
    let level = FeatureLevel::at(1);
    let mut owned = Owned::at(&level);
    let open = CommandBody::DefinePool { pool: pool_id("open"), spec: open_pool(orders(1)), expected_version: None };
    let asked = [long_over(), open, reserve(&pool_id("open"), "a"), reserve(&pool_id("open"), "b")];
    let kinds = [EventKind::PoolDefined, EventKind::PoolDefined, EventKind::Accepted, EventKind::Rejected];
    assert_eq!(owned.turn(asked, NOW), kinds.map(|kind| (kind, 4)));
    assert_eq!(owned.owner.next_due(&owned.state, NOW), None);
    assert_eq!(owned.turn([], NOW), []);
    level.raise(2);
    // The time begins to count with the first event of the new level; until then an event has to say what time it is.
    assert!(owned.owner.next_due(&owned.state, NOW).is_some());
    assert_eq!(owned.turn([], NOW), [(EventKind::Tick, 5)]);
    let mut told = Vec::new();
    let mut now = NOW;
    while told.last() != Some(&(EventKind::PoolRetired, 5)) {
        assert!(now < NOW.plus_ms(2 * STEADY_MS), "{told:?}");
        now = now.plus_ms(20_000);
        let tick = owned.owner.tick(&owned.state, now);
        owned.owner.conclude(&mut owned.state, tick, CommitOutcome::Ok).unwrap();
        told.extend(owned.turn([], now));
    }
    assert!(now >= NOW.plus_ms(STEADY_MS));
}

/// The command is written by a gateway that knows of the new level a little earlier than the owner does.
#[test]
fn what_only_the_new_level_can_say_is_said_in_it() {
    let mut owned = Owned::at(&FeatureLevel::at(1));
    let open = CommandBody::DefinePool { pool: pool_id("p"), spec: open_pool(orders(1)), expected_version: None };
    let retire = CommandBody::RetirePool { pool: pool_id("p"), with_reservations: false, expected_version: None };
    let told = owned.turn([open.clone(), retire, open], NOW);
    // The last one says until when the id may not be defined anew.
    assert_eq!(told, [(EventKind::PoolDefined, 4), (EventKind::PoolRetired, 5), (EventKind::Rejected, 5)]);
}

#[test]
fn a_command_is_written_under_the_schema_of_the_level_if_that_can_say_it() {
    let pool = pool_id("p");
    let rules = RuleChange { retire_after_ms: Edit::To(RETIRE_AFTER_DEFAULT_MS), ..RuleChange::default() };
    let later = CommandBody::ChangePool {
        pool: pool.clone(),
        change: PoolChange { rules, ..PoolChange::default() },
        expected_version: None,
    };
    let clear = RuleChange { retire_after_ms: Edit::Clear, ..RuleChange::default() };
    let cleared = CommandBody::ChangePool {
        pool: pool.clone(),
        change: PoolChange { rules: clear, ..PoolChange::default() },
        expected_version: None,
    };
    let retire =
        |with_reservations| CommandBody::RetirePool { pool: pool.clone(), with_reservations, expected_version: None };
    let older = [reserve(&pool, "k"), long_over()].map(|body| (body, false));
    for (body, is_newer) in
        older.into_iter().chain([later, cleared, retire(true), retire(false)].map(|body| (body, true)))
    {
        let asked = headroom::domain::Command { actor: Some(name("planner")), ..command(1, body) };
        let [newest, at_one] = [wire::command::encode(&asked), wire::command::encode_at(1, &asked)];
        assert_eq!(newest == at_one, is_newer, "{asked:?}");
        assert_eq!(wire::command::decode(&at_one).unwrap(), asked);
        assert_eq!(wire::command::encode_at(FEATURE_LEVEL, &asked), newest);
    }
}

#[test]
fn a_log_of_a_later_version_is_not_served_and_the_version_to_take_is_named() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("feature-level"), "9 4.2.0\n").unwrap();
    let ended = run(headroom(["serve", "--listen", "127.0.0.1:0", "--data-dir"]).arg(dir.path()));
    assert_ne!(ended.code, 0);
    assert!(ended.err.contains("feature level 9") && ended.err.contains("version 4.2.0"), "{}", ended.err);
    assert!(!dir.path().join("log").exists());
}

/// The same binary, which knows only what the version before did.
#[test]
fn an_older_version_refuses_a_log_that_a_later_one_has_served() {
    if !cfg!(feature = "crash-points") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let serve = || {
        let mut serve = headroom(["serve", "--listen", "127.0.0.1:0", "--data-dir"]);
        serve.arg(dir.path());
        serve
    };
    let older = |command: &mut Command| run(command.env("HEADROOM_OLDER_LEVEL", "1"));
    let server = Served::start(&mut serve());
    let level = format!("headroom_log_feature_level {EMBEDDED_LEVEL}");
    assert_eq!(crate::swap::metrics(&server.url, "headroom_log_feature_level"), [level]);
    drop(server);
    let refused = older(&mut serve());
    let version = env!("CARGO_PKG_VERSION");
    assert_ne!(refused.code, 0);
    assert!(refused.err.contains(&format!("given by version {version}, and this version knows 1")), "{}", refused.err);
    for what in [&["verify"][..], &["cat"], &["state"], &["rebuild"], &["backup", "--to", "file:///tmp"]] {
        let refused = older(headroom([what[0], "--data-dir"]).arg(dir.path()).args(&what[1..]));
        assert_eq!((refused.code, &*refused.out), (2, ""), "{what:?}: {}", refused.err);
        assert!(
            refused.err.contains(&format!("given by version {version}, and this version knows 1")),
            "{}",
            refused.err
        );
    }
}

/// The story: the first start of a new version is killed right after it has written something that the version before cannot
/// read. Whoever goes back to that version reads which one to take, and not that a file is unknown.
#[test]
fn a_first_start_that_is_killed_leaves_no_log_of_the_new_form_without_its_level() {
    if !cfg!(feature = "crash-points") {
        return;
    }
    for (point, from, has_level) in [
        ("log-made", None, true),
        ("log-sealed", Some((RECORDED_PLAIN, "log/segment-00000000")), true),
        // Until then the version before goes on with its file.
        ("carried", Some((OLD, "log.redb")), false),
        ("carried-raised", Some((OLD, "log.redb")), true),
        ("carried-renamed", Some((OLD, "log.redb")), true),
    ] {
        let dir = tempfile::tempdir().unwrap();
        if let Some((recorded, name)) = from {
            let mut bytes = std::fs::read(recorded).unwrap();
            if name.starts_with("log/") {
                bytes.resize(1 << 20, 0);
            }
            std::fs::create_dir_all(dir.path().join(name).parent().unwrap()).unwrap();
            std::fs::write(dir.path().join(name), bytes).unwrap();
        }
        let serve = || {
            let mut serve = headroom(["serve", "--listen", "127.0.0.1:0", "--data-dir"]);
            serve.arg(dir.path());
            serve
        };
        let died = run(serve().env("HEADROOM_CRASH_AT", format!("{point}:1")));
        assert_eq!(died.code, KILLED, "{point}: {}{}", died.out, died.err);
        assert_eq!(dir.path().join("feature-level").exists(), has_level, "{point}");
        if has_level {
            for refused in [&mut serve(), headroom(["verify", "--data-dir"]).arg(dir.path())] {
                let refused = run(refused.env("HEADROOM_OLDER_LEVEL", "2"));
                let says = format!("given by version {}, and this version knows 2", env!("CARGO_PKG_VERSION"));
                assert_eq!((refused.code, refused.err.contains(&says)), (2, true), "{point}: {}", refused.err);
            }
        }
        assert_eq!(Served::start(&mut serve()).running.terminate().code, 0, "{point}");
    }
}
