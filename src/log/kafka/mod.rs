//! The log on Apache Kafka: `commands[p]` holds what callers ask, `events[p]` what the owner of `p` decided, in
//! transactions of one turn each. The client is librdkafka, which speaks the first version of the transaction protocol.
//!
//! What was seen of a real broker (4.3.1) and is leant on here:
//! - `init_transactions` fences, and returns only when every older transaction of the id is decided and marked. A claim
//!   still writes a record of its own, the fence, and reads up to it: an end of the partition asked for may be that of a
//!   leader that was elected a moment ago.
//! - The error of a fenced producer is the same whether another owner came or its own transaction ran out of time.
//! - The answer to a commit comes before its markers are written: committed readers see the turn a little later. Ends
//!   and reads wait for what is open ([`client::reader::wait_for_open_turns`]), so that who was told of a commit finds it.
//! - A flush of the client waits in steps of 100 ms, hence [`owner::producer`] drains by itself.
//! - The coordinator is asked for once in 500 ms, hence [`owner::standby`].
//! - An idempotent client with five messages of a partition in flight spins on the others until those have landed, hence
//!   [`sink`] hands over all at once, and only when there is room.
//! - A member of the group waits a second between the two rounds of a rebalance, in which nobody is given what moves,
//!   hence an owner goes on until its successor fences it.
//!
//! Nothing here knows what a decision is: bytes in, bytes out, in order.

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

use super::{LogError, Manifest};
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
        let inner = Inner::new(cluster, manifest, framing, Box::new(draw))?;
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
