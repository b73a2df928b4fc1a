//! The kinds of commands and of events. What depends on the kind alone is said here, one row for each kind, and nowhere
//! else. The auditor does not use the rows: it says by itself which answer fits which command.

use std::fmt;

/// The kinds of [`super::CommandBody`], without what they carry. The numbers are part of every fingerprint and never
/// change. 8 was a kind that no program wrote; it stays unused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[expect(missing_docs, reason = "named as the variants of CommandBody")]
pub enum CommandKind {
    DefinePool = 0,
    AdjustLimits = 1,
    SetMode = 2,
    Reserve = 3,
    Confirm = 4,
    Extend = 5,
    Release = 6,
    Abandon = 7,
    ChangePool = 9,
    Amend = 10,
}

/// What an idempotency key belongs to: the same key on another pool or reservation is another key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeyScope {
    /// The pool that the command names.
    Pool,
    /// The reservation that the command names.
    Reservation,
}

/// What is said of one kind of command.
struct CommandRow {
    name: &'static str,
    key_scope: Option<KeyScope>,
    is_decided_once: bool,
}

impl CommandKind {
    const fn row(self) -> CommandRow {
        const fn keyed(name: &'static str, key_scope: KeyScope) -> CommandRow {
            CommandRow { name, key_scope: Some(key_scope), is_decided_once: true }
        }
        match self {
            CommandKind::DefinePool => keyed("DefinePool", KeyScope::Pool),
            CommandKind::AdjustLimits => keyed("AdjustLimits", KeyScope::Pool),
            CommandKind::SetMode => keyed("SetMode", KeyScope::Pool),
            CommandKind::ChangePool => keyed("ChangePool", KeyScope::Pool),
            // The id of its reservation is made of its key, so that the reservation itself is what is remembered.
            CommandKind::Reserve => CommandRow { name: "Reserve", key_scope: None, is_decided_once: true },
            CommandKind::Confirm => keyed("Confirm", KeyScope::Reservation),
            CommandKind::Extend => keyed("Extend", KeyScope::Reservation),
            CommandKind::Amend => keyed("Amend", KeyScope::Reservation),
            CommandKind::Release => keyed("Release", KeyScope::Reservation),
            // A gateway sends it, without a key. What an attempt has lost already it cannot lose once more.
            CommandKind::Abandon => CommandRow { name: "Abandon", key_scope: None, is_decided_once: false },
        }
    }

    /// Its name: the symbol of the schemas, and what JSON, log lines and reports call it.
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// What its idempotency key belongs to. `None` where no answer is remembered under the key.
    pub fn key_scope(self) -> Option<KeyScope> {
        self.row().key_scope
    }

    /// Whether a copy of such a command is refused, and one that comes after its deadline. An Abandon has no deadline of its
    /// own and may be decided again: refusing one as late would leave capacity with a caller who was told no.
    pub fn is_decided_once(self) -> bool {
        self.row().is_decided_once
    }
}

impl fmt::Display for CommandKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The kinds of [`super::EventBody`], without what they carry.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[expect(missing_docs, reason = "named as the variants of EventBody")]
pub enum EventKind {
    PoolDefined,
    LimitsAdjusted,
    ModeSet,
    Accepted,
    Confirmed,
    Extended,
    Released,
    Expired,
    Repeated,
    Rejected,
    Abandoned,
    Malformed,
    Barrier,
    Tick,
    CommandsLost,
    PoolChanged,
    EventsLost,
    ClockSet,
    Amended,
}

impl EventKind {
    /// Its name: the symbol of the schemas, and the label of metrics.
    pub fn name(self) -> &'static str {
        match self {
            EventKind::PoolDefined => "PoolDefined",
            EventKind::LimitsAdjusted => "LimitsAdjusted",
            EventKind::ModeSet => "ModeSet",
            EventKind::Accepted => "Accepted",
            EventKind::Confirmed => "Confirmed",
            EventKind::Extended => "Extended",
            EventKind::Released => "Released",
            EventKind::Expired => "Expired",
            EventKind::Repeated => "Repeated",
            EventKind::Rejected => "Rejected",
            EventKind::Abandoned => "Abandoned",
            EventKind::Malformed => "Malformed",
            EventKind::Barrier => "Barrier",
            EventKind::Tick => "Tick",
            EventKind::CommandsLost => "CommandsLost",
            EventKind::PoolChanged => "PoolChanged",
            EventKind::EventsLost => "EventsLost",
            EventKind::ClockSet => "ClockSet",
            EventKind::Amended => "Amended",
        }
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
