//! The stream of a watch: its steps as messages, and its end as a status.

use super::v1::{self, pool_changed::Kind, watch_pools_response};
use super::{answers, message, status};
use crate::access::Access;
use crate::api::http::request::HttpRequest;
use crate::api::identity::{Refused, identified, permitted};
use crate::api::operation::Operation;
use crate::api::problem::Problem;
use crate::domain::EventKind;
use crate::service::watch::{Change, Places, Step, Steps, Update, WatchEnd};
use crate::trace::CallTrace;
use axum::body::{Bytes, HttpBody};
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use hyper::body::Frame;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

/// The body of the answer to a watch.
pub struct Watching {
    steps: Steps,
    /// Where another watch goes on after the steps that were told.
    position: Places,
    caller: Caller,
    trace: CallTrace,
    is_over: bool,
}

/// Whoever began a watch. The watch may last longer than what has proven who that is.
struct Caller {
    access: Arc<Access>,
    /// Its Authorization header, if it sent one. A certificate is judged once, when its connection is made.
    proof: HeaderMap,
}

impl Caller {
    /// Refuses a caller who could not begin a watch now.
    fn may_go_on(&self, trace: &CallTrace) -> Result<(), Refused> {
        if self.proof.is_empty() {
            return Ok(());
        }
        let principal = identified(&self.access, &self.proof, None)?;
        permitted(Operation::WatchPools, &principal, trace)
    }
}

impl Watching {
    /// Tells these steps, which go on behind this position, to the caller of this request.
    pub fn new(steps: Steps, position: Places, access: Arc<Access>, request: &HttpRequest) -> Watching {
        let proof = request.headers().get(AUTHORIZATION).map(|proof| (AUTHORIZATION, proof.clone()));
        let caller = Caller { access, proof: proof.into_iter().collect() };
        Watching { steps, position, caller, trace: request.trace.clone(), is_over: false }
    }
}

impl HttpBody for Watching {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        let ended = match ready!(self.steps.poll_next(cx)) {
            Some(Ok(step)) => match self.caller.may_go_on(&self.trace) {
                Ok(()) => {
                    self.position.clone_from(&step.position);
                    return Poll::Ready(Some(Ok(Frame::data(message::framed(&told(step))))));
                }
                Err(refused) => Some((Problem::from(refused), std::mem::take(&mut self.position))),
            },
            Some(Err(WatchEnd { refusal, position })) => Some((Problem::from(refusal), position)),
            None => None,
        };
        let trailers = match ended {
            Some((problem, position)) => status::trailers(&status::told(&problem, &self.trace.to_string(), position)),
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
