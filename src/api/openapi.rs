//! The API's description, OpenAPI 3.1, made of the same table of refusals and the same types that answer. What can be
//! asked is listed in [`operations`].

mod bodies;
mod operations;

use super::dto::{
    Code, CountersDto, IncompleteDto, OriginDto, PlaceDto, PoolDto, PoolsDto, ProblemDto, ProofDto, ReleasedDto,
    ReservationDto, WindowDto,
};
use super::health::{HealthDto, RebuiltDto, StandingDto, StartupDto};
use super::problem::{
    Case, Edge, NOT_FRESH, REBUILDING, RETRYABLE, SHED, TIMEOUT, TIMEOUT_UNKNOWN, UNREADABLE, cases, of_reason,
};
use crate::limits::{DEADLINE_MAX_MS, UNITS_MAX};
use bodies::{AvailabilityQuery, Extension, ModeChange, PoolChange, PoolSpec, Reserve, WindowChange};
use operations::{Kind, OPERATIONS, Operation};
use std::collections::BTreeMap;
use std::fmt::Write;
use utoipa::openapi::path::{HttpMethod, OperationBuilder, ParameterBuilder, ParameterIn, PathItem};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::schema::{ComponentsBuilder, Schema, Type};
use utoipa::openapi::{
    ContentBuilder, InfoBuilder, ObjectBuilder, OpenApi, OpenApiBuilder, PathsBuilder, Ref, RefOr, Required,
    ResponseBuilder,
};

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
