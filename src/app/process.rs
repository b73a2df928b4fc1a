//! What the threads of a process on a shared log have in common. Each of them gets it at its start.

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
    /// The random number of this process: replies are addressed to it.
    pub(super) incarnation: u64,
    /// The deadline of a call that names none, in milliseconds.
    pub(super) deadline_ms: u64,
}
