//! What Headroom decides: values in, values out. There is no clock, no hash map, no input or output and no other
//! crate but Unicode's tables. [`decide`](decide::decide) decides, [`evolve`](evolve::evolve) is the only way a state
//! changes, live and on replay alike, and [`law`] names what must always hold.
#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

pub mod change;
pub mod command;
pub mod coverage;
pub mod decide;
pub mod event;
pub mod evolve;
pub mod hex;
pub mod ids;
pub mod kind;
pub mod law;
pub mod ledger;
pub mod name;
pub mod outcome;
pub mod outline;
pub mod pool;
pub mod reservation;
pub mod retention;
pub mod room;
pub mod route;
pub mod units;

pub use change::{Edit, LimitChange, PoolChange, RuleChange, WindowChange};
pub use command::{Command, CommandBody, Reserved, Subject};
pub use event::{
    AskedChange, Cause, ChainedEvent, CommandStamp, Entry, Event, EventBody, Origin, Rejection, ReleaseCause,
    RetireCause, Retirement,
};
pub use hex::{hex_digit, hex128};
pub use ids::{Attempt, CommandId, Digest, Dimension, IdempotencyKey, NameError, PoolId, ReservationId, Why};
pub use kind::{CommandKind, EventKind, KeyScope};
pub use law::{Breach, Law};
pub use ledger::{CommandKey, DedupEntry, Ledger, LedgerMut, Living, Target, kept_until};
pub use name::Name;
pub use outcome::Reason;
pub use outline::Outline;
pub use pool::{Mode, Pool, PoolRules, PoolSpec, Window};
pub use reservation::{Attempts, Judged, Reservation, Status};
pub use units::{Amounts, Micros};
