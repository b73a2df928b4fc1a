//! Every query of every rule and panel, asked of a real Prometheus that scrapes a server which is busy.

use super::super::dashboards::{EVERYTHING, Panel, expanded, panels};
use super::super::names::queries;
use super::super::promql::selectors;
use super::super::rules_file;
use super::tools;
use crate::process::{Running, Served, agent, foreign_agent, headroom};
use crate::wait::{soon, until};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::Command;

/// How names begin that only a log on Kafka exports, only a server with `auth`, or only `headroom sink`.
const ELSEWHERE: &[&str] = &[
    "headroom_kafka_",
    "headroom_clock_broker_offset_seconds",
    "headroom_access_known",
    "headroom_access_unreadable",
    "headroom_sink_",
];

/// A Prometheus that scrapes one server every second.
pub struct Prometheus {
    _running: Running,
    url: String,
    agent: ureq::Agent,
}

impl Prometheus {
    /// Keeps its files in `dir`.
    pub fn start(dir: &Path, server: &str) -> Prometheus {
        let target = server.strip_prefix("http://").unwrap();
        let config = json!({
            "global": { "scrape_interval": "1s", "evaluation_interval": "1s" },
            "rule_files": [rules_file()],
            "scrape_configs": [{
                "job_name": "headroom",
                "static_configs": [{ "targets": [target], "labels": { "namespace": "shop" } }],
            }],
        });
        // What is JSON is YAML.
        let file = dir.join("prometheus.yml");
        fs::write(&file, config.to_string()).unwrap();
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let address = format!("127.0.0.1:{port}");
        let mut command = Command::new(tools().join("prometheus"));
        command.arg(format!("--config.file={}", file.display()));
        command.arg(format!("--storage.tsdb.path={}", dir.join("tsdb").display()));
        command.args([format!("--web.listen-address={address}"), "--log.level=warn".to_owned()]);
        let (running, url, agent) = (Running::start(&mut command), format!("http://{address}"), foreign_agent());
        let ready = format!("{url}/-/ready");
        until("Prometheus is ready", || agent.get(&ready).call().is_ok_and(|answer| answer.status() == 200));
        Prometheus { _running: running, url, agent }
    }

    /// The series that a query finds now, without those that are no number.
    fn ask(&self, query: &str) -> Vec<Value> {
        let query = EVERYTHING.iter().fold(query.to_owned(), |query, (name, all)| query.replace(name, all));
        let mut answer = self.agent.get(format!("{}/api/v1/query", self.url)).query("query", &query).call().unwrap();
        let text = answer.body_mut().read_to_string().unwrap();
        let mut found: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(found["status"], "success", "{query}: {text}");
        let mut series: Vec<Value> = serde_json::from_value(found["data"]["result"].take()).unwrap();
        series.retain(|series| series["value"][1] != "NaN");
        series
    }

    /// Whether every query of the panel finds something.
    fn has_data(&self, panel: &Panel) -> bool {
        !panel.queries.iter().any(|(_, query)| self.ask(&expanded(query)).is_empty())
    }

    /// Calls the server until each of these panels has had data.
    pub fn finds<'a>(&self, panels: impl Iterator<Item = &'a Panel>, server: &str) {
        let (mut missing, agent): (Vec<_>, _) = (panels.collect(), agent());
        let is_complete = soon(|| {
            call(&agent, server);
            missing.retain(|panel| !self.has_data(panel));
            missing.is_empty()
        });
        assert!(is_complete, "no data for {:?}", missing.iter().map(|panel| panel.title).collect::<Vec<_>>());
    }
}

/// Calls of every kind, of which some are refused.
fn call(agent: &ureq::Agent, url: &str) {
    let send = |path: &str, body: Value| {
        let mut answer =
            agent.post(format!("{url}{path}")).content_type("application/json").send(body.to_string()).unwrap();
        let text = answer.body_mut().read_to_string().unwrap();
        serde_json::from_str::<Value>(&text).unwrap()
    };
    for pool in ["van-1", "van-2", "van-3", "van-4"] {
        let limits = json!({ "limits": { "orders": 1_000_000 }, "areas": ["SG-01"] });
        let put = agent.put(format!("{url}/v1/pools/{pool}")).content_type("application/json");
        put.send(limits.to_string()).unwrap();
        let taken = send("/v1/reservations", json!({ "pool": pool, "demand": { "orders": 1 }, "hold_ttl_ms": 60_000 }));
        // On a busy machine a call may come too late.
        let Some(id) = taken["reservation"].as_str() else { continue };
        send(&format!("/v1/reservations/{id}/confirm"), json!({}));
        agent.delete(format!("{url}/v1/reservations/{id}")).call().unwrap();
        send("/v1/reservations", json!({ "pool": pool, "demand": { "orders": 9_000_000 } }));
    }
    send("/v1/availability", json!({ "areas": ["SG-01"] }));
    send("/v1/reservations", json!({ "pool": "none", "demand": { "orders": 1 } }));
    agent.get(format!("{url}/v1/pools")).call().unwrap();
}

#[test]
fn every_query_finds_what_it_asks_for_on_a_busy_server() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = headroom(["serve", "--listen", "127.0.0.1:0", "--partitions", "2", "--quota-takes", "1000000"]);
    command.args(["--canary", "true", "--canary-interval-ms", "1000"]);
    let snapshots = dir.path().join("snapshots");
    std::fs::create_dir(&snapshots).unwrap();
    command.args(["--snapshot-interval-ms", "1000", "--snapshots"]).arg(format!("file://{}", snapshots.display()));
    let server = Served::start(command.arg("--data-dir").arg(dir.path().join("data")));
    let prometheus = Prometheus::start(dir.path(), &server.url);
    prometheus.finds(panels().filter(|panel| panel.empty_because.is_none()), &server.url);
    for panel in panels().filter(|panel| panel.empty_because.is_some()) {
        assert!(!prometheus.has_data(panel), "{} has data, but {:?}", panel.title, panel.empty_because);
    }
    let asked: BTreeSet<_> = queries().iter().flat_map(|(_, query)| selectors(query)).collect();
    let is_elsewhere = |metric: &str| ELSEWHERE.iter().any(|begin| metric.starts_with(begin));
    for selector in asked.iter().filter(|selector| !is_elsewhere(&selector.metric)) {
        assert!(!prometheus.ask(&selector.text).is_empty(), "there is no {}", selector.text);
    }
    // How fast this machine is says nothing about the rules.
    let firing = prometheus.ask("ALERTS{alertstate=\"firing\", alertname!~\"HeadroomBudget.+\"}");
    assert!(firing.is_empty(), "{firing:?}");
}
