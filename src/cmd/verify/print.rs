//! Prints a report: a table and a verdict for people, or one JSON object for scripts.

use super::PartitionFindings;
use super::report::{Judgement, NotProven, VerifyReport};
use super::snapshots::{BadSnapshot, SnapshotFindings};
use crate::domain::Breach;
use crate::words::counted;
use serde_json::{Value, json};
use std::io::{self, Write};

pub(super) fn text(report: &VerifyReport, out: &mut impl Write) -> io::Result<()> {
    let VerifyReport { found, damage, .. } = report;
    let breaches = report.breaches();
    writeln!(out, "{:>9} {:>12} {:>8} {:>10}  {:32}  same digest", "partition", "events", "pools", "live", "digest")?;
    for PartitionFindings { report, digest, agreeing, .. } in found {
        let agreeing = agreeing.join(", ");
        let (partition, events, pools, live) = (report.partition, report.events, report.pools, report.live);
        writeln!(out, "{partition:>9} {events:>12} {pools:>8} {live:>10}  {digest}  {agreeing}")?;
    }
    for PartitionFindings { report, notes, .. } in found {
        notes.iter().try_for_each(|note| writeln!(out, "partition {}: {note}", report.partition))?;
    }
    report.snapshots.iter().try_for_each(|snapshots| sound_snapshots(snapshots, out))?;
    let mut shown = 0u64;
    for breach in found.iter().flat_map(PartitionFindings::breaches) {
        writeln!(out, "{breach}")?;
        writeln!(out, "  {}: {}", breach.law, breach.law.sentence())?;
        shown = shown.saturating_add(1);
    }
    if breaches > shown {
        writeln!(out, "not shown: {} more", counted(breaches.saturating_sub(shown), "breach"))?;
    }
    report.snapshots.iter().try_for_each(|snapshots| bad_snapshots(snapshots, out))?;
    if let Some(damage) = damage {
        writeln!(out, "DAMAGED: {damage}")?;
    }
    let (events, partitions) = (counted(event_count(found), "event"), counted(found.len() as u64, "partition"));
    let kept = format!("no law broken in {events} of {partitions}");
    match report.judgement() {
        Judgement::Broken => writeln!(out, "BROKEN: {} in {events} of {partitions}", counted(breaches, "breach")),
        Judgement::Damaged => writeln!(out, "{kept}"),
        Judgement::BadSnapshots => {
            writeln!(out, "BAD SNAPSHOTS: {}; {kept}", counted(report.bad_snapshots(), "snapshot"))
        }
        Judgement::NotProven => writeln!(out, "NOT PROVEN: see standard error; {kept}"),
        Judgement::Clean => writeln!(out, "clean: {kept}"),
    }
}

fn sound_snapshots(of: &SnapshotFindings, out: &mut impl Write) -> io::Result<()> {
    let SnapshotFindings { partition, sound, compared, .. } = of;
    let sound = counted(*sound, "sound snapshot");
    writeln!(out, "partition {partition}: {sound}, {compared} of them with the state to which the events lead")
}

fn bad_snapshots(of: &SnapshotFindings, out: &mut impl Write) -> io::Result<()> {
    for BadSnapshot { partition, object, is_ahead, why } in &of.bad {
        let what = if *is_ahead { "SNAPSHOT AHEAD OF THE LOG" } else { "BAD SNAPSHOT" };
        writeln!(out, "{what} of partition {partition}: {object}: {why}")?;
    }
    match of.bad_count.saturating_sub(of.bad.len() as u64) {
        0 => Ok(()),
        more => writeln!(out, "not shown: {} of partition {}", counted(more, "more bad snapshot"), of.partition),
    }
}

pub(super) fn json(report: &VerifyReport, out: &mut impl Write) -> io::Result<()> {
    let found = &report.found;
    let partitions: Vec<Value> = found.iter().map(partition).collect();
    let breaches: Vec<Value> = found.iter().flat_map(PartitionFindings::breaches).map(breach).collect();
    let not_proven = report.not_proven.iter();
    let not_proven: Vec<Value> =
        not_proven.map(|NotProven { partition, why, .. }| json!({ "partition": partition, "why": why })).collect();
    let bad = report.snapshots.iter().flat_map(|of| &of.bad).map(bad_snapshot);
    let judgement = report.judgement();
    let report = json!({
        "clean": judgement == Judgement::Clean,
        "verdict": judgement.name(),
        "damage": report.damage,
        "events": event_count(found),
        "breach_count": report.breaches(),
        "breaches": breaches,
        "partitions": partitions,
        "snapshots": report.snapshots.iter().map(snapshots).collect::<Vec<_>>(),
        "bad_snapshots": bad.collect::<Vec<_>>(),
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

/// How many snapshots of a partition are sound, and how many are not. The first of those that are not are named.
fn snapshots(of: &SnapshotFindings) -> Value {
    let SnapshotFindings { partition, sound, compared, bad_count, .. } = of;
    json!({ "partition": partition, "sound": sound, "compared": compared, "bad_count": bad_count })
}

fn bad_snapshot(snapshot: &BadSnapshot) -> Value {
    let BadSnapshot { partition, object, is_ahead, why } = snapshot;
    json!({ "partition": partition, "object": object, "ahead": is_ahead, "why": why })
}

/// One breach. Each partition keeps its first breaches; all of them are counted.
fn breach(breach: &Breach) -> Value {
    let Breach { law, partition, seq, detail } = breach;
    json!({ "law": law.id(), "partition": partition, "seq": seq, "detail": detail })
}

fn event_count(found: &[PartitionFindings]) -> u64 {
    found.iter().map(|found| found.report.events).fold(0, u64::saturating_add)
}
