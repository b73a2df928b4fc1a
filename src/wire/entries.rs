//! Reading an event about a reservation that was admitted, in one pass from its datum. Nearly all events of a log are such
//! events. The reader of all kinds first makes a record of all fields, most of which are null here. This one is tried before
//! it, and answers `None` for every event that it does not know in this form: that one is then read as all others are.

use super::datum::{Datum, Direct};
use super::direct::amounts;
use super::field::{Bytes16, Coded, Hex, Id, Text};
use super::recent::Recent;
use crate::domain::{
    Attempt, Cause, CommandId, CommandKind, CommandStamp, Entry, Event, EventBody, EventKind, IdempotencyKey, Micros,
    Name, PoolId, ReleaseCause, Status,
};

/// Fields between two that such an event may have, in the order of the schema: `version` to `dimension`.
const BEFORE_CAUSE: usize = 9;
/// The same: `nonce` and `detail`.
const BEFORE_SKIPPED: usize = 2;
/// The same: `asked_limits` to `clock_from`.
const BEFORE_DEADLINE: usize = 7;
/// The same: `original_seq` and `original_decided_at`.
const BEFORE_HOLD_SINCE: usize = 2;
/// All fields after `hold_since`.
const AT_THE_END: usize = 10;

/// Reads the event. It shares values with the records before, if there are some.
pub(super) fn read<'d>(datum: &'d [u8], recent: Option<&'d mut Recent>) -> Option<Event> {
    let from = &mut Datum::new(datum, recent);
    let Coded(kind) = Coded::read(from)?;
    if !is_read(kind) {
        return None;
    }
    let partition = u32::try_from(from.there::<i32>()?).ok()?;
    let (seq, epoch) = (from.there()?, from.there::<i64>()?);
    let Bytes16(prev) = from.there()?;
    let decided_at = Micros(from.there()?);
    let asked = Asked::read(from)?;
    let (pool, reservation) = (from.there::<Text<'_, PoolId>>()?.value(), from.there::<Id>()?.0);
    let Coded::<Status>(status) = from.there()?;
    let (demand, hold_until) = (from.there()?, from.maybe()?.map(Micros));
    let order_ref = from.maybe::<Text<'_, Name>>()?.map(Text::value);
    let limits = from.there()?;
    // No event shortly before says the same of what is used: it is neither looked up nor kept.
    let used = (from.byte()? == 2).then(|| amounts(from))??;
    from.nulls(BEFORE_CAUSE)?;
    let released = from.maybe::<Coded<ReleaseCause>>()?;
    from.nulls(BEFORE_SKIPPED)?;
    let skipped = from.maybe()?;
    from.nulls(BEFORE_DEADLINE)?;
    let deadline = from.maybe()?.map(Micros);
    from.nulls(BEFORE_HOLD_SINCE)?;
    let hold_since = from.maybe()?.map(Micros);
    from.nulls(AT_THE_END)?;
    from.end()?;
    let entry = Entry { pool, reservation, status, demand, hold_until, hold_since, order_ref, limits, used };
    Some(Event {
        partition,
        seq,
        epoch: u32::try_from(epoch).ok()?,
        prev,
        decided_at,
        cause: asked.cause(skipped, deadline)?,
        body: match kind {
            EventKind::Accepted => EventBody::Accepted(entry),
            EventKind::Confirmed => EventBody::Confirmed(entry),
            EventKind::Extended => EventBody::Extended(entry),
            EventKind::Expired => EventBody::Expired(entry),
            EventKind::Released => EventBody::Released(entry, released?.0),
            _ => return None,
        },
    })
}

/// Whether events of this kind are read here.
pub(super) fn is_read(kind: EventKind) -> bool {
    use EventKind::{Accepted, Confirmed, Expired, Extended, Released};
    matches!(kind, Accepted | Confirmed | Extended | Expired | Released)
}

/// What stands in an event about the command behind it, next to each other.
struct Asked {
    input_offset: Option<u64>,
    id: Option<CommandId>,
    reply_to: Option<i64>,
    attempt: Option<i64>,
    actor: Option<Name>,
    kind: Option<CommandKind>,
    key: Option<IdempotencyKey>,
    fingerprint: Option<i64>,
}

impl Asked {
    fn read(from: &mut Datum<'_>) -> Option<Asked> {
        let asked = Asked {
            input_offset: from.maybe()?,
            id: from.maybe()?.map(|Hex(id)| id),
            reply_to: from.maybe()?,
            attempt: from.maybe()?,
            actor: from.maybe::<Text<'_, Name>>()?.map(Text::value),
            kind: from.maybe()?.map(|Coded(kind)| kind),
            key: from.maybe::<Text<'_, IdempotencyKey>>()?.map(Text::value),
            fingerprint: from.maybe()?,
        };
        // No such event repeats another one.
        from.nulls(1).map(|()| asked)
    }

    /// The cause of the event, if it has one.
    fn cause(self, skipped: Option<u64>, deadline: Option<Micros>) -> Option<Option<Cause>> {
        let Some(input_offset) = self.input_offset else { return Some(None) };
        let skipped = skipped.unwrap_or_default();
        let Some(kind) = self.kind else {
            return Some(Some(Cause { input_offset, skipped, command: None, unread: self.id }));
        };
        let command = CommandStamp {
            id: self.id?,
            reply_to: self.reply_to.map(i64::cast_unsigned),
            attempt: Attempt(self.attempt?.cast_unsigned()),
            actor: self.actor,
            kind,
            key: self.key,
            fingerprint: self.fingerprint?.cast_unsigned(),
            deadline,
        };
        Some(Some(Cause { input_offset, skipped, command: Some(command), unread: None }))
    }
}
