//! What Prometheus itself says of the rules. `tests/alerts/fetch` gets its tools.

pub mod live;

use super::{rules_file, situation_files, tree};
use crate::process::run;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

/// The directory of `promtool` and `prometheus`.
fn tools() -> &'static PathBuf {
    static TOOLS: OnceLock<PathBuf> = OnceLock::new();
    TOOLS.get_or_init(|| {
        let fetched = run(&mut Command::new(tree("tests/alerts/fetch")));
        assert_eq!(fetched.code, 0, "{}", fetched.err);
        PathBuf::from(fetched.out.trim_end())
    })
}

/// Runs promtool on a file, and panics with what it says when it finds something.
#[track_caller]
fn promtool<const N: usize>(args: [&str; N], file: PathBuf) {
    let ended = run(Command::new(tools().join("promtool")).args(args).arg(&file));
    assert_eq!(ended.code, 0, "{}:\n{}{}", file.display(), ended.out, ended.err);
}

#[test]
fn prometheus_reads_the_rules() {
    promtool(["check", "rules"], rules_file());
}

#[test]
fn each_alert_fires_and_is_silent_when_it_should() {
    for file in situation_files() {
        promtool(["test", "rules"], file);
    }
}
