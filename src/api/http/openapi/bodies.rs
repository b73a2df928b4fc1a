//! Schemas of request bodies, made from the same lists of members that the reader uses.

use crate::api::http::schema;
use crate::api::shapes::{Member, POOL_CHANGE, Presence, Shape, Value};
use serde_json::json;
use utoipa::openapi::extensions::Extensions;
use utoipa::openapi::schema::{AdditionalProperties, OneOfBuilder, RefBuilder, Schema, SchemaType, Type};
use utoipa::openapi::{ObjectBuilder, Ref, RefOr};

/// The schema of a request body.
pub fn schema_of(shape: &Shape) -> RefOr<Schema> {
    let mut object = ObjectBuilder::new()
        .schema_type(Type::Object)
        .description(Some(shape.about))
        .additional_properties(Some(AdditionalProperties::<Schema>::FreeForm(false)))
        .min_properties(shape.is_never_empty.then_some(1));
    for member in shape.members {
        object = object.property(member.name, value_of(member));
        if member.presence == Presence::Required {
            object = object.required(member.name);
        }
    }
    if shape.name == POOL_CHANGE.name {
        // A change gives limits in one of two ways, and not in both.
        let not = ("not", json!({ "required": ["limits", "adjust"] }));
        object = object.extensions(Some(Extensions::from_iter([not])));
    }
    object.into()
}

fn value_of(Member { value, presence, about, .. }: &Member) -> RefOr<Schema> {
    let is_nullable = *presence == Presence::Nullable;
    match value {
        Value::Of(name) => {
            let value = RefBuilder::new().ref_location_from_schema_name(*name).description(Some(*about));
            let null = ObjectBuilder::new().schema_type(Type::Null);
            if is_nullable { OneOfBuilder::new().item(value).item(null).into() } else { value.into() }
        }
        Value::Flag => {
            let types = [Type::Boolean].into_iter().chain(is_nullable.then_some(Type::Null));
            ObjectBuilder::new().schema_type(SchemaType::from_iter(types)).description(Some(*about)).into()
        }
        Value::LabelChanges => {
            let none = ObjectBuilder::new().schema_type(Type::Null);
            let changes = schema::labels(OneOfBuilder::new().item(none).item(Ref::from_schema_name("Name")));
            changes.description(Some(*about)).into()
        }
    }
}
