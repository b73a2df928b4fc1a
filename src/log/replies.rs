//! Replies: outcomes on their way back to the gateways that wait for them.

use super::error::LogError;
use crate::domain::ChainedEvent;
use crate::trace::TraceContext;
use std::time::Duration;

/// An outcome on its way to the gateway that waits for it. It is sent after the commit, never before.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reply {
    /// The number that the gateway's process has drawn at random.
    pub to: u64,
    /// The decided event, as the log holds it.
    pub decided: ChainedEvent,
    /// The framed event, as its turn wrote it.
    pub bytes: Vec<u8>,
    /// The span that sends it, when the call's spans are recorded.
    pub trace: Option<TraceContext>,
}

/// Sends outcomes back to gateways. A reply may be lost: the partition's events show the same outcome.
pub trait ReplyChannel: Send + Sync {
    /// Sends replies, without waiting.
    fn send(&self, replies: Vec<Reply>);
}

/// Receives the replies to one gateway. Used by one thread.
pub trait ReplyReader: Send {
    /// The replies that have come, in order; empty when none came within `wait`.
    ///
    /// # Errors
    /// [`LogError`] when replies cannot be read any more: make another reader.
    fn next(&self, wait: Duration) -> Result<Vec<Reply>, LogError>;
}
