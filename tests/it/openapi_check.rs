//! Every answer that a test's client reads is held against the API's description: its status, its content type, its
//! body and its headers. What the description says nothing of is listed here, and refuses like the rest.

use crate::http::client::Reply;
use boon::{Compiler, Draft, SchemaIndex, Schemas};
use headroom::api::http;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Read;
use std::sync::LazyLock;
use ureq::middleware::MiddlewareNext;

/// What is for this machine's command line alone, and the pages that show the description.
const UNDESCRIBED: &[&str] = &["/internal/", "/docs"];
/// Headers that belong to the message and not to what it says.
const FRAMING: &[&str] = &["connection", "content-length", "content-type", "date", "transfer-encoding"];
/// What is told of bytes that are no request.
const NO_REQUEST: &[&str] =
    &["bad_request", "body_timeout", "head_timeout", "head_too_large", "tls_not_spoken", "tls_required"];
const PROBLEM: &str = "application/problem+json";
/// What the schemas' compiler calls the document.
const NAME: &str = "http://headroom/openapi.json";

static DOCUMENT: LazyLock<Document> =
    LazyLock::new(|| Document::new(closed(serde_json::to_value(http::document()).unwrap())));

/// The description, but no answer may have a member that it does not tell of. Clients take such members, because a newer server
/// may send some; this one sends none.
fn closed(mut document: Value) -> Value {
    let schemas = document["components"]["schemas"].as_object_mut().unwrap();
    for schema in schemas.values_mut().filter_map(Value::as_object_mut) {
        if schema.contains_key("properties") {
            schema.entry("additionalProperties").or_insert(json!(false));
        }
    }
    document
}

/// What was asked: a method, and a target as it stood in the request.
#[derive(Clone, Debug)]
pub struct Asked {
    method: String,
    target: String,
}

impl Asked {
    pub fn new(method: &str, target: &str) -> Asked {
        Asked { method: method.to_owned(), target: target.to_owned() }
    }

    /// The requests whose first lines stand in these bytes, in order.
    pub fn all_in(bytes: &[u8]) -> Vec<Asked> {
        let request = |line: &[u8]| {
            let line = std::str::from_utf8(line).ok()?.trim_end();
            let [method, target, version] = line.split(' ').collect::<Vec<_>>().try_into().ok()?;
            let is_request = version.starts_with("HTTP/1.") && method.bytes().all(|b| b.is_ascii_uppercase());
            is_request.then(|| Asked::new(method, target))
        };
        bytes.split(|byte| *byte == b'\n').filter_map(request).collect()
    }

    /// Without a scheme, a host and a query.
    fn path(&self) -> &str {
        let target = match self.target.split_once("://") {
            Some((_, rest)) => rest.find('/').map_or("/", |at| &rest[at..]),
            None => &self.target,
        };
        target.split('?').next().unwrap()
    }
}

/// Panics when the answer is not what is described. `None` was asked: the bytes were no request.
#[track_caller]
pub fn check(asked: Option<&Asked>, reply: &Reply) {
    if let Err(fault) = DOCUMENT.judge(asked, reply) {
        panic!("an answer is not as described: {fault}; asked: {asked:?}; {reply:?}");
    }
    if reply.header("content-type") == Some(PROBLEM) {
        reply.code();
    }
}

/// The same, of an answer of which no headers are known.
#[track_caller]
pub fn check_body(asked: &Asked, status: u16, body: &[u8]) {
    let body = String::from_utf8_lossy(body);
    if let Err(fault) = DOCUMENT.judge_body(asked, status, &body) {
        panic!("an answer is not as described: {fault}; asked: {asked:?}; {status} {body}");
    }
}

/// The same, of everything that an agent of ureq is answered.
pub fn checked(
    request: ureq::http::Request<ureq::SendBody<'_>>,
    next: MiddlewareNext<'_>,
) -> Result<ureq::http::Response<ureq::Body>, ureq::Error> {
    let asked = Asked::new(request.method().as_str(), request.uri().path());
    let (parts, mut body) = next.handle(request)?.into_parts();
    let mut bytes = Vec::new();
    body.as_reader().read_to_end(&mut bytes)?;
    let text = |value: &ureq::http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let headers = parts.headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect();
    let body = String::from_utf8_lossy(&bytes).into_owned();
    check(Some(&asked), &Reply { status: parts.status.as_u16(), headers, body });
    Ok(ureq::http::Response::from_parts(parts, ureq::Body::builder().data(bytes)))
}

/// A description, and its schemas by their places in it.
struct Document {
    text: Value,
    schemas: Schemas,
    places: BTreeMap<String, SchemaIndex>,
}

impl Document {
    fn new(text: Value) -> Document {
        let mut compiler = Compiler::new();
        compiler.set_default_draft(Draft::V2020_12);
        compiler.enable_format_assertions();
        compiler.add_resource(NAME, text.clone()).unwrap();
        let (mut schemas, mut places) = (Schemas::new(), BTreeMap::new());
        for place in schemas_of(&text) {
            let schema = compiler.compile(&format!("{NAME}#{place}"), &mut schemas);
            places.insert(place, schema.unwrap_or_else(|error| panic!("{error:#}")));
        }
        Document { text, schemas, places }
    }

    fn at(&self, pointer: &str) -> Option<&Value> {
        self.text.pointer(pointer)
    }

    /// What is wrong with the answer.
    fn judge(&self, asked: Option<&Asked>, reply: &Reply) -> Result<(), String> {
        let Some(asked) = asked else {
            self.is_problem(reply)?;
            let code = reply.json()["code"].as_str().unwrap_or_default().to_owned();
            return NO_REQUEST.contains(&code.as_str()).then_some(()).ok_or_else(|| format!("{code} of no request"));
        };
        match self.operation(asked) {
            Some(operation) => self.is_response(&operation, reply),
            None if UNDESCRIBED.iter().any(|start| asked.path().starts_with(start)) && reply.status < 400 => Ok(()),
            None => self.is_problem(reply),
        }
    }

    /// The same without a look at the headers.
    fn judge_body(&self, asked: &Asked, status: u16, body: &str) -> Result<(), String> {
        let operation = self.operation(asked).ok_or("the operation is not described")?;
        let contents = format!("{operation}/responses/{status}/content");
        let kinds = self.at(&contents).and_then(Value::as_object);
        let kind = kinds.and_then(|kinds| kinds.keys().next()).ok_or_else(|| format!("{status} is not described"))?;
        let body = value(kind, body)?;
        self.has_code(&format!("{operation}/responses/{status}/x-codes"), status, &body)?;
        self.fits(&format!("{contents}/{}/schema", escaped(kind)), &body)
    }

    /// A refusal has its own status in it, and one of the codes in this list.
    fn has_code(&self, listed: &str, status: u16, body: &Value) -> Result<(), String> {
        let Some(codes) = self.at(listed).and_then(Value::as_array) else { return Ok(()) };
        if codes.contains(&body["code"]) && body["status"] == status {
            return Ok(());
        }
        Err(format!("{} {} is not described for {status}", body["status"], body["code"]))
    }

    /// Where the operation is described. A path that fits without a parameter comes first.
    fn operation(&self, asked: &Asked) -> Option<String> {
        let paths = self.text["paths"].as_object()?;
        let fits = |template: &&String| {
            let (parts, path) = (template.split('/'), asked.path().split('/'));
            let is_part = |(part, said): (&str, &str)| part == said || (part.starts_with('{') && !said.is_empty());
            parts.clone().count() == path.clone().count() && parts.zip(path).all(is_part)
        };
        let template = paths.keys().filter(fits).min_by_key(|template| template.matches('{').count())?;
        let pointer = format!("/paths/{}/{}", escaped(template), asked.method.to_ascii_lowercase());
        self.at(&pointer).is_some().then_some(pointer)
    }

    fn is_response(&self, operation: &str, reply: &Reply) -> Result<(), String> {
        let response = format!("{operation}/responses/{}", reply.status);
        let described = self.at(&response).ok_or_else(|| format!("{} is not described", reply.status))?;
        self.has_headers(&described["headers"], reply)?;
        let kind = reply.header("content-type").map(|kind| kind.split(';').next().unwrap_or_default());
        let Some(contents) = described["content"].as_object() else {
            return reply.body.is_empty().then_some(()).ok_or_else(|| "a body is not described".to_owned());
        };
        let kind = kind.filter(|kind| contents.contains_key(*kind));
        let kind = kind.ok_or_else(|| format!("{:?} is not described", reply.header("content-type")))?;
        let body = value(kind, &reply.body)?;
        self.has_code(&format!("{response}/x-codes"), reply.status, &body)?;
        self.fits(&format!("{response}/content/{}/schema", escaped(kind)), &body)
    }

    /// A refusal of what the description does not name.
    fn is_problem(&self, reply: &Reply) -> Result<(), String> {
        if reply.header("content-type") != Some(PROBLEM) || reply.status < 400 {
            return Err("what is not described is refused".to_owned());
        }
        if reply.header("allow").is_some() != (reply.status == 405) {
            return Err("allow is for those who use another method".to_owned());
        }
        let body = value(PROBLEM, &reply.body)?;
        self.has_code("/components/schemas/Code/examples", reply.status, &body)?;
        self.fits("/components/schemas/Problem", &body)
    }

    fn has_headers(&self, described: &Value, reply: &Reply) -> Result<(), String> {
        let none = serde_json::Map::new();
        let described = described.as_object().unwrap_or(&none);
        let named = |name: &str| described.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        for (name, text) in reply.headers.iter().filter(|(name, _)| !FRAMING.contains(&name.as_str())) {
            let (known, _) = named(name).ok_or_else(|| format!("the header {name} is not described"))?;
            let schema = format!("/components/headers/{known}/schema");
            let is_number = self.at(&schema).is_some_and(|schema| schema["type"] == "integer");
            let value = if is_number { serde_json::from_str(text).unwrap_or(json!(text)) } else { json!(text) };
            self.fits(&schema, &value).map_err(|fault| format!("the header {name}: {fault}"))?;
        }
        let is_required = |name: &str| self.text["components"]["headers"][name]["required"] == true;
        match described.keys().find(|name| is_required(name) && reply.header(&name.to_ascii_lowercase()).is_none()) {
            Some(name) => Err(format!("the header {name} is missing")),
            None => Ok(()),
        }
    }

    fn fits(&self, place: &str, value: &Value) -> Result<(), String> {
        let schema = self.places.get(place).ok_or_else(|| format!("there is no schema {place}"))?;
        self.schemas.validate(value, *schema).map_err(|fault| format!("{fault:#}"))
    }
}

/// Where requests, answers and headers have their schemas.
fn schemas_of(document: &Value) -> Vec<String> {
    let mut places = vec!["/components/schemas/Problem".to_owned()];
    let mut stack = vec![(String::new(), document)];
    while let Some((at, value)) = stack.pop() {
        match value {
            // What schemas are made of is theirs.
            Value::Object(members) if members.contains_key("schema") => places.push(format!("{at}/schema")),
            Value::Object(members) => {
                stack.extend(members.iter().map(|(name, member)| (format!("{at}/{}", escaped(name)), member)));
            }
            Value::Array(items) => {
                stack.extend(items.iter().enumerate().map(|(n, item)| (format!("{at}/{n}"), item)));
            }
            _ => {}
        }
    }
    places
}

fn escaped(part: &str) -> String {
    part.replace('~', "~0").replace('/', "~1")
}

fn value(kind: &str, body: &str) -> Result<Value, String> {
    if kind.ends_with("json") { serde_json::from_str(body).map_err(|e| e.to_string()) } else { Ok(json!(body)) }
}

/// A pool as it is answered.
fn pool() -> Reply {
    let body = json!({
        "pool": "p", "limits": { "orders": 2 }, "used": { "orders": 0 }, "remaining": { "orders": 2 }, "mode": "open",
        "over_committed": false, "areas": [], "labels": {}, "version": 1,
    });
    let headers = [
        ("cache-control", "no-store"),
        ("content-type", "application/json"),
        ("etag", "\"1\""),
        ("x-request-id", "0123456789abcdef0123456789abcdef"),
    ];
    let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned()));
    Reply { status: 200, headers: headers.into(), body: body.to_string() }
}

fn judged(asked: Option<(&str, &str)>, reply: &Reply) -> String {
    let asked = asked.map(|(method, target)| Asked::new(method, target));
    DOCUMENT.judge(asked.as_ref(), reply).err().unwrap_or_default()
}

#[test]
fn what_is_not_as_described_is_found() {
    let get = |reply: &Reply| judged(Some(("GET", "/v1/pools/p?fresh=true")), reply);
    assert_eq!(get(&pool()), "");
    assert_eq!(judged(Some(("GET", "http://localhost/v1/pools/p")), &pool()), "");
    type Harm = fn(&mut Reply);
    let harms: [(Harm, &str); 13] = [
        (|reply| reply.status = 418, "418 is not described"),
        (|reply| drop(reply.headers.remove("etag")), "ETag is missing"),
        (|reply| drop(reply.headers.remove("cache-control")), "Cache-Control is missing"),
        (|reply| drop(reply.headers.insert("etag".to_owned(), "1".to_owned())), "header etag"),
        (|reply| drop(reply.headers.insert("x-new".to_owned(), "1".to_owned())), "x-new is not described"),
        (|reply| drop(reply.headers.insert("content-type".to_owned(), "text/html".to_owned())), "text/html"),
        (|reply| reply.body = reply.body.replace("\"open\"", "\"ajar\""), "/mode"),
        (|reply| reply.body = reply.body.replace("\"orders\":2", "\"orders\":-2"), "/limits"),
        (|reply| reply.body = reply.body.replace("\"orders\"", "\"Orders\""), "Orders"),
        (|reply| reply.body = reply.body.replace("\"version\":1", "\"version\":null"), "/version"),
        (|reply| reply.body = reply.body.replace("\"areas\"", "\"places\""), "areas"),
        (|reply| reply.body = reply.body.replace("\"version\":1", "\"version\":1,\"newer\":1"), "newer"),
        (|reply| reply.body.clear(), "EOF"),
    ];
    for (harm, found) in harms {
        let mut reply = pool();
        harm(&mut reply);
        let fault = get(&reply);
        assert!(fault.contains(found), "{fault:?} without {found:?}");
    }
}

#[test]
fn a_refusal_with_a_status_or_a_code_of_another_operation_is_found() {
    let refused = |status: u16, said: u16, code: &str| {
        let body = json!({
            "type": format!("urn:headroom:problem:{code}"), "title": "t", "status": said, "detail": "d", "code": code,
            "outcome": "not_applied", "retryable": false, "trace_id": "7-1",
        });
        DOCUMENT.judge_body(&Asked::new("GET", "/v1/pools/p"), status, &body.to_string())
    };
    assert_eq!(refused(404, 404, "unknown_pool"), Ok(()));
    for (said, code) in [(404, "unknown_reservation"), (404, "brand_new"), (409, "unknown_pool")] {
        assert!(
            refused(404, said, code).is_err_and(|fault| fault.contains("is not described for 404")),
            "{said} {code}"
        );
    }
}

#[test]
fn what_is_exempt_is_no_more_than_what_is_listed() {
    let get = |status: u16, body: &str| DOCUMENT.judge_body(&Asked::new("GET", "/v1/pools/p"), status, body).is_ok();
    assert!(get(200, &pool().body) && !get(201, &pool().body) && !get(200, "{}"));
    for target in ["/internal/log", "/docs/"] {
        assert_eq!(judged(Some(("GET", target)), &pool()), "");
        let failed = Reply { status: 500, ..pool() };
        assert_ne!(judged(Some(("GET", target)), &failed), "", "{target}");
    }
    for (method, target) in [("GET", "/v1/nothing"), ("DELETE", "/v1/pools"), ("OPTIONS", "*")] {
        assert_ne!(judged(Some((method, target)), &pool()), "", "{method} {target}");
    }
    assert_ne!(judged(None, &pool()), "");
    let asked = Asked::all_in(b"GET /a HTTP/1.1\r\nHost: h\r\n\r\nPUT /b?c HTTP/1.0\r\n\r\nGET / HTTP/9.9\r\n");
    assert_eq!(asked.iter().map(Asked::path).collect::<Vec<_>>(), ["/a", "/b"]);
}

/// Of parameters, bodies and answers.
#[test]
fn every_example_fits_its_schema() {
    let mut shown = 0;
    for place in DOCUMENT.places.keys() {
        let Some(holder) = place.strip_suffix("/schema").and_then(|holder| DOCUMENT.at(holder)) else { continue };
        let named = holder["examples"].as_object().into_iter().flatten().map(|(_, example)| &example["value"]);
        for example in holder.get("example").into_iter().chain(named) {
            assert_eq!(DOCUMENT.fits(place, example), Ok(()), "{place}");
            shown += 1;
        }
    }
    assert!(shown > DOCUMENT.text["paths"].as_object().unwrap().len(), "{shown}");
}
