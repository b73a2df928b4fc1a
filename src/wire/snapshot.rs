//! Rows of a checkpoint: one for each pool, page of reservations, remembered answer, leaf of command ids and retired pool. Pools
//! and answers are encoded as the events that would make them; pages are packed, see `page.rs`.

use super::codes::codes;
use super::field::{Bytes, Code, Coded, record};
use super::schema::SNAPSHOTS;
use super::{DecodeError, counted, event, page, present, saturated};
use crate::domain::{
    CommandId, CommandKey, DedupEntry, EventBody, IdempotencyKey, Micros, Pool, PoolId, Reservation, ReservationId,
    Target,
};
use crate::limits::DECIDED_LEAF_IDS;
use std::borrow::Cow;
use std::sync::Arc;

/// Version of the layout of rows. There is no snapshot of a version before this one, so checkpoints of those are rebuilt from the
/// log. Whoever writes a new version goes on reading this one: of a log that has lost its first events nothing else tells.
pub const FORMAT_VERSION: u32 = 5;

/// The first byte of a row's key.
const POOL: u8 = b'p';
const PAGE: u8 = b'r';
const REMEMBERED: u8 = b'k';
const DECIDED: u8 = b'd';
const RETIRED: u8 = b't';
/// The first byte of the target of a remembered answer.
const OF_POOL: u8 = b'p';
const OF_RESERVATION: u8 = b'r';

/// The kind of a row.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum SnapshotKind {
    Pool,
    Page,
    DedupEntry,
    Decided,
    Retired,
}

codes! { SnapshotKind as "SnapshotKind", "Unknown":
    "Pool" = SnapshotKind::Pool,
    "Page" = SnapshotKind::Page,
    "Remembered" = SnapshotKind::DedupEntry,
    "Decided" = SnapshotKind::Decided,
    "Retired" = SnapshotKind::Retired,
}

record! {
    /// A row with the fields of its schema.
    SnapshotRecord {
        kind: Coded<SnapshotKind>,
        event: Bytes<'a>,
        page: Bytes<'a>,
        fingerprint: i64,
        until: i64,
        ids: Bytes<'a>,
        seq: i64,
    }
}

/// The key and the value of a row.
pub type KeyValue = (Vec<u8>, Vec<u8>);

pub use super::page::{Sharing, Slots};

/// The part of a state that a row holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Piece {
    /// A pool as it stands.
    Pool(Pool),
    /// A page: its number, and its reservations.
    Page(u32, Arc<Slots>),
    /// The answer that was given to a key.
    DedupEntry(CommandKey, DedupEntry),
    /// Ids of decided commands: until when they are kept, which part of those ids it is, and the ids.
    Decided((Micros, u32), Vec<CommandId>),
    /// A pool that has retired: with which event, and until when it keeps its place.
    Retired(PoolId, u64, Micros),
}

/// The key of the row of a pool.
pub fn pool_key(id: &PoolId) -> Vec<u8> {
    keyed(POOL, &[id.as_str().as_bytes()])
}

/// The row of a pool.
pub fn pool_row(pool: &Pool) -> KeyValue {
    let record = SnapshotRecord {
        event: Some(Bytes(Cow::Owned(event::encode_pool(pool)))),
        ..SnapshotRecord::of(Coded(SnapshotKind::Pool))
    };
    (pool_key(&pool.id), write(&record))
}

/// The key of the row of a page.
pub fn page_key(no: u32) -> Vec<u8> {
    keyed(PAGE, &[&no.to_be_bytes()])
}

/// The row of a page, with its reservations in order of slot.
pub fn page_row<'a>(no: u32, entries: impl Iterator<Item = (u8, &'a ReservationId, &'a Reservation)>) -> KeyValue {
    let record = SnapshotRecord {
        page: Some(Bytes(Cow::Owned(page::pack(entries)))),
        ..SnapshotRecord::of(Coded(SnapshotKind::Page))
    };
    (page_key(no), write(&record))
}

/// The key of the row of a remembered answer.
pub fn remembered_key(key: &CommandKey) -> Vec<u8> {
    let (kind, target) = match &key.target {
        Target::Pool(id) => (OF_POOL, id.as_str().as_bytes()),
        Target::Reservation(id) => (OF_RESERVATION, id.bytes().as_slice()),
    };
    keyed(REMEMBERED, &[&[kind, target.len() as u8], target, key.key.as_str().as_bytes()])
}

/// The row of a remembered answer.
pub fn remembered_row(key: &CommandKey, remembered: &DedupEntry) -> KeyValue {
    let record = SnapshotRecord {
        event: Some(Bytes(Cow::Owned(event::encode_body(&remembered.body, Some(remembered.seq))))),
        fingerprint: Some(remembered.fingerprint.cast_signed()),
        until: Some(saturated(remembered.until.0)),
        ..SnapshotRecord::of(Coded(SnapshotKind::DedupEntry))
    };
    (remembered_key(key), write(&record))
}

/// The key of a row of command ids: until when they are kept, and which part of those ids it is.
pub fn decided_key((until, no): (Micros, u32)) -> Vec<u8> {
    keyed(DECIDED, &[&until.0.to_be_bytes(), &no.to_be_bytes()])
}

/// The row of a part of the ids that are kept until the same time.
pub fn decided_row(no: (Micros, u32), ids: &[CommandId]) -> KeyValue {
    let packed = ids.iter().flat_map(|id| id.0.to_be_bytes()).collect();
    let record =
        SnapshotRecord { ids: Some(Bytes(Cow::Owned(packed))), ..SnapshotRecord::of(Coded(SnapshotKind::Decided)) };
    (decided_key(no), write(&record))
}

/// The key of the row of a pool that has retired.
pub fn retired_key(id: &PoolId) -> Vec<u8> {
    keyed(RETIRED, &[id.as_str().as_bytes()])
}

/// The row of a pool that has retired: with which event, and until when it keeps its place.
pub fn retired_row(id: &PoolId, seq: u64, until: Micros) -> KeyValue {
    let record = SnapshotRecord {
        until: Some(saturated(until.0)),
        seq: Some(saturated(seq)),
        ..SnapshotRecord::of(Coded(SnapshotKind::Retired))
    };
    (retired_key(id), write(&record))
}

/// Decodes a row.
///
/// # Errors
/// [`DecodeError`] says what is wrong with the row, also when the key does not belong to the value.
pub fn decode_row(key: &[u8], value: &[u8]) -> Result<Piece, DecodeError> {
    decode_row_sharing(key, value, &mut ())
}

/// The same, where reservations share values with those of other rows.
///
/// # Errors
/// Those of [`decode_row`].
pub fn decode_row_sharing(key: &[u8], value: &[u8], sharing: &mut impl Sharing) -> Result<Piece, DecodeError> {
    let (record, _) = SNAPSHOTS.read::<SnapshotRecord<'static>>(value)?;
    let piece = match (record.kind.0, key) {
        (SnapshotKind::Pool, [POOL, ..]) => match event::decode_body(&present(record.event, "event")?.0)?.0 {
            EventBody::PoolDefined(pool) => Piece::Pool(pool),
            _ => return Err(DecodeError::new("a pool's row tells of no pool")),
        },
        (SnapshotKind::Page, [PAGE, no @ ..]) => {
            let no = no.try_into().map(u32::from_be_bytes).map_err(|_| DecodeError::new("not a page's key"))?;
            Piece::Page(no, page::unpack(&present(record.page, "page")?.0, sharing)?)
        }
        (SnapshotKind::DedupEntry, [REMEMBERED, rest @ ..]) => {
            let (body, seq) = event::decode_body(&present(record.event, "event")?.0)?;
            let remembered = DedupEntry {
                fingerprint: present(record.fingerprint, "fingerprint")?.cast_unsigned(),
                until: Micros(counted(record.until, "until")?),
                body: Box::new(body),
                seq: present(seq, "seq")?,
            };
            Piece::DedupEntry(command_key_of(rest)?, remembered)
        }
        (SnapshotKind::Decided, [DECIDED, no @ ..]) => {
            let ids = present(record.ids, "ids")?.0;
            let (ids, rest) = ids.as_chunks::<16>();
            if ids.len() > DECIDED_LEAF_IDS || !rest.is_empty() {
                return Err(DecodeError::new("not as many ids as a row holds"));
            }
            Piece::Decided(leaf_no_of(no)?, ids.iter().map(|id| CommandId(u128::from_be_bytes(*id))).collect())
        }
        (SnapshotKind::Retired, [RETIRED, id @ ..]) => {
            let odd = || DecodeError::new("not a key of a retired pool");
            let id = std::str::from_utf8(id).ok().and_then(|id| PoolId::new(id).ok()).ok_or_else(odd)?;
            Piece::Retired(id, counted(record.seq, "seq")?, Micros(counted(record.until, "until")?))
        }
        _ => return Err(DecodeError::new("the key is not one of such a row")),
    };
    match &piece {
        Piece::Pool(pool) if key != pool_key(&pool.id) => Err(DecodeError::new("the key is another pool's")),
        _ => Ok(piece),
    }
}

fn leaf_no_of(rest: &[u8]) -> Result<(Micros, u32), DecodeError> {
    let odd = || DecodeError::new("not a key of command ids");
    let (until, no) = rest.split_first_chunk().ok_or_else(odd)?;
    let no = no.try_into().map_err(|_| odd())?;
    Ok((Micros(u64::from_be_bytes(*until)), u32::from_be_bytes(no)))
}

fn command_key_of(rest: &[u8]) -> Result<CommandKey, DecodeError> {
    let odd = || DecodeError::new("not a remembered answer's key");
    let ([kind, len], rest) = rest.split_first_chunk().ok_or_else(odd)?;
    let (target, key) = rest.split_at_checked(usize::from(*len)).ok_or_else(odd)?;
    let text = |bytes| std::str::from_utf8(bytes).map_err(|_| odd());
    let target = match *kind {
        OF_POOL => Target::Pool(PoolId::new(text(target)?).map_err(|_| odd())?),
        OF_RESERVATION => {
            let bytes = target.try_into().map_err(|_| odd())?;
            Target::Reservation(ReservationId::from_bytes(bytes).map_err(|_| odd())?)
        }
        _ => return Err(odd()),
    };
    Ok(CommandKey { target, key: IdempotencyKey::new(text(key)?).map_err(|_| odd())? })
}

fn keyed(kind: u8, parts: &[&[u8]]) -> Vec<u8> {
    let mut key = vec![kind];
    parts.iter().for_each(|part| key.extend_from_slice(part));
    key
}

fn write(record: &SnapshotRecord<'_>) -> Vec<u8> {
    let body =
        [&record.event, &record.page, &record.ids].into_iter().flatten().map(|bytes| bytes.0.len()).sum::<usize>();
    SNAPSHOTS.write(record, body.saturating_add(32))
}
