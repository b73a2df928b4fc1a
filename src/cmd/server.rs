//! A running server's log and states, read over HTTP: its directory is open to it alone. Only from the same machine.

use super::Failure;
use super::client::Connection;
use super::client::log::{self, ClockSet, LiveState};
use crate::app::ADDRESS_FILE;
use crate::log::{CommittedTail, LogError, StoredEvent};
use parking_lot::Mutex;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use tokio::runtime::Runtime;

/// A running server.
pub(super) struct Server {
    /// Of this thread: nothing moves but while an answer is waited for.
    runtime: Runtime,
    connection: Mutex<Connection>,
    base: String,
    partitions: u32,
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
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| LogError::new(format!("cannot call a server: {error}")))?;
        let address = SocketAddr::new(reachable(address.ip()), address.port());
        let connection = Mutex::new(Connection::new(address));
        let mut server = Server { runtime, connection, base: format!("http://{address}"), partitions: 0 };
        server.partitions = u32::try_from(server.ends()?.len()).unwrap_or(u32::MAX);
        Ok(server)
    }

    /// A partition's state as it is.
    pub(super) fn state(&self, partition: u32) -> Result<LiveState, LogError> {
        self.ask(async |connection| log::state(connection, partition).await)
    }

    /// Has it set the clocks of its partitions back.
    pub(super) fn set_clock(&self, because: &str) -> Result<Vec<ClockSet>, LogError> {
        self.ask(async |connection| log::set_clock(connection, because).await)
    }

    pub(super) fn is_there(&self) -> bool {
        self.ends().is_ok()
    }

    fn ends(&self) -> Result<Vec<u64>, LogError> {
        self.ask(async |connection| log::ends(connection).await)
    }

    fn ask<T>(&self, question: impl AsyncFnOnce(&mut Connection) -> Result<T, String>) -> Result<T, LogError> {
        let answer = self.runtime.block_on(question(&mut self.connection.lock()));
        answer.map_err(|why| LogError::new(format!("cannot call {}{why}", self.base)))
    }
}

impl CommittedTail for Server {
    fn partitions(&self) -> u32 {
        self.partitions
    }

    fn end(&self, partition: u32) -> Result<u64, LogError> {
        let end = self.ends()?.get(partition as usize).copied();
        end.ok_or_else(|| LogError::new(format!("there is no partition {partition}")))
    }

    /// As much as the server sends at a time, whatever `bytes_max`.
    fn read(&self, partition: u32, from_seq: u64, _bytes_max: usize) -> Result<Vec<StoredEvent>, LogError> {
        self.ask(async |connection| log::page(connection, partition, from_seq).await)
    }
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
    fn a_server_on_every_address_is_asked_on_this_machines() {
        assert_eq!(reachable("0.0.0.0".parse().unwrap()), IpAddr::V4(Ipv4Addr::LOCALHOST));
        assert_eq!(reachable("::".parse().unwrap()), IpAddr::V6(Ipv6Addr::LOCALHOST));
        assert_eq!(reachable("10.1.2.3".parse().unwrap()), "10.1.2.3".parse::<IpAddr>().unwrap());
    }
}
