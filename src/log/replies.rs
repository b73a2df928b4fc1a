//! Replies: outcomes on their way back to whoever waits for them.

use crate::domain::ChainedEvent;

/// An outcome on its way to the gateway that waits for it. It is sent after the commit, never before.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The gateway.
    pub to: u64,
    /// The decision, as recorded.
    pub decided: ChainedEvent,
}

/// Carrying outcomes back. A reply may be lost: the committed tail tells the same.
pub trait ReplyChannel: Send + Sync {
    /// Sends replies, without waiting.
    fn send(&self, replies: Vec<Reply>);
}
