//! The metrics and labels in rules and dashboards are those that a process exports, by `tests/golden/metrics.txt`.

use super::dashboards::{ALL, expanded};
use super::promql::{grouped_by, selectors};
use super::{Rules, read, rules_file, tree};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;

/// Labels that Prometheus adds to what it scrapes.
const OF_PROMETHEUS: &[&str] = &["namespace", "job", "instance", "le"];
/// Every query of every rule and panel, with the name of its rule or panel.
pub fn queries() -> Vec<(String, String)> {
    let rules = read::<Rules>(&rules_file()).groups.into_iter().flat_map(|group| group.rules);
    let rules = rules.map(|rule| (rule.alert.or(rule.record).unwrap_or_default(), rule.expr));
    let panels = ALL.iter().flat_map(|dashboard| dashboard.panels.iter().map(move |panel| (dashboard, panel)));
    let panels = panels.flat_map(|(dashboard, panel)| {
        let name = format!("{} / {}", dashboard.title, panel.title);
        panel.queries.iter().map(move |(_, query)| (name.clone(), expanded(query)))
    });
    rules.chain(panels).collect()
}

/// The labels of every metric that is exported.
fn exported() -> BTreeMap<String, BTreeSet<String>> {
    let text = fs::read_to_string(tree("tests/golden/metrics.txt")).unwrap();
    let lines = text.lines().map(|line| {
        let mut words = line.split(' ');
        let (name, kind) = (words.next().unwrap(), words.next().unwrap());
        let labels = words.next().unwrap().trim_matches(['{', '}']).split(',').map(str::to_owned).collect();
        (name.to_owned(), kind == "histogram", labels)
    });
    let mut exported = BTreeMap::from([("up".to_owned(), BTreeSet::new())]);
    for (name, is_histogram, labels) in lines {
        for end in if is_histogram { &["_bucket", "_sum", "_count"][..] } else { &[""] } {
            exported.insert(format!("{name}{end}"), BTreeSet::clone(&labels));
        }
    }
    exported
}

#[test]
fn every_metric_and_label_of_rules_and_dashboards_is_exported() {
    let exported = exported();
    let every: BTreeSet<&str> =
        exported.values().flatten().map(String::as_str).chain(OF_PROMETHEUS.iter().copied()).collect();
    let mut wrong = Vec::new();
    for (name, query) in queries() {
        for selector in selectors(&query) {
            let Some(labels) = exported.get(&selector.metric) else {
                wrong.push(format!("{name}: nothing exports {}", selector.metric));
                continue;
            };
            let known = |label: &String| labels.contains(label) || OF_PROMETHEUS.contains(&label.as_str());
            let unknown = selector.labels.iter().filter(|label| !known(label));
            wrong.extend(unknown.map(|label| format!("{name}: {} has no label {label}", selector.metric)));
        }
        let unknown = grouped_by(&query).into_iter().filter(|label| !every.contains(label.as_str()));
        wrong.extend(unknown.map(|label| format!("{name}: no metric has the label {label}")));
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}
