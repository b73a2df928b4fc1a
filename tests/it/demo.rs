//! The demonstration, without a terminal: what it prints, how it ends, and what it leaves behind.

use crate::process::{Ended, Running, headroom, run, spawn};
use crate::wait::until;
use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Command;

/// Much longer than a test waits.
fn endless(temp: &Path) -> Command {
    let mut demo = headroom(["demo", "--seconds", "600", "--shoppers", "20"]);
    demo.env("TMPDIR", temp);
    demo
}

fn is_empty(temp: &Path) -> bool {
    std::fs::read_dir(temp).unwrap().count() == 0
}

#[test]
fn the_demonstration_ends_with_a_clean_audit_and_leaves_nothing() {
    let temp = tempfile::tempdir().unwrap();
    let mut demo = headroom(["demo", "--seconds", "2", "--shoppers", "60", "--seed", "3"]);
    let Ended { code, out, err } = run(demo.env("TMPDIR", temp.path()));
    assert!(code == 0 && err.is_empty(), "{out}\n{err}");
    assert!(!out.contains('\x1b'), "colours are for terminals: {out:?}");
    let live = out.lines().filter(|line| line.contains(" s left  201 ")).count();
    assert!((2..=3).contains(&live), "one line a second: {out}");
    for said in
        ["  L1  holds ", "  L7  holds ", "  0 breaches in ", " 0 contradicted the first answer", " 0 overbooked"]
    {
        assert!(out.contains(said), "{said:?} in:\n{out}");
    }
    assert!(out.lines().all(|line| line.chars().count() <= 80), "{out}");
    let days = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
    assert!(days.iter().any(|day| out.contains(&format!("want {day} "))), "{out}");
    assert!(out.contains(" not in time: no decision by the caller's deadline,"), "{out}");
    assert!(is_empty(temp.path()), "its directory is gone");
}

#[test]
fn a_closed_terminal_leaves_nothing() {
    let temp = tempfile::tempdir().unwrap();
    let mut demo = Running::start(&mut endless(temp.path()));
    until("shoppers shop", || demo.line().contains(" s left  201 "));
    assert!(!is_empty(temp.path()));
    kill_process(Pid::from_child(demo.child()), Signal::HUP).unwrap();
    assert_eq!(demo.ended().code, 2);
    assert!(is_empty(temp.path()));
}

#[test]
fn a_closed_output_ends_the_demo_and_leaves_nothing() {
    let temp = tempfile::tempdir().unwrap();
    let mut demo = spawn(&mut endless(temp.path()));
    let mut first = String::new();
    BufReader::new(demo.stdout.take().unwrap()).read_line(&mut first).unwrap();
    assert!(first.contains("Headroom"), "{first}");
    until("the demonstration ends", || demo.try_wait().unwrap().is_some());
    assert!(is_empty(temp.path()));
}

/// The story: somebody wants to look at what was sold, with `headroom cat` or in tables. A log that is there already is not
/// gone on with.
#[test]
fn a_demonstration_leaves_its_log_where_it_is_told_to() {
    let temp = tempfile::tempdir().unwrap();
    let play = |args: &[&str]| run(headroom(["demo", "--keep"]).arg(temp.path().join("kept")).args(args));
    let kept = play(&["--day"]);
    assert!(kept.code == 0 && kept.out.contains("The log of the day is in "), "{}{}", kept.out, kept.err);
    let verified = run(headroom(["verify", "--data-dir"]).arg(temp.path().join("kept")));
    assert!(verified.code == 0 && verified.out.contains("no law broken"), "{}{}", verified.out, verified.err);
    for args in [&["--day"][..], &["--seconds", "1"]] {
        let refused = play(args);
        assert!(refused.code == 2 && refused.err.contains("is not empty"), "{}{}", refused.out, refused.err);
    }
}
