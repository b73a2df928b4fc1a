//! States in the memory of the processes of a cluster: compared with the log, all at once, and replaced.

use super::head_gone;
use super::serve::{Serving, Site};
use super::service::Log;
use crate::authority::Authority;
use crate::cli::assert_says;
use crate::fixtures::{orders, pool_id};
use crate::process::{Ended, Running, agent, foreign_agent, run};
use crate::rig::Rig;
use crate::server::Server;
use crate::swap::{define, metrics, reserve};
use crate::wait::{soon, until};
use headroom::domain::{Breach, Law, LedgerMut};
use headroom::log::CommittedTail;
use headroom::replica::PartitionStatus;
use headroom::time::SystemClock;
use rdkafka::topic_partition_list::Offset;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use tempfile::TempDir;

const POOL: &str = "van-1";

/// Takes an order under this key, so that it can be repeated.
fn reserve_as(url: &str, key: &str) -> u16 {
    let post = agent().post(format!("{url}/v1/reservations")).header("request-timeout-ms", "5000");
    let body = json!({ "pool": POOL, "demand": { "orders": 1 } }).to_string();
    let post = post.header("idempotency-key", key).content_type("application/json");
    post.send(body).unwrap().status().as_u16()
}

/// `headroom rebuild` of these processes.
fn rebuild(site: &Site, of: &[&Serving<'_>], more: &[&str]) -> Ended {
    let mut command = site.command(["rebuild", "--json"]);
    for process in of {
        command.args(["--server", &process.url().unwrap()]);
    }
    run(command.args(more))
}

fn lines(ended: &Ended) -> Vec<Value> {
    ended.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn values<'v>(lines: &'v [Value], name: &str) -> BTreeSet<&'v str> {
    lines.iter().filter_map(|line| line[name].as_str()).collect()
}

/// The story: on call doubts what two processes answer. One command folds each partition once and compares both, and has both
/// replaced when asked; a process that was forgotten is told of.
#[test]
fn all_processes_of_a_cluster_are_compared_and_replaced() {
    let site = Site::new(Rig::shared(), 2);
    let both = ["a", "b"].map(|name| site.serve(name));
    let url = both[0].url().unwrap();
    assert_eq!(define(&url, POOL), 201);
    assert_eq!([(); 3].map(|()| reserve(&url, POOL)), [201, 201, 409]);
    let both: Vec<_> = both.iter().collect();

    let mut compared = rebuild(&site, &both, &[]);
    until("each partition has an owner and a follower", || {
        let is_calm = values(&lines(&compared), "server_status") == BTreeSet::from(["active", "standby"]);
        if !is_calm {
            compared = rebuild(&site, &both, &[]);
        }
        is_calm
    });
    let told = lines(&compared);
    assert_eq!((compared.code, told.len()), (0, 5), "{}{}", compared.out, compared.err);
    assert!(told.iter().all(|line| line["fine"] == true), "{told:?}");
    assert_eq!(
        values(&told, "server"),
        both.iter().map(|p| p.url().unwrap()).collect::<Vec<_>>().iter().map(String::as_str).collect()
    );
    assert_eq!(values(&told, "verdict"), BTreeSet::from(["same"]));
    assert_eq!((&told[4]["asked"], told[4]["processes"].as_array().unwrap().len()), (&json!(2), 2));

    let forgotten = rebuild(&site, &both[..1], &["--partition", "1"]);
    let told = lines(&forgotten);
    assert_eq!((forgotten.code, &told[0]["fine"], &told[1]["fine"]), (1, &json!(true), &json!(false)), "{told:?}");

    let swapped = rebuild(&site, &both, &["--swap"]);
    let told = lines(&swapped);
    assert_eq!((swapped.code, told.len()), (0, 5), "{}{}", swapped.out, swapped.err);
    assert_eq!(values(&told, "verdict"), BTreeSet::from(["same"]));
    assert_eq!(values(&told, "role"), BTreeSet::from(["follower", "owner"]));
    assert_eq!(reserve(&url, POOL), 409);
    assert_eq!(rebuild(&site, &both, &[]).code, 0);
    both.iter().for_each(|process| process.terminate());
    let verified = site.run(["verify"]);
    assert_eq!(verified.code, 0, "{}{}", verified.out, verified.err);
}

/// The story: the owner's machine goes down while its state is being replaced. Another process takes over, and nothing is
/// overbooked.
#[test]
fn killed_while_a_state_is_replaced_another_process_takes_over() {
    for point in ["swap-begun", "swap-proven", "swap-done"] {
        let site = Site::new(Rig::shared(), 1);
        let first = site.serving("first");
        first.dies_at(Some(point));
        first.start();
        first.ready();
        let url = first.url().unwrap();
        assert_eq!(define(&url, POOL), 201);
        assert_eq!(reserve(&url, POOL), 201);
        let ended = rebuild(&site, &[&first], &["--swap"]);
        assert_eq!((ended.code, &*ended.out), (3, ""), "{point}: {}", ended.err);
        assert_says(&ended.err, &["may have replaced the state or not"]);
        first.died();
        let second = site.serve("second");
        let url = second.url().unwrap();
        // The group learns only when a session ends that its first owner is gone; a call that is told no holds nothing.
        until("the second process decides", || reserve_as(&url, "K2") == 201);
        assert_eq!(reserve(&url, POOL), 409, "{point}");
        first.dies_at(None);
        first.start();
        first.ready();
        let compared = rebuild(&site, &[&first, &second], &["--partition", "0"]);
        assert!(lines(&compared)[..2].iter().all(|line| line["verdict"] == "same"), "{point}: {}", compared.out);
        let verified = site.run(["verify"]);
        assert_eq!(verified.code, 0, "{point}: {}{}", verified.out, verified.err);
    }
}

/// The story: the cluster has removed the events of a year ago, and on call has states replaced. They begin with a snapshot. A
/// process that has no place for snapshots keeps its state, says why, and goes on.
#[test]
fn a_state_of_a_log_without_its_head_begins_with_a_snapshot() {
    let site = Site::new(Rig::shared(), 1);
    let (folder, place) = head_gone::folder(&site, "snapshots");
    let process = site.serving("with").with(head_gone::INTERVAL).with(["--snapshots", &place]);
    process.start();
    process.ready();
    head_gone::change(&process, 100..120);
    let (end, _) = head_gone::state(&process);
    let newest = || head_gone::snapshots(&folder).last().map_or(0, |(seq, _)| *seq);
    until("a snapshot is written", || newest() >= end);
    let bare = site.serve("without");
    until("it has the state", || head_gone::state(&bare) == head_gone::state(&process));
    head_gone::remove_events(site.cluster(), Offset::Offset(12));
    let first = site.log().first(0).unwrap();
    assert!(first > 0 && first <= newest(), "{first}");
    let ended = rebuild(&site, &[&process, &bare], &["--swap"]);
    let told = lines(&ended);
    assert_eq!((ended.code, told.len()), (1, 3), "{}{}", ended.out, ended.err);
    assert_eq!((&told[0]["verdict"], &told[0]["result"]), (&json!("same"), &json!("swapped")), "{}", told[0]);
    assert!(told[0]["snapshot"].is_string() && told[0]["first_seq"].as_u64() >= Some(first), "{}", told[0]);
    assert_eq!((&told[1]["verdict"], &told[1]["result"]), (&json!("not_compared"), &json!("unread")), "{}", told[1]);
    let why = told[1]["why"].as_str().unwrap();
    assert_says(why, &[&format!("begins with seq {first}"), "no place of snapshots is set"]);
    head_gone::change(&process, 120..125);
    until("both have the same state", || head_gone::state(&bare) == head_gone::state(&process));
    let verified = run(site.command(["verify"]).args(["--snapshots", &place]));
    assert_eq!(verified.code, 0, "{}{}", verified.out, verified.err);
}

/// The story: during an upgrade on call compares the processes, and one of them is of the version before, which does not tell its
/// log. The other one was not compared either.
#[test]
fn a_server_of_an_earlier_version_is_named_and_the_others_are_compared() {
    let site = Site::new(Rig::shared(), 1);
    let process = site.serve("a");
    let url = process.url().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let earlier = format!("http://{}", listener.local_addr().unwrap());
    let answering = std::thread::spawn(move || {
        let (mut caller, _) = listener.accept().unwrap();
        let asked = BufReader::new(caller.try_clone().unwrap());
        assert!(asked.lines().any(|line| line.unwrap().is_empty()), "the head of a request");
        let body = r#"{"partitions":1,"ends":[0]}"#;
        let length = body.len();
        write!(caller, "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{body}").unwrap();
    });
    let ended = run(site.command(["rebuild", "--json"]).args(["--server", &earlier, "--server", &url]));
    answering.join().unwrap();
    assert_eq!(ended.code, 1, "{}{}", ended.out, ended.err);
    let told = lines(&ended);
    let of = |server: &str| told.iter().find(|line| line["server"] == server).unwrap_or_else(|| panic!("{told:?}"));
    assert_eq!(of(&url)["verdict"], "same");
    assert_eq!((&of(&earlier)["verdict"], &of(&earlier)["fine"]), (&json!("not_compared"), &json!(false)));
    assert_says(of(&earlier)["why"].as_str().unwrap(), &[&earlier, "is a server of an earlier version"]);
}

/// The story: the processes speak TLS with certificates of the company's own authority, and take nobody without one of those.
#[test]
fn processes_behind_tls_are_compared_and_replaced() {
    let (site, dir, authority) = (Site::new(Rig::shared(), 1), tempfile::tempdir().unwrap(), Authority::new());
    ["server", "operator"].iter().for_each(|name| authority.sign(name, 2100));
    let path = |name: &str| authority.path(name).display().to_string();
    let mut serve = site.command(["serve", "--listen", "127.0.0.1:0"]);
    serve.args(["--tls-certificate", &path("server.pem"), "--tls-key", &path("server.key")]);
    serve.args(["--tls-client-ca", &path("ca.pem"), "--data-dir"]).arg(dir.path());
    let mut serving = Running::start(&mut serve);
    let line = serving.line();
    let url = line.split_whitespace().find(|word| word.starts_with("https://")).unwrap_or_else(|| panic!("{line}"));
    let rebuild = |more: &[&str]| run(site.command(["rebuild", "--json"]).args(["--server", url]).args(more));
    let own = (path("operator.pem"), path("operator.key"));
    let shown = ["--ca", &path("ca.pem"), "--certificate", &own.0, "--certificate-key", &own.1];
    let mut compared = rebuild(&shown);
    until("it is the owner, and compared", || {
        let is_owner = values(&lines(&compared), "server_status") == BTreeSet::from(["active"]);
        if !is_owner {
            compared = rebuild(&shown);
        }
        is_owner
    });
    let told = lines(&compared);
    assert_eq!((compared.code, &told[0]["verdict"], &told[0]["server"]), (0, &json!("same"), &json!(url)), "{told:?}");
    let swapped = rebuild(&[&shown[..], &["--swap"]].concat());
    let told = lines(&swapped);
    assert_eq!(
        (swapped.code, &told[0]["result"], &told[0]["role"]),
        (0, &json!("swapped"), &json!("owner")),
        "{told:?}"
    );
    // Whom the caller does not know, and who does not know the caller.
    let unknown = [&shown[2..], &shown[..2], &["--ca", &own.0, shown[2], shown[3], shown[4], shown[5]]];
    for args in unknown {
        let refused = rebuild(args);
        assert_eq!((refused.code, &*refused.out), (2, ""), "{args:?}: {}", refused.err);
        assert_says(&refused.err, &[url]);
    }
    assert_eq!(serving.terminate().code, 0);
}

/// A process that owns the one partition of a log, and one that follows it, with a pool for two orders.
struct Two {
    owner: Server,
    follower: Server,
    url: String,
    log: Log,
    _dirs: [TempDir; 2],
}

impl Two {
    fn new() -> Two {
        let (log, dirs) = (Log::new(1), [(); 2].map(|()| tempfile::tempdir().unwrap()));
        let owner = log.serve_alone(dirs[0].path());
        let follower = log.serve(dirs[1].path(), "gateway", Arc::new(SystemClock::new()));
        let url = format!("http://{}", owner.address);
        assert_eq!(define(&url, POOL), 201);
        Two { owner, follower, url, log, _dirs: dirs }
    }
}

/// Has the state replaced, and answers what came of it.
fn swapped(server: &Server) -> Value {
    let url = format!("http://{}/internal/swap/0", server.address);
    let body = |mut answer: ureq::http::Response<ureq::Body>| -> Value {
        serde_json::from_str(&answer.body_mut().read_to_string().unwrap()).unwrap()
    };
    let begun = body(foreign_agent().post(&url).send_empty().unwrap());
    assert_eq!(begun["result"], "begun", "{begun}");
    let mut told = Value::Null;
    until("it is over", || {
        told = body(foreign_agent().get(&url).call().unwrap());
        told["result"] != "under_way"
    });
    told
}

/// The story: two processes have wrong states in memory, the owner and one that follows. Both are told, and replaced by what
/// the log says.
#[test]
fn wrong_states_of_an_owner_and_a_follower_are_replaced() {
    let Two { owner, follower, url, log, .. } = &Two::new();
    assert_eq!([(); 3].map(|()| reserve(url, POOL)), [201, 201, 409]);
    log.alike(0, &[owner, follower]);
    for (server, is_owner) in [(owner, true), (follower, false)] {
        let handle = server.gateway.replica().partition(0).unwrap();
        handle.write(|state| state.update_pool(&pool_id("van-1"), |pool| pool.spec.limits = orders(100)));
        let told = swapped(server);
        let said = &told["swapped"];
        assert_eq!((&told["result"], &said["is_owner"]), (&"swapped".into(), &is_owner.into()), "{told}");
        assert_eq!(said["is_same"], false, "{told}");
        assert_ne!(said["living"]["digest"], said["fresh"]["digest"]);
        let breaches = metrics(&format!("http://{}", server.address), "headroom_law_breaches_total{law=\"L7\"}");
        assert_eq!(breaches, ["headroom_law_breaches_total{law=\"L7\"} 1"]);
        assert_eq!(reserve(url, POOL), 409, "nothing is overbooked");
    }
    log.alike(0, &[owner, follower]);
    assert_eq!(follower.gateway.replica().partition(0).unwrap().status(), PartitionStatus::Standby);
    log.audited(0);
}

/// The story: the state of an owner was found to be wrong, and no other could take its place. Nobody decided the partition until
/// the process was started again.
#[test]
fn a_wrong_state_of_an_owner_that_nothing_replaces_is_made_anew() {
    let Two { owner, follower, url, log, .. } = &Two::new();
    assert_eq!([(); 3].map(|()| reserve(url, POOL)), [201, 201, 409]);
    let handle = owner.gateway.replica().partition(0).unwrap();
    handle.write(|state| state.update_pool(&pool_id(POOL), |pool| pool.spec.limits = orders(100)));
    let detail = "it is not the log's".to_owned();
    handle.distrust(Breach { law: Law::OneState, partition: 0, seq: handle.next_seq(), detail });
    until("the partition is decided again", || reserve(url, POOL) == 409);
    assert_eq!((handle.wrong(), handle.status()), (None, PartitionStatus::Active));
    log.alike(0, &[owner, follower]);
    log.audited(0);
}

/// The story: on call has a follower's state replaced while many call. Its state is never where the log ends, and is replaced
/// all the same; then that of the owner.
#[test]
fn a_follower_under_load_is_replaced() {
    let Two { owner, follower, url, log, .. } = &Two::new();
    let (is_over, answered) = (AtomicBool::new(false), AtomicU64::new(0));
    let told = std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while !is_over.load(Relaxed) {
                    answered.fetch_add(u64::from(matches!(reserve(url, POOL), 201 | 409)), Relaxed);
                }
            });
        }
        let mut told = Vec::new();
        for (round, server) in (1..).zip([follower, follower, follower, owner]) {
            // A test that fails must let the callers end.
            if soon(|| answered.load(Relaxed) >= 50 * round) {
                told.push(swapped(server));
            }
        }
        is_over.store(true, Relaxed);
        told
    });
    let results: Vec<_> =
        told.iter().map(|told| (&told["result"], &told["swapped"]["is_owner"], &told["swapped"]["is_same"])).collect();
    let expected = [false, false, false, true].map(|is_owner| (json!("swapped"), json!(is_owner), json!(true)));
    assert_eq!(
        results,
        expected.iter().map(|(result, is_owner, is_same)| (result, is_owner, is_same)).collect::<Vec<_>>()
    );
    log.alike(0, &[owner, follower]);
    log.audited(0);
}
