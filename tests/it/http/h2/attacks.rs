//! Callers that use HTTP/2 to make the server work, or to fill its memory. Each is cut off or bounded: the process does
//! not grow, and callers beside it are answered.

use super::super::client::Client;
use super::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, Frames, HEADERS, INITIAL_WINDOW, PING, PREFACE, RST_STREAM, SETTINGS,
    frame, head, literal,
};
use super::{ONE, counted};
use crate::process::{Served, headroom};
use crate::wait::until;
use headroom::limits::HTTP2_STREAMS_MAX;
use headroom::time::{Clock, SystemClock};
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

const ATTACKERS: usize = 2;
/// Calls of the caller beside them, by each version of HTTP.
const CALLS: usize = 60;
/// Most that one attacker may make the process grow, in bytes: a few windows and buffers, and what the allocator keeps of
/// connections that were cut off. An attacker without a bound passes this in a second.
const GROWTH_MAX: u64 = 32 << 20;

/// How long an attacker waits for a server that takes nothing.
const BLOCKED: Duration = Duration::from_millis(500);

/// What an attacker does on one connection, again and again, for as long as this answers true.
type Attack = fn(&mut Frames) -> bool;

struct Seen {
    /// How many connections of attackers were ended by the server.
    cut_off: usize,
    growth: u64,
}

/// The resident memory of a process, in bytes.
fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap() << 10
}

/// Runs a server and attackers, and calls it meanwhile.
fn attacked(name: &str, settings: &'static [(u16, u32)], attack: Attack) -> Seen {
    let dir = tempfile::tempdir().unwrap();
    // On a busy machine a decision may take longer than callers usually wait.
    let deadline = ["--deadline-default-ms", "5000"];
    let serve = ["serve", "--listen", "127.0.0.1:0", "--partitions", "1", deadline[0], deadline[1], "--data-dir"];
    let Served { running, url } = Served::start(headroom(serve).arg(dir.path()));
    let address: SocketAddr = url.strip_prefix("http://").unwrap().parse().unwrap();
    let limit = r#"{"limits":{"orders":1000000}}"#;
    assert_eq!(Client::connect(address).send("PUT", "/v1/pools/p", &[], limit).status, 201);
    // What any load makes it grow by is no growth of the attack.
    calls(address);
    let before = resident(running.child().id());
    let (stop, cut_off) = (AtomicBool::new(false), AtomicUsize::new(0));
    let (mut took, mut after) = (Vec::new(), 0);
    std::thread::scope(|scope| {
        for _ in 0..ATTACKERS {
            scope.spawn(|| {
                while !stop.load(Relaxed) {
                    let mut frames = Frames::connect(address, settings);
                    frames.patience(BLOCKED);
                    while attack(&mut frames) {
                        if stop.load(Relaxed) {
                            return;
                        }
                    }
                    cut_off.fetch_add(usize::from(frames.is_cut_off()), Relaxed);
                }
            });
        }
        took = calls(address);
        after = resident(running.child().id());
        stop.store(true, Relaxed);
    });
    took.sort_unstable();
    let growth = after.saturating_sub(before);
    let (p99, cut_off) = (took[took.len() * 99 / 100], cut_off.into_inner());
    println!("{name}: p99 beside it {p99} us, {cut_off} connections cut off, the process grew by {} KiB", growth >> 10);
    until("the connections of the attackers are gone", || {
        counted(&mut Client::connect(address), "headroom_http_connections") == 1
    });
    assert_eq!(running.terminate().code, 0);
    Seen { cut_off, growth }
}

/// Reserves by both versions; answers how long each call took, in microseconds. All are answered in their time.
fn calls(address: SocketAddr) -> Vec<u64> {
    let clock = SystemClock::new();
    let (mut one, mut two) = (Client::connect(address), Frames::connect(address, &[]));
    let mut took = Vec::new();
    for _ in 0..CALLS {
        let begun = clock.now();
        let reply = one.send("POST", "/v1/reservations", &["Request-Timeout-Ms: 5000"], ONE);
        assert_eq!(reply.status, 201, "{reply:?}");
        let between = clock.now();
        let stream = two.ask("POST", "/v1/reservations", ONE);
        let body = two.body(stream).unwrap();
        assert!(body.contains("hr_"), "{body}");
        took.extend([between.0 - begun.0, clock.now().0 - between.0]);
    }
    took
}

fn bounded(name: &str, settings: &'static [(u16, u32)], attack: Attack) -> usize {
    let seen = attacked(name, settings, attack);
    assert!(seen.growth < ATTACKERS as u64 * GROWTH_MAX, "{name}: it grew by {} KiB", seen.growth >> 10);
    seen.cut_off
}

/// The attack of CVE-2023-44487: each stream costs its caller nothing.
#[test]
fn streams_that_are_opened_and_reset_at_once_cut_the_connection_off() {
    let cut_off = bounded("rapid reset", &[], |frames| {
        let stream = frames.open();
        let mut bytes = frame(HEADERS, END_HEADERS, stream, &head("POST", "/v1/reservations"));
        bytes.extend(frame(DATA, END_STREAM, stream, ONE.as_bytes()));
        bytes.extend(frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
        frames.write(&bytes)
    });
    assert!(cut_off > 0);
}

#[test]
fn headers_without_an_end_cut_the_connection_off() {
    let cut_off = bounded("continuation flood", &[], |frames| {
        let stream = frames.open();
        frames.send(HEADERS, 0, stream, &head("GET", "/livez"));
        let junk = literal("x", &"y".repeat(100)).repeat(100);
        while frames.send(CONTINUATION, 0, stream, &junk) {}
        false
    });
    assert!(cut_off > 0);
}

#[test]
fn header_lists_beyond_the_bound_cut_the_connection_off() {
    let cut_off = bounded("huge header list", &[], |frames| {
        let stream = frames.open();
        let mut bytes = frame(HEADERS, END_STREAM, stream, &head("GET", "/livez"));
        let junk = frame(CONTINUATION, 0, stream, &literal("x", &"y".repeat(100)).repeat(100));
        bytes.extend(junk.repeat(3));
        bytes.extend(frame(CONTINUATION, END_HEADERS, stream, &literal("z", "z")));
        frames.write(&bytes)
    });
    assert!(cut_off > 0);
}

/// Each is within hyper's bound and beyond ours, and is told so.
#[test]
fn heads_of_more_fields_than_may_be_keep_nothing() {
    bounded("many fields", &[], |frames| {
        let fields = [head("GET", "/livez"), literal("x", "").repeat(900)].concat();
        let mut ask = || {
            let stream = frames.open();
            frames.send(HEADERS, END_HEADERS | END_STREAM, stream, &fields);
            stream
        };
        let streams: Vec<_> = (0..HTTP2_STREAMS_MAX).map(|_| ask()).collect();
        streams.into_iter().all(|stream| frames.body(stream).is_some_and(|body| body.contains("head_too_large")))
    });
}

#[test]
fn a_caller_that_asks_and_never_opens_its_window_keeps_no_more_than_its_streams() {
    bounded("window stall", &[(INITIAL_WINDOW, 0)], |frames| {
        for _ in 0..2 * HTTP2_STREAMS_MAX {
            frames.ask("GET", "/v1/pools/p", "");
        }
        // Until the server says something about the last of them, or ends.
        frames.until(|frame| frame.kind == RST_STREAM).is_some() && frames.until(|_| false).is_some()
    });
}

#[test]
fn a_flood_of_pings_cuts_the_connection_off() {
    let cut_off = bounded("ping flood", &[], |frames| frames.write(&frame(PING, 0, 0, &[7; 8]).repeat(100)));
    assert!(cut_off > 0);
}

#[test]
fn a_flood_of_settings_cuts_the_connection_off() {
    let cut_off = bounded("settings flood", &[], |frames| frames.write(&frame(SETTINGS, 0, 0, &[]).repeat(100)));
    assert!(cut_off > 0);
}

#[test]
fn empty_frames_of_a_body_cut_the_connection_off() {
    let cut_off = bounded("empty data", &[], |frames| {
        let stream = frames.open();
        frames.send(HEADERS, END_HEADERS, stream, &head("POST", "/v1/reservations"));
        (0..1_000).all(|_| frames.write(&frame(DATA, 0, stream, &[]).repeat(100)))
    });
    assert!(cut_off > 0);
}

/// Half a preface, and no more: each of these connections ends by itself.
#[test]
fn connections_that_never_end_their_preface_end_by_time() {
    let dir = tempfile::tempdir().unwrap();
    let serve = ["serve", "--listen", "127.0.0.1:0", "--partitions", "1", "--data-dir"];
    let Served { running, url } = Served::start(headroom(serve).arg(dir.path()));
    let address: SocketAddr = url.strip_prefix("http://").unwrap().parse().unwrap();
    let limit = r#"{"limits":{"orders":1000000}}"#;
    assert_eq!(Client::connect(address).send("PUT", "/v1/pools/p", &[], limit).status, 201);
    let begun: Vec<_> = (0..200)
        .map(|_| {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.write_all(&PREFACE[..PREFACE.len() / 2]).unwrap();
            stream
        })
        .collect();
    calls(address);
    until("only who asks is connected", || counted(&mut Client::connect(address), "headroom_http_connections") == 1);
    drop(begun);
    assert_eq!(running.terminate().code, 0);
}
