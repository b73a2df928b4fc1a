//! The kinds of commands and of events. What depends on the kind alone is said here, once. The auditor does not use the
//! rows of commands: it has its own rules.

use std::fmt;

/// Defines an enumeration of kinds. Each kind has its number, which never changes, and is named as the schemas name it.
macro_rules! kinds {
    ($(#[$doc:meta])* $type:ident { $($kind:ident = $number:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[expect(missing_docs, reason = "each has the name of a variant of the body")]
        pub enum $type { $($kind = $number),* }

        impl $type {
            /// Every kind, in the order of their numbers.
            pub const ALL: &[$type] = &[$($type::$kind),*];

            /// Its name in the schemas, which is also its name in JSON, log lines and the labels of metrics.
            pub const fn name(self) -> &'static str {
                match self { $($type::$kind => stringify!($kind)),* }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}

kinds! {
    /// The kinds of [`super::CommandBody`], without what they carry. The numbers are part of every fingerprint and the places
    /// of the schema's symbols. 8 was a kind that no program wrote; it stays unused.
    CommandKind {
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
        RetirePool = 11,
    }
}

kinds! {
    /// The kinds of [`super::EventBody`], without what they carry. The numbers are the places of the schema's symbols. 13 was
    /// a kind that no program wrote; it stays unused.
    EventKind {
        PoolDefined = 0,
        LimitsAdjusted = 1,
        ModeSet = 2,
        Accepted = 3,
        Confirmed = 4,
        Extended = 5,
        Released = 6,
        Expired = 7,
        Repeated = 8,
        Rejected = 9,
        Abandoned = 10,
        Malformed = 11,
        Barrier = 12,
        Tick = 14,
        CommandsLost = 15,
        PoolChanged = 16,
        EventsLost = 17,
        ClockSet = 18,
        Amended = 19,
        PoolRetired = 20,
    }
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
struct Row {
    key_scope: Option<KeyScope>,
    is_decided_once: bool,
}

impl CommandKind {
    fn row(self) -> Row {
        let keyed = |scope| Row { key_scope: Some(scope), is_decided_once: true };
        match self {
            CommandKind::DefinePool => keyed(KeyScope::Pool),
            CommandKind::AdjustLimits => keyed(KeyScope::Pool),
            CommandKind::SetMode => keyed(KeyScope::Pool),
            CommandKind::ChangePool => keyed(KeyScope::Pool),
            CommandKind::RetirePool => keyed(KeyScope::Pool),
            // The id of its reservation is made of its key, so that the reservation itself is what is remembered.
            CommandKind::Reserve => Row { key_scope: None, is_decided_once: true },
            CommandKind::Confirm => keyed(KeyScope::Reservation),
            CommandKind::Extend => keyed(KeyScope::Reservation),
            CommandKind::Amend => keyed(KeyScope::Reservation),
            CommandKind::Release => keyed(KeyScope::Reservation),
            // A gateway sends it, without a key. What an attempt has lost already it cannot lose once more.
            CommandKind::Abandon => Row { key_scope: None, is_decided_once: false },
        }
    }

    /// What its idempotency key belongs to. `None` where no answer is remembered under the key.
    pub fn key_scope(self) -> Option<KeyScope> {
        self.row().key_scope
    }

    /// Whether a copy of such a command is refused, and one that comes after its deadline. An Abandon has no deadline of
    /// its own and may be decided again: refusing one as late would leave capacity with a caller who was told no.
    pub fn is_decided_once(self) -> bool {
        self.row().is_decided_once
    }
}
