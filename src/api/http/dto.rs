//! The JSON of answers: views over the domain's values. The domain itself knows no format.

use super::schema;
use crate::domain::{
    Amounts, ChainedEvent, EventBody, Micros, Name, Origin, Pool, Reservation, ReservationId, Status, Window,
};
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

/// Any value that is written as text.
struct Text<T>(T);

impl<T: std::fmt::Display> Serialize for Text<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// Where a decision is in the log, so that it can be found and checked there.
#[derive(Serialize, ToSchema)]
#[schema(as = Proof)]
pub struct ProofDto<'a> {
    /// The number of the partition.
    #[schema(value_type = schema::Partition)]
    partition: u32,
    /// The event's sequence number in the partition.
    #[schema(value_type = schema::Seq)]
    seq: u64,
    /// The owner that decided, as a number: how many owners the partition has had.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = schema::Count, required = false)]
    epoch: Option<u32>,
    /// The pool's limits after the decision; for an answer that the key had before, as they were then.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = schema::Units, required = false)]
    limits: Option<Units<'a>>,
    /// The pool's units in use after the decision; for an answer that the key had before, as they were then.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = schema::Units, required = false)]
    used: Option<Units<'a>>,
    /// The event's digest, which depends on all events before it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = schema::Digest, required = false)]
    digest: Option<Hex<'a>>,
    /// For a call that changed nothing: the earlier event that the answer reports.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = OriginDto, required = false)]
    original: Option<OriginDto>,
}

/// The earlier event that an answer reports, in the same partition.
#[derive(Serialize, ToSchema)]
#[schema(as = Origin)]
pub struct OriginDto {
    /// Its sequence number in the partition.
    #[schema(value_type = schema::Seq)]
    seq: u64,
    /// When the key first got this answer, as long as that is remembered: for a refusal or a change.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = schema::Instant, required = false)]
    decided_at: Option<Time>,
}

/// The position of an event in the log.
#[derive(Serialize, ToSchema)]
#[schema(as = Place)]
pub struct PlaceDto {
    /// The number of the partition.
    #[schema(value_type = schema::Partition)]
    pub partition: u32,
    /// The event's sequence number in the partition.
    #[schema(value_type = schema::Seq)]
    pub seq: u64,
}

/// A pool's counters at the time of a read.
#[derive(Serialize, ToSchema)]
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

impl<'a> CountersDto<'a> {
    /// The counters of a pool that was read before the event `next_seq`.
    pub fn of(pool: &'a Pool, next_seq: u64) -> CountersDto<'a> {
        CountersDto { next_seq, limits: Units(&pool.spec.limits), used: Units(&pool.used) }
    }
}

impl<'a> ProofDto<'a> {
    /// The proof of a decision, with the counters where the body does not have them anyway.
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

/// The window of time that a pool covers.
#[derive(Serialize, ToSchema)]
#[schema(as = Window)]
pub struct WindowDto {
    /// When the slot begins.
    #[schema(value_type = schema::Instant)]
    start: Time,
    /// When the slot is over.
    #[schema(value_type = schema::Instant)]
    end: Time,
    /// When the pool stops admitting; the end of the window when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = schema::Instant, required = false)]
    cutoff: Option<Time>,
}

impl From<Window> for WindowDto {
    fn from(window: Window) -> WindowDto {
        WindowDto { start: Time(window.start), end: Time(window.end), cutoff: window.cutoff.map(Time) }
    }
}

/// The state of a pool.
#[derive(Serialize, ToSchema)]
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
    /// The areas where it is offered.
    #[schema(value_type = schema::Areas)]
    areas: Names<'a>,
    /// The window of time that it covers, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = WindowDto, required = false)]
    window: Option<WindowDto>,
    /// Other properties of the pool, as names and values.
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
    /// How long after the end of its window it retires by itself; 7 days when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = schema::RetireAfter, required = false)]
    retire_after_ms: Option<u64>,
    /// How often its definition has changed, counted from 1; this is its ETag.
    #[schema(value_type = schema::Version)]
    version: u64,
    /// For a PUT to an existing pool: the version that this one replaces. What the PUT did not name is cleared.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = schema::Version, required = false)]
    replaced_version: Option<u64>,
    /// Of a pool that retires: the number of reservations that lived and ended with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = schema::Count, required = false)]
    live_reservations: Option<u64>,
    /// The proof of the decision that this answer reports; absent in reads.
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
    /// The view of a pool, with the proof of the decision if it answers one.
    pub fn of(pool: &'a Pool, decided: Option<&'a ChainedEvent>) -> PoolDto<'a> {
        PoolDto {
            pool: pool.id.as_str(),
            limits: Units(&pool.spec.limits),
            used: Units(&pool.used),
            remaining: Remaining(pool),
            mode: pool.spec.mode.code(),
            over_committed: pool.is_over_committed(),
            areas: Names(&pool.spec.areas),
            window: pool.spec.window.map(WindowDto::from),
            labels: Labels(&pool.spec.labels),
            hold_ttl_max_ms: pool.spec.rules.hold_ttl_max_ms,
            hold_life_max_ms: pool.spec.rules.hold_life_max_ms,
            unique_order_ref: pool.spec.rules.unique_order_ref,
            retire_after_ms: pool.spec.rules.retire_after_ms,
            version: pool.version,
            replaced_version: None,
            live_reservations: decided.and_then(|decided| decided.event.body.retirement()).map(|ended| ended.live),
            proof: decided.map(ProofDto::of),
        }
    }
}

impl PoolDto<'_> {
    /// Adds the version that a PUT has replaced, if there is one.
    #[must_use]
    pub fn replacing(self, replaced_version: Option<u64>) -> Self {
        PoolDto { replaced_version, ..self }
    }
}

/// Pools, with how complete and how fresh the list is.
#[derive(Serialize, ToSchema)]
#[schema(as = Pools)]
pub struct PoolsDto<'a> {
    /// The pools, ordered by id.
    pub pools: Vec<PoolDto<'a>>,
    /// Of each partition that could be read, the sequence number after the last event that this answer knows of.
    #[schema(value_type = schema::Places)]
    pub as_of: &'a BTreeMap<u32, u64>,
    /// Partitions that could not be read: their pools are missing here. Empty when nothing is.
    pub incomplete: Vec<IncompleteDto<'a>>,
    /// How long this answer may have been out of date, in milliseconds.
    #[schema(value_type = schema::Count)]
    pub staleness_ms: u64,
    /// The cursor of the next page, when there is more.
    #[schema(value_type = Option<schema::PoolId>, required = true)]
    pub next: Option<&'a str>,
}

/// A partition whose pools are missing in an answer.
#[derive(Serialize, ToSchema)]
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
    /// For an amend: units it took before.
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
    /// For a decision: its proof in the log.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = ProofDto<'a>, required = false)]
    pub proof: Option<ProofDto<'a>>,
    /// For a read: the event that last changed the status, the demand, or the end of the hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = PlaceDto, required = false)]
    pub last_event: Option<PlaceDto>,
    /// For a read of one reservation: the pool's counters at the time of the read, not at the time of `last_event`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = CountersDto<'a>, required = false)]
    pub pool_now: Option<CountersDto<'a>>,
}

impl<'a> ReservationDto<'a> {
    /// A reservation as it was read, without the counters of its pool.
    pub fn of(id: ReservationId, known: &'a Reservation, partition: u32) -> ReservationDto<'a> {
        ReservationDto {
            reservation: id,
            pool: known.pool.as_str(),
            status: known.status.code().unwrap_or_default(),
            demand: Units(&known.demand),
            demand_before: None,
            hold_until: (known.status == Status::Held).then_some(Time(known.until)),
            order_ref: known.order_ref.as_ref().map(Name::as_str),
            proof: None,
            last_event: Some(PlaceDto { partition, seq: known.seq }),
            pool_now: None,
        }
    }
}

/// Reservations of one pool, all after the same event of its partition.
#[derive(Serialize, ToSchema)]
#[schema(as = Reservations)]
pub struct ReservationsDto<'a> {
    /// The reservations, ordered by id.
    pub reservations: Vec<ReservationDto<'a>>,
    /// The pool's counters at the time of the read.
    pub pool_now: CountersDto<'a>,
    /// How long this answer may have been out of date, in milliseconds.
    #[schema(value_type = schema::Count)]
    pub staleness_ms: u64,
    /// The cursor of the next page, when there is more. A page may have fewer reservations than asked for, or none, and
    /// yet a next page.
    #[serde(serialize_with = "as_text_if_any")]
    #[schema(value_type = Option<schema::ReservationId>, required = true)]
    pub next: Option<ReservationId>,
}

/// A reservation that was given back.
#[derive(Serialize, ToSchema)]
#[schema(as = Released)]
pub struct ReleasedDto<'a> {
    /// The id of the reservation.
    #[serde(serialize_with = "as_text")]
    #[schema(value_type = schema::ReservationId)]
    pub reservation: ReservationId,
    /// `released`, or `expired` when its hold had run out before.
    #[schema(value_type = schema::End)]
    pub status: &'static str,
    /// The proof of the release in the log.
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

/// A refusal, as an RFC 9457 problem.
#[derive(Serialize, ToSchema)]
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
    /// The stable code, to branch on.
    #[schema(value_type = schema::Code)]
    pub code: &'static str,
    /// `not_applied`: this call was not applied and never will be. An earlier call under the same key, of which the caller
    /// has no answer, may have been: repeat it until the key answers. `unknown`: the request may still be applied; repeat it
    /// with the same key.
    #[schema(value_type = schema::Effect)]
    pub outcome: &'static str,
    /// Whether the same request, under the same key, may succeed later although nobody changes anything.
    pub retryable: bool,
    /// Why the call was shed, if it was.
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
    /// The reservation that has ended or is not a hold, or the one that the order already has. With `outcome: unknown`: the one
    /// that lives under the key of this call.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "as_text_if_any")]
    #[schema(value_type = schema::ReservationId, required = false)]
    pub reservation: Option<ReservationId>,
    /// For a hold that asked for too much time: the latest end that it could have.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = schema::Instant, required = false)]
    pub hold_until: Option<Time>,
    /// For a pool in use: the number of its live reservations.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = schema::Count, required = false)]
    pub live_reservations: Option<u64>,
    /// For a pool that has retired less than 24 hours ago: until when its id cannot be defined anew.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = schema::Instant, required = false)]
    pub retired_until: Option<Time>,
    /// The proof of a refusal that an owner decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = ProofDto<'a>, required = false)]
    pub proof: Option<ProofDto<'a>>,
    /// The trace of the request, as in `X-Request-Id`.
    pub trace_id: &'a str,
}

/// `urn:headroom:problem:` and the code.
pub struct TypeUrn(pub &'static str);

impl Serialize for TypeUrn {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("urn:headroom:problem:{}", self.0))
    }
}
