//! The query of a request: a list of parameters, each of them known and sent once.

use super::reply::Problem;
use crate::api::problem::RequestFault;
use crate::api::value::quoted;

/// A query's parameters.
#[derive(Debug)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// The parameters of this query, all of which have to be known ones.
    ///
    /// # Errors
    /// The [`Problem`] to answer.
    pub fn of(query: Option<&str>, known: &[&str]) -> Result<Query, Problem> {
        let Some(query) = query else { return Ok(Query(Vec::new())) };
        let target: Result<axum::http::Uri, _> = format!("/?{query}").parse();
        let pairs = target.ok().and_then(|uri| axum::extract::Query::<Vec<(String, String)>>::try_from_uri(&uri).ok());
        let pairs = pairs
            .ok_or_else(|| {
                Problem::fault(RequestFault::BadQuery, "the query is not a list of parameters: name=value, joined by &")
            })?
            .0;
        for (at, (name, _)) in pairs.iter().enumerate() {
            let shown = quoted(name);
            if !known.contains(&name.as_str()) {
                let there_are = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                let detail = format!("there is no parameter {shown}: those there are: {there_are}");
                return Err(Problem::fault(RequestFault::BadQuery, detail));
            }
            if pairs.iter().take(at).any(|(other, _)| other == name) {
                return Err(Problem::fault(
                    RequestFault::BadQuery,
                    format!("the parameter {shown} stands twice: send it once"),
                ));
            }
        }
        Ok(Query(pairs))
    }

    /// The value of this parameter, if it was sent.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    /// A parameter that has to be a number.
    ///
    /// # Errors
    /// The [`Problem`] to answer.
    pub fn number(&self, name: &str) -> Result<Option<u64>, Problem> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let is_plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let number = text.parse().ok().filter(|_| is_plain);
        let wrong = || format!("{name} is {}, it has to be an integer", quoted(text));
        number.map(Some).ok_or_else(|| Problem::fault(RequestFault::BadQuery, wrong()))
    }

    /// Whether the caller wants the newest state.
    ///
    /// # Errors
    /// The [`Problem`] to answer.
    pub fn fresh(&self) -> Result<bool, Problem> {
        self.flag("fresh")
    }

    /// A parameter that has to be true or false, and is false when it was not sent.
    ///
    /// # Errors
    /// The [`Problem`] to answer.
    pub fn flag(&self, name: &str) -> Result<bool, Problem> {
        match self.get(name) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(other) => Err(Problem::fault(
                RequestFault::BadQuery,
                format!("{name} is {}, it has to be true or false", quoted(other)),
            )),
        }
    }
}
