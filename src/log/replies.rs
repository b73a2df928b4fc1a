//! Replies: outcomes on their way back to whoever waits for them.

use super::error::LogError;
use crate::domain::ChainedEvent;
use std::time::Duration;

/// An outcome on its way to the gateway that waits for it. It is sent after the commit, never before.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reply {
    /// The number that the gateway's process has drawn for itself.
    pub to: u64,
    /// The decision, as the log holds it.
    pub decided: ChainedEvent,
    /// The framed event, as its turn has written it.
    pub bytes: Vec<u8>,
}

/// Carrying outcomes back. A reply may be lost: whoever follows the partition's events finds the same outcome there.
pub trait ReplyChannel: Send + Sync {
    /// Sends replies, without waiting.
    fn send(&self, replies: Vec<Reply>);
}

/// Receiving the replies to one gateway. For one thread.
pub trait ReplyReader: Send {
    /// The replies that have come, in order; empty when none came within `wait`.
    ///
    /// # Errors
    /// [`LogError`] when replies cannot be read any more: make another reader.
    fn next(&self, wait: Duration) -> Result<Vec<Reply>, LogError>;
}
