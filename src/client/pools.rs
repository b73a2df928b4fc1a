//! Defines many pools over several connections.

use super::{Connection, Method, json, path, timed};
use hyper::body::Bytes;
use std::time::Duration;

/// Connections that define pools at the same time.
const DEFINERS: usize = 8;
/// Deadline of one definition, in milliseconds.
const TIMEOUT_MS: u64 = 2_000;
/// Longest wait for the answer to one definition.
const GIVE_UP: Duration = Duration::from_millis(2 * TIMEOUT_MS);
/// Attempts at one definition. Defining a pool twice in the same way changes nothing.
const TRIES: u32 = 5;

/// A pool to define with `PUT /v1/pools/{pool}`.
#[derive(Clone, Debug)]
pub struct PoolDefinition {
    /// The pool's id.
    pub pool: String,
    /// The JSON body of the request.
    pub body: String,
}

/// Defines the pools, in no particular order, over connections like this one.
///
/// # Errors
/// A pool could not be defined: the last status and body, or why no answer came.
pub async fn define(server: &Connection, pools: Vec<PoolDefinition>) -> Result<(), String> {
    let share = pools.len().div_ceil(DEFINERS).max(1);
    let shares: Vec<_> = pools.chunks(share).map(<[PoolDefinition]>::to_vec).collect();
    let tasks: Vec<_> = shares.into_iter().map(|share| tokio::spawn(put_all(server.clone(), share))).collect();
    for task in tasks {
        task.await.map_err(|e| e.to_string())??;
    }
    Ok(())
}

async fn put_all(mut server: Connection, pools: Vec<PoolDefinition>) -> Result<(), String> {
    for PoolDefinition { pool, body } in pools {
        let target = format!("/v1/pools/{pool}");
        put(&mut server, &target, Bytes::from(body)).await.map_err(|why| format!("PUT {target}: {why}"))?;
    }
    Ok(())
}

async fn put(server: &mut Connection, target: &str, body: Bytes) -> Result<(), String> {
    let mut why = String::new();
    for _ in 0..TRIES {
        let request = json(Method::PUT, path(target)?, body.clone());
        match server.call(timed(request, TIMEOUT_MS), GIVE_UP).await {
            Ok(answer) if matches!(answer.status, 200 | 201) => return Ok(()),
            Ok(answer) => why = format!("{} {}", answer.status, String::from_utf8_lossy(&answer.body)),
            Err(error) => why = error.to_string(),
        }
    }
    Err(why)
}
