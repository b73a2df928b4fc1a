//! The place of a call in its trace, and its text form: the two headers of the W3C recommendation "Trace Context". The
//! parser is that of OpenTelemetry.

use crate::limits::TRACE_STATE_BYTES_MAX;
use opentelemetry::Context;
use opentelemetry::propagation::{Extractor, TextMapPropagator};
use opentelemetry::trace::TraceContextExt;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use std::sync::Arc;

/// The header that carries a [`TraceContext`].
pub const TRACEPARENT: &str = "traceparent";
/// The header that carries what tracing systems add to it.
pub const TRACESTATE: &str = "tracestate";

/// Characters of `traceparent` up to the end of its flags.
const TRACEPARENT_CHARS: usize = 55;

/// One span of a trace, as the next participant is told of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TraceContext {
    /// The trace: the same in all spans of one call. Never 0.
    pub trace_id: u128,
    /// The span. Never 0.
    pub span_id: u64,
    /// Whether its spans are to be recorded.
    pub is_sampled: bool,
    /// `tracestate`: what tracing systems pass on to each other. At most [`TRACE_STATE_BYTES_MAX`] bytes.
    pub state: Option<Arc<str>>,
}

impl TraceContext {
    /// Reads the two headers. `None` when `traceparent` is not valid: it is to be treated as if it were not there. A
    /// `tracestate` that is not valid or too long is left out.
    pub fn read(traceparent: &str, tracestate: Option<&str>) -> Option<TraceContext> {
        // The parser also takes numbers with a sign, and numbers that are too short.
        let whole = traceparent.as_bytes().get(..TRACEPARENT_CHARS)?;
        let is_in_place = |(at, b): (usize, &u8)| match at {
            2 | 35 | 52 => *b == b'-',
            _ => matches!(b, b'0'..=b'9' | b'a'..=b'f'),
        };
        if !whole.iter().enumerate().all(is_in_place) {
            return None;
        }
        let tracestate = tracestate.filter(|state| state.len() <= TRACE_STATE_BYTES_MAX);
        let headers = Headers { traceparent, tracestate };
        let read = TraceContextPropagator::new().extract_with_context(&Context::new(), &headers);
        let span = read.span();
        let read = span.span_context();
        let state = read.trace_state().header();
        read.is_valid().then(|| TraceContext {
            trace_id: u128::from_be_bytes(read.trace_id().to_bytes()),
            span_id: u64::from_be_bytes(read.span_id().to_bytes()),
            is_sampled: read.is_sampled(),
            state: (!state.is_empty()).then(|| state.into()),
        })
    }

    /// The value of the header `traceparent`.
    pub fn traceparent(&self) -> String {
        let TraceContext { trace_id, span_id, is_sampled, .. } = self;
        format!("00-{trace_id:032x}-{span_id:016x}-{:02x}", u8::from(*is_sampled))
    }
}

/// The headers of one call, for the parser.
struct Headers<'a> {
    traceparent: &'a str,
    tracestate: Option<&'a str>,
}

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        match key {
            TRACEPARENT => Some(self.traceparent),
            TRACESTATE => self.tracestate,
            _ => None,
        }
    }

    fn keys(&self) -> Vec<&str> {
        vec![TRACEPARENT, TRACESTATE]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    fn read(traceparent: &str) -> Option<TraceContext> {
        TraceContext::read(traceparent, None)
    }

    #[test]
    fn what_is_written_is_read_again() {
        for is_sampled in [true, false] {
            for state in [None, Some("a=1,b=2")] {
                let (trace_id, span_id) = (0x00f0_67aa << 64 | 7, 0xb7);
                let written = TraceContext { trace_id, span_id, is_sampled, state: state.map(Arc::from) };
                assert_eq!(TraceContext::read(&written.traceparent(), state), Some(written));
            }
        }
    }

    #[test]
    fn a_header_is_valid_or_it_is_not_there() {
        let span = "00f067aa0ba902b7";
        for (version, flags) in [("00", "01"), ("00", "03"), ("02", "09-more"), ("cc", "01")] {
            let read = read(&format!("{version}-{TRACE}-{span}-{flags}")).unwrap();
            assert_eq!(
                (read.trace_id, read.span_id),
                (0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736, 0x00f0_67aa_0ba9_02b7)
            );
            assert!(read.is_sampled && read.traceparent() == format!("00-{TRACE}-{span}-01"));
        }
        assert!(!read(&format!("00-{TRACE}-{span}-02")).unwrap().is_sampled);
        for wrong in [
            "",
            "00",
            &format!("00-{TRACE}-{span}"),
            &format!("00-{TRACE}-{span}-"),
            &format!("00-{TRACE}-{span}-01-more"),
            &format!("ff-{TRACE}-{span}-01"),
            &format!("00-{}-{span}-01", TRACE.to_uppercase()),
            &format!("00-{}-{span}-01", "0".repeat(32)),
            &format!("00-{TRACE}-{}-01", "0".repeat(16)),
            &format!("00-+{}-{span}-01", &TRACE[1..]),
            &format!("00-{}-0{span}-01", &TRACE[1..]),
            &format!("00-{TRACE}-{span}-1g"),
            &format!("00-{TRACE} {span}-01"),
            &"é".repeat(60),
        ] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_tracing_systems_add_is_bounded() {
        let state =
            |state: &str| TraceContext::read(&format!("00-{TRACE}-00f067aa0ba902b7-01"), Some(state)).unwrap().state;
        assert_eq!(state("rojo=00f067aa0ba902b7, congo=t61").as_deref(), Some("rojo=00f067aa0ba902b7,congo=t61"));
        assert_eq!(state("no pair"), None);
        let long = |bytes: usize| format!("a={}", "x".repeat(bytes - 2));
        assert!(state(&long(256)).is_some());
        assert_eq!(state(&long(TRACE_STATE_BYTES_MAX + 1)), None);
    }
}
