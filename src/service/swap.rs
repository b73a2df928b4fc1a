//! An operator has the state of a partition replaced by one that is folded anew from the log. The fold goes on in the
//! process when the caller has left; who asks is told how far it is, and later what came of it.

use super::Service;
use crate::access::{Act, Principal};
use crate::domain::Name;
use crate::trace::CallTrace;
use std::sync::Arc;

pub use crate::replica::{Compared, Seal, Swapped};

/// Makes fresh states, one at a time: a second state of a partition is all that there is room for.
pub trait Swaps: Send + Sync {
    /// Begins to fold a fresh state of the partition, which takes the place of the living one. Calls `ended` when that is
    /// done or has failed.
    fn begin(&self, partition: u32, ended: Box<dyn FnOnce(&SwapEnd) + Send>) -> SwapBegun;

    /// The last swap of the partition in this process; none where there was none.
    fn progress(&self, partition: u32) -> Option<SwapProgress>;
}

/// Whether a swap has begun.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SwapBegun {
    /// A fresh state is being folded.
    Begun,
    /// Another one is under way in this process: ask again when it is over.
    Busy,
    /// The process is starting or ending, or has no thread to spare.
    Unable,
}

impl SwapBegun {
    /// The stable name of the answer.
    pub fn code(self) -> &'static str {
        match self {
            SwapBegun::Begun => "begun",
            SwapBegun::Busy => "busy",
            SwapBegun::Unable => "unable",
        }
    }
}

/// What came of a swap: which state was replaced, or a code and the reason why none was.
pub type SwapEnd = Result<Swapped, SwapFailed>;

/// The living state is still there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SwapFailed {
    /// The stable name of the reason.
    pub code: &'static str,
    /// The reason in words.
    pub why: String,
}

/// How far a swap is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SwapProgress {
    /// The name of the snapshot that the fresh state began with; none where the log was read from its first event.
    pub snapshot: Option<String>,
    /// Snapshots that were passed over before, and why.
    pub passed_over: Vec<String>,
    /// The sequence number of the first event that is read.
    pub first: u64,
    /// The sequence number after the last event that is folded.
    pub reached: u64,
    /// The sequence number after the last event of the log, as far as that is known.
    pub end: u64,
    /// Bytes of events that were read.
    pub bytes: u64,
    /// For how many milliseconds it has been going, or had been at its end.
    pub took_ms: u64,
    /// What came of it; none while it is under way.
    pub ended: Option<SwapEnd>,
}

impl Service {
    /// The same service, which can have states replaced.
    #[must_use]
    pub fn swapping(self, swaps: Arc<dyn Swaps>) -> Service {
        Service { swaps: Some(swaps), ..self }
    }

    /// Begins to replace the partition's state in this process by one that is folded anew. The audit log says who has asked,
    /// and what came of it.
    pub fn begin_swap(&self, partition: u32, principal: &Arc<Principal>, trace: &CallTrace) -> SwapBegun {
        let (principal, trace_id) = (Arc::clone(principal), trace.to_string());
        let log = move |outcome, changed: Option<&str>| {
            let principal = principal.name.as_ref().map(Name::as_str);
            let (partition, trace_id) = (Some(partition), Some(&*trace_id));
            Act { principal, operation: "swap_state", outcome, changed, partition, trace_id, ..Act::default() }.log();
        };
        let ended = {
            let log = log.clone();
            move |end: &SwapEnd| match end {
                Ok(Swapped { compared, .. }) => {
                    let Compared { living, fresh } = compared;
                    let changed = format!("state: {} -> {}", living.digest, fresh.digest);
                    log("ok", (!compared.is_same()).then_some(&changed));
                }
                Err(SwapFailed { code, .. }) => log(code, None),
            }
        };
        let begun = self.swaps.as_ref().map_or(SwapBegun::Unable, |swaps| swaps.begin(partition, Box::new(ended)));
        if begun != SwapBegun::Begun {
            log(begun.code(), None);
        }
        begun
    }

    /// How far the last swap of the partition is; none where there was none since the process began.
    pub fn swap_progress(&self, partition: u32) -> Option<SwapProgress> {
        self.swaps.as_ref()?.progress(partition)
    }
}
