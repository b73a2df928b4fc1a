//! Prints a report: a table and a verdict for people, or one JSON object for scripts.

use super::{NotProven, PartitionFindings, VerifyReport};
use crate::domain::Breach;
use crate::words::counted;
use serde_json::{Value, json};
use std::io::{self, Write};

pub(super) fn text(report: &VerifyReport, out: &mut impl Write) -> io::Result<()> {
    let VerifyReport { found, breaches, damage, .. } = report;
    writeln!(out, "{:>9} {:>12} {:>8} {:>10}  {:32}  same digest", "partition", "events", "pools", "live", "digest")?;
    for PartitionFindings { report, digest, agreeing, .. } in found {
        let agreeing = agreeing.join(", ");
        let (partition, events, pools, live) = (report.partition, report.events, report.pools, report.live);
        writeln!(out, "{partition:>9} {events:>12} {pools:>8} {live:>10}  {digest}  {agreeing}")?;
    }
    for PartitionFindings { report, notes, .. } in found {
        notes.iter().try_for_each(|note| writeln!(out, "partition {}: {note}", report.partition))?;
    }
    let mut shown = 0u64;
    for breach in found.iter().flat_map(PartitionFindings::breaches) {
        writeln!(out, "{breach}")?;
        writeln!(out, "  {}: {}", breach.law, breach.law.sentence())?;
        shown = shown.saturating_add(1);
    }
    if *breaches > shown {
        writeln!(out, "not shown: {} more", counted(breaches.saturating_sub(shown), "breach"))?;
    }
    let (events, partitions) = (counted(event_count(found), "event"), counted(found.len() as u64, "partition"));
    if let Some(damage) = damage {
        writeln!(out, "DAMAGED: {damage}")?;
    }
    match breaches {
        0 if damage.is_some() => writeln!(out, "no law broken in {events} of {partitions}"),
        0 => writeln!(out, "clean: no law broken in {events} of {partitions}"),
        _ => writeln!(out, "BROKEN: {} in {events} of {partitions}", counted(*breaches, "breach")),
    }
}

pub(super) fn json(report: &VerifyReport, out: &mut impl Write) -> io::Result<()> {
    let found = &report.found;
    let partitions: Vec<Value> = found.iter().map(partition).collect();
    let breaches: Vec<Value> = found.iter().flat_map(PartitionFindings::breaches).map(breach).collect();
    let not_proven = report.not_proven.iter();
    let not_proven: Vec<Value> =
        not_proven.map(|NotProven { partition, why }| json!({ "partition": partition, "why": why })).collect();
    let report = json!({
        "clean": report.is_clean(),
        "damage": report.damage,
        "events": event_count(found),
        "breach_count": report.breaches,
        "breaches": breaches,
        "partitions": partitions,
        "not_proven": not_proven,
    });
    writeln!(out, "{report}")
}

fn partition(found: &PartitionFindings) -> Value {
    let PartitionFindings { report, digest, agreeing, notes, .. } = found;
    json!({
        "partition": report.partition,
        "events": report.events,
        "pools": report.pools,
        "live": report.live,
        "last_seq": report.last_seq,
        "commands_lost": report.lost,
        "events_lost": report.events_lost,
        "chain": report.chain.to_string(),
        "digest": digest.to_string(),
        "breach_count": found.breach_count(),
        "agreeing": agreeing,
        "notes": notes,
    })
}

/// One breach. Each partition keeps its first breaches; all of them are counted.
fn breach(breach: &Breach) -> Value {
    let Breach { law, partition, seq, detail } = breach;
    json!({ "law": law.id(), "partition": partition, "seq": seq, "detail": detail })
}

fn event_count(found: &[PartitionFindings]) -> u64 {
    found.iter().map(|found| found.report.events).fold(0, u64::saturating_add)
}
