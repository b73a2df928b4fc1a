//! What the environment has for the binary and for others. The checks that call the binary from a shell, such as
//! `tests/clients/run`, begin with `tests/once.sh`.

use super::assert_says;
use crate::process::{Served, headroom, run};
use std::path::Path;
use std::process::Command;

/// The story: the nightly run says in the environment how long its tests hunt, and afterwards its checks start servers.
#[test]
fn what_a_run_tells_its_tests_is_not_for_the_binary_of_a_check() {
    let (tests, dir) = (Path::new(env!("CARGO_MANIFEST_DIR")).join("tests"), tempfile::tempdir().unwrap());
    let text = std::fs::read_to_string(tests.join("run")).unwrap();
    let exported = text.lines().filter_map(|line| line.trim().strip_prefix("export ")?.split_once('='));
    let knobs: Vec<&str> = exported.map(|(name, _)| name).filter(|name| name.starts_with("HEADROOM_")).collect();
    assert!(!knobs.is_empty(), "tests/run exports no knob");
    let wanted = headroom(["tokens", "new", "shop", "--roles", "checkout", "--data-dir"]);
    let mut check = Command::new("bash");
    check.args(["-c", ". \"$0\" && exec \"$@\""]).arg(tests.join("once.sh"));
    check.arg(wanted.get_program()).args(wanted.get_args()).arg(dir.path());
    check.envs(knobs.iter().map(|knob| (*knob, "1"))).env("HEADROOM_RIG_PORT", "19392");
    let ended = run(&mut check);
    assert_eq!(ended.code, 0, "{}", ended.err);
}

/// The story: in a container whose root cannot be written, `headroom verify` said that there is no temporary directory, and not
/// where it wanted one.
#[test]
fn verify_names_the_place_in_which_it_can_make_no_copies() {
    let dir = tempfile::tempdir().unwrap();
    drop(Served::start(headroom(["--listen", "127.0.0.1:0", "--partitions", "1", "--data-dir"]).arg(dir.path())));
    let place = dir.path().join("none");
    let ended = run(headroom(["verify", "--data-dir"]).arg(dir.path()).env("TMPDIR", &place));
    assert_eq!((ended.code, ended.out.as_str()), (2, ""));
    assert_says(&ended.err, &[&format!("can be made in {}: ", place.display()), "TMPDIR names another place"]);
}
