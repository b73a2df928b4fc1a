//! The load test as it is run: against the real service, and against servers that lie.

#[path = "../../tests/it/cli/written.rs"]
mod written;

use headroom::app::App;
use headroom::config::{Config, Inputs, Setting};
use headroom::telemetry::Metrics;
use headroom::time::SystemClock;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use written::{code, commands, wrong};

/// Runs it and answers whether it ended well, with its JSON.
fn loadtest(address: SocketAddr, arguments: &str) -> (bool, Value) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_headroom-loadtest"));
    command.args(arguments.split(' ')).args(["--json", "--url", &format!("http://{address}")]);
    let ended = command.stdin(Stdio::null()).output().unwrap();
    let said = serde_json::from_slice(&ended.stdout);
    (ended.status.success(), said.unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&ended.stderr))))
}

/// Runs it against the real service.
fn against_headroom(arguments: &str) -> (bool, Value) {
    let dir = tempfile::tempdir().unwrap();
    let runtime = Runtime::new().unwrap();
    let settings = [(Setting::DataDir, dir.path().to_str().unwrap()), (Setting::Listen, "127.0.0.1:0")];
    let flags = settings.map(|(setting, text)| (setting, text.to_owned())).into();
    let config = Config::load(&Inputs { flags, ..Inputs::default() }).unwrap();
    let app = runtime
        .block_on(App::start(&config, Arc::new(SystemClock::new()), Arc::new(Metrics::new()), &Arc::default()))
        .unwrap();
    let address = app.address();
    let (stop, stopped) = oneshot::channel::<()>();
    let server = runtime.spawn(app.run(async { drop(stopped.await) }));
    let result = loadtest(address, arguments);
    drop(stop);
    runtime.block_on(server).unwrap().unwrap();
    result
}

/// Runs it against a server that says yes to everything, with this proof, and shows this log.
fn against_a_liar(yes: &'static str, ends: &'static str) -> (bool, Value) {
    let runtime = Runtime::new().unwrap();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    runtime.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = service_fn(move |request: Request<Incoming>| lie(request, yes, ends));
            let connection = hyper::server::conn::http1::Builder::new();
            tokio::spawn(connection.serve_connection(TokioIo::new(stream), service));
        }
    });
    loadtest(address, "hot --rate 200 --seconds 1 --warmup 0 --connections 8")
}

async fn lie(
    request: Request<Incoming>,
    yes: &'static str,
    ends: &'static str,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let path = request.uri().path().to_owned();
    request.into_body().collect().await?;
    // The digest of a state with nothing in it.
    let nothing = headroom::wire::digest::Stating::begin().end();
    let (status, body) = match path.as_str() {
        "/v1/reservations" => (201, yes.to_owned()),
        "/internal/log" => (200, ends.to_owned()),
        "/internal/state/0" => {
            let chain = headroom::domain::Digest::default();
            (200, format!(r#"{{"next_seq":0,"chain":"{chain}","digest":"{nothing}","pools":0,"live":0}}"#))
        }
        _ => (200, "{}".to_owned()),
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = hyper::StatusCode::from_u16(status).unwrap();
    Ok(response)
}

#[test]
fn a_run_ends_with_an_audited_figure() {
    let (is_well, said) = against_headroom("spread --rate 200 --seconds 1 --warmup 0 --pools 20 --read-rate 50");
    assert!(is_well, "{said:#}");
    let (reserve, query) = (&said["phases"][0]["streams"]["reserve"], &said["phases"][0]["streams"]["query"]);
    assert_eq!((&said["standing"], &said["audit"]["breaches"]), (&"audited".into(), &0.into()));
    assert_eq!((&reserve["scheduled"], &query["scheduled"]), (&200.into(), &50.into()));
    assert_eq!(reserve["sent"].as_u64().unwrap() + reserve["dropped"].as_u64().unwrap(), 200);
    let told = &said["audit"]["callers"];
    let calls: u64 = ["yes", "no", "unknown"].iter().map(|told_| told[told_].as_u64().unwrap()).sum();
    assert_eq!(calls, reserve["sent"], "every call sent has one end: {said:#}");
}

#[test]
fn a_contested_pool_is_sold_to_its_limit_and_no_further() {
    for over in ["", " --grpc --channels 2"] {
        let load = "hot --rate 300 --seconds 1 --warmup 0 --limit 100 --poisson --timeout-ms 2000";
        let (is_well, said) = against_headroom(&format!("{load}{over}"));
        assert!(is_well, "{said:#}");
        let told = &said["audit"]["callers"];
        assert_eq!((&said["audit"]["live"], &told["yes"]), (&100.into(), &100.into()), "{said:#}");
        assert!(told["no"].as_u64().unwrap() > 0, "the refusals are understood: {said:#}");
    }
}

#[test]
fn holds_that_end_at_once_are_measured_beside_reservations() {
    let (is_well, said) = against_headroom("hot --rate 200 --seconds 1 --warmup 0 --holds 400 --hold-rounds 2");
    assert!(is_well, "{said:#}");
    assert_eq!((said["phases"].as_array().unwrap().len(), &said["rounds"]["rounds"]), (4, &2.into()));
    assert!(said["rounds"]["ratio"].as_f64().unwrap() > 0.0, "{said:#}");
    let yes = said["audit"]["callers"]["yes"].as_u64().unwrap();
    let (live, expired) = (&said["audit"]["live"], &said["audit"]["expired"]);
    assert_eq!((live, expired), (&(yes - 800).into(), &800.into()), "every hold has ended: {said:#}");
}

#[test]
fn a_yes_that_is_not_in_the_log_voids_the_figure() {
    let yes = r#"{"reservation":"hr_00000000000000000000000000","proof":
        {"partition":0,"seq":0,"epoch":1,"digest":"00000000000000000000000000000000"}}"#;
    let (is_well, said) = against_a_liar(yes, r#"{"partitions":1,"ends":[0]}"#);
    assert_eq!((is_well, &said["standing"]), (false, &"VOID".into()), "{said:#}");
    assert!(said["audit"]["breaches"].as_u64().unwrap() > 0, "{said:#}");
}

#[test]
fn a_yes_without_a_proof_voids_the_figure() {
    let (is_well, said) = against_a_liar(r#"{"status":"confirmed"}"#, r#"{"partitions":1,"ends":[0]}"#);
    assert_eq!((is_well, &said["standing"]), (false, &"VOID".into()), "{said:#}");
    assert_eq!(said["audit"]["unreadable"], 200, "{said:#}");
}

#[test]
fn every_command_that_the_page_names_exists() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let help = |names: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_headroom-loadtest"));
        let ended = command.args(names).arg("--help").stdin(Stdio::null()).output().unwrap();
        ended.status.success().then(|| String::from_utf8(ended.stdout).unwrap())
    };
    let program = "headroom-loadtest";
    let commands: Vec<_> = code(&page).iter().flat_map(|line| commands(line, program)).collect();
    assert!(!commands.is_empty(), "the page names no command");
    let found: Vec<String> = commands.iter().filter_map(|words| wrong(program, words, help)).collect();
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

/// Figures of so few turns say nothing; what counts is that all that was committed was found again, in every log.
#[test]
fn commits_of_all_logs_are_read_back() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_headroom-loadtest"));
    command.args("commits --turns 3 --events 1000 --warm 1 --rounds 2 --json".split(' '));
    let ended = command.output().unwrap();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    let said: Value = serde_json::from_slice(&ended.stdout).unwrap();
    // In two rounds two threads: three turns of each size but the largest, which is taken twice, and the pools before.
    let events = 2 * 2 * (3 + 30 + 300 + 1_000 + 4 * 40);
    for side in ["segments", "redb", "fjall"] {
        assert_eq!(said["read_back"][side], events, "{said}");
        let sizes: Vec<_> = said["figures"].as_array().unwrap().iter().map(|of| of["turns_of"].as_u64()).collect();
        assert_eq!(sizes, [1, 10, 100, 500].map(Some));
        for figures in said["figures"].as_array().unwrap() {
            let measures = figures["measures"].as_object().unwrap();
            // So few rows may fit into pages that the redb file has already.
            let is_told = |(name, of): (&String, &Value)| {
                let median = of[side]["figure"]["median"].as_f64();
                median > Some(0.0) || (side == "redb" && name.starts_with("disk") && median == Some(0.0))
            };
            assert!(measures.len() == 5 && measures.iter().all(is_told), "{said}");
        }
    }
}
