//! The API's description, OpenAPI 3.1, made from the table of endpoints, the table of refusals, and the types that
//! answer.

mod bodies;
pub(super) mod examples;
mod headers;
mod parameters;
mod refusals;
mod security;

use super::dto::{
    CountersDto, IncompleteDto, OriginDto, PlaceDto, PoolDto, PoolsDto, ProblemDto, ProofDto, ReleasedDto,
    ReservationDto, ReservationsDto, WindowDto,
};
use super::endpoints::{ENDPOINTS, Endpoint, Kind};
use super::health::{HealthDto, OutageDto, RebuiltDto, StartupDto};
use super::schema;
use crate::api::problem::{Case, RETRYABLE, cases};
use crate::api::shapes;
use crate::limits::UNITS_MAX;
use serde_json::json;
use std::collections::BTreeMap;
use std::fmt::Write;
use utoipa::openapi::example::ExampleBuilder;
use utoipa::openapi::extensions::Extensions;
use utoipa::openapi::link::LinkBuilder;
use utoipa::openapi::path::{OperationBuilder, PathItem};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::schema::ComponentsBuilder;
use utoipa::openapi::{
    ContentBuilder, InfoBuilder, OpenApi, OpenApiBuilder, PathsBuilder, Ref, Required, Response, ResponseBuilder,
};

/// Makes the OpenAPI document.
pub fn document() -> OpenApi {
    let mut items: BTreeMap<&str, PathItem> = BTreeMap::new();
    for endpoint in ENDPOINTS.iter().filter(|endpoint| endpoint.kind != Kind::Undescribed) {
        let item = PathItem::new(endpoint.method.clone(), described(endpoint));
        items.entry(endpoint.path).or_default().merge_operations(item);
    }
    let paths = items.into_iter().fold(PathsBuilder::new(), |paths, (path, item)| paths.path(path, item));
    let info =
        InfoBuilder::new().title("Headroom").version(env!("CARGO_PKG_VERSION")).description(Some(introduction()));
    OpenApiBuilder::new().info(info).paths(paths).components(Some(components())).build()
}

fn introduction() -> String {
    let mut text = format!(
        "Reserves capacity and never overbooks. Units are integers from 0 to {UNITS_MAX}, written without fraction and exponent; \
         times are RFC 3339. A caller \
         that is told no holds nothing. An answer of a newer server may have members that are not described here: ignore them. \
         A request with such a member is refused. Every refusal is an RFC 9457 problem with one of these codes. {RETRYABLE}\n\n\
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
    let bodies = shapes::DESCRIBED
        .into_iter()
        .fold(ComponentsBuilder::new(), |components, shape| components.schema(shape.name, bodies::schema_of(shape)));
    let components = bodies
        .schema_from::<PoolDto<'_>>()
        .schema_from::<PoolsDto<'_>>()
        .schema_from::<IncompleteDto<'_>>()
        .schema_from::<WindowDto>()
        .schema_from::<ReservationDto<'_>>()
        .schema_from::<ReservationsDto<'_>>()
        .schema_from::<ReleasedDto<'_>>()
        .schema_from::<ProofDto<'_>>()
        .schema_from::<OriginDto>()
        .schema_from::<PlaceDto>()
        .schema_from::<CountersDto<'_>>()
        .schema_from::<ProblemDto<'_>>()
        .schema_from::<HealthDto>()
        .schema_from::<OutageDto>()
        .schema_from::<StartupDto>()
        .schema_from::<RebuiltDto>();
    security::with_schemes(headers::with_headers(schema::with_values(components))).build()
}

fn described(endpoint: &Endpoint) -> OperationBuilder {
    let tag = endpoint.path.split('/').nth(2).filter(|_| endpoint.kind != Kind::Page).unwrap_or("operation");
    let mut builder =
        OperationBuilder::new().operation_id(Some(endpoint.operation.name())).summary(Some(endpoint.summary)).tag(tag);
    builder = builder.description(Some(security::who_may(endpoint.operation)));
    builder = builder.securities(Some(security::of(endpoint.operation)));
    for parameter in parameters::of(endpoint) {
        builder = builder.parameter(parameter);
    }
    if let Some(schema) = endpoint.body {
        let examples = (endpoint.example)().requests;
        let examples = examples.into_iter().map(|(name, body)| (name, ExampleBuilder::new().value(Some(body)).build()));
        let content = ContentBuilder::new().schema(Some(Ref::from_schema_name(schema))).examples_from_iter(examples);
        let required = if endpoint.may_lack_body() { Required::False } else { Required::True };
        let body = RequestBodyBuilder::new().required(Some(required)).content("application/json", content.build());
        let body = body.description(Some(format!("At most {} bytes", endpoint.body_bytes_max)));
        builder = builder.request_body(Some(body.build()));
    }
    for (status, schema, description) in endpoint.ok {
        builder = builder.response(*status, good(endpoint, status, schema, description));
    }
    for (status, cases) in endpoint.refusals() {
        builder = builder.response(status.to_string(), refused(endpoint, &cases));
    }
    builder
}

fn good(endpoint: &Endpoint, status: &str, schema: &str, description: &str) -> Response {
    let kind = if schema == "Metrics" { "text/plain" } else { "application/json" };
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name(schema)));
    let content = content.example((endpoint.example)().answer(status)).build();
    let mut response = ResponseBuilder::new().description(description).content(kind, content);
    for (id, parameter) in links(endpoint) {
        let link = LinkBuilder::new().operation_id(id).parameter(parameter, format!("$response.body#/{parameter}"));
        response = response.link(id, link.build());
    }
    let mut response = response.build();
    headers::of_good(endpoint, schema, &mut response);
    response
}

/// The ids of endpoints that work on what this one creates, each with the parameter that names it.
fn links(endpoint: &Endpoint) -> impl Iterator<Item = (&'static str, &'static str)> {
    let parameter = match endpoint.operation.name() {
        "define_pool" => Some("pool"),
        "reserve" => Some("reservation"),
        _ => None,
    };
    let takes = |endpoint: &Endpoint, name: &str| endpoint.path.contains(&format!("{{{name}}}"));
    let operation = endpoint.operation;
    ENDPOINTS.iter().filter_map(move |other| {
        parameter
            .filter(|name| other.operation != operation && takes(other, name))
            .map(|name| (other.operation.name(), name))
    })
}

/// A problem with one of these codes. The schema is that of every problem: a client that was generated from it has one type
/// for all refusals, and takes a code that this version does not know. The codes are listed beside it.
fn refused(endpoint: &Endpoint, cases: &[Case]) -> Response {
    let (mut codes, mut description) = (Vec::new(), String::new());
    for case in cases {
        let separator = if description.is_empty() { "" } else { "; " };
        // Writing to a string cannot fail.
        let _ = write!(description, "{separator}`{}`: {}", case.code, case.title);
        codes.push(case.code);
    }
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem")));
    let content = content.example(cases.first().map(examples::problem)).build();
    let response = ResponseBuilder::new().description(description).content("application/problem+json", content);
    let codes = Extensions::from_iter([("x-codes", json!(codes))]);
    let mut response = response.extensions(Some(codes)).build();
    headers::of_refusal(endpoint, cases, &mut response);
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::body;
    use crate::api::http::json::parse;
    use crate::api::shapes::{Presence, Shape};
    use crate::service::Shed;
    use serde_json::Value as Json;

    /// The description requires exactly the members that the reader requires.
    #[test]
    fn request_bodies_are_described_as_they_are_read() {
        type Reader = fn(&[u8]) -> Option<&'static str>;
        let readers: [(&Shape, Reader); 7] = [
            (&shapes::RESERVE, |b| parse(b).and_then(body::reserve).err().map(|e| e.code())),
            (&shapes::POOL_SPEC, |b| parse(b).and_then(body::pool_spec).err().map(|e| e.code())),
            (&shapes::POOL_CHANGE, |b| parse(b).and_then(body::pool_change).err().map(|e| e.code())),
            (&shapes::MODE_CHANGE, |b| parse(b).and_then(body::mode).err().map(|e| e.code())),
            (&shapes::AMENDMENT, |b| parse(b).and_then(body::amendment).err().map(|e| e.code())),
            (&shapes::EXTENSION, |b| parse(b).and_then(body::extension).err().map(|e| e.code())),
            (&shapes::AVAILABILITY_QUERY, |b| parse(b).and_then(body::availability).err().map(|e| e.code())),
        ];
        for (shape, reader) in readers {
            for member in shape.members {
                let body = format!("{{\"{}\":null}}", member.name);
                let is_refused = reader(body.as_bytes()) == Some("bad_change");
                assert_eq!(is_refused, member.presence == Presence::NotNull, "{}.{}", shape.name, member.name);
            }
            assert_eq!(reader(b"{\"nothing\":null}"), Some("unknown_field"), "{}", shape.name);
            let is_required = shape.members.iter().any(|member| member.presence == Presence::Required);
            assert_eq!(reader(b"{}").is_some(), is_required || shape.is_never_empty, "{}", shape.name);
        }
    }

    /// A client that is made of this description takes what a newer server adds to an answer. What it asks may have no member
    /// that the server does not know.
    #[test]
    fn requests_are_closed_and_answers_are_open() {
        let document = serde_json::to_value(document()).unwrap();
        let schemas = document["components"]["schemas"].as_object().unwrap();
        let objects = schemas.iter().filter(|(_, schema)| schema["properties"].is_object());
        let is_asked = |name: &str| shapes::DESCRIBED.iter().any(|shape| shape.name == name);
        let (asked, answered): (Vec<_>, Vec<_>) = objects.partition(|(name, _)| is_asked(name.as_str()));
        assert!(asked.len() == shapes::DESCRIBED.len() && answered.len() > asked.len(), "{asked:?}");
        asked.iter().for_each(|(name, schema)| assert_eq!(schema["additionalProperties"], false, "{name}"));
        answered.iter().for_each(|(name, schema)| assert!(schema["additionalProperties"].is_null(), "{name}"));
    }

    /// Names in JSON are strings: no answer would match a map whose names have to be numbers.
    #[test]
    fn no_map_has_names_that_are_no_texts() {
        fn named(value: &Json, found: &mut Vec<Json>) {
            match value {
                Json::Object(fields) => {
                    found.extend(fields.get("propertyNames").map(|names| names["type"].clone()));
                    fields.values().for_each(|value| named(value, found));
                }
                Json::Array(items) => items.iter().for_each(|value| named(value, found)),
                _ => {}
            }
        }
        let mut found = Vec::new();
        named(&serde_json::to_value(document()).unwrap(), &mut found);
        assert!(!found.is_empty() && found.iter().all(|kind| kind == "string"), "{found:?}");
    }

    /// The story: a client that was made before there was the reason `memory` could not read the refusal of a call that was shed
    /// for it, nor that it was not applied.
    #[test]
    fn what_a_newer_server_may_say_of_a_refusal_is_no_closed_list() {
        let document = serde_json::to_value(document()).unwrap();
        for name in ["Code", "ShedReason"] {
            let schema = &document["components"]["schemas"][name];
            assert!(schema["type"] == "string" && schema["enum"].is_null(), "{name}: {schema}");
        }
        let reasons = &document["components"]["schemas"]["ShedReason"]["examples"];
        assert_eq!(*reasons, json!(Shed::ALL.map(Shed::code)));
    }

    #[test]
    fn every_reference_leads_somewhere() {
        fn references(value: &Json, found: &mut Vec<String>) {
            match value {
                Json::Object(map) => map.iter().for_each(|(key, value)| match value {
                    Json::String(to) if key == "$ref" => found.push(to.clone()),
                    value => references(value, found),
                }),
                Json::Array(list) => list.iter().for_each(|value| references(value, found)),
                _ => {}
            }
        }
        let document = serde_json::to_value(document()).unwrap();
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(found.len() > 50 && document["openapi"] == "3.1.0");
        for reference in found {
            let pointer = reference.strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{reference}");
        }
    }
}
