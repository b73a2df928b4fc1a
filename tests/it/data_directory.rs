//! The whole directory of a server that ended clean: log, checkpoint, witness and feature level, as a version left them together.

use crate::cli::on;
use crate::lost_data::contents;
use crate::process::{Served, agent, headroom};
use crate::store::copy_tree;
use serde_json::Value;
use std::fs;
use std::path::Path;
use tempfile::TempDir;

/// A directory of feature level 3, whose segment has no zeros at its end. Its pool `p1` has room for three orders and has them, a
/// fourth one was refused.
const RECORDED: &str = "tests/golden/formats/data-3";
/// Bytes of the segment, with the zeros.
const SEGMENT_BYTES: usize = 1 << 20;

fn recorded() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    copy_tree(Path::new(RECORDED), dir.path());
    let segment = dir.path().join("log/segment-00000000");
    let mut bytes = fs::read(&segment).unwrap();
    bytes.resize(SEGMENT_BYTES, 0);
    fs::write(&segment, bytes).unwrap();
    dir
}

fn assert_serves(dir: &Path) {
    let served = Served::start(headroom(["serve", "--listen", "127.0.0.1:0", "--data-dir"]).arg(dir));
    let mut answer = agent().get(format!("{}/v1/pools/p1", served.url)).call().unwrap();
    let pool: Value = serde_json::from_str(&answer.body_mut().read_to_string().unwrap()).unwrap();
    assert_eq!(pool["used"]["orders"], 3, "{pool}");
    let log = served.running.terminate().err;
    assert!(log.contains("read=0") && log.contains("from_checkpoint=true"), "nothing is replayed: {log}");
    let verified = on(dir, ["verify"]);
    assert_eq!(verified.code, 0, "{}{}", verified.out, verified.err);
}

/// The story: a server is updated after years. Its checkpoint is read, so it is ready at once, and what it says is the same.
#[test]
fn a_directory_as_it_was_recorded_is_served_from_its_checkpoint() {
    assert_serves(recorded().path());
}

/// The story: a copy from a time when the feature level and the checkpoint were not there yet, or were deleted.
#[test]
fn what_can_be_made_anew_of_a_recorded_directory_is() {
    let dir = recorded();
    fs::remove_dir_all(dir.path().join("checkpoint")).unwrap();
    fs::remove_file(dir.path().join("feature-level")).unwrap();
    let state = on(dir.path(), ["state", "--json"]);
    assert_eq!(state.code, 0, "{}", state.err);
    let pools: Value = serde_json::from_str(&state.out).unwrap();
    assert_eq!(pools["pools"][0]["used"]["orders"], 3, "{pools}");
    let served = Served::start(headroom(["serve", "--listen", "127.0.0.1:0", "--data-dir"]).arg(dir.path()));
    assert!(served.running.terminate().err.contains("from_checkpoint=false"));
    assert_serves(dir.path());
}

/// The story: somebody looks at the directory of a server that is stopped, as another user. A file that the look changed, or made,
/// might not be the server's any more.
#[test]
fn looking_at_a_directory_changes_nothing_in_it() {
    let dir = recorded();
    assert_serves(dir.path());
    let before = contents(dir.path());
    for args in [["verify"], ["cat"], ["state"]] {
        let looked = on(dir.path(), args);
        assert_eq!(looked.code, 0, "{args:?}: {}{}", looked.out, looked.err);
        assert!(contents(dir.path()) == before, "{args:?}");
    }
}
