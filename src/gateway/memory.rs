//! Whether this process has memory for new work. Every process of a log holds all partitions: at their limits the system would
//! kill all of them at about the same time. So new work is refused before, which each process says for itself: its limit is no
//! part of what an owner decides.

use crate::domain::{CommandBody, CommandKey, IdempotencyKey, Ledger, Micros, Reservation, Status};
use crate::replica::PartitionState;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// New work is refused while more than so many percent of the memory that the process may have are resident.
const REFUSE_PERCENT: u64 = 85;
/// Partitions have to count at least so many percent of it. More is counted than is resident: with less, something else has
/// taken the memory, and to refuse does not help.
const COUNTED_PERCENT: u64 = 75;
/// New work is taken again when no more than so many percent are resident, as after a larger limit.
const RESUME_PERCENT: u64 = 80;
/// It is also taken again when partitions count no more than so many percent of what they counted when it was refused, because
/// memory that was resident once may stay so, and is used again. Then it is refused again once they count as much as they did.
const RESUME_COUNTED_PERCENT: u64 = 90;
/// Or once so many percent of the limit more are resident than were then. Refusals are not counted, and what was given back may
/// not fit what comes: the memory would be full while partitions count less than they did.
const GROWN_PERCENT: u64 = 3;

const _: () = assert!(RESUME_PERCENT < REFUSE_PERCENT && REFUSE_PERCENT < 100 && RESUME_COUNTED_PERCENT < 100);

/// What was seen of the memory of this process.
#[derive(Default)]
pub struct Memory {
    /// Whether new work is refused.
    is_full: AtomicBool,
    /// The least bytes that partitions counted when new work began to be refused; 0 once less is resident.
    full_at: AtomicU64,
    /// The most bytes that were resident while new work was refused; 0 once less is resident.
    resident_at: AtomicU64,
}

impl Memory {
    /// Takes how many bytes all partitions count, how many bytes of the process are resident, and how many it may have.
    pub fn saw(&self, counted_bytes: u64, resident_bytes: u64, limit_bytes: u64) {
        let is_above = |bytes: u64, percent: u64, of: u64| bytes.saturating_mul(100) > of.saturating_mul(percent);
        let (was_full, full_at) = (self.is_full(), self.full_at.load(Relaxed));
        let resident_at = self.resident_at.load(Relaxed);
        let has_grown = is_above(resident_bytes.saturating_sub(resident_at), GROWN_PERCENT, limit_bytes);
        let is_large = is_above(resident_bytes, RESUME_PERCENT, limit_bytes);
        let is_full = match was_full {
            false => {
                is_above(resident_bytes, REFUSE_PERCENT, limit_bytes)
                    && is_above(counted_bytes, COUNTED_PERCENT, limit_bytes)
                    && (counted_bytes >= full_at || has_grown)
            }
            true => is_large && is_above(counted_bytes, RESUME_COUNTED_PERCENT, full_at),
        };
        if !is_large {
            self.full_at.store(0, Relaxed);
            self.resident_at.store(0, Relaxed);
        } else if is_full {
            if !was_full && (full_at == 0 || counted_bytes < full_at) {
                self.full_at.store(counted_bytes, Relaxed);
            }
            self.resident_at.store(resident_at.max(resident_bytes), Relaxed);
        }
        self.is_full.store(is_full, Relaxed);
        if is_full && !was_full {
            tracing::warn!(
                counted_bytes,
                resident_bytes,
                limit_bytes,
                "the memory of the process is full; new work is refused"
            );
        } else if was_full && !is_full {
            tracing::info!(
                counted_bytes,
                resident_bytes,
                limit_bytes,
                "the process has memory again; new work is taken"
            );
        }
    }

    /// Whether new work is refused.
    pub fn is_full(&self) -> bool {
        self.is_full.load(Relaxed)
    }
}

/// Whether more would be remembered for this command: then an owner whose partition is full refuses it. Of Amends it refuses
/// those that take more; here it is those with a key. A repetition is answered with what is remembered.
pub fn takes_memory(state: &PartitionState, body: &CommandBody, key: Option<&IdempotencyKey>, now: Micros) -> bool {
    match body {
        CommandBody::Confirm { .. }
        | CommandBody::Release { .. }
        | CommandBody::RetirePool { .. }
        | CommandBody::Abandon { .. } => false,
        CommandBody::Reserve { reservation, .. } => {
            let is_answered = |known: &Reservation| known.is_known(now) && known.status != Status::Void;
            !state.reservation(reservation).is_some_and(is_answered)
        }
        CommandBody::Extend { .. }
        | CommandBody::Amend { .. }
        | CommandBody::DefinePool { .. }
        | CommandBody::AdjustLimits { .. }
        | CommandBody::ChangePool { .. }
        | CommandBody::SetMode { .. } => {
            let key = CommandKey::of(body.kind(), key, body.pool(), body.reservation());
            key.is_some_and(|key| state.remembered(&key).is_none_or(|answer| answer.until <= now))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is counted and what is resident, of a hundred, and whether new work is refused then.
    #[track_caller]
    fn told(memory: &Memory, seen: &[(u64, u64, bool)]) {
        for (counted, resident, is_full) in seen {
            memory.saw(counted << 20, resident << 20, 100 << 20);
            assert_eq!(memory.is_full(), *is_full, "{counted} {resident}");
        }
    }

    #[test]
    fn new_work_is_refused_near_the_limit_until_clearly_less_is_counted() {
        let memory = Memory::default();
        let seen = [
            (160, 85, false),
            (75, 99, false),
            (160, 86, true),
            (160, 81, true),
            (145, 90, true),
            // What was resident stays so, for however long.
            (144, 90, false),
            (144, 90, false),
            (159, 90, false),
            (160, 90, true),
            (144, 90, false),
            (161, 90, true),
            // Something else gave memory back.
            (160, 80, false),
            (100, 86, true),
            (100, 80, false),
            (0, 0, false),
        ];
        told(&memory, &seen);
        memory.saw(u64::MAX, 1, 1);
        assert!(memory.is_full());
        // A limit can be raised while the process runs.
        memory.saw(u64::MAX, 1, 2);
        assert!(!memory.is_full());
    }

    /// The story: new work was taken again, and a day of many refusals followed, which do not count. Partitions never counted as
    /// much as they had, and the system killed the process.
    #[test]
    fn what_fills_memory_and_does_not_count_ends_new_work_as_well() {
        let seen = [
            (160, 86, true),
            (144, 86, false),
            (150, 89, false),
            (150, 90, true),
            (136, 90, true),
            // It has become less than at this refusal, and not only less than at the first one.
            (135, 93, false),
            (149, 93, false),
            (150, 93, true),
        ];
        told(&Memory::default(), &seen);
    }
}
