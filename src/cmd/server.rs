//! A running server's log and states, read over HTTP: its directory is open to it alone. Only from the same machine.

use super::Failure;
use crate::app::ADDRESS_FILE;
use crate::domain::Digest;
use crate::log::{CommittedTail, LogError, StoredEvent};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::fmt::Display;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

/// Longest answer read. The server sends about a mebibyte of events at a time, and one event is far smaller.
const ANSWER_BYTES_MAX: u64 = 64 << 20;
/// How long the server may take: computing the digest of a large state does.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// A running server.
pub(super) struct Server {
    agent: ureq::Agent,
    base: String,
    partitions: u32,
}

#[derive(Deserialize)]
struct Log {
    partitions: u32,
    ends: Vec<u64>,
}

/// What else the server may say.
#[derive(Deserialize)]
struct Refusal {
    detail: String,
}

/// A state as the server describes it.
#[derive(Deserialize)]
pub(super) struct LiveState {
    /// The sequence number after the last event folded in.
    pub(super) next_seq: u64,
    /// The last event's digest, as text.
    pub(super) chain: String,
    /// The state's digest, as text.
    pub(super) digest: String,
}

impl LiveState {
    pub(super) fn is(&self, chain: Digest, digest: Digest) -> bool {
        self.chain == chain.to_string() && self.digest == digest.to_string()
    }
}

impl Server {
    /// The server that has this directory open.
    pub(super) fn of(dir: &Path) -> Result<Server, Failure> {
        let path = dir.join(ADDRESS_FILE);
        let text = std::fs::read_to_string(&path).map_err(|error| {
            let (dir, path) = (dir.display(), path.display());
            Failure::Unusable(format!(
                "the log in {dir} is in use and {path} does not say where its server is: {error}; \
                 it may be starting or stopping: try again"
            ))
        })?;
        let address = text.split_whitespace().next().and_then(|address| address.parse().ok());
        let address = address.ok_or_else(|| Failure::Unusable(format!("{} holds no address", path.display())))?;
        Server::at(address).map_err(|error| Failure::Unusable(error.to_string()))
    }

    fn at(address: SocketAddr) -> Result<Server, LogError> {
        // A proxy of the environment has no business between us and our own machine.
        let agent = ureq::Agent::config_builder().proxy(None).timeout_global(Some(ANSWER_TIMEOUT));
        let agent = agent.http_status_as_error(false).build().new_agent();
        let base = format!("http://{}", SocketAddr::new(reachable(address.ip()), address.port()));
        let mut server = Server { agent, base, partitions: 0 };
        server.partitions = server.log()?.partitions;
        Ok(server)
    }

    /// A partition's state as it is.
    pub(super) fn state(&self, partition: u32) -> Result<LiveState, LogError> {
        self.json(&format!("/internal/state/{partition}"))
    }

    pub(super) fn is_there(&self) -> bool {
        self.log().is_ok()
    }

    fn log(&self) -> Result<Log, LogError> {
        self.json("/internal/log")
    }

    fn json<T: DeserializeOwned>(&self, path: &str) -> Result<T, LogError> {
        let body = self.get(path)?;
        serde_json::from_slice(&body).map_err(|error| self.error(path, &error))
    }

    fn get(&self, path: &str) -> Result<Vec<u8>, LogError> {
        let answer = self.agent.get(format!("{}{path}", self.base)).call();
        let mut answer = answer.map_err(|error| self.error(path, &error))?;
        let body = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec();
        let body = body.map_err(|error| self.error(path, &error))?;
        if answer.status().is_success() {
            return Ok(body);
        }
        let said = serde_json::from_slice::<Refusal>(&body).map(|refusal| refusal.detail).unwrap_or_default();
        Err(self.error(path, &format_args!("{} {said}", answer.status())))
    }

    fn error(&self, path: &str, error: &dyn Display) -> LogError {
        LogError::new(format!("cannot read {}{path}: {error}", self.base))
    }
}

impl CommittedTail for Server {
    fn partitions(&self) -> u32 {
        self.partitions
    }

    fn end(&self, partition: u32) -> Result<u64, LogError> {
        let ends = self.log()?.ends;
        ends.get(partition as usize).copied().ok_or_else(|| LogError::new(format!("there is no partition {partition}")))
    }

    /// As much as the server sends at a time, whatever `bytes_max`.
    fn read(&self, partition: u32, from_seq: u64, _bytes_max: usize) -> Result<Vec<StoredEvent>, LogError> {
        let path = format!("/internal/log/{partition}?from={from_seq}");
        let body = self.get(&path)?;
        let events = unframed(&body).ok_or_else(|| LogError::new(format!("{}{path}: half an event", self.base)))?;
        Ok((from_seq..).zip(events).map(|(seq, bytes)| StoredEvent { seq, bytes: bytes.to_vec() }).collect())
    }
}

/// Records, each after its length in four big-endian bytes; `None` when the last one is cut off.
fn unframed(mut body: &[u8]) -> Option<Vec<&[u8]>> {
    let mut records = Vec::new();
    while !body.is_empty() {
        let (length, rest) = body.split_first_chunk()?;
        let (record, rest) = rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
        records.push(record);
        body = rest;
    }
    Some(records)
}

/// A server that listens on every address is asked on the machine's own.
fn reachable(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_cut_where_their_lengths_say() {
        assert_eq!(unframed(&[]), Some(vec![]));
        assert_eq!(unframed(&[0, 0, 0, 2, 7, 8, 0, 0, 0, 0, 0, 0, 0, 1, 9]), Some(vec![&[7, 8][..], &[], &[9]]));
        for cut in [&[0, 0, 0][..], &[0, 0, 0, 2, 7], &[0xff; 8]] {
            assert_eq!(unframed(cut), None, "{cut:?}");
        }
    }

    #[test]
    fn a_server_on_every_address_is_asked_on_this_machines() {
        assert_eq!(reachable("0.0.0.0".parse().unwrap()), IpAddr::V4(Ipv4Addr::LOCALHOST));
        assert_eq!(reachable("::".parse().unwrap()), IpAddr::V6(Ipv6Addr::LOCALHOST));
        assert_eq!(reachable("10.1.2.3".parse().unwrap()), "10.1.2.3".parse::<IpAddr>().unwrap());
    }
}
