//! `headroom client` against a real server, and against servers that fail, lie or come from the future.

use super::assert_says;
use crate::process::{Ended, Served, closed, headroom, run};
use headroom::limits::CREDENTIAL_BYTES_MAX;
use rcgen::{CertifiedKey, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};

const POOL: &str = r#"{"limits":{"orders":2,"crates":30},"areas":["SG-01"],"labels":{"fleet":"van"},
    "window":{"start":"2100-01-01T10:00:00Z","end":"2100-01-01T12:00:00Z"}}"#;

/// A call of the server at a URL; the words of the line are the arguments.
fn call(url: &str, line: &str) -> Command {
    let mut command = headroom(["client", "--url", url]);
    command.args(line.split_whitespace());
    command
}

/// Makes a call that does what it says, and answers what it printed.
#[track_caller]
fn done(url: &str, line: &str) -> String {
    let ended = run(&mut call(url, line));
    assert_eq!(ended.code, 0, "{line}: {}{}", ended.out, ended.err);
    ended.out
}

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// A real server with the pool `van-1`, and its directory.
fn served() -> (Served, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let mut serve = headroom(["--listen", "127.0.0.1:0", "--partitions", "1", "--data-dir"]);
    let server = Served::start(serve.arg(dir.path()));
    let put = run(call(&server.url, "pools put van-1").arg(POOL));
    assert_eq!(put.code, 0, "{}", put.err);
    (server, dir)
}

/// Gives these answers to the next connections, one each, and tells what was asked. A new `stream` is made of each.
fn scripted<S: Read + Write>(
    answers: Vec<String>,
    mut stream: impl FnMut(TcpStream) -> S + Send + 'static,
) -> (u16, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (tell, asked) = mpsc::channel();
    std::thread::spawn(move || {
        for answer in answers {
            let mut stream = BufReader::new(stream(listener.accept().unwrap().0));
            // Whoever finds a certificate wrong sends nothing.
            let Some(request) = request(&mut stream) else { continue };
            stream.get_mut().write_all(answer.as_bytes()).unwrap();
            stream.get_mut().flush().unwrap();
            if tell.send(request).is_err() {
                return;
            }
        }
    });
    (port, asked)
}

/// The head and the body of a request.
fn request(from: &mut impl BufRead) -> Option<String> {
    let (mut text, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if from.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if let Some(number) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = number.trim().parse().unwrap();
        }
        text.push_str(&line);
        if line == "\r\n" {
            break;
        }
    }
    let mut body = vec![0; length];
    from.read_exact(&mut body).ok()?;
    Some(text + std::str::from_utf8(&body).unwrap())
}

/// A whole response.
fn response(status: u16, headers: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status} x\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n{body}")
}

/// A server with these answers, and what it is asked.
fn server_with(answers: impl IntoIterator<Item = String>) -> (String, Receiver<String>) {
    let (port, asked) = scripted(answers.into_iter().collect(), |stream| stream);
    (format!("http://127.0.0.1:{port}"), asked)
}

/// The story: a script keeps the answers in a file, and the disk is full. The order was taken, so the script must not be told
/// that nothing was done. A note that cannot be written is no reason to end.
#[test]
fn an_answer_that_cannot_be_printed_is_an_unknown_outcome() {
    let full = || Stdio::from(OpenOptions::new().write(true).open("/dev/full").unwrap());
    let (server, dir) = served();
    for line in ["reserve van-1 orders=1 --key full-1", "reserve van-1 orders=1 --key full-1 --json"] {
        let ended = call(&server.url, line).stdout(full()).output().unwrap();
        let told = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(ended.status.code(), Some(3), "{told}");
        assert_says(&told, &["cannot write the output", "repeat the call with --key full-1"]);
    }
    let read = call(&server.url, "pools get van-1").stdout(full()).output().unwrap();
    assert_eq!(read.status.code(), Some(2));
    assert_says(&done(&server.url, "pools get van-1"), &["orders 1/2"]);
    let quiet = call(&server.url, "reserve van-1 orders=1").stderr(full()).output().unwrap();
    assert_eq!(quiet.status.code(), Some(0));
    let rebuilt =
        headroom(["rebuild", "--partition", "0", "--data-dir"]).arg(dir.path()).stderr(full()).output().unwrap();
    assert_eq!(rebuilt.status.code(), Some(0), "{}", String::from_utf8_lossy(&rebuilt.stdout));
}

/// The story: a script read the first line of an answer and then asked for the exit code. A refusal ended with 0, and a check kept
/// what it had reserved.
#[test]
fn whoever_closes_the_output_gets_the_exit_code_all_the_same() {
    let (server, _dir) = served();
    let code = |line: &str| call(&server.url, line).stdout(closed()).output().unwrap().status.code();
    assert_eq!(code("reserve van-1 orders=3 --json"), Some(1));
    assert_eq!(code("check van-1 orders=2"), Some(0));
    assert_says(&done(&server.url, "pools get van-1"), &["orders 2/2"]);
    assert_eq!(code("reserve van-1 orders=2"), Some(0));
}

#[test]
fn a_pool_retires_when_its_reservations_may_end_with_it() {
    let (server, _dir) = served();
    let url = &server.url;
    done(url, "reserve van-1 orders=1 crates=4 --key first");
    let refused = run(&mut call(url, "pools retire van-1 --if-match 1"));
    assert_says(&refused.err, &["pool_in_use", "pool van-1 has 1 live reservation: release it first"]);
    assert_ne!(refused.code, 0);
    let retired = json(&done(url, "pools retire van-1 --with-reservations --key last --json"));
    assert_eq!((&retired["pool"], &retired["live_reservations"]), (&"van-1".into(), &1.into()));
    let again = json(&done(url, "pools retire van-1 --with-reservations --key last --json"));
    assert_eq!(again["live_reservations"], 1);
    let gone = run(&mut call(url, "pools get van-1"));
    assert_says(&gone.err, &["unknown_pool", "pool van-1 has retired", "can be defined anew from 20"]);
    let anew = run(call(url, "pools put van-1").arg(POOL));
    assert_says(&anew.err, &["pool_retired", "can be defined anew from 20"]);
    assert!(gone.code != 0 && anew.code != 0);
}

#[test]
fn a_reservation_is_held_confirmed_amended_and_given_back() {
    let (server, _dir) = served();
    let url = &server.url;
    let held = done(url, "reserve van-1 orders=1 crates=4 --hold-ttl-ms 60000 --order-ref A-1 --key first");
    let (id, rest) = held.split_once(' ').unwrap();
    assert!(rest.starts_with("held until 20") && rest.contains(" in van-1: crates 4, orders 1 (partition 0, event "));
    let again = done(url, "reserve van-1 orders=1 crates=4 --hold-ttl-ms 60000 --order-ref A-1 --key first");
    assert_says(&again, &[id, "nothing was changed: this had been done before\n"]);
    assert_says(&done(url, &format!("extend {id} --hold-ttl-ms 120000")), &["held until 20"]);
    assert_says(&done(url, &format!("confirm {id}")), &["confirmed in van-1"]);
    assert_says(&done(url, &format!("amend {id} orders=1 crates=7")), &["confirmed in van-1: crates 7, orders 1"]);
    assert_says(&done(url, &format!("get {id} --fresh")), &["confirmed in van-1: crates 7, orders 1"]);
    assert_says(&done(url, &format!("release {id} --key last --timeout-ms 5000")), &[" released (partition 0, event "]);
    let read = json(&done(url, &format!("get {id} --json")));
    assert_eq!((&read["status"], &read["order_ref"]), (&"released".into(), &"A-1".into()));
}

#[test]
fn a_check_reserves_and_gives_back() {
    let (server, _dir) = served();
    let told = done(&server.url, "check van-1 orders=2 crates=30 --timeout-ms 5000");
    assert_says(&told, &["held until 20", " released (partition 0, event "]);
    // All units are there again, so it can be repeated at once.
    done(&server.url, "check van-1 orders=2 crates=30 --timeout-ms 5000");
    let ended = run(&mut call(&server.url, "check van-1 orders=3 --timeout-ms 5000"));
    assert_eq!(ended.code, 1, "{}", ended.err);
    assert_says(&ended.err, &["over_limit: "]);
    let (url, asked) = server_with([response(201, "", r#"{"pool":"van-1"}"#)]);
    let ended = run(&mut call(&url, "check van-1 orders=1"));
    assert_eq!(ended.code, 2, "{}", ended.err);
    assert_says(&ended.err, &["the answer names no reservation"]);
    assert_says(&asked.recv().unwrap(), &[r#""hold_ttl_ms":20000"#]);
}

#[test]
fn pools_are_made_listed_changed_and_searched() {
    let (server, dir) = served();
    let url = &server.url;
    let table = done(url, "pools get van-1 --fresh");
    let row = "van-1  open  1        crates 30/30, orders 2/2  2100-01-01T10:00:00Z to 2100-01-01T12:00:00Z  SG-01\n";
    assert_eq!(table.lines().next().unwrap().split_whitespace().next(), Some("POOL"));
    assert!(table.ends_with(row), "{table}");
    let file = dir.path().join("pool.json");
    std::fs::write(&file, POOL).unwrap();
    assert_says(&done(url, &format!("pools put van-2 @{} --key k", file.display())), &["van-2  open  1 "]);
    assert_says(
        &done(url, r#"pools patch van-2 {"adjust":{"orders":5}} --if-match 1"#),
        &["van-2  open  2 ", "orders 7/7"],
    );
    assert_says(&done(url, "pools mode van-2 paused --if-match 2"), &["van-2  paused  3 "]);
    let stale = run(&mut call(url, "pools mode van-2 open --if-match 1"));
    assert_eq!((stale.code, &*stale.out), (1, ""));
    assert_says(&stale.err, &["headroom: stale_version: "]);

    let found = |line: &str| {
        let answer = json(&done(url, line));
        let pools = answer["pools"].as_array().unwrap().iter();
        pools.map(|pool| pool["pool"].as_str().unwrap().to_owned()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(found("pools list --json"), "van-1 van-2");
    assert_eq!(found("availability --json --fresh"), "van-1 van-2");
    assert_eq!(found("availability --json orders=1 --area SG-01 --label fleet=van"), "van-1", "van-2 is paused");
    assert_eq!(found("availability --json --from 2100-01-01T12:00:00Z"), "");
    assert_eq!(found("availability --json --to 2100-01-01T10:00:01Z --area nowhere --area SG-01"), "van-1 van-2");
    let page = run(&mut call(url, "pools list --limit 1"));
    assert_eq!((page.code, &*page.err), (0, "headroom: there may be more: --cursor van-1\n"));
    assert_eq!(found("pools list --json --limit 1 --cursor van-1"), "van-2");

    let made: Vec<_> =
        (0..2).map(|n| json(&done(url, &format!("reserve van-1 orders=1 --key r-{n} --json")))).collect();
    let mut ids: Vec<_> = made.iter().map(|made| made["reservation"].as_str().unwrap()).collect();
    ids.sort_unstable();
    let page = run(&mut call(url, "pools reservations van-1 --status confirmed --limit 1 --fresh"));
    assert_says(&page.out, &[&format!("{} confirmed in van-1: orders 1 (partition 0, event ", ids[0])]);
    assert_eq!((page.code, page.err), (0, format!("headroom: there may be more: --cursor {}\n", ids[1])));
    let rest = done(url, &format!("pools reservations van-1 --cursor {}", ids[1]));
    assert!(rest.starts_with(ids[1]) && rest.lines().count() == 1, "{rest}");
    assert_eq!(done(url, "pools reservations van-1 --status expired"), "");
    assert_eq!(run(&mut call(url, "pools reservations van-1 --status parked")).code, 2);
}

#[test]
fn a_pool_is_read_from_standard_input() {
    let (server, dir) = served();
    let file = dir.path().join("pool.json");
    std::fs::write(&file, POOL).unwrap();
    let mut put = call(&server.url, "pools put van-3 -");
    let ended = run(put.stdin(Stdio::from(std::fs::File::open(&file).unwrap())));
    assert_eq!(ended.code, 0, "{}", ended.err);
    std::fs::write(&file, vec![b' '; 70_000]).unwrap();
    let ended = run(&mut call(&server.url, &format!("pools put van-3 @{}", file.display())));
    assert_eq!((ended.code, &*ended.out), (2, ""));
    assert_says(&ended.err, &["pool.json, holds more than 65536 bytes"]);
}

#[test]
fn a_refusal_exits_1_and_says_its_code() {
    let (server, _dir) = served();
    let ended = run(&mut call(&server.url, "reserve van-1 orders=3 --key k"));
    assert_eq!((ended.code, &*ended.out), (1, ""));
    assert!(ended.err.starts_with("headroom: over_limit: ") && ended.err.lines().count() == 1, "{}", ended.err);
    let ended = run(&mut call(&server.url, "reserve van-1 orders=3 --key k --json"));
    assert_eq!((ended.code, &*ended.err), (1, ""));
    let problem = json(&ended.out);
    assert_eq!((&problem["code"], &problem["remaining"]["orders"]), (&"over_limit".into(), &2.into()));
    let ended = run(&mut call(&server.url, "pools get nowhere"));
    assert_eq!((ended.code, &*ended.out), (1, ""));
    assert_says(&ended.err, &["headroom: unknown_pool: "]);
}

/// The key that a call made for itself.
fn made_key(ended: &Ended) -> &str {
    let begin = "headroom: the key of this call is ";
    let line = ended.err.lines().find_map(|line| line.strip_prefix(begin)).unwrap_or_else(|| panic!("{}", ended.err));
    line.split(';').next().unwrap()
}

#[test]
fn a_call_without_a_key_gets_one_that_repeats_it() {
    let (server, _dir) = served();
    let first = run(&mut call(&server.url, "reserve van-1 orders=1"));
    let second = run(&mut call(&server.url, "reserve van-1 orders=1"));
    assert_eq!((first.code, second.code), (0, 0), "{}{}", first.err, second.err);
    assert_ne!(made_key(&first), made_key(&second));
    let again = done(&server.url, &format!("reserve van-1 orders=1 --key {}", made_key(&first)));
    let id = |answer: &str| answer.split(' ').next().unwrap().to_owned();
    assert_eq!(id(&again), id(&first.out));
}

#[test]
fn whoever_is_not_reached_has_done_nothing() {
    // A port that was free a moment ago.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("http://127.0.0.1:{port}");
    for line in ["reserve van-1 orders=1 --key k", "pools list", "pools list --retry 1"] {
        let ended = run(&mut call(&url, line));
        assert_eq!((ended.code, &*ended.out), (2, ""), "{line}: {}", ended.err);
        assert_says(&ended.err, &[&format!("cannot call {url}"), "Connection refused"]);
    }
}

#[test]
fn a_command_without_a_clear_answer_exits_3_with_its_key() {
    let unsure = r#"{"code":"timeout","outcome":"unknown","detail":"it may still be applied"}"#;
    let odd = r#"{"code":"brand_new","outcome":"perhaps","detail":"of the future"}"#;
    let answers = [
        (String::new(), "the connection broke", 2),
        (response(502, "", "<html>"), "answered 502, and not as Headroom does", 2),
        (response(200, "", "<html>"), "answered 200, and not as Headroom does", 2),
        (response(504, "", unsure), "timeout: it may still be applied", 1),
        (response(503, "", odd), "brand_new: of the future", 1),
    ];
    for (answer, says, of_a_read) in answers {
        let (url, asked) = server_with([answer.clone(), answer]);
        let command = run(&mut call(&url, "release hr_00000000000000000000000000 --key my-key"));
        assert_eq!((command.code, &*command.out), (3, ""), "{says}: {}", command.err);
        assert_says(&command.err, &["the outcome is unknown: ", says, "; repeat the call with --key my-key\n"]);
        assert_says(&asked.recv().unwrap(), &["DELETE /v1/reservations/hr_00000000000000000000000000 ", "my-key\r\n"]);
        let read = run(&mut call(&url, "pools list"));
        assert_eq!((read.code, &*read.out), (of_a_read, ""), "{says}: {}", read.err);
        assert_says(&read.err, &[says]);
    }
}

#[test]
fn what_a_newer_server_says_is_shown_as_far_as_it_is_known() {
    let problem = r#"{"code":"brand_new","outcome":"not_applied","detail":"of the \u001b[2Jfuture","more":[1]}"#;
    let answer = r#"{"reservation":"hr_1","status":"parked","demand":{"orders":1},"more":{"of":"it"}}"#;
    let moved = response(307, "location: http://127.0.0.1:1/\r\n", "");
    let (url, _asked) = server_with([response(418, "", problem), response(201, "", answer), moved]);
    let line = "reserve van-1 orders=1 --key k";
    let refused = run(&mut call(&url, line));
    assert_eq!((refused.code, &*refused.err), (1, "headroom: brand_new: of the \u{fffd}[2Jfuture\n"));
    assert_eq!(done(&url, line), "hr_1 parked: orders 1\n");
    let ended = run(&mut call(&url, line));
    assert_eq!((ended.code, &*ended.out), (2, ""), "a redirect is not followed: {}", ended.err);
}

#[test]
fn a_call_is_repeated_under_its_key_when_the_server_says_so() {
    let busy = r#"{"code":"shed","outcome":"not_applied","detail":"later"}"#;
    let yes = r#"{"reservation":"hr_1","status":"confirmed"}"#;
    let later = response(503, "retry-after: 0\r\n", busy);
    let (url, asked) = server_with([later.clone(), response(429, "retry-after: 0\r\n", busy), response(201, "", yes)]);
    assert_eq!(done(&url, "reserve van-1 orders=1 --retry 2"), "hr_1 confirmed\n");
    let requests: Vec<String> = asked.iter().collect();
    assert_eq!(requests.len(), 3);
    assert!(requests.iter().all(|request| *request == requests[0] && request.contains("idempotency-key: cli-")));

    let (url, asked) = server_with([later.clone(), later, response(503, "", busy)]);
    assert_eq!(run(&mut call(&url, "reserve van-1 orders=1 --retry 1 --key k")).code, 1);
    assert_eq!(run(&mut call(&url, "reserve van-1 orders=1 --retry 5 --key k")).code, 1, "no time was named");
    assert_eq!(asked.iter().count(), 3);
}

#[test]
fn a_token_is_sent_and_never_shown() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    std::fs::write(&file, "hr_of-the-file\n").unwrap();
    let refused = r#"{"code":"forbidden","outcome":"not_applied","detail":"no"}"#;
    let (url, asked) = server_with(vec![response(403, "", refused); 4]);
    let with_file = format!("pools list --token-file {}", file.display());
    for (line, sent) in [("pools list", "hr_of-the-variable"), (&*with_file, "hr_of-the-file")] {
        let ended = run(call(&url, line).env("HEADROOM_TOKEN", "hr_of-the-variable"));
        assert_eq!(ended.code, 1);
        assert_says(&asked.recv().unwrap(), &[&format!("authorization: Bearer {sent}\r\n")]);
        assert!(!format!("{}{}", ended.out, ended.err).contains("hr_of"), "{}", ended.err);
    }
    run(&mut call(&url, "pools list"));
    assert!(!asked.recv().unwrap().contains("authorization"));
    // A JWT may be as long as a server takes one.
    let long = "x".repeat(CREDENTIAL_BYTES_MAX);
    std::fs::write(&file, format!("{long}\n")).unwrap();
    assert_eq!(run(&mut call(&url, &with_file)).code, 1);
    assert_says(&asked.recv().unwrap(), &[&format!("authorization: Bearer {long}\r\n")]);
    std::fs::write(&file, format!("{long}xyz")).unwrap();
    let ended = run(&mut call(&url, &with_file));
    assert_eq!(ended.code, 2);
    assert_says(&ended.err, &["the file of --token-file, ", " holds more than 8194 bytes"]);

    let ended = run(call("http://headroom.example", "pools list").env("HEADROOM_TOKEN", "hr_of-the-variable"));
    assert_eq!((ended.code, &*ended.out), (2, ""));
    assert_says(&ended.err, &["http://headroom.example: a token is sent to another machine by https:// only"]);
    let ended = run(&mut call(&url, "pools list --token-file /no/such"));
    assert_eq!((ended.code, &*ended.out), (2, ""));
    assert_says(&ended.err, &["the file of --token-file, /no/such, cannot be read"]);
}

/// A server over TLS with a certificate of its own, which is also in the answer. With `caller`, it serves only who has that
/// certificate.
fn server_over_tls(answers: Vec<String>, caller: Option<&CertifiedKey<KeyPair>>) -> (String, String) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
    let builder = match caller {
        None => builder.unwrap().with_no_client_auth(),
        Some(caller) => {
            let mut roots = RootCertStore::empty();
            roots.add(caller.cert.der().clone()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
            builder.unwrap().with_client_cert_verifier(verifier)
        }
    };
    let config = builder.with_single_cert(vec![made.cert.der().clone()], key).unwrap();
    let config = Arc::new(config);
    let over_tls = move |stream| StreamOwned::new(ServerConnection::new(Arc::clone(&config)).unwrap(), stream);
    let (port, _asked) = scripted(answers, over_tls);
    (format!("https://localhost:{port}"), made.cert.pem())
}

#[test]
fn a_server_over_tls_is_called_when_its_authority_is_known() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ca.pem");
    let pools = response(200, "", r#"{"pools":[]}"#);
    let (url, pem) = server_over_tls(vec![pools.clone(), pools], None);
    std::fs::write(&file, pem).unwrap();
    let unknown = run(&mut call(&url, "pools list"));
    assert_eq!((unknown.code, &*unknown.out), (2, ""), "{}", unknown.err);
    assert_says(&unknown.err, &[&format!("cannot call {url}"), "certificate"]);
    let known = run(call(&url, "pools list --ca").arg(&file).env("HEADROOM_TOKEN", "hr_token"));
    assert_eq!((known.code, &*known.err), (0, ""));
    std::fs::write(&file, "no certificate").unwrap();
    let ended = run(call(&url, "pools list --ca").arg(&file));
    assert_eq!(ended.code, 2);
    assert_says(&ended.err, &["holds no certificate in PEM"]);
}

#[test]
fn a_certificate_is_shown_to_a_server_that_asks_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let caller = rcgen::generate_simple_self_signed(["caller".to_owned()]).unwrap();
    let (url, pem) = server_over_tls(vec![response(200, "", r#"{"pools":[]}"#); 2], Some(&caller));
    let paths = ["ca.pem", "certificate.pem", "key.pem"].map(|name| dir.path().join(name));
    let texts = [pem, caller.cert.pem(), caller.signing_key.serialize_pem()];
    paths.iter().zip(texts).for_each(|(path, text)| std::fs::write(path, text).unwrap());
    let [ca, certificate, key] = paths.map(|path| path.display().to_string());
    let ended = run(&mut call(&url, &format!("pools list --ca {ca}")));
    assert_ne!(ended.code, 0, "{}", ended.out);
    let shown = format!("pools list --ca {ca} --certificate {certificate}");
    assert_eq!(run(&mut call(&url, &format!("{shown} --certificate-key {key}"))).code, 0);
    let ended = run(&mut call(&url, &format!("{shown} --certificate-key {ca}")));
    assert_eq!((ended.code, &*ended.out), (2, ""));
    assert_says(&ended.err, &["the client's certificate and its key cannot be read"]);
    assert_says(&run(&mut call(&url, &shown)).err, &["--certificate-key <FILE>"]);
}

#[test]
fn bad_usage_exits_2_before_anything_is_sent() {
    for (line, says) in [
        ("reserve van-1", "required arguments were not provided"),
        ("reserve .. orders=1", "is only dots"),
        ("reserve van-1 orders", "give a dimension and a number"),
        ("reserve van-1 orders=-1", "is not a whole number of units"),
        ("reserve van-1 Orders=1", "the dimension has 'O'"),
        ("reserve van-1 orders=1 orders=2", "the dimension orders is given twice"),
        ("reserve van-1 orders=1 --timeout-ms 5001", "5001 is not in 1..=5000"),
        ("reserve van-1 orders=1 --token hr_x", "unexpected argument '--token'"),
        ("get hr_1", "is not an id that Headroom gave out"),
        ("pools put van-1 @/no/such", "cannot be read"),
        ("pools list --retry 101", "101 is not in 0..=100"),
        ("pools list --url localhost:1", "has to begin with https://"),
    ] {
        let ended = run(headroom(["client"]).args(line.split_whitespace()));
        assert_eq!((ended.code, &*ended.out), (2, ""), "{line}: {}", ended.err);
        assert_says(&ended.err, &[says]);
    }
}
