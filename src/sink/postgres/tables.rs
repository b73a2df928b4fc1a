//! The tables as they should be.

use super::dialect::Dialect;
use super::sql::UNITS;
use crate::sink::{COLUMNS, Column, ColumnKind};

/// A table, and what it says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Table {
    /// Its name in the schema.
    pub name: &'static str,
    /// What one row of it is.
    pub doc: &'static str,
    /// Its columns, in order.
    pub columns: Vec<Column>,
    /// The columns of its primary key.
    pub key: &'static [&'static str],
}

/// An index of a table beside its primary key.
pub(super) struct Index {
    pub(super) name: &'static str,
    pub(super) table: &'static str,
    /// The column that it begins with.
    pub(super) column: &'static str,
    method: &'static str,
}

const INDEXES: &[Index] = &[
    // Small, because events come in the order of time, and cheap to keep.
    Index { name: "events_decided_at", table: "events", column: "decided_at", method: "brin" },
    // For questions of few pools. Events of a pool come together, so few pages change. A bare COPY of events takes 1.3 times as long
    // (`loadtest/README.md`).
    Index { name: "events_pool", table: "events", column: "pool", method: "btree" },
    Index { name: "reservations_pool", table: "reservations", column: "pool", method: "btree" },
];

impl Index {
    /// Those that the tables have. Redshift knows none.
    pub(super) fn all(dialect: Dialect) -> impl Iterator<Item = &'static Index> {
        INDEXES.iter().filter(move |_| dialect == Dialect::Postgres)
    }

    /// How it is made.
    pub(super) fn statement(&self) -> String {
        let Index { name, table, column, method } = self;
        format!("CREATE INDEX {name} ON {table} USING {method} ({column})")
    }
}

/// The tables that follow from that of events.
pub(super) const FOLLOWING: &[&str] = &["reservations", "pools", "pool_lives"];

/// Every table that a sink needs, in the order in which they are made.
pub fn tables(dialect: Dialect) -> Vec<Table> {
    let mut tables = tables_of_both();
    if dialect == Dialect::Redshift {
        tables.push(Table {
            name: UNITS,
            doc: "One row for each event and each dimension that it names.",
            columns: units(),
            key: &["partition", "seq", "dimension"],
        });
        for table in tables.iter_mut().filter(|table| table.name == "sink_positions") {
            table.columns.extend(writer());
        }
    }
    tables
}

fn tables_of_both() -> Vec<Table> {
    vec![
        Table {
            name: "events",
            doc: "One row for each event of the log, except those of internal pools. What a field says depends on the kind \
                  of the event.",
            columns: COLUMNS.clone(),
            key: &["partition", "seq"],
        },
        Table {
            name: "reservations",
            doc: "One row for each reservation that was ever accepted, as its last event left it.",
            columns: reservations(),
            key: &["reservation"],
        },
        Table {
            name: "pools",
            doc: "One row for each pool that was ever defined, as its last event left it.",
            columns: pools(),
            key: &["pool"],
        },
        Table {
            name: "pool_lives",
            doc: "One row for each life of a pool, from the event that defined it to the one that retired it. The same id may \
                  have several, with other slots.",
            columns: pool_lives(),
            key: &["pool", "from_seq"],
        },
        Table {
            name: "sink_positions",
            doc: "One row for each partition: how far it is written. Each row changes in the transaction that writes.",
            columns: positions(),
            key: &["partition"],
        },
        Table {
            name: "sink_log",
            doc: "One row: which log the tables are of. Sinks of another one write nothing. Of no use in questions.",
            columns: log(),
            key: &["one"],
        },
        Table {
            name: "sink_set_aside",
            doc: "One row for each event that could not be read and was set aside.",
            columns: set_aside(),
            key: &["partition", "seq"],
        },
    ]
}

/// The definition of a column, for a new table or an existing one.
pub(super) fn definition(column: &Column, dialect: Dialect) -> String {
    let null = if column.is_always { " NOT NULL" } else { "" };
    format!("{} {}{null}", super::dialect::quoted(&column.name), dialect.type_of_column(column))
}

fn columns<const N: usize>(of: [(&str, ColumnKind, bool, &str); N]) -> Vec<Column> {
    let column = |(name, kind, is_always, doc): (&str, ColumnKind, bool, &str)| Column {
        name: name.to_owned(),
        kind,
        is_always,
        doc: doc.to_owned(),
    };
    of.map(column).into()
}

fn reservations() -> Vec<Column> {
    use ColumnKind::{Int, Long, Object, Text, Time};
    columns([
        ("reservation", Text, true, "The id of the reservation."),
        ("pool", Text, true, "The pool that it takes capacity of."),
        ("partition", Int, true, "The partition of the pool."),
        ("seq", Long, true, "The event that last changed the reservation."),
        ("status", Text, true, "held, confirmed, released, expired, or retired: its pool's life has ended."),
        ("demand", Object, false, "Units per dimension that it takes; after its end, units that it took."),
        (
            "hold_until",
            Time,
            false,
            "When the hold expires, or would have, where its pool's life ended before; null otherwise.",
        ),
        ("order_ref", Text, false, "The caller's order."),
        ("key", Text, false, "The Idempotency-Key under which it was accepted."),
        ("actor", Text, false, "Who reserved."),
        (
            "accepted_at",
            Time,
            false,
            "When it was accepted; null when that is before the first event of the tables, or was set aside.",
        ),
        ("was_held", ColumnKind::Truth, false, "Whether it began as a hold; null when accepted_at is null."),
        ("changed_at", Time, true, "When it last changed."),
        (
            "ended_at",
            Time,
            false,
            "When its capacity was given back; null while it takes capacity. Where the end of its pool's life was set aside, \
             when the next life began.",
        ),
        ("end_cause", Text, false, "Why it ended: caller, abandoned, expired, or retired."),
    ])
}

fn pools() -> Vec<Column> {
    use ColumnKind::{Int, Long, Object, Text, Texts, Time, Truth};
    columns([
        ("pool", Text, true, "The id of the pool."),
        ("partition", Int, true, "The partition of the pool."),
        ("seq", Long, true, "The last event that shows the pool or its counters."),
        ("changed_at", Time, true, "When that was."),
        ("limits", Object, false, "Units per dimension that may be in use, or might be at the end of its life."),
        ("used", Object, false, "Units per dimension that are in use, or were at the end of its life."),
        (
            "mode",
            Text,
            false,
            "open, paused or closed; null when its definition is before the first event of the tables, or was set aside.",
        ),
        ("version", Long, false, "How often its definition was changed, from 1."),
        ("areas", Texts, false, "Where the pool is offered."),
        ("labels", Object, false, "What else is said of the pool."),
        ("window_start", Time, false, "When its slot begins, if it stands for a time."),
        ("window_end", Time, false, "When its slot is over."),
        ("cutoff", Time, false, "From when it admits nothing; null means the end of the slot."),
        ("hold_ttl_max_ms", Long, false, "The longest time that a hold gets at once, in milliseconds."),
        ("hold_life_max_ms", Long, false, "The longest whole life of a hold, in milliseconds."),
        ("unique_order_ref", Truth, false, "Whether an order may have one live reservation at most; null means no."),
        ("retire_after_ms", Long, false, "How long after its slot its life ends, in milliseconds; null means 7 days."),
        ("retired_at", Time, false, "When its life ended; null while it lives."),
        ("retire_cause", Text, false, "Why its life ended: caller or window."),
    ])
}

fn pool_lives() -> Vec<Column> {
    use ColumnKind::{Int, Long, Object, Text, Texts, Time};
    columns([
        ("pool", Text, true, "The id of the pool."),
        ("partition", Int, true, "The partition of the pool."),
        (
            "from_seq",
            Long,
            true,
            "The event that began the life; 0 when it is before the first event of the tables. Where it was set aside, the one \
             after the end of the life before.",
        ),
        (
            "until_seq",
            Long,
            false,
            "The event that ended it, which belongs to it; null while it lasts. Where it was set aside, the one before the next \
             life.",
        ),
        ("began_at", Time, false, "When it began; null when from_seq is not the event that began it."),
        (
            "retired_at",
            Time,
            false,
            "When it ended; null while it lasts, and when the event that ended it was set aside.",
        ),
        ("retire_cause", Text, false, "Why it ended: caller or window."),
        ("areas", Texts, false, "Where the pool was offered at last."),
        ("labels", Object, false, "What else was said of the pool at last."),
        ("window_start", Time, false, "When the slot began that it had last."),
        ("window_end", Time, false, "When that slot was over."),
        ("cutoff", Time, false, "From when it admitted nothing; null means the end of the slot."),
        ("limits", Object, false, "Units per dimension that might be in use at its end; null when retired_at is."),
        ("used", Object, false, "Units per dimension that were in use at its end; null when retired_at is."),
    ])
}

fn positions() -> Vec<Column> {
    use ColumnKind::{Int, Long, Text, Time};
    columns([
        ("partition", Int, true, "The partition of the log."),
        ("next_seq", Long, true, "The next event to write: all before it are in the tables."),
        ("first_seq", Long, true, "The event with which writing began."),
        ("chain", Text, false, "The digest of the last event."),
        ("claim", Long, true, "How often a process has claimed the partition: only the last one may write."),
        ("row_count", Long, true, "Rows written into events."),
        ("set_aside", Long, true, "Events that were set aside."),
        ("decided_until", Time, false, "When the last event was decided."),
        ("written_at", Time, false, "When the last batch was written."),
        ("stopped", Text, false, "Why nothing more is written; null while all is well."),
        (
            "failed",
            Text,
            false,
            "The last error after which writing was tried again, or with which the sink ended; null when none is noted.",
        ),
        ("failed_at", Time, false, "When that was, by the clock of the sink."),
    ])
}

fn log() -> Vec<Column> {
    use ColumnKind::{Int, Text};
    columns([("one", Int, true, "1, so that there is one row only."), ("log_id", Text, true, "The id of the log.")])
}

fn set_aside() -> Vec<Column> {
    use ColumnKind::{Int, Long, Text, Time};
    columns([
        ("partition", Int, true, "The partition of the event."),
        ("seq", Long, true, "The place of the event in the partition."),
        ("why", Text, true, "What is wrong with it."),
        ("record", Text, true, "The record as the log has it, in hexadecimal."),
        ("set_aside_at", Time, true, "When it was set aside."),
    ])
}

/// Of a table in Redshift: the units of an event in one dimension, with what queries of units ask for as well.
fn units() -> Vec<Column> {
    use ColumnKind::{Long, Text};
    const OF_EVENT: &[&str] = &["partition", "seq", "decided_at", "kind", "ask", "reason", "pool", "reservation"];
    let of_event = OF_EVENT.iter().filter_map(|name| COLUMNS.iter().find(|column| column.name == *name)).cloned();
    let own = columns([
        ("dimension", Text, true, "The dimension."),
        ("demand", Long, false, "Units that were asked for or taken."),
        ("demand_before", Long, false, "Units that the reservation had before an amend."),
        ("limit_units", Long, false, "The limit of the pool after the event."),
        ("used", Long, false, "What is in use after the event."),
    ]);
    of_event.chain(own).collect()
}

/// Redshift has no lock that ends with a session.
fn writer() -> Vec<Column> {
    columns([(
        "writer",
        ColumnKind::Text,
        false,
        "The process that writes the partition; null when it has ended in good order.",
    )])
}
