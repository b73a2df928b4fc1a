//! What can be asked: every path and method with its parameters, its answers and its refusals.

use crate::api::http::health::PROBES;
use crate::api::http::problem::{Case, Edge};
use crate::domain::Reason;
use crate::service::Code;
use std::collections::BTreeMap;
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
        edges: &[
            Edge::BadName,
            Edge::ZeroDemand,
            Edge::TooManyDimensions,
            Edge::TooManyAreas,
            Edge::TooManyLabels,
            Edge::BadTime,
        ],
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
        edges: &[],
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
        edges: &[],
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
            Edge::NoDimensions,
            Edge::TooManyDimensions,
            Edge::TooManyAreas,
            Edge::TooManyLabels,
            Edge::BadTime,
            Edge::BadWindow,
            Edge::BadMode,
            Edge::BadRule,
            Edge::BadVersion,
            Edge::MissingField,
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
        edges: &[Edge::BadMode, Edge::BadVersion, Edge::MissingField],
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
        edges: &[Edge::BadName, Edge::ZeroDemand, Edge::TooManyDimensions, Edge::BadHoldTtl, Edge::MissingField],
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
            Reason::KeyReused,
            Reason::HoldExpired,
            Reason::AlreadyReleased,
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
        edges: &[],
        reasons: &[Reason::UnknownReservation],
        kind: Kind::Read,
    },
    Operation {
        method: HttpMethod::Patch,
        path: "/v1/reservations/{reservation}",
        id: "amend",
        summary: "Take more or less of the same pool, in one decision; what takes no more in any dimension is never refused \
                  by the pool",
        body: Some("Amendment"),
        ok: &[("200", "Reservation", "The reservation after it, with what it took before")],
        parameters: COMMAND,
        edges: &[Edge::ZeroDemand, Edge::TooManyDimensions, Edge::MissingField],
        reasons: &[
            Reason::UnknownReservation,
            Reason::PastCutoff,
            Reason::Closed,
            Reason::Paused,
            Reason::UnknownDimension,
            Reason::OverLimit,
            Reason::HoldExpired,
            Reason::AlreadyReleased,
            Reason::KeyReused,
        ],
        kind: Kind::Command,
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
        edges: &[Edge::BadHoldTtl, Edge::MissingField],
        reasons: EXTENSION,
        kind: Kind::Command,
    },
    page(
        "/livez",
        "livez",
        "Whether there is something to serve",
        &[("200", "Health", "There is"), ("503", "Health", "All has stopped for good")],
    ),
    page(
        "/readyz",
        "readyz",
        "Whether calls are decided",
        &[
            ("200", "Health", "They are; `degraded` names partitions on which they are not"),
            ("503", "Health", "No partition decides, or the process starts or ends"),
        ],
    ),
    page(
        "/startupz",
        "startupz",
        "Whether every partition's state has been rebuilt",
        &[("200", "Health", "It has"), ("503", "Health", "Not yet, and how far that is")],
    ),
    page("/metrics", "metrics", "Everything that is counted", &[("200", "Metrics", "Prometheus' text format")]),
    page("/openapi.json", "openapi", "This document", &[("200", "Document", "OpenAPI 3.1")]),
];

const fn page(
    path: &'static str,
    id: &'static str,
    summary: &'static str,
    ok: &'static [(&'static str, &'static str, &'static str)],
) -> Operation {
    let (method, body, parameters) = (HttpMethod::Get, None, &[]);
    Operation { method, path, id, summary, body, ok, parameters, edges: &[], reasons: &[], kind: Kind::Page }
}

/// What every request has to be.
const EDGES: [Edge; 10] = [
    Edge::BadRequest,
    Edge::BadHost,
    Edge::HeadTimeout,
    Edge::BodyTimeout,
    Edge::BodyTooLarge,
    Edge::UriTooLong,
    Edge::WrongContentType,
    Edge::UnknownContentEncoding,
    Edge::HeadTooLarge,
    Edge::UnknownTransferCoding,
];
/// What may come of every command.
const REASONS: [Reason; 5] =
    [Reason::Malformed, Reason::Misrouted, Reason::DeadlineTooFar, Reason::TooManyCommands, Reason::MemoryFull];

impl Operation {
    /// Whether it is decided by an owner.
    pub fn is_command(&self) -> bool {
        matches!(self.kind, Kind::Reserve | Kind::Command)
    }

    /// What can be asked of what it makes, and the parameter that names it.
    pub fn leads_to(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let parameter = match self.id {
            "define_pool" => Some("pool"),
            "reserve" => Some("reservation"),
            _ => None,
        };
        let takes = |operation: &Operation, name: &str| operation.path.contains(&format!("{{{name}}}"));
        let (all, id) = (OPERATIONS.iter(), self.id);
        all.filter_map(move |other| {
            parameter.filter(|name| other.id != id && takes(other, name)).map(|name| (other.id, name))
        })
    }

    /// Whether no body is as good as an empty one.
    pub fn may_lack_body(&self) -> bool {
        self.kind == Kind::Read
    }

    /// What may be refused, by status.
    pub fn refusals(&self) -> BTreeMap<u16, Vec<Case>> {
        let decided = if self.is_command() { &REASONS[..] } else { &[] };
        let mut cases: Vec<Case> = self.edges.iter().chain(&EDGES).chain(self.more()).map(|edge| edge.case()).collect();
        let reasons = self.reasons.iter().chain(decided).map(|reason| Code::of_reason(*reason));
        let more: &[Code] = match self.kind {
            Kind::Reserve => &[Code::Shed, Code::Timeout, Code::TimeoutUnknown, Code::Restoring, Code::Unreadable],
            Kind::Command => {
                &[Code::Shed, Code::Timeout, Code::TimeoutUnknown, Code::NotFresh, Code::Restoring, Code::Unreadable]
            }
            Kind::Read => &[Code::Shed, Code::NotFresh, Code::Restoring, Code::Unreadable],
            Kind::Page if PROBES.contains(&self.path) => &[],
            Kind::Page => &[Code::Shed, Code::Restoring],
        };
        cases.extend(reasons.chain([Code::Internal]).chain(more.iter().copied()).map(Case::of));
        let mut by_status: BTreeMap<u16, Vec<Case>> = BTreeMap::new();
        for case in cases {
            let of_status = by_status.entry(case.status).or_default();
            if !of_status.contains(&case) {
                of_status.push(case);
            }
        }
        by_status
    }

    /// What is refused of its kind.
    fn more(&self) -> Vec<&'static Edge> {
        let mut more = Vec::new();
        if self.method != HttpMethod::Get {
            more.extend(&[Edge::ForeignHost, Edge::ForeignOrigin]);
        }
        if self.kind != Kind::Page {
            more.push(&Edge::BadQuery);
        }
        if self.path.contains('{') {
            more.push(&Edge::BadName);
        }
        if self.is_command() {
            more.extend(&[Edge::BadKey, Edge::BadTimeout, Edge::BadName]);
        }
        if self.body.is_some() || self.is_command() {
            more.extend(&[Edge::BadJson, Edge::UnknownField, Edge::BadUnits]);
        }
        more
    }
}
