//! The commands beside a running server, whose log they reach through it.

use super::{assert_says, on};
use crate::process::{Ended, Running, Served, agent, headroom, run, spawn};
use crate::wait::until;
use headroom::wire::schema::EVENT;
use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::path::Path;

/// Without the subcommand: serving is what happens by default.
fn serve(dir: &Path) -> Served {
    Served::start(headroom(["--listen", "127.0.0.1:0", "--partitions", "2", "--data-dir"]).arg(dir))
}

impl Running {
    /// Asks it to end, and waits.
    pub fn terminate(self) -> Ended {
        kill_process(Pid::from_child(self.child()), Signal::TERM).unwrap();
        self.ended()
    }
}

impl Served {
    /// A pool for two orders, and three calls for one.
    pub fn sell_out(&self, pool: &str) {
        let put = agent().put(format!("{}/v1/pools/{pool}", self.url)).content_type("application/json");
        put.send(r#"{"limits":{"orders":2},"areas":["SW1A 1AA"],"labels":{"Köln":"Süd-Team"}}"#).unwrap();
        let body = format!(r##"{{"pool":"{pool}","demand":{{"orders":1}},"order_ref":"#1001"}}"##);
        let reserve = || agent().post(format!("{}/v1/reservations", self.url)).content_type("application/json");
        let told = [(); 3].map(|()| reserve().send(&body).unwrap().status().as_u16());
        assert_eq!(told, [201, 201, 409]);
    }
}

/// The fields of the event schema.
fn schema_fields() -> BTreeSet<String> {
    let schema: serde_json::Value = serde_json::from_str(EVENT.last().unwrap()).unwrap();
    let fields = schema["fields"].as_array().unwrap();
    fields.iter().map(|field| field["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_running_server_is_verified_read_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let server = serve(dir.path());
    server.sell_out("slot-1");
    let verified = on(dir.path(), ["verify"]);
    assert_eq!(verified.code, 0, "{}{}", verified.out, verified.err);
    assert_says(&verified.out, &["fold, live state", "clean: no law broken in 6 events of 2 partitions"]);
    let one = on(dir.path(), ["verify", "--partition", "1"]);
    assert_says(&one.out, &["events of 1 partition"]);
    let none = on(dir.path(), ["verify", "--partition", "2"]);
    assert_eq!(none.code, 2, "{}", none.err);
    assert_says(&none.err, &["there is no partition 2: the log has 2, numbered from 0"]);

    let printed = on(dir.path(), ["cat"]);
    assert_eq!(printed.code, 0, "{}", printed.err);
    assert_says(
        &printed.out,
        &[r#""areas":["SW1A 1AA"]"#, r#""labels":{"Köln":"Süd-Team"}"#, r##""order_ref":"#1001""##],
    );
    let fields = schema_fields();
    let mut kinds = Vec::new();
    for line in printed.out.lines() {
        let event: serde_json::Value = serde_json::from_str(line).unwrap();
        for name in event.as_object().unwrap().keys() {
            let is_beside = ["digest", "trace_id"].contains(&name.as_str());
            assert!(fields.contains(name) || is_beside, "{name} is no field of the schema");
        }
        kinds.push(event["kind"].as_str().unwrap().to_owned());
    }
    kinds.sort();
    assert_eq!(kinds, ["Accepted", "Accepted", "Barrier", "Barrier", "PoolDefined", "Rejected"]);

    let refused = on(dir.path(), ["rebuild"]);
    assert_eq!(refused.code, 2);
    assert_says(&refused.err, &["a server is running on", "stop it and try again"]);
    let second = on(dir.path(), ["serve", "--listen", "127.0.0.1:0"]);
    assert_eq!(second.code, 2);
    assert_says(&second.err, &["is in use by another process: a server, or a command that changes it"]);

    let ended = server.running.terminate();
    assert_eq!(ended.code, 0, "{}", ended.err);
    let verified = on(dir.path(), ["verify"]);
    assert_eq!(verified.code, 0, "{}{}", verified.out, verified.err);
    assert_says(&verified.out, &["fold, checkpoint at", "clean: no law broken in 6 events of 2 partitions"]);
    assert_eq!(on(dir.path(), ["cat"]).out, printed.out, "the server and its directory say the same");
    assert_eq!(on(dir.path(), ["rebuild"]).code, 0);
}

/// The story: a caller names the trace of an answer, and somebody looks for its event in the log.
#[test]
fn an_event_is_printed_with_the_trace_of_its_call() {
    let dir = tempfile::tempdir().unwrap();
    let server = serve(dir.path());
    server.sell_out("slot-1");
    let (own, parent) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00");
    let put = agent().put(format!("{}/v1/pools/slot-2", server.url)).header("traceparent", parent);
    let answer = put.content_type("application/json").send(r#"{"limits":{"orders":2}}"#).unwrap();
    assert_eq!(answer.headers()["x-request-id"], own);
    let printed = on(dir.path(), ["cat"]);
    let mut found = 0;
    for line in printed.out.lines() {
        let event: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(
            event["trace_id"].is_null(),
            event["kind"] == "Barrier",
            "only a barrier belongs to no call: {line}"
        );
        found += usize::from(event["trace_id"] == own && event["pool"] == "slot-2");
    }
    assert_eq!(found, 1, "{}", printed.out);
    assert_eq!(server.running.terminate().code, 0);
    assert_eq!(on(dir.path(), ["cat"]).out, printed.out, "the server and its directory say the same");
}

#[test]
fn what_is_printed_can_be_chosen_and_followed() {
    let dir = tempfile::tempdir().unwrap();
    let server = serve(dir.path());
    server.sell_out("slot-1");
    let all = on(dir.path(), ["cat"]).out;
    let by_partition =
        [on(dir.path(), ["cat", "--partition", "0"]).out, on(dir.path(), ["cat", "--partition", "1"]).out];
    assert_eq!(all, by_partition.concat());
    assert_eq!(on(dir.path(), ["cat", "--from", "1"]).out.lines().count(), 4);
    assert_eq!(on(dir.path(), ["cat", "--from", "100"]).out, "");
    let none = on(dir.path(), ["cat", "--partition", "2"]);
    assert_eq!(none.code, 2);
    assert_says(&none.err, &["there is no partition 2: the log has 2"]);

    let mut following = Running::start(headroom(["cat", "--follow", "--data-dir"]).arg(dir.path()));
    let mut seen: Vec<_> = (0..6).map(|_| following.line()).collect();
    server.sell_out("slot-2");
    seen.extend((0..4).map(|_| following.line()));
    assert_eq!(server.running.terminate().code, 0, "whoever follows keeps nobody from stopping");
    // Nor from starting: the next server's claims are seen, too.
    let server = serve(dir.path());
    seen.extend((0..2).map(|_| following.line()));
    let mut expected: Vec<_> = on(dir.path(), ["cat"]).out.lines().map(str::to_owned).collect();
    seen.sort();
    expected.sort();
    assert_eq!(seen, expected);
    // What is printed now comes after it was told that there is a server again.
    server.sell_out("slot-3");
    (0..4).for_each(|_| drop(following.line()));
    let told = following.terminate().err;
    let told: Vec<_> = told.lines().collect();
    let (pairs, rest) = told.as_chunks::<2>();
    assert!(!pairs.is_empty() && rest.is_empty(), "{told:?}");
    for [waits, goes_on] in pairs {
        assert!(waits.starts_with("headroom: waiting for "), "{told:?}");
        assert_eq!(*goes_on, "headroom: it is there again, going on", "{told:?}");
    }
    drop(server);
}

/// The story: a server was killed, and the server of another directory was started at the address that the first one had left
/// behind. Whoever followed the first one's log was given events of the other's as if they went on with it.
#[test]
fn what_follows_a_log_is_given_events_of_no_other() {
    let (dir, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (server, other) = (serve(dir.path()), serve(elsewhere.path()));
    server.sell_out("slot-1");
    ["slot-1", "slot-2"].iter().for_each(|slot| other.sell_out(slot));
    assert_eq!(server.running.terminate().code, 0);
    let address = "server.addr";
    std::fs::copy(elsewhere.path().join(address), dir.path().join(address)).unwrap();
    let mut following = Running::start(headroom(["cat", "--follow", "--data-dir"]).arg(dir.path()));
    (0..6).for_each(|_| drop(following.line()));
    // Nor does what begins anew in the same directory go on with what was there.
    for entry in std::fs::read_dir(dir.path()).unwrap() {
        let (path, is_dir) = entry.map(|entry| (entry.path(), entry.file_type().unwrap().is_dir())).unwrap();
        if is_dir { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) }.unwrap();
    }
    let anew = serve(dir.path());
    let ended = following.ended();
    assert_eq!((ended.code, &*ended.out), (2, ""), "{}", ended.err);
    assert_says(&ended.err, &["has the log", "and what was printed is of the log", "start the command again"]);
    drop((anew, other));
}

#[test]
fn a_closed_output_is_no_error() {
    let dir = tempfile::tempdir().unwrap();
    let server = serve(dir.path());
    server.sell_out("slot-1");
    let mut command = headroom(["cat", "--follow", "--data-dir"]);
    let mut child = spawn(command.arg(dir.path()));
    let mut line = String::new();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    out.read_line(&mut line).unwrap();
    drop(out);
    server.sell_out("slot-2");
    let mut err = String::new();
    child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
    assert_eq!((child.wait().unwrap().code(), &*err), (Some(0), ""));
}

/// The story: somebody verified the log of a server that had crashed, which takes hours. The supervisor started the server again
/// until it gave up, and nobody was served. A start waits for whoever reads, says so, and can be ended meanwhile.
#[test]
fn a_start_waits_for_the_end_of_a_command_that_reads() {
    let dir = tempfile::tempdir().unwrap();
    let server = serve(dir.path());
    server.sell_out("slot-1");
    assert_eq!(server.running.terminate().code, 0);
    let reads = File::open(dir.path()).unwrap();
    reads.try_lock_shared().unwrap();
    let told = "the start waits for the end of a command that reads the log, such as headroom verify or headroom cat";
    let waiting = || {
        // Whoever asks has to know the port before the process says it.
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let starting = Running::start(headroom(["serve", "--listen", &address, "--data-dir"]).arg(dir.path()));
        until("it says that it waits", || starting.said().contains(told));
        for (path, status) in [("livez", 200), ("startupz", 503), ("readyz", 503)] {
            let mut answer = agent().get(format!("http://{address}/{path}")).call().unwrap();
            let body = answer.body_mut().read_to_string().unwrap();
            assert_eq!(
                (answer.status().as_u16(), body.contains(r#""phase":"opening""#)),
                (status, status == 503),
                "{body}"
            );
        }
        starting
    };
    let ended = waiting().terminate();
    assert_eq!((ended.code, &*ended.out), (0, ""), "{}", ended.err);
    assert_says(&ended.err, &["stopped before the log was open; it was left as it was"]);
    let mut starting = waiting();
    assert_eq!(on(dir.path(), ["verify"]).code, 0, "another command can read it as well");
    drop(reads);
    assert_says(&starting.line(), &["headroom listens on "]);
    let ended = starting.terminate();
    assert_eq!((ended.code, ended.err.matches(told).count()), (0, 1), "{}", ended.err);
}

#[test]
fn a_locked_log_whose_server_does_not_answer_exits_2() {
    let dir = tempfile::tempdir().unwrap();
    let server = serve(dir.path());
    let path = dir.path().join("server.addr");
    std::fs::write(&path, "127.0.0.1:1 1\n").unwrap();
    let ended = on(dir.path(), ["verify"]);
    assert_eq!(ended.code, 2, "{}", ended.out);
    assert_says(&ended.err, &["cannot call http://127.0.0.1:1/internal/log"]);
    std::fs::remove_file(&path).unwrap();
    let ended = run(headroom(["cat", "--data-dir"]).arg(dir.path()));
    assert_eq!(ended.code, 2);
    assert_says(&ended.err, &["is in use and", "does not say where its server is", "try again"]);
    drop(server);
}
