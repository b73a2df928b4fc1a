//! Making many pools at once.

use super::{Connection, Method, json, path, timed};
use hyper::body::Bytes;
use std::net::SocketAddr;
use std::time::Duration;

/// Connections that define pools at the same time.
const DEFINERS: usize = 8;
/// Time one definition may take.
const TIMEOUT_MS: u64 = 2_000;
/// Time past that after which the server counts as silent.
const GIVE_UP: Duration = Duration::from_millis(2 * TIMEOUT_MS);
/// Times a definition is tried: it is the same whether it is made once or twice.
const TRIES: u32 = 5;

/// A pool's id and the body of its definition.
pub type Definition = (String, String);

/// Makes the pools.
///
/// # Errors
/// Why one could not be made.
pub async fn define(address: SocketAddr, pools: Vec<Definition>) -> Result<(), String> {
    let share = pools.len().div_ceil(DEFINERS).max(1);
    let shares: Vec<_> = pools.chunks(share).map(<[Definition]>::to_vec).collect();
    let tasks: Vec<_> = shares.into_iter().map(|share| tokio::spawn(put_all(address, share))).collect();
    for task in tasks {
        task.await.map_err(|e| e.to_string())??;
    }
    Ok(())
}

async fn put_all(address: SocketAddr, pools: Vec<Definition>) -> Result<(), String> {
    let mut server = Connection::new(address);
    for (pool, body) in pools {
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
