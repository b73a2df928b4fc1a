//! A span: one part of a call, or one turn, with its times. The attributes under which it is exported are in `telemetry`.

use super::TraceContext;
use crate::domain::Micros;
use std::borrow::Cow;

/// The protocol of a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Protocol {
    /// HTTP/1.1 or HTTP/2, with JSON.
    Http,
    /// gRPC, over HTTP/2.
    Grpc,
}

/// What was done in the time of a span.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Work {
    /// A whole call, from its head to its answer.
    Call {
        /// How it came.
        protocol: Protocol,
        /// The method of HTTP; of gRPC the full name of the service's method.
        method: &'static str,
        /// The pattern of the path. Empty for gRPC.
        route: &'static str,
        /// The status of HTTP, or the status code of gRPC.
        status: u16,
        /// `ok`, or the code of the refusal.
        code: &'static str,
    },
    /// Deciding whether a call is taken.
    Admission {
        /// The number of the partition of the command.
        partition: u32,
        /// Why the call was shed, or that it came too late; `None` when it was taken.
        refused: Option<&'static str>,
    },
    /// Handing the command to the log.
    Append {
        /// The number of the partition of the command.
        partition: u32,
        /// Why the log did not take it, if so.
        refused: Option<&'static str>,
    },
    /// From the append to the outcome, or to the deadline.
    Wait {
        /// The number of the partition of the command.
        partition: u32,
        /// Whether the deadline came first.
        is_timed_out: bool,
    },
    /// From the outcome to the answer.
    Answer,
    /// One command in its owner's turn.
    Process(Decision),
    /// One turn of an owner.
    Turn {
        /// The number of the partition of the owner.
        partition: u32,
        /// How many commands it decided.
        commands: usize,
        /// How many events it wrote.
        events: usize,
        /// What became of its commit.
        outcome: &'static str,
    },
    /// Deciding all commands of a turn.
    Decide,
    /// Making a turn durable.
    Commit {
        /// What became of it.
        outcome: &'static str,
    },
    /// Sending an outcome to the gateway that waits for it.
    Reply,
}

/// What became of one command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Decision {
    /// The number of the partition of the command.
    pub partition: u32,
    /// The offset of the command.
    pub offset: u64,
    /// The sequence number of its event.
    pub seq: u64,
    /// The kind of its event.
    pub kind: &'static str,
    /// The reason of a refusal; empty otherwise.
    pub reason: &'static str,
    /// What became of the commit of its turn.
    pub outcome: &'static str,
}

impl Work {
    /// The name of its span: few different ones, because tracing systems group by it.
    pub fn name(&self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Work::Call { protocol: Protocol::Http, method, route, .. } => return format!("{method} {route}").into(),
            Work::Call { protocol: Protocol::Grpc, method, .. } => method,
            Work::Admission { .. } => "admission",
            Work::Append { .. } => "append",
            Work::Wait { .. } => "wait",
            Work::Answer => "answer",
            Work::Process(_) => "process",
            Work::Turn { .. } => "turn",
            Work::Decide => "decide",
            Work::Commit { .. } => "commit",
            Work::Reply => "reply",
        })
    }
}

/// A part of a call, or a turn, that is over.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Span {
    /// Its own ids.
    pub context: TraceContext,
    /// The span that it is a part of; `None` for the first of a trace.
    pub parent: Option<u64>,
    /// Whether that one is of another process.
    pub is_parent_remote: bool,
    /// What was done.
    pub work: Work,
    /// When it began, by the monotonic clock of the process (`Clock::now`).
    pub begun: Micros,
    /// When it ended, by the same clock.
    pub ended: Micros,
    /// Other spans that it belongs to.
    pub links: Vec<TraceContext>,
}
