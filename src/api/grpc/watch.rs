//! The stream of a watch: its steps as messages, and its end as a status.

use super::v1::{self, pool_changed::Kind, watch_pools_response};
use super::{answers, status};
use crate::api::problem::Problem;
use crate::domain::EventKind;
use crate::service::watch::{Change, Step, Steps, Update, WatchEnd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tonic::Status;
use tonic::codegen::tokio_stream::Stream;

/// What the caller of a watch reads.
pub struct Watching {
    /// The steps of the watch.
    pub steps: Steps,
    /// The id of the call.
    pub trace_id: String,
}

impl Stream for Watching {
    type Item = Result<v1::WatchPoolsResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(ready!(self.steps.poll_next(context)).map(|told| match told {
            Ok(step) => Ok(message(step)),
            Err(WatchEnd { refusal, position }) => Err(status::told(&Problem::from(refusal), &self.trace_id, position)),
        }))
    }
}

fn message(Step { update, position }: Step) -> v1::WatchPoolsResponse {
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
