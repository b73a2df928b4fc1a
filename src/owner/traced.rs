//! The spans of a turn, made when it is over: for each recorded command what its owner did with it, and one span of the
//! turn, with links to those commands.

use super::Staged;
use crate::domain::Micros;
use crate::limits::TURN_LINKS_MAX;
use crate::log::{CommitOutcome, Reply, Turn};
use crate::trace::{Decision, Span, TraceContext, Tracing, Work};

/// When the parts of a turn began and ended, by the clock of the process.
#[derive(Clone, Copy, Debug)]
pub(super) struct TurnTimes {
    pub(super) begun: Micros,
    pub(super) decided: Micros,
    pub(super) committed: Micros,
    pub(super) replied: Micros,
}

/// A command whose call is recorded.
struct TracedCommand {
    /// The span that has appended it, in its gateway.
    append: TraceContext,
    process: TraceContext,
    reply: TraceContext,
    decision: Decision,
    has_reply: bool,
}

/// A turn with such commands.
pub(super) struct TracedTurn<'a> {
    tracing: &'a Tracing,
    own: TraceContext,
    partition: u32,
    /// How many commands and events it has, recorded or not.
    counts: (usize, usize),
    commands: Vec<TracedCommand>,
}

impl<'a> TracedTurn<'a> {
    /// `None` when no command of the turn is recorded.
    pub(super) fn of(tracing: &'a Tracing, partition: u32, staged: &Staged) -> Option<TracedTurn<'a>> {
        let turn = staged.turn();
        let Turn { inputs, events, .. } = &*turn;
        // Events of timers come first; then each event decides the next command.
        let timers = events.len().saturating_sub(inputs.len());
        let mut commands = Vec::new();
        for (input, decided) in inputs.iter().zip(staged.decided().iter().skip(timers)) {
            let Some(append) = input.trace.as_ref().filter(|trace| tracing.records(trace)) else { continue };
            let (event, process) = (&decided.event, tracing.child_of(append));
            let reason = event.body.rejection().map_or("", |rejection| rejection.reason.code());
            let (offset, seq, kind, outcome) = (input.offset, event.seq, event.body.kind().name(), "");
            commands.push(TracedCommand {
                append: append.clone(),
                reply: tracing.child_of(&process),
                process,
                decision: Decision { partition, offset, seq, kind, reason, outcome },
                has_reply: false,
            });
        }
        let counts = (inputs.len(), events.len());
        let own = TraceContext { is_sampled: true, ..tracing.root() };
        (!commands.is_empty()).then_some(TracedTurn { tracing, own, partition, counts, commands })
    }

    /// Adds to the replies of recorded commands the span that sends them.
    pub(super) fn mark(&mut self, replies: &mut [Reply]) {
        for reply in replies {
            let Some(offset) = reply.decided.event.cause.as_ref().map(|cause| cause.input_offset) else { continue };
            let found = self.commands.binary_search_by_key(&offset, |command| command.decision.offset).ok();
            if let Some(command) = found.and_then(|at| self.commands.get_mut(at)) {
                command.has_reply = true;
                reply.trace = Some(command.reply.clone());
            }
        }
    }

    /// Records the spans of its commands, and then its own, once the turn is over.
    pub(super) fn record(self, outcome: CommitOutcome, times: TurnTimes) {
        let TracedTurn { tracing, own, partition, counts, commands } = self;
        let TurnTimes { begun, decided, committed, replied } = times;
        let outcome = outcome.name();
        let links = commands.iter().take(TURN_LINKS_MAX).map(|command| command.process.clone()).collect();
        for TracedCommand { append, process, reply, decision, has_reply } in commands {
            let part = |context, work, (begun, ended)| {
                let parent = Some(process.span_id);
                tracing.record(Span {
                    context,
                    parent,
                    is_parent_remote: false,
                    work,
                    begun,
                    ended,
                    links: Vec::new(),
                });
            };
            part(tracing.child_of(&process), Work::Decide, (begun, decided));
            part(tracing.child_of(&process), Work::Commit { outcome }, (decided, committed));
            if has_reply {
                part(reply, Work::Reply, (committed, replied));
            }
            tracing.record(Span {
                parent: Some(append.span_id),
                is_parent_remote: true,
                work: Work::Process(Decision { outcome, ..decision }),
                begun,
                ended: replied,
                links: vec![own.clone()],
                context: process,
            });
        }
        let work = Work::Turn { partition, commands: counts.0, events: counts.1, outcome };
        let ended = committed;
        tracing.record(Span { context: own, parent: None, is_parent_remote: false, work, begun, ended, links });
    }
}
