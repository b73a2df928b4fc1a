//! What goes out, as JSON: views over the domain's values. The domain itself knows no format.

use super::schema;
use crate::domain::{Amounts, ChainedEvent, EventBody, Micros, Name, Origin, Pool, ReservationId, Status, Window};
use crate::time::Shown;
use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Serialize, Serializer};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use utoipa::ToSchema;

/// Units by dimension.
pub struct Units<'a>(pub &'a Amounts);

impl Serialize for Units<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (dimension, units) in self.0.iter() {
            map.serialize_entry(dimension.as_str(), &units)?;
        }
        map.end()
    }
}

/// An instant, RFC 3339.
#[derive(Clone, Copy)]
pub struct Time(pub Micros);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Shown(self.0).fmt(f)
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

struct Names<'a>(&'a BTreeSet<Name>);

impl Serialize for Names<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut seq = serializer.serialize_seq(Some(self.0.len()))?;
        for name in self.0 {
            seq.serialize_element(name.as_str())?;
        }
        seq.end()
    }
}

struct Labels<'a>(&'a BTreeMap<Name, Name>);

impl Serialize for Labels<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(label, value)| (label.as_str(), value.as_str())))
    }
}

/// Anything that says itself as text.
struct Text<T>(T);

impl<T: std::fmt::Display> Serialize for Text<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// Where a decision stands in the log, so that it can be found and checked there.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Proof)]
pub struct ProofDto<'a> {
    /// The number of the partition.
    #[schema(value_type = schema::Partition)]
    partition: u32,
    /// The event's place in it.
    #[schema(value_type = schema::Seq)]
    seq: u64,
    /// The owner that decided: how many the partition has had.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = schema::Count, required = false)]
    epoch: Option<u32>,
    /// The pool's limits after it; of an answer that a key had before, as they were then.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = schema::Units, required = false)]
    limits: Option<Units<'a>>,
    /// The pool's units in use after it; of an answer that a key had before, as they were then.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = schema::Units, required = false)]
    used: Option<Units<'a>>,
    /// The event's digest, which chains all before it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = schema::Digest, required = false)]
    digest: Option<Hex<'a>>,
    /// Of a call that changed nothing: the event that did what the answer tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = OriginDto, required = false)]
    original: Option<OriginDto>,
}

/// The event that did what an answer tells, of the same partition.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Origin)]
pub struct OriginDto {
    /// Its place in the partition.
    #[schema(value_type = schema::Seq)]
    seq: u64,
    /// When the key was first answered so, as long as that is kept: of a refusal, or of a change.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = schema::Instant, required = false)]
    decided_at: Option<Time>,
}

/// An event's place in the log.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Place)]
pub struct PlaceDto {
    /// The number of the partition.
    #[schema(value_type = schema::Partition)]
    pub partition: u32,
    /// The event's place in it.
    #[schema(value_type = schema::Seq)]
    pub seq: u64,
}

/// A pool's counters at the time of a read.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Counters)]
pub struct CountersDto<'a> {
    /// The first event of the partition that the read does not include.
    #[schema(value_type = schema::Seq)]
    pub next_seq: u64,
    /// Its limits by dimension.
    #[schema(value_type = schema::Units)]
    pub limits: Units<'a>,
    /// Its units in use.
    #[schema(value_type = schema::Units)]
    pub used: Units<'a>,
}

struct Hex<'a>(&'a [u8; 16]);

impl Serialize for Hex<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let digit = |half: u8| b"0123456789abcdef".get(usize::from(half)).copied().unwrap_or_default();
        let mut text = [0; 32];
        for (pair, byte) in text.as_chunks_mut::<2>().0.iter_mut().zip(self.0) {
            *pair = [digit(byte >> 4), digit(byte & 15)];
        }
        serializer.serialize_str(std::str::from_utf8(&text).unwrap_or_default())
    }
}

impl<'a> ProofDto<'a> {
    /// Of a decision; the counters where the body does not tell them anyway.
    pub fn of(decided: &'a ChainedEvent) -> ProofDto<'a> {
        let event = &decided.event;
        let entry = event.body.entry();
        let rejection = event.body.rejection();
        ProofDto {
            partition: event.partition,
            seq: event.seq,
            epoch: Some(event.epoch),
            limits: entry.map(|e| &e.limits).or(rejection.and_then(|r| r.limits.as_ref())).map(Units),
            used: entry.map(|e| &e.used).or(rejection.and_then(|r| r.used.as_ref())).map(Units),
            digest: Some(Hex(&decided.digest.0)),
            original: match event.body {
                EventBody::Repeated(_, Some(Origin { seq, decided_at })) => {
                    Some(OriginDto { seq, decided_at: decided_at.map(Time) })
                }
                _ => None,
            },
        }
    }
}

/// The time a pool stands for.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Window)]
pub struct WindowDto {
    /// When the slot begins.
    #[schema(value_type = schema::Instant)]
    start: Time,
    /// When the slot is over.
    #[schema(value_type = schema::Instant)]
    end: Time,
    /// From when nothing is admitted any more; the end when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = schema::Instant, required = false)]
    cutoff: Option<Time>,
}

impl From<Window> for WindowDto {
    fn from(window: Window) -> WindowDto {
        WindowDto { start: Time(window.start), end: Time(window.end), cutoff: window.cutoff.map(Time) }
    }
}

/// A pool as it is.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Pool)]
pub struct PoolDto<'a> {
    /// The id of the pool.
    #[schema(value_type = schema::PoolId)]
    pool: &'a str,
    /// Units it may admit.
    #[schema(value_type = schema::Units)]
    limits: Units<'a>,
    /// Units admitted and not given back.
    #[schema(value_type = schema::Units)]
    used: Units<'a>,
    /// Units still free; 0 where more is admitted than the limit.
    #[schema(value_type = schema::Units)]
    remaining: Remaining<'a>,
    /// `open`, `paused` or `closed`.
    #[schema(value_type = schema::Mode)]
    mode: &'static str,
    /// Whether more is admitted than the limit in some dimension.
    over_committed: bool,
    /// Where it is offered.
    #[schema(value_type = schema::Areas)]
    areas: Names<'a>,
    /// The time it stands for, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = WindowDto, required = false)]
    window: Option<WindowDto>,
    /// What else is said of it.
    #[schema(value_type = schema::Labels)]
    labels: Labels<'a>,
    /// The longest time that a hold gets at once, if that is bounded.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = schema::HoldTtl, required = false)]
    hold_ttl_max_ms: Option<u64>,
    /// The longest whole life of a hold, if that is bounded.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = schema::HoldLife, required = false)]
    hold_life_max_ms: Option<u64>,
    /// Whether an order may have one live reservation at most; no when absent.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false)]
    unique_order_ref: bool,
    /// How often the planner's word has changed, from 1: its ETag.
    #[schema(value_type = schema::Version)]
    version: u64,
    /// Of a PUT to a pool that was there: the version that this one replaces, with all that the PUT did not name.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = schema::Version, required = false)]
    replaced_version: Option<u64>,
    /// Of the decision that made it so; not in reads.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = ProofDto<'a>, required = false)]
    proof: Option<ProofDto<'a>>,
}

struct Remaining<'a>(&'a Pool);

impl Serialize for Remaining<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let pool = self.0;
        serializer.collect_map(pool.spec.limits.iter().map(|(d, _)| (Text(d), pool.remaining(d).unwrap_or_default())))
    }
}

impl<'a> PoolDto<'a> {
    /// With the proof of the decision that made it so, if it is one's answer.
    pub fn of(pool: &'a Pool, decided: Option<&'a ChainedEvent>) -> PoolDto<'a> {
        PoolDto {
            pool: pool.id.as_str(),
            limits: Units(&pool.spec.limits),
            used: Units(&pool.used),
            remaining: Remaining(pool),
            mode: schema::mode_code(pool.spec.mode),
            over_committed: pool.is_over_committed(),
            areas: Names(&pool.spec.areas),
            window: pool.spec.window.map(WindowDto::from),
            labels: Labels(&pool.spec.labels),
            hold_ttl_max_ms: pool.spec.rules.hold_ttl_max_ms,
            hold_life_max_ms: pool.spec.rules.hold_life_max_ms,
            unique_order_ref: pool.spec.rules.unique_order_ref,
            version: pool.version,
            replaced_version: None,
            proof: decided.map(ProofDto::of),
        }
    }
}

impl PoolDto<'_> {
    /// With the version that a PUT has replaced, if it has.
    #[must_use]
    pub fn replacing(self, replaced_version: Option<u64>) -> Self {
        PoolDto { replaced_version, ..self }
    }
}

/// Pools, and how true they are.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Pools)]
pub struct PoolsDto<'a> {
    /// The pools, ordered by id.
    pub pools: Vec<PoolDto<'a>>,
    /// Of each partition that could be read, the sequence number after the last event that this answer knows of.
    #[schema(value_type = schema::Places)]
    pub as_of: &'a BTreeMap<u32, u64>,
    /// Partitions that could not be read: what they hold is missing here. Empty when nothing is.
    pub incomplete: Vec<IncompleteDto<'a>>,
    /// For how long this may have been out of date.
    #[schema(value_type = schema::Count)]
    pub staleness_ms: u64,
    /// The cursor of the next page, when there is more.
    #[schema(value_type = Option<schema::PoolId>, required = true)]
    pub next: Option<&'a str>,
}

/// A partition whose pools an answer does not hold.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Incomplete)]
pub struct IncompleteDto<'a> {
    /// The number of the partition.
    #[schema(value_type = schema::Partition)]
    pub partition: u32,
    /// Why it could not be read.
    pub reason: &'a str,
}

/// A reservation, as decided or as read.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Reservation)]
pub struct ReservationDto<'a> {
    /// The id of the reservation.
    #[serde(serialize_with = "as_text")]
    #[schema(value_type = schema::ReservationId)]
    pub reservation: ReservationId,
    /// The id of its pool.
    #[schema(value_type = schema::PoolId)]
    pub pool: &'a str,
    /// `confirmed`, `held`, `released` or `expired`.
    #[schema(value_type = schema::Status)]
    pub status: &'static str,
    /// Units it takes, or took.
    #[schema(value_type = schema::Demand)]
    pub demand: Units<'a>,
    /// Of an amend: units it took before.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = schema::Demand, required = false)]
    pub demand_before: Option<Units<'a>>,
    /// When the hold expires.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = schema::Instant, required = false)]
    pub hold_until: Option<Time>,
    /// The caller's order.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = schema::Name, required = false)]
    pub order_ref: Option<&'a str>,
    /// Of a decision: where it stands in the log.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = ProofDto<'a>, required = false)]
    pub proof: Option<ProofDto<'a>>,
    /// Of a read: the event that last changed the status, what it takes, or until when it is held.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = PlaceDto, required = false)]
    pub last_event: Option<PlaceDto>,
    /// Of a read: the pool's counters at the time of the read, which are not those of that event.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = CountersDto<'a>, required = false)]
    pub pool_now: Option<CountersDto<'a>>,
}

/// A reservation given back.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Released)]
pub struct ReleasedDto<'a> {
    /// The id of the reservation.
    #[serde(serialize_with = "as_text")]
    #[schema(value_type = schema::ReservationId)]
    pub reservation: ReservationId,
    /// `released`, or `expired` when its hold had run out before.
    #[schema(value_type = schema::End)]
    pub status: &'static str,
    /// Where the release stands in the log.
    pub proof: ProofDto<'a>,
}

fn as_text<S: Serializer>(id: &ReservationId, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(id)
}

fn as_text_if_any<S: Serializer>(id: &Option<ReservationId>, serializer: S) -> Result<S::Ok, S::Error> {
    match id {
        Some(id) => as_text(id, serializer),
        None => serializer.serialize_none(),
    }
}

/// A status's name in bodies; `None` of an id under which nothing was ever admitted.
pub fn status_code(status: Status) -> Option<&'static str> {
    match status {
        Status::Held => Some("held"),
        Status::Confirmed => Some("confirmed"),
        Status::Released => Some("released"),
        Status::Expired => Some("expired"),
        Status::Void | Status::Refused { .. } => None,
    }
}

/// A refusal, as an RFC 9457 problem.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Problem)]
pub struct ProblemDto<'a> {
    /// `urn:headroom:problem:` and the code.
    #[serde(rename = "type")]
    #[schema(value_type = String, pattern = "^urn:headroom:problem:[a-z_]+$")]
    pub kind: TypeUrn,
    /// What happened, the same for every problem of this code.
    pub title: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// What is wrong this time, with which value, and what to do.
    pub detail: &'a str,
    /// Stable, to branch on.
    #[schema(value_type = schema::Code)]
    pub code: &'static str,
    /// `not_applied`: nothing of it happened or will. `unknown`: it may yet; repeat it with the same key.
    #[schema(value_type = schema::Effect)]
    pub outcome: &'static str,
    /// Whether the same request, under the same key, may succeed later although nobody changes anything.
    pub retryable: bool,
    /// Of a shed call, why.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = schema::ShedReason, required = false)]
    pub reason: Option<&'static str>,
    /// The first dimension that refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = schema::Dimension, required = false)]
    pub dimension: Option<String>,
    /// What the pool had left.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = schema::Units, required = false)]
    pub remaining: Option<Units<'a>>,
    /// The reservation that is over, or no hold, or the one that the order has already.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "as_text_if_any")]
    #[schema(value_type = schema::ReservationId, required = false)]
    pub reservation: Option<ReservationId>,
    /// Of a hold that is refused more time, the latest instant until which it could last.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = schema::Instant, required = false)]
    pub hold_until: Option<Time>,
    /// Of a decided refusal.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = ProofDto<'a>, required = false)]
    pub proof: Option<ProofDto<'a>>,
    /// The request's id, as in `X-Request-Id`.
    pub trace_id: &'a str,
}

/// `urn:headroom:problem:` and the code.
pub struct TypeUrn(pub &'static str);

impl Serialize for TypeUrn {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("urn:headroom:problem:{}", self.0))
    }
}
