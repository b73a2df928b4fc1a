//! The demonstration, without a terminal: what it prints, how it ends, and what it leaves behind.

use std::process::{Command, Stdio};

#[test]
fn the_demonstration_ends_with_a_clean_audit_and_leaves_nothing() {
    let temp = tempfile::tempdir().unwrap();
    let mut demo = Command::new(env!("CARGO_BIN_EXE_headroom"));
    demo.args(["demo", "--seconds", "2", "--shoppers", "60", "--seed", "3"]).env("TMPDIR", temp.path());
    let ended = demo.stdin(Stdio::null()).output().unwrap();
    let (out, err) = (String::from_utf8(ended.stdout).unwrap(), String::from_utf8(ended.stderr).unwrap());
    assert!(ended.status.success() && err.is_empty(), "{out}\n{err}");
    assert!(!out.contains('\x1b'), "colours are for terminals: {out:?}");
    let live = out.lines().filter(|line| line.contains(" s left  201 ")).count();
    assert!((2..=3).contains(&live), "one line a second: {out}");
    for said in ["  L1  holds ", "  L7  holds ", "  0 breaches over ", " 0 answered otherwise", " 0 overbooked by"] {
        assert!(out.contains(said), "{said:?} in:\n{out}");
    }
    assert_eq!(std::fs::read_dir(temp.path()).unwrap().count(), 0, "its directory is gone");
}
