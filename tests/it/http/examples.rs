//! The examples of the description, sent as the page at `/docs` would send them.

use super::client::Client;
use crate::server::Server;
use serde_json::Value;
use std::collections::BTreeSet;

/// Operations in an order in which each finds what it needs.
const ORDER: &[&str] = &[
    "define_pool",
    "change_pool",
    "set_mode",
    "get_pool",
    "list_pools",
    "availability",
    "reserve",
    "get_reservation",
    "list_reservations",
    "extend",
    "confirm",
    "amend",
    "release",
    "retire_pool",
    "livez",
    "readyz",
    "startupz",
    "metrics",
    "openapi",
];

/// Where an operation is: path, method, and what is said of it.
fn operations(document: &Value) -> impl Iterator<Item = (&str, &str, &Value)> {
    let paths = document["paths"].as_object().unwrap().iter();
    paths.flat_map(|(path, item)| item.as_object().unwrap().iter().map(move |(method, of)| (&**path, &**method, of)))
}

/// A target and header lines, with the examples that parameters have.
fn filled(path: &str, operation: &Value) -> (String, Vec<String>) {
    let (mut target, mut query, mut headers) = (path.to_owned(), Vec::new(), Vec::new());
    for parameter in operation["parameters"].as_array().into_iter().flatten() {
        let name = parameter["name"].as_str().unwrap();
        let Some(example) = parameter.get("example") else { continue };
        let text = example.as_str().map_or_else(|| example.to_string(), str::to_owned);
        match parameter["in"].as_str().unwrap() {
            "path" => target = target.replace(&format!("{{{name}}}"), &text),
            "query" => query.push(format!("{name}={text}")),
            _ => headers.push(format!("{name}: {text}")),
        }
    }
    assert!(!target.contains('{'), "{path}: a parameter without an example");
    let target = if query.is_empty() { target } else { format!("{target}?{}", query.join("&")) };
    (target, headers)
}

fn members(value: &Value) -> BTreeSet<&str> {
    value.as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect()
}

/// Sends one operation's examples. Each answer has the members of the one that is shown, and says the same of what was
/// asked for.
fn tried(c: &mut Client, path: &str, method: &str, operation: &Value) {
    let (target, headers) = filled(path, operation);
    let headers: Vec<_> = headers.iter().map(String::as_str).collect();
    let examples = operation["requestBody"]["content"]["application/json"]["examples"].as_object();
    let bodies =
        examples.map_or_else(|| vec![String::new()], |all| all.values().map(|e| e["value"].to_string()).collect());
    assert_eq!(operation.get("requestBody").is_some(), examples.is_some(), "{method} {path} takes a body");
    for body in bodies {
        let reply = c.send(&method.to_ascii_uppercase(), &target, &headers, &body);
        assert!((200..300).contains(&reply.status), "{method} {target} {body}: {reply:?}");
        let shown = &operation["responses"][reply.status.to_string()]["content"]["application/json"]["example"];
        if !shown.is_null() {
            let told = reply.json();
            assert_eq!(members(&told), members(shown), "{method} {target} {body}");
            for name in
                ["reservation", "pool", "status", "demand", "demand_before", "order_ref", "areas", "labels", "mode"]
            {
                assert_eq!(told[name], shown[name], "{method} {target} {body}: {name}");
            }
        }
    }
}

#[test]
fn every_example_is_answered_as_it_is_shown() {
    let server = Server::alone();
    let c = &mut server.client();
    let document = c.get("/openapi.json").json();
    let named = operations(&document).map(|(.., operation)| operation["operationId"].as_str().unwrap());
    assert_eq!(named.collect::<BTreeSet<_>>(), ORDER.iter().copied().collect());
    for id in ORDER {
        let (path, method, operation) = operations(&document).find(|(.., of)| of["operationId"] == *id).unwrap();
        tried(c, path, method, operation);
    }
}
