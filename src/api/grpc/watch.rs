//! The stream of a watch: its steps as messages, and its end as a status.

use super::v1::{self, pool_changed::Kind, watch_pools_response};
use super::{answers, message, status};
use crate::api::problem::Problem;
use crate::domain::EventKind;
use crate::service::watch::{Change, Step, Steps, Update, WatchEnd};
use axum::body::{Bytes, HttpBody};
use hyper::body::Frame;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// The body of the answer to a watch.
pub struct Watching {
    steps: Steps,
    /// The id of the call.
    trace_id: String,
    is_over: bool,
}

impl Watching {
    /// Tells these steps to the call with this id.
    pub fn new(steps: Steps, trace_id: String) -> Watching {
        Watching { steps, trace_id, is_over: false }
    }
}

impl HttpBody for Watching {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        let trailers = match ready!(self.steps.poll_next(cx)) {
            Some(Ok(step)) => return Poll::Ready(Some(Ok(Frame::data(message::framed(&told(step)))))),
            Some(Err(WatchEnd { refusal, position })) => {
                status::trailers(&status::told(&Problem::from(refusal), &self.trace_id, position))
            }
            None => message::done(),
        };
        self.is_over = true;
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }
}

fn told(Step { update, position }: Step) -> v1::WatchPoolsResponse {
    let step = match update {
        Update::Snapshot { pools, is_last } => {
            let pools = pools.iter().map(|pool| answers::pool(pool)).collect();
            watch_pools_response::Step::Snapshot(v1::PoolSnapshot { pools, is_last })
        }
        Update::Changes(changes) => {
            let changes = changes.iter().map(changed).collect();
            watch_pools_response::Step::Changes(v1::PoolChanges { changes })
        }
    };
    v1::WatchPoolsResponse { position, step: Some(step) }
}

fn changed(Change { event, is_watched }: &Change) -> v1::PoolChanged {
    let kind = match event.body.kind() {
        EventKind::PoolDefined => Kind::Defined,
        EventKind::PoolChanged | EventKind::LimitsAdjusted | EventKind::ModeSet => Kind::Changed,
        EventKind::Accepted => Kind::Accepted,
        EventKind::Amended => Kind::Amended,
        EventKind::Released => Kind::Released,
        EventKind::Expired => Kind::Expired,
        EventKind::PoolRetired => Kind::Retired,
        _ => Kind::Unspecified,
    };
    let (pool, entry) = (event.body.pool(), event.body.entry());
    v1::PoolChanged {
        partition: event.partition,
        seq: event.seq,
        decided_at: Some(answers::time(event.decided_at)),
        kind: kind.into(),
        pool: event.body.pool_id().map(ToString::to_string).unwrap_or_default(),
        limits: answers::units_if_any(pool.map(|pool| &pool.spec.limits).or(entry.map(|entry| &entry.limits))),
        used: answers::units_if_any(pool.map(|pool| &pool.used).or(entry.map(|entry| &entry.used))),
        definition: pool.map(answers::pool),
        is_watched: *is_watched,
    }
}
