//! Parameters of requests: in the path, in the query, in headers.

use super::examples;
use crate::api::http::endpoints::Endpoint;
use crate::api::http::schema::{self, one_of};
use crate::api::operation::Operation;
use crate::limits::DEADLINE_MAX_MS;
use serde_json::{Value, json};
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::Type;
use utoipa::openapi::{ObjectBuilder, Ref, RefOr, Required, Schema};

/// The parameters of an operation: those in its path come first.
pub fn of(endpoint: &Endpoint) -> Vec<Parameter> {
    let in_path = endpoint.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    in_path.chain(endpoint.parameters.iter().copied()).map(|name| known(name, endpoint.operation)).collect()
}

fn known(name: &str, operation: Operation) -> Parameter {
    use ParameterIn::{Header, Path, Query};
    let to = |schema: &str| RefOr::from(Ref::from_schema_name(schema));
    let (location, schema, description): (_, RefOr<Schema>, String) = match name {
        "pool" => (Path, to("PoolId"), "Its id".to_owned()),
        "reservation" => (Path, to("ReservationId"), "Its id".to_owned()),
        "fresh" => {
            let flag = ObjectBuilder::new().schema_type(Type::Boolean);
            (Query, flag.into(), "Whether to wait for everything that was committed before this call".to_owned())
        }
        "with_reservations" => {
            let flag = ObjectBuilder::new().schema_type(Type::Boolean);
            (Query, flag.into(), "Whether live reservations end with the pool; without it they keep it".to_owned())
        }
        "status" => (Query, to("Status"), "Only reservations with this status".to_owned()),
        "limit" => (Query, to("PageLimit"), "At most so many of them on this page".to_owned()),
        "cursor" => {
            let of = if operation == Operation::ListReservations { "ReservationId" } else { "PoolId" };
            (Query, to(of), "`next` of the page before".to_owned())
        }
        "Idempotency-Key" => {
            let text = "The same key on the same pool or reservation is the same request: it is done once, and answered \
                        alike. On two pools it is two requests";
            (Header, to("Key"), text.to_owned())
        }
        "Request-Timeout-Ms" => {
            let text =
                format!("How long the caller waits: 1 to {DEADLINE_MAX_MS}; the server's usual time when absent");
            (Header, schema::bounded(1, DEADLINE_MAX_MS).into(), text)
        }
        "If-Match" => {
            let text = "The pool's ETag: refused when it has another version; `*`: when there is no such pool";
            let etag = ObjectBuilder::new().schema_type(Type::String).pattern(Some(r#"^("[1-9][0-9]{0,18}"|\*)$"#));
            (Header, etag.into(), text.to_owned())
        }
        _ => (Header, one_of(["*"]).into(), "`*`: refused when the pool exists".to_owned()),
    };
    let required = if location == Path { Required::True } else { Required::False };
    let parameter = ParameterBuilder::new().name(name).parameter_in(location).required(required);
    parameter.description(Some(description)).schema(Some(schema)).example(example(name, operation)).build()
}

/// The value that the page at `/docs` fills in; it has to fit the example of the body.
fn example(name: &str, operation: Operation) -> Option<Value> {
    match name {
        "pool" => Some(json!(examples::POOL)),
        "reservation" => Some(json!(examples::RESERVATION)),
        "Idempotency-Key" if operation == Operation::Reserve => Some(json!(examples::KEY)),
        "Request-Timeout-Ms" => Some(json!(DEADLINE_MAX_MS)),
        _ => None,
    }
}
