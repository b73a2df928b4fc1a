//! What breaks on the way into Redshift: the process at every named point, connections, other writers, and the bucket.

use super::proxy::{Fault, Redshift};
use super::{assert_rest, serve};
use crate::cli::handwritten_logs::Writing;
use crate::process::{Running, run};
use crate::sink::bucket::{COUNTED, SOON, failures_of, waits_for_the_dead};
#[cfg(feature = "crash-points")]
use crate::sink::killed;
use crate::sink::outage::makes_up_for_an_hour;
use crate::sink::traffic::Traffic;
use crate::wait::until;
use headroom::sink::{Batch, Others, Place, Rare, Target, TargetError};
use headroom::time::pause;
use std::path::Path;
use std::time::Duration;

/// Whether the status says that everything is written.
fn is_all_written(redshift: &Redshift, log: &Path) -> bool {
    let status = run(&mut redshift.sink(log, &["status"]));
    status.code == 0 && status.out.matches(", 0 events behind").count() == 3
}

/// The points at which the process may die, from before a batch is written to after it.
#[cfg(feature = "crash-points")]
const POINTS: &[&str] = &["sink-read", "sink-staged", "sink-copied", "sink-moved", "sink-written", "sink-committed"];

fn start(redshift: &Redshift, log: &Path) -> Running {
    Running::start(&mut redshift.sink(log, &["--sink-batch-ms", "100"]))
}

/// How many rows of units are missing, and how many are there that no event has.
#[cfg(feature = "crash-points")]
const UNITS_DIFFER: &str = "
    WITH found AS (SELECT partition, seq, dimension::text FROM decision_units),
    expected AS (
        SELECT DISTINCT partition, seq, jsonb_object_keys(part::jsonb)
        FROM events CROSS JOIN LATERAL (VALUES (demand), (demand_before), (limits), (used)) parts (part))
    SELECT (SELECT count(*) FROM (TABLE expected EXCEPT ALL TABLE found) missing),
           (SELECT count(*) FROM (TABLE found EXCEPT ALL TABLE expected) unknown)";

#[cfg(feature = "crash-points")]
#[test]
fn killed_at_any_point_the_sink_repeats_nothing_and_loses_nothing() {
    is_whole_after_each_death(&Redshift::start());
}

/// The story: the machine of the sink is taken away while it writes, and no table has a key that would notice a row that came
/// twice.
#[cfg(feature = "crash-points")]
pub fn is_whole_after_each_death(redshift: &Redshift) {
    let log = tempfile::tempdir().unwrap();
    redshift.apply();
    let backfill = || {
        redshift.writers_are_gone();
        redshift.sink(log.path(), &["backfill"])
    };
    killed::at_each(POINTS, 51, log.path(), backfill, || {
        killed::assert_first_rows(&redshift.tables, log.path());
        assert_eq!(redshift.tables.ask(UNITS_DIFFER), "0|0");
    });
    assert_rest(redshift, log.path());
}

/// While the database is away, the proxy in front of it ends each connection.
#[test]
fn an_hour_without_a_database_is_made_up_for() {
    let (log, mut redshift) = (tempfile::tempdir().unwrap(), Redshift::start());
    redshift.apply();
    makes_up_for_an_hour(&mut redshift, log.path());
    assert_rest(&redshift, log.path());
}

/// Redshift says no in all the ways in which it may say yes later.
#[test]
fn what_may_pass_is_tried_again_and_writes_nothing_twice() {
    let (log, redshift) = (tempfile::tempdir().unwrap(), Redshift::start());
    redshift.apply();
    let served = serve(log.path());
    let mut traffic = Traffic::new(&served.url, 52);
    let mut sink = start(&redshift, log.path());
    until("something is written", || redshift.tables.written() > 0);
    for (statement, fault) in [
        ("COMMIT", Fault::Says("1023")),
        ("INSERT INTO events", Fault::Says("1023")),
        ("LOCK TABLE", Fault::Says("Serializable isolation violation on table - 100143")),
        ("COPY", Fault::Says("S3ServiceException:Please reduce your request rate.,Status 503,Error SlowDown")),
        ("COPY", Fault::Says("S3ServiceException:The specified key does not exist.,Status 404,Error NoSuchKey,Rid 1")),
        ("COPY headroom_staged_units", Fault::Says("The specified S3 prefix 's3://lake' does not exist")),
        ("COMMIT", Fault::Cut),
        ("INSERT INTO decision_units", Fault::Cut),
        ("DELETE FROM reservations", Fault::Cut),
        ("COPY", Fault::Cut),
    ] {
        redshift.fails(statement, fault);
        traffic.calls(10);
        until("it has failed", || redshift.has_failed());
    }
    until("the status tells why", || {
        let status = run(&mut redshift.sink(log.path(), &["status"]));
        assert_eq!(status.code, 0, "{}{}", status.out, status.err);
        status
            .out
            .lines()
            .any(|line| line.contains(": last failure ") && line.contains("the database cannot be reached"))
    });
    assert!(!sink.is_over());
    served.running.terminate();
    let ended = sink.terminate();
    assert!(ended.code == 0 && ended.err.contains("the database says: 1023 (XX000)"), "{}", ended.err);
    assert_rest(&redshift, log.path());
}

/// The story: the way to the bucket or to Redshift is too slow for a whole batch. The next one is half of it, and they grow again.
#[test]
fn a_batch_that_broke_off_is_smaller_the_next_time() {
    let (log, redshift) = (tempfile::tempdir().unwrap(), Redshift::start());
    redshift.apply();
    let mut writing = Writing::new(1_000);
    (0..1_000).for_each(|_| writing.accept(1_000));
    writing.write_long(log.path());
    for statement in ["COPY", "INSERT INTO events"] {
        redshift.fails(statement, Fault::Says("S3CurlException: Connection timed out, CurlError 28"));
    }
    let ended = run(&mut redshift.sink(log.path(), &["backfill"]));
    assert!(ended.code == 0 && ended.err.contains("the next batch is smaller"), "{}", ended.err);
    let batches = redshift.tables.ask("SELECT count(*) FROM events GROUP BY xmin::text ORDER BY 1");
    assert_eq!(batches, "250\n752");
    assert_rest(&redshift, log.path());
}

/// A role that may not read the bucket does not get the right to by being asked again, and a bucket in another region does not
/// move. The sink ends, says why, there and in the status, and gives its partitions back: who mends it need not wait.
#[test]
fn what_an_operator_has_to_mend_ends_the_sink_by_name() {
    let (log, redshift) = (tempfile::tempdir().unwrap(), Redshift::start());
    redshift.apply();
    let served = serve(log.path());
    Traffic::new(&served.url, 53).calls(10);
    for (statement, fault) in [
        ("COPY", "S3ServiceException:Access Denied,Status 403,Error AccessDenied,Rid 1,ExtRid 2,CanRetry 1"),
        (
            "COPY",
            "S3ServiceException:The specified bucket does not exist,Status 404,Error NoSuchBucket,Rid 1,CanRetry 1",
        ),
        ("COPY", "S3ServiceException:The bucket is in another region,Status 301,Error PermanentRedirect,Rid 1"),
        ("COPY", "S3ServiceException:The key does not exist in our records.,Status 403,Error InvalidAccessKeyId,Rid 1"),
        ("INSERT INTO events", "Value too long for character type"),
    ] {
        redshift.fails(statement, Fault::Says(fault));
        let refused = run(&mut redshift.sink(log.path(), &["backfill"]));
        assert!(refused.code == 1 && refused.err.contains(&format!("the database says: {fault}")), "{}", refused.err);
        assert_eq!(redshift.tables.ask("SELECT count(writer) FROM sink_positions"), "0", "{fault}");
        let last = "SELECT failed FROM sink_positions WHERE failed IS NOT NULL ORDER BY failed_at DESC LIMIT 1";
        assert_eq!(redshift.tables.ask(last), format!("the database says: {fault} (XX000)"));
    }
    let status = run(&mut redshift.sink(log.path(), &["status"]));
    let is_last =
        |line: &str| line.contains(": last failure ") && line.ends_with(": Value too long for character type (XX000)");
    assert!(status.out.lines().any(is_last), "{}{}", status.out, status.err);
    // A note that is not taken keeps nobody waiting, and what ended the sink is told.
    redshift.fails("INSERT INTO events", Fault::Says("Overflow"));
    redshift.fails("UPDATE sink_positions SET failed", Fault::Says("1023"));
    let refused = run(&mut redshift.sink(log.path(), &["backfill"]));
    assert!(refused.code == 1 && refused.err.contains("the database says: Overflow"), "{}", refused.err);
    assert!(redshift.has_failed());
    assert_eq!(redshift.tables.ask("SELECT count(writer) FROM sink_positions"), "0");
    served.running.terminate();
    assert_rest(&redshift, log.path());
}

/// The story: a commit is carried out, and the network fails before the answer comes. The sink cannot know.
#[test]
fn a_commit_whose_answer_is_lost_is_neither_repeated_nor_forgotten() {
    let (log, redshift) = (tempfile::tempdir().unwrap(), Redshift::start());
    redshift.apply();
    let served = serve(log.path());
    let mut traffic = Traffic::new(&served.url, 56);
    let mut sink = start(&redshift, log.path());
    until("something is written", || redshift.tables.written() > 0);
    for _ in 0..5 {
        let before = redshift.tables.written();
        // Behind the lock on the positions the next commit is that of the batch.
        redshift.fails("INSERT INTO events", Fault::Passes);
        redshift.fails("COMMIT", Fault::LosesAnswer);
        traffic.calls(10);
        until("the answer is lost", || redshift.has_failed());
        until("it is committed", || redshift.tables.written() > before);
    }
    assert!(!sink.is_over());
    served.running.terminate();
    let ended = sink.terminate();
    assert!(ended.code == 0 && ended.err.contains("the database cannot be reached"), "{}", ended.err);
    assert_rest(&redshift, log.path());
}

/// The story: a network stands still, and somebody stops the sink. It is not waited for as long as for an answer.
#[test]
fn a_sink_whose_session_hangs_ends_all_the_same() {
    let (log, redshift) = (tempfile::tempdir().unwrap(), Redshift::start());
    redshift.apply();
    let served = serve(log.path());
    let mut traffic = Traffic::new(&served.url, 57);
    let sink = start(&redshift, log.path());
    until("something is written", || redshift.tables.written() > 0);
    redshift.fails("LOCK TABLE", Fault::Waits);
    traffic.calls(20);
    until("a batch is on its way", || redshift.has_failed());
    let ended = sink.terminate();
    assert!(ended.code == 0 && ended.err.contains("the database did not answer within"), "{}", ended.err);
    redshift.goes_on();
    served.running.terminate();
    assert_rest(&redshift, log.path());
}

/// The story: a network stands still, another sink takes the partitions over, and then the first one's transaction goes on as if
/// nothing had been.
#[test]
fn a_sink_that_hung_and_was_overtaken_writes_nothing_twice() {
    let (log, redshift) = (tempfile::tempdir().unwrap(), Redshift::start());
    redshift.apply();
    let served = serve(log.path());
    let mut traffic = Traffic::new(&served.url, 54);
    let first = start(&redshift, log.path());
    let held = || redshift.tables.ask("SELECT count(*) FROM sink_positions WHERE writer IS NOT NULL");
    until("the first one has all partitions", || held() == "3");
    let mut backfill = Running::start(&mut redshift.sink(log.path(), &["backfill"]));
    until("a backfill sees that the first one writes", || {
        traffic.calls(1);
        pause(Duration::from_millis(50));
        backfill.is_over()
    });
    let refused = backfill.ended();
    assert!(refused.code == 1 && refused.err.contains("another sink writes partition"), "{}", refused.err);
    redshift.fails("LOCK TABLE", Fault::Waits);
    traffic.calls(20);
    until("a batch of the first one is on its way", || redshift.has_failed());
    redshift.writers_are_gone();
    let second = start(&redshift, log.path());
    until("the second one has taken over", || is_all_written(&redshift, log.path()));
    redshift.goes_on();
    traffic.calls(20);
    until("all of it is written", || is_all_written(&redshift, log.path()));
    let ended = first.terminate();
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert!(ended.err.contains("another sink has taken the partition"), "{}", ended.err);
    assert_eq!(second.terminate().code, 0);
    // Who ends in good order is not waited for.
    assert_eq!(held(), "0");
    served.running.terminate();
    assert_rest(&redshift, log.path());
}

/// Sinks come, leave and die under load. Who comes gets nothing while another one lives, and everything behind it.
#[test]
fn sinks_that_come_and_go_write_each_event_once() {
    const ROUNDS: usize = 6;
    let (log, redshift) = (tempfile::tempdir().unwrap(), Redshift::start());
    redshift.apply();
    let served = serve(log.path());
    let mut sink = start(&redshift, log.path());
    let writer = || {
        let writers = redshift.tables.ask("SELECT min(writer) FROM sink_positions GROUP BY writer HAVING count(*) = 3");
        (!writers.is_empty()).then_some(writers)
    };
    let goes_on = || {
        let before = redshift.tables.written();
        until("more is written", || redshift.tables.written() > before);
    };
    Traffic::new(&served.url, 58).beside(|| {
        for round in 0..ROUNDS {
            until("one sink has all partitions", || writer().is_some());
            goes_on();
            let (had, joined) = (writer(), start(&redshift, log.path()));
            goes_on();
            assert_eq!(writer(), had, "a living sink keeps its partitions");
            let mut left = std::mem::replace(&mut sink, joined);
            if round % 2 == 0 {
                assert_eq!(left.terminate().code, 0);
            } else {
                left.kill();
            }
            // Who ends and is not answered in time gives nothing back either.
            if let Some(had) = &had {
                redshift.writer_is_gone(had);
            }
            until("the other one has all partitions", || writer().is_some_and(|now| Some(now) != had));
        }
        goes_on();
    });
    served.running.terminate();
    assert_eq!(sink.terminate().code, 0);
    assert_rest(&redshift, log.path());
}

/// Nothing tells that a writer has died but a position that stands still.
#[test]
fn a_partition_is_taken_over_when_its_position_stands_still() {
    let redshift = Redshift::start();
    redshift.apply();
    let (patient, soon) = (Others::new(Duration::MAX), Others::new(Duration::from_millis(100)));
    let (mut first, mut second) = (redshift.target(1, &patient), redshift.target(2, &soon));
    let begin = Some(Place { next_seq: 0, chain: None });
    assert_eq!((first.claim(0, 0), second.claim(0, 0)), (Ok(begin), Ok(None)));
    assert_eq!(first.claim(0, 0), Ok(begin), "it claims again, as after an error");
    assert_eq!(second.claim(0, 0), Ok(None), "who claims again lives");
    until("the position has stood still for long enough", || second.claim(0, 0) == Ok(begin));
    let (rows, aside) = (Vec::new(), Vec::new());
    let (rare, decided_until) = (Rare::default(), None);
    let batch = Batch { partition: 0, from: 0, until: 1, chain: None, decided_until, rows, row_count: 0, rare, aside };
    assert_eq!(first.commit(&batch), Err(TargetError::Fenced));
    assert_eq!(second.commit(&batch), Ok(()));
    drop(first);
    let position = || redshift.tables.ask("SELECT next_seq, claim, writer IS NULL FROM sink_positions");
    assert_eq!(position(), "1|3|f", "who was overtaken gives nothing back");
    drop(second);
    assert_eq!(position(), "1|3|t");
}

/// The story: a sink stood still for hours, another one took its partition, and what the first one was to write next has left the
/// log. The status said that the partition had stopped, and to begin anew, while all of it was written.
#[test]
fn who_was_overtaken_does_not_say_that_the_partition_has_stopped() {
    let redshift = Redshift::start();
    redshift.apply();
    let (patient, soon) = (Others::new(Duration::MAX), Others::new(Duration::from_millis(100)));
    let (mut first, mut second) = (redshift.target(1, &patient), redshift.target(2, &soon));
    let begin = Ok(Some(Place { next_seq: 0, chain: None }));
    assert_eq!(first.claim(0, 0), begin);
    until("it is taken over", || second.claim(0, 0) == begin);
    let stopped = || redshift.tables.ask("SELECT stopped FROM sink_positions");
    for _ in 0..2 {
        assert_eq!((first.note_stop(0, "it's gone"), stopped()), (Err(TargetError::Fenced), String::new()));
    }
    assert_eq!((second.note_stop(0, "it's gone"), stopped()), (Ok(()), "it's gone".to_owned()));
}

/// The story: the connection of a sink breaks again and again. It does not begin each time to wait for a dead writer.
#[test]
fn a_dead_writer_is_waited_for_over_several_connections() {
    let redshift = Redshift::start();
    redshift.apply();
    let mut dead = redshift.target(1, &Others::new(Duration::MAX));
    let begin = Ok(Some(Place { next_seq: 0, chain: None }));
    assert_eq!(dead.claim(0, 0), begin);
    let others = Others::new(Duration::from_millis(100));
    until("it is taken over", || redshift.target(2, &others).claim(0, 0) == begin);
}

#[test]
fn a_backfill_waits_for_the_positions_of_a_sink_that_was_killed() {
    let (log, redshift) = (tempfile::tempdir().unwrap(), Redshift::start());
    redshift.apply();
    let served = serve(log.path());
    let mut sink = start(&redshift, log.path());
    let held = "SELECT count(*) FROM sink_positions WHERE writer IS NOT NULL";
    until("it has all partitions", || redshift.tables.ask(held) == "3");
    sink.kill();
    Traffic::new(&served.url, 59).calls(20);
    served.running.terminate();
    waits_for_the_dead(&mut redshift.sink(log.path(), SOON), || redshift.writers_are_gone());
    assert_rest(&redshift, log.path());
}

/// A text that somebody has changed by hand stops its partition, and the session goes on with the others.
#[test]
fn a_chain_that_is_no_digest_stops_its_partition_alone() {
    let (log, redshift) = (tempfile::tempdir().unwrap(), Redshift::start());
    redshift.apply();
    let served = serve(log.path());
    Traffic::new(&served.url, 65).calls(30);
    served.running.terminate();
    let backfill = || run(&mut redshift.sink(log.path(), &["backfill"]));
    assert_eq!(backfill().code, 0);
    redshift.tables.ask("UPDATE sink_positions SET chain = '00' WHERE partition = 1");
    let mut target = redshift.target(1, &Others::new(Duration::MAX));
    let claimed = target.claim(1, 0);
    assert!(matches!(&claimed, Err(TargetError::Partition(why)) if why.contains("which is no digest")), "{claimed:?}");
    assert!(matches!(target.claim(0, 0), Ok(Some(_))));
    drop(target);
    let refused = backfill();
    let is_told = refused.err.contains("which is no digest: put back what was there");
    assert!(refused.code == 1 && is_told, "{}", refused.err);
    let status = run(&mut redshift.sink(log.path(), &["status"]));
    let is_told = status.out.contains("partition 1: stopped: chain in its row of sink_positions is \"00\"");
    assert!(status.code == 1 && is_told && status.out.contains("partition 2: next seq "), "{}", status.out);
}

/// The story: somebody restores one row of yesterday, and no key notices that each event since then comes twice.
#[test]
fn an_older_copy_of_a_position_stops_its_partition_before_an_event_is_there_twice() {
    let (log, redshift) = (tempfile::tempdir().unwrap(), Redshift::start());
    redshift.apply();
    let backfill = || run(&mut redshift.sink(log.path(), &["backfill"]));
    let more = |seed| {
        let served = serve(log.path());
        Traffic::new(&served.url, seed).calls(60);
        served.running.terminate();
    };
    let ask = |sql: &str| redshift.tables.ask(sql);
    let put_back = |copy: &str| {
        ask(&format!(
            "DELETE FROM sink_positions WHERE partition = 1; INSERT INTO sink_positions SELECT * FROM public.{copy}"
        ))
    };
    more(81);
    assert_eq!(backfill().code, 0);
    ask("CREATE TABLE public.older AS SELECT * FROM sink_positions WHERE partition = 1");
    more(82);
    assert_eq!(backfill().code, 0);
    ask("CREATE TABLE public.newest AS SELECT * FROM sink_positions WHERE partition = 1");
    let rows = || ask("SELECT partition, seq FROM events ORDER BY 1, 2; SELECT count(*) FROM decision_units");
    let written = rows();
    let there = ask("SELECT min(seq) FROM events WHERE partition = 1 AND seq >= (SELECT next_seq FROM public.older)");
    put_back("older");
    let refused = backfill();
    let says = format!("and events has seq {there} already, so it is an older copy: put the newest one back");
    assert!(refused.code == 1 && refused.err.contains(&says), "{}", refused.err);
    assert_eq!(rows(), written);
    let status = run(&mut redshift.sink(log.path(), &["status"]));
    let is_told =
        status.out.contains("partition 1: stopped: the row of partition 1 in sink_positions ends before seq ");
    assert!(status.code == 1 && is_told, "{}{}", status.out, status.err);
    put_back("newest");
    assert_rest(&redshift, log.path());
}

/// The story: what follows on the older copy begins with events of internal pools alone, which have no rows. That nothing of them is
/// there says nothing of what comes next.
#[test]
fn a_batch_without_rows_does_not_show_that_a_position_is_the_newest() {
    let redshift = Redshift::start();
    redshift.apply();
    let mut target = redshift.target(1, &Others::new(Duration::MAX));
    assert_eq!(target.claim(0, 0), Ok(Some(Place { next_seq: 0, chain: None })));
    let batch = |from| {
        let (rows, aside, rare) = (Vec::new(), Vec::new(), Rare::default());
        Batch { partition: 0, from, until: from + 1, chain: None, decided_until: None, rows, row_count: 0, rare, aside }
    };
    assert_eq!(target.commit(&batch(0)), Ok(()));
    redshift.tables.ask(
        "INSERT INTO sink_set_aside (partition, seq, why, record, set_aside_at) VALUES (0, 1, 'no event', 'a', now())",
    );
    let refused = target.commit(&batch(1));
    let is_told =
        matches!(&refused, Err(TargetError::Partition(why)) if why.contains("and sink_set_aside has seq 1 already"));
    assert!(is_told, "{refused:?}");
}

/// Uploads that hang are given up, and what the store still does of them is the same file again.
#[test]
fn a_bucket_that_stands_still_is_waited_for() {
    let (log, redshift) = (tempfile::tempdir().unwrap(), Redshift::start());
    redshift.apply();
    let served = serve(log.path());
    let mut traffic = Traffic::new(&served.url, 55);
    let mut sink = Running::start(&mut redshift.sink(log.path(), COUNTED));
    let failures = failures_of(&mut sink);
    traffic.calls(20);
    // A COPY that reads the bucket while it stands still would be waited for much longer than an upload.
    until("all of it is written", || is_all_written(&redshift, log.path()));
    let before = failures();
    redshift.bucket.stands_still();
    traffic.calls(20);
    until("an upload is given up", || failures() > before);
    redshift.bucket.goes_on();
    served.running.terminate();
    assert_eq!(sink.terminate().code, 0);
    assert_rest(&redshift, log.path());
}

/// An event that cannot be read is set aside: the table says where its record lies, which may be longer than a column.
#[test]
fn an_event_that_is_set_aside_lies_in_the_bucket() {
    let (dir, redshift) = (tempfile::tempdir().unwrap(), Redshift::start());
    redshift.apply();
    let mut writing = Writing::new(5);
    writing.accept(5);
    writing.add_garbage();
    writing.accept(5);
    writing.write(dir.path());
    let stopped = run(&mut redshift.sink(dir.path(), &["backfill"]));
    assert!(
        stopped.code == 1 && stopped.err.contains("the sink writes nothing more of the partition"),
        "{}",
        stopped.err
    );
    let status = run(&mut redshift.sink(dir.path(), &["status"]));
    assert!(status.out.contains("partition 0: stopped: seq 3 cannot be read: "), "{}{}", status.out, status.err);
    let aside = run(&mut redshift.sink(dir.path(), &["backfill", "--sink-undecodable", "aside"]));
    assert_eq!(aside.code, 0, "{}", aside.err);
    assert_eq!(redshift.tables.ask("SELECT seq FROM events ORDER BY seq"), "0\n1\n2\n4");
    redshift.tables.ask("UPDATE sink_positions SET next_seq = 3, chain = (SELECT digest FROM events WHERE seq = 2)");
    let refused = run(&mut redshift.sink(dir.path(), &["backfill", "--sink-undecodable", "aside"]));
    let is_told = refused.err.contains(" has seq ") && refused.err.contains(" already, so it is an older copy");
    assert!(refused.code == 1 && is_told, "{}", refused.err);
    assert_eq!(redshift.tables.ask("SELECT count(*) FROM events"), "4");
    let place = redshift.tables.ask("SELECT record FROM sink_set_aside");
    let (name, text) = &redshift.bucket.objects("set_aside")[0];
    assert_eq!(place, format!("{}/{name}", redshift.bucket.place()));
    assert!(String::from_utf8_lossy(text).contains("6e6f206576656e74"));
}
