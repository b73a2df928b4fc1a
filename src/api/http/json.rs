//! Reads JSON into a [`Value`]. Repeated keys are refused.

use crate::api::body::Parsed;
use crate::api::problem::{Problem, RequestFault};
use crate::api::value::{Members, Value, quoted};
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;

/// From how many members of one object on a tree finds the name that stands twice. Every body that is accepted has fewer, and
/// looking through so few takes no memory. How many there may be is bounded by the bytes of the body alone, so that whoever
/// reads the object says what there are too many of.
const MEMBERS_FEW: usize = 64;

/// Reads a request body.
///
/// # Errors
/// The [`Problem`] to answer.
pub fn parse(body: &[u8]) -> Parsed<Value<'_>> {
    serde_json::from_slice(body).map_err(|error| {
        let detail = error.to_string();
        // The parser gives up on a number too large for any type before anyone can say which member it is.
        let is_number = detail.starts_with("number out of range");
        let fault = if is_number { RequestFault::BadUnits } else { RequestFault::BadJson };
        Problem::fault(fault, format!("the body cannot be read as JSON: {detail}"))
    })
}

impl<'de> Deserialize<'de> for Value<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value<'de>, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value<'de>, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value<'de>, E> {
        Ok(Value::Unsigned(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value<'de>, E> {
        Ok(u64::try_from(value).map_or(Value::Negative(value), Value::Unsigned))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Value<'de>, E> {
        Ok(Value::Inexact)
    }

    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Value<'de>, E> {
        Ok(Value::Text(Cow::Borrowed(value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value<'de>, E> {
        Ok(Value::Text(Cow::Owned(value.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value<'de>, A::Error> {
        let mut list = Vec::new();
        while let Some(value) = seq.next_element()? {
            list.push(value);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value<'de>, A::Error> {
        let mut members = Members::with_capacity(4);
        let mut many: BTreeSet<Cow<'de, str>> = BTreeSet::new();
        while let Some(Key(key)) = map.next_key()? {
            if members.len() == MEMBERS_FEW {
                many.extend(members.iter().map(|(name, _)| name.clone()));
            }
            let is_new = if members.len() < MEMBERS_FEW {
                members.iter().all(|(name, _)| *name != key)
            } else {
                many.insert(key.clone())
            };
            if !is_new {
                return Err(de::Error::custom(format_args!("the member {} stands twice", quoted(&key))));
            }
            members.push((key, map.next_value()?));
        }
        Ok(Value::Object(members))
    }
}

struct Key<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeyVisitor;
        impl<'de> Visitor<'de> for KeyVisitor {
            type Value = Key<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a member's name")
            }

            fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Borrowed(value)))
            }

            fn visit_str<E>(self, value: &str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Owned(value.to_owned())))
            }
        }
        deserializer.deserialize_str(KeyVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_what_they_were() {
        let parse = |text: &'static str| serde_json::from_str::<Value<'_>>(text).map_err(|error| error.to_string());
        assert_eq!(parse("9223372036854775808"), Ok(Value::Unsigned(1 << 63)));
        assert_eq!(parse("-1"), Ok(Value::Negative(-1)));
        for inexact in ["1.0", "1e3", "18446744073709551616", "-0.5"] {
            assert_eq!(parse(inexact), Ok(Value::Inexact), "{inexact}");
        }
        for bad in ["NaN", "1e309", "01", "{\"a\":1,\"a\":2}", "{\"a\":1,\"\\u0061\":2}", "", "[1,]"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_name_that_stands_twice_is_found_among_however_many() {
        let read = |names: &[usize]| {
            let members: Vec<_> = names.iter().map(|name| format!("\"{name}\":1")).collect();
            parse(format!("{{{}}}", members.join(",")).as_bytes())
                .map(drop)
                .map_err(|problem| problem.detail().to_owned())
        };
        for most in [2, 63, MEMBERS_FEW, 65, 66, 5_000] {
            let names: Vec<usize> = (0..most).collect();
            assert_eq!(read(&names), Ok(()), "{most}");
            for twice in [names[0], names[1]].into_iter().chain(names.last().copied()) {
                let detail = read(&[&names[..], &[twice]].concat()).unwrap_err();
                assert!(detail.contains(&format!("the member '{twice}' stands twice")), "{detail}");
            }
        }
    }
}
