//! The claims of a JWT whose signature is right.

use super::Issuer;
use crate::access::{Denied, Principal, Roles, outside_name};
use crate::domain::Micros;
use crate::limits::JWT_LEEWAY_S;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde_json::{Map, Value};
use std::fmt;

/// The claims by name. A JWT that has one claim twice cannot be read: two readers could take different ones.
pub(super) struct Claims(Map<String, Value>);

impl<'de> Deserialize<'de> for Claims {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Claims, D::Error> {
        struct Once;

        impl<'de> Visitor<'de> for Once {
            type Value = Claims;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of claims")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Claims, A::Error> {
                let mut claims = Map::new();
                while let Some((name, value)) = entries.next_entry()? {
                    if claims.insert(name, value).is_some() {
                        return Err(A::Error::custom("a claim is there twice"));
                    }
                }
                Ok(Claims(claims))
            }
        }

        deserializer.deserialize_map(Once)
    }
}

impl Claims {
    /// When the JWT expires, leeway included, if it is valid at `now` by the wall clock.
    pub(super) fn valid_until(&self, now: Micros) -> Result<Micros, Denied> {
        let expires = self.time("exp")?.ok_or(Denied::Malformed)?;
        let until = Micros(expires.0.saturating_add(LEEWAY_US));
        if until <= now {
            return Err(Denied::Expired);
        }
        let soon = Micros(now.0.saturating_add(LEEWAY_US));
        for begin in [self.time("nbf")?, self.time("iat")?].into_iter().flatten() {
            if begin > soon {
                return Err(Denied::TooEarly);
            }
        }
        Ok(until)
    }

    /// Who calls, and what it may do.
    pub(super) fn principal(&self, issuer: &Issuer) -> Result<Principal, Denied> {
        let name = self.find(&issuer.name_claim).and_then(Value::as_str).ok_or(Denied::Nameless)?;
        let name = outside_name(name).map_err(|_| Denied::Nameless)?;
        let roles = self.find(&issuer.roles_claim).map(|value| roles(issuer, value)).unwrap_or_default();
        Ok(Principal { name: Some(name), roles })
    }

    /// A claim that holds a time in seconds since the Unix epoch.
    fn time(&self, name: &str) -> Result<Option<Micros>, Denied> {
        let Some(value) = self.0.get(name) else { return Ok(None) };
        // Some issuers write fractions of a second.
        let seconds = value.as_f64().filter(|seconds| *seconds >= 0.0).ok_or(Denied::Malformed)?;
        // A number that is too large becomes the largest one.
        Ok(Some(Micros(((seconds * 1e6) as u64).min(Micros::MAX.0))))
    }

    /// The claim of this name, or else the one at this path.
    fn find(&self, path: &str) -> Option<&Value> {
        if let Some(value) = self.0.get(path) {
            return Some(value);
        }
        let mut parts = path.split('.');
        let first = self.0.get(parts.next()?)?;
        parts.try_fold(first, |value, part| value.get(part))
    }
}

/// [`JWT_LEEWAY_S`] in microseconds.
const LEEWAY_US: u64 = JWT_LEEWAY_S * 1_000_000;

fn roles(issuer: &Issuer, value: &Value) -> Roles {
    let of = |value: &str| issuer.roles.get(value).copied().unwrap_or_default();
    let sets: Vec<Roles> = match value {
        Value::String(words) => words.split_whitespace().map(of).collect(),
        Value::Array(values) => values.iter().filter_map(Value::as_str).map(of).collect(),
        _ => Vec::new(),
    };
    sets.into_iter().flat_map(Roles::iter).collect()
}
