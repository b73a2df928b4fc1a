//! Rows of `sink_positions` that somebody has changed or brought back. Their partitions stop by name, and the others go on.

use super::postgres::Database;
use super::traffic::Traffic;
use super::{assert_rest, serve};
use crate::cli::handwritten_logs::Writing;
use crate::process::{Running, run};
use crate::wait::until;
use headroom::sink::postgres::{Postgres, Sessions};
use headroom::sink::{Target, TargetError, Writer};
use std::path::Path;

/// What the page for operators tells whoever has no newer copy of the row.
const MEND: &str = "
UPDATE sink_positions p SET next_seq = e.seq + 1, chain = e.digest, row_count = (SELECT count(*) FROM events WHERE partition = 1)
FROM (SELECT seq, digest FROM events WHERE partition = 1 ORDER BY seq DESC LIMIT 1) e WHERE p.partition = 1;";

fn more(log: &Path, seed: u64) {
    let served = serve(log);
    Traffic::new(&served.url, seed).calls(60);
    served.running.terminate();
}

#[track_caller]
fn backfill(database: &Database, log: &Path) {
    let ended = run(&mut database.sink(log, &["backfill"]));
    assert_eq!(ended.code, 0, "{}{}", ended.out, ended.err);
}

/// The story: somebody restores one row of yesterday. The words of the database about a key say nothing to him, and a sink that ends
/// keeps all partitions waiting for one.
#[test]
fn an_older_copy_of_a_position_stops_its_partition_and_the_others_go_on() {
    let (log, database) = (tempfile::tempdir().unwrap(), Database::start());
    database.apply();
    more(log.path(), 81);
    backfill(&database, log.path());
    let of_one = "FROM sink_positions WHERE partition = 1";
    database.ask(&format!("CREATE TABLE public.older AS SELECT * {of_one}"));
    more(log.path(), 82);
    backfill(&database, log.path());
    let put_back = format!("DELETE {of_one}; INSERT INTO sink_positions SELECT * FROM public.older");
    let rows = || database.ask("SELECT seq, digest FROM events WHERE partition = 1 ORDER BY seq");
    let (written, from) = (rows(), database.ask("SELECT next_seq FROM public.older"));
    let there = database.ask(&format!("SELECT min(seq) FROM events WHERE partition = 1 AND seq >= {from}"));
    database.ask(&put_back);
    let served = serve(log.path());
    let mut traffic = Traffic::new(&served.url, 83);
    let mut sink = Running::start(&mut database.sink(log.path(), &["--sink-batch-ms", "100"]));
    let says = format!(
        "the row of partition 1 in sink_positions ends before seq {from}, and events has seq {there} already, so it is an older \
         copy: put the newest one back, or begin anew in another sink_schema"
    );
    until("the partition has stopped", || {
        assert!(!sink.is_over());
        database.ask(&format!("SELECT stopped {of_one}")) == says
    });
    for partition in [0, 2] {
        let next_seq = || database.ask(&format!("SELECT next_seq FROM sink_positions WHERE partition = {partition}"));
        let before = next_seq();
        until("the others go on", || {
            traffic.calls(5);
            next_seq() != before
        });
    }
    let status = run(&mut database.sink(log.path(), &["status"]));
    assert!(status.code == 1 && status.out.contains(&format!("partition 1: stopped: {says}\n")), "{}", status.out);
    served.running.terminate();
    let ended = sink.terminate();
    assert!(ended.code == 0 && !ended.err.contains("23505"), "{}", ended.err);
    assert_eq!(rows(), written);
    let refused = run(&mut database.sink(log.path(), &["backfill"]));
    assert!(refused.code == 1 && refused.err.contains(&says), "{}", refused.err);
    let page = include_str!("../../../src/OPERATING.md");
    assert!(page.contains(MEND), "{MEND}");
    database.ask(MEND);
    assert_rest(&database, log.path());
}

/// The same where the next event is one that was set aside.
#[test]
fn an_older_copy_before_an_event_that_was_set_aside_is_named_too() {
    let (dir, database) = (tempfile::tempdir().unwrap(), Database::start());
    database.apply();
    let mut writing = Writing::new(5);
    writing.accept(5);
    writing.add_garbage();
    writing.write(dir.path());
    let backfill = || run(&mut database.sink(dir.path(), &["backfill", "--sink-undecodable", "aside"]));
    assert_eq!(backfill().code, 0);
    let aside = database.ask("SELECT seq FROM sink_set_aside");
    database.ask(&format!(
        "UPDATE sink_positions SET next_seq = {aside}, chain = (SELECT digest FROM events WHERE seq = {aside} - 1)"
    ));
    let refused = backfill();
    let says = format!("in sink_positions ends before seq {aside}, and sink_set_aside has seq {aside} already");
    assert!(refused.code == 1 && refused.err.contains(&says), "{}", refused.err);
    assert_eq!(database.ask("SELECT count(*) FROM sink_set_aside"), "1");
}

/// The story: somebody has changed a text by hand, and cut it short. That partition stops and says so, the others are written, and the
/// status tells of all.
#[test]
fn a_chain_that_is_no_digest_stops_its_partition_and_the_others_go_on() {
    let (log, database) = (tempfile::tempdir().unwrap(), Database::start());
    database.apply();
    more(log.path(), 87);
    backfill(&database, log.path());
    database.ask("CREATE TABLE public.right_one AS SELECT chain FROM sink_positions WHERE partition = 1");
    database.ask("UPDATE sink_positions SET chain = '00' WHERE partition = 1");
    more(log.path(), 88);
    let position =
        |partition| database.ask(&format!("SELECT next_seq FROM sink_positions WHERE partition = {partition}"));
    let before = [0, 1, 2].map(position);
    let says = "chain in its row of sink_positions is \"00\", which is no digest: put back what was there, or begin anew in another \
                sink_schema";
    let refused = run(&mut database.sink(log.path(), &["backfill"]));
    assert!(
        refused.code == 1 && refused.err.contains("which is no digest: put back what was there"),
        "{}",
        refused.err
    );
    let after = [0, 1, 2].map(position);
    assert!(after[0] != before[0] && after[1] == before[1] && after[2] != before[2], "{before:?} {after:?}");
    let status = run(&mut database.sink(log.path(), &["status"]));
    assert!(status.code == 1 && status.out.contains(&format!("partition 1: stopped: {says}\n")), "{}", status.out);
    assert_eq!(status.out.matches(", 0 events behind").count(), 2, "{}", status.out);
    let access = database.access();
    let open = || Postgres::open(&access, &Sessions::default(), Writer { process: 1, rest: 0 }).unwrap();
    for target in [&mut open(), &mut open()] {
        let claimed = target.claim(1, 0);
        let is_told = matches!(&claimed, Err(TargetError::Partition(why)) if why == says);
        assert!(is_told, "nobody keeps its lock: {claimed:?}");
    }
    database.ask("UPDATE sink_positions SET chain = (SELECT chain FROM public.right_one) WHERE partition = 1");
    assert_rest(&database, log.path());
}

/// The story: somebody wants the sink to leave an event out, or to write some again, and changes a number.
#[test]
fn a_number_that_somebody_has_changed_stops_its_partition() {
    let (log, database) = (tempfile::tempdir().unwrap(), Database::start());
    database.apply();
    more(log.path(), 84);
    backfill(&database, log.path());
    let rows = || database.ask("SELECT seq, digest FROM events WHERE partition = 1 ORDER BY seq");
    let add = |by: i64| {
        database.ask(&format!("UPDATE sink_positions SET next_seq = next_seq + {by} WHERE partition = 1"));
    };
    let others = || database.ask("SELECT sum(next_seq) FROM sink_positions WHERE partition <> 1");
    let written = rows();
    for (seed, by) in [(85, 2), (86, -2)] {
        more(log.path(), seed);
        let before = others();
        add(by);
        for command in ["backfill", "status"] {
            let refused = run(&mut database.sink(log.path(), &[command]));
            let told = refused.out + &refused.err;
            let says = "does not continue what is written: the log was replaced or has lost events, or somebody has changed the position";
            assert!(refused.code == 1 && told.contains(says), "{by}: {told}");
        }
        assert_eq!(rows(), written);
        assert_ne!(others(), before, "the others go on");
        add(-by);
    }
    assert_rest(&database, log.path());
}

/// A writer that was overtaken says nothing of a partition that another one may go on with.
#[test]
fn only_the_last_claim_says_that_a_partition_has_stopped() {
    let database = Database::start();
    database.apply();
    let mut target = Postgres::open(&database.access(), &Sessions::default(), Writer { process: 1, rest: 0 }).unwrap();
    let stopped = || database.ask("SELECT stopped FROM sink_positions");
    assert!(matches!(target.claim(0, 0), Ok(Some(_))));
    database.ask("UPDATE sink_positions SET claim = claim + 1");
    assert_eq!((target.note_stop(0, "gone"), stopped()), (Err(TargetError::Fenced), String::new()));
    assert!(matches!(target.claim(0, 0), Ok(Some(_))));
    assert_eq!((target.note_stop(0, "gone"), stopped()), (Ok(()), "gone".to_owned()));
}
