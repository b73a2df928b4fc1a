//! Every statement, in the words of PostgreSQL. Tables are found by the search path of the session.

use super::connection::quoted;
use crate::sink::COLUMNS;

/// Takes the lock of a partition for this session, unless another session has it.
pub(super) const LOCK: &str = "SELECT pg_try_advisory_lock(hashtext('headroom sink ' || current_schema()), $1)";
/// The row of a partition that is written for the first time. As long as nothing is written, the partition can begin later.
pub(super) const BEGIN_POSITION: &str = "
    INSERT INTO sink_positions (partition, next_seq, first_seq, claim, row_count, set_aside)
    VALUES ($1, $2, $2, 0, 0, 0)
    ON CONFLICT (partition) DO UPDATE SET next_seq = excluded.next_seq, first_seq = excluded.first_seq
    WHERE sink_positions.written_at IS NULL AND sink_positions.first_seq < excluded.first_seq";
/// Takes a partition from whoever wrote it before.
pub(super) const CLAIM: &str = "
    UPDATE sink_positions SET claim = claim + 1, stopped = NULL WHERE partition = $1 RETURNING next_seq, chain, claim";
/// Moves the position, if this is the last claim and nobody has moved it.
pub(super) const MOVE: &str = "
    UPDATE sink_positions
    SET next_seq = $4, chain = $5, row_count = row_count + $6, set_aside = set_aside + $7,
        decided_until = COALESCE($8::text::timestamptz, decided_until), written_at = clock_timestamp()
    WHERE partition = $1 AND next_seq = $2 AND claim = $3";
/// Nobody moves a position until the transaction ends.
pub(super) const HOLD_POSITIONS: &str =
    "SELECT partition, first_seq, next_seq FROM sink_positions ORDER BY partition FOR UPDATE";
pub(super) const NOTE_STOP: &str = "UPDATE sink_positions SET stopped = $2 WHERE partition = $1";
pub(super) const SET_ASIDE: &str = "
    INSERT INTO sink_set_aside (partition, seq, why, record, set_aside_at) VALUES ($1, $2, $3, $4, clock_timestamp())";
pub(super) const PROGRESS: &str = "
    SELECT partition, next_seq, chain, row_count, set_aside,
           extract(epoch FROM clock_timestamp() - written_at)::bigint,
           extract(epoch FROM clock_timestamp() - decided_until)::bigint, stopped
    FROM sink_positions ORDER BY partition";

/// Days are texts. Without an area every pool counts.
pub(super) const LOST_DEMAND: &str = include_str!("sql/lost_demand_between.sql");

/// What follows from the new rows of a batch, whose partition and range are the parameters.
pub(super) const MERGES: &[&str] = &[
    include_str!("sql/merge_reservations.sql"),
    include_str!("sql/merge_retired.sql"),
    include_str!("sql/merge_clock.sql"),
    include_str!("sql/merge_pool_definitions.sql"),
    include_str!("sql/merge_pools.sql"),
];

/// The index of a table besides its primary key.
pub(super) fn index_of(table: &str) -> Option<&'static str> {
    match table {
        // Small, because events come in the order of time, and cheap to keep.
        "events" => Some("CREATE INDEX events_decided_at ON events USING brin (decided_at)"),
        "reservations" => Some("CREATE INDEX reservations_pool ON reservations (pool)"),
        _ => None,
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
        /// The views, in an order in which each uses only those before it.
        pub const VIEWS: &[View] = &[$(View { name: $name, text: include_str!(concat!("sql/", $name, ".sql")) }),*];
    };
}

views! {
    "decisions",
    "decision_units",
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

/// The query of a view. Where the file says `{columns}`, the columns of events stand that the view does not name itself.
fn query(view: &View) -> String {
    const NAMED: &[&str] = &["areas", "labels", "window_start", "window_end", "cutoff"];
    let columns = COLUMNS.iter().filter(|column| !NAMED.contains(&&*column.name));
    let columns: Vec<String> = columns.map(|column| format!("e.{}", quoted(&column.name))).collect();
    view.text.trim().replace("{columns}", &columns.join(", "))
}

/// The comment of a view that is as it should be: another query has another comment.
pub(super) fn mark(view: &View) -> String {
    let hash = blake3::hash(query(view).as_bytes()).to_hex();
    format!("{} [{}]", view.doc(), hash.get(..16).unwrap_or_default())
}

/// Makes a view, and its comment.
pub(super) fn create(view: &View) -> String {
    let (name, comment) = (view.name, mark(view).replace('\'', "''"));
    format!("CREATE VIEW {name} AS\n{};\nCOMMENT ON VIEW {name} IS '{comment}'", query(view))
}
