//! Traces: the ids under which a caller, this process and the owner of the partition record the parts of one call. A
//! context arrives with a call, goes through the log beside the command, and comes back with its outcome. Nothing here
//! exports anything; `telemetry` does.
#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

mod context;

pub use context::{TRACEPARENT, TRACESTATE, TraceContext};

use std::fmt;

/// Gives the calls of one process their place in a trace.
pub struct Tracing {
    /// Draws a random number.
    draw: fn() -> u64,
}

impl Tracing {
    /// Nothing is recorded. Calls have ids all the same, and the contexts of callers are passed on as they are.
    pub fn off(draw: fn() -> u64) -> Tracing {
        Tracing { draw }
    }

    /// The trace of a call that begins in this process, or that another one has begun.
    pub fn enter(&self, parent: Option<TraceContext>) -> CallTrace {
        CallTrace { own: parent.unwrap_or_else(|| self.root()) }
    }

    fn root(&self) -> TraceContext {
        let trace_id = (u128::from(self.number()) << 64) | u128::from(self.number());
        TraceContext { trace_id, span_id: self.number(), is_sampled: false, state: None }
    }

    /// A number that is not 0, which would be no id.
    fn number(&self) -> u64 {
        (self.draw)().max(1)
    }
}

/// The trace of one call, in the process that serves it.
#[derive(Clone, Debug)]
pub struct CallTrace {
    own: TraceContext,
}

impl CallTrace {
    /// What is passed on with everything that is done for the call.
    pub fn context(&self) -> &TraceContext {
        &self.own
    }
}

/// The id of the trace: 32 hexadecimal digits, in lower case.
impl fmt::Display for CallTrace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.own.trace_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_without_a_trace_gets_one_and_others_keep_theirs() {
        let tracing = Tracing::off(|| 0xab);
        let made = tracing.enter(None);
        assert_eq!(made.to_string(), "00000000000000ab00000000000000ab");
        assert_eq!(tracing.enter(Some(made.context().clone())).context(), made.context());
        let nothing = Tracing::off(|| 0).enter(None);
        assert!(TraceContext::read(&nothing.context().traceparent(), None).is_some(), "an id is never 0");
    }
}
