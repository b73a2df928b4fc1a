//! The one table of endpoints. A row says everything about a method of a path: who handles it, what it takes, what it
//! may answer, and an example. The routes are made of these rows ([`super::routes`]), and so is the description
//! ([`super::openapi`]).

use super::openapi::examples::{self, Example};
use super::reply::Answer;
use super::request::HttpRequest;
use super::{Api, clock, docs, health, internal, pools, reservations, support, swap};
use crate::api::operation::Operation;
use crate::api::problem::RequestFault;
use crate::domain::Reason;
use crate::limits::{COMMAND_BYTES_MAX, HTTP_BODY_BYTES_MAX};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use utoipa::openapi::path::HttpMethod as Method;

/// The function that answers a request.
pub(super) type Handler = fn(Arc<Api>, HttpRequest) -> Pin<Box<dyn Future<Output = Answer> + Send>>;

/// One method of one path.
pub(super) struct Endpoint {
    pub method: Method,
    pub path: &'static str,
    /// What it asks for: its `operationId` in the description, and who may ask.
    pub operation: Operation,
    pub handler: Handler,
    /// Requests that a new service accepts unchanged, and its answers.
    pub example: fn() -> Example,
    pub summary: &'static str,
    /// The schema of its request body, if it takes one.
    pub body: Option<&'static str>,
    /// Status, schema and meaning of its good answers.
    pub ok: &'static [(&'static str, &'static str, &'static str)],
    /// Parameters in the query and headers, by name.
    pub parameters: &'static [&'static str],
    /// Refusals by its own rules; the refusals of its kind are added.
    pub faults: &'static [RequestFault],
    /// Reasons for which an owner refuses it.
    pub reasons: &'static [Reason],
    /// The longest request body, in bytes.
    pub body_bytes_max: usize,
    pub kind: Kind,
}

/// Which refusals come with an endpoint besides its own.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A command that is taken back when its caller gets no answer.
    Reserve,
    /// Any other command.
    Command,
    /// A read of pools or reservations.
    Read,
    /// A page for operators.
    Page,
    /// Not part of the description: for the command line, or the pages that show the description.
    Undescribed,
}

const COMMAND: &[&str] = &["Idempotency-Key", "Request-Timeout-Ms"];
const EDIT: &[&str] = &["If-Match", "Idempotency-Key", "Request-Timeout-Ms"];
const RETIRE: &[&str] = &["with_reservations", "If-Match", "Idempotency-Key", "Request-Timeout-Ms"];
const DEFINE: &[&str] = &["If-Match", "If-None-Match", "Idempotency-Key", "Request-Timeout-Ms"];
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

/// Every path and method that this edge serves.
pub(super) const ENDPOINTS: &[Endpoint] = &[
    Endpoint {
        method: Method::Post,
        path: "/v1/availability",
        operation: Operation::Availability,
        handler: |api, request| Box::pin(pools::availability(api, request)),
        example: examples::availability,
        summary: "Pools that serve a place, a time and a demand",
        body: Some("AvailabilityQuery"),
        ok: &[("200", "Pools", "The pools, by id")],
        parameters: &["fresh"],
        faults: &[
            RequestFault::BadName,
            RequestFault::ZeroDemand,
            RequestFault::TooManyDimensions,
            RequestFault::TooManyAreas,
            RequestFault::TooManyLabels,
            RequestFault::BadTime,
        ],
        reasons: &[],
        body_bytes_max: COMMAND_BYTES_MAX,
        kind: Kind::Read,
    },
    Endpoint {
        method: Method::Get,
        path: "/v1/pools",
        operation: Operation::ListPools,
        handler: |api, request| Box::pin(pools::list(api, request)),
        example: examples::list_pools,
        summary: "All pools, page by page",
        body: None,
        ok: &[("200", "Pools", "The pools, by id")],
        parameters: &["fresh", "limit", "cursor"],
        faults: &[],
        reasons: &[],
        body_bytes_max: HTTP_BODY_BYTES_MAX,
        kind: Kind::Read,
    },
    Endpoint {
        method: Method::Get,
        path: "/v1/pools/{pool}",
        operation: Operation::GetPool,
        handler: |api, request| Box::pin(pools::get(api, request)),
        example: examples::get_pool,
        summary: "One pool",
        body: None,
        ok: &[("200", "Pool", "The pool; its version is its ETag")],
        parameters: &["fresh"],
        faults: &[],
        reasons: &[Reason::UnknownPool],
        body_bytes_max: HTTP_BODY_BYTES_MAX,
        kind: Kind::Read,
    },
    Endpoint {
        method: Method::Put,
        path: "/v1/pools/{pool}",
        operation: Operation::DefinePool,
        handler: |api, request| Box::pin(pools::put(api, request)),
        example: examples::define_pool,
        summary: "Make a pool, or replace all that is said of it: what the body does not name is cleared",
        body: Some("PoolSpec"),
        ok: &[("200", "Pool", "Replaced; `replaced_version` is the version before it"), ("201", "Pool", "Made")],
        parameters: DEFINE,
        faults: &[
            RequestFault::NoDimensions,
            RequestFault::TooManyDimensions,
            RequestFault::TooManyAreas,
            RequestFault::TooManyLabels,
            RequestFault::BadTime,
            RequestFault::BadWindow,
            RequestFault::BadMode,
            RequestFault::BadRule,
            RequestFault::BadVersion,
            RequestFault::MissingField,
        ],
        reasons: &[
            Reason::StaleVersion,
            Reason::DimensionInUse,
            Reason::PartitionFull,
            Reason::PoolRetired,
            Reason::RetiresTooSoon,
            Reason::KeyReused,
        ],
        body_bytes_max: COMMAND_BYTES_MAX,
        kind: Kind::Command,
    },
    Endpoint {
        method: Method::Patch,
        path: "/v1/pools/{pool}",
        operation: Operation::ChangePool,
        handler: |api, request| Box::pin(pools::patch(api, request)),
        example: examples::change_pool,
        summary: "Change parts of a pool and keep the rest; a limit below what is used evicts nobody",
        body: Some("PoolChange"),
        ok: &[("200", "Pool", "The pool after it")],
        parameters: EDIT,
        faults: &[
            RequestFault::NoDimensions,
            RequestFault::TooManyDimensions,
            RequestFault::TooManyAreas,
            RequestFault::TooManyLabels,
            RequestFault::BadTime,
            RequestFault::BadWindow,
            RequestFault::BadMode,
            RequestFault::BadRule,
            RequestFault::BadChange,
            RequestFault::BadVersion,
        ],
        reasons: &[
            Reason::UnknownPool,
            Reason::StaleVersion,
            Reason::UnknownDimension,
            Reason::LimitOutOfRange,
            Reason::InvalidWindow,
            Reason::LabelsFull,
            Reason::RetiresTooSoon,
            Reason::KeyReused,
        ],
        body_bytes_max: COMMAND_BYTES_MAX,
        kind: Kind::Command,
    },
    Endpoint {
        method: Method::Delete,
        path: "/v1/pools/{pool}",
        operation: Operation::RetirePool,
        handler: |api, request| Box::pin(pools::retire(api, request)),
        example: examples::retire_pool,
        summary: "End the life of a pool: it and its live reservations are unknown from then on",
        body: None,
        ok: &[("200", "Pool", "The pool as it was last, and how many reservations ended with it")],
        parameters: RETIRE,
        faults: &[RequestFault::BadVersion],
        reasons: &[Reason::UnknownPool, Reason::StaleVersion, Reason::PoolInUse, Reason::KeyReused],
        body_bytes_max: HTTP_BODY_BYTES_MAX,
        kind: Kind::Command,
    },
    Endpoint {
        method: Method::Post,
        path: "/v1/pools/{pool}/mode",
        operation: Operation::SetMode,
        handler: |api, request| Box::pin(pools::mode(api, request)),
        example: examples::set_mode,
        summary: "Open, pause or close a pool",
        body: Some("ModeChange"),
        ok: &[("200", "Pool", "The pool after it")],
        parameters: EDIT,
        faults: &[RequestFault::BadMode, RequestFault::BadVersion, RequestFault::MissingField],
        reasons: &[Reason::UnknownPool, Reason::StaleVersion, Reason::KeyReused],
        body_bytes_max: HTTP_BODY_BYTES_MAX,
        kind: Kind::Command,
    },
    Endpoint {
        method: Method::Get,
        path: "/v1/pools/{pool}/reservations",
        operation: Operation::ListReservations,
        handler: |api, request| Box::pin(reservations::list(api, request)),
        example: examples::list_reservations,
        summary: "The reservations of a pool, page by page; for a while also those that have ended",
        body: None,
        ok: &[("200", "Reservations", "The reservations, by id")],
        parameters: &["status", "fresh", "limit", "cursor"],
        faults: &[],
        reasons: &[Reason::UnknownPool],
        body_bytes_max: HTTP_BODY_BYTES_MAX,
        kind: Kind::Read,
    },
    Endpoint {
        method: Method::Post,
        path: "/v1/reservations",
        operation: Operation::Reserve,
        handler: |api, request| Box::pin(reservations::reserve(api, request)),
        example: examples::reserve,
        summary: "Take capacity, all of it or none",
        body: Some("Reserve"),
        ok: &[("201", "Reservation", "Taken; with Idempotent-Replayed: true when the key had it before")],
        parameters: COMMAND,
        faults: &[
            RequestFault::BadName,
            RequestFault::ZeroDemand,
            RequestFault::TooManyDimensions,
            RequestFault::BadHoldTtl,
            RequestFault::MissingField,
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
            Reason::KeyReused,
            Reason::HoldExpired,
            Reason::AlreadyReleased,
        ],
        body_bytes_max: HTTP_BODY_BYTES_MAX,
        kind: Kind::Reserve,
    },
    Endpoint {
        method: Method::Get,
        path: "/v1/reservations/{reservation}",
        operation: Operation::GetReservation,
        handler: |api, request| Box::pin(reservations::get(api, request)),
        example: examples::get_reservation,
        summary: "One reservation, for a while also after its end",
        body: None,
        ok: &[("200", "Reservation", "The reservation")],
        parameters: &["fresh"],
        faults: &[],
        reasons: &[Reason::UnknownReservation],
        body_bytes_max: HTTP_BODY_BYTES_MAX,
        kind: Kind::Read,
    },
    Endpoint {
        method: Method::Patch,
        path: "/v1/reservations/{reservation}",
        operation: Operation::Amend,
        handler: |api, request| Box::pin(reservations::amend(api, request)),
        example: examples::amend,
        summary: "Take more or less of the same pool, in one decision; what takes no more in any dimension is never refused \
                  by the pool",
        body: Some("Amendment"),
        ok: &[("200", "Reservation", "The reservation after it, with what it took before")],
        parameters: COMMAND,
        faults: &[RequestFault::ZeroDemand, RequestFault::TooManyDimensions, RequestFault::MissingField],
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
        body_bytes_max: HTTP_BODY_BYTES_MAX,
        kind: Kind::Command,
    },
    Endpoint {
        method: Method::Delete,
        path: "/v1/reservations/{reservation}",
        operation: Operation::Release,
        handler: |api, request| Box::pin(reservations::release(api, request)),
        example: examples::release,
        summary: "Give capacity back; again is the same answer",
        body: None,
        ok: &[("200", "Released", "Given back")],
        parameters: COMMAND,
        faults: &[],
        reasons: &[Reason::UnknownReservation, Reason::KeyReused],
        body_bytes_max: HTTP_BODY_BYTES_MAX,
        kind: Kind::Command,
    },
    Endpoint {
        method: Method::Post,
        path: "/v1/reservations/{reservation}/confirm",
        operation: Operation::Confirm,
        handler: |api, request| Box::pin(reservations::confirm(api, request)),
        example: examples::confirm,
        summary: "Make a hold a reservation for good",
        body: None,
        ok: &[("200", "Reservation", "Confirmed")],
        parameters: COMMAND,
        faults: &[],
        reasons: HOLD,
        body_bytes_max: HTTP_BODY_BYTES_MAX,
        kind: Kind::Command,
    },
    Endpoint {
        method: Method::Post,
        path: "/v1/reservations/{reservation}/extend",
        operation: Operation::Extend,
        handler: |api, request| Box::pin(reservations::extend(api, request)),
        example: examples::extend,
        summary: "Give a hold more time",
        body: Some("Extension"),
        ok: &[("200", "Reservation", "Extended")],
        parameters: COMMAND,
        faults: &[RequestFault::BadHoldTtl, RequestFault::MissingField],
        reasons: EXTENSION,
        body_bytes_max: HTTP_BODY_BYTES_MAX,
        kind: Kind::Command,
    },
    page("/livez", Operation::Livez, "Whether the process is alive", |api, _| Box::pin(health::livez(api))).answers(
        &[("200", "Health", "It is alive"), ("503", "Health", "Every partition has stopped for good")],
        examples::livez,
    ),
    page("/readyz", Operation::Readyz, "Whether calls are decided", |api, _| Box::pin(health::readyz(api))).answers(
        &[
            ("200", "Health", "Calls are decided; `degraded` names partitions on which they are not"),
            ("503", "Health", "No partition decides, or the process is starting or shutting down"),
        ],
        examples::readyz,
    ),
    page("/startupz", Operation::Startupz, "Whether every partition's state has been rebuilt", |api, _| {
        Box::pin(health::startupz(api))
    })
    .answers(&[("200", "Health", "It has"), ("503", "Health", "Not yet, and how far that is")], examples::startupz),
    page("/metrics", Operation::Metrics, "Everything that is counted", |api, _| Box::pin(health::metrics(api)))
        .answers(&[("200", "Metrics", "Prometheus' text format")], examples::none),
    page("/openapi.json", Operation::OpenApi, "This document", |api, _| Box::pin(health::openapi(api)))
        .answers(&[("200", "Document", "OpenAPI 3.1")], examples::none),
    undescribed(Method::Get, "/docs", Operation::Docs, |_, _| Box::pin(docs::root())),
    undescribed(Method::Get, "/docs/", Operation::Docs, |_, request| Box::pin(docs::file(request))),
    undescribed(Method::Get, "/docs/{*file}", Operation::Docs, |_, request| Box::pin(docs::file(request))),
    undescribed(Method::Get, "/internal/log", Operation::ReadLog, |api, request| Box::pin(internal::log(api, request))),
    undescribed(Method::Get, "/internal/log/{partition}", Operation::ReadLog, |api, request| {
        Box::pin(internal::events(api, request))
    }),
    undescribed(Method::Get, "/internal/state/{partition}", Operation::ReadState, |api, request| {
        Box::pin(internal::state(api, request))
    }),
    undescribed(Method::Post, "/internal/swap/{partition}", Operation::SwapState, |api, request| {
        Box::pin(swap::begin(api, request))
    }),
    undescribed(Method::Get, "/internal/swap/{partition}", Operation::ReadState, |api, request| {
        Box::pin(swap::progress(api, request))
    }),
    undescribed(Method::Get, "/internal/support", Operation::Support, |api, request| {
        Box::pin(support::support(api, request))
    }),
    undescribed(Method::Post, "/internal/clock", Operation::SetClock, |api, request| {
        Box::pin(clock::set(api, request))
    }),
];

const fn page(path: &'static str, operation: Operation, summary: &'static str, handler: Handler) -> Endpoint {
    Endpoint {
        method: Method::Get,
        path,
        operation,
        handler,
        example: examples::none,
        summary,
        body: None,
        ok: &[],
        parameters: &[],
        faults: &[],
        reasons: &[],
        body_bytes_max: HTTP_BODY_BYTES_MAX,
        kind: Kind::Page,
    }
}

const fn undescribed(method: Method, path: &'static str, operation: Operation, handler: Handler) -> Endpoint {
    Endpoint { method, kind: Kind::Undescribed, ..page(path, operation, "", handler) }
}

impl Endpoint {
    const fn answers(
        self,
        ok: &'static [(&'static str, &'static str, &'static str)],
        example: fn() -> Example,
    ) -> Endpoint {
        Endpoint { ok, example, ..self }
    }

    /// Whether an owner decides it.
    pub(super) fn is_command(&self) -> bool {
        matches!(self.kind, Kind::Reserve | Kind::Command)
    }

    /// Whether a request may be sent without a body.
    pub(super) fn may_lack_body(&self) -> bool {
        self.kind == Kind::Read
    }
}
