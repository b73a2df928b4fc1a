//! A fresh state that is to take the place of a partition's living one, and how the two compare.

use super::super::state::{Frozen, PartitionState, Position};
use crate::domain::{Breach, Digest, Law};

/// A state by its place in the log and its digest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Seal {
    /// How far it has folded.
    pub position: Position,
    /// The digest of all that counts (L7).
    pub digest: Digest,
}

impl Seal {
    /// That of this state. It takes as long as the state is large.
    pub fn of(state: &PartitionState) -> Seal {
        Seal { position: *state.position(), digest: state.digest() }
    }

    /// That of a state as it was.
    pub fn of_frozen(state: &Frozen) -> Seal {
        Seal { position: *state.position(), digest: state.digest() }
    }
}

/// A living state beside a fresh one that has folded as many events.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Compared {
    /// The state that was answered and decided from.
    pub living: Seal,
    /// The state that the log leads to.
    pub fresh: Seal,
}

impl Compared {
    /// Whether the living state was that of the log.
    pub fn is_same(&self) -> bool {
        self.living == self.fresh
    }

    /// The law that the living state breaks (L7); none where it is that of the log.
    pub fn breach(&self, partition: u32) -> Option<Breach> {
        let Compared { living, fresh } = self;
        let detail = format!(
            "the state in memory has digest {} after event {}, the log leads to {} after {}",
            living.digest, living.position.chain, fresh.digest, fresh.position.chain
        );
        let seq = fresh.position.next_seq.saturating_sub(1);
        (!self.is_same()).then_some(Breach { law: Law::OneState, partition, seq, detail })
    }
}

/// A fresh state has taken the place of the living one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Swapped {
    /// Whether this process owned the partition at that moment; otherwise it followed it.
    pub is_owner: bool,
    /// The state that was replaced, and the fresh one, by place and digest.
    pub compared: Compared,
}

/// The living state that was replaced, and how it compared with the fresh one; or the fresh one, which was not taken.
pub type Replaced = Result<(Compared, PartitionState), Box<PartitionState>>;

/// A fresh state on its way to the place of the living one.
pub struct Brought {
    /// The fresh state.
    pub state: PartitionState,
    /// How the two compared a few events earlier. If they were the same then and have folded the same events since, whoever takes
    /// the fresh state need not compare them again.
    pub compared: Compared,
}

/// A request to put a fresh state in the place of the living one, between two turns of the partition's owner, or between two
/// events of its follower.
pub struct SwapRequest {
    /// Called with the sequence number after the last event of the living state. Answers a fresh state that has folded the
    /// events before it, for which it may wait a short while; none where there is none by then. Dropped uncalled when
    /// nobody handles the request.
    pub bring: Box<dyn FnOnce(u64) -> Option<Brought> + Send>,
    /// Called with what came of it, once a fresh state was brought.
    pub told: Box<dyn FnOnce(Replaced) + Send>,
}
