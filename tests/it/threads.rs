//! Threads that run until the end: none of them is missed when it panics, nor waited for without a limit when it hangs.
//! What is planted needs the feature `crash-points`.

use crate::process::{ABORTED, Running, Served, agent, headroom};
use crate::wait::until;
use headroom::limits::{LEAVE_MS, SHUTDOWN_MS, STARTUP_LINE_MS};
use headroom::time::Stopwatch;
use rustix::process::{Pid, Signal, kill_process};
use std::net::{Ipv4Addr, TcpListener};
use std::process::Command;
use std::time::Duration;

/// The process of this command, which serves, ends at once when the thread panics, and says which one it was.
#[track_caller]
pub fn ends_when_it_panics(serve: &mut Command, thread: &str) {
    let ended = Running::start(serve.env("HEADROOM_CRASH_AT", format!("panic:{thread}"))).ended();
    assert_eq!(ended.code, ABORTED, "{thread}: {}", ended.err);
    let line = ended.err.lines().find(|line| line.contains("a thread panicked"));
    let line = line.unwrap_or_else(|| panic!("{thread}: {}", ended.err));
    assert!(line.contains("ERROR") && line.contains(thread), "{thread}: {line}");
}

/// The story: one thread panics, and the process lives on without it. No checkpoint is written any more, or no deadline
/// is kept, and nobody knows. The process aborts at once and names the thread.
#[test]
fn a_panic_of_any_thread_ends_the_process() {
    if !cfg!(feature = "crash-points") {
        return;
    }
    for thread in ["deadlines", "checkpoints", "owner-0"] {
        let dir = tempfile::tempdir().unwrap();
        let mut serve = headroom(["serve", "--listen", "127.0.0.1:0", "--data-dir"]);
        ends_when_it_panics(serve.arg(dir.path()), thread);
    }
}

/// The story: a start takes minutes, because much has to be read. Whoever watches it sees a process that does nothing,
/// and kills it. It says in its log and at `/startupz` what it does.
#[test]
fn a_start_that_takes_long_says_so() {
    if !cfg!(feature = "crash-points") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    // Whoever asks has to know the port before the process says it.
    let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    let mut serve = headroom(["serve", "--listen", &address.to_string(), "--data-dir"]);
    let mut running = Running::start(serve.arg(dir.path()).env("HEADROOM_CRASH_AT", "hang:opening"));
    let (starting, agent) = (Stopwatch::start(), agent());
    let mut said = String::new();
    until("it says what it does", || {
        let asked = agent.get(format!("http://{address}/startupz")).call();
        let answer = asked.ok().filter(|reply| reply.status() == 503);
        said = answer.and_then(|mut reply| reply.body_mut().read_to_string().ok()).unwrap_or_default();
        !said.is_empty()
    });
    assert!(said.contains(r#""phase":"opening""#), "{said}");
    until("a line is due", || starting.elapsed() > Duration::from_millis(2 * STARTUP_LINE_MS));
    running.kill();
    let ended = running.ended();
    assert!(ended.err.contains("the log is being opened"), "{}", ended.err);
}

/// The story: a thread hangs when the process is told to end. The supervisor would kill it without a word, and nobody
/// would learn which thread it was. The process ends within its own limit, with an error that names it.
#[test]
fn a_thread_that_hangs_at_shutdown_is_named_and_left_behind() {
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
