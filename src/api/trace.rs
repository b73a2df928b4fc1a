//! The trace that a request says it belongs to. HTTP and gRPC carry it in the same headers.

use crate::trace::{TRACEPARENT, TRACESTATE, TraceContext};
use axum::http::HeaderMap;

/// The trace of the caller; `None` when it names none, or not in the form of the W3C recommendation. Baggage is not read.
pub fn of_caller(headers: &HeaderMap) -> Option<TraceContext> {
    let mut parents = headers.get_all(TRACEPARENT).iter();
    let (parent, None) = (parents.next()?, parents.next()) else { return None };
    // It may be sent in several parts.
    let states: Option<Vec<_>> = headers.get_all(TRACESTATE).iter().map(|state| state.to_str().ok()).collect();
    let states = states.filter(|states| !states.is_empty()).map(|states| states.join(","));
    TraceContext::read(parent.to_str().ok()?, states.as_deref())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    const PARENT: HeaderValue = HeaderValue::from_static("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");

    fn headers<const N: usize>(pairs: [(&'static str, HeaderValue); N]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(name, value);
        }
        headers
    }

    #[test]
    fn a_caller_names_one_trace_or_none() {
        let state = |text: &'static str| (TRACESTATE, HeaderValue::from_static(text));
        let read = of_caller(&headers([(TRACEPARENT, PARENT), state("a=1"), state("b=2")])).unwrap();
        assert_eq!((read.span_id, read.state.as_deref()), (0x00f0_67aa_0ba9_02b7, Some("a=1,b=2")));
        let binary = (TRACESTATE, HeaderValue::from_bytes(b"a=\xff").unwrap());
        assert_eq!(of_caller(&headers([(TRACEPARENT, PARENT), binary])).unwrap().state, None);
        assert_eq!(of_caller(&headers([state("a=1")])), None);
        assert_eq!(of_caller(&headers([(TRACEPARENT, PARENT), (TRACEPARENT, PARENT)])), None);
        assert_eq!(of_caller(&headers([(TRACEPARENT, HeaderValue::from_bytes(b"00-\xff").unwrap())])), None);
    }
}
