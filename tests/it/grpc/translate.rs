//! An HTTP request as the gRPC call that says the same, and its answer as the JSON that HTTP would answer. So whatever is
//! asked of HTTP can be asked of gRPC, and the answers can be compared.

use super::client::capacity_client::CapacityClient;
use super::problem;
use headroom::api::grpc::v1::{self, change_pool_request as change, define_pool_request::Expected, window_change};
use headroom::domain::Micros;
use headroom::time::Shown;
use prost_types::Timestamp;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use tonic::transport::Channel;
use tonic::{Code, Status};

/// What came of a call.
#[derive(Clone, PartialEq, Debug)]
pub struct Answer {
    pub code: Code,
    /// As HTTP would write it.
    pub body: Value,
    pub is_replayed: bool,
}

/// A request as HTTP has it.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    pub method: &'a str,
    pub path: &'a str,
    /// Idempotency-Key, If-Match and If-None-Match, in lower case.
    pub headers: &'a [(&'a str, String)],
    pub body: &'a Value,
}

impl Asked<'_> {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| *other == name).map(|(_, value)| value.as_str())
    }

    fn key(&self) -> String {
        self.header("idempotency-key").unwrap_or_default().to_owned()
    }

    fn version(&self) -> Option<u64> {
        self.header("if-match").map(|text| text.trim_matches('"').parse().unwrap())
    }

    fn query(&self, name: &str) -> Option<&str> {
        let pairs = self.path.split_once('?')?.1.split('&');
        pairs.filter_map(|pair| pair.split_once('=')).find(|(other, _)| *other == name).map(|(_, value)| value)
    }

    fn is_fresh(&self) -> bool {
        self.query("fresh") == Some("true")
    }

    fn units(&self, name: &str) -> BTreeMap<String, u64> {
        members(&self.body[name], |units| units.as_u64().unwrap())
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.body[name].as_u64()
    }
}

/// Makes the call that says the same as this request.
pub async fn ask(client: &mut CapacityClient<Channel>, asked: Asked<'_>) -> Answer {
    let path = asked.path.split('?').next().unwrap();
    let parts: Vec<_> = path.trim_start_matches("/v1/").split('/').collect();
    match (asked.method, &parts[..]) {
        ("GET", ["reservations", id]) => {
            let request = v1::GetReservationRequest { reservation: (*id).to_owned(), fresh: asked.is_fresh() };
            told(client.get_reservation(request).await, reservation)
        }
        (_, ["reservations", rest @ ..]) => command(client, asked, rest).await,
        (method, parts) => pool_call(client, asked, method, parts).await,
    }
}

async fn command(client: &mut CapacityClient<Channel>, asked: Asked<'_>, rest: &[&str]) -> Answer {
    let (id, idempotency_key) = (rest.first().copied().unwrap_or_default().to_owned(), asked.key());
    let (demand, hold_ttl_ms) = (asked.units("demand"), asked.number("hold_ttl_ms"));
    match (asked.method, rest) {
        ("POST", []) => {
            let (pool, order_ref) = (text(&asked.body["pool"]), text(&asked.body["order_ref"]));
            let request = v1::ReserveRequest { pool, demand, hold_ttl_ms, order_ref, idempotency_key };
            told(client.reserve(request).await, reservation)
        }
        ("PATCH", [_]) => {
            told(client.amend(v1::AmendRequest { reservation: id, demand, idempotency_key }).await, reservation)
        }
        ("DELETE", [_]) => {
            told(client.release(v1::ReleaseRequest { reservation: id, idempotency_key }).await, |released| {
                let status = status(released.status());
                let is_replayed = released.replayed;
                let body =
                    json!({ "reservation": released.reservation, "status": status, "proof": proof(released.proof) });
                (body, is_replayed)
            })
        }
        ("POST", [_, "confirm"]) => {
            told(client.confirm(v1::ConfirmRequest { reservation: id, idempotency_key }).await, reservation)
        }
        ("POST", [_, "extend"]) => {
            told(client.extend(v1::ExtendRequest { reservation: id, hold_ttl_ms, idempotency_key }).await, reservation)
        }
        _ => panic!("no call says {asked:?}"),
    }
}

async fn pool_call(client: &mut CapacityClient<Channel>, asked: Asked<'_>, method: &str, parts: &[&str]) -> Answer {
    let body = asked.body;
    match (method, parts) {
        ("POST", ["availability"]) => {
            let request = v1::AvailabilityRequest {
                areas: texts(&body["areas"]),
                from: instant(&body["from"]),
                to: instant(&body["to"]),
                demand: asked.units("demand"),
                labels: members(&body["labels"], text),
                limit: asked.number("limit"),
                cursor: text(&body["cursor"]),
                fresh: asked.is_fresh(),
            };
            told(client.availability(request).await, pools)
        }
        ("GET", ["pools"]) => {
            let limit = asked.query("limit").map(|limit| limit.parse().unwrap());
            let cursor = asked.query("cursor").unwrap_or_default().to_owned();
            let request = v1::ListPoolsRequest { limit, cursor, fresh: asked.is_fresh() };
            told(client.list_pools(request).await, pools)
        }
        ("GET", ["pools", id, "reservations"]) => {
            let request = v1::ListReservationsRequest {
                pool: (*id).to_owned(),
                status: asked.query("status").map_or(0, status_number),
                limit: asked.query("limit").map(|limit| limit.parse().unwrap()),
                cursor: asked.query("cursor").unwrap_or_default().to_owned(),
                fresh: asked.is_fresh(),
            };
            told(client.list_reservations(request).await, reservations)
        }
        ("GET", ["pools", id]) => {
            let request = v1::GetPoolRequest { pool: (*id).to_owned(), fresh: asked.is_fresh() };
            told(client.get_pool(request).await, pool)
        }
        ("PUT", ["pools", id]) => told(client.define_pool(definition(asked, id)).await, pool),
        ("PATCH", ["pools", id]) => told(client.change_pool(pool_change(asked, id)).await, pool),
        ("DELETE", ["pools", id]) => {
            let request = v1::RetirePoolRequest {
                pool: (*id).to_owned(),
                with_reservations: asked.query("with_reservations") == Some("true"),
                expected_version: asked.version(),
                idempotency_key: asked.key(),
            };
            told(client.retire_pool(request).await, pool)
        }
        ("POST", ["pools", id, "mode"]) => {
            let request = v1::SetModeRequest {
                pool: (*id).to_owned(),
                mode: mode(&body["mode"]).into(),
                expected_version: asked.version(),
                idempotency_key: asked.key(),
            };
            told(client.set_mode(request).await, pool)
        }
        _ => panic!("no call says {asked:?}"),
    }
}

fn definition(asked: Asked<'_>, id: &str) -> v1::DefinePoolRequest {
    let body = asked.body;
    let present = |existence: v1::Existence| Expected::ExpectedExistence(existence.into());
    let expected = match (asked.header("if-match"), asked.header("if-none-match")) {
        (Some("*"), _) => Some(present(v1::Existence::Present)),
        (Some(_), _) => asked.version().map(Expected::ExpectedVersion),
        (None, Some(_)) => Some(present(v1::Existence::Absent)),
        (None, None) => None,
    };
    let window = body["window"].as_object().map(|window| v1::Window {
        start: instant(&window.get("start").cloned().unwrap_or_default()),
        end: instant(&window.get("end").cloned().unwrap_or_default()),
        cutoff: instant(&window.get("cutoff").cloned().unwrap_or_default()),
    });
    v1::DefinePoolRequest {
        pool: id.to_owned(),
        limits: asked.units("limits"),
        areas: texts(&body["areas"]),
        window,
        labels: members(&body["labels"], text),
        mode: mode(&body["mode"]).into(),
        hold_ttl_max_ms: asked.number("hold_ttl_max_ms"),
        hold_life_max_ms: asked.number("hold_life_max_ms"),
        unique_order_ref: body["unique_order_ref"].as_bool().unwrap_or_default(),
        idempotency_key: asked.key(),
        retire_after_ms: asked.number("retire_after_ms"),
        expected,
    }
}

fn pool_change(asked: Asked<'_>, id: &str) -> v1::ChangePoolRequest {
    let body = asked.body;
    let cleared = |name: &str| body.get(name).is_some_and(Value::is_null);
    let window = body["window"].as_object().map(|window| {
        let part = |name: &str| instant(window.get(name).unwrap_or(&Value::Null));
        let cutoff = part("cutoff").map(window_change::CutoffChange::Cutoff);
        let clear = || window.contains_key("cutoff").then_some(window_change::CutoffChange::ClearCutoff(v1::Clear {}));
        let cutoff_change = cutoff.or_else(clear);
        change::WindowChange::Window(v1::WindowChange { start: part("start"), end: part("end"), cutoff_change })
    });
    let (set, clear): (Vec<_>, Vec<_>) =
        body["labels"].as_object().into_iter().flatten().partition(|(_, value)| !value.is_null());
    let ttl = asked.number("hold_ttl_max_ms").map(change::HoldTtlMax::HoldTtlMaxMs);
    let life = asked.number("hold_life_max_ms").map(change::HoldLifeMax::HoldLifeMaxMs);
    let retire = asked.number("retire_after_ms").map(change::RetireAfter::RetireAfterMs);
    let clear_retire = || change::RetireAfter::ClearRetireAfter(v1::Clear {});
    let clear_ttl = || change::HoldTtlMax::ClearHoldTtlMax(v1::Clear {});
    let clear_life = || change::HoldLifeMax::ClearHoldLifeMax(v1::Clear {});
    v1::ChangePoolRequest {
        pool: id.to_owned(),
        limits: asked.units("limits"),
        adjust: members(&body["adjust"], |delta| delta.as_i64().unwrap()),
        areas: body["areas"].is_array().then(|| v1::Areas { names: texts(&body["areas"]) }),
        labels: set.into_iter().map(|(label, value)| (label.clone(), text(value))).collect(),
        clear_labels: clear.into_iter().map(|(label, _)| label.clone()).collect(),
        mode: mode(&body["mode"]).into(),
        unique_order_ref: body.get("unique_order_ref").map(|is| is.as_bool().unwrap_or_default()),
        expected_version: asked.version(),
        idempotency_key: asked.key(),
        window_change: window.or_else(|| cleared("window").then_some(change::WindowChange::ClearWindow(v1::Clear {}))),
        hold_ttl_max: ttl.or_else(|| cleared("hold_ttl_max_ms").then(clear_ttl)),
        hold_life_max: life.or_else(|| cleared("hold_life_max_ms").then(clear_life)),
        retire_after: retire.or_else(|| cleared("retire_after_ms").then(clear_retire)),
    }
}

fn members<T>(value: &Value, read: impl Fn(&Value) -> T) -> BTreeMap<String, T> {
    value.as_object().into_iter().flatten().map(|(name, value)| (name.clone(), read(value))).collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().map(text).collect()
}

fn instant(value: &Value) -> Option<Timestamp> {
    let at: jiff::Timestamp = value.as_str()?.parse().unwrap();
    Some(Timestamp { seconds: at.as_second(), nanos: at.subsec_nanosecond() })
}

fn mode(value: &Value) -> v1::Mode {
    match value.as_str() {
        None => v1::Mode::Unspecified,
        Some("open") => v1::Mode::Open,
        Some("paused") => v1::Mode::Paused,
        Some("closed") => v1::Mode::Closed,
        Some(other) => panic!("no message says {other}"),
    }
}

fn told<T>(answer: Result<tonic::Response<T>, Status>, body: impl FnOnce(T) -> (Value, bool)) -> Answer {
    match answer {
        Ok(answer) => {
            let (body, is_replayed) = body(answer.into_inner());
            Answer { code: Code::Ok, body, is_replayed }
        }
        Err(status) => {
            let problem = problem(&status);
            let is_replayed = problem.proof.as_ref().is_some_and(|proof| proof.original.is_some());
            Answer { code: status.code(), body: refusal(problem), is_replayed }
        }
    }
}

/// Puts members that say something into an object.
fn object(members: impl IntoIterator<Item = (&'static str, Value)>) -> Value {
    let is_said = |value: &Value| !value.is_null() && *value != json!("") && *value != json!({});
    members
        .into_iter()
        .filter(|(_, value)| is_said(value))
        .map(|(name, value)| (name.to_owned(), value))
        .collect::<Map<_, _>>()
        .into()
}

fn time(at: Option<Timestamp>) -> Value {
    let us = |at: Timestamp| Micros(at.seconds as u64 * 1_000_000 + at.nanos as u64 / 1_000);
    json!(at.map(|at| Shown(us(at)).to_string()))
}

fn proof(proof: Option<v1::Proof>) -> Value {
    let Some(v1::Proof { partition, seq, epoch, limits, used, digest, original }) = proof else { return Value::Null };
    let original = original.map(|of| object([("seq", json!(of.seq)), ("decided_at", time(of.decided_at))]));
    object([
        ("partition", json!(partition)),
        ("seq", json!(seq)),
        ("epoch", json!(epoch)),
        ("limits", json!(limits)),
        ("used", json!(used)),
        ("digest", json!(digest)),
        ("original", json!(original)),
    ])
}

fn status(status: v1::reservation::Status) -> &'static str {
    match status {
        v1::reservation::Status::Unspecified => "none",
        v1::reservation::Status::Held => "held",
        v1::reservation::Status::Confirmed => "confirmed",
        v1::reservation::Status::Released => "released",
        v1::reservation::Status::Expired => "expired",
    }
}

/// The number of a status; one that there is not has none.
fn status_number(word: &str) -> i32 {
    match word {
        "held" => v1::reservation::Status::Held.into(),
        "confirmed" => v1::reservation::Status::Confirmed.into(),
        "released" => v1::reservation::Status::Released.into(),
        "expired" => v1::reservation::Status::Expired.into(),
        _ => 99,
    }
}

fn counters(told: Option<v1::Counters>) -> Value {
    json!(told.map(|now| json!({ "next_seq": now.next_seq, "limits": now.limits, "used": now.used })))
}

fn reservations(told: v1::ReservationList) -> (Value, bool) {
    let body = json!({
        "reservations": told.reservations.into_iter().map(|of| reservation(of).0).collect::<Vec<_>>(),
        "pool_now": counters(told.pool_now),
        "staleness_ms": told.staleness_ms,
        "next": Some(told.next).filter(|next| !next.is_empty()),
    });
    (body, false)
}

fn reservation(told: v1::Reservation) -> (Value, bool) {
    let place = told.last_event.map(|place| json!({ "partition": place.partition, "seq": place.seq }));
    let now = counters(told.pool_now.clone());
    let body = object([
        ("reservation", json!(told.reservation)),
        ("pool", json!(told.pool)),
        ("status", json!(status(told.status()))),
        ("demand", json!(told.demand)),
        ("demand_before", json!(told.demand_before)),
        ("hold_until", time(told.hold_until)),
        ("order_ref", json!(told.order_ref)),
        ("proof", proof(told.proof)),
        ("last_event", json!(place)),
        ("pool_now", now),
    ]);
    (body, told.replayed)
}

fn pool(told: v1::Pool) -> (Value, bool) {
    let window = told.window.map(|window| {
        object([("start", time(window.start)), ("end", time(window.end)), ("cutoff", time(window.cutoff))])
    });
    let mode = match v1::Mode::try_from(told.mode).unwrap() {
        v1::Mode::Unspecified => "none",
        v1::Mode::Open => "open",
        v1::Mode::Paused => "paused",
        v1::Mode::Closed => "closed",
    };
    let mut body = object([
        ("pool", json!(told.pool)),
        ("mode", json!(mode)),
        ("over_committed", json!(told.over_committed)),
        ("areas", json!(told.areas)),
        ("window", json!(window)),
        ("hold_ttl_max_ms", json!(told.hold_ttl_max_ms)),
        ("hold_life_max_ms", json!(told.hold_life_max_ms)),
        ("unique_order_ref", json!(told.unique_order_ref.then_some(true))),
        ("retire_after_ms", json!(told.retire_after_ms)),
        ("live_reservations", json!(told.live_reservations)),
        ("version", json!(told.version)),
        ("replaced_version", json!(told.replaced_version)),
        ("proof", proof(told.proof)),
    ]);
    // These are there also when they are empty.
    for (name, value) in [("limits", told.limits), ("used", told.used), ("remaining", told.remaining)] {
        body[name] = json!(value);
    }
    body["labels"] = json!(told.labels);
    (body, told.replayed)
}

fn pools(told: v1::PoolList) -> (Value, bool) {
    let incomplete = told.incomplete.iter().map(|of| json!({ "partition": of.partition, "reason": of.reason }));
    let as_of: BTreeMap<String, u64> =
        told.as_of.iter().map(|(partition, seq)| (partition.to_string(), *seq)).collect();
    let body = json!({
        "incomplete": incomplete.collect::<Vec<_>>(),
        "as_of": as_of,
        "staleness_ms": told.staleness_ms,
        "next": Some(&told.next).filter(|next| !next.is_empty()),
        "pools": told.pools.into_iter().map(|of| pool(of).0).collect::<Vec<_>>(),
    });
    (body, false)
}

fn refusal(told: v1::Problem) -> Value {
    let outcome = match told.outcome() {
        v1::problem::Outcome::Unspecified => "none",
        v1::problem::Outcome::NotApplied => "not_applied",
        v1::problem::Outcome::Unknown => "unknown",
    };
    let code = &told.code;
    object([
        ("type", json!(format!("urn:headroom:problem:{code}"))),
        ("code", json!(code)),
        ("title", json!(told.title)),
        ("detail", json!(told.detail)),
        ("outcome", json!(outcome)),
        ("retryable", json!(told.retryable)),
        ("reason", json!(told.reason)),
        ("dimension", json!(told.dimension)),
        ("remaining", json!(told.remaining)),
        ("reservation", json!(told.reservation)),
        ("hold_until", time(told.hold_until)),
        ("live_reservations", json!(told.live_reservations)),
        ("retired_until", time(told.retired_until)),
        ("proof", proof(told.proof)),
        ("trace_id", json!(told.trace_id)),
    ])
}
