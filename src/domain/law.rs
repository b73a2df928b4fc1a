//! The laws by name. The owner asserts them, the auditor derives them again from events, and `headroom verify`
//! reports breaches.

use super::pool::Pool;
use super::units::Amounts;
use std::fmt;

macro_rules! laws {
    ($($name:ident = $id:literal, $sentence:literal;)*) => {
        /// A promise about every log Headroom ever writes.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum Law { $(#[doc = $sentence] $name,)* }

        impl Law {
            /// All laws, `L1` first.
            pub const ALL: &[Law] = &[$(Law::$name,)*];

            /// The short name, `L1` to `L10`.
            pub fn id(self) -> &'static str {
                match self { $(Law::$name => $id,)* }
            }

            /// The law in one sentence.
            pub fn sentence(self) -> &'static str {
                match self { $(Law::$name => $sentence,)* }
            }
        }
    };
}

laws! {
    Capacity = "L1", "an acceptance never leaves used above the limit in force, in any dimension; nor does an amend, in any that it takes more of";
    OneDecision = "L2", "every command offset is covered by one event: it decides a command, skips a place without one, or calls it lost";
    Chain = "L3", "sequence numbers are dense, the epoch never decreases, each record holds its predecessor's digest";
    SameAnswer = "L4", "within the window a key has one business outcome on the pool or reservation that it was used on, another body under it is refused, and neither a reservation that is over nor a pool that has retired is called alive; a refusal, which took nothing, is kept while there is room";
    FinalNo = "L5", "a caller told no holds nothing once its partition is up";
    TrueYes = "L6", "a caller told yes has exactly one committed acceptance";
    OneState = "L7", "fold of all events = fold of snapshot and tail = live state, compared by digest";
    HonestReads = "L8", "a read says how old it is, never goes backwards on a node, and equals a committed prefix";
    ClocksDecideNothing = "L9", "clocks may expire a request early or late and never decide capacity; a partition's time goes back where its clock is set, and nowhere else";
    LogIsTruth = "L10", "a checkpoint may lag the log, and an odd one is rebuilt from it; a log that holds less than was seen of it stops until a person decides";
}

impl fmt::Display for Law {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id())
    }
}

/// A law was found broken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Breach {
    /// The broken law.
    pub law: Law,
    /// The partition where it was found.
    pub partition: u32,
    /// The sequence number of the event that breaks it.
    pub seq: u64,
    /// What was expected and what was seen, for a person.
    pub detail: String,
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Breach { law, partition, seq, detail } = self;
        write!(f, "{law} broken at partition {partition} seq {seq}: {detail}")
    }
}

impl std::error::Error for Breach {}

/// L1: checks `limits` and `used` of an event in which a reservation takes `demand` in place of `before` (nothing,
/// for an acceptance), given the pool before it.
///
/// # Errors
/// What is wrong with `limits` or `used`.
pub fn admitted(
    pool: &Pool,
    before: &Amounts,
    demand: &Amounts,
    limits: &Amounts,
    used: &Amounts,
) -> Result<(), String> {
    if *limits != pool.spec.limits {
        return Err(format!("judged against limits {limits:?}, in force are {:?}", pool.spec.limits));
    }
    if !pool.used.exchanges_to(before, demand, used) || demand.is_empty() {
        let was = &pool.used;
        return Err(format!("demand {demand:?} in place of {before:?} on used {was:?} cannot leave used {used:?}"));
    }
    let is_above = |d| used.get(d).zip(limits.get(d)).is_none_or(|(used, limit)| used > limit);
    match demand.beyond(before).find(|(d, _)| is_above(*d)) {
        Some((d, _)) => Err(format!("used {used:?} above limit {limits:?} in {d}")),
        None => Ok(()),
    }
}

/// L1: checks `used` of an event that gives `demand` back, given the pool before it.
///
/// # Errors
/// What is wrong with `used`.
pub fn given_back(pool: &Pool, demand: &Amounts, used: &Amounts) -> Result<(), String> {
    match pool.used.exchanges_to(demand, &Amounts::default(), used) {
        true => Ok(()),
        false => Err(format!("giving {demand:?} back of {:?} cannot leave {used:?}", pool.used)),
    }
}
