//! What a server tells a collector of its calls, span by span, and that no collector troubles its callers.

use crate::collector::{Collector, Received};
use crate::http::client::{Client, Reply};
use crate::server::{Server, runtime};
use crate::wait::until;
use headroom::config::Traces;
use headroom::domain::Micros;
use headroom::limits::{SPANS_AT_ONCE_MAX, SPANS_WAITING_MAX};
use headroom::telemetry::{Metrics, TraceExport};
use headroom::time::{Clock, SystemClock};
use headroom::trace::{Recorder, Span, TraceContext, Work};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use std::collections::BTreeMap;
use std::net::TcpListener;
use std::sync::Arc;
use tempfile::TempDir;

/// The span of every caller here.
const CALLER: u64 = 0x00f0_67aa_0ba9_02b7;
const RESERVE: &str = r#"{"pool":"p","demand":{"orders":1}}"#;
/// Spans of a Reserve in its own trace.
const OF_RESERVE: usize = 9;

/// Over a new log, with the pool `p`.
fn server(traces: Option<Traces>) -> (Server, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let mut config = Server::config(dir.path(), 1);
    config.traces = traces;
    let server = Server::of(&config, Arc::new(SystemClock::new()));
    until("the server decides", || server.client().get("/readyz").status == 200);
    server.pool("p", 1_000_000);
    (server, dir)
}

/// Reserves, as a caller in this trace does.
fn reserve(client: &mut Client, trace_id: u128, flags: &str) -> Reply {
    let parent = format!("traceparent: 00-{trace_id:032x}-{CALLER:016x}-{flags}");
    let headers = [&parent, "tracestate: a=1", "baggage: user=secret", "content-type: application/json"];
    client.send("POST", "/v1/reservations", &headers, RESERVE)
}

/// The only span of this name.
#[track_caller]
pub fn one<'a>(spans: &'a [Received], name: &str) -> &'a Received {
    let found: Vec<_> = spans.iter().filter(|span| span.name() == name).collect();
    let [one] = found[..] else { panic!("{} spans are called {name}: {spans:#?}", found.len()) };
    one
}

/// Checks the spans of a Reserve that was recorded everywhere: names, parents, kinds, links and times.
#[track_caller]
pub fn check_reserve(spans: &[Received], caller: Option<u64>) {
    const CALL: &str = "POST /v1/reservations";
    let tree: [(&str, &str, SpanKind); OF_RESERVE] = [
        (CALL, "", SpanKind::Server),
        ("admission", CALL, SpanKind::Internal),
        ("append", CALL, SpanKind::Producer),
        ("wait", CALL, SpanKind::Internal),
        ("answer", CALL, SpanKind::Internal),
        ("process", "append", SpanKind::Consumer),
        ("decide", "process", SpanKind::Internal),
        ("commit", "process", SpanKind::Internal),
        ("reply", "process", SpanKind::Producer),
    ];
    assert_eq!(spans.len(), tree.len(), "{spans:#?}");
    for (name, parent, kind) in tree {
        let Received { span, .. } = one(spans, name);
        assert_eq!(span.kind, kind as i32, "{name}");
        assert!(span.start_time_unix_nano <= span.end_time_unix_nano, "{span:?}");
        if parent.is_empty() {
            let caller = caller.map(|caller| caller.to_be_bytes().to_vec()).unwrap_or_default();
            assert_eq!(span.parent_span_id, caller, "{name}");
        } else {
            let above = &one(spans, parent).span;
            assert_eq!(span.parent_span_id, above.span_id, "{name}");
            assert!(above.start_time_unix_nano <= span.start_time_unix_nano, "{name} begins before {parent}");
        }
    }
    // On Kafka the event itself may come before the reply.
    let (links, reply) = (one(spans, "wait").links(), one(spans, "reply").id());
    assert!(links.is_empty() || links == [reply], "{links:?}");
    let ends = ["admission", "append", "wait", "answer"].map(|name| one(spans, name).span.end_time_unix_nano);
    assert!(ends.is_sorted(), "{ends:?}");
}

#[test]
fn one_trace_shows_a_call_from_its_caller_to_the_commit_and_back() {
    let collector = Collector::start();
    let (server, _dir) = server(collector.traces(0));
    let trace_id = 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736;
    let told = reserve(&mut server.client(), trace_id, "01");
    assert_eq!((told.status, told.header("x-request-id")), (201, Some("4bf92f3577b34da6a3ce929d0e0e4736")));
    let spans = collector.whole_trace(trace_id, OF_RESERVE);
    check_reserve(&spans, Some(CALLER));
    assert_eq!(one(&spans, "wait").links(), [one(&spans, "reply").id()], "the reply has ended the wait");
    assert!(spans.iter().all(|received| received.span.trace_state == "a=1"), "{spans:#?}");
    let has = |name: &str, expected: &[(&str, &str)]| {
        let of = one(&spans, name).attributes();
        for (key, value) in expected {
            assert_eq!(of.get(*key).map(String::as_str), Some(*value), "{key} of {name}: {of:?}");
        }
    };
    has(
        "POST /v1/reservations",
        &[
            ("http.request.method", "POST"),
            ("http.route", "/v1/reservations"),
            ("http.response.status_code", "201"),
            ("headroom.code", "ok"),
        ],
    );
    let message = [("messaging.destination.name", "commands"), ("messaging.destination.partition.id", "0")];
    has("append", &[message[0], message[1], ("messaging.operation.type", "send")]);
    let decided = [("headroom.event.kind", "Accepted"), ("headroom.command.offset", "1"), ("headroom.event.seq", "2")];
    has("process", &[message[0], message[1], decided[0], decided[1], decided[2]]);
    has("commit", &[("headroom.commit.outcome", "ok")]);
    has("wait", &[("headroom.timed_out", "false")]);
    // The turn has a trace of its own: it may have decided commands of many.
    let process = one(&spans, "process");
    until("the turn is here", || collector.all().iter().any(|span| span.name() == "turn"));
    let all = collector.all();
    let turn = one(&all, "turn");
    assert_eq!((turn.links(), process.links()), (vec![process.id()], vec![turn.id()]));
    assert_eq!(turn.attributes()["messaging.batch.message_count"], "1");
    let of_process = &process.process;
    assert_eq!(of_process["service.name"], "headroom");
    assert_eq!(of_process["service.version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(of_process["service.instance.id"].len(), 16);
    assert!(!format!("{all:?}").contains("secret"), "baggage goes nowhere");
}

#[test]
fn a_caller_decides_whether_its_trace_is_recorded_and_the_ratio_decides_for_others() {
    for sampled_of_million in [0, 1_000_000] {
        let collector = Collector::start();
        let (server, _dir) = server(collector.traces(sampled_of_million));
        let mut client = server.client();
        let own = client.send("POST", "/v1/reservations", &["content-type: application/json"], RESERVE);
        let own = u128::from_str_radix(own.header("x-request-id").unwrap(), 16).unwrap();
        // What is not valid counts as not sent.
        let wrong = client.send("GET", "/v1/pools/p", &["traceparent: 00-0-0-01"], "");
        let wrong = u128::from_str_radix(wrong.header("x-request-id").unwrap(), 16).unwrap();
        reserve(&mut client, 7, "00");
        reserve(&mut client, 8, "01");
        // Spans are sent in order.
        check_reserve(&collector.whole_trace(8, OF_RESERVE), Some(CALLER));
        assert_eq!(collector.trace(7).len(), 0);
        if sampled_of_million == 0 {
            assert_eq!((collector.trace(own).len(), collector.trace(wrong).len()), (0, 0));
        } else {
            check_reserve(&collector.trace(own), None);
            assert_eq!(one(&collector.trace(wrong), "GET /v1/pools/{pool}").span.parent_span_id, b"");
        }
    }
}

#[test]
fn a_call_that_is_shed_or_refused_shows_how_far_it_came() {
    let collector = Collector::start();
    let (server, _dir) = server(collector.traces(0));
    let mut client = server.client();
    let parent = |trace_id: u128| format!("traceparent: 00-{trace_id:032x}-{CALLER:016x}-01");
    let json = "content-type: application/json";
    let body = r#"{"pool":"none","demand":{"orders":1}}"#;
    assert_eq!(client.send("POST", "/v1/reservations", &[&parent(1), json], body).code(), "unknown_pool");
    assert_eq!(client.send("POST", "/v1/reservations", &[&parent(2), json], "{").code(), "bad_json");
    server.gateway.close();
    assert_eq!(client.send("POST", "/v1/reservations", &[&parent(3), json], body).code(), "shed");
    let shed = collector.whole_trace(3, 2);
    let refused = collector.trace(1);
    assert_eq!(one(&refused, "process").attributes()["headroom.event.reason"], "unknown_pool");
    let bad = collector.trace(2);
    assert_eq!((bad.len(), &*bad[0].attributes()["headroom.code"]), (1, "bad_json"));
    assert_eq!(shed.len(), 2, "{shed:#?}");
    assert_eq!(one(&shed, "admission").attributes()["error.type"], "closing");
    assert_eq!(one(&shed, "POST /v1/reservations").attributes()["error.type"], "shed");
}

/// A metric of spans.
fn counted(text: &str, outcome: &str) -> u64 {
    let start = format!("headroom_trace_spans_total{{outcome=\"{outcome}\"}} ");
    text.lines().find_map(|line| line.strip_prefix(&start)).unwrap().parse().unwrap()
}

#[test]
fn a_collector_that_refuses_or_never_answers_changes_nothing_for_callers() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for (address, fails) in [(gone, true), (silent.local_addr().unwrap(), false)] {
        let traces = Traces { endpoint: format!("http://{address}"), sampled_of_million: 1_000_000 };
        let (server, _dir) = server(Some(traces));
        let mut client = server.client();
        for n in 0..20 {
            assert_eq!(reserve(&mut client, n + 1, "01").status, 201);
        }
        if fails {
            until("spans that cannot be sent are counted", || counted(&client.get("/metrics").body, "failed") > 0);
        }
        assert_eq!(counted(&client.get("/metrics").body, "exported"), 0);
        // The server also ends in time: it does when it is dropped.
    }
}

#[test]
fn spans_that_find_no_room_are_dropped_and_counted_and_nobody_waits() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let traces = Traces { endpoint: format!("http://{}", silent.local_addr().unwrap()), sampled_of_million: 1_000_000 };
    let (clock, metrics) = (Arc::new(SystemClock::new()), Metrics::new());
    let _inside = runtime().enter();
    let export = TraceExport::start(&traces, 7, Arc::clone(&clock) as Arc<dyn Clock>, &metrics).unwrap();
    let count = (SPANS_WAITING_MAX + 2 * SPANS_AT_ONCE_MAX) as u64;
    for n in 0..count {
        let context = TraceContext { trace_id: 1, span_id: n + 1, is_sampled: true, state: None };
        let (begun, ended, links) = (Micros(1), clock.now(), Vec::new());
        export.record(Span { context, parent: None, is_parent_remote: false, work: Work::Decide, begun, ended, links });
    }
    // One export is under way, and the queue is full.
    let dropped = counted(&headroom::api::http::Metrics::render(&metrics), "dropped");
    let least = count - (SPANS_WAITING_MAX + SPANS_AT_ONCE_MAX) as u64;
    assert!((least..=count - SPANS_WAITING_MAX as u64).contains(&dropped), "{dropped} of {count}");
}

#[test]
fn a_trace_is_found_by_the_id_in_a_problem_also_when_nothing_is_recorded() {
    let (server, _dir) = server(None);
    let ids: BTreeMap<_, _> = [("01", 7_u128), ("00", 8)].into();
    for (flags, trace_id) in ids {
        let parent = format!("traceparent: 00-{trace_id:032x}-{CALLER:016x}-{flags}");
        let refused = server.client().send("GET", "/v1/pools/none", &[&parent], "");
        assert_eq!(refused.json()["trace_id"], format!("{trace_id:032x}"));
    }
    let (one, two) = (server.client().get("/nothing"), server.client().get("/nothing"));
    assert_ne!(one.header("x-request-id"), two.header("x-request-id"));
}
