//! What a server says of itself in its log lines: that an answer's `trace_id` is found there, that nothing else stands
//! among lines that are to be JSON, what was recovered, and that it stopped.

use super::calls_logged::json_lines;
use super::{assert_says, on};
use crate::process::{Served, agent, headroom, run};
use headroom::limits::LOGGED_REFUSALS_PER_SECOND;
use serde_json::Value;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;

fn serve(dir: &Path) -> Served {
    Served::start(headroom(["serve", "--listen", "127.0.0.1:0", "--partitions", "1", "--data-dir"]).arg(dir))
}

fn trace_id(mut answer: ureq::http::Response<ureq::Body>) -> String {
    let problem: Value = serde_json::from_str(&answer.body_mut().read_to_string().unwrap()).unwrap();
    problem["trace_id"].as_str().unwrap().to_owned()
}

#[test]
fn a_refused_request_is_found_by_its_trace_id_and_a_storm_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let server = serve(dir.path());
    server.sell_out("p");
    let agent = agent();
    let alone = trace_id(agent.get(format!("{}/v1/pools/none", server.url)).call().unwrap());
    // More than a second's share, in however many seconds.
    let storm = 3 * LOGGED_REFUSALS_PER_SECOND;
    (0..storm).for_each(|_| drop(agent.get(format!("{}/nothing", server.url)).call().unwrap()));
    let ended = server.running.terminate();
    assert_eq!(ended.code, 0, "{}", ended.err);
    let line = ended.err.lines().find(|line| line.contains(&alone)).unwrap_or_else(|| panic!("{}", ended.err));
    assert_says(
        line,
        &[" INFO ", "route=\"/v1/pools/{pool}\" status=404 code=\"unknown_pool\"", "There is no such pool"],
    );
    let of_storm = ended.err.lines().filter(|line| line.contains("code=\"not_found\""));
    let counted = |line: &str| {
        let count = line.split(" count=").nth(1).map_or("1", |rest| rest.split(' ').next().unwrap());
        count.parse::<u32>().unwrap()
    };
    assert_eq!(of_storm.map(counted).sum::<u32>(), storm, "{}", ended.err);
    assert!(!ended.err.contains("code=\"ok\""), "what is done is not told of");
    assert_says(ended.err.lines().last().unwrap(), &["stopped"]);
}

#[test]
fn lines_that_are_to_be_json_have_nothing_else_among_them() {
    let dir = tempfile::tempdir().unwrap();
    let serve = || {
        let mut command = headroom(["serve", "--listen", "127.0.0.1:0", "--log-format", "json", "--data-dir"]);
        command.arg(dir.path());
        command
    };
    let Served { running: server, url } = json_lines(dir.path(), &[]);
    let agent = agent();
    let refused = trace_id(agent.get(format!("{url}/nothing")).call().unwrap());

    let second = run(&mut serve());
    assert_eq!((second.code, &*second.out), (2, ""));
    let lines = |text: &str| -> Vec<Value> { text.lines().map(|line| serde_json::from_str(line).unwrap()).collect() };
    let why = lines(&second.err);
    let last = why.last().unwrap();
    assert_eq!(last["level"], "ERROR");
    assert_says(last["message"].as_str().unwrap(), &["is in use by another process"]);

    let ended = server.terminate();
    assert_eq!((ended.code, &*ended.out), (0, ""));
    let lines = lines(&ended.err);
    let has = |name: &str, value: &str| lines.iter().any(|line| line[name] == value);
    assert!(has("url", &url) && has("trace_id", &refused), "{}", ended.err);
    assert_eq!(lines.last().unwrap()["message"], "stopped");
}

/// The story: a setting was wrong, and what collects the lines could not read the one that said so.
#[test]
fn settings_that_cannot_be_used_are_told_in_the_format_of_the_lines() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("headroom.toml");
    for (text, args) in [("", &["--log-format", "json"][..]), ("log_format = \"json\"\n", &[][..])] {
        std::fs::write(&file, format!("{text}partitions = \"many\"\n")).unwrap();
        let refused = run(headroom(["serve", "--config"]).arg(&file).args(args));
        assert_eq!((refused.code, &*refused.out), (2, ""));
        let line: Value = serde_json::from_str(&refused.err).unwrap();
        assert_eq!(line["level"], "ERROR");
        assert_says(line["message"].as_str().unwrap(), &["the configuration has 1 problem", "partitions = \"many\""]);
    }
}

/// From the log, from a checkpoint: the state is made of as many events.
#[test]
fn a_recovery_tells_how_many_events_the_state_is_made_of() {
    let dir = tempfile::tempdir().unwrap();
    let server = serve(dir.path());
    server.sell_out("p");
    assert_eq!(server.running.terminate().code, 0);
    let recovered = |parts: &[&str]| {
        let ended = serve(dir.path()).running.terminate();
        let line = ended.err.lines().find(|line| line.contains("partition recovered")).unwrap().to_owned();
        assert_says(&line, parts);
    };
    // A barrier, a pool, two yeses, a no; and one barrier more each time.
    recovered(&["events=5 read=0 ", "from_checkpoint=true"]);
    std::fs::remove_dir_all(dir.path().join("checkpoint")).unwrap();
    recovered(&["events=6 read=6 ", "from_checkpoint=false"]);
    assert_eq!(on(dir.path(), ["verify"]).code, 0);
}

/// Listens, and answers whoever says anything with these bytes and an end.
fn answering(bytes: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            // Who has heard enough may be gone.
            let _ = stream.read(&mut [0; 4096]).and_then(|_| stream.write_all(bytes));
        }
    });
    address.to_string()
}

/// One side speaks TLS and the other does not: the words name what is to be set.
#[test]
fn a_cluster_or_a_registry_that_expects_tls_or_none_is_told_in_words() {
    let (silent, plain) = (answering(b""), answering(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"));
    let said = |args: &[&str], parts: &[&str]| {
        let ended = run(headroom([]).args(args));
        assert_eq!(ended.code, 2, "{}{}", ended.out, ended.err);
        assert_says(&ended.err, parts);
    };
    let topics = ["topics", "check", "--kafka-brokers"];
    said(&[&topics[..], &[&silent]].concat(), &["expects TLS", "kafka_security_protocol is plaintext"]);
    let ssl = ["--kafka-security-protocol", "ssl"];
    said(&[&topics[..], &[&plain], &ssl].concat(), &["does not seem to speak TLS", "kafka_security_protocol is ssl"]);
    let schemas = ["schemas", "check", "--kafka-brokers", "127.0.0.1:1", "--registry-url"];
    said(&[&schemas[..], &[&format!("http://{silent}")]].concat(), &["expects TLS, and registry_url says http"]);
    said(
        &[&schemas[..], &[&format!("https://{plain}")]].concat(),
        &["not seem to speak TLS, and registry_url says https"],
    );
    // Where nobody listens, nothing is said of TLS.
    let ended = run(headroom([]).args(topics).arg("127.0.0.1:1"));
    assert!(!ended.err.contains("TLS"), "{}", ended.err);
}
