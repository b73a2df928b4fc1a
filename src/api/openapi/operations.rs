//! What can be asked: every path and method with its parameters, its answers and its refusals.

use crate::api::problem::Edge;
use crate::domain::Reason;
use utoipa::openapi::path::HttpMethod;

/// One path and method, and what may come of it.
pub struct Operation {
    pub method: HttpMethod,
    pub path: &'static str,
    pub id: &'static str,
    pub summary: &'static str,
    /// The schema of its request body, if it takes one.
    pub body: Option<&'static str>,
    /// Status, schema and meaning of its good answers.
    pub ok: &'static [(&'static str, &'static str, &'static str)],
    pub parameters: &'static [&'static str],
    /// What its own rules refuse; what every request has to be is added.
    pub edges: &'static [Edge],
    /// What an owner refuses.
    pub reasons: &'static [Reason],
    pub kind: Kind,
}

/// Which refusals come with an operation besides its own.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Reserve,
    Command,
    Read,
    Page,
}

const COMMAND: &[&str] = &["Idempotency-Key", "Request-Timeout-Ms", "Headroom-Actor"];
const EDIT: &[&str] = &["If-Match", "Idempotency-Key", "Request-Timeout-Ms", "Headroom-Actor"];
const DEFINE: &[&str] = &["If-Match", "If-None-Match", "Idempotency-Key", "Request-Timeout-Ms", "Headroom-Actor"];
const HOLD: &[Reason] =
    &[Reason::UnknownReservation, Reason::HoldExpired, Reason::AlreadyReleased, Reason::NotAHold, Reason::KeyReused];
const EXTENSION: &[Reason] = &[
    Reason::UnknownReservation,
    Reason::HoldExpired,
    Reason::AlreadyReleased,
    Reason::NotAHold,
    Reason::HoldTooLong,
    Reason::HoldTooOld,
    Reason::HoldBeyondWindow,
    Reason::KeyReused,
];

/// All of them.
pub const OPERATIONS: &[Operation] = &[
    Operation {
        method: HttpMethod::Post,
        path: "/v1/availability",
        id: "availability",
        summary: "Pools that serve a place, a time and a demand",
        body: Some("AvailabilityQuery"),
        ok: &[("200", "Pools", "The pools, by id")],
        parameters: &["fresh"],
        edges: &[Edge::BadUnits, Edge::ZeroDemand, Edge::TooManyDimensions, Edge::BadTime, Edge::BadQuery],
        reasons: &[],
        kind: Kind::Read,
    },
    Operation {
        method: HttpMethod::Get,
        path: "/v1/pools",
        id: "list_pools",
        summary: "All pools, page by page",
        body: None,
        ok: &[("200", "Pools", "The pools, by id")],
        parameters: &["fresh", "limit", "cursor"],
        edges: &[Edge::BadQuery],
        reasons: &[],
        kind: Kind::Read,
    },
    Operation {
        method: HttpMethod::Get,
        path: "/v1/pools/{pool}",
        id: "get_pool",
        summary: "One pool",
        body: None,
        ok: &[("200", "Pool", "The pool; its version is its ETag")],
        parameters: &["fresh"],
        edges: &[Edge::BadName, Edge::BadQuery],
        reasons: &[Reason::UnknownPool],
        kind: Kind::Read,
    },
    Operation {
        method: HttpMethod::Put,
        path: "/v1/pools/{pool}",
        id: "define_pool",
        summary: "Make a pool, or replace all that is said of it: what the body does not name is cleared",
        body: Some("PoolSpec"),
        ok: &[("200", "Pool", "Replaced; `replaced_version` is the version before it"), ("201", "Pool", "Made")],
        parameters: DEFINE,
        edges: &[
            Edge::BadName,
            Edge::BadUnits,
            Edge::NoDimensions,
            Edge::TooManyDimensions,
            Edge::TooManyAreas,
            Edge::TooManyLabels,
            Edge::BadTime,
            Edge::BadWindow,
            Edge::BadMode,
            Edge::BadRule,
            Edge::BadVersion,
        ],
        reasons: &[Reason::StaleVersion, Reason::DimensionInUse, Reason::PartitionFull, Reason::KeyReused],
        kind: Kind::Command,
    },
    Operation {
        method: HttpMethod::Patch,
        path: "/v1/pools/{pool}",
        id: "change_pool",
        summary: "Change parts of a pool and keep the rest; a limit below what is used evicts nobody",
        body: Some("PoolChange"),
        ok: &[("200", "Pool", "The pool after it")],
        parameters: EDIT,
        edges: &[
            Edge::BadName,
            Edge::BadUnits,
            Edge::NoDimensions,
            Edge::TooManyDimensions,
            Edge::TooManyAreas,
            Edge::TooManyLabels,
            Edge::BadTime,
            Edge::BadWindow,
            Edge::BadMode,
            Edge::BadRule,
            Edge::BadChange,
            Edge::BadVersion,
        ],
        reasons: &[
            Reason::UnknownPool,
            Reason::StaleVersion,
            Reason::UnknownDimension,
            Reason::LimitOutOfRange,
            Reason::InvalidWindow,
            Reason::LabelsFull,
            Reason::KeyReused,
        ],
        kind: Kind::Command,
    },
    Operation {
        method: HttpMethod::Post,
        path: "/v1/pools/{pool}/mode",
        id: "set_mode",
        summary: "Open, pause or close a pool",
        body: Some("ModeChange"),
        ok: &[("200", "Pool", "The pool after it")],
        parameters: EDIT,
        edges: &[Edge::BadName, Edge::BadMode, Edge::BadVersion],
        reasons: &[Reason::UnknownPool, Reason::StaleVersion, Reason::KeyReused],
        kind: Kind::Command,
    },
    Operation {
        method: HttpMethod::Post,
        path: "/v1/reservations",
        id: "reserve",
        summary: "Take capacity, all of it or none",
        body: Some("Reserve"),
        ok: &[("201", "Reservation", "Taken; with Idempotent-Replayed: true when the key had it before")],
        parameters: COMMAND,
        edges: &[
            Edge::BadName,
            Edge::BadUnits,
            Edge::ZeroDemand,
            Edge::TooManyDimensions,
            Edge::BadHoldTtl,
            Edge::MissingField,
        ],
        reasons: &[
            Reason::UnknownPool,
            Reason::OrderHasReservation,
            Reason::PastCutoff,
            Reason::Closed,
            Reason::Paused,
            Reason::UnknownDimension,
            Reason::OverLimit,
            Reason::HoldTooLong,
            Reason::HoldTooOld,
            Reason::HoldBeyondWindow,
            Reason::TooManyAttempts,
            Reason::PartitionFull,
            Reason::KeyReused,
            Reason::DeadlineTooFar,
            Reason::TooManyCommands,
        ],
        kind: Kind::Reserve,
    },
    Operation {
        method: HttpMethod::Get,
        path: "/v1/reservations/{reservation}",
        id: "get_reservation",
        summary: "One reservation, for a while also after its end",
        body: None,
        ok: &[("200", "Reservation", "The reservation")],
        parameters: &["fresh"],
        edges: &[Edge::BadQuery],
        reasons: &[Reason::UnknownReservation],
        kind: Kind::Read,
    },
    Operation {
        method: HttpMethod::Delete,
        path: "/v1/reservations/{reservation}",
        id: "release",
        summary: "Give capacity back; again is the same answer",
        body: None,
        ok: &[("200", "Released", "Given back")],
        parameters: COMMAND,
        edges: &[],
        reasons: &[Reason::UnknownReservation, Reason::KeyReused],
        kind: Kind::Command,
    },
    Operation {
        method: HttpMethod::Post,
        path: "/v1/reservations/{reservation}/confirm",
        id: "confirm",
        summary: "Make a hold a reservation for good",
        body: None,
        ok: &[("200", "Reservation", "Confirmed")],
        parameters: COMMAND,
        edges: &[],
        reasons: HOLD,
        kind: Kind::Command,
    },
    Operation {
        method: HttpMethod::Post,
        path: "/v1/reservations/{reservation}/extend",
        id: "extend",
        summary: "Give a hold more time",
        body: Some("Extension"),
        ok: &[("200", "Reservation", "Extended")],
        parameters: COMMAND,
        edges: &[Edge::BadHoldTtl],
        reasons: EXTENSION,
        kind: Kind::Command,
    },
    page("/livez", "livez", "There is something to serve (503 when all has stopped for good)", "Health"),
    page(
        "/readyz",
        "readyz",
        "Whether calls are decided; 200 `degraded` names partitions on which they are not, 503 (the same body) says that none is",
        "Health",
    ),
    page(
        "/startupz",
        "startupz",
        "Every partition's state has been rebuilt (until then 503, and how far that is)",
        "Health",
    ),
    page("/metrics", "metrics", "Prometheus' text format", ""),
    page("/openapi.json", "openapi", "This document", ""),
];

const fn page(path: &'static str, id: &'static str, summary: &'static str, schema: &'static str) -> Operation {
    let ok: &[_] = if schema.is_empty() { &[("200", "", "It")] } else { &[("200", "Health", "It is so")] };
    Operation {
        method: HttpMethod::Get,
        path,
        id,
        summary,
        body: None,
        ok,
        parameters: &[],
        edges: &[],
        reasons: &[],
        kind: Kind::Page,
    }
}
