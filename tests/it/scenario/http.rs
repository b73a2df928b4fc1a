//! The whole service: what callers send and are told over HTTP, by a clock that stands where the scenario says.

use super::callers::{Caller, play};
use super::seen::{clock, mode_text};
use super::{Depth, Fields, Scenario, Seen, Step, Transcript};
use crate::grpc::{Answer, Asked, CapacityClient, ask};
use crate::process::agent;
use crate::server::{Server, runtime};
use headroom::domain::{Amounts, CommandBody, Edit, LimitChange, Micros, Name, PoolChange, PoolSpec, ReservationId};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use tonic::transport::Channel;

pub struct HttpDepth;

impl Depth for HttpDepth {
    fn name(&self) -> &'static str {
        "http"
    }

    fn shows(&self, kind: &str, field: &str) -> bool {
        shows(kind, field)
    }

    fn run(&mut self, scenario: &Scenario) -> Transcript {
        play(scenario, |server| Box::new(HttpCaller::new(server)))
    }
}

/// Whether an answer of this kind has this field.
pub(super) fn shows(kind: &str, field: &str) -> bool {
    let is_counter = field.starts_with("limits.") || field.starts_with("used.");
    match kind.rsplit(' ').nth(1).unwrap_or(kind) {
        "rejected" => is_counter || ["dimension", "until", "existing", "live", "retired_until"].contains(&field),
        _ if kind.ends_with("released") || kind.ends_with("expired") => is_counter || field == "reservation",
        _ => field != "cause",
    }
}

/// Calls what a scenario says.
pub(super) struct HttpCaller<'a> {
    server: &'a Server,
    over: Over,
    /// The ids that the service gave reservations made without a key.
    ids: BTreeMap<ReservationId, String>,
}

/// The protocol in which requests are sent.
pub(super) enum Over {
    Http(ureq::Agent),
    /// As the gRPC call that says the same.
    Grpc(Box<CapacityClient<Channel>>),
}

impl HttpCaller<'_> {
    pub(super) fn new(server: &Server) -> HttpCaller<'_> {
        HttpCaller::over(server, Over::Http(agent()))
    }

    pub(super) fn over(server: &Server, over: Over) -> HttpCaller<'_> {
        HttpCaller { server, over, ids: BTreeMap::new() }
    }

    /// Sends a request, and answers whether its key had the answer before, and the answer.
    fn send(&mut self, method: &str, path: &str, headers: &[(&str, String)], body: Option<Value>) -> (bool, Value) {
        let agent = match &mut self.over {
            Over::Http(agent) => agent,
            Over::Grpc(client) => {
                let body = body.unwrap_or_default();
                let Answer { body, is_replayed, .. } =
                    runtime().block_on(ask(client, Asked { method, path, headers, body: &body }));
                return (is_replayed, body);
            }
        };
        let mut request = ureq::http::Request::builder()
            .method(method)
            .uri(format!("http://{}{path}", self.server.address))
            .header("content-type", "application/json");
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        let mut response = agent.run(request.body(body).unwrap()).unwrap();
        let is_replayed = response.headers().contains_key("idempotent-replayed");
        let text = response.body_mut().read_to_string().unwrap();
        (is_replayed, serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}")))
    }

    fn request(&self, body: &CommandBody) -> (&'static str, String, Vec<(&'static str, String)>, Option<Value>) {
        let of_pool = |expected: &Option<u64>| match expected {
            None => vec![],
            Some(0) => vec![("if-none-match", "*".to_owned())],
            Some(version) => vec![("if-match", format!("\"{version}\""))],
        };
        match body {
            CommandBody::DefinePool { pool, spec, expected_version } => {
                ("PUT", format!("/v1/pools/{pool}"), of_pool(expected_version), Some(spec_body(spec)))
            }
            CommandBody::AdjustLimits { pool, change, expected_version } => {
                ("PATCH", format!("/v1/pools/{pool}"), of_pool(expected_version), Some(limits_body(change)))
            }
            CommandBody::ChangePool { pool, change, expected_version } => {
                ("PATCH", format!("/v1/pools/{pool}"), of_pool(expected_version), Some(change_body(change)))
            }
            CommandBody::SetMode { pool, mode, expected_version } => {
                let body = json!({ "mode": mode_text(*mode) });
                ("POST", format!("/v1/pools/{pool}/mode"), of_pool(expected_version), Some(body))
            }
            CommandBody::RetirePool { pool, with_reservations, expected_version } => {
                let query = if *with_reservations { "?with_reservations=true" } else { "" };
                ("DELETE", format!("/v1/pools/{pool}{query}"), of_pool(expected_version), None)
            }
            CommandBody::Reserve { pool, demand, hold_ttl_ms, order_ref, .. } => {
                let mut body = json!({ "pool": pool.as_str(), "demand": units(demand) });
                if let Some(ttl) = hold_ttl_ms {
                    body["hold_ttl_ms"] = json!(ttl);
                }
                if let Some(text) = order_ref {
                    body["order_ref"] = json!(text.as_str());
                }
                ("POST", "/v1/reservations".to_owned(), vec![], Some(body))
            }
            CommandBody::Confirm { reservation } => ("POST", self.path(reservation, "/confirm"), vec![], None),
            CommandBody::Extend { reservation, hold_ttl_ms } => {
                ("POST", self.path(reservation, "/extend"), vec![], Some(json!({ "hold_ttl_ms": hold_ttl_ms })))
            }
            CommandBody::Amend { reservation, demand } => {
                ("PATCH", self.path(reservation, ""), vec![], Some(json!({ "demand": units(demand) })))
            }
            CommandBody::Release { reservation } => ("DELETE", self.path(reservation, ""), vec![], None),
            CommandBody::Abandon { .. } => panic!("no caller sends this"),
        }
    }

    fn path(&self, id: &ReservationId, action: &str) -> String {
        let id = self.ids.get(id).cloned().unwrap_or_else(|| id.to_string());
        format!("/v1/reservations/{id}{action}")
    }
}

impl Caller for HttpCaller<'_> {
    fn server(&self) -> &Server {
        self.server
    }

    fn id(&self, id: ReservationId) -> ReservationId {
        self.ids.get(&id).map_or(id, |text| ReservationId::parse(text).unwrap())
    }

    fn step(&mut self, step: &Step) -> Seen {
        let command = &step.command;
        let (method, path, mut headers, body) = self.request(&command.body);
        headers.extend(command.key.as_ref().map(|key| ("idempotency-key", key.as_str().to_owned())));
        let (is_replayed, answer) = self.send(method, &path, &headers, body);
        let kind = match answer["code"].as_str() {
            Some(code) => format!("rejected {code}"),
            None => kind_of(&command.body, &answer).to_owned(),
        };
        if let (CommandBody::Reserve { reservation, .. }, Some(id)) = (&command.body, answer["reservation"].as_str()) {
            self.ids.insert(*reservation, id.to_owned());
        }
        let mut fields = flat(&answer);
        if let Some(id) = command.body.reservation() {
            fields.insert("reservation".to_owned(), id.to_string());
        }
        Seen { kind: if is_replayed { format!("repeated {kind}") } else { kind }, fields }
    }
}

fn kind_of(body: &CommandBody, answer: &Value) -> &'static str {
    match body {
        CommandBody::DefinePool { .. } => "defined",
        CommandBody::AdjustLimits { .. } => "adjusted",
        CommandBody::SetMode { .. } => "mode_set",
        CommandBody::ChangePool { .. } => "changed",
        CommandBody::RetirePool { .. } => "retired",
        CommandBody::Reserve { .. } => "accepted",
        CommandBody::Confirm { .. } => "confirmed",
        CommandBody::Extend { .. } => "extended",
        CommandBody::Amend { .. } => "amended",
        CommandBody::Release { .. } if answer["status"] == "expired" => "expired",
        CommandBody::Release { .. } => "released",
        CommandBody::Abandon { .. } => panic!("no caller sends this"),
    }
}

fn flat(answer: &Value) -> Fields {
    let mut fields = Fields::new();
    let mut put = |field: &str, value: &Value| {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        if !value.is_null() {
            fields.insert(field.to_owned(), text);
        }
    };
    let named = [("pool", "pool"), ("status", "status"), ("mode", "mode"), ("version", "version")];
    for (name, field) in named.into_iter().chain([("dimension", "dimension"), ("order_ref", "ref")]) {
        put(field, &answer[name]);
    }
    let list = |values: Vec<String>| if values.is_empty() { Value::Null } else { json!(values.join(",")) };
    if let Some(is_over) = answer["over_committed"].as_bool() {
        put("over_committed", &json!(if is_over { "yes" } else { "no" }));
    }
    if let Some(areas) = answer["areas"].as_array() {
        put("areas", &list(areas.iter().map(|area| area.as_str().unwrap().to_owned()).collect()));
    }
    if let Some(labels) = answer["labels"].as_object() {
        put("labels", &list(labels.iter().map(|(k, v)| format!("{k}:{}", v.as_str().unwrap())).collect()));
    }
    let time = |value: &Value| value.as_str().map(|text| clock(instant(text)));
    put("until", &json!(time(&answer["hold_until"])));
    put("retired_until", &json!(time(&answer["retired_until"])));
    if answer["code"] == "order_has_reservation" {
        put("existing", &answer["reservation"]);
    }
    put("live", &answer["live_reservations"]);
    let rules = [("hold_ttl_max_ms", "ttl_max"), ("hold_life_max_ms", "life_max"), ("retire_after_ms", "retire_after")];
    for (name, field) in rules {
        put(field, &json!(answer[name].as_u64().map(|ms| format!("{ms}ms"))));
    }
    put("unique", &json!(answer["unique_order_ref"].as_bool().filter(|is| *is).map(|_| "yes")));
    let window = &answer["window"];
    put("cutoff", &json!(time(&window["cutoff"])));
    put("window", &json!(time(&window["start"]).zip(time(&window["end"])).map(|(a, b)| format!("{a}-{b}"))));
    let units = [("demand", "demand"), ("demand_before", "before"), ("limits", "limits"), ("used", "used")];
    for (name, of) in units {
        for amounts in [&answer[name], &answer["proof"][name]].into_iter().filter_map(Value::as_object) {
            amounts.iter().for_each(|(dimension, units)| put(&format!("{of}.{dimension}"), units));
        }
    }
    fields
}

fn instant(text: &str) -> Micros {
    Micros(text.parse::<jiff::Timestamp>().unwrap().as_microsecond() as u64)
}

fn rfc3339(at: Micros) -> String {
    jiff::Timestamp::from_microsecond(at.0 as i64).unwrap().to_string()
}

fn units(amounts: &Amounts) -> Value {
    amounts.iter().map(|(d, n)| (d.to_string(), json!(n))).collect::<Map<_, _>>().into()
}

fn limits_body(change: &LimitChange) -> Value {
    match change {
        LimitChange::To(limits) => json!({ "limits": units(limits) }),
        LimitChange::By(by) => {
            json!({ "adjust": by.iter().map(|(d, n)| (d.to_string(), json!(n))).collect::<Map<_, _>>() })
        }
    }
}

fn change_body(change: &PoolChange) -> Value {
    let mut body = change.limits.as_ref().map_or_else(|| json!({}), limits_body);
    let mut put = |name: &str, value: Value| body.as_object_mut().unwrap().insert(name.to_owned(), value);
    if let Some(areas) = &change.areas {
        put("areas", json!(areas.iter().map(Name::as_str).collect::<Vec<_>>()));
    }
    match change.window {
        Edit::Keep => {}
        Edit::Clear => drop(put("window", Value::Null)),
        Edit::To(parts) => {
            let mut window = Map::new();
            window.extend(parts.start.map(|at| ("start".to_owned(), json!(rfc3339(at)))));
            window.extend(parts.end.map(|at| ("end".to_owned(), json!(rfc3339(at)))));
            if parts.cutoff != Edit::Keep {
                window.insert("cutoff".to_owned(), json!(parts.cutoff.of(None).map(rfc3339)));
            }
            put("window", window.into());
        }
    }
    if !change.labels.is_empty() {
        let value = |value: &Option<Name>| json!(value.as_ref().map(Name::as_str));
        put("labels", change.labels.iter().map(|(k, v)| (k.to_string(), value(v))).collect::<Map<_, _>>().into());
    }
    if let Some(mode) = change.mode {
        put("mode", json!(mode_text(mode)));
    }
    let rules = change.rules;
    for (name, edit) in [
        ("hold_ttl_max_ms", rules.hold_ttl_max_ms),
        ("hold_life_max_ms", rules.hold_life_max_ms),
        ("retire_after_ms", rules.retire_after_ms),
    ] {
        if edit != Edit::Keep {
            put(name, json!(edit.of(None)));
        }
    }
    if let Some(is_unique) = rules.unique_order_ref {
        put("unique_order_ref", json!(is_unique));
    }
    body
}

fn spec_body(spec: &PoolSpec) -> Value {
    let mut body = json!({
        "limits": units(&spec.limits),
        "areas": spec.areas.iter().map(Name::as_str).collect::<Vec<_>>(),
        "labels": spec.labels.iter().map(|(k, v)| (k.to_string(), json!(v.as_str()))).collect::<Map<_, _>>(),
        "mode": mode_text(spec.mode),
        "hold_ttl_max_ms": spec.rules.hold_ttl_max_ms,
        "hold_life_max_ms": spec.rules.hold_life_max_ms,
        "unique_order_ref": spec.rules.unique_order_ref,
        "retire_after_ms": spec.rules.retire_after_ms,
    });
    if let Some(window) = spec.window {
        body["window"] = json!({ "start": rfc3339(window.start), "end": rfc3339(window.end) });
        if let Some(cutoff) = window.cutoff {
            body["window"]["cutoff"] = json!(rfc3339(cutoff));
        }
    }
    body
}
