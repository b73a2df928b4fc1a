//! A bounded log of the real binary: killed while segments leave, read while it runs, and served only when something covers
//! what has left.

use super::{BEGIN, KEEP_DAYS, ORDERS, damage};
use crate::bed::{Bed, DAY_MS, Stopped, segments, url};
use crate::buckets;
use crate::process::{Served, agent, foreign_agent, headroom, run};
use crate::sink::files::Lake;
use crate::snapshots::served::{define, reserve};
use crate::wait::until;
use headroom::domain::Micros;
use headroom::log::CommittedTail as _;
use headroom::time::{Clock as _, Stopwatch, SystemClock};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

/// Days of the log of a shop that stands still, and their events: each day defines its pool and takes its orders, and each
/// but the first one ends those of the day before.
const DAYS: u64 = 8;
const OF_A_MONTH: u64 = DAYS * (1 + 2 * ORDERS) - ORDERS;

/// The log of a shop that stood still for a month: all its sealed segments are old.
pub fn left_for_a_month() -> Stopped {
    let begin = Micros(SystemClock::new().wall().0 - 50 * DAY_MS * 1_000);
    let stopped = Stopped::of(Bed::of_days(begin, DAYS));
    assert!(segments(stopped.dir.path()).len() > 5);
    stopped
}

pub(super) fn serve(stopped: &Stopped) -> Command {
    serve_into(stopped, &url(stopped.archive.path()))
}

pub(super) fn serve_into(stopped: &Stopped, archive: &str) -> Command {
    serve_with(stopped, &url(stopped.snapshots.path()), archive)
}

fn serve_with(stopped: &Stopped, snapshots: &str, archive: &str) -> Command {
    let mut serve = headroom(["serve", "--listen", "127.0.0.1:0", "--snapshot-interval-ms", "1000"]);
    serve.arg("--data-dir").arg(stopped.dir.path()).args(["--snapshots", snapshots]);
    serve.args(["--log-keep", "73h", "--log-archive", archive]);
    serve
}

/// A figure without labels.
pub(super) fn figure(served: &Served, name: &str) -> Option<f64> {
    let text = foreign_agent().get(format!("{}/metrics", served.url)).call().ok()?.body_mut().read_to_string().ok()?;
    text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")))?.parse().ok()
}

pub(super) fn all_have_left(stopped: &Stopped) -> bool {
    segments(stopped.dir.path()).iter().filter(|path| path.extension().is_none()).count() == 1
}

/// A server from whose log all that is old has left, and the event with which it begins now.
pub(super) fn begun_later(stopped: &Stopped) -> (Served, f64) {
    let sealed = segments(stopped.dir.path()).len() - 1;
    let served = Served::start(&mut serve(stopped));
    until("all that is old has left", || figure(&served, "headroom_log_segments_left_total") == Some(sealed as f64));
    assert!(all_have_left(stopped));
    let first = crate::snapshots::served::figure(&served, "headroom_log_first_seq").unwrap();
    assert!(first > 100.0, "{first}");
    (served, first)
}

/// Log and archive verify, and have every event from the first one on without a gap. Answers how many these are.
pub(super) fn is_whole(stopped: &Stopped, of: &str) -> u64 {
    let verified = stopped.whole("verify", &[]);
    assert_eq!(verified.code, 0, "{of}: {}{}", verified.out, verified.err);
    let printed = stopped.whole("cat", &[]);
    assert_eq!(printed.code, 0, "{of}: {}", printed.err);
    assert!(!printed.err.contains("are gone"), "{of}: {}", printed.err);
    let seq = |line: &str| serde_json::from_str::<Value>(line).unwrap()["seq"].to_string();
    let seqs: Vec<String> = printed.out.lines().map(|line| seq(line).trim_matches('"').to_owned()).collect();
    assert!(seqs.iter().zip(0_u64..).all(|(seq, at)| *seq == at.to_string()), "{of}");
    assert!(seqs.len() > 100, "{of}: {} events", seqs.len());
    seqs.len() as u64
}

/// The same, and nothing that stood in [`left_for_a_month`] is missing at the end.
fn has_all(stopped: &Stopped, of: &str) {
    let events = is_whole(stopped, of);
    assert!(events >= OF_A_MONTH, "{of}: {events} events");
}

/// The story: the machine goes down while a segment leaves. Wherever that is, the next start goes on, and log and archive have
/// every event once.
#[test]
#[cfg(feature = "crash-points")]
fn killed_while_segments_leave_log_and_archive_have_every_event() {
    for point in
        ["log-old:1", "archive-bytes:1", "archive-bytes:2", "archive-manifest:1", "log-leaving:2", "log-removed:2"]
    {
        let stopped = left_for_a_month();
        let mut running = Served::listening(serve(&stopped).env("HEADROOM_CRASH_AT", point)).running;
        running.died(point);
        has_all(&stopped, point);
        let served = Served::start(&mut serve(&stopped));
        until("all that is old has left", || all_have_left(&stopped));
        assert!(reserve_in_new_pool(&served), "{point}");
        let ended = served.running.terminate();
        assert_eq!(ended.code, 0, "{point}: {}", ended.err);
        assert!(!ended.err.contains("cannot leave the log"), "{point}: {}", ended.err);
        has_all(&stopped, point);
    }
}

pub(super) fn reserve_in_new_pool(served: &Served) -> bool {
    define(served);
    reserve(served, 1)
}

/// The story: a store takes what is asked of it and says nothing, when a server is to end. The thread that bounds the log has a
/// call there, and neither orders nor the end of the process wait for it.
#[test]
fn a_place_that_hangs_keeps_no_server_from_its_end() {
    for (is_of_snapshots, callers) in [(true, 2), (false, 1)] {
        let (stopped, silent) = (left_for_a_month(), TcpListener::bind("127.0.0.1:0").unwrap());
        let hangs = "s3://bucket/prefix";
        let mut serve = match is_of_snapshots {
            true => serve_with(&stopped, hangs, &url(stopped.archive.path())),
            false => serve_into(&stopped, hangs),
        };
        crate::buckets::at(&mut serve, &format!("http://{}", silent.local_addr().unwrap()));
        let served = Served::start(&mut serve);
        // The writer of snapshots as well, where it is their place.
        let _asked: Vec<_> = (0..callers).map(|_| silent.accept().unwrap()).collect();
        assert!(reserve_in_new_pool(&served));
        let ended = served.running.terminate();
        assert_eq!(ended.code, 0, "{is_of_snapshots}: {}", ended.err);
        assert!(!all_have_left(&stopped), "{is_of_snapshots}");
    }
}

/// The story: an operator looks at a server that has run for long. Metrics say with which event its log begins, and commands
/// read what has left it from the archive.
#[test]
fn a_running_server_tells_where_its_log_begins_and_commands_read_the_archive_beside_it() {
    let stopped = left_for_a_month();
    let (served, first) = begun_later(&stopped);
    assert!(reserve_in_new_pool(&served));
    until("nothing is overdue", || figure(&served, "headroom_log_overdue_seconds") == Some(0.0));
    assert_eq!(figure(&served, "headroom_log_leaving_failures_total"), Some(0.0));
    has_all(&stopped, "while it runs");
    let printed = stopped.bare("cat", &[]);
    assert_eq!(printed.code, 0, "{}", printed.err);
    assert!(printed.err.contains(&format!("partition 0 begins with seq {first}: ")), "{}", printed.err);
    // Who asks for what has left is wrong, and not the server.
    let gone = stopped.bare("cat", &["--from", "5"]);
    assert_eq!((gone.code, &*gone.out), (2, ""), "{}", gone.err);
    assert!(gone.err.contains(&format!("begins with seq {first}, and --from asks for seq 5")), "{}", gone.err);
    let counted = foreign_agent().get(format!("{}/metrics", served.url)).call().unwrap().body_mut().read_to_string();
    let counted = counted.unwrap();
    assert!(!counted.contains("status=\"500\"") && !counted.contains("code=\"internal\""), "{counted}");
    assert!(counted.lines().any(|line| line.contains("code=\"position_out_of_range\"")), "{counted}");
    let snapshots = url(stopped.snapshots.path());
    let verified = stopped.bare("verify", &["--snapshots", &snapshots]);
    assert_eq!(verified.code, 0, "{}{}", verified.out, verified.err);
    assert!(verified.out.contains(&format!("events before seq {first} are gone")), "{}", verified.out);
    let ended = served.running.terminate();
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert!(ended.err.contains("a segment has left the log, which begins after it"), "{}", ended.err);
}

/// The story: on call doubts the state of a server whose log has lost its first events, and has it replaced. The fresh state
/// begins with the oldest snapshot that covers what has left. Without one nothing is replaced, and the server goes on.
#[test]
fn a_swap_of_a_bounded_log_begins_with_a_snapshot() {
    let stopped = left_for_a_month();
    let (served, first) = begun_later(&stopped);
    assert!(reserve_in_new_pool(&served));
    let swap = |args: &[&str]| stopped.bare("rebuild", &[&["--swap", "--partition", "0"], args].concat());
    let swapped = swap(&["--json"]);
    let told: Value = serde_json::from_str(&swapped.out).unwrap();
    assert_eq!((swapped.code, &told["verdict"], &told["role"]), (0, &"same".into(), &"owner".into()), "{told}");
    let [snapshot, first_seq] = ["snapshot", "first_seq"].map(|name| &told[name]);
    assert!(first_seq.as_f64() >= Some(first) && told["passed_over"] == json!([]), "{told}");
    assert!(snapshot.as_str().unwrap().starts_with(&format!("{:020}-", first_seq.as_u64().unwrap())), "{told}");
    let text = swap(&[]);
    let begins = format!("the log has lost its first events; begins with snapshot {}", snapshot.as_str().unwrap());
    assert!(text.code == 0 && text.out.contains(&begins), "{}{}", text.out, text.err);
    let aside = stopped.dir.path().join("aside");
    fs::rename(stopped.snapshots.path(), &aside).unwrap();
    let refused = swap(&["--json"]);
    let told: Value = serde_json::from_str(&refused.out).unwrap();
    assert_eq!((refused.code, &told["result"], &told["fine"]), (1, &"unread".into(), &false.into()), "{told}");
    let why = told["why"].as_str().unwrap();
    assert!(why.contains(&format!("begins with seq {first}")) && why.contains("no such folder"), "{why}");
    fs::rename(&aside, stopped.snapshots.path()).unwrap();
    assert!(reserve(&served, 1_000_001));
    let ended = served.running.terminate();
    assert_eq!(ended.code, 0, "{}", ended.err);
    has_all(&stopped, "after the swaps");
}

/// The story: a state is being replaced when a firewall begins to drop what is sent to the bucket of snapshots, and the process is
/// told to end. It does not wait for the bucket: the last turns and checkpoints would have no time left.
#[test]
fn a_swap_that_waits_for_snapshots_keeps_no_process_that_ends() {
    let stopped = left_for_a_month();
    let (served, _) = begun_later(&stopped);
    assert_eq!(served.running.terminate().code, 0);
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut command = serve_with(&stopped, "s3://bucket/prefix", &url(stopped.archive.path()));
    buckets::at(&mut command, &format!("http://{}", silent.local_addr().unwrap()));
    let served = Served::start(&mut command);
    let swap = format!("{}/internal/swap/0", served.url);
    let begun = foreign_agent().post(&swap).send_empty().unwrap().body_mut().read_to_string().unwrap();
    assert!(begun.contains("\"begun\""), "{begun}");
    let told = foreign_agent().get(&swap).call().unwrap().body_mut().read_to_string().unwrap();
    assert!(told.contains("\"under_way\""), "{told}");
    let ended = served.running.terminate();
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert!(ended.err.contains("no fresh state has taken the place of the one in memory"), "{}", ended.err);
}

/// The story: the disk with checkpoints is replaced, the log is brought back from a copy, and nobody has mounted the folder of
/// snapshots. The partition is refused by name, and served as soon as the snapshots are there.
#[test]
fn without_what_covers_its_beginning_a_log_is_refused_by_name_until_snapshots_are_back() {
    let stopped = left_for_a_month();
    let (served, _) = begun_later(&stopped);
    assert_eq!(served.running.terminate().code, 0);
    // As long as the checkpoint reaches up to what is left, nothing else is needed.
    let bare = || {
        let mut serve = headroom(["serve", "--listen", "127.0.0.1:0", "--data-dir"]);
        serve.arg(stopped.dir.path());
        serve
    };
    assert_eq!(Served::start(&mut bare()).running.terminate().code, 0);
    fs::remove_dir_all(stopped.dir.path().join("checkpoint")).unwrap();
    let says = |served: &Served, what: &str| {
        let mut ready = agent().get(format!("{}/readyz", served.url)).call().unwrap();
        ready.status() == 503 && ready.body_mut().read_to_string().unwrap().contains(what)
    };
    let served = Served::listening(&mut bare());
    until("it is said", || says(&served, "no place of snapshots is set"));
    assert_eq!(served.running.terminate().code, 0);
    let aside = stopped.dir.path().join("snapshots-of-then");
    fs::rename(stopped.snapshots.path(), &aside).unwrap();
    let served = Served::listening(&mut serve(&stopped));
    until("it is said", || says(&served, "the place of snapshots does not answer"));
    fs::rename(&aside, stopped.snapshots.path()).unwrap();
    let ready = format!("{}/readyz", served.url);
    until("it is served again", || agent().get(&ready).call().is_ok_and(|reply| reply.status() == 200));
    assert!(reserve_in_new_pool(&served));
    let ended = served.running.terminate();
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert!(ended.err.contains("the partition is not served; looking again repeatedly"), "{}", ended.err);
    has_all(&stopped, "after all");
}

/// The story: something had damaged every snapshot of a log that needs one. Eight of them were downloaded every five seconds,
/// until somebody brought a good one back.
#[test]
fn snapshots_that_are_damaged_are_read_again_at_growing_pauses() {
    let bed = Bed::of_days(BEGIN, KEEP_DAYS + 4);
    bed.leave();
    let rows = bed.objects(".rows");
    let newest = rows.last().unwrap().file_name().unwrap().to_str().unwrap().to_owned();
    let stopped = Stopped::of(bed);
    fs::remove_dir_all(stopped.dir.path().join("checkpoint")).unwrap();
    rows.iter().for_each(|rows| fs::write(rows, "no snapshot").unwrap());
    let (reads, begun) = (Arc::new(Mutex::new(Vec::new())), Stopwatch::start());
    let read = Arc::clone(&reads);
    let place = buckets::over_folder(stopped.snapshots.path(), move |asked| {
        if asked.ends_with(&newest) {
            read.lock().push(begun.elapsed());
        }
        None
    });
    let mut serve = headroom(["serve", "--listen", "127.0.0.1:0", "--snapshots", "s3://lake/some/place", "--data-dir"]);
    buckets::at(&mut serve, &place);
    let served = Served::listening(serve.arg(stopped.dir.path()));
    until("it has looked three times", || reads.lock().len() > 2);
    let pauses: Vec<Duration> = reads.lock().windows(2).map(|reads| reads[1].saturating_sub(reads[0])).collect();
    assert!(pauses[0] >= Duration::from_secs(5) && pauses[1] >= Duration::from_secs(10), "{pauses:?}");
    let ended = served.running.terminate();
    assert_eq!(ended.code, 0, "{}", ended.err);
}

/// The story: somebody who needs room deletes the oldest file of a log, or the one after it. The checkpoint covers it, and would
/// hide the loss. Whoever is refused is told what to do.
#[test]
fn a_file_that_was_deleted_by_hand_is_no_file_that_has_left() {
    let stopped = left_for_a_month();
    let snapshots = url(stopped.snapshots.path());
    let aside = stopped.dir.path().join("aside");
    for (number, says) in [
        (0, "it is missing, and the log begins with it by its note begins-…: put it back, or read in"),
        (1, "it is missing, and later ones are there: put it back, or restore a backup"),
    ] {
        let file = segments(stopped.dir.path()).remove(number);
        fs::rename(&file, &aside).unwrap();
        let served = run(headroom(["serve", "--listen", "127.0.0.1:0", "--data-dir"]).arg(stopped.dir.path()));
        for refused in [served, stopped.bare("verify", &["--snapshots", &snapshots]), stopped.bare("cat", &[])] {
            let told = refused.out + &refused.err;
            assert!(refused.code != 0 && told.contains(&format!("segment-{number:08}")), "{told}");
            assert!(told.contains(says), "{told}");
        }
        fs::rename(&aside, &file).unwrap();
    }
    let (served, _) = begun_later(&stopped);
    assert_eq!(served.running.terminate().code, 0);
    has_all(&stopped, "it is back");
}

/// The story: somebody deletes an old file of the log under the running server. Every yes from then on would lie in a log that is
/// refused at the next start.
#[test]
fn a_server_whose_old_file_is_taken_away_says_yes_no_more_until_it_is_back() {
    let stopped = left_for_a_month();
    let mut serve = headroom(["serve", "--listen", "127.0.0.1:0", "--data-dir"]);
    let served = Served::start(serve.arg(stopped.dir.path()));
    assert!(reserve_in_new_pool(&served));
    let (old, aside) = (segments(stopped.dir.path()).remove(1), stopped.dir.path().join("aside"));
    fs::rename(&old, &aside).unwrap();
    let ready = || {
        let mut reply = agent().get(format!("{}/readyz", served.url)).call().unwrap();
        (reply.status().as_u16(), reply.body_mut().read_to_string().unwrap())
    };
    until("it says so", || ready().0 == 503);
    let told = ready().1;
    assert!(told.contains("segment-00000001") && told.contains("put it back"), "{told}");
    assert!(!reserve(&served, 1_000_002));
    fs::rename(&aside, &old).unwrap();
    until("it goes on", || ready().0 == 200);
    assert!(reserve(&served, 1_000_003));
    assert_eq!(served.running.terminate().code, 0);
}

/// The story: a byte of the disk under a bounded log has changed. No snapshot helps, so nobody is told to wait for one.
#[test]
fn a_damaged_frame_of_a_bounded_log_is_named_once_and_not_waited_for() {
    let bed = Bed::of_days(BEGIN, KEEP_DAYS + 4);
    bed.leave();
    let first = bed.world.log.first(0).unwrap();
    let mut manifests = bed.objects(".json");
    let stopped = Stopped::of(bed);
    fs::remove_dir_all(stopped.dir.path().join("checkpoint")).unwrap();
    // Only the snapshot at the beginning of the log is left, and what it leads to is damaged.
    let of = |path: &Path| -> Option<u64> { path.file_stem()?.to_str()?.split('-').next()?.parse().ok() };
    manifests.retain(|path| of(path).is_some_and(|seq| seq >= first));
    assert!(manifests.len() > 2, "{manifests:?}");
    manifests[1..].iter().for_each(|path| fs::remove_file(path).unwrap());
    let sealed = segments(stopped.dir.path());
    let damaged = &sealed[sealed.len() / 2];
    damage(damaged);
    let mut serve = headroom(["serve", "--listen", "127.0.0.1:0", "--snapshots", &url(stopped.snapshots.path())]);
    let served = Served::listening(serve.arg("--data-dir").arg(stopped.dir.path()));
    until("it is said", || {
        let mut ready = agent().get(format!("{}/readyz", served.url)).call().unwrap();
        let text = ready.body_mut().read_to_string().unwrap();
        ready.status() == 503
            && text.contains("unreadable")
            && text.contains(damaged.file_name().unwrap().to_str().unwrap())
    });
    let ended = served.running.terminate();
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert_eq!(ended.err.matches("ERROR").count(), 1, "{}", ended.err);
}

/// The story: a sink is set up for a log that has been bounded for long. What has left the disk is not left out in silence.
#[test]
fn a_sink_that_stands_before_what_is_left_is_refused_by_name() {
    let (stopped, lake) = (left_for_a_month(), Lake::new());
    let (served, first) = begun_later(&stopped);
    let backfill = |args: &[&str]| run(&mut lake.sink(stopped.dir.path(), &[&["backfill"], args].concat()));
    let judge = |of: &str| {
        let refused = backfill(&[]);
        let says = format!("the log begins with seq {first}: events 0 to");
        let told = refused.out + &refused.err;
        assert!(refused.code != 0 && told.contains(&says), "{of}: {told}");
        assert!(told.contains("headroom sink backfill --from first"), "{of}: {told}");
    };
    judge("while it runs");
    assert_eq!(served.running.terminate().code, 0);
    judge("stopped");
    let begun = backfill(&["--from", "first"]);
    assert_eq!(begun.code, 0, "{}{}", begun.out, begun.err);
}

/// The story: all snapshots are lost, and the archive is whole. The log is served again.
#[test]
fn an_archive_that_is_whole_takes_the_place_of_lost_snapshots() {
    let stopped = left_for_a_month();
    let (served, _) = begun_later(&stopped);
    assert!(reserve_in_new_pool(&served));
    assert_eq!(served.running.terminate().code, 0);
    fs::remove_dir_all(stopped.dir.path().join("checkpoint")).unwrap();
    for entry in fs::read_dir(stopped.snapshots.path()).unwrap() {
        fs::remove_dir_all(entry.unwrap().path()).unwrap();
    }
    let rebuilt = stopped.whole("rebuild", &[]);
    assert_eq!(rebuilt.code, 0, "{}{}", rebuilt.out, rebuilt.err);
    let served = Served::start(&mut serve(&stopped));
    assert!(reserve(&served, 1), "the same key gets the answer of then");
    assert_eq!(served.running.terminate().code, 0);
    has_all(&stopped, "rebuilt");
}

/// A bound without what it needs is refused before anything is opened.
#[test]
fn a_bound_without_snapshots_is_refused_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let serve =
        |args: &[&str]| run(headroom(["serve", "--listen", "127.0.0.1:0", "--data-dir"]).arg(dir.path()).args(args));
    let ended = serve(&["--log-keep", "40d"]);
    assert_eq!(ended.code, 2, "{}", ended.err);
    assert!(ended.err.contains("flag --log-keep: log_keep is set without snapshots"), "{}", ended.err);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}
