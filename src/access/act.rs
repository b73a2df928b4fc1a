//! The audit log: a line for each act of a planner or an operator, done or refused. It is written at once by whoever
//! acts, never sampled and never left out, so it needs no more than the level INFO.

/// The target of the audit log.
pub const AUDIT_LOG: &str = "headroom::audit_log";

/// What somebody did, or tried to do.
#[derive(Clone, Copy, Default, Debug)]
pub struct Act<'a> {
    /// The name of the principal, or the user of the machine; `None` while anybody may call.
    pub principal: Option<&'a str>,
    /// The name of the operation, or of the command that was run.
    pub operation: &'a str,
    /// What it was about: the id of a pool, or what an operator named, such as the reason.
    pub about: Option<&'a str>,
    /// `ok`, or the code of the refusal.
    pub outcome: &'a str,
    /// The parts that have changed, each as `part: before -> after`.
    pub changed: Option<&'a str>,
    /// The partition that it was about, if it was one.
    pub partition: Option<u32>,
    /// The sequence number of the event that decided it.
    pub seq: Option<u64>,
    /// The trace of the call.
    pub trace_id: Option<&'a str>,
}

impl Act<'_> {
    /// Writes the line.
    pub fn log(&self) {
        let Act { principal, operation, about, outcome, changed, partition, seq, trace_id } = *self;
        tracing::info!(
            target: AUDIT_LOG,
            principal,
            operation,
            about,
            outcome,
            changed,
            partition,
            seq,
            trace_id,
            "a planner or an operator has acted"
        );
    }
}
