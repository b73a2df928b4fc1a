//! The support bundle: what it holds, of a server that runs and of one that does not.

use super::{assert_says, on};
use crate::process::{Served, agent, headroom};
use serde_json::Value;

#[test]
fn a_bundle_of_a_running_server_has_its_partitions_threads_settings_lines_and_metrics() {
    let dir = tempfile::tempdir().unwrap();
    let server =
        Served::start(headroom(["--listen", "127.0.0.1:0", "--partitions", "2", "--data-dir"]).arg(dir.path()));
    server.sell_out("slot-1");
    let state = agent().get(format!("{}/internal/state/1", server.url)).call().unwrap().body_mut().read_to_string();
    let state: Value = serde_json::from_str(&state.unwrap()).unwrap();
    let file = dir.path().join("bundle.txt");
    let out = file.display().to_string();

    let ended = on(dir.path(), ["support", "--out", &out]);
    assert_eq!((ended.code, ended.err.as_str()), (0, ""));
    assert_eq!(ended.out, format!("{out} is written: read it before you send it to anybody\n"));
    let bundle = std::fs::read_to_string(&file).unwrap();
    let sections = ["Server", "Partitions", "Threads", "Settings of the server", "Last log lines", "Metrics"];
    let titles: Vec<_> = bundle.lines().filter_map(|line| line.strip_prefix("== ")).collect();
    assert_eq!(titles[..6], sections);
    assert_eq!(titles[6..], ["Settings of this command", "Files of the data directory"]);
    let partition = format!(r#""next_seq":{}"#, state["next_seq"]);
    let partition = bundle.lines().find(|line| line.contains(r#""partition":1"#) && line.contains(&partition)).unwrap();
    assert_says(
        partition,
        &[r#""status":"active""#, state["digest"].as_str().unwrap(), state["chain"].as_str().unwrap()],
    );
    // A thread, a setting, a log line, a metric and a file.
    assert_says(
        &bundle,
        &["\nreadiness\n", "partitions = 2", " INFO ", "\nheadroom_build_info{", "bytes  log/segment-00000000"],
    );
    assert!(!bundle.contains("#1001") && !bundle.contains("hr_"), "it tells what callers have reserved");

    let again = on(dir.path(), ["support", "--out", &out]);
    assert_eq!((again.code, again.out.as_str()), (2, ""));
    assert_says(&again.err, &["cannot write", "bundle.txt: File exists", "; name another --out"]);
}

#[test]
fn without_a_server_a_bundle_says_so_and_has_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let ended = on(dir.path(), ["support", "--out", "-"]);
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert_says(
        &ended.out,
        &["No server could be asked", "== Settings of this command", "== Files of the data directory"],
    );
}
