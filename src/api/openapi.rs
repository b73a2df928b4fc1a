//! The API's description, OpenAPI 3.1, made of the same table of refusals and the same types that answer.

use super::dto::{
    Code, CountersDto, IncompleteDto, OriginDto, PlaceDto, PoolDto, PoolsDto, ProblemDto, ProofDto, ReleasedDto,
    ReservationDto, WindowDto,
};
use super::health::{HealthDto, RebuiltDto, StandingDto, StartupDto};
use super::problem::{
    Case, Edge, NOT_FRESH, REBUILDING, RETRYABLE, SHED, TIMEOUT, TIMEOUT_UNKNOWN, UNREADABLE, cases, of_reason,
};
use crate::domain::Reason;
use crate::limits::{DEADLINE_MAX_MS, UNITS_MAX};
use std::collections::BTreeMap;
use std::fmt::Write;
use utoipa::ToSchema;
use utoipa::openapi::path::{HttpMethod, OperationBuilder, ParameterBuilder, ParameterIn, PathItem};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::schema::{ComponentsBuilder, Schema, Type};
use utoipa::openapi::{
    ContentBuilder, InfoBuilder, ObjectBuilder, OpenApi, OpenApiBuilder, PathsBuilder, Ref, RefOr, Required,
    ResponseBuilder,
};

/// Asking for capacity.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what body.rs reads")]
struct Reserve {
    /// Of which pool.
    pool: String,
    /// Units by dimension, each at least 1; all of them are taken, or none.
    demand: BTreeMap<String, u64>,
    /// As a hold for so many milliseconds, to be confirmed; for good when absent.
    hold_ttl_ms: Option<u64>,
    /// The caller's order.
    order_ref: Option<String>,
}

/// What a pool is.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what body.rs reads")]
struct PoolSpec {
    /// Units by dimension that it may admit; at least one dimension.
    limits: BTreeMap<String, u64>,
    /// Where it is offered.
    areas: Option<Vec<String>>,
    /// The time it stands for.
    window: Option<WindowDto>,
    /// What else is said of it.
    labels: Option<BTreeMap<String, String>>,
    /// `open` (when absent), `paused` or `closed`.
    mode: Option<String>,
}

/// A change of a pool. What is not named stays; `null` clears the window, its cutoff, or a label.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what body.rs reads")]
struct PoolChange {
    /// Limits as they shall be, of dimensions that the pool has; the others stay. Not together with `adjust`.
    limits: Option<BTreeMap<String, u64>>,
    /// Differences to limits.
    adjust: Option<BTreeMap<String, i64>>,
    /// Where it is offered: all areas anew.
    areas: Option<Vec<String>>,
    /// The time it stands for; `null`: none.
    window: Option<WindowChange>,
    /// Labels that get another value, or go with `null`; the others stay.
    labels: Option<BTreeMap<String, Option<String>>>,
    /// `open`, `paused` or `closed`.
    mode: Option<String>,
}

/// Parts of a window; those not named stay.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what body.rs reads")]
struct WindowChange {
    /// When the slot begins.
    #[schema(format = DateTime)]
    start: Option<String>,
    /// When the slot is over.
    #[schema(format = DateTime)]
    end: Option<String>,
    /// From when nothing is admitted any more; `null`: the end.
    #[schema(format = DateTime)]
    cutoff: Option<String>,
}

/// Opening, pausing or closing.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what body.rs reads")]
struct ModeChange {
    /// `open`, `paused` or `closed`.
    mode: String,
}

/// More time for a hold.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what body.rs reads")]
struct Extension {
    /// From now, in milliseconds.
    hold_ttl_ms: u64,
}

/// What is looked for; whatever is not named, every pool has.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what body.rs reads")]
struct AvailabilityQuery {
    /// Pools that serve at least one of these.
    areas: Option<Vec<String>>,
    /// Pools whose window ends after this.
    #[schema(format = DateTime)]
    from: Option<String>,
    /// Pools whose window starts before this.
    #[schema(format = DateTime)]
    to: Option<String>,
    /// Pools that would take this now.
    demand: Option<BTreeMap<String, u64>>,
    /// Pools that carry all of these.
    labels: Option<BTreeMap<String, String>>,
    /// At most so many.
    limit: Option<u64>,
    /// `next` of the page before.
    cursor: Option<String>,
}

struct Operation {
    method: HttpMethod,
    path: &'static str,
    id: &'static str,
    summary: &'static str,
    body: Option<&'static str>,
    ok: &'static [(&'static str, &'static str, &'static str)],
    parameters: &'static [&'static str],
    edges: &'static [Edge],
    reasons: &'static [Reason],
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
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

const OPERATIONS: &[Operation] = &[
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
            Reason::PastCutoff,
            Reason::Closed,
            Reason::Paused,
            Reason::UnknownDimension,
            Reason::OverLimit,
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
        reasons: HOLD,
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

/// The description.
pub fn document() -> OpenApi {
    let mut items: BTreeMap<&str, PathItem> = BTreeMap::new();
    for operation in OPERATIONS {
        let item = PathItem::new(operation.method.clone(), described(operation));
        items.entry(operation.path).or_default().merge_operations(item);
    }
    let paths = items.into_iter().fold(PathsBuilder::new(), |paths, (path, item)| paths.path(path, item));
    let info =
        InfoBuilder::new().title("Headroom").version(env!("CARGO_PKG_VERSION")).description(Some(introduction()));
    OpenApiBuilder::new().info(info).paths(paths).components(Some(components())).build()
}

fn introduction() -> String {
    let mut text = format!(
        "Reserves capacity and never overbooks. Units are integers from 0 to {UNITS_MAX}; times are RFC 3339. A caller \
         that is told no holds nothing. Every refusal is an RFC 9457 problem with one of these codes. {RETRYABLE}\n\n\
         | status | code | retryable | outcome | meaning |\n|---|---|---|---|---|\n"
    );
    for Case { code, status, title, outcome, is_retryable } in cases() {
        let outcome = outcome.code();
        // Writing to a string cannot fail.
        let _ = writeln!(text, "| {status} | `{code}` | {is_retryable} | `{outcome}` | {title} |");
    }
    text
}

fn components() -> utoipa::openapi::Components {
    ComponentsBuilder::new()
        .schema_from::<Reserve>()
        .schema_from::<PoolSpec>()
        .schema_from::<PoolChange>()
        .schema_from::<WindowChange>()
        .schema_from::<ModeChange>()
        .schema_from::<Extension>()
        .schema_from::<AvailabilityQuery>()
        .schema_from::<PoolDto<'_>>()
        .schema_from::<PoolsDto<'_>>()
        .schema_from::<IncompleteDto<'_>>()
        .schema_from::<WindowDto>()
        .schema_from::<ReservationDto<'_>>()
        .schema_from::<ReleasedDto<'_>>()
        .schema_from::<ProofDto<'_>>()
        .schema_from::<OriginDto>()
        .schema_from::<PlaceDto>()
        .schema_from::<CountersDto<'_>>()
        .schema_from::<ProblemDto<'_>>()
        .schema_from::<Code>()
        .schema_from::<HealthDto>()
        .schema_from::<StandingDto>()
        .schema_from::<StartupDto>()
        .schema_from::<RebuiltDto>()
        .build()
}

fn described(operation: &Operation) -> OperationBuilder {
    let tag = operation.path.split('/').nth(2).filter(|_| operation.kind != Kind::Page).unwrap_or("operation");
    let mut builder =
        OperationBuilder::new().operation_id(Some(operation.id)).summary(Some(operation.summary)).tag(tag);
    if let Some((_, rest)) = operation.path.split_once('{') {
        let name = rest.split('}').next().unwrap_or_default();
        builder = builder.parameter(parameter(name, ParameterIn::Path, Type::String, "Its id"));
    }
    for name in operation.parameters {
        builder = builder.parameter(known_parameter(name));
    }
    if let Some(schema) = operation.body {
        let content = ContentBuilder::new().schema(Some(Ref::from_schema_name(schema))).build();
        let body = RequestBodyBuilder::new().required(Some(Required::True)).content("application/json", content);
        builder = builder.request_body(Some(body.build()));
    }
    for (status, schema, description) in operation.ok {
        let mut response = ResponseBuilder::new().description(*description);
        if !schema.is_empty() {
            let content = ContentBuilder::new().schema(Some(Ref::from_schema_name(*schema))).build();
            response = response.content("application/json", content);
        }
        builder = builder.response(*status, response);
    }
    for (status, description) in refusals(operation) {
        let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
        let response = ResponseBuilder::new().description(description).content("application/problem+json", content);
        builder = builder.response(status.to_string(), response);
    }
    builder
}

/// What may be refused, by status.
fn refusals(operation: &Operation) -> BTreeMap<u16, String> {
    let edges = operation.edges.iter().map(|edge| edge.case());
    let mut cases: Vec<Case> = edges.chain(operation.reasons.iter().map(|reason| of_reason(*reason))).collect();
    // What every request has to be.
    cases.extend([Edge::BadHost, Edge::UnknownContentEncoding, Edge::UnknownTransferCoding].map(Edge::case));
    if operation.method != HttpMethod::Get {
        cases.extend([Edge::ForeignHost, Edge::ForeignOrigin].map(Edge::case));
    }
    match operation.kind {
        Kind::Reserve | Kind::Command => {
            cases.extend([Edge::BadKey, Edge::BadTimeout].map(Edge::case));
            cases.extend([SHED, TIMEOUT, TIMEOUT_UNKNOWN]);
        }
        Kind::Read => cases.extend([SHED, NOT_FRESH, REBUILDING, UNREADABLE]),
        Kind::Page => {}
    }
    if operation.body.is_some() {
        let body = [Edge::BadJson, Edge::UnknownField, Edge::BodyTooLarge, Edge::WrongContentType, Edge::BodyTimeout];
        cases.extend(body.map(Edge::case));
    }
    let mut texts: BTreeMap<u16, String> = BTreeMap::new();
    for case in cases {
        let text = texts.entry(case.status).or_default();
        let separator = if text.is_empty() { "" } else { "; " };
        let _ = write!(text, "{separator}`{}`: {}", case.code, case.title);
    }
    texts
}

fn parameter(name: &str, place: ParameterIn, kind: Type, description: &str) -> ParameterBuilder {
    let required = if place == ParameterIn::Path { Required::True } else { Required::False };
    let schema: RefOr<Schema> = ObjectBuilder::new().schema_type(kind).into();
    ParameterBuilder::new()
        .name(name)
        .parameter_in(place)
        .required(required)
        .description(Some(description))
        .schema(Some(schema))
}

fn known_parameter(name: &str) -> ParameterBuilder {
    use ParameterIn::{Header, Query};
    match name {
        "fresh" => {
            parameter(name, Query, Type::Boolean, "Whether to wait for everything that was committed before this call")
        }
        "limit" => parameter(name, Query, Type::Integer, "At most so many pools"),
        "cursor" => parameter(name, Query, Type::String, "`next` of the page before"),
        "Idempotency-Key" => parameter(
            name,
            Header,
            Type::String,
            "The same key on the same pool or reservation is the same request: it is done once, and answered alike. On two \
             pools it is two requests",
        ),
        "Request-Timeout-Ms" => {
            let text =
                format!("How long the caller waits: 1 to {DEADLINE_MAX_MS}; the server's usual time when absent");
            parameter(name, Header, Type::Integer, &text)
        }
        "Headroom-Actor" => parameter(name, Header, Type::String, "Who asks; recorded with the decision"),
        "If-Match" => parameter(
            name,
            Header,
            Type::String,
            "The pool's ETag: refused when it has another version; `*`: when there is no such pool",
        ),
        _ => parameter(name, Header, Type::String, "`*`: refused when the pool exists"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::body;
    use serde_json::Value;

    /// What the description says can be sent is what the reader takes, by name.
    #[test]
    fn request_bodies_are_described_as_they_are_read() {
        let document = serde_json::to_value(document()).unwrap();
        assert_eq!(document["openapi"], "3.1.0");
        type Reader = fn(&[u8]) -> Option<&'static str>;
        let readers: [(&str, Reader); 6] = [
            ("Reserve", |b| body::reserve(b).err().map(|e| e.code())),
            ("PoolSpec", |b| body::pool_spec(b).err().map(|e| e.code())),
            ("PoolChange", |b| body::pool_change(b).err().map(|e| e.code())),
            ("ModeChange", |b| body::mode(b).err().map(|e| e.code())),
            ("Extension", |b| body::extension(b).err().map(|e| e.code())),
            ("AvailabilityQuery", |b| body::availability(b).err().map(|e| e.code())),
        ];
        for (schema, reader) in readers {
            let properties = document["components"]["schemas"][schema]["properties"].as_object().unwrap();
            for name in properties.keys() {
                let body = format!("{{\"{name}\":null}}");
                assert_ne!(reader(body.as_bytes()), Some("unknown_field"), "{schema}.{name}");
            }
            assert_eq!(reader(b"{\"nothing\":null}"), Some("unknown_field"), "{schema}");
            let required = document["components"]["schemas"][schema]["required"].as_array().cloned();
            let is_read_empty = reader(b"{}").is_none() || schema == "PoolChange";
            assert_eq!(required.is_none_or(|names| names.is_empty()), is_read_empty, "{schema}");
        }
    }

    /// JSON's names are texts: a map whose names had to be numbers would fit no answer.
    #[test]
    fn no_map_has_names_that_are_no_texts() {
        fn named(value: &Value, found: &mut Vec<Value>) {
            match value {
                Value::Object(fields) => {
                    found.extend(fields.get("propertyNames").map(|names| names["type"].clone()));
                    fields.values().for_each(|value| named(value, found));
                }
                Value::Array(items) => items.iter().for_each(|value| named(value, found)),
                _ => {}
            }
        }
        let mut found = Vec::new();
        named(&serde_json::to_value(document()).unwrap(), &mut found);
        assert!(!found.is_empty() && found.iter().all(|kind| kind == "string"), "{found:?}");
    }

    #[test]
    fn every_reference_leads_somewhere() {
        fn references(value: &Value, found: &mut Vec<String>) {
            match value {
                Value::Object(map) => map.iter().for_each(|(key, value)| match value {
                    Value::String(to) if key == "$ref" => found.push(to.clone()),
                    value => references(value, found),
                }),
                Value::Array(list) => list.iter().for_each(|value| references(value, found)),
                _ => {}
            }
        }
        let document = serde_json::to_value(document()).unwrap();
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(found.len() > 50);
        for reference in found {
            let pointer = reference.strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{reference}");
        }
    }
}
