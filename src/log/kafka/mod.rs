//! The log on Apache Kafka. `commands[p]` holds the commands of partition `p`, and `events[p]` holds what its owner decided,
//! in transactions of one turn each. The client is librdkafka, which speaks the first version of the transaction protocol.
//! Commands and events are opaque bytes here; the code knows their order and their headers only.
//!
//! What we observed with a real broker (4.3.1), and rely on:
//! - `init_transactions` fences. It returns only when every older transaction of the id has ended and has its marker. A
//!   claim still writes a record of its own, the fence, and reads up to it, because the end offset that it could ask for
//!   may come from a leader that was elected a moment ago.
//! - A fenced producer gets the same error whether another owner came or its own transaction ran out of time.
//! - The answer to a commit comes before the markers are written, so committed readers see the turn a little later. Ends and
//!   reads wait for open transactions ([`client::reader::wait_for_open_turns`]): a caller that was told of a commit finds it.
//! - The library's flush waits in steps of 100 ms. So [`owner::producer`] waits for delivery reports by itself.
//! - The library looks for the transaction coordinator once in 500 ms. So [`owner::standby`] keeps connected clients.
//! - With five messages of a partition in flight, an idempotent client spins on the others until those are written. So
//!   [`data::sink`] hands over everything at once, and only when fewer are in flight.
//! - A rebalance takes two rounds with a second between them, in which a partition that moves has no assigned member. So an
//!   owner continues until its successor fences it.

pub mod client;
mod cluster_log;
mod data;
mod group;
mod inner;
pub mod ops;
mod owner;
pub mod schema;

pub use client::settings::{Cluster, Topics};
pub use data::paces::{Pace, Paces};
pub use data::stream::Stream;
pub use owner::owned::Owned;
pub use owner::position::{CommandsPosition, Continuity};
pub use schema::framing::Framing;

use super::{FeatureLevel, LogError, Manifest};
use inner::Inner;
use std::sync::Arc;

/// The log of one cluster, as one process uses it. Clones share everything.
#[derive(Clone)]
pub struct Kafka {
    inner: Arc<Inner>,
}

impl Kafka {
    /// Opens a log whose topics and manifest have been checked (see [`ops::preflight`]). `draw` returns random numbers, so
    /// that no two claims have the same one.
    ///
    /// # Errors
    /// [`LogError`] when no client can be made of the settings.
    pub fn open(
        cluster: Cluster,
        manifest: Manifest,
        framing: Framing,
        draw: impl Fn() -> u128 + Send + Sync + 'static,
    ) -> Result<Kafka, LogError> {
        Kafka::open_at(FeatureLevel::default(), cluster, manifest, framing, draw)
    }

    /// The same of a log that has this feature level.
    ///
    /// # Errors
    /// As [`Kafka::open`].
    pub fn open_at(
        level: FeatureLevel,
        cluster: Cluster,
        manifest: Manifest,
        framing: Framing,
        draw: impl Fn() -> u128 + Send + Sync + 'static,
    ) -> Result<Kafka, LogError> {
        let inner = Inner::new(level, cluster, manifest, framing, Box::new(draw))?;
        Ok(Kafka { inner: Arc::new(inner) })
    }

    /// The cluster that holds the log.
    pub fn cluster(&self) -> &Cluster {
        &self.inner.context.cluster
    }

    /// What turns cost. It does not keep the log open.
    pub fn paces(&self) -> Paces {
        self.inner.context.paces.clone()
    }
}
