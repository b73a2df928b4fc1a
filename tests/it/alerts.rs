//! The alerts of `helm/headroom/rules`, with the situations of `tests/alerts` in which each of them fires or is silent, the
//! runbooks and the dashboards. What Prometheus itself says of them is tested in `promtool`, which needs its tools.

pub mod dashboards;
mod names;
mod promql;
pub mod promtool;
pub mod runbooks;

use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// How every `runbook_url` begins; the chart puts the address of the deployment in its place.
const RUNBOOKS: &str = "http://headroom:8080/docs/runbooks/";
/// In how many situations each alert is silent, at least.
const SILENT_MIN: usize = 3;

#[derive(Deserialize)]
struct Rules {
    groups: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    rules: Vec<Rule>,
}

/// A rule that raises an alert, or one that records a series.
#[derive(Deserialize)]
struct Rule {
    alert: Option<String>,
    /// The name of the series that it records.
    record: Option<String>,
    expr: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Situations {
    tests: Vec<Situation>,
}

#[derive(Deserialize)]
struct Situation {
    /// `fires` or `silent`, the alerts that it is about, a colon, and what happens.
    name: String,
    promql_expr_test: Vec<Look>,
}

/// What fires at one moment.
#[derive(Deserialize)]
struct Look {
    exp_samples: Vec<Firing>,
}

#[derive(Deserialize)]
struct Firing {
    labels: String,
}

impl Look {
    fn names(&self, alert: &str) -> bool {
        let labels = format!("{{alertname=\"{alert}\"}}");
        self.exp_samples.iter().any(|firing| firing.labels == labels)
    }
}

fn tree(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn rules_file() -> PathBuf {
    tree("helm/headroom/rules/headroom.rules.yaml")
}

/// The files of situations.
fn situation_files() -> Vec<PathBuf> {
    let entries = fs::read_dir(tree("tests/alerts")).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.extension().is_some_and(|end| end == "yaml")).collect()
}

fn read<T: for<'a> Deserialize<'a>>(path: &Path) -> T {
    let text = fs::read_to_string(path).unwrap();
    serde_norway::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every rule that raises an alert, by the alert's name.
fn alerts() -> BTreeMap<String, Rule> {
    let rules = read::<Rules>(&rules_file()).groups.into_iter().flat_map(|group| group.rules);
    let mut alerts = BTreeMap::new();
    for mut rule in rules {
        if let Some(name) = rule.alert.take() {
            assert!(alerts.insert(name.clone(), rule).is_none(), "two rules are called {name}");
        }
    }
    alerts
}

#[test]
fn every_alert_says_how_bad_it_is_and_where_to_read_on() {
    for (name, Rule { labels, annotations, .. }) in alerts() {
        let severity = labels.get("severity").map(String::as_str);
        assert!(matches!(severity, Some("critical" | "warning")), "{name}: severity {severity:?}");
        for part in ["summary", "description"] {
            let text = annotations.get(part).unwrap_or_else(|| panic!("{name} has no {part}"));
            assert!(text.ends_with('.'), "{name}: its {part} is no sentence: {text}");
        }
        let url = annotations.get("runbook_url").unwrap_or_else(|| panic!("{name} has no runbook_url"));
        assert!(url.starts_with(RUNBOOKS), "{name}: {url}");
    }
}

#[test]
fn every_alert_has_a_situation_in_which_it_fires_and_three_in_which_it_is_silent() {
    let (mut fires, mut silent): (BTreeSet<String>, BTreeMap<String, usize>) = Default::default();
    for situation in situation_files().iter().flat_map(|file| read::<Situations>(file).tests) {
        let Situation { name, promql_expr_test: looks } = &situation;
        let (about, _) = name.split_once(": ").unwrap_or_else(|| panic!("{name}: about which alerts is it?"));
        let (kind, about) = about.split_once(' ').unwrap_or_else(|| panic!("{name}: about which alerts is it?"));
        for alert in about.split(' ') {
            match kind {
                "fires" => {
                    assert!(looks.last().is_some_and(|look| look.names(alert)), "{name}: {alert} does not fire");
                    // What fires from the beginning says nothing about how soon it does.
                    if looks.first().is_some_and(|look| !look.names(alert)) {
                        fires.insert(alert.to_owned());
                    }
                }
                "silent" => {
                    assert!(!looks.iter().any(|look| look.names(alert)), "{name}: {alert} fires");
                    *silent.entry(alert.to_owned()).or_default() += 1;
                }
                other => panic!("{name}: {other} is neither fires nor silent"),
            }
        }
    }
    let alerts: BTreeSet<String> = alerts().into_keys().collect();
    assert_eq!(fires, alerts, "alerts with a situation in which they begin to fire");
    silent.retain(|_, count| *count >= SILENT_MIN);
    assert_eq!(silent.into_keys().collect::<BTreeSet<_>>(), alerts, "alerts with {SILENT_MIN} situations of silence");
}
