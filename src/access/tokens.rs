//! The file of API tokens: who has which, what each may do, until when. It holds hashes, and so no secret.

use super::api_token::{NewToken, TokenHash};
use super::{Denied, Principal, Role, Roles, outside_name};
use crate::domain::Micros;
use crate::limits::TOKENS_MAX;
use crate::time::{Clock, text};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What is known of one API token.
#[derive(Clone)]
pub struct ApiToken {
    /// Who calls with it, and what it may do.
    pub principal: Arc<Principal>,
    /// When it ends, by the wall clock; `None` when it is valid until it is revoked.
    pub expires: Option<Micros>,
    /// The hash of its text.
    pub hash: TokenHash,
}

/// API tokens by their ids; at most [`TOKENS_MAX`].
#[derive(Clone, Default)]
pub struct Tokens(BTreeMap<String, ApiToken>);

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    tokens: Vec<Line>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    id: String,
    name: String,
    roles: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires: Option<String>,
    sha256: String,
}

impl Tokens {
    /// Reads the text of a file.
    ///
    /// # Errors
    /// What is wrong, for a person.
    pub fn parse(text: &str) -> Result<Tokens, String> {
        let File { tokens } = serde_json::from_str(text).map_err(|error| format!("it is not as expected: {error}"))?;
        let mut all = Tokens::default();
        for Line { id, name, roles, expires, sha256 } in tokens {
            let wrong = |what: &str| format!("token {id}: {what}");
            let name = outside_name(&name).map_err(|what| wrong(&what))?;
            let roles = roles_of(&roles).map_err(|what| wrong(&what))?;
            let expires = expires.map(|text| instant(&text).ok_or_else(|| wrong("expires is no time of RFC 3339")));
            let hash = TokenHash::parse(&sha256).ok_or_else(|| wrong("sha256 is not 64 hexadecimal digits"))?;
            let principal = Arc::new(Principal { name: Some(name), roles });
            all.put(id, ApiToken { principal, expires: expires.transpose()?, hash })?;
        }
        Ok(all)
    }

    /// The text of a file with these tokens.
    pub fn render(&self) -> String {
        let line = |(id, token): (&String, &ApiToken)| Line {
            id: id.clone(),
            name: token.principal.name.as_ref().map(ToString::to_string).unwrap_or_default(),
            roles: token.principal.roles.iter().map(|role| role.name().to_owned()).collect(),
            expires: token.expires.map(text),
            sha256: token.hash.to_string(),
        };
        let file = File { tokens: self.0.iter().map(line).collect() };
        // Texts and lists of texts always have a JSON form.
        serde_json::to_string_pretty(&file).unwrap_or_default() + "\n"
    }

    /// Adds a token that was just made.
    ///
    /// # Errors
    /// The file is full, or has a token with this id.
    pub fn add(&mut self, new: &NewToken, principal: Principal, expires: Option<Micros>) -> Result<(), String> {
        let principal = Arc::new(principal);
        self.put(new.id.clone(), ApiToken { principal, expires, hash: new.hash })
    }

    /// Takes away the token with this id, or all tokens of this name. Returns the ids of those that were taken away.
    pub fn revoke(&mut self, id_or_name: &str) -> Vec<String> {
        let is_meant = |id: &String, token: &ApiToken| {
            id == id_or_name || token.principal.name.as_ref().is_some_and(|name| name.as_str() == id_or_name)
        };
        let mut revoked = Vec::new();
        self.0.retain(|id, token| {
            let is_meant = is_meant(id, token);
            if is_meant {
                revoked.push(id.clone());
            }
            !is_meant
        });
        revoked
    }

    /// All tokens with their ids, by id.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &ApiToken)> {
        self.0.iter().map(|(id, token)| (id.as_str(), token))
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    fn put(&mut self, id: String, token: ApiToken) -> Result<(), String> {
        if self.0.len() >= TOKENS_MAX {
            return Err(format!("there are more than {TOKENS_MAX} tokens: revoke those that nobody uses"));
        }
        match self.0.insert(id, token) {
            None => Ok(()),
            Some(_) => Err("two tokens have the same id".to_owned()),
        }
    }

    /// The principal of the token with this id and this hash.
    pub(super) fn principal(&self, id: &str, hash: &TokenHash, clock: &dyn Clock) -> Result<Arc<Principal>, Denied> {
        let token = self.0.get(id).filter(|token| token.hash.is(hash)).ok_or(Denied::Unknown)?;
        match token.expires {
            Some(expires) if expires <= clock.wall() => Err(Denied::Expired),
            _ => Ok(Arc::clone(&token.principal)),
        }
    }
}

/// The set of the roles with these names.
pub(super) fn roles_of(names: &[String]) -> Result<Roles, String> {
    let role = |name: &String| name.parse::<Role>().map_err(|error| format!("the role {name:?} is wrong: {error}"));
    names.iter().map(role).collect()
}

fn instant(text: &str) -> Option<Micros> {
    let at: jiff::Timestamp = text.parse().ok()?;
    u64::try_from(at.as_microsecond()).ok().map(Micros)
}
