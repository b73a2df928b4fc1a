//! The real binary with a wall clock that is wrong, and that steps while it runs. A library of a few lines is compiled
//! and preloaded, so that the binary has nothing in it for the test alone, and nobody has to be root.

use super::over_http::{define, metric, offered, reserve, used};
use crate::http::client::Client;
use crate::process::{Served, headroom, run};
use crate::wait::until;
use headroom::access::AUDIT_LOG;
use headroom::time::{Clock, SystemClock};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::Command;
use tempfile::TempDir;

const HOUR_S: i64 = 3_600;

/// A wall clock for processes, beside the machine's.
pub struct Stepped {
    dir: TempDir,
    library: PathBuf,
}

impl Stepped {
    pub fn by(seconds: i64) -> Stepped {
        let dir = tempfile::tempdir().unwrap();
        let library = dir.path().join("stepping.so");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/clock/stepping.c");
        let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".to_owned());
        let compiled =
            Command::new(compiler).args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(source).output();
        let compiled = compiled.unwrap();
        assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
        let stepped = Stepped { dir, library };
        stepped.step(seconds);
        stepped
    }

    /// From now on the wall clock is off by so many seconds.
    pub fn step(&self, seconds: i64) {
        let (new, file) = (self.dir.path().join("offset.new"), self.dir.path().join("offset"));
        std::fs::write(&new, seconds.to_string()).unwrap();
        std::fs::rename(new, file).unwrap();
    }

    /// This command goes by it.
    pub fn rules<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        let file = self.dir.path().join("offset");
        command.env("LD_PRELOAD", &self.library).env("CLOCK_OFFSET_FILE", file)
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn serve(&self) -> (Served, Client) {
        let mut command = headroom(["--listen", "127.0.0.1:0", "--partitions", "1", "--data-dir"]);
        self.rules(command.arg(self.data()));
        let served = Served::start(&mut command);
        let client = Client::connect(served.url.strip_prefix("http://").unwrap().parse().unwrap());
        (served, client)
    }

    fn says<const N: usize>(&self, args: [&str; N]) -> String {
        let ended = run(headroom(args).arg("--data-dir").arg(self.data()));
        assert_eq!(ended.code, 0, "{}{}", ended.out, ended.err);
        ended.out
    }
}

/// A slot that closes so long after the real time, or before.
fn closing_in(seconds: i64) -> Value {
    let now = i64::try_from(SystemClock::new().wall().0).unwrap();
    let at = |s: i64| jiff::Timestamp::from_microsecond(now + s * 1_000_000).unwrap().to_string();
    json!({"start": at(seconds - 1), "end": at(seconds + HOUR_S), "cutoff": at(seconds)})
}

#[test]
fn a_server_that_began_eight_hours_ahead_serves_when_its_clock_is_right_and_is_repaired_by_hand() {
    let stepped = Stepped::by(8 * HOUR_S);
    let (mut ahead, mut client) = stepped.serve();
    define(&mut client, "slot", 5, &closing_in(4 * HOUR_S));
    define(&mut client, "any", 5, &Value::Null);
    assert_eq!(reserve(&mut client, "slot", None).code(), "past_cutoff");
    ahead.running.kill();
    stepped.step(0);
    let (served, mut client) = stepped.serve();
    assert_eq!(client.get("/readyz").json()["status"], "degraded");
    assert_eq!(reserve(&mut client, "slot", None).code(), "past_cutoff");
    assert_eq!(offered(&mut client), ["any"]);
    assert_eq!(reserve(&mut client, "any", Some(1_000)).status, 201);
    until("the hold is over", || used(&mut client, "any") == 0);
    let told = stepped.says(["clock", "set", "--because", "on call: ntpd was down"]);
    assert!(told.starts_with("partition 0: set back from "), "{told}");
    assert_eq!(client.get("/readyz").json()["status"], "ok");
    assert_eq!(offered(&mut client), ["any", "slot"]);
    assert_eq!(reserve(&mut client, "slot", None).status, 201);
    let ended = served.running.terminate();
    assert_eq!(ended.code, 0, "{}", ended.err);
    let act = ended.err.lines().find(|line| line.contains(AUDIT_LOG)).unwrap_or_else(|| panic!("{}", ended.err));
    for part in ["\"set_clock\" about=\"on call: ntpd was down\" outcome=\"ok\" changed=\"time: ", " partition=0 seq="]
    {
        assert!(act.contains(part), "{part} in {act}");
    }
    let verified = stepped.says(["verify"]);
    assert!(verified.contains("on call: ntpd was down") && verified.contains("clean: no law broken"), "{verified}");
    let printed = stepped.says(["cat"]);
    assert!(printed.contains("ClockSet") && printed.contains("clock_from"), "{printed}");
}

/// The wrong time is in no event: nothing was decided while the clock was ahead.
#[test]
fn a_clock_that_was_ahead_while_nobody_called_is_repaired_by_hand() {
    let stepped = Stepped::by(0);
    let (served, mut client) = stepped.serve();
    define(&mut client, "any", 5, &Value::Null);
    let ahead = "headroom_clock_ahead_seconds";
    stepped.step(600);
    until("the step is counted", || metric(&mut client, "headroom_clock_steps_total{direction=\"forward\"}") == 1.0);
    assert!(metric(&mut client, ahead) < 1.0);
    stepped.step(0);
    until("the log is ahead", || metric(&mut client, ahead) > 500.0);
    stepped.says(["clock", "set", "--because", "on call: a guest was suspended"]);
    assert!(metric(&mut client, ahead) < 60.0, "{}", metric(&mut client, ahead));
    assert_eq!(client.get("/readyz").json()["status"], "ok");
    assert_eq!(reserve(&mut client, "any", Some(1_000)).status, 201);
    until("the hold is over", || used(&mut client, "any") == 0);
    assert_eq!(served.running.terminate().code, 0);
}

#[test]
fn a_server_that_began_ten_minutes_slow_follows_its_clock_when_that_is_put_right() {
    let stepped = Stepped::by(-600);
    let (served, mut client) = stepped.serve();
    define(&mut client, "slot", 9, &closing_in(-300));
    assert_eq!(reserve(&mut client, "slot", None).status, 201);
    assert_eq!(offered(&mut client), ["slot"]);
    stepped.step(0);
    assert_eq!(reserve(&mut client, "slot", None).code(), "past_cutoff");
    assert_eq!(offered(&mut client), [""; 0]);
    let forward = "headroom_clock_steps_total{direction=\"forward\"}";
    until("the step is counted", || metric(&mut client, forward) == 1.0);
    let ended = served.running.terminate();
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert_eq!(ended.err.matches("the wall clock has stepped forward").count(), 1, "{}", ended.err);
    let by_ms = ended.err.split("by_ms=").nth(1).and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    assert!(by_ms.is_some_and(|by_ms| by_ms.abs_diff(600_000) < 1_000), "{}", ended.err);
}
