//! A disk without room, as the real binary meets it: a limit on the size of files stands for one. Nothing is promised
//! meanwhile, what was committed is read, and all goes on by itself when there is room.

use crate::carried_log::{EVENTS, RECORDED_PLAIN, events};
use crate::cli::assert_says;
use crate::process::{Served, agent, headroom, once_free, run};
use crate::wait::until;
use headroom::log::embedded::EmbeddedReader;
use headroom::time::Stopwatch;
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// A server whose files may grow, or may not at first.
fn command(dir: &Path, has_room: bool) -> Command {
    let mut serve = headroom(["serve", "--listen", "127.0.0.1:0", "--partitions", "2", "--data-dir"]);
    serve.arg(dir);
    limited(&serve, (!has_room).then_some(0))
}

/// The same program, whose files have at most so many blocks of 512 bytes.
fn limited(program: &Command, blocks: Option<u32>) -> Command {
    let limit = blocks.map(|blocks| format!("ulimit -S -f {blocks};")).unwrap_or_default();
    let mut command = Command::new("sh");
    let script = format!("{limit} exec \"$0\" \"$@\"");
    command.arg("-c").arg(script).arg(program.get_program()).args(program.get_args());
    for (name, _) in program.get_envs() {
        command.env_remove(name);
    }
    command
}

fn room(served: &Served, has_room: bool) {
    let ours = getrlimit(Resource::Fsize);
    let limit = if has_room { ours } else { Rlimit { current: Some(0), ..ours } };
    prlimit(Some(Pid::from_child(served.running.child())), Resource::Fsize, limit).unwrap();
}

fn reserve(served: &Served, key: &str) -> u16 {
    let post = agent().post(format!("{}/v1/reservations", served.url)).header("idempotency-key", key);
    let post = post.header("request-timeout-ms", "250").content_type("application/json");
    post.send(json!({ "pool": "van-1", "demand": { "orders": 1 } }).to_string()).unwrap().status().as_u16()
}

fn get(served: &Served, path: &str) -> (u16, Value) {
    let mut reply = agent().get(format!("{}{path}", served.url)).call().unwrap();
    let text = reply.body_mut().read_to_string().unwrap();
    (reply.status().as_u16(), serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}")))
}

fn used(served: &Served) -> Value {
    let (status, pool) = get(served, "/v1/pools/van-1");
    assert_eq!(status, 200, "what was committed is read: {pool}");
    pool["used"]["orders"].clone()
}

/// Makes a pool, and says yes once.
fn begin(served: &Served) {
    let put = agent().put(format!("{}/v1/pools/van-1", served.url)).content_type("application/json");
    assert_eq!(put.send(r#"{"limits":{"orders":1000}}"#).unwrap().status(), 201);
    assert_eq!(reserve(served, "first"), 201);
}

fn is_said(served: &Served) -> bool {
    let (status, ready) = get(served, "/readyz");
    let standings = ready["partitions"].as_object().unwrap();
    let says =
        |standing: &Value| standing["why"].as_str().unwrap().starts_with("waits for its log: an operator must act: ");
    status == 503 && standings.len() == 2 && standings.values().all(says)
}

/// The story: another program fills the disk for a minute, and a commit of the log fails. A server that took the failed
/// turn for done would say yes to orders that are nowhere; one that gave up would have to be restarted by a person at
/// night. It answers 503 or 504, shows what was committed, says why it does not decide, and decides again when there is
/// room.
#[test]
fn a_server_recovers_by_itself_when_a_full_disk_has_room_again() {
    let dir = tempfile::tempdir().unwrap();
    let served = Served::start(&mut command(dir.path(), true));
    begin(&served);
    room(&served, false);
    let refused: Vec<_> = (0..3).map(|n| reserve(&served, &format!("refused-{n}"))).collect();
    assert!(refused.iter().all(|status| matches!(status, 503 | 504)), "{refused:?}");
    until("both partitions say so", || is_said(&served));
    assert_eq!(used(&served), 1);
    assert_eq!(get(&served, "/livez").0, 200);
    room(&served, true);
    until("a yes is said again", || reserve(&served, "second") == 201);
    until("nothing is wrong", || get(&served, "/readyz").1["status"] == "ok");
    // Who was not told no for good is not told yes and no: the same key says what became of it.
    let again: Vec<_> = (0..3).map(|n| reserve(&served, &format!("refused-{n}"))).collect();
    assert_eq!((again, used(&served)), (vec![201; 3], 5.into()));
    let ended = served.running.terminate();
    assert_eq!(ended.code, 0, "{}", ended.err);
    for (level, line) in
        [("ERROR", "the log takes no turn until an operator acts"), ("INFO", "the log takes turns again")]
    {
        let lines: Vec<_> = ended.err.lines().filter(|text| text.contains(line)).collect();
        assert!(lines.len() == 1 && lines[0].contains(level), "{lines:?}");
    }
    let verified = run(headroom(["verify", "--data-dir"]).arg(dir.path()));
    assert_eq!(verified.code, 0, "{}{}", verified.out, verified.err);
}

/// The story: the process dies of the full disk, and its supervisor starts it again while the disk is still full. A
/// server that needs room before it opens its log would be down for readers as well. It serves reads from what was
/// committed, refuses commands, and takes turns as soon as there is room; `headroom verify` needs no room at all.
#[test]
fn a_server_that_starts_on_a_full_disk_answers_reads_and_decides_when_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let mut served = Served::start(&mut command(dir.path(), true));
    begin(&served);
    served.running.kill();
    let served = Served::listening(&mut command(dir.path(), false));
    until("both partitions say so", || is_said(&served));
    assert_eq!(used(&served), 1);
    assert_eq!(reserve(&served, "refused"), 503);
    room(&served, true);
    until("a yes is said again", || reserve(&served, "second") == 201);
    assert_eq!(used(&served), 2);
    let verified = || run(headroom(["verify", "--data-dir"]).arg(dir.path()));
    until("it is verified through the server", || verified().code == 0);
    // And without one: nothing is written to a log that is read.
    let mut running = served.running;
    running.kill();
    let mut verify = limited(&headroom(["verify", "--data-dir"]), Some(0));
    let verified = run(verify.arg(dir.path()));
    assert_eq!(verified.code, 0, "{}{}", verified.out, verified.err);
}

/// The story: a server is started again and again on a full disk. It could not open its checkpoints, took them for those of another
/// log, and deleted them: from then on every start read all of the log, and said something untrue.
#[test]
fn checkpoints_that_a_full_disk_keeps_from_being_opened_are_used_when_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let served = Served::start(&mut command(dir.path(), true));
    begin(&served);
    assert_eq!(served.running.terminate().code, 0);
    for _ in 0..2 {
        let served = Served::listening(&mut command(dir.path(), false));
        until("both partitions say so", || is_said(&served));
        assert_eq!(used(&served), 1);
        let told = served.running.terminate().err;
        assert_says(&told, &["the checkpoint cannot be opened: ", "File too large"]);
        assert!(!told.contains("does not match the log"), "{told}");
    }
    let served = Served::start(&mut command(dir.path(), true));
    assert_eq!(used(&served), 1);
    let ended = served.running.terminate();
    assert_eq!((ended.code, ended.err.matches("from_checkpoint=true").count()), (0, 2), "{}", ended.err);
}

/// A directory with a log of the version before.
fn of_the_version_before() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let mut recorded = fs::read(RECORDED_PLAIN).unwrap();
    recorded.resize(1 << 20, 0);
    fs::create_dir(dir.path().join("log")).unwrap();
    fs::write(dir.path().join("log/segment-00000000"), &recorded).unwrap();
    dir
}

fn serve_in(dir: &Path) -> Command {
    let mut serve = headroom(["serve", "--listen", "127.0.0.1:0", "--data-dir"]);
    serve.arg(dir);
    serve
}

/// The story: a server is updated on a disk without any room. The version before could go on, so nothing may be done to its
/// log that cannot be done as a whole.
#[test]
fn a_log_of_the_version_before_is_not_touched_where_its_level_cannot_be_raised() {
    let dir = of_the_version_before();
    let segment = dir.path().join("log/segment-00000000");
    let before = fs::read(&segment).unwrap();
    let refused = run(&mut limited(&serve_in(dir.path()), Some(0)));
    assert_eq!((refused.code, &*refused.out), (2, ""), "{}", refused.err);
    let says = ["its feature level cannot be raised: ", "feature-level: File too large", "the log was left as it is"];
    assert_says(&refused.err, &says);
    assert!(fs::read(&segment).unwrap() == before && !dir.path().join("feature-level").exists());
    assert_eq!(fs::read_dir(segment.parent().unwrap()).unwrap().count(), 1);
    if cfg!(feature = "crash-points") {
        let older = run(headroom(["verify", "--data-dir"]).arg(dir.path()).env("HEADROOM_OLDER_LEVEL", "2"));
        assert_eq!(older.code, 0, "{}{}", older.out, older.err);
    }
}

/// The story: the disk is full but for some bytes. A small turn fits into them, and the next one does not. A server that took each
/// small one for the end of the outage would tell on-call so every two seconds.
#[test]
fn a_disk_that_has_room_for_a_small_turn_alone_is_full_until_it_has_more() {
    let dir = tempfile::tempdir().unwrap();
    let served = Served::start(&mut command(dir.path(), true));
    begin(&served);
    let ours = getrlimit(Resource::Fsize);
    let bytes = fs::metadata(dir.path().join("log/segment-00000000")).unwrap().len();
    let limit = Rlimit { current: Some(bytes), ..ours };
    prlimit(Some(Pid::from_child(served.running.child())), Resource::Fsize, limit).unwrap();
    // Names that cannot be packed.
    let name = |number: u128| format!("{:032x}", (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835));
    let define = |pool: u128| {
        let areas: Vec<_> = (0..200).map(|area| name(pool * 200 + area)).collect();
        let body = json!({ "limits": { "orders": 1 }, "areas": areas }).to_string();
        let put = agent().put(format!("{}/v1/pools/large-{pool}", served.url)).content_type("application/json");
        put.send(body).unwrap().status().as_u16()
    };
    let full = (0..1_000).find(|pool| define(*pool) != 201);
    assert!(full.is_some_and(|pool| pool > 2), "{full:?} was the first that did not fit");
    until("both partitions say so", || is_said(&served));
    // It is opened again every two seconds at the least.
    let since = Stopwatch::start();
    while since.elapsed() < Duration::from_secs(6) {
        assert!(is_said(&served));
    }
    room(&served, true);
    until("a yes is said again", || reserve(&served, "second") == 201);
    let ended = served.running.terminate();
    assert_eq!(ended.code, 0, "{}", ended.err);
    for line in ["the log takes no turn", "the log takes turns again"] {
        assert_eq!(ended.err.matches(line).count(), 1, "{line}: {}", ended.err);
    }
}

/// The story: there is room for a note, and none for the first file of the new form. What was committed is read, nothing is
/// promised, and the operator reads why.
#[test]
fn a_log_of_the_version_before_is_read_until_there_is_room_for_a_file_of_the_new_form() {
    let dir = of_the_version_before();
    let (first, next) = (dir.path().join("log/segment-00000000"), dir.path().join("log/segment-00000001"));
    let served = Served::listening(&mut limited(&serve_in(dir.path()), Some(1_000)));
    let why = "waits for its log: an operator must act: ";
    let mut ready = (0, Value::Null);
    until("every partition says so", || {
        ready = get(&served, "/readyz");
        let standings = ready.1["partitions"].as_object().unwrap();
        ready.0 == 503
            && !standings.is_empty()
            && standings.values().all(|standing| standing["why"].as_str().unwrap().starts_with(why))
    });
    println!("{}", ready.1);
    let told = ready.1.to_string();
    assert!(told.contains("File too large"), "{told}");
    assert_eq!(reserve(&served, "refused"), 503);
    assert!(!next.exists());
    let pools = get(&served, "/v1/pools");
    assert!(pools.0 == 200 && !pools.1["pools"].as_array().unwrap().is_empty(), "{}", pools.1);
    room(&served, true);
    until("nothing is wrong", || get(&served, "/readyz").1["status"] == "ok");
    assert_eq!(served.running.terminate().code, 0);
    let version = |path: &Path| u32::from_le_bytes(fs::read(path).unwrap()[16..20].try_into().unwrap());
    assert_eq!((version(&first), version(&next), events(dir.path())), (2, 3, EVENTS.to_owned()));
    let verified = run(headroom(["verify", "--data-dir"]).arg(dir.path()));
    assert_eq!(verified.code, 0, "{}{}", verified.out, verified.err);
}

/// The story: an older copy of the log was put in its place because the disk was full, and it still is when an operator accepts what
/// is gone. The command says what keeps it from being recorded, and not that servers do, of which none runs.
#[test]
fn a_loss_that_a_full_disk_keeps_from_being_recorded_is_told_with_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let segment = dir.path().join("log/segment-00000000");
    let served = Served::start(&mut command(dir.path(), true));
    begin(&served);
    assert_eq!(served.running.terminate().code, 0);
    let earlier = fs::read(&segment).unwrap();
    let served = Served::start(&mut command(dir.path(), true));
    until("a yes is said", || reserve(&served, "second") == 201);
    assert_eq!(served.running.terminate().code, 0);
    fs::write(&segment, earlier).unwrap();
    let id = format!("{:032x}", once_free(|| EmbeddedReader::open(dir.path())).unwrap().manifest().log_id);
    let mut accept = headroom(["log", "accept-loss", "--because", "told by the tests", "--log", &id, "--data-dir"]);
    accept.arg(dir.path());
    let refused = run(&mut limited(&accept, Some(0)));
    assert_eq!(refused.code, 2, "{}{}", refused.out, refused.err);
    assert_says(&refused.err, &["no disk space is left to write ", "File too large"]);
    assert!(!refused.err.contains("claimed"), "{}", refused.err);
    let accepted = run(&mut accept);
    assert_eq!(accepted.code, 0, "{}{}", accepted.out, accepted.err);
}
