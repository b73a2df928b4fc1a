//! The stages of one call in its gateway: admit, append and wait. The first begins when the call has come, each of the
//! others when the one before it ends. Every stage is reported; those of a recorded call become spans, too.

use crate::domain::Micros;
use crate::gateway::admission::Shed;
use crate::gateway::correlator::Outcome;
use crate::time::Clock;
use crate::trace::{CallTrace, TraceContext, Work};

/// What the span of the admission says of a call that came too late.
const TOO_LATE: &str = "timeout";

/// A stage of a call in its gateway.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    /// From the end of the request's head until the call is admitted, shed, or found to be too late.
    Admit,
    /// From there until its command is handed to the log, or refused by it.
    Append,
    /// From there until it has an outcome, which may be that its deadline has passed.
    Wait,
}

/// Receives what a gateway measures. It is called on the thread of a call, so it must not wait.
pub trait CallReport: Send + Sync {
    /// A call has come to the end of this stage, which took so many microseconds.
    fn stage(&self, stage: Stage, took_us: u64);
    /// A caller is answered from a state that may be so many microseconds old.
    fn read(&self, staleness_us: u64);
}

pub(super) struct CallStages<'a> {
    report: Option<&'a dyn CallReport>,
    trace: &'a CallTrace,
    clock: &'a dyn Clock,
    partition: u32,
    /// When the call came, until it is admitted or shed.
    arrived: Option<Micros>,
    /// When the next span begins.
    begun: Micros,
    append: Option<TraceContext>,
}

impl<'a> CallStages<'a> {
    /// The stages of a call that came at `arrived`; the span of its admission begins at `now`.
    pub(super) fn begin(
        report: Option<&'a dyn CallReport>,
        trace: &'a CallTrace,
        clock: &'a dyn Clock,
        partition: u32,
        (arrived, now): (Micros, Micros),
    ) -> CallStages<'a> {
        CallStages { report, trace, clock, partition, arrived: Some(arrived), begun: now, append: None }
    }

    /// The call is admitted, or shed for this reason.
    pub(super) fn admitted(&mut self, shed: Option<&Shed>) {
        self.asked(shed.map(|shed| shed.code()));
        self.append = self.trace.child();
    }

    /// The deadline of the call had passed before it was asked whether it is admitted.
    pub(super) fn too_late(&mut self) {
        self.asked(Some(TOO_LATE));
    }

    fn asked(&mut self, refused: Option<&'static str>) {
        let work = Work::Admission { partition: self.partition, refused };
        self.end(Stage::Admit, self.trace.child(), work, Vec::new());
    }

    /// What goes into the log with the command: what its owner does becomes a part of the append.
    pub(super) fn context(&self) -> &TraceContext {
        self.append.as_ref().unwrap_or(self.trace.context())
    }

    /// The command was handed to the log, or refused for this reason.
    pub(super) fn appended(&mut self, shed: Option<Shed>) {
        let work = Work::Append { partition: self.partition, refused: shed.map(Shed::code) };
        let append = self.append.take();
        self.end(Stage::Append, append, work, Vec::new());
    }

    /// The call has an outcome, with a reply of this span if an owner has sent one.
    pub(super) fn told(&mut self, outcome: &Outcome, reply: Option<TraceContext>) {
        let is_timed_out = matches!(outcome, Outcome::TimedOut { .. });
        let work = Work::Wait { partition: self.partition, is_timed_out };
        self.end(Stage::Wait, self.trace.child(), work, Vec::from_iter(reply));
        self.trace.told(self.begun);
    }

    fn end(&mut self, stage: Stage, span: Option<TraceContext>, work: Work, links: Vec<TraceContext>) {
        let ended = self.clock.now();
        if let Some(report) = self.report {
            let since = self.arrived.take().unwrap_or(self.begun);
            report.stage(stage, ended.0.saturating_sub(since.0));
        }
        if let Some(span) = span {
            self.trace.record(span, work, (self.begun, ended), links);
        }
        self.begun = ended;
    }
}
