//! What the threads of a process on a shared log have in common, handed to each of them at its start.

use super::owner::OwnerContext;
use crate::gateway::Gateway;
use crate::log::CommandSink;
use crate::replica::Replica;
use std::sync::Arc;

/// What the threads of this process share.
pub(super) struct Process<L> {
    pub(super) log: Arc<L>,
    pub(super) context: Arc<OwnerContext>,
    pub(super) replica: Arc<Replica>,
    pub(super) sink: Arc<dyn CommandSink>,
    pub(super) gateway: Arc<Gateway>,
    /// The number that this process has drawn for itself: replies are addressed to it.
    pub(super) incarnation: u64,
    /// The deadline of a call that names none.
    pub(super) deadline_ms: u64,
}
