//! Copies that are taken while the server writes, as `cp -r` does: of the log, and of the whole data directory.

use crate::cli::{assert_says, on};
use crate::process::{Running, Served, agent, headroom};
use crate::sink::bucket::{COUNTED, failures_of};
use crate::sink::files::Lake;
use crate::store::copy_tree;
use crate::wait::until;
use headroom::log::CommittedTail;
use headroom::log::StoredEvent;
use headroom::log::embedded::EmbeddedReader;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::thread;

const COPIES: usize = 40;
/// Of each life of a server, the last so many copies of its data directory are looked at. They are from before and after its
/// end, at which it writes checkpoints.
const KEPT: usize = 4;

fn serve(dir: &Path) -> Served {
    Served::start(headroom(["serve", "--listen", "127.0.0.1:0", "--data-dir"]).arg(dir))
}

/// All events of the log in this directory; `None` when it is refused.
fn events(dir: &Path) -> Option<Vec<Vec<StoredEvent>>> {
    let log = EmbeddedReader::open(dir).ok()?;
    let all = |partition| {
        let (mut all, end) = (Vec::new(), log.end(partition).ok()?);
        while (all.len() as u64) < end {
            all.extend(log.read(partition, all.len() as u64, 1 << 20).ok()?);
        }
        Some(all)
    };
    (0..log.partitions()).map(all).collect()
}

/// Does this while callers change pools, for as long as the server answers.
fn while_called(url: &str, work: impl FnOnce()) {
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        for caller in 0..4 {
            let is_over = &is_over;
            scope.spawn(move || {
                let agent = agent();
                let send = |path: &str, body: &str| {
                    agent.put(format!("{url}/v1/pools/{path}")).content_type("application/json").send(body)
                };
                for n in 0.. {
                    let body = format!(r#"{{"limits":{{"orders":{}}}}}"#, n + 1);
                    if is_over.load(Relaxed) || send(&format!("copied-{caller}-{}", n % 50), &body).is_err() {
                        break;
                    }
                }
            });
        }
        work();
        is_over.store(true, Relaxed);
    });
}

/// The story: an operator copies the log of a running server, for a backup or to look at it elsewhere. A copy that
/// opened and held other events, or some with a gap, would pass for the log. It holds the first part of it, or it is
/// refused.
#[test]
fn a_copy_of_a_running_log_holds_its_first_part_or_is_refused() {
    let (dir, copies) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut server = serve(dir.path());
    let copy = |n: usize| copies.path().join(n.to_string());
    while_called(&server.url, || {
        (0..COPIES).for_each(|n| copy_tree(&dir.path().join("log"), &copy(n).join("log")));
    });
    server.running.kill();
    let whole = events(dir.path()).unwrap();
    let mut opened = 0;
    for n in 0..COPIES {
        let Some(found) = events(&copy(n)) else { continue };
        assert!(found.iter().zip(&whole).all(|(found, whole)| whole.starts_with(found)), "copy {n}");
        opened += 1;
    }
    // One that opens is a log like any other.
    let verified = (0..COPIES).map(|n| on(&copy(n), ["verify"])).find(|verified| verified.code == 0).unwrap();
    assert!(verified.out.contains("clean: no law broken"), "{}", verified.out);
    println!("{opened} of {COPIES} copies opened");
}

/// The story: an operator tries a command on a copy first. The copy names the server of the original, whose time must not change.
#[test]
fn a_command_on_a_copy_does_nothing_to_the_server_of_the_original() {
    let (dir, copies) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let served = serve(dir.path());
    let copy = copies.path().join("copy");
    copy_what_is_there(dir.path(), &copy);
    assert!(copy.join("server.addr").exists());
    let set = on(&copy, ["clock", "set", "--because", "only a copy"]);
    assert_eq!(set.code, 2, "{}{}", set.out, set.err);
    assert_says(&set.err, &["no server is running on ", "copy"]);
    let bundle = copies.path().join("bundle");
    let support = on(&copy, ["support", "--out", bundle.to_str().unwrap()]);
    assert_eq!(support.code, 0, "{}{}", support.out, support.err);
    assert_says(&fs::read_to_string(bundle).unwrap(), &["No server could be asked: no server is running on "]);
    let set = on(dir.path(), ["clock", "set", "--because", "the server itself"]);
    assert!(set.code == 0 && set.out.contains("not changed: its time is not ahead"), "{}{}", set.out, set.err);
    assert_eq!(served.running.terminate().code, 0);
}

/// The story: a copy of a data directory is put aside, and a sink is started on it. It wrote the events of the original.
#[test]
fn a_sink_on_a_copy_does_not_read_the_server_of_the_original() {
    let (dir, copies, lake) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), Lake::new());
    let served = serve(dir.path());
    let copy = copies.path().join("copy");
    copy_what_is_there(dir.path(), &copy);
    let mut sink = Running::start(&mut lake.sink(&copy, COUNTED));
    let failures = failures_of(&mut sink);
    until("it waits for a server of the copy", || failures() > 0.0);
    let ended = sink.terminate();
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert_says(&ended.err, &["the sink waits", "no server is running on ", "copy"]);
    assert_eq!(served.running.terminate().code, 0);
}

/// Copies a directory in which files come and go.
fn copy_what_is_there(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).into_iter().flatten().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_what_is_there(&entry.path(), &target);
        } else {
            copy_if_there(&entry.path(), &target);
        }
    }
}

fn copy_if_there(from: &Path, to: &Path) {
    if let Err(error) = fs::copy(from, to) {
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    }
}

/// Copies a data directory: its log last, or first.
fn copy_data(from: &Path, to: &Path, is_log_last: bool) {
    drop(fs::remove_dir_all(to));
    let mut names: Vec<_> = fs::read_dir(from).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort_by_key(|name| (name == "log") == is_log_last);
    for name in names {
        if from.join(&name).is_dir() {
            copy_what_is_there(&from.join(&name), &to.join(&name));
        } else {
            fs::create_dir_all(to).unwrap();
            copy_if_there(&from.join(&name), &to.join(&name));
        }
    }
}

/// Copies of the data directories of servers that are called, and then stopped, each with whether its log was copied last.
fn copies_until_the_end(dir: &Path, to: &Path) -> Vec<(PathBuf, bool)> {
    let mut all = Vec::new();
    for life in 0..3 {
        let Served { running, url } = serve(dir);
        let (made, is_over) = (AtomicUsize::new(0), AtomicBool::new(false));
        let place = |n: usize| (to.join(format!("{life}-{}", n % KEPT)), n.is_multiple_of(2));
        thread::scope(|scope| {
            scope.spawn(|| {
                while !is_over.load(Relaxed) || made.load(Relaxed) < KEPT {
                    let (copy, is_log_last) = place(made.load(Relaxed));
                    copy_data(dir, &copy, is_log_last);
                    made.fetch_add(1, Relaxed);
                }
            });
            while_called(&url, || {
                until("copies were made under load", || made.load(Relaxed) >= KEPT);
                assert_eq!(running.terminate().code, 0);
            });
            is_over.store(true, Relaxed);
        });
        all.extend((0..KEPT).map(place));
    }
    all
}

/// The story: an operator copies the data directory of a running server with `cp -r`, and starts a server on the copy
/// elsewhere. Checkpoint, witness and log are of different moments then. The server answers from a first part of the log, and its
/// state is the one of that part; or it refuses the copy and says why.
#[test]
fn a_copy_of_a_whole_data_directory_is_served_as_a_first_part_or_is_refused() {
    let (dir, copies) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let all = copies_until_the_end(dir.path(), copies.path());
    let whole = events(dir.path()).unwrap();
    let mut served = 0;
    for (copy, is_log_last) in &all {
        let (found, verified) = (events(copy), on(copy, ["verify"]));
        if verified.code != 0 {
            let refused = on(copy, ["serve", "--listen", "127.0.0.1:0"]);
            assert_eq!((verified.code, refused.code), (1, 1), "{copy:?}: {}{}", verified.out, refused.err);
            assert!(!refused.err.contains("panicked"), "{}", refused.err);
            println!("{copy:?}, the log last: {is_log_last}: {}", refused.err);
            continue;
        }
        let found = found.unwrap();
        assert!(found.iter().zip(&whole).all(|(found, whole)| whole.starts_with(found)), "{copy:?}");
        let server = serve(copy);
        for partition in 0..found.len() {
            let rebuilt = on(copy, ["rebuild", "--partition", &partition.to_string()]);
            assert_eq!(rebuilt.code, 0, "{copy:?}: {}{}", rebuilt.out, rebuilt.err);
            assert_says(&rebuilt.out, &["live state: the same"]);
        }
        assert_eq!(server.running.terminate().code, 0);
        served += 1;
    }
    println!("{served} of {} copies were served", all.len());
    assert!(served > 0);
}
