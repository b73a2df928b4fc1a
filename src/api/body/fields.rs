//! The members of an object, as a request names them.

use super::Parsed;
use crate::api::problem::{Problem, RequestFault};
use crate::api::shapes::Shape;
use crate::api::value::{Members, Value, quoted, shown};
use crate::domain::Edit;
use std::borrow::Cow;

/// The members of an object, all of them known. They are taken out one by one.
pub(super) struct Fields<'a>(Members<'a>);

impl<'a> Fields<'a> {
    /// The members of a body.
    pub(super) fn parse(value: Value<'a>, shape: &Shape) -> Parsed<Fields<'a>> {
        let Value::Object(members) = value else {
            return Err(Problem::fault(
                RequestFault::BadJson,
                format!("the body is {}, it has to be an object", shown(&value)),
            ));
        };
        Fields::known("", members, shape)
    }

    /// The members of the object at `at`, of which the shape has to know every one.
    pub(super) fn known(at: &str, members: Members<'a>, shape: &Shape) -> Parsed<Fields<'a>> {
        match members.iter().find(|(key, _)| !shape.has(key)) {
            None => Ok(Fields(members)),
            Some((key, _)) => {
                let detail = format!("there is no field {at}{}: those there are: {}", quoted(key), shape.names());
                Err(Problem::fault(RequestFault::UnknownField, detail))
            }
        }
    }

    /// Takes a member out; `null` means the same as absence.
    pub(super) fn optional(&mut self, name: &str) -> Option<Value<'a>> {
        self.given(name).filter(|value| *value != Value::Null)
    }

    /// Takes a member out, `null` included.
    pub(super) fn given(&mut self, name: &str) -> Option<Value<'a>> {
        let at = self.0.iter().position(|(key, _)| key == name)?;
        Some(self.0.swap_remove(at).1)
    }

    /// A part that a change may set but not clear.
    pub(super) fn set(&mut self, name: &str) -> Parsed<Option<Value<'a>>> {
        match self.given(name) {
            Some(Value::Null) => {
                let detail = format!("{name} cannot be null: leave it out, and it stays as it is");
                Err(Problem::fault(RequestFault::BadChange, detail))
            }
            given => Ok(given),
        }
    }

    /// A part that a change may set, or clear with `null`.
    pub(super) fn edit<T>(&mut self, name: &str, read: impl FnOnce(Value<'a>) -> Parsed<T>) -> Parsed<Edit<T>> {
        Ok(match self.given(name) {
            None => Edit::Keep,
            Some(Value::Null) => Edit::Clear,
            Some(value) => Edit::To(read(value)?),
        })
    }

    /// Takes a member out that has to be there; `null` means the same as absence.
    pub(super) fn required(&mut self, name: &str) -> Parsed<Value<'a>> {
        self.optional(name)
            .ok_or_else(|| Problem::fault(RequestFault::MissingField, format!("the body has no '{name}': add it")))
    }
}

pub(super) fn text<'a>(field: &str, value: Value<'a>, fault: RequestFault) -> Parsed<Cow<'a, str>> {
    match value {
        Value::Text(text) => Ok(text),
        other => Err(Problem::fault(fault, format!("{field} is {}, it has to be a string", shown(&other)))),
    }
}

pub(super) fn members<'a>(field: &str, value: Value<'a>, fault: RequestFault) -> Parsed<Members<'a>> {
    match value {
        Value::Object(members) => Ok(members),
        other => Err(Problem::fault(fault, format!("{field} is {}, it has to be an object", shown(&other)))),
    }
}
