//! What can be said of every metric that a process may export: one row for each, from which the page of metrics and the
//! output of `headroom metrics` are made. A row comes to be when its metric is registered, so that there is no metric
//! without a row, and no row without a metric.

use prometheus::core::Desc;
use serde::Serialize;
use std::fmt::Write as _;

/// How the values of a metric are to be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// It grows from 0 for as long as the process runs.
    Counter,
    /// It goes up and down.
    Gauge,
    /// It counts observations by their size.
    Histogram,
}

impl Kind {
    /// The name of the type in the text format of Prometheus.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        }
    }
}

/// What can be said of one metric.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Described {
    /// Its name in the text format of Prometheus.
    pub name: String,
    /// How its values are to be read.
    pub kind: Kind,
    /// The names of its labels, in alphabetical order; without the `le` of a histogram.
    pub labels: Vec<String>,
    /// The unit of its values.
    pub unit: &'static str,
    /// What it says, in words.
    pub help: String,
}

impl Described {
    pub(super) fn of(desc: &Desc, kind: Kind) -> Described {
        let mut labels = desc.variable_labels.clone();
        labels.sort_unstable();
        Described { unit: unit(&desc.fq_name), name: desc.fq_name.clone(), kind, labels, help: desc.help.clone() }
    }
}

/// The unit that the name of a metric ends with, as Prometheus names metrics.
fn unit(name: &str) -> &'static str {
    let name = name.strip_suffix("_total").unwrap_or(name);
    // Moments are told as the time since 1970.
    let is_moment = name.ends_with("_timestamp_seconds") || name.ends_with("_start_time_seconds");
    match name.rsplit('_').next() {
        Some("seconds") if is_moment => "seconds since 1970",
        Some("seconds") => "seconds",
        Some("bytes") => "bytes",
        Some("ratio") => "0 to 1",
        _ => "number",
    }
}

/// The rows as a table in Markdown.
pub fn table(rows: &[Described]) -> String {
    let mut table = "| name | type | labels | unit | what it says |\n|---|---|---|---|---|\n".to_owned();
    for Described { name, kind, labels, unit, help } in rows {
        let labels: Vec<_> = labels.iter().map(|label| format!("`{label}`")).collect();
        let (kind, labels) = (kind.name(), labels.join(", "));
        // Writing to a string cannot fail.
        let _ = writeln!(table, "| `{name}` | {kind} | {labels} | {unit} | {help} |");
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_is_what_the_name_ends_with() {
        let cases = [
            ("headroom_stage_seconds", "seconds"),
            ("process_cpu_seconds_total", "seconds"),
            ("headroom_checkpoint_timestamp_seconds", "seconds since 1970"),
            ("process_start_time_seconds", "seconds since 1970"),
            ("headroom_memory_limit_bytes", "bytes"),
            ("headroom_memory_used_ratio", "0 to 1"),
            ("headroom_turns_total", "number"),
        ];
        for (name, expected) in cases {
            assert_eq!(unit(name), expected, "{name}");
        }
    }
}
