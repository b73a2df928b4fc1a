//! Every statement. What is in braces differs between the databases (`dialect.rs`). Tables are found by the search path of the session.

use super::dialect::{Dialect, quoted};
use crate::limits::CLOCK_BROKER_MAX_MS;
use crate::sink::{COLUMNS, Rare};
use std::sync::LazyLock;

/// The log of the tables.
pub(super) const LOG: &str = "SELECT log_id FROM sink_log";
/// Notes the log, whose id is the parameter, unless another session was faster.
pub(super) const NOTE_LOG: &str = "INSERT INTO sink_log (one, log_id) VALUES (1, $1)";
/// The same where a key is enforced.
pub(super) const UNLESS_NOTED: &str = " ON CONFLICT (one) DO NOTHING";

/// Takes the lock of a partition for this session, unless another session has it. Null, and no lock, where this is not the session
/// with the pid `$2` that looks for tables in the schema `$3`.
pub(super) const LOCK: &str = "
    SELECT CASE WHEN pg_backend_pid() = $2::int8 AND current_schema() = $3::text
                THEN pg_try_advisory_lock(hashtext('headroom sink ' || current_schema()), $1) END";
/// Takes the lock of the tables in the schema that is the parameter, unless another session has it. No partition has this number.
pub(super) const LOCK_TABLES: &str = "SELECT pg_try_advisory_lock(hashtext('headroom sink ' || $1), -1)";
/// Takes it beside others that only look at the tables, unless a session has it that changes them.
pub(super) const LOCK_TABLES_TO_LOOK: &str = "SELECT pg_try_advisory_lock_shared(hashtext('headroom sink ' || $1), -1)";
/// Who has it.
pub(super) const TABLES_LOCKED_BY: &str = "
    SELECT a.pid, a.usename FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
    WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 2 AND l.objid::bigint = 4294967295
      AND l.classid::bigint = hashtext('headroom sink ' || $1)::bigint & 4294967295
      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())";
/// Gives the lock of a partition back.
pub(super) const UNLOCK: &str = "SELECT pg_advisory_unlock(hashtext('headroom sink ' || current_schema()), $1)";
/// Takes the lock by which others know that a writer lives, unless another session has it. The first parameter is shared by all
/// writers of the same partitions, and the second one is this writer.
pub(super) const LIVE: &str =
    "SELECT pg_try_advisory_lock(hashtext('headroom sink writer ' || $1::int4 || ' ' || current_schema()), $2::int4)";
/// Gives it back.
pub(super) const LEAVE: &str =
    "SELECT pg_advisory_unlock(hashtext('headroom sink writer ' || $1::int4 || ' ' || current_schema()), $2::int4)";
/// The living writers of the same partitions.
pub(super) const LIVING: &str = "
    SELECT objid::bigint FROM pg_locks
    WHERE locktype = 'advisory' AND granted AND objsubid = 2
      AND classid::bigint = hashtext('headroom sink writer ' || $1::int4 || ' ' || current_schema())::bigint & 4294967295
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
/// What tells this session from every other one, and its pid.
pub(super) const SESSION: &str =
    "SELECT pid::text || ' ' || backend_start, pid FROM pg_stat_activity WHERE pid = pg_backend_pid()";
/// Ends the session that has the lock of a partition, if it is one of these and not this one. Says how many that were.
pub(super) const END_LOST: &str = "
    SELECT count(pg_terminate_backend(a.pid)) FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
    WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 2 AND l.objid::bigint = $1
      AND l.classid::bigint = hashtext('headroom sink ' || current_schema())::bigint & 4294967295
      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND a.pid <> pg_backend_pid() AND a.pid::text || ' ' || a.backend_start = ANY ($2)";
/// The row of a partition that is written for the first time. As long as nothing is written, the partition can begin later.
pub(super) const BEGIN_POSITION: &str = "
    INSERT INTO sink_positions (partition, next_seq, first_seq, claim, row_count, set_aside)
    VALUES ($1, $2, $2, 0, 0, 0)
    ON CONFLICT (partition) DO UPDATE SET next_seq = excluded.next_seq, first_seq = excluded.first_seq
    WHERE sink_positions.written_at IS NULL AND sink_positions.first_seq < excluded.first_seq";
/// The position of a partition, whose number is the parameter. The primary key leads to it.
pub(super) const POSITION: &str = r#"SELECT next_seq FROM sink_positions WHERE "partition" = $1"#;
/// The tables in which a batch leaves rows that would be written once more by whoever began anew.
pub(super) const OF_BATCHES: &[&str] = &["events", "sink_set_aside"];
/// Takes a partition from whoever wrote it before.
pub(super) const CLAIM: &str = "
    UPDATE sink_positions SET claim = claim + 1, stopped = NULL WHERE partition = $1 RETURNING next_seq, chain, claim";
/// Moves the position, if this is the last claim, nobody has moved it, and the tables are those of the schema `$9`.
pub(super) const MOVE: &str = "
    UPDATE sink_positions
    SET next_seq = $4, chain = $5, row_count = row_count + $6, set_aside = set_aside + $7,
        decided_until = COALESCE($8::text::timestamptz, decided_until), written_at = clock_timestamp()
    WHERE partition = $1 AND next_seq = $2 AND claim = $3 AND current_schema() = $9::text";
/// If this is the last claim: another writer may go on well.
pub(super) const NOTE_STOP: &str = "UPDATE sink_positions SET stopped = $2 WHERE partition = $1 AND claim = $3";
/// Unless a later one is noted, by another process.
pub(super) const NOTE_FAILURE: &str = "
    UPDATE sink_positions SET failed = $2, failed_at = $3::text::timestamptz
    WHERE partition = $1 AND (failed_at IS NULL OR failed_at < $3::text::timestamptz)";
pub(super) const SET_ASIDE: &str = "
    INSERT INTO sink_set_aside (partition, seq, why, record, set_aside_at) VALUES ($1, $2, $3, $4, clock_timestamp())";
pub(super) const PROGRESS: &str = r#"
    SELECT "partition", next_seq, chain, row_count, set_aside,
           (extract(epoch FROM {now}) - extract(epoch FROM written_at))::bigint,
           stopped, failed,
           (extract(epoch FROM {now}) - extract(epoch FROM failed_at))::bigint, first_seq
    FROM sink_positions ORDER BY 1"#;

/// The question of lost demand between two days, which are texts. Without an area every pool counts. It is asked of the query of
/// `lost_demand_keys`, and of the pools alone that have such a slot, or none. A pool whose definition is not in the tables has
/// neither: then all are asked that ever refused.
pub(super) fn lost_demand(dialect: Dialect) -> String {
    const POOLS: &str = "
        SELECT l.pool FROM pool_lives l
        WHERE l.window_start IS NULL
           OR (l.window_start AT TIME ZONE 'UTC')::date BETWEEN $1::varchar::date AND $2::varchar::date
        UNION
        SELECT e.pool FROM events e
        WHERE e.kind = 'Rejected'
          AND (SELECT count(*) FROM sink_positions WHERE first_seq > 0 OR set_aside > 0)
              + (SELECT count(*) FROM pools WHERE version IS NULL) > 0";
    let asked = match dialect {
        // An array leads to the index of events by pool, whatever is known of the tables.
        Dialect::Postgres => format!("AND e.pool = ANY (ARRAY({POOLS}))"),
        Dialect::Redshift => format!("AND e.pool IN ({POOLS})"),
    };
    let keys = query_of(include_str!("sql/lost_demand_keys.sql"), dialect, (asked.as_str(), OF_DAYS));
    dialect.say(include_str!("sql/lost_demand_between.sql")).replace("{lost_demand_keys}", &keys)
}

/// A file of statements that make what follows from the new rows of a batch, whose partition and range are the parameters.
pub(super) struct Merge {
    pub(super) text: &'static str,
    /// Whether the rows ask for it.
    pub(super) is_due: fn(Rare) -> bool,
}

/// The reservations in PostgreSQL, before all others. With ON CONFLICT an insert of new rows takes the database 1.4 times as long,
/// and a reservation that is accepted is new, unless its pool has had an earlier life.
const MERGE_RESERVATIONS: &str = include_str!("sql/merge_reservations.sql");
const UNLESS_NEW: &str = "ON CONFLICT (reservation) DO UPDATE SET
        seq = excluded.seq, status = excluded.status, demand = excluded.demand, hold_until = excluded.hold_until,
        order_ref = excluded.order_ref, key = excluded.key, actor = excluded.actor, accepted_at = excluded.accepted_at,
        was_held = excluded.was_held, changed_at = excluded.changed_at, ended_at = excluded.ended_at,
        end_cause = excluded.end_cause";

/// Writes reservations, and fails on the primary key when one that was accepted is there already.
pub(super) static NEW_RESERVATIONS: LazyLock<String> = LazyLock::new(|| MERGE_RESERVATIONS.replace("{unless_new}", ""));
/// Writes reservations, whatever is there.
pub(super) static RESERVATIONS: LazyLock<String> =
    LazyLock::new(|| MERGE_RESERVATIONS.replace("{unless_new}", UNLESS_NEW));

/// The other statements in PostgreSQL, in their order.
pub(super) const MERGES: &[Merge] = &[
    Merge { text: include_str!("sql/merge_clock.sql"), is_due: |rare| rare.sets_clock },
    Merge { text: include_str!("sql/merge_retired.sql"), is_due: |rare| rare.bounds_life },
    Merge { text: include_str!("sql/merge_pool_definitions.sql"), is_due: |rare| rare.defines },
    Merge { text: include_str!("sql/merge_pools.sql"), is_due: |_| true },
    Merge { text: include_str!("sql/merge_pool_lives.sql"), is_due: |rare| rare.defines },
];

/// The same in Redshift, where a file holds several statements. The events may be in another table.
const REDSHIFT_MERGES: &[Merge] = &[
    Merge { text: include_str!("sql/redshift/merge_reservations.sql"), is_due: |_| true },
    Merge { text: include_str!("sql/redshift/merge_clock.sql"), is_due: |rare| rare.sets_clock },
    Merge { text: include_str!("sql/redshift/merge_retired.sql"), is_due: |rare| rare.bounds_life },
    Merge { text: include_str!("sql/redshift/merge_pools.sql"), is_due: |_| true },
    Merge { text: include_str!("sql/redshift/merge_pool_lives.sql"), is_due: |rare| rare.defines },
];

/// What follows from the events of a partition in a range, which are in this table and have this of what is rare: a statement
/// each, whose values are in it.
pub(in crate::sink) fn merges(
    dialect: Dialect,
    events: &str,
    partition: i64,
    (from, until): (i64, i64),
    rare: Rare,
) -> impl Iterator<Item = String> {
    let (first, merges) = match dialect {
        Dialect::Postgres => (Some(&**RESERVATIONS), MERGES),
        Dialect::Redshift => (None, REDSHIFT_MERGES),
    };
    let due = merges.iter().filter(move |merge| (merge.is_due)(rare)).map(|merge| merge.text);
    first.into_iter().chain(due).flat_map(|text| text.split(";\n")).map(move |statement| {
        let statement = dialect.say(statement).replace("{events}", events).replace("$1", &partition.to_string());
        statement.replace("$2", &from.to_string()).replace("$3", &until.to_string())
    })
}

/// Nobody else moves a position, or begins one, until the transaction ends.
pub(in crate::sink) fn hold_positions(dialect: Dialect) -> &'static str {
    match dialect {
        // A lock of its rows would let a sink begin a partition that has none, and write it.
        Dialect::Postgres => "LOCK TABLE sink_positions IN SHARE ROW EXCLUSIVE MODE",
        // A table that nobody reads but sinks: whoever reads one keeps its lock until his transaction ends.
        Dialect::Redshift => "LOCK TABLE sink_log",
    }
}

/// A question that is answered for everybody in the same way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct View {
    /// Its name in the schema.
    pub name: &'static str,
    /// The file of its query. The comment at its head says what one row is.
    text: &'static str,
}

impl View {
    /// What one row of it is.
    pub fn doc(&self) -> String {
        let lines = self.text.lines().map_while(|line| line.strip_prefix("--"));
        lines.map(str::trim).collect::<Vec<_>>().join(" ")
    }
}

macro_rules! views {
    ($($name:literal),* $(,)?) => {
        /// The views in PostgreSQL, in an order in which each uses only those before it.
        pub const VIEWS: &[View] = &[$(View { name: $name, text: include_str!(concat!("sql/", $name, ".sql")) }),*];
    };
}

views! {
    "decisions",
    "decision_units",
    "pool_units",
    "pool_usage",
    "slot_utilisation",
    "sold_out",
    "refusals",
    "lead_times",
    "hold_conversion",
    "over_committed",
    "planner_edits",
    "lost_demand_keys",
    "lost_demand",
}

/// The views of a database. The query of `pool_units` is another one in Redshift, which cannot take objects apart.
pub(super) fn views(dialect: Dialect) -> Vec<View> {
    if dialect == Dialect::Postgres {
        return VIEWS.to_vec();
    }
    let of_redshift = |view: &View| View {
        name: view.name,
        text: match view.name {
            "pool_units" => include_str!("sql/redshift/pool_units.sql"),
            _ => view.text,
        },
    };
    VIEWS.iter().filter(|view| view.name != UNITS).map(of_redshift).collect()
}

/// A view in PostgreSQL, which takes objects apart; in Redshift it is a table.
pub(in crate::sink) const UNITS: &str = "decision_units";

/// Joins an event `e` with the life of its pool in which it is, `l`.
const OF_LIFE: &str = "l.pool = e.pool AND l.\"partition\" = e.\"partition\"
    AND e.seq BETWEEN l.from_seq AND COALESCE(l.until_seq, e.seq)";

/// From the first of the refusals to two hours after the last one: what is accepted in the first of them may be taken back in the
/// second. It begins as much earlier as the clocks of two partitions may be apart.
const IN_TIME: &str = "a.decided_at BETWEEN (SELECT min(r.decided_at) FROM refused r{of_days}) - interval '10 seconds'
                 AND (SELECT max(r.decided_at) FROM refused r{of_days}) + interval '2 hours'";
const _: () = assert!(CLOCK_BROKER_MAX_MS.saturating_mul(2) == 10_000, "the time that lost_demand_keys allows for");

/// Of the refusals, those that the question between two days tells of. A pool without a slot may have refused somebody years ago.
const OF_DAYS: &str = " WHERE (COALESCE(r.window_start, r.decided_at) AT TIME ZONE 'UTC')::date
                              BETWEEN $1::varchar::date AND $2::varchar::date";

/// The query of a view.
pub(super) fn query(view: &View, dialect: Dialect) -> String {
    query_of(view.text, dialect, ("", ""))
}

/// The same of those events only for which `asked` holds, where the file says `{asked}`, and of what was accepted about those
/// refusals that `of_days` leaves. Where it says `{columns}`, the columns of events stand that the view does not name itself, and
/// where it says `{of_life}` or `{in_time}`, those conditions.
fn query_of(text: &str, dialect: Dialect, (asked, of_days): (&str, &str)) -> String {
    const NAMED: &[&str] = &["areas", "labels", "window_start", "window_end", "cutoff"];
    let columns = COLUMNS.iter().filter(|column| !NAMED.contains(&&*column.name));
    let columns: Vec<String> = columns.map(|column| format!("e.{}", quoted(&column.name))).collect();
    let said = dialect.say(text).replace("{columns}", &columns.join(", ")).replace("{of_life}", OF_LIFE);
    said.replace("{in_time}", IN_TIME).replace("{of_days}", of_days).replace("{asked}", asked)
}

/// Digits of the hash at the end of the comment of a view.
const MARK_DIGITS: usize = 16;

/// The comment of a view that is as it should be: another query has another comment, and so has one that the database has under
/// another definition.
pub(super) fn mark(view: &View, dialect: Dialect, definition: &str) -> String {
    let hash = blake3::hash(format!("{}{definition}", query(view, dialect)).as_bytes()).to_hex();
    format!("{} [{}]", view.doc(), hash.get(..MARK_DIGITS).unwrap_or_default())
}

/// Whether this is the comment of a view that some version of ours has made: each of them ends so.
pub(super) fn is_marked(comment: &str) -> bool {
    let hash = comment.rsplit_once(" [").and_then(|(_, end)| end.strip_suffix(']')).unwrap_or_default();
    hash.len() == MARK_DIGITS && hash.bytes().all(|byte| byte.is_ascii_hexdigit())
}
