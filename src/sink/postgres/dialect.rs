//! What the two databases say differently. Everything else is the same text for both.

use crate::sink::{Column, ColumnKind};
use crate::wire::event::DETAIL_CHARS_MAX;
use std::time::Duration;

/// The language of a database.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Dialect {
    /// PostgreSQL, 15 or newer.
    Postgres,
    /// Amazon Redshift, which is a PostgreSQL 8.0 without keys, indexes, objects and lists.
    Redshift,
}

/// What is written in braces in a statement: its name, and what it is in PostgreSQL and in Redshift.
#[rustfmt::skip]
const WORDS: &[(&str, &str, &str)] = &[
    // What GETDATE says is in the zone of the session, and so is what a cast reads.
    ("now", "clock_timestamp()", "GETDATE()::timestamptz"),
    // Between two times. DATEDIFF is documented for times without a zone.
    ("lead_time", "COALESCE(e.window_start, l.window_start) - e.decided_at",
        "DATEDIFF('microsecond', e.decided_at AT TIME ZONE 'UTC',
                  COALESCE(e.window_start, l.window_start) AT TIME ZONE 'UTC') / 1000000.0"),
    // Whether the list `areas` has the area that is asked for, if one is.
    ("in_area", "($3::varchar IS NULL OR $3 = ANY (areas))", "($3 = '' OR POSITION($3 IN areas) > 0)"),
    // Of an event `e` in the inner queries: the objects that its dimensions are taken from.
    ("objects", "e.limits, e.used, ", ""),
    // Its dimensions `d`, and the limit and the use of each.
    ("each_dimension", "CROSS JOIN LATERAL jsonb_each_text(e.used) d (dimension, used)",
        "JOIN decision_units d ON d.pool = e.pool AND d.\"partition\" = e.\"partition\" AND d.seq = e.seq \
         AND d.used IS NOT NULL"),
    ("limit_and_used", "(e.limits ->> d.dimension)::bigint AS limit_units, d.used::bigint AS used",
        "d.limit_units, d.used"),
    // Of a column in the catalogue. A domain takes no null either, where it or one that it is made of says so, and has no default.
    ("is_not_null", "a.attnotnull OR COALESCE((
            WITH RECURSIVE types AS (
                SELECT y.oid, y.typnotnull, y.typbasetype FROM pg_type y WHERE y.oid = a.atttypid AND y.typdefault IS NULL
                UNION ALL SELECT y.oid, y.typnotnull, y.typbasetype FROM types t JOIN pg_type y ON y.oid = t.typbasetype
            )
            SELECT bool_or(t.typnotnull) FROM types t), false)", "a.attnotnull"),
    ("has_default", "a.atthasdef OR a.attidentity <> ''", "a.atthasdef"),
    ("is_made", "a.attidentity <> '' OR a.attgenerated <> ''", "false"),
    ("key_place", "array_position(i.indkey::int2[], a.attnum)", "NULL::integer"),
    ("is_key_deferrable", "NOT i.indimmediate", "false"),
    ("keys", "LEFT JOIN pg_index i ON i.indrelid = c.oid AND i.indisprimary", ""),
    // Of a relation in the catalogue: what rights to it are asked by, and whether it belongs to this user, as far as is known.
    ("relation", "c.oid", "quote_ident(n.nspname) || '.' || quote_ident(c.relname)"),
    ("is_own", "pg_has_role(c.relowner, 'USAGE')", "true"),
];

/// The type of the longest text of an event in Redshift, which counts bytes.
const DETAIL_IN_REDSHIFT: &str = "character varying(4096)";
const _: () = assert!(DETAIL_CHARS_MAX.saturating_mul(char::MAX.len_utf8()) <= 4096);

impl Dialect {
    /// The language of the database of this URL.
    pub(super) fn of(url: &str) -> Dialect {
        if url.starts_with("redshift://") { Dialect::Redshift } else { Dialect::Postgres }
    }

    /// A statement in this language, without the comment at its head.
    pub(super) fn say(self, statement: &str) -> String {
        let lines: Vec<&str> = statement.lines().filter(|line| !line.starts_with("--")).collect();
        let mut said = lines.join("\n").trim().to_owned();
        for (name, postgres, redshift) in WORDS {
            let word = match self {
                Dialect::Postgres => postgres,
                Dialect::Redshift => redshift,
            };
            said = said.replace(&format!("{{{name}}}"), word);
        }
        said
    }

    /// A text as SQL. A backslash begins an escape: always in Redshift, and in PostgreSQL where an E stands before the quote.
    pub(in crate::sink) fn literal(self, text: &str) -> String {
        let text = text.replace('\0', "\u{fffd}").replace('\\', "\\\\").replace('\'', "''");
        match self {
            Dialect::Postgres => format!("E'{text}'"),
            Dialect::Redshift => format!("'{text}'"),
        }
    }

    /// The type of a column, as the catalogue of the database spells it.
    pub fn type_of_column(self, column: &Column) -> &'static str {
        match self {
            Dialect::Redshift if column.name == "detail" => DETAIL_IN_REDSHIFT,
            dialect => dialect.type_of(column.kind),
        }
    }

    /// The type of a column whose texts are not of the longest.
    pub fn type_of(self, kind: ColumnKind) -> &'static str {
        match (kind, self) {
            (ColumnKind::Int, _) => "integer",
            (ColumnKind::Long, _) => "bigint",
            (ColumnKind::Truth, _) => "boolean",
            (ColumnKind::Time, _) => "timestamp with time zone",
            (ColumnKind::Text, Dialect::Postgres) => "text",
            (ColumnKind::Object, Dialect::Postgres) => "jsonb",
            (ColumnKind::Texts, Dialect::Postgres) => "text[]",
            // Redshift counts bytes. No other text of an event is longer, and shorter columns need less memory in queries.
            (ColumnKind::Text, Dialect::Redshift) => "character varying(1024)",
            // JSON, which the longest list of areas fits in.
            (ColumnKind::Object | ColumnKind::Texts, Dialect::Redshift) => "character varying(65535)",
        }
    }

    /// What every session is told. An hour of a lost client would hold its locks for as long, and a statement that a client has
    /// given up would go on, or wait for a lock with others behind it, where the database has no bound of its own. The memory is
    /// enough to sort a whole batch, which would be sorted on the disk with what a database has by default.
    pub(super) fn session(self) -> &'static [&'static str] {
        match self {
            Dialect::Postgres => &[
                "SET application_name = 'headroom sink'",
                "SET timezone = 'UTC'",
                // Days are told, and sorted, as texts.
                "SET datestyle = 'ISO, YMD'",
                // The names and texts that the catalog tells are compared with ours.
                "SET quote_all_identifiers = off",
                "SET intervalstyle = 'postgres'",
                "SET idle_in_transaction_session_timeout = '2min'",
                "SET tcp_keepalives_idle = 10",
                "SET tcp_keepalives_interval = 5",
                "SET tcp_keepalives_count = 3",
                "SET work_mem = '32MB'",
                "SELECT set_config('statement_timeout', '120000', false) WHERE current_setting('statement_timeout') = '0'",
            ],
            Dialect::Redshift => &[
                "SET application_name TO 'headroom sink'",
                "SET timezone TO 'UTC'",
                "SET datestyle TO 'ISO, YMD'",
                "SET statement_timeout TO 120000",
            ],
        }
    }

    /// Begins a transaction that changes tables. No lock is waited for longer than the one time, and no statement takes longer than
    /// the other.
    pub(super) fn begin_change(self, lock: Duration, statement: Duration) -> String {
        match self {
            Dialect::Postgres => format!(
                "BEGIN; SET LOCAL lock_timeout = {}; SET LOCAL statement_timeout = {}",
                lock.as_millis(),
                statement.as_millis().max(1)
            ),
            // It cannot bound the wait for a lock. What every session is told bounds each statement.
            Dialect::Redshift => "BEGIN".to_owned(),
        }
    }

    /// Who has which right to the relation `$2` of the schema `$1`: the right, its column, if it is for one only, the kind and
    /// the name of who has it, and whether that one may pass it on. Without those of the owner, who has them anyway.
    pub(super) fn rights(self) -> &'static str {
        match self {
            Dialect::Postgres => {
                "SELECT a.privilege_type, c.attname, CASE a.grantee WHEN 0 THEN 'public' ELSE 'user' END,
                        pg_get_userbyid(a.grantee), a.is_grantable
                 FROM (SELECT c.relnamespace, c.relname, c.relowner, NULL::name AS attname, c.relacl AS acl FROM pg_class c
                       UNION ALL
                       SELECT c.relnamespace, c.relname, c.relowner, t.attname, t.attacl
                       FROM pg_class c JOIN pg_attribute t ON t.attrelid = c.oid) c
                 JOIN pg_namespace n ON n.oid = c.relnamespace CROSS JOIN LATERAL aclexplode(c.acl) a
                 WHERE n.nspname = $1 AND c.relname = $2 AND a.grantee <> c.relowner"
            }
            Dialect::Redshift => {
                "SELECT privilege_type, NULL, identity_type, identity_name, admin_option FROM svv_relation_privileges
                 WHERE namespace_name = $1 AND relation_name = $2"
            }
        }
    }

    /// What comes after the columns of a table of this name and this key.
    pub(super) fn end_of_table(self, name: &str, key: &[&str]) -> String {
        match self {
            Dialect::Postgres => {
                let key: Vec<String> = key.iter().map(|column| quoted(column)).collect();
                format!(",\n    PRIMARY KEY ({})\n)", key.join(", "))
            }
            Dialect::Redshift => {
                // Views join by pool: its rows lie on one node. They ask for times: blocks of other times are skipped.
                let sort = match name {
                    "events" | "decision_units" => " DISTKEY (pool) SORTKEY (decided_at)",
                    "reservations" => " DISTKEY (pool) SORTKEY (accepted_at)",
                    "pools" | "pool_lives" => " DISTKEY (pool) SORTKEY (window_start)",
                    _ => "",
                };
                format!("\n){sort}")
            }
        }
    }
}

/// An identifier as SQL.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_is_said_in_the_language_of_its_database() {
        let statement = "SELECT {now} FROM pools WHERE {in_area}";
        assert_eq!(
            Dialect::of("postgresql://u@h/d").say(statement),
            "SELECT clock_timestamp() FROM pools WHERE ($3::varchar IS NULL OR $3 = ANY (areas))"
        );
        let said = Dialect::of("redshift://u@h/d").say(statement);
        assert_eq!(said, "SELECT GETDATE()::timestamptz FROM pools WHERE ($3 = '' OR POSITION($3 IN areas) > 0)");
    }

    #[test]
    fn names_and_texts_are_quoted() {
        assert_eq!(quoted("a\"b"), "\"a\"\"b\"");
        assert_eq!(Dialect::Postgres.literal("it's a \\ and \0"), "E'it''s a \\\\ and \u{fffd}'");
        assert_eq!(Dialect::Redshift.literal("it's a \\ and \0"), "'it''s a \\\\ and \u{fffd}'");
    }
}
