//! Large batches, where the database knows nothing of its tables yet.

use super::assert_same;
use super::postgres::Database;
use crate::cli::handwritten_logs::Writing;
use crate::process::run;
use crate::wait::until;
use headroom::limits::SINK_BATCH_ROWS_MAX;

/// The story: a merge that joins new events with themselves was fast in tables that had been analysed. In new tables the
/// database took them for one row, joined them row by row, and wrote nothing for two minutes. So the rows are counted that
/// the database reads for one large batch in new tables.
#[test]
fn a_large_batch_in_new_tables_reads_each_event_a_few_times() {
    // The first batch is full.
    const ACCEPTED: u64 = SINK_BATCH_ROWS_MAX;
    let (log, database) = (tempfile::tempdir().unwrap(), Database::start_with(&["autovacuum=off"]));
    database.apply();
    let mut writing = Writing::new(ACCEPTED);
    (0..ACCEPTED).for_each(|_| writing.accept(ACCEPTED));
    writing.write_long(log.path());
    let ended = run(&mut database.sink(log.path(), &["backfill"]));
    assert_eq!(ended.code, 0, "{}", ended.err);
    let count = |table: &str, of: &str| -> u64 {
        let sql = format!("SELECT {of} FROM pg_stat_user_tables WHERE schemaname = 'headroom' AND relname = '{table}'");
        database.ask(&sql).parse().unwrap()
    };
    // Sessions tell what they did when they end.
    until("the database has counted", || count("events", "n_tup_ins") == ACCEPTED + 2);
    assert_eq!(count("events", "analyze_count + autoanalyze_count"), 0);
    assert_eq!(count("reservations", "n_tup_ins"), ACCEPTED);
    let read = |table: &str| count(table, "coalesce(idx_tup_fetch, 0) + seq_tup_read");
    // Each of the four merges reads the new events once.
    assert!(read("events") <= 4 * (ACCEPTED + 2), "{} events were read", read("events"));
    assert!(read("reservations") <= ACCEPTED, "{} reservations were read", read("reservations"));
    assert_same(&database, log.path());
}
