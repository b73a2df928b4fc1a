//! What the binary does with the files of its system: how many it may have open, and whose they are.

use crate::http::client::Client;
use crate::process::{Served, headroom};
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// More than there are places where so few files may be open.
const IDLE: usize = 200;

/// A server that the shell has told something first.
fn served_after(told: &str, dir: &Path) -> Served {
    let serve = headroom(["serve", "--listen", "127.0.0.1:0", "--partitions", "1", "--data-dir"]);
    let mut command = Command::new("sh");
    command.args(["-c", &format!("{told} && exec \"$0\" \"$@\"")]).arg(serve.get_program()).args(serve.get_args());
    for (name, value) in serve.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    Served::start(command.arg(dir).stdin(Stdio::null()))
}

#[test]
fn a_low_limit_of_open_files_is_logged_and_calls_are_still_answered() {
    let dir = tempfile::tempdir().unwrap();
    let Served { running, url } = served_after("ulimit -n 512", dir.path());
    let address = url.strip_prefix("http://").unwrap().parse().unwrap();
    let idle: Vec<Client> = (0..IDLE).map(|_| Client::connect(address)).collect();
    for probe in ["/livez", "/readyz", "/startupz", "/metrics"] {
        assert_eq!(Client::connect(address).get(probe).status, 200, "{probe}");
    }
    let mut caller = Client::connect(address);
    assert_eq!(caller.send("PUT", "/v1/pools/p", &[], r#"{"limits":{"orders":1}}"#).status, 201);
    assert_eq!(caller.post("/v1/reservations", r#"{"pool":"p","demand":{"orders":1}}"#).status, 201);
    drop(idle);
    let ended = running.terminate();
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert!(ended.err.contains("too few files") && ended.err.contains("limit=512"), "{}", ended.err);
    assert!(!ended.err.contains("could not be accepted"), "{}", ended.err);
}

#[test]
fn the_limit_of_open_files_is_raised() {
    let dir = tempfile::tempdir().unwrap();
    let Served { running, .. } = served_after("ulimit -S -n 256", dir.path());
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", running.child().id())).unwrap();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
    let soft: u64 = line.split_whitespace().next().unwrap().parse().unwrap();
    assert!(soft > 256, "{line}");
    assert_eq!(running.terminate().code, 0);
}

fn assert_private(path: &Path) {
    let found = std::fs::metadata(path).unwrap();
    let mode = found.permissions().mode() & 0o777;
    assert_eq!(mode, if found.is_dir() { 0o700 } else { 0o600 }, "{} has {mode:o}", path.display());
    if found.is_dir() {
        std::fs::read_dir(path).unwrap().for_each(|entry| assert_private(&entry.unwrap().path()));
    }
}

/// The log holds who ordered what.
#[test]
fn files_of_the_data_directory_are_readable_by_their_user_alone() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("data");
    let serve = || served_after("umask 022", &dir);
    let Served { running, url } = serve();
    let address = url.strip_prefix("http://").unwrap().parse().unwrap();
    assert_eq!(Client::connect(address).send("PUT", "/v1/pools/p", &[], r#"{"limits":{"orders":1}}"#).status, 201);
    assert_private(&dir);
    assert_eq!(running.terminate().code, 0);
    assert_private(&dir);
    // As an earlier version left it.
    let log = dir.join("log");
    std::fs::set_permissions(&log, Permissions::from_mode(0o755)).unwrap();
    let Served { running, .. } = serve();
    assert_private(&log);
    assert_eq!(running.terminate().code, 0);
}
