//! Queries of Prometheus, read as far as the tests need it: which series they select, and by which labels they group.

use std::collections::BTreeSet;

/// Beginnings of the names of what a process of Headroom exports, and the one name that Prometheus adds.
const EXPORTED: &[&str] = &["headroom_", "process_"];
const SCRAPED: &str = "up";

/// The series of one name that a query asks for.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Selector {
    pub metric: String,
    /// The labels that it compares.
    pub labels: BTreeSet<String>,
    /// As it is written, without a range.
    pub text: String,
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == ':'
}

/// Every selector of what is exported. Series that a rule records are none of these.
pub fn selectors(query: &str) -> BTreeSet<Selector> {
    let mut found = BTreeSet::new();
    let mut rest = query;
    while let Some(at) = rest.find(is_word) {
        let word = rest[at..].split(|c| !is_word(c)).next().unwrap_or_default();
        rest = &rest[at + word.len()..];
        if word != SCRAPED && !EXPORTED.iter().any(|begin| word.starts_with(begin)) {
            continue;
        }
        let matchers = rest.strip_prefix('{').and_then(|rest| rest.split_once('}')).map(|(matchers, _)| matchers);
        rest = &rest[matchers.map_or(0, |matchers| matchers.len() + 2)..];
        let labels =
            matchers.unwrap_or_default().split(", ").filter_map(|matcher| matcher.trim().split(['=', '!']).next());
        found.insert(Selector {
            metric: word.to_owned(),
            labels: labels.filter(|label| !label.is_empty()).map(str::to_owned).collect(),
            text: matchers.map_or_else(|| word.to_owned(), |matchers| format!("{word}{{{matchers}}}")),
        });
    }
    found
}

/// The labels in `by (…)` and `on (…)`.
pub fn grouped_by(query: &str) -> BTreeSet<String> {
    let lists = ["by (", "on ("].into_iter().flat_map(|word| query.split(word).skip(1));
    let names = lists.filter_map(|rest| rest.split(')').next()).flat_map(|list| list.split(", "));
    names.map(str::to_owned).collect()
}

#[test]
fn selectors_and_labels_of_a_query_are_found() {
    let query = "sum by (job, law) (rate(headroom_a_total{law=\"L1\", job!~\"x|y\"}[5m])) > headroom:calls:rate5m \
                 and on (instance) up == 0 unless headroom_b";
    let found: Vec<_> = selectors(query).into_iter().map(|found| found.text).collect();
    assert_eq!(found, ["headroom_a_total{law=\"L1\", job!~\"x|y\"}", "headroom_b", "up"]);
    let labels: Vec<_> = selectors(query).into_iter().flat_map(|found| found.labels).collect();
    assert_eq!(labels, ["job", "law"]);
    assert_eq!(grouped_by(query).into_iter().collect::<Vec<_>>(), ["instance", "job", "law"]);
}
