//! The way in of an operator who sets the clocks of partitions back: from the same machine only.

use super::Api;
use super::body;
use super::dto::Time;
use super::internal::local_only;
use super::reply::{Answer, Reply};
use super::request::HttpRequest;
use crate::replica::{ClockRequest, PartitionHandle, Setting};
use axum::http::StatusCode;
use serde::Serialize;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

/// Time that an owner has to set its clock: it changes every hold and everything that is remembered.
const SET_LIMIT: Duration = Duration::from_secs(30);

#[derive(Serialize)]
struct ClocksDto {
    partitions: Vec<ClockDto>,
}

/// What came of it in one partition.
#[derive(Serialize)]
struct ClockDto {
    partition: u32,
    result: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    set: Option<SetDto>,
}

#[derive(Serialize)]
struct SetDto {
    seq: u64,
    from: Time,
    to: Time,
}

/// `POST /internal/clock`: sets back the clock of every partition that this process owns and that is ahead.
pub async fn set(api: Arc<Api>, asked: HttpRequest) -> Answer {
    local_only(&asked)?;
    asked.query(&[])?;
    let because = body::because(&asked.body)?;
    let waiting: Vec<_> = api.gateway().replica().partitions().map(|handle| ask(handle, &because)).collect();
    let mut partitions = Vec::new();
    for (partition, answer) in (0..).zip(waiting) {
        let told = tokio::time::timeout(SET_LIMIT, answer).await;
        let (result, set) = match told {
            Ok(Ok(Setting::Done { seq, from, to })) => ("set", Some(SetDto { seq, from: Time(from), to: Time(to) })),
            Ok(Ok(Setting::NotAhead)) => ("not_ahead", None),
            Ok(Ok(Setting::Busy)) => ("busy", None),
            Ok(Ok(Setting::NotCommitted)) => ("not_committed", None),
            Ok(Err(_)) => ("not_owned", None),
            Err(_) => ("no_answer", None),
        };
        partitions.push(ClockDto { partition, result, set });
    }
    Ok(Reply::json(StatusCode::OK, &ClocksDto { partitions }))
}

fn ask(handle: &PartitionHandle, because: &str) -> oneshot::Receiver<Setting> {
    let (told, answer) = oneshot::channel();
    handle.ask_to_set_clock(ClockRequest {
        because: because.to_owned(),
        told: Box::new(move |setting| {
            // Whoever asked may have given up.
            let _ = told.send(setting);
        }),
    });
    answer
}
