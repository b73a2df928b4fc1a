//! What a partition is doing in this process, and which status may follow on which.
//!
//! A log that several processes write (Kafka). The follower owns the state in Restoring and Standby, the owner in
//! Claiming and Active:
//!
//! ```text
//!             ┌──────────── begin anew ───────────┐
//!             ▼                                   │
//! start ──► Restoring ──── end of the log ────► Standby ◄────────────────┐
//!           (begin anew)                         │   ▲                   │
//!                                          claim │   │ not claimed       │ owner ended
//!                                                ▼   │                   │
//!                                              Claiming ── claimed ──► Active
//!
//! Restoring, Standby, Claiming, Active ──── a law is broken ────► Failed
//! Restoring ──── the log has lost events ────► Unreadable
//! ```
//!
//! A log that this process alone writes (embedded). The owner owns the state from the start to the end:
//!
//! ```text
//! start ──► Restoring ──── state is whole ────► Active ◄────────────┐
//!               │                (the log failed  │                 │ the log takes turns again
//!               │                 for a moment)   │                 │
//!               └─────────── the log failed ──────┴──────► Reopening ┘
//!                                                          (another reason)
//!
//! Restoring, Active, Reopening ──── for good ────► Failed, Unreadable, Stopped
//! ```
//!
//! Nothing follows on Failed, Unreadable and Stopped: only a new process begins again.

use std::fmt;

/// What a partition's thread is doing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PartitionStatus {
    /// The state is being read from the checkpoint and the log. Nobody reads it yet.
    Restoring,
    /// Another process decides. This one folds what is committed, and is ready to take over.
    Standby,
    /// This process is taking the partition over.
    Claiming,
    /// This process decides.
    Active,
    /// The log failed and is opened again as soon as it can be. Nothing is decided meanwhile, and what was committed
    /// before can be read.
    Reopening {
        /// Why the log failed.
        why: String,
    },
    /// The partition has stopped until the process is started again. What was committed before can be read.
    Failed {
        /// Which law is broken, or what failed for good.
        why: String,
    },
    /// The state could not be rebuilt: nothing may be read of it until the process is started again.
    Unreadable {
        /// What kept the state from being rebuilt.
        why: String,
    },
    /// The process is ending, and the owner has finished.
    Stopped,
}

impl PartitionStatus {
    /// Why the partition is in this status, in words; none for a status that needs no reason.
    pub fn why(&self) -> Option<&str> {
        match self {
            PartitionStatus::Reopening { why }
            | PartitionStatus::Failed { why }
            | PartitionStatus::Unreadable { why } => Some(why),
            _ => None,
        }
    }

    /// The status without its reason.
    pub fn kind(&self) -> StatusKind {
        match self {
            PartitionStatus::Restoring => StatusKind::Restoring,
            PartitionStatus::Standby => StatusKind::Standby,
            PartitionStatus::Claiming => StatusKind::Claiming,
            PartitionStatus::Active => StatusKind::Active,
            PartitionStatus::Reopening { .. } => StatusKind::Reopening,
            PartitionStatus::Failed { .. } => StatusKind::Failed,
            PartitionStatus::Unreadable { .. } => StatusKind::Unreadable,
            PartitionStatus::Stopped => StatusKind::Stopped,
        }
    }
}

/// A [`PartitionStatus`] without its reason: a node of the diagram.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum StatusKind {
    /// The state is being read.
    Restoring,
    /// Another process decides.
    Standby,
    /// This process takes over.
    Claiming,
    /// This process decides.
    Active,
    /// The log is opened again.
    Reopening,
    /// Stopped, and can still be read.
    Failed,
    /// Stopped, and cannot be read.
    Unreadable,
    /// Ended, because the process is ending.
    Stopped,
}

use StatusKind::{Active, Claiming, Failed, Reopening, Restoring, Standby, Stopped, Unreadable};

impl StatusKind {
    /// All of them, in the order of a partition's life.
    pub const ALL: [StatusKind; 8] = [Restoring, Standby, Claiming, Active, Reopening, Failed, Unreadable, Stopped];
    /// The follower is the state's writer.
    pub const FOLLOWED: [StatusKind; 2] = [Restoring, Standby];
    /// An owner is the state's writer, on a log that several processes write.
    pub const OWNED: [StatusKind; 2] = [Claiming, Active];
    /// The owner is the state's writer, on a log that this process alone writes.
    pub const SOLELY_OWNED: [StatusKind; 3] = [Restoring, Active, Reopening];

    /// The name of the status in metrics.
    pub fn label(self) -> &'static str {
        match self {
            Restoring => "restoring",
            Standby => "standby",
            Claiming => "claiming",
            Active => "active",
            Reopening => "reopening",
            Failed => "failed",
            Unreadable => "unreadable",
            Stopped => "stopped",
        }
    }

    /// Whether the state keeps up with the log, so that commands may be sent and what is committed will be seen.
    pub fn folds(self) -> bool {
        matches!(self, Standby | Claiming | Active)
    }

    /// Whether the diagram has an edge from here to `to`.
    pub fn leads_to(self, to: StatusKind) -> bool {
        let sources: &[StatusKind] = match to {
            Restoring => &[Restoring, Standby],
            Standby => &[Restoring, Claiming, Active],
            Claiming => &[Standby],
            Active => &[Restoring, Claiming, Reopening, Active],
            Reopening => &[Restoring, Active, Reopening],
            Failed => &[Restoring, Standby, Claiming, Active, Reopening],
            Unreadable | Stopped => &[Restoring, Active, Reopening],
        };
        sources.contains(&self)
    }
}

/// A transition that was refused, and changed nothing: the caller is late, or the diagram has no such edge.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TransitionRefused {
    /// The status in which the partition is.
    pub found: StatusKind,
    /// The status that was requested.
    pub to: StatusKind,
}

impl fmt::Display for TransitionRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the partition is {} and cannot become {} now", self.found.label(), self.to.label())
    }
}

impl std::error::Error for TransitionRefused {}
