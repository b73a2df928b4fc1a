//! How an operator sets the clocks of partitions back.

use super::Api;
use super::dto::Time;
use super::reply::{Answer, Reply};
use super::request::HttpRequest;
use crate::api::body;
use crate::service::operator::{ClockAnswer, ClockSetOutcome};
use axum::http::StatusCode;
use serde::Serialize;
use std::sync::Arc;

#[derive(Serialize)]
struct ClocksDto {
    partitions: Vec<ClockDto>,
}

#[derive(Serialize)]
struct ClockDto {
    partition: u32,
    /// `set`, or why the clock was not set.
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
pub async fn set(api: Arc<Api>, request: HttpRequest) -> Answer {
    request.query(&[])?;
    let because = body::because(request.json()?)?;
    let answers = api.service().set_clocks(&because, &request.principal, &request.trace).await;
    let partitions = (0..).zip(answers).map(|(partition, answer)| ClockDto::of(partition, answer)).collect();
    Ok(Reply::json(StatusCode::OK, &ClocksDto { partitions }))
}

impl ClockDto {
    fn of(partition: u32, answer: ClockAnswer) -> ClockDto {
        let set = match answer {
            ClockAnswer::Answered(ClockSetOutcome::Done { seq, from, to }) => {
                Some(SetDto { seq, from: Time(from), to: Time(to) })
            }
            _ => None,
        };
        ClockDto { partition, result: answer.code(), set }
    }
}
