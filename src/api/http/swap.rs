//! How an operator has a partition's state in this process replaced by one that is folded anew.

use super::Api;
use super::internal::partition;
use super::reply::{Answer, Reply};
use super::request::HttpRequest;
use crate::service::swap::{Seal, SwapFailed, SwapProgress, Swapped};
use axum::http::StatusCode;
use serde::Serialize;
use std::sync::Arc;

#[derive(Serialize)]
struct BegunDto {
    /// `begun`, or why it has not begun.
    result: &'static str,
}

#[derive(Serialize)]
struct SwapDto {
    /// `none` where nobody has asked for it, `under_way`, `swapped`, or a code that says why the state is still there.
    result: &'static str,
    #[serde(flatten)]
    progress: Option<ProgressDto>,
    /// Why the state is still there, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    swapped: Option<SwappedDto>,
}

#[derive(Serialize)]
struct ProgressDto {
    snapshot: Option<String>,
    passed_over: Vec<String>,
    first: u64,
    reached: u64,
    end: u64,
    bytes: u64,
    took_ms: u64,
}

#[derive(Serialize)]
struct SwappedDto {
    is_owner: bool,
    is_same: bool,
    next_seq: u64,
    living: SealDto,
    fresh: SealDto,
}

#[derive(Serialize)]
struct SealDto {
    chain: String,
    digest: String,
}

/// `POST /internal/swap/{partition}`: begins. It goes on when the caller has left.
pub async fn begin(api: Arc<Api>, request: HttpRequest) -> Answer {
    let partition = partition(&api, &request)?;
    request.query(&[])?;
    let begun = api.service().begin_swap(partition, &request.principal, &request.trace);
    Ok(Reply::json(StatusCode::OK, &BegunDto { result: begun.code() }))
}

/// `GET /internal/swap/{partition}`: how far the last one is that was begun, or what came of it.
pub async fn progress(api: Arc<Api>, request: HttpRequest) -> Answer {
    let partition = partition(&api, &request)?;
    request.query(&[])?;
    Ok(Reply::json(StatusCode::OK, &SwapDto::of(api.service().swap_progress(partition))))
}

impl SwapDto {
    fn of(progress: Option<SwapProgress>) -> SwapDto {
        let none = SwapDto { result: "none", progress: None, why: None, swapped: None };
        let Some(SwapProgress { snapshot, passed_over, first, reached, end, bytes, took_ms, ended }) = progress else {
            return none;
        };
        let progress = Some(ProgressDto { snapshot, passed_over, first, reached, end, bytes, took_ms });
        match ended {
            None => SwapDto { result: "under_way", progress, ..none },
            Some(Err(SwapFailed { code, why })) => SwapDto { result: code, progress, why: Some(why), ..none },
            Some(Ok(done)) => SwapDto { result: "swapped", progress, swapped: Some(done.into()), ..none },
        }
    }
}

impl From<Swapped> for SwappedDto {
    fn from(Swapped { is_owner, compared }: Swapped) -> SwappedDto {
        let seal = |seal: Seal| SealDto { chain: seal.position.chain.to_string(), digest: seal.digest.to_string() };
        SwappedDto {
            is_owner,
            is_same: compared.is_same(),
            next_seq: compared.fresh.position.next_seq,
            living: seal(compared.living),
            fresh: seal(compared.fresh),
        }
    }
}
