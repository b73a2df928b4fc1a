//! The answers that were given to idempotency keys, as the auditor remembers them. They are kept as long as an owner
//! must keep them, in the same number of bytes.

use super::memory::{Memory, Ring};
use crate::domain::room;
use crate::domain::{CommandKey, EventBody, Micros};

/// The answer that was given to a key. A Reserve has none, because its reservation id contains the key.
pub(super) struct Answer {
    pub(super) fingerprint: u64,
    pub(super) body: EventBody,
    /// The sequence number of the event that gave it.
    pub(super) seq: u64,
}

/// The number of answers that owners of older versions remembered.
const OLDER_ANSWERS_MAX: usize = 1 << 13;

/// Every remembered answer.
pub(super) struct Answers {
    applied: Memory<CommandKey, Answer>,
    refused: Ring<CommandKey, Answer>,
}

impl Answers {
    /// No answers. Refusals are remembered in `refused_bytes_max` bytes.
    pub(super) fn new(refused_bytes_max: u64) -> Answers {
        Answers { applied: Memory::new(), refused: Ring::new(refused_bytes_max) }
    }

    pub(super) fn at(&mut self, now: Micros) {
        self.applied.at(now);
        self.refused.at(now);
    }

    pub(super) fn forget(&mut self) {
        self.applied.forget();
        self.refused.forget();
    }

    pub(super) fn set_back(&mut self, from: Micros, by_us: u64) {
        self.applied.set_back(from, by_us);
        self.refused.set_back(by_us);
    }

    pub(super) fn recall(&self, key: &CommandKey) -> Option<&Answer> {
        self.applied.recall(key).or_else(|| self.refused.recall(key))
    }

    /// Remembers an answer until `until`; a refusal only while there is room.
    pub(super) fn put(&mut self, key: CommandKey, answer: Answer, until: Micros) {
        let bytes = room::of_answer(&key, &answer.body);
        self.applied.remove(&key);
        self.refused.remove(&key);
        match answer.body {
            EventBody::Rejected(_) => self.refused.put(key, answer, until, bytes),
            _ => self.applied.put(key, answer, until, bytes),
        }
    }

    /// Whether an owner of an older version may have forgotten some of them.
    pub(super) fn is_beyond_older(&self) -> bool {
        self.applied.len().saturating_add(self.refused.len()) > OLDER_ANSWERS_MAX || self.refused.has_overflowed()
    }

    /// Bytes that count in an owner's memory.
    pub(super) fn bytes(&self) -> u64 {
        self.applied.bytes()
    }

    /// All answers, sorted by key, and until when they are remembered.
    pub(super) fn sorted(&self) -> Vec<(&CommandKey, &Answer, Micros)> {
        let mut answers: Vec<_> = self.applied.iter().chain(self.refused.iter()).collect();
        answers.sort_unstable_by_key(|(key, ..)| *key);
        answers
    }
}
