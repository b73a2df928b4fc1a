//! The JSON objects that requests carry: the members of each. [`super::body`] refuses every other member, and the
//! description is made of the same lists.

/// Rules of a pool, by the names of their members.
pub const HOLD_TTL_MAX: &str = "hold_ttl_max_ms";
pub const HOLD_LIFE_MAX: &str = "hold_life_max_ms";
pub const UNIQUE_ORDER_REF: &str = "unique_order_ref";
pub const RETIRE_AFTER: &str = "retire_after_ms";

/// One kind of object.
pub struct Shape {
    /// The name of its schema in the description.
    pub name: &'static str,
    pub about: &'static str,
    pub members: &'static [Member],
    /// Whether an object without members is refused.
    pub is_never_empty: bool,
}

/// A member of an object.
pub struct Member {
    pub name: &'static str,
    pub value: Value,
    pub presence: Presence,
    pub about: &'static str,
}

/// What a member holds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Value {
    /// A value of the schema with this name.
    Of(&'static str),
    /// `true` or `false`.
    Flag,
    /// Labels with new values, or with `null`.
    LabelChanges,
}

/// Whether a member has to be there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// The member has to be there.
    Required,
    /// The member may be left out, and `null` is a value of it.
    Nullable,
    /// The member may be left out, and `null` is refused.
    NotNull,
}

use Presence::{NotNull, Nullable, Required};
use Value::{Flag, LabelChanges, Of};

const fn member(name: &'static str, value: Value, presence: Presence, about: &'static str) -> Member {
    Member { name, value, presence, about }
}

const fn shape(name: &'static str, about: &'static str, members: &'static [Member]) -> Shape {
    Shape { name, about, members, is_never_empty: false }
}

impl Shape {
    /// Whether there is a member with this name.
    pub fn has(&self, name: &str) -> bool {
        self.members.iter().any(|member| member.name == name)
    }

    /// The names of all members, for people.
    pub fn names(&self) -> String {
        let names: Vec<_> = self.members.iter().map(|member| member.name).collect();
        if names.is_empty() { "none".to_owned() } else { names.join(", ") }
    }
}

/// Every object that the description tells of.
pub const DESCRIBED: [&Shape; 9] = [
    &RESERVE,
    &POOL_SPEC,
    &WINDOW_SPEC,
    &POOL_CHANGE,
    &WINDOW_CHANGE,
    &MODE_CHANGE,
    &EXTENSION,
    &AMENDMENT,
    &AVAILABILITY_QUERY,
];

/// The empty body of requests that say everything in their path.
pub const NOTHING: Shape = shape("Nothing", "No members", &[]);

/// The body of a request that sets clocks back.
pub const BECAUSE: Shape =
    shape("Because", "The reason of an operator", &[member("because", Of("Name"), Required, "The reason")]);

pub const RESERVE: Shape = shape(
    "Reserve",
    "A request for capacity.",
    &[
        member("pool", Of("PoolId"), Required, "The pool to reserve in."),
        member(
            "demand",
            Of("Demand"),
            Required,
            "Units by dimension, each at least 1; all of them are taken, or none.",
        ),
        member(
            "hold_ttl_ms",
            Of("HoldTtl"),
            Nullable,
            "Reserves a hold for so many milliseconds, which has to be confirmed; a permanent reservation when absent. \
             A hold that would last longer than the pool allows, or beyond the window's end, is refused, and the \
             refusal says the latest possible end.",
        ),
        member("order_ref", Of("Name"), Nullable, "The caller's order."),
    ],
);

pub const POOL_SPEC: Shape = shape(
    "PoolSpec",
    "What a pool is.",
    &[
        member("limits", Of("Limits"), Required, "Units by dimension that it may admit; at least one dimension."),
        member("areas", Of("Areas"), Nullable, "The areas where it is offered."),
        member("window", Of("WindowSpec"), Nullable, "The window of time that it covers."),
        member("labels", Of("Labels"), Nullable, "Other properties of the pool, as names and values."),
        member("mode", Of("Mode"), Nullable, "`open` (when absent), `paused` or `closed`."),
        member(
            HOLD_TTL_MAX,
            Of("HoldTtl"),
            Nullable,
            "The longest time that a hold gets at once, in milliseconds; a day when absent.",
        ),
        member(
            HOLD_LIFE_MAX,
            Of("HoldLife"),
            Nullable,
            "The longest whole life of a hold from when it was accepted, however often it is extended, in milliseconds; no \
             bound when absent.",
        ),
        member(
            UNIQUE_ORDER_REF,
            Flag,
            Nullable,
            "Whether an order may have one live reservation of the pool at most; no when absent. Those that are there when \
             it is set count: they stay, and no other is accepted.",
        ),
        member(
            RETIRE_AFTER,
            Of("RetireAfter"),
            Nullable,
            "How long after the end of its window the pool retires by itself; 7 days when absent. A pool without a window \
             retires only when that is asked for.",
        ),
    ],
);

pub const WINDOW_SPEC: Shape = shape(
    "WindowSpec",
    "The window of time that a pool covers.",
    &[
        member("start", Of("Instant"), Required, "When the slot begins."),
        member("end", Of("Instant"), Required, "When the slot is over, later than it begins."),
        member(
            "cutoff",
            Of("Instant"),
            Nullable,
            "From when nothing is admitted any more, no later than the end; the end when absent.",
        ),
    ],
);

pub const POOL_CHANGE: Shape = Shape {
    is_never_empty: true,
    ..shape(
        "PoolChange",
        "A change of a pool. What is not named stays; `null` clears the window, its cutoff, a label, or a rule.",
        &[
            member(
                "limits",
                Of("Limits"),
                NotNull,
                "Limits as they shall be, of dimensions that the pool has; the others stay. Not together with `adjust`.",
            ),
            member("adjust", Of("Differences"), NotNull, "Differences to limits."),
            member("areas", Of("Areas"), NotNull, "All areas where it is offered; they replace the former ones."),
            member("window", Of("WindowChange"), Nullable, "The time it stands for; `null`: none."),
            member(
                "labels",
                LabelChanges,
                NotNull,
                "Labels that get another value, or go with `null`; the others stay",
            ),
            member("mode", Of("Mode"), NotNull, "`open`, `paused` or `closed`."),
            member(HOLD_TTL_MAX, Of("HoldTtl"), Nullable, "The longest time that a hold gets at once; `null`: a day."),
            member(HOLD_LIFE_MAX, Of("HoldLife"), Nullable, "The longest whole life of a hold; `null`: no bound."),
            member(
                UNIQUE_ORDER_REF,
                Flag,
                Nullable,
                "Whether an order may have one live reservation of the pool at most; `null`: no.",
            ),
            member(
                RETIRE_AFTER,
                Of("RetireAfter"),
                Nullable,
                "How long after the end of its window the pool retires by itself; `null`: 7 days.",
            ),
        ],
    )
};

pub const WINDOW_CHANGE: Shape = Shape {
    is_never_empty: true,
    ..shape(
        "WindowChange",
        "Parts of a window; those not named stay.",
        &[
            member("start", Of("Instant"), NotNull, "When the slot begins."),
            member("end", Of("Instant"), NotNull, "When the slot is over."),
            member("cutoff", Of("Instant"), Nullable, "From when nothing is admitted any more; `null`: the end."),
        ],
    )
};

pub const MODE_CHANGE: Shape = shape(
    "ModeChange",
    "Opening, pausing or closing.",
    &[member("mode", Of("Mode"), Required, "`open`, `paused` or `closed`.")],
);

pub const EXTENSION: Shape = shape(
    "Extension",
    "More time for a hold.",
    &[member(
        "hold_ttl_ms",
        Of("HoldTtl"),
        Required,
        "The time from now, in milliseconds. A hold that had more left ends sooner.",
    )],
);

pub const AMENDMENT: Shape = shape(
    "Amendment",
    "Other units for a reservation.",
    &[member(
        "demand",
        Of("Demand"),
        Required,
        "Units by dimension, each at least 1: all that the reservation takes from now on. A dimension that is not named is \
         given back.",
    )],
);

/// Conditions on pools, for one answer and for a watch.
const IN_AREAS: Member = member("areas", Of("Areas"), Nullable, "Pools that serve at least one of these.");
const ENDS_AFTER: Member =
    member("from", Of("Instant"), Nullable, "Pools whose window ends after this, and pools without a window.");
const STARTS_BEFORE: Member =
    member("to", Of("Instant"), Nullable, "Pools whose window starts before this, and pools without a window.");
const WITH_LABELS: Member = member("labels", Of("Labels"), Nullable, "Pools that carry all of these.");

pub const AVAILABILITY_QUERY: Shape = shape(
    "AvailabilityQuery",
    "Conditions on pools; every pool meets a condition that is left out.",
    &[
        IN_AREAS,
        ENDS_AFTER,
        STARTS_BEFORE,
        member("demand", Of("Demand"), Nullable, "Pools that would take this now."),
        WITH_LABELS,
        member("limit", Of("PageLimit"), Nullable, "The most pools of a page."),
        member("cursor", Of("PoolId"), Nullable, "`next` of the page before."),
    ],
);

/// Which pools a watch is for.
pub const WATCH: Shape = shape(
    "Watch",
    "Conditions on pools that are watched.",
    &[
        IN_AREAS,
        ENDS_AFTER,
        STARTS_BEFORE,
        WITH_LABELS,
        member("pools", Of("PoolIds"), Nullable, "Pools with these ids."),
    ],
);
