//! Commands as records of `headroom.commands`.

use super::codes::codes;
use super::field::{Code, Coded, Hex, Id, Labels, Named, Names, Text, Units, record};
use super::readable::readable;
use super::schema::{COMMANDS, of_level};
use super::{DecodeError, SpecFields, amounts, change_of, counted, natural, present, saturated};
use crate::domain::{
    Attempt, Command, CommandBody, CommandId, CommandKind, Edit, IdempotencyKey, LimitChange, Micros, Mode, Name,
    PoolChange, PoolId, PoolSpec, ReservationId, RuleChange, WindowChange,
};
use crate::limits::COMMAND_BYTES_MAX;
use serde::de::IgnoredAny;
use serde_json::Value;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

record! {
    /// A command with the fields of its schema.
    CommandRecord {
        kind: Coded<CommandKind>,
        command_id: Hex,
        reply_to: i64,
        attempt: i64,
        actor: Text<'a, Name>,
        key: Text<'a, IdempotencyKey>,
        deadline: i64,
        pool: Text<'a, PoolId>,
        reservation: Id,
        expected_version: i64,
        limits: Units<'a>,
        adjust: Units<'a>,
        areas: Names<'a>,
        window_start: i64,
        window_end: i64,
        cutoff: i64,
        labels: Labels<'a>,
        mode: Coded<Mode>,
        demand: Units<'a>,
        hold_ttl_ms: i64,
        order_ref: Text<'a, Name>,
        nonce: i64,
        removed_labels: Names<'a>,
        cleared: Vec<Coded<Part>>,
        hold_ttl_max_ms: i64,
        hold_life_max_ms: i64,
        unique_order_ref: bool,
        retire_after_ms: i64,
        with_reservations: bool,
    }
}

/// A part of a pool that a change may remove.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Part {
    Window,
    Cutoff,
    HoldTtlMax,
    HoldLifeMax,
    RetireAfter,
}

codes! { Part as "Part", "unknown":
    "window" = Part::Window,
    "cutoff" = Part::Cutoff,
    "hold_ttl_max_ms" = Part::HoldTtlMax,
    "hold_life_max_ms" = Part::HoldLifeMax,
    "retire_after_ms" = Part::RetireAfter,
}

/// Length in bytes of a long usual command; its buffer need not grow.
const USUAL_BYTES: usize = 256;

/// Encodes a command, with its frame.
pub fn encode(command: &Command) -> Vec<u8> {
    COMMANDS.write(&record_of(command), USUAL_BYTES)
}

/// The same under the newest schema of a feature level, or under the newest of all where only that one can say what is asked.
pub fn encode_at(level: u32, command: &Command) -> Vec<u8> {
    COMMANDS.write_as(of_level(level).0, &record_of(command), USUAL_BYTES)
}

/// Decodes a command with its frame.
///
/// # Errors
/// [`DecodeError`] says what is wrong with the bytes.
pub fn decode(bytes: &[u8]) -> Result<Command, DecodeError> {
    if bytes.len() > COMMAND_BYTES_MAX {
        return Err(DecodeError::new(format_args!("longer than {COMMAND_BYTES_MAX} bytes")));
    }
    let (record, _) = COMMANDS.read::<CommandRecord<'static>>(bytes)?;
    command_of(record)
}

/// The id of a command, also of one that cannot be decoded. Only the fields up to the id are read.
pub fn id_of(bytes: &[u8]) -> Option<CommandId> {
    COMMANDS.read_head::<Head>(bytes)?.command_id.map(|id| id.0)
}

/// The fields up to a command's id, which are the same for every kind.
#[derive(serde::Deserialize)]
struct Head {
    #[serde(rename = "kind")]
    _kind: IgnoredAny,
    command_id: Option<Hex>,
}

/// The command for people and scripts: the fields of the record that are not null, under the names of the schema, as
/// [`readable`] describes.
pub fn to_json(command: &Command) -> Value {
    Value::Object(readable(record_of(command).named()))
}

fn record_of(command: &Command) -> CommandRecord<'_> {
    let body = &command.body;
    let mut record = CommandRecord {
        command_id: Some(Hex(command.id)),
        reply_to: command.reply_to.map(u64::cast_signed),
        attempt: Some(command.attempt.0.cast_signed()),
        actor: command.actor.as_ref().map(Text::of),
        key: command.key.as_ref().map(Text::of),
        deadline: Some(saturated(command.deadline.0)),
        pool: body.pool().map(Text::of),
        reservation: body.reservation().map(Id),
        expected_version: body.expected_version().map(saturated),
        ..CommandRecord::of(Coded(body.kind()))
    };
    match body {
        CommandBody::DefinePool { spec, .. } => put_spec(&mut record, spec),
        CommandBody::AdjustLimits { change, .. } => put_limits(&mut record, change),
        CommandBody::ChangePool { change, .. } => put_change(&mut record, change),
        CommandBody::SetMode { mode, .. } => record.mode = Some(Coded(*mode)),
        CommandBody::RetirePool { with_reservations, .. } => {
            record.with_reservations = Some(true).filter(|_| *with_reservations);
        }
        CommandBody::Reserve { demand, hold_ttl_ms, order_ref, .. } => {
            record.demand = Some(Units::Amounts(demand));
            record.hold_ttl_ms = hold_ttl_ms.map(saturated);
            record.order_ref = order_ref.as_ref().map(Text::of);
        }
        CommandBody::Extend { hold_ttl_ms, .. } => record.hold_ttl_ms = Some(saturated(*hold_ttl_ms)),
        CommandBody::Amend { demand, .. } => record.demand = Some(Units::Amounts(demand)),
        CommandBody::Confirm { .. } | CommandBody::Release { .. } | CommandBody::Abandon { .. } => {}
    }
    record
}

fn put_limits<'a>(record: &mut CommandRecord<'a>, change: &'a LimitChange) {
    match change {
        LimitChange::To(limits) => record.limits = Some(Units::Amounts(limits)),
        LimitChange::By(changes) => record.adjust = Some(Units::Changes(changes)),
    }
}

fn put_change<'a>(record: &mut CommandRecord<'a>, change: &'a PoolChange) {
    let mut cleared = Vec::new();
    if let Some(limits) = &change.limits {
        put_limits(record, limits);
    }
    record.areas = change.areas.as_ref().map(|areas| Names(Cow::Borrowed(areas)));
    match change.window {
        Edit::Keep => {}
        Edit::Clear => cleared.push(Coded(Part::Window)),
        Edit::To(window) => {
            record.window_start = window.start.map(|start| saturated(start.0));
            record.window_end = window.end.map(|end| saturated(end.0));
            match window.cutoff {
                Edit::Keep => {}
                Edit::Clear => cleared.push(Coded(Part::Cutoff)),
                Edit::To(cutoff) => record.cutoff = Some(saturated(cutoff.0)),
            }
        }
    }
    let rules = change.rules;
    for (part, edit, field) in [
        (Part::HoldTtlMax, rules.hold_ttl_max_ms, &mut record.hold_ttl_max_ms),
        (Part::HoldLifeMax, rules.hold_life_max_ms, &mut record.hold_life_max_ms),
        (Part::RetireAfter, rules.retire_after_ms, &mut record.retire_after_ms),
    ] {
        match edit {
            Edit::Keep => {}
            Edit::Clear => cleared.push(Coded(part)),
            Edit::To(ms) => *field = Some(saturated(ms)),
        }
    }
    record.unique_order_ref = rules.unique_order_ref;
    let (set, removed): (Vec<_>, Vec<_>) = change.labels.iter().partition(|(_, value)| value.is_some());
    let set: BTreeMap<Name, Name> =
        set.into_iter().filter_map(|(label, value)| Some((label.clone(), value.clone()?))).collect();
    let removed: BTreeSet<Name> = removed.into_iter().map(|(label, _)| label.clone()).collect();
    record.labels = Some(set).filter(|set| !set.is_empty()).map(|set| Labels(Cow::Owned(set)));
    record.removed_labels = Some(removed).filter(|removed| !removed.is_empty()).map(|names| Names(Cow::Owned(names)));
    record.mode = change.mode.map(Coded);
    record.cleared = Some(cleared).filter(|cleared| !cleared.is_empty());
}

fn put_spec<'a>(record: &mut CommandRecord<'a>, spec: &'a PoolSpec) {
    record.limits = Some(Units::Amounts(&spec.limits));
    record.areas = Some(Names(Cow::Borrowed(&spec.areas)));
    record.window_start = spec.window.map(|window| saturated(window.start.0));
    record.window_end = spec.window.map(|window| saturated(window.end.0));
    record.cutoff = spec.window.and_then(|window| window.cutoff).map(|cutoff| saturated(cutoff.0));
    record.labels = Some(Labels(Cow::Borrowed(&spec.labels)));
    record.mode = Some(Coded(spec.mode));
    record.hold_ttl_max_ms = spec.rules.hold_ttl_max_ms.map(saturated);
    record.hold_life_max_ms = spec.rules.hold_life_max_ms.map(saturated);
    record.unique_order_ref = Some(true).filter(|_| spec.rules.unique_order_ref);
    record.retire_after_ms = spec.rules.retire_after_ms.map(saturated);
}

fn command_of(mut record: CommandRecord<'static>) -> Result<Command, DecodeError> {
    let id = present(record.command_id.take(), "command_id")?.0;
    let deadline = Micros(counted(record.deadline, "deadline")?);
    let attempt = Attempt(present(record.attempt, "attempt")?.cast_unsigned());
    Ok(Command {
        id,
        reply_to: record.reply_to.map(i64::cast_unsigned),
        attempt,
        actor: record.actor.take().map(Text::value),
        key: record.key.take().map(Text::value),
        deadline,
        body: body_of(record)?,
    })
}

fn body_of(mut record: CommandRecord<'static>) -> Result<CommandBody, DecodeError> {
    let expected_version = record.expected_version.map(|version| natural(version, "expected_version")).transpose()?;
    let hold_ttl_ms = record.hold_ttl_ms.map(|ttl| natural(ttl, "hold_ttl_ms")).transpose()?;
    let pool = record.pool.take().map(Text::value);
    let pool = || present(pool, "pool");
    let reservation: Option<ReservationId> = record.reservation.take().map(|id| id.0);
    let reservation = || present(reservation, "reservation");
    Ok(match record.kind.0 {
        CommandKind::DefinePool => CommandBody::DefinePool { pool: pool()?, spec: spec_of(record)?, expected_version },
        CommandKind::AdjustLimits => {
            let change = change_of(record.limits, record.adjust)?;
            let change = change.ok_or_else(|| DecodeError::new("limits and adjust are missing"))?;
            CommandBody::AdjustLimits { pool: pool()?, change, expected_version }
        }
        CommandKind::ChangePool => {
            CommandBody::ChangePool { pool: pool()?, change: pool_change_of(record)?, expected_version }
        }
        CommandKind::RetirePool => CommandBody::RetirePool {
            pool: pool()?,
            with_reservations: record.with_reservations.unwrap_or_default(),
            expected_version,
        },
        CommandKind::SetMode => {
            CommandBody::SetMode { pool: pool()?, mode: present(record.mode, "mode")?.0, expected_version }
        }
        CommandKind::Reserve => CommandBody::Reserve {
            pool: pool()?,
            reservation: reservation()?,
            demand: amounts(present(record.demand, "demand")?, "demand")?,
            hold_ttl_ms,
            order_ref: record.order_ref.map(Text::value),
        },
        CommandKind::Confirm => CommandBody::Confirm { reservation: reservation()? },
        CommandKind::Extend => {
            CommandBody::Extend { reservation: reservation()?, hold_ttl_ms: present(hold_ttl_ms, "hold_ttl_ms")? }
        }
        CommandKind::Amend => CommandBody::Amend {
            reservation: reservation()?,
            demand: amounts(present(record.demand, "demand")?, "demand")?,
        },
        CommandKind::Release => CommandBody::Release { reservation: reservation()? },
        CommandKind::Abandon => CommandBody::Abandon { pool: pool()?, reservation: reservation()? },
    })
}

fn spec_of(record: CommandRecord<'static>) -> Result<PoolSpec, DecodeError> {
    let fields = SpecFields {
        limits: amounts(present(record.limits, "limits")?, "limits")?,
        areas: record.areas,
        window: [record.window_start, record.window_end, record.cutoff],
        labels: record.labels,
        mode: present(record.mode, "mode")?.0,
        spans: [record.hold_ttl_max_ms, record.hold_life_max_ms, record.retire_after_ms],
        unique_order_ref: record.unique_order_ref,
    };
    fields.spec()
}

fn pool_change_of(mut record: CommandRecord<'static>) -> Result<PoolChange, DecodeError> {
    let instant = |long: Option<i64>, field| long.map(|long| natural(long, field).map(Micros)).transpose();
    let cleared = record.cleared.take().unwrap_or_default();
    let is_cleared = |part: Part| cleared.contains(&Coded(part));
    let most = |long: Option<i64>, part, field| {
        edit_of(long.map(|long| natural(long, field)).transpose()?, is_cleared(part), field)
    };
    let (start, end) = (instant(record.window_start, "window_start")?, instant(record.window_end, "window_end")?);
    let cutoff = edit_of(instant(record.cutoff, "cutoff")?, is_cleared(Part::Cutoff), "cutoff")?;
    let parts = WindowChange { start, end, cutoff };
    let window = Some(parts).filter(|parts| *parts != WindowChange::default());
    let mut labels: BTreeMap<Name, Option<Name>> = record
        .removed_labels
        .take()
        .into_iter()
        .flat_map(|labels| labels.0.into_owned())
        .map(|label| (label, None))
        .collect();
    for (label, value) in record.labels.take().into_iter().flat_map(|labels| labels.0.into_owned()) {
        if labels.insert(label, Some(value)).is_some() {
            return Err(DecodeError::new("a label is set and removed"));
        }
    }
    Ok(PoolChange {
        limits: change_of(record.limits.take(), record.adjust.take())?,
        areas: record.areas.take().map(|areas| areas.0.into_owned()),
        window: edit_of(window, is_cleared(Part::Window), "window")?,
        labels,
        mode: record.mode.map(|mode| mode.0),
        rules: RuleChange {
            hold_ttl_max_ms: most(record.hold_ttl_max_ms, Part::HoldTtlMax, "hold_ttl_max_ms")?,
            hold_life_max_ms: most(record.hold_life_max_ms, Part::HoldLifeMax, "hold_life_max_ms")?,
            unique_order_ref: record.unique_order_ref,
            retire_after_ms: most(record.retire_after_ms, Part::RetireAfter, "retire_after_ms")?,
        },
    })
}

fn edit_of<T>(value: Option<T>, is_cleared: bool, field: &str) -> Result<Edit<T>, DecodeError> {
    match (value, is_cleared) {
        (Some(_), true) => Err(DecodeError::new(format_args!("{field} is set and cleared"))),
        (Some(value), false) => Ok(Edit::To(value)),
        (None, true) => Ok(Edit::Clear),
        (None, false) => Ok(Edit::Keep),
    }
}
