//! Events as records of `headroom.events`, and their digests, which form the chain.

use super::datum::{Datum, Direct};
use super::entries;
use super::field::{Bytes16, Coded, Hex, Id, Labels, Named, Names, Text, Units, record};
use super::readable::readable;
use super::recent::Recent;
use super::schema::{EVENTS, of_level};
use super::{DecodeError, SpecFields, amounts, change_of, counted, frame, natural, present, saturated};
use crate::domain::event::VERSION;
use crate::domain::{
    AskedChange, Attempt, Cause, ChainedEvent, CommandId, CommandKind, CommandStamp, Digest, Dimension, Entry, Event,
    EventBody, EventKind, IdempotencyKey, LimitChange, Micros, Mode, Name, Origin, Pool, PoolId, Reason, Rejection,
    ReleaseCause, RetireCause, Retirement, Status,
};
use serde_json::Value;
use std::borrow::Cow;

record! {
    /// An event with the fields of its schema.
    EventRecord {
        kind: Coded<EventKind>,
        partition: i32,
        seq: i64,
        epoch: i64,
        prev: Bytes16,
        decided_at: i64,
        input_offset: i64,
        command_id: Hex,
        reply_to: i64,
        attempt: i64,
        actor: Text<'a, Name>,
        ask: Coded<CommandKind>,
        key: Text<'a, IdempotencyKey>,
        fingerprint: i64,
        repeats: Coded<EventKind>,
        pool: Text<'a, PoolId>,
        reservation: Id,
        status: Coded<Status>,
        demand: Units<'a>,
        hold_until: i64,
        order_ref: Text<'a, Name>,
        limits: Units<'a>,
        used: Units<'a>,
        version: i64,
        mode: Coded<Mode>,
        areas: Names<'a>,
        window_start: i64,
        window_end: i64,
        cutoff: i64,
        labels: Labels<'a>,
        reason: Coded<Reason>,
        dimension: Text<'a, Dimension>,
        cause: Coded<ReleaseCause>,
        nonce: i64,
        detail: Detail<'a>,
        skipped: i64,
        asked_limits: Units<'a>,
        asked_adjust: Units<'a>,
        asked_mode: Coded<Mode>,
        asked_version: i64,
        lost_from: i64,
        lost_until: i64,
        clock_from: i64,
        deadline: i64,
        original_seq: i64,
        original_decided_at: i64,
        hold_since: i64,
        asked_hold_ttl_ms: i64,
        existing_reservation: Id,
        hold_ttl_max_ms: i64,
        hold_life_max_ms: i64,
        unique_order_ref: bool,
        demand_before: Units<'a>,
        retire_after_ms: i64,
        retire_cause: Coded<RetireCause>,
        live_reservations: i64,
        retired_until: i64,
    }
}

/// Length in bytes of a long usual event; its buffer need not grow.
const USUAL_BYTES: usize = 384;
/// Longest detail in characters. It is cut, so that the event of any broken record can be read.
pub const DETAIL_CHARS_MAX: usize = 1_024;

/// Encodes an event under the newest schema, with its frame, and computes its digest.
pub fn encode(event: &Event) -> (Vec<u8>, Digest) {
    let bytes = EVENTS.write(&record_of(event), USUAL_BYTES);
    let digest = digest_of(bytes.get(frame::FRAME_BYTES..).unwrap_or_default());
    (bytes, digest)
}

/// Encodes an event under the newest schema of a feature level, or under the newest of all where only that one can say what
/// the event says. Adds the digest and makes it an event of a log.
pub fn encode_at(level: u32, event: Event) -> (Vec<u8>, ChainedEvent) {
    let (_, wanted) = of_level(level);
    let bytes = EVENTS.write_as(wanted, &record_of(&event), USUAL_BYTES);
    let digest = digest_of(bytes.get(frame::FRAME_BYTES..).unwrap_or_default());
    let version = EVENTS.version_of(&bytes).unwrap_or(VERSION);
    (bytes, ChainedEvent { version, ..ChainedEvent::new(event, digest) })
}

/// Decodes an event with its frame, and computes its digest.
///
/// # Errors
/// [`DecodeError`] says what is wrong with the bytes.
pub fn decode(bytes: &[u8]) -> Result<ChainedEvent, DecodeError> {
    decode_after(bytes, None)
}

/// The same for one of many events, which shares values with those before.
///
/// # Errors
/// Those of [`decode`].
pub fn decode_after(bytes: &[u8], mut recent: Option<&mut Recent>) -> Result<ChainedEvent, DecodeError> {
    if let Some(datum) = EVENTS.newest_datum(bytes)
        && let Some(event) = entries::read(datum, recent.as_deref_mut())
    {
        return Ok(ChainedEvent::new(event, digest_of(datum)));
    }
    decode_any(bytes, recent)
}

/// The same by the record of all fields, whatever the event says.
pub(super) fn decode_any(bytes: &[u8], recent: Option<&mut Recent>) -> Result<ChainedEvent, DecodeError> {
    EVENTS.read_after(bytes, recent, |record: &mut EventRecord<'static>, datum| {
        Ok(ChainedEvent { event: event_of(record)?, digest: digest_of(datum), version: EVENTS.version_of(bytes)? })
    })
}

/// The event for people and scripts: the fields of the record that are not null, under the names of the schema, as
/// [`readable`] describes, and the digest.
pub fn to_json(recorded: &ChainedEvent) -> Value {
    let mut object = readable(record_of(&recorded.event).named());
    object.insert("digest".to_owned(), Value::String(recorded.digest.to_string()));
    Value::Object(object)
}

/// The event for programs: the fields of the record that are not null, under the names of the schema and in its order.
/// Times are numbers, in microseconds since 1970.
pub fn fields(event: &Event) -> Vec<(&'static str, Value)> {
    record_of(event).named()
}

/// The names of all fields, in the order of the schema.
pub fn names() -> &'static [&'static str] {
    EventRecord::FIELDS
}

/// Encodes a decision as an event that has no place in a log, and at most this sequence number.
pub(super) fn encode_body(body: &EventBody, seq: Option<u64>) -> Vec<u8> {
    let mut record = EventRecord::of(Coded(body.kind()));
    record.seq = seq.map(saturated);
    put_body(&mut record, body);
    EVENTS.write(&record, USUAL_BYTES)
}

/// Encodes a pool as the event that would define it as it stands.
pub(super) fn encode_pool(pool: &Pool) -> Vec<u8> {
    let mut record = EventRecord::of(Coded(EventKind::PoolDefined));
    put_pool(&mut record, pool);
    EVENTS.write(&record, USUAL_BYTES)
}

/// Decodes what [`encode_body`] or [`encode_pool`] has encoded, with its sequence number.
pub(super) fn decode_body(bytes: &[u8]) -> Result<(EventBody, Option<u64>), DecodeError> {
    let (mut record, _) = EVENTS.read::<EventRecord<'static>>(bytes)?;
    let seq = record.seq.map(|seq| natural(seq, "seq")).transpose()?;
    Ok((body_of(record.kind.0, &mut record)?, seq))
}

/// The digest of a record. It covers the datum and not the frame. The datum contains the digest of the event before
/// it.
fn digest_of(datum: &[u8]) -> Digest {
    let hash = blake3::hash(datum);
    Digest(hash.as_bytes().first_chunk().copied().unwrap_or_default())
}

/// What is wrong with an unreadable record, why commands or events are lost, or why a clock was set.
pub(super) struct Detail<'a>(Cow<'a, str>);

impl serde::Serialize for Detail<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> serde::Deserialize<'de> for Detail<'_> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Detail(Cow::Owned(text)))
    }
}

impl Direct for Detail<'_> {
    fn read(from: &mut Datum<'_>) -> Option<Self> {
        from.text().map(|text| Detail(Cow::Owned(text.to_owned())))
    }
}

impl Detail<'_> {
    fn of(text: &str) -> Detail<'_> {
        match text.char_indices().nth(DETAIL_CHARS_MAX) {
            Some((end, _)) => Detail(Cow::Borrowed(text.get(..end).unwrap_or_default())),
            None => Detail(Cow::Borrowed(text)),
        }
    }
}

fn record_of(event: &Event) -> EventRecord<'_> {
    let mut record = EventRecord::of(Coded(event.body.kind()));
    record.partition = Some(event.partition.cast_signed());
    record.seq = Some(saturated(event.seq));
    record.epoch = Some(i64::from(event.epoch));
    record.prev = Some(Bytes16(event.prev));
    record.decided_at = Some(saturated(event.decided_at.0));
    if let Some(cause) = &event.cause {
        record.input_offset = Some(saturated(cause.input_offset));
        record.skipped = Some(cause.skipped).filter(|skipped| *skipped > 0).map(saturated);
        record.command_id = cause.unread.map(Hex);
    }
    if let Some(command) = event.command() {
        record.command_id = Some(Hex(command.id));
        record.reply_to = command.reply_to.map(u64::cast_signed);
        record.attempt = Some(command.attempt.0.cast_signed());
        record.actor = command.actor.as_ref().map(Text::of);
        record.ask = Some(Coded(command.kind));
        record.key = command.key.as_ref().map(Text::of);
        record.fingerprint = Some(command.fingerprint.cast_signed());
        record.deadline = command.deadline.map(|deadline| saturated(deadline.0));
    }
    put_body(&mut record, &event.body);
    record
}

fn put_body<'a>(record: &mut EventRecord<'a>, body: &'a EventBody) {
    match body {
        EventBody::PoolDefined(pool)
        | EventBody::LimitsAdjusted(pool)
        | EventBody::ModeSet(pool)
        | EventBody::PoolChanged(pool) => {
            put_pool(record, pool);
        }
        EventBody::PoolRetired(Retirement { pool, live, cause }) => {
            put_pool(record, pool);
            record.live_reservations = Some(saturated(*live));
            record.retire_cause = Some(Coded(*cause));
        }
        EventBody::Accepted(entry)
        | EventBody::Confirmed(entry)
        | EventBody::Extended(entry)
        | EventBody::Expired(entry) => {
            put_entry(record, entry);
        }
        EventBody::Amended(entry, before) => {
            record.demand_before = Some(Units::Amounts(before));
            put_entry(record, entry);
        }
        EventBody::Released(entry, cause) => {
            record.cause = Some(Coded(*cause));
            put_entry(record, entry);
        }
        EventBody::Repeated(original, origin) => {
            record.original_seq = origin.map(|origin| saturated(origin.seq));
            record.original_decided_at = origin.and_then(|origin| origin.decided_at).map(|at| saturated(at.0));
            // A repetition of a repetition is written as a repetition of the first answer.
            if original.kind() != EventKind::Repeated {
                record.repeats = Some(Coded(original.kind()));
            }
            put_body(record, original);
        }
        EventBody::Rejected(rejection) => put_rejection(record, rejection),
        EventBody::Abandoned { pool, reservation } => {
            record.pool = Some(Text::of(pool));
            record.reservation = Some(Id(*reservation));
        }
        EventBody::Malformed { detail } | EventBody::CommandsLost { detail } => {
            record.detail = Some(Detail::of(detail))
        }
        EventBody::EventsLost { detail, from, until } => {
            record.detail = Some(Detail::of(detail));
            record.lost_from = Some(saturated(*from));
            record.lost_until = Some(saturated(*until));
        }
        EventBody::Barrier { nonce } => record.nonce = Some(nonce.cast_signed()),
        EventBody::ClockSet { from, detail } => {
            record.clock_from = Some(saturated(from.0));
            record.detail = Some(Detail::of(detail));
        }
        EventBody::Tick => {}
    }
}

fn put_pool<'a>(record: &mut EventRecord<'a>, pool: &'a Pool) {
    let spec = &pool.spec;
    record.pool = Some(Text::of(&pool.id));
    record.limits = Some(Units::Amounts(&spec.limits));
    record.used = Some(Units::Amounts(&pool.used));
    record.version = Some(saturated(pool.version));
    record.mode = Some(Coded(spec.mode));
    record.areas = Some(Names(Cow::Borrowed(&spec.areas)));
    record.window_start = spec.window.map(|window| saturated(window.start.0));
    record.window_end = spec.window.map(|window| saturated(window.end.0));
    record.cutoff = spec.window.and_then(|window| window.cutoff).map(|cutoff| saturated(cutoff.0));
    record.labels = Some(Labels(Cow::Borrowed(&spec.labels)));
    record.hold_ttl_max_ms = spec.rules.hold_ttl_max_ms.map(saturated);
    record.hold_life_max_ms = spec.rules.hold_life_max_ms.map(saturated);
    record.unique_order_ref = Some(true).filter(|_| spec.rules.unique_order_ref);
    record.retire_after_ms = spec.rules.retire_after_ms.map(saturated);
}

fn put_entry<'a>(record: &mut EventRecord<'a>, entry: &'a Entry) {
    record.pool = Some(Text::of(&entry.pool));
    record.reservation = Some(Id(entry.reservation));
    record.status = Some(Coded(entry.status));
    record.demand = Some(Units::Amounts(&entry.demand));
    record.hold_until = entry.hold_until.map(|until| saturated(until.0));
    record.hold_since = entry.hold_since.map(|since| saturated(since.0));
    record.order_ref = entry.order_ref.as_ref().map(Text::of);
    record.limits = Some(Units::Amounts(&entry.limits));
    record.used = Some(Units::Amounts(&entry.used));
}

fn put_rejection<'a>(record: &mut EventRecord<'a>, rejection: &'a Rejection) {
    record.reason = Some(Coded(rejection.reason));
    record.dimension = rejection.dimension.as_ref().map(Text::of);
    record.pool = rejection.pool.as_ref().map(Text::of);
    record.reservation = rejection.reservation.map(Id);
    record.demand = rejection.demand.as_ref().map(Units::Amounts);
    record.demand_before = rejection.demand_before.as_ref().map(Units::Amounts);
    record.order_ref = rejection.order_ref.as_ref().map(Text::of);
    record.limits = rejection.limits.as_ref().map(Units::Amounts);
    record.used = rejection.used.as_ref().map(Units::Amounts);
    record.mode = rejection.mode.map(Coded);
    record.version = rejection.version.map(saturated);
    record.hold_until = rejection.hold_until.map(|until| saturated(until.0));
    record.existing_reservation = rejection.existing_reservation.map(Id);
    record.live_reservations = rejection.live.map(saturated);
    record.retired_until = rejection.retired_until.map(|until| saturated(until.0));
    if let Some(asked) = &rejection.asked {
        match &asked.limits {
            Some(LimitChange::To(limits)) => record.asked_limits = Some(Units::Amounts(limits)),
            Some(LimitChange::By(changes)) => record.asked_adjust = Some(Units::Changes(changes)),
            None => {}
        }
        record.asked_mode = asked.mode.map(Coded);
        record.asked_version = asked.version.map(saturated);
        record.asked_hold_ttl_ms = asked.hold_ttl_ms.map(saturated);
    }
}

fn event_of(record: &mut EventRecord<'static>) -> Result<Event, DecodeError> {
    let partition = present(record.partition, "partition")?;
    let epoch = counted(record.epoch, "epoch")?;
    Ok(Event {
        partition: u32::try_from(partition).map_err(|_| DecodeError::new("partition is negative"))?,
        seq: counted(record.seq, "seq")?,
        epoch: u32::try_from(epoch).map_err(|_| DecodeError::new("epoch is out of range"))?,
        prev: present(record.prev.take(), "prev")?.0,
        decided_at: Micros(counted(record.decided_at, "decided_at")?),
        cause: cause_of(record)?,
        body: body_of(record.kind.0, record)?,
    })
}

fn cause_of(record: &mut EventRecord<'static>) -> Result<Option<Cause>, DecodeError> {
    let Some(input_offset) = record.input_offset else { return Ok(None) };
    let id = record.command_id.take().map(|id| id.0);
    let (command, unread) = match (id, record.ask.take()) {
        // A command that could not be read has at most its id here.
        (id, None) => (None, id),
        (id, Some(ask)) => (Some(stamp_of(present(id, "command_id")?, ask.0, record)?), None),
    };
    let input_offset = natural(input_offset, "input_offset")?;
    let skipped = record.skipped.map(|skipped| natural(skipped, "skipped")).transpose()?.unwrap_or_default();
    Ok(Some(Cause { input_offset, skipped, command, unread }))
}

fn stamp_of(id: CommandId, ask: CommandKind, record: &mut EventRecord<'static>) -> Result<CommandStamp, DecodeError> {
    Ok(CommandStamp {
        id,
        reply_to: record.reply_to.map(i64::cast_unsigned),
        attempt: Attempt(present(record.attempt, "attempt")?.cast_unsigned()),
        actor: record.actor.take().map(Text::value),
        kind: ask,
        key: record.key.take().map(Text::value),
        fingerprint: present(record.fingerprint, "fingerprint")?.cast_unsigned(),
        deadline: record.deadline.map(|deadline| natural(deadline, "deadline").map(Micros)).transpose()?,
    })
}

fn body_of(kind: EventKind, record: &mut EventRecord<'static>) -> Result<EventBody, DecodeError> {
    Ok(match kind {
        EventKind::PoolDefined => EventBody::PoolDefined(pool_of(record)?),
        EventKind::LimitsAdjusted => EventBody::LimitsAdjusted(pool_of(record)?),
        EventKind::ModeSet => EventBody::ModeSet(pool_of(record)?),
        EventKind::PoolChanged => EventBody::PoolChanged(pool_of(record)?),
        EventKind::PoolRetired => EventBody::PoolRetired(Retirement {
            live: counted(record.live_reservations, "live_reservations")?,
            cause: present(record.retire_cause.take(), "retire_cause")?.0,
            pool: pool_of(record)?,
        }),
        EventKind::Accepted => EventBody::Accepted(entry_of(record)?),
        EventKind::Confirmed => EventBody::Confirmed(entry_of(record)?),
        EventKind::Extended => EventBody::Extended(entry_of(record)?),
        EventKind::Amended => {
            let before = amounts(present(record.demand_before.take(), "demand_before")?, "demand_before")?;
            EventBody::Amended(entry_of(record)?, before)
        }
        EventKind::Released => {
            let cause = present(record.cause.take(), "cause")?.0;
            EventBody::Released(entry_of(record)?, cause)
        }
        EventKind::Expired => EventBody::Expired(entry_of(record)?),
        EventKind::Repeated => match present(record.repeats.take(), "repeats")?.0 {
            EventKind::Repeated => return Err(DecodeError::new("a repetition repeats a repetition")),
            original => EventBody::Repeated(Box::new(body_of(original, record)?), origin_of(record)?),
        },
        EventKind::Rejected => EventBody::Rejected(rejection_of(record)?),
        EventKind::Abandoned => EventBody::Abandoned {
            pool: present(record.pool.take(), "pool")?.value(),
            reservation: present(record.reservation.take(), "reservation")?.0,
        },
        EventKind::Malformed => EventBody::Malformed { detail: detail_of(record)? },
        EventKind::CommandsLost => EventBody::CommandsLost { detail: detail_of(record)? },
        EventKind::EventsLost => EventBody::EventsLost {
            detail: detail_of(record)?,
            from: counted(record.lost_from, "lost_from")?,
            until: counted(record.lost_until, "lost_until")?,
        },
        EventKind::Barrier => EventBody::Barrier { nonce: present(record.nonce, "nonce")?.cast_unsigned() },
        EventKind::Tick => EventBody::Tick,
        EventKind::ClockSet => {
            EventBody::ClockSet { from: Micros(counted(record.clock_from, "clock_from")?), detail: detail_of(record)? }
        }
    })
}

fn origin_of(record: &EventRecord<'static>) -> Result<Option<Origin>, DecodeError> {
    let Some(seq) = record.original_seq else { return Ok(None) };
    let at = record.original_decided_at.map(|at| natural(at, "original_decided_at").map(Micros));
    Ok(Some(Origin { seq: natural(seq, "original_seq")?, decided_at: at.transpose()? }))
}

fn detail_of(record: &mut EventRecord<'static>) -> Result<String, DecodeError> {
    Ok(present(record.detail.take(), "detail")?.0.into_owned())
}

fn pool_of(record: &mut EventRecord<'static>) -> Result<Pool, DecodeError> {
    let fields = SpecFields {
        limits: amounts(present(record.limits.take(), "limits")?, "limits")?,
        areas: record.areas.take(),
        window: [record.window_start, record.window_end, record.cutoff],
        labels: record.labels.take(),
        mode: present(record.mode.take(), "mode")?.0,
        spans: [record.hold_ttl_max_ms, record.hold_life_max_ms, record.retire_after_ms],
        unique_order_ref: record.unique_order_ref,
    };
    Ok(Pool {
        id: present(record.pool.take(), "pool")?.value(),
        spec: fields.spec()?,
        used: amounts(present(record.used.take(), "used")?, "used")?,
        version: counted(record.version, "version")?,
    })
}

fn entry_of(record: &mut EventRecord<'static>) -> Result<Entry, DecodeError> {
    Ok(Entry {
        pool: present(record.pool.take(), "pool")?.value(),
        reservation: present(record.reservation.take(), "reservation")?.0,
        status: present(record.status.take(), "status")?.0,
        demand: amounts(present(record.demand.take(), "demand")?, "demand")?,
        hold_until: record.hold_until.map(|until| natural(until, "hold_until").map(Micros)).transpose()?,
        hold_since: record.hold_since.map(|since| natural(since, "hold_since").map(Micros)).transpose()?,
        order_ref: record.order_ref.take().map(Text::value),
        limits: amounts(present(record.limits.take(), "limits")?, "limits")?,
        used: amounts(present(record.used.take(), "used")?, "used")?,
    })
}

fn rejection_of(record: &mut EventRecord<'static>) -> Result<Rejection, DecodeError> {
    let units = |units: Option<Units<'static>>, field| units.map(|units| amounts(units, field)).transpose();
    Ok(Rejection {
        reason: present(record.reason.take(), "reason")?.0,
        dimension: record.dimension.take().map(Text::value),
        pool: record.pool.take().map(Text::value),
        reservation: record.reservation.take().map(|id| id.0),
        demand: units(record.demand.take(), "demand")?,
        demand_before: units(record.demand_before.take(), "demand_before")?,
        order_ref: record.order_ref.take().map(Text::value),
        limits: units(record.limits.take(), "limits")?,
        used: units(record.used.take(), "used")?,
        mode: record.mode.take().map(|mode| mode.0),
        version: record.version.map(|version| natural(version, "version")).transpose()?,
        hold_until: record.hold_until.map(|until| natural(until, "hold_until").map(Micros)).transpose()?,
        existing_reservation: record.existing_reservation.take().map(|id| id.0),
        live: record.live_reservations.map(|live| natural(live, "live_reservations")).transpose()?,
        retired_until: record.retired_until.map(|until| natural(until, "retired_until").map(Micros)).transpose()?,
        asked: asked_of(record)?,
    })
}

fn asked_of(record: &mut EventRecord<'static>) -> Result<Option<Box<AskedChange>>, DecodeError> {
    let asked = AskedChange {
        limits: change_of(record.asked_limits.take(), record.asked_adjust.take())?,
        mode: record.asked_mode.take().map(|mode| mode.0),
        version: record.asked_version.map(|version| natural(version, "asked_version")).transpose()?,
        hold_ttl_ms: record.asked_hold_ttl_ms.map(|ttl| natural(ttl, "asked_hold_ttl_ms")).transpose()?,
    };
    Ok(Some(asked).filter(|asked| *asked != AskedChange::default()).map(Box::new))
}
