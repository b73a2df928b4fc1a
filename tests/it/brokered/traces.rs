//! One trace across two processes and a broker: the context travels in the headers of records.

use super::service::Log;
use crate::collector::Collector;
use crate::server::Server;
use crate::traces::{check_reserve, one};
use headroom::time::SystemClock;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

#[test]
fn one_trace_crosses_gateway_broker_and_owner() {
    let (log, collector) = (Log::new(1), Collector::start());
    let dirs = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let serve = |dir: &Path, roles: &str, traces| -> Server {
        let mut config = log.config(dir, roles);
        config.traces = traces;
        log.serve_as(&config, roles, Arc::new(SystemClock::new()))
    };
    let _owner = serve(dirs[0].path(), "owner", collector.traces(0));
    let gateway = serve(dirs[1].path(), "gateway", collector.traces(0));
    gateway.pool("p", 10);
    let mut client = gateway.client();
    for (trace_id, flags) in [(7_u128, "00"), (8, "01")] {
        let parent = format!("traceparent: 00-{trace_id:032x}-00f067aa0ba902b7-{flags}");
        let headers = [&*parent, "tracestate: a=1", "content-type: application/json", "request-timeout-ms: 5000"];
        let told = client.send("POST", "/v1/reservations", &headers, r#"{"pool":"p","demand":{"orders":1}}"#);
        assert_eq!(told.status, 201, "{told:?}");
    }
    let spans = collector.whole_trace(8, 9);
    check_reserve(&spans, Some(0x00f0_67aa_0ba9_02b7));
    let process_of = |name: &str| one(&spans, name).process["service.instance.id"].clone();
    let of_gateway = ["POST /v1/reservations", "admission", "append", "wait", "answer"].map(process_of);
    let of_owner = ["process", "decide", "commit", "reply"].map(process_of);
    assert_eq!(BTreeSet::from(of_gateway).len(), 1);
    assert_eq!(BTreeSet::from(of_owner).len(), 1);
    assert_ne!(process_of("append"), process_of("process"));
    assert_eq!(collector.trace(7).len(), 0, "its caller does not want it recorded");
    // Also of calls that are not recorded, the events say to which trace they belong.
    let traces =
        |trace_id| log.events(0).into_iter().filter_map(|event| event.trace).filter(move |t| t.trace_id == trace_id);
    let state = |trace_id| traces(trace_id).map(|trace| trace.state.as_deref().map(str::to_owned)).collect::<Vec<_>>();
    assert_eq!([state(7), state(8)], [[Some("a=1".to_owned())], [Some("a=1".to_owned())]]);
    let append = one(&spans, "append").span.span_id.clone();
    assert_eq!(traces(8).next().unwrap().span_id.to_be_bytes().to_vec(), append);
}
