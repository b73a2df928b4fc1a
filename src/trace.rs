//! Traces: the ids under which a caller, this process and the owner of the partition record the parts of one call. A
//! context arrives with a call, goes through the log beside the command, and comes back with its outcome. Spans are made
//! when a part is over, from the times that its thread has read. Nothing here exports anything; `telemetry` does.
#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

mod context;
mod span;

pub use context::{TRACEPARENT, TRACESTATE, TraceContext};
pub use span::{Decision, Protocol, Span, Work};

use crate::domain::Micros;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Receives the spans of a process.
pub trait Recorder: Send + Sync {
    /// Whether a trace that begins here is recorded.
    fn samples(&self, trace_id: u128) -> bool;

    /// Takes a span. It must not wait: what there is no room for is dropped and counted.
    fn record(&self, span: Span);
}

/// Gives the calls of one process their place in a trace, and says which of them are recorded.
pub struct Tracing {
    /// Draws a random number.
    draw: fn() -> u64,
    recorder: Option<Arc<dyn Recorder>>,
}

impl Tracing {
    /// Nothing is recorded. Calls have ids all the same, and the contexts of callers are passed on as they are.
    pub fn off(draw: fn() -> u64) -> Tracing {
        Tracing { draw, recorder: None }
    }

    /// Spans of sampled traces go to this recorder.
    pub fn to(recorder: Arc<dyn Recorder>, draw: fn() -> u64) -> Tracing {
        Tracing { draw, recorder: Some(recorder) }
    }

    /// The trace of a call that begins in this process, or that another one has begun. The caller decides whether its
    /// trace is recorded; of other traces the recorder decides.
    pub fn enter(self: &Arc<Tracing>, parent: Option<TraceContext>) -> CallTrace {
        let upper = parent.as_ref().map(|parent| parent.span_id);
        let own = match (parent, &self.recorder) {
            (Some(parent), Some(_)) if parent.is_sampled => self.child_of(&parent),
            (Some(parent), _) => parent,
            (None, recorder) => {
                let root = self.root();
                let is_sampled = recorder.as_ref().is_some_and(|recorder| recorder.samples(root.trace_id));
                TraceContext { is_sampled, ..root }
            }
        };
        let recorded = self.records(&own).then(|| {
            let tracing = Arc::clone(self);
            Arc::new(RecordedCall { tracing, parent: upper })
        });
        CallTrace { own, recorded, told_at: Arc::default() }
    }

    /// Whether spans of this trace are recorded here.
    pub fn records(&self, context: &TraceContext) -> bool {
        context.is_sampled && self.recorder.is_some()
    }

    /// A new span below this one.
    pub fn child_of(&self, parent: &TraceContext) -> TraceContext {
        TraceContext { span_id: self.number(), ..parent.clone() }
    }

    /// The first span of a new trace, not sampled.
    pub fn root(&self) -> TraceContext {
        let trace_id = (u128::from(self.number()) << 64) | u128::from(self.number());
        TraceContext { trace_id, span_id: self.number(), is_sampled: false, state: None }
    }

    /// Records a span of a sampled trace.
    pub fn record(&self, span: Span) {
        if let Some(recorder) = &self.recorder {
            recorder.record(span);
        }
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
    recorded: Option<Arc<RecordedCall>>,
    /// When its outcome was known, by the clock of the process; 0 before that, and for a call that changes nothing.
    told_at: Arc<AtomicU64>,
}

/// What is kept of a call whose spans are recorded.
struct RecordedCall {
    tracing: Arc<Tracing>,
    /// The span of its caller, in another process.
    parent: Option<u64>,
}

impl fmt::Debug for RecordedCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordedCall").field("parent", &self.parent).finish_non_exhaustive()
    }
}

impl CallTrace {
    /// What is passed on with everything that is done for the call.
    pub fn context(&self) -> &TraceContext {
        &self.own
    }

    /// Whether spans of the call are recorded.
    pub fn is_recorded(&self) -> bool {
        self.recorded.is_some()
    }

    /// A new span of the call; `None` when its spans are not recorded.
    pub fn child(&self) -> Option<TraceContext> {
        self.recorded.as_ref().map(|recorded| recorded.tracing.child_of(&self.own))
    }

    /// Records a part of the call, which [`CallTrace::child`] has named.
    pub fn record(
        &self,
        context: TraceContext,
        work: Work,
        (begun, ended): (Micros, Micros),
        links: Vec<TraceContext>,
    ) {
        if let Some(recorded) = &self.recorded {
            let parent = Some(self.own.span_id);
            recorded.tracing.record(Span { context, parent, is_parent_remote: false, work, begun, ended, links });
        }
    }

    /// The outcome of the call is known since `at`; what follows is its answer.
    pub fn told(&self, at: Micros) {
        self.told_at.store(at.0, Relaxed);
    }

    /// When the outcome of the call was known; `None` before that, and for a call that changes nothing.
    pub fn told_at(&self) -> Option<Micros> {
        Some(Micros(self.told_at.load(Relaxed))).filter(|at| *at > Micros(0))
    }

    /// Records the whole call, when it is answered.
    pub fn end(&self, work: Work, begun: Micros, ended: Micros) {
        let Some(recorded) = &self.recorded else { return };
        if let Some((answer, told_at)) = self.child().zip(self.told_at()) {
            self.record(answer, Work::Answer, (told_at, ended), Vec::new());
        }
        let (context, parent, links) = (self.own.clone(), recorded.parent, Vec::new());
        recorded.tracing.record(Span { context, parent, is_parent_remote: true, work, begun, ended, links });
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
    use parking_lot::Mutex;

    /// Samples traces whose id is odd.
    #[derive(Default)]
    struct Odd(Mutex<Vec<Span>>);

    impl Recorder for Odd {
        fn samples(&self, trace_id: u128) -> bool {
            trace_id % 2 == 1
        }

        fn record(&self, span: Span) {
            self.0.lock().push(span);
        }
    }

    #[test]
    fn a_call_without_a_trace_gets_one_and_others_keep_theirs() {
        let tracing = Arc::new(Tracing::off(|| 0xab));
        let made = tracing.enter(None);
        assert_eq!(made.to_string(), "00000000000000ab00000000000000ab");
        for is_sampled in [true, false] {
            let parent = TraceContext { is_sampled, span_id: 5, ..made.context().clone() };
            let call = tracing.enter(Some(parent.clone()));
            assert!(call.context() == &parent && !call.is_recorded() && call.child().is_none());
        }
        let nothing = Arc::new(Tracing::off(|| 0)).enter(None);
        assert!(TraceContext::read(&nothing.context().traceparent(), None).is_some(), "an id is never 0");
    }

    #[test]
    fn a_caller_decides_for_its_trace_and_the_recorder_for_others() {
        let odd = Arc::new(Odd::default());
        let tracing = Arc::new(Tracing::to(odd.clone(), || 7));
        assert!(tracing.enter(None).is_recorded());
        assert!(!Arc::new(Tracing::to(odd, || 8)).enter(None).is_recorded());
        let (trace_id, span_id) = (8, 5);
        let parent = |is_sampled| TraceContext { trace_id, span_id, is_sampled, state: Some("a=1".into()) };
        let sampled = tracing.enter(Some(parent(true)));
        let TraceContext { trace_id, span_id, .. } = *sampled.context();
        assert_eq!((trace_id, span_id, sampled.context().state.as_deref()), (8, 7, Some("a=1")));
        assert!(sampled.is_recorded() && !tracing.enter(Some(parent(false))).is_recorded());
    }

    #[test]
    fn an_answer_begins_when_the_outcome_is_known() {
        let odd = Arc::new(Odd::default());
        let tracing = Arc::new(Tracing::to(odd.clone(), || 7));
        let works = |told: bool| {
            let call = tracing.enter(None);
            let work = Work::Call { protocol: Protocol::Http, method: "GET", route: "/", status: 200, code: "ok" };
            if told {
                call.clone().told(Micros(5));
            }
            call.end(work, Micros(1), Micros(9));
            let spans = std::mem::take(&mut *odd.0.lock());
            spans.into_iter().map(|span| (span.work.name().into_owned(), span.begun.0, span.parent)).collect::<Vec<_>>()
        };
        assert_eq!(works(false), [("GET /".to_owned(), 1, None)]);
        assert_eq!(works(true), [("answer".to_owned(), 5, Some(7)), ("GET /".to_owned(), 1, None)]);
    }
}
