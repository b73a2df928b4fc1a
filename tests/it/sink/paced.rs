//! A sink that may read and write so many events a second only.

use super::assert_same;
use super::postgres::Database;
use crate::cli::handwritten_logs::Writing;
use crate::process::{Running, run};
use crate::wait::until;
use rustix::process::{Pid, Signal, kill_process};

/// The story: a backfill of a day beside a busy service. It takes what is left at the slowest speed in small pieces, and whoever stops
/// it waits for none of the rest.
#[test]
fn a_backfill_at_a_bounded_speed_writes_small_batches_and_ends_when_it_is_told_to() {
    const ACCEPTED: u64 = 60_000;
    let (log, database) = (tempfile::tempdir().unwrap(), Database::start());
    database.apply();
    let mut writing = Writing::new(ACCEPTED);
    (0..ACCEPTED).for_each(|_| writing.accept(ACCEPTED));
    writing.write_long(log.path());
    let refused = run(&mut database.sink(log.path(), &["backfill", "--sink-events-per-second", "0"]));
    let why = "sink_events_per_second = \"0\" is not a whole number from 1000 to 1000000";
    assert!(refused.code == 2 && refused.err.contains(why), "{}", refused.err);
    let slow = ["backfill", "--sink-events-per-second", "1000", "--sink-batch-ms", "1000"];
    let backfill = Running::start(&mut database.sink(log.path(), &slow));
    until("some batches are written", || database.written() > 2_000);
    kill_process(Pid::from_child(backfill.child()), Signal::TERM).unwrap();
    let (ended, written) = (backfill.ended(), database.written());
    let told =
        format!("interrupted: {written} rows of {written} events written, and {} events left", ACCEPTED + 2 - written);
    assert!(ended.code == 1 && ended.out.starts_with(&told), "{told} in {}{}", ended.out, ended.err);
    // A batch has the events of a second, and those of the page that was read last. The last batch is what was read by then.
    let largest = database.ask("SELECT max(n) FROM (SELECT count(*) AS n FROM events GROUP BY xmin::text) b");
    assert!(largest.parse::<u64>().unwrap() < 2_000, "{largest}");
    assert_eq!(run(&mut database.sink(log.path(), &["backfill"])).code, 0);
    assert_same(&database, log.path());
}
