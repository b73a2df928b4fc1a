//! Putting a state together from the rows of a checkpoint or of a snapshot, on all cores: rows are decoded beside each other
//! while they are read, and what follows from them is made anew while they are proven. Where the system gives no thread, it is
//! done one after the other. Nothing is handed out that is not proven.

use crate::domain::Digest;
use crate::replica::PartitionState;
use crate::replica::checkpoint::Restoring;
use crate::replica::state::Restored;
use crate::store::Mark;
use crate::threads::{beside, processors};
use crossbeam_channel::bounded;
use std::borrow::Cow;
use std::panic::resume_unwind;
use std::thread::{Builder, scope};

/// Bytes of rows that are handed to a decoder at once, and the most such batches that wait.
const BATCH_BYTES: usize = 512 << 10;
const WAITING: usize = 2;
/// The most runs of reservations that wait to be hashed.
const RUNS_AHEAD: usize = 4;
/// The most threads that decode what one thread reads: with more of them, decoding is faster than folding.
const DECODERS_MAX: usize = 4;

/// How many threads decode beside each other.
pub(super) fn decoders() -> usize {
    processors().min(DECODERS_MAX)
}

/// The key and the value of a row on its way to a decoder.
type Row<'o> = [Cow<'o, [u8]>; 2];

fn decode(batch: &[Row<'_>], into: &mut Restoring) {
    batch.iter().for_each(|[key, value]| into.row(key, value));
}

/// Takes in the rows that `load` hands over. The thread that reads them decodes what the others have no time for.
///
/// # Errors
/// Those of `load`.
pub(super) fn take_in<'o, T, E>(
    (partition, log_id): (u32, u128),
    load: impl FnOnce(&mut dyn FnMut(Row<'o>)) -> Result<T, E>,
) -> Result<(T, Restoring), E> {
    let begin = || Restoring::new(partition, log_id);
    scope(|scope| {
        let (send, batches) = bounded::<Vec<Row<'o>>>(WAITING);
        // The thread that reads is one of them.
        let decoding = (1..decoders()).filter_map(|_| {
            let batches = batches.clone();
            let decoding = move || {
                let mut restoring = begin();
                batches.iter().for_each(|batch| decode(&batch, &mut restoring));
                restoring.sort();
                restoring
            };
            Builder::new().name(format!("restores-{partition}")).spawn_scoped(scope, decoding).ok()
        });
        let decoding: Vec<_> = decoding.collect();
        let (mut restoring, mut batch, mut bytes) = (begin(), Vec::new(), 0_usize);
        let mut hand_over = |batch: Vec<Row<'o>>| {
            // Without decoders all of it is decoded here.
            let refused =
                if decoding.is_empty() { Some(batch) } else { send.try_send(batch).err().map(|e| e.into_inner()) };
            refused.iter().for_each(|batch| decode(batch, &mut restoring));
        };
        let loaded = load(&mut |row| {
            bytes = row.iter().fold(bytes, |bytes, part| bytes.saturating_add(part.len()));
            batch.push(row);
            if bytes >= BATCH_BYTES {
                hand_over(std::mem::take(&mut batch));
                bytes = 0;
            }
        });
        hand_over(batch);
        drop(send);
        let loaded = loaded?;
        restoring.sort();
        for decoder in decoding {
            match decoder.join() {
                Ok(decoded) => restoring.join(decoded),
                Err(panic) => resume_unwind(panic),
            }
        }
        Ok((loaded, restoring))
    })
}

/// The state that the rows make at this mark. It has to have the digest `proof`, if there is one.
///
/// # Errors
/// Why the rows make no state, or not that one, in words.
pub(super) fn put_together(restoring: Restoring, mark: &Mark, proof: Option<Digest>) -> Result<PartitionState, String> {
    let restored = restoring.assemble(mark)?;
    let (proven, derived) =
        beside(format!("proves-{}", mark.partition), || prove(&restored, proof), || restored.derive());
    restored.complete(proven, derived)
}

/// Checks that the pieces have this digest. Another thread puts every other run together.
fn prove(restored: &Restored, proof: Option<Digest>) -> Result<(), String> {
    if proof.is_none() {
        return Ok(());
    }
    scope(|scope| {
        let (done, every_other) = bounded(RUNS_AHEAD);
        let helping = move || {
            // Who takes them is gone only after a panic.
            (1..restored.runs()).step_by(2).map(|no| restored.run(no)).all(|run| done.send(run).is_ok());
        };
        // Without a thread all are put together here, because nothing is received.
        drop(Builder::new().name("states".to_owned()).spawn_scoped(scope, helping));
        restored.prove(proof, |no| {
            let done = if no.is_multiple_of(2) { None } else { every_other.recv().ok() };
            done.unwrap_or_else(|| restored.run(no))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        Amounts, Attempt, Attempts, Dimension, Micros, Mode, Name, Pool, PoolId, PoolSpec, Reservation, ReservationId,
        Status,
    };
    use crate::limits::PAGE_SLOTS;
    use crate::wire::snapshot::{FORMAT_VERSION, KeyValue, page_row, pool_row};

    const PAGES: usize = 300;
    const COUNT: u64 = (PAGES * PAGE_SLOTS) as u64;

    fn amounts(units: u64) -> Amounts {
        Amounts::new([(Dimension::new("orders").unwrap(), units)]).unwrap()
    }

    /// A pool and its reservations, in more rows than one batch has. Every second one is a hold with an order.
    fn rows() -> Vec<KeyValue> {
        let id = PoolId::new("slot").unwrap();
        let limits = amounts(1 << 40);
        let (areas, labels, rules) = Default::default();
        let spec = PoolSpec { limits, areas, window: None, labels, mode: Mode::Open, rules };
        let mut rows = vec![pool_row(&Pool { id: id.clone(), spec, used: amounts(COUNT), version: 1 })];
        let reservation = |n: u64| {
            let is_hold = n.is_multiple_of(2);
            let reservation = Reservation {
                demand: amounts(1),
                status: if is_hold { Status::Held } else { Status::Confirmed },
                until: Micros(if is_hold { 5_000_u64.saturating_sub(n.wrapping_rem(1_000)) } else { 0 }),
                order_ref: is_hold.then(|| Name::new(&format!("order-{n}")).unwrap()),
                attempts: Attempts::One(Attempt(n)),
                seq: n,
                decided_seq: n,
                ..Reservation::void(id.clone())
            };
            let unique = *blake3::hash(&n.to_le_bytes()).as_bytes().first_chunk().unwrap();
            (ReservationId::new(7, unique), reservation)
        };
        let all: Vec<_> = (0..COUNT).map(reservation).collect();
        for (page, entries) in (0..).zip(all.chunks(PAGE_SLOTS)) {
            rows.push(page_row(page, (0..).zip(entries).map(|(at, (id, reservation))| (at, id, reservation))));
        }
        rows
    }

    fn taken(rows: &[KeyValue]) -> Restoring {
        let taken = take_in((0, 7), |row| {
            rows.iter().for_each(|(key, value)| row([key.into(), value.into()]));
            Ok::<_, ()>(())
        });
        taken.unwrap().1
    }

    #[test]
    fn a_state_that_several_threads_put_together_is_the_one_of_one_thread() {
        let rows = rows();
        let mark = Mark {
            log_id: 7,
            partition: 0,
            format_version: FORMAT_VERSION,
            next_seq: 1 << 20,
            next_input: 1 << 20,
            chain: Digest::default(),
            epoch: 1,
            decided_at: Micros(1_000),
        };
        assert!(rows.iter().map(|(_, value)| value.len()).sum::<usize>() > 3 * BATCH_BYTES);
        let mut alone = Restoring::new(0, 7);
        rows.iter().for_each(|(key, value)| alone.row(key, value));
        let alone = alone.finish(&mark, None).unwrap();
        let proof = alone.digest();
        let state = put_together(taken(&rows), &mark, Some(proof)).unwrap();
        assert_eq!((state.digest(), state.live_count()), (proof, alone.live_count()));
        assert_eq!(state.memory_bytes(), alone.memory_bytes());
        assert_eq!(state.due(Micros(4_100), 50), alone.due(Micros(4_100), 50));
        assert_eq!(state.next_expiry(), Some(Micros(4_002)));
        let known = state.known(Micros(1_000));
        assert!(known.iter().all(|(id, reservation)| state.entry(id) == Some(reservation)));

        let other = put_together(taken(&rows), &mark, Some(Digest::default())).err();
        assert!(other.is_some_and(|why| why.contains("another state")));
        let twice = [rows.as_slice(), &rows[5..6]].concat();
        assert!(put_together(taken(&twice), &mark, None).err().is_some_and(|why| why.contains("two slots hold")));
        let short = put_together(taken(&rows[..PAGES]), &mark, None).err();
        assert!(short.is_some_and(|why| why.contains("its reservations add up to")));
        let mut damaged = rows;
        damaged[200].1.truncate(100);
        assert!(put_together(taken(&damaged), &mark, None).is_err());
    }
}
