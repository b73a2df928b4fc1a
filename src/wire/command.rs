//! Commands, as they stand in `headroom.commands`.

use super::field::{Coded, Hex, Id, Labels, Names, Text, Units, record};
use super::schema::COMMANDS;
use super::{DecodeError, SpecFields, amounts, counted, natural, present, saturated};
use crate::domain::{
    Ask, AskKind, Attempt, Command, CommandId, IdempotencyKey, LimitChange, Micros, Mode, Name, PoolId, PoolSpec,
    ReservationId,
};
use crate::limits::COMMAND_BYTES_MAX;
use serde::de::IgnoredAny;
use serde_json::Value;
use std::borrow::Cow;

record! {
    /// The schema's record.
    CommandRecord {
        kind: Coded<AskKind>,
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
    }
}

/// Longest command of the usual kind, so that its buffer need not grow.
const USUAL_BYTES: usize = 256;

/// The framed command.
pub fn encode(command: &Command) -> Vec<u8> {
    COMMANDS.write(&record_of(command), USUAL_BYTES)
}

/// The command behind framed bytes.
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

/// The id of a command, also of one that cannot be decoded: what stands before it is read, nothing after it.
pub fn id_of(bytes: &[u8]) -> Option<CommandId> {
    COMMANDS.read_head::<Head>(bytes)?.command_id.map(|id| id.0)
}

/// The fields before and up to a command's id, whatever the kind.
#[derive(serde::Deserialize)]
struct Head {
    #[serde(rename = "kind")]
    _kind: IgnoredAny,
    command_id: Option<Hex>,
}

/// The command as people and scripts read it: the record's fields that are not null under the schema's names.
pub fn to_json(command: &Command) -> Value {
    serde_json::to_value(record_of(command)).unwrap_or_default()
}

fn record_of(command: &Command) -> CommandRecord<'_> {
    let ask = &command.ask;
    let mut record = CommandRecord {
        command_id: Some(Hex(command.id)),
        reply_to: command.reply_to.map(u64::cast_signed),
        attempt: Some(command.attempt.0.cast_signed()),
        actor: command.actor.as_ref().map(Text::of),
        key: command.key.as_ref().map(Text::of),
        deadline: Some(saturated(command.deadline.0)),
        pool: ask.pool().map(Text::of),
        reservation: ask.reservation().map(Id),
        ..CommandRecord::of(Coded(ask.kind()))
    };
    let version = |expected: &Option<u64>| expected.map(saturated);
    match ask {
        Ask::DefinePool { spec, expected_version, .. } => {
            record.expected_version = version(expected_version);
            put_spec(&mut record, spec);
        }
        Ask::AdjustLimits { change, expected_version, .. } => {
            record.expected_version = version(expected_version);
            match change {
                LimitChange::To(limits) => record.limits = Some(Units::Amounts(limits)),
                LimitChange::By(changes) => record.adjust = Some(Units::Changes(changes)),
            }
        }
        Ask::SetMode { mode, expected_version, .. } => {
            record.expected_version = version(expected_version);
            record.mode = Some(Coded(*mode));
        }
        Ask::Reserve { demand, hold_ttl_ms, order_ref, .. } => {
            record.demand = Some(Units::Amounts(demand));
            record.hold_ttl_ms = hold_ttl_ms.map(saturated);
            record.order_ref = order_ref.as_ref().map(Text::of);
        }
        Ask::Extend { hold_ttl_ms, .. } => record.hold_ttl_ms = Some(saturated(*hold_ttl_ms)),
        Ask::Handover { nonce } => record.nonce = Some(nonce.cast_signed()),
        Ask::Confirm { .. } | Ask::Release { .. } | Ask::Abandon { .. } => {}
    }
    record
}

fn put_spec<'a>(record: &mut CommandRecord<'a>, spec: &'a PoolSpec) {
    record.limits = Some(Units::Amounts(&spec.limits));
    record.areas = Some(Names(Cow::Borrowed(&spec.areas)));
    record.window_start = spec.window.map(|window| saturated(window.start.0));
    record.window_end = spec.window.map(|window| saturated(window.end.0));
    record.cutoff = spec.window.and_then(|window| window.cutoff).map(|cutoff| saturated(cutoff.0));
    record.labels = Some(Labels(Cow::Borrowed(&spec.labels)));
    record.mode = Some(Coded(spec.mode));
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
        ask: ask_of(record)?,
    })
}

fn ask_of(mut record: CommandRecord<'static>) -> Result<Ask, DecodeError> {
    let expected_version = record.expected_version.map(|version| natural(version, "expected_version")).transpose()?;
    let hold_ttl_ms = record.hold_ttl_ms.map(|ttl| natural(ttl, "hold_ttl_ms")).transpose()?;
    let pool = record.pool.take().map(Text::value);
    let pool = || present(pool, "pool");
    let reservation: Option<ReservationId> = record.reservation.take().map(|id| id.0);
    let reservation = || present(reservation, "reservation");
    Ok(match record.kind.0 {
        AskKind::DefinePool => Ask::DefinePool { pool: pool()?, spec: spec_of(record)?, expected_version },
        AskKind::AdjustLimits => Ask::AdjustLimits { pool: pool()?, change: change_of(record)?, expected_version },
        AskKind::SetMode => Ask::SetMode { pool: pool()?, mode: present(record.mode, "mode")?.0, expected_version },
        AskKind::Reserve => Ask::Reserve {
            pool: pool()?,
            reservation: reservation()?,
            demand: amounts(present(record.demand, "demand")?, "demand")?,
            hold_ttl_ms,
            order_ref: record.order_ref.map(Text::value),
        },
        AskKind::Confirm => Ask::Confirm { reservation: reservation()? },
        AskKind::Extend => {
            Ask::Extend { reservation: reservation()?, hold_ttl_ms: present(hold_ttl_ms, "hold_ttl_ms")? }
        }
        AskKind::Release => Ask::Release { reservation: reservation()? },
        AskKind::Abandon => Ask::Abandon { pool: pool()?, reservation: reservation()? },
        AskKind::Handover => Ask::Handover { nonce: present(record.nonce, "nonce")?.cast_unsigned() },
    })
}

fn spec_of(record: CommandRecord<'static>) -> Result<PoolSpec, DecodeError> {
    let fields = SpecFields {
        limits: amounts(present(record.limits, "limits")?, "limits")?,
        areas: record.areas,
        window: [record.window_start, record.window_end, record.cutoff],
        labels: record.labels,
        mode: present(record.mode, "mode")?.0,
    };
    fields.spec()
}

fn change_of(record: CommandRecord<'static>) -> Result<LimitChange, DecodeError> {
    match (record.limits, record.adjust) {
        (Some(limits), None) => Ok(LimitChange::To(amounts(limits, "limits")?)),
        (None, Some(Units::Read(changes))) => Ok(LimitChange::By(changes)),
        (None, _) => Err(DecodeError::new("limits and adjust are missing")),
        (Some(_), Some(_)) => Err(DecodeError::new("limits and adjust are both given")),
    }
}
