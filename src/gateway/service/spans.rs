//! The spans of one call in its gateway: admission, append and wait. Each begins when the one before it ends. For a call
//! that is not recorded, no clock is read and nothing is made.

use crate::domain::Micros;
use crate::gateway::admission::Shed;
use crate::gateway::correlator::Outcome;
use crate::time::Clock;
use crate::trace::{CallTrace, TraceContext, Work};

pub(super) struct CallSpans<'a> {
    trace: &'a CallTrace,
    clock: &'a dyn Clock,
    partition: u32,
    /// When the next span begins.
    begun: Micros,
    append: Option<TraceContext>,
}

impl<'a> CallSpans<'a> {
    pub(super) fn begin(trace: &'a CallTrace, clock: &'a dyn Clock, partition: u32, begun: Micros) -> CallSpans<'a> {
        CallSpans { trace, clock, partition, begun, append: None }
    }

    /// The call is admitted, or shed for this reason.
    pub(super) fn admitted(&mut self, shed: Option<&Shed>) {
        let work = Work::Admission { partition: self.partition, refused: shed.map(|shed| shed.code()) };
        self.end(self.trace.child(), work, Vec::new());
        self.append = self.trace.child();
    }

    /// What goes into the log with the command: what its owner does becomes a part of the append.
    pub(super) fn context(&self) -> &TraceContext {
        self.append.as_ref().unwrap_or(self.trace.context())
    }

    /// The command was handed to the log, or refused for this reason.
    pub(super) fn appended(&mut self, shed: Option<Shed>) {
        let work = Work::Append { partition: self.partition, refused: shed.map(Shed::code) };
        let append = self.append.take();
        self.end(append, work, Vec::new());
    }

    /// The call has an outcome, with a reply of this span if an owner has sent one.
    pub(super) fn told(&mut self, outcome: &Outcome, reply: Option<TraceContext>) {
        let is_timed_out = matches!(outcome, Outcome::TimedOut { .. });
        self.end(self.trace.child(), Work::Wait { partition: self.partition, is_timed_out }, Vec::from_iter(reply));
        self.trace.told(self.begun);
    }

    fn end(&mut self, span: Option<TraceContext>, work: Work, links: Vec<TraceContext>) {
        if let Some(span) = span {
            let ended = self.clock.now();
            self.trace.record(span, work, (self.begun, ended), links);
            self.begun = ended;
        }
    }
}
