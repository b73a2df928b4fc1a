//! The demonstration, without a terminal: what it prints, how it ends, and what it leaves behind.

use crate::process::{Ended, headroom, run};

#[test]
fn the_demonstration_ends_with_a_clean_audit_and_leaves_nothing() {
    let temp = tempfile::tempdir().unwrap();
    let mut demo = headroom(["demo", "--seconds", "2", "--shoppers", "60", "--seed", "3"]);
    let Ended { code, out, err } = run(demo.env("TMPDIR", temp.path()));
    assert!(code == 0 && err.is_empty(), "{out}\n{err}");
    assert!(!out.contains('\x1b'), "colours are for terminals: {out:?}");
    let live = out.lines().filter(|line| line.contains(" s left  201 ")).count();
    assert!((2..=3).contains(&live), "one line a second: {out}");
    for said in ["  L1  holds ", "  L7  holds ", "  0 breaches over ", " 0 answered otherwise", " 0 overbooked by"] {
        assert!(out.contains(said), "{said:?} in:\n{out}");
    }
    assert_eq!(std::fs::read_dir(temp.path()).unwrap().count(), 0, "its directory is gone");
}
