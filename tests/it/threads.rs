//! Threads that run until the end: none of them is missed when it panics, nor waited for without a limit when it hangs.
//! What is planted needs the feature `crash-points`.

use crate::process::{Running, Served, headroom};
use headroom::limits::{LEAVE_MS, SHUTDOWN_MS};
use headroom::time::Stopwatch;
use rustix::process::{Pid, Signal, kill_process};
use std::process::Command;
use std::time::Duration;

/// The process of this command, which serves, ends at once when the thread panics, and says which one it was.
#[track_caller]
pub fn ends_when_it_panics(serve: &mut Command, thread: &str) {
    let ended = Running::start(serve.env("HEADROOM_CRASH_AT", format!("panic:{thread}"))).ended();
    assert_eq!(ended.code, -1, "{thread}: {}", ended.err);
    let line = ended.err.lines().find(|line| line.contains("a thread panicked"));
    let line = line.unwrap_or_else(|| panic!("{thread}: {}", ended.err));
    assert!(line.contains("ERROR") && line.contains(thread), "{thread}: {line}");
}

#[test]
fn a_panic_of_any_of_them_ends_the_process() {
    if !cfg!(feature = "crash-points") {
        return;
    }
    for thread in ["deadlines", "checkpoints", "owner-0"] {
        let dir = tempfile::tempdir().unwrap();
        let mut serve = headroom(["serve", "--listen", "127.0.0.1:0", "--data-dir"]);
        ends_when_it_panics(serve.arg(dir.path()), thread);
    }
}

#[test]
fn one_that_hangs_at_the_end_is_named_and_left_behind() {
    if !cfg!(feature = "crash-points") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut serve = headroom(["serve", "--listen", "127.0.0.1:0", "--data-dir"]);
    let served = Served::start(serve.arg(dir.path()).env("HEADROOM_CRASH_AT", "hang:checkpoints"));
    let ending = Stopwatch::start();
    kill_process(Pid::from_child(served.running.child()), Signal::TERM).unwrap();
    let ended = served.running.ended();
    assert_eq!(ended.code, 1, "{}", ended.err);
    let line = ended.err.lines().find(|line| line.contains("the shutdown takes too long")).unwrap();
    assert!(line.contains("ERROR") && line.contains("checkpoints"), "{line}");
    let limit = Duration::from_millis(LEAVE_MS + SHUTDOWN_MS);
    assert!(ending.elapsed() >= limit && ending.elapsed() < limit * 2, "after {:?}", ending.elapsed());
}
