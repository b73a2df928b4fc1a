//! What is ahead of a restored log: it is an earlier state of the log, and others have seen more of it.

use super::{Folder, a_log, define, done, more, reserve};
use crate::cli::{assert_says, on};
use crate::process::{Served, agent, headroom, run};
use crate::wait::until;
use std::fs;
use std::path::Path;

/// A server that writes snapshots of its one partition.
fn serve(dir: &Path, snapshots: &str) -> Served {
    let mut serve = headroom(["serve", "--listen", "127.0.0.1:0", "--partitions", "1"]);
    serve.args(["--snapshot-interval-ms", "1000", "--snapshots", snapshots, "--data-dir"]);
    Served::start(serve.arg(dir))
}

/// How many events the newest snapshot below a directory has; 0 when there is none. Its name begins with it.
fn newest(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    let of = |entry: fs::DirEntry| match entry.path().is_dir() {
        true => newest(&entry.path()),
        false => entry.file_name().to_str().and_then(|name| name.get(..20)?.parse().ok()).unwrap_or(0),
    };
    entries.map(of).max().unwrap_or(0)
}

/// The story: the disk is lost, and a backup of last night is restored. The snapshots in the bucket are of this morning: they
/// hold orders that the log does not. A server that began with one would number its decisions anew from there.
#[test]
fn snapshots_that_are_ahead_of_a_restored_log_are_named_and_not_used() {
    let (dir, folder, target) = (tempfile::tempdir().unwrap(), Folder::new(), tempfile::tempdir().unwrap());
    let snapshots = Folder::new();
    let served = serve(dir.path(), &snapshots.url());
    define(&served.url, "van-1");
    (0..10).for_each(|n| drop(reserve(&served.url, "van-1", &format!("K{n}"))));
    done(folder.back_up(dir.path()));
    define(&served.url, "van-later");
    (0..10).for_each(|n| drop(reserve(&served.url, "van-later", &format!("L{n}"))));
    // The Barrier, two pools and twenty orders.
    until("a snapshot has all events", || newest(snapshots.0.path()) >= 23);
    assert_eq!(served.running.terminate().code, 0);
    done(folder.restore(target.path(), &[]));
    let served = serve(target.path(), &snapshots.url());
    // What was decided after the backup is gone, and what was decided before it is there.
    let pool = |id: &str| agent().get(format!("{}/v1/pools/{id}", served.url)).call().unwrap().status().as_u16();
    assert_eq!((pool("van-later"), pool("van-1")), (404, 200));
    assert!(reserve(&served.url, "van-1", "K9")["original"].is_object());
    reserve(&served.url, "van-1", "after");
    let ended = served.running.terminate();
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert_says(&ended.err, &["snapshot not used", "hold more than the", "events of the log"]);
    assert_says(&done(on(target.path(), ["verify"])), &["clean: no law broken"]);
}

/// The story: analysts have rows of orders that the restored log does not know. Writing on from there would leave rows that
/// never happened among those that did. The sink stops and says so, also when the log has grown beyond where the sink was.
#[test]
fn a_sink_that_is_ahead_of_a_restored_log_stops() {
    let (dir, folder, lake) = (a_log(5), Folder::new(), Folder::new());
    done(folder.back_up(dir.path()));
    more(dir.path(), 6);
    let sink = |dir: &Path| {
        let mut sink = headroom(["sink", "backfill", "--sink-files", &lake.url(), "--data-dir"]);
        run(sink.arg(dir))
    };
    done(sink(dir.path()));
    let target = tempfile::tempdir().unwrap();
    done(folder.restore(target.path(), &[]));
    let written = "events are written, and the log has only";
    for (orders, why) in [(0, written), (7, ""), (40, "does not continue what is written")] {
        if orders > 0 {
            more(target.path(), orders);
        }
        let stopped = sink(target.path());
        assert_eq!(stopped.code, 1, "{orders}: {}{}", stopped.out, stopped.err);
        assert_says(&stopped.err, &[why]);
    }
    assert_says(&done(on(target.path(), ["verify"])), &["clean: no law broken"]);
}
