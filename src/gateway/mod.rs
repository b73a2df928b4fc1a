//! From a caller's request to its outcome: admission, routing, the command's way into the log, and the correlation of
//! what comes back. [`Correlator`] and [`Readiness`] are sans-IO; [`service`] is their shell, which the
//! use cases call.
#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

pub mod admission;
pub mod correlator;
pub mod memory;
pub mod readiness;
pub mod routing;
pub mod service;

pub use correlator::{Correlator, Outcome};
pub use readiness::Readiness;
pub use service::{Call, CallReport, Gateway, PendingCounts, Restored, Stage, Startup};
