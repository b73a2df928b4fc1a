//! A running server's committed log and states, read over HTTP by code that blocks: while a server runs, nobody else can
//! open its data directory. The server is on this machine, or is one of several that serve a log.

use super::internal::{self, ClockSet, LiveState, Swap};
use super::remote::Remote;
use super::{Answer, CallError, Calls, Connection, Outgoing};
use crate::log::{CommittedTail, LogError, StoredEvent};
use parking_lot::Mutex;
use rustls::ClientConfig;
use serde_json::Value;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Runtime;

/// How the server is reached.
enum Line {
    Near(Box<Connection>),
    Far(Remote),
}

impl Calls for Line {
    async fn carry(&mut self, request: Outgoing, within: Duration) -> Result<Answer, CallError> {
        match self {
            Line::Near(connection) => connection.call(request, within).await,
            Line::Far(remote) => remote.call(request, within).await,
        }
    }
}

/// A running server.
pub struct RunningServer {
    /// Runs on the calling thread: it makes progress only while an answer is waited for.
    runtime: Runtime,
    line: Mutex<Line>,
    /// The scheme and the address, for messages.
    base: String,
    log_id: u128,
    partitions: u32,
}

impl RunningServer {
    /// Connects to the server that listens on this address, and asks for its log and how many partitions it has. `tls` says which server
    /// is believed; without it, plain HTTP is spoken. Every call carries the token, if there is one.
    ///
    /// # Errors
    /// It does not answer, or it refuses. It is for an operator when the server is of an earlier version, which cannot be asked.
    pub fn at(
        address: SocketAddr,
        tls: Option<Arc<ClientConfig>>,
        token: Option<&str>,
    ) -> Result<RunningServer, LogError> {
        let address = SocketAddr::new(reachable(address.ip()), address.port());
        let (scheme, connection) = match tls {
            None => ("http", Connection::new(address)),
            Some(tls) => ("https", Connection::secure(address, tls)),
        };
        let connection = match token {
            Some(token) => connection.with_token(token).map_err(LogError::internal)?,
            None => connection,
        };
        RunningServer::over(Line::Near(Box::new(connection)), format!("{scheme}://{address}"))
    }

    /// The server that this calls, named `base` in messages; asks for its log and how many partitions it has.
    ///
    /// # Errors
    /// As for [`RunningServer::at`].
    pub fn elsewhere(remote: Remote, base: String) -> Result<RunningServer, LogError> {
        RunningServer::over(Line::Far(remote), base)
    }

    fn over(line: Line, base: String) -> Result<RunningServer, LogError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| LogError::internal(format!("cannot start an event loop: {error}")))?;
        let mut server = RunningServer { runtime, line: Mutex::new(line), base, log_id: 0, partitions: 0 };
        let (log_id, partitions) = server.ask(async |line| {
            let log = internal::log(line).await?;
            Ok((log.id()?, log.reach.len()))
        })?;
        server.partitions = u32::try_from(partitions).unwrap_or(u32::MAX);
        server.log_id = log_id.ok_or_else(|| {
            LogError::operator(format!(
                "{} is a server of an earlier version, which this command cannot ask: upgrade it, or take the command of its \
                 version",
                server.base
            ))
        })?;
        Ok(server)
    }

    /// The id of the log.
    pub fn log_id(&self) -> u128 {
        self.log_id
    }

    /// The scheme and the address of the server.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Asks the server to replace a partition's state by one that is folded anew. Answers `begun`, `busy` or `unable`.
    ///
    /// # Errors
    /// The server does not answer, or refuses.
    pub fn begin_swap(&self, partition: u32) -> Result<String, LogError> {
        self.ask(async |line| internal::begin_swap(line, partition).await)
    }

    /// How far the last swap of the partition is, or what came of it.
    ///
    /// # Errors
    /// The server does not answer, or refuses.
    pub fn swap(&self, partition: u32) -> Result<Swap, LogError> {
        self.ask(async |line| internal::swap(line, partition).await)
    }

    /// The position and digests of a partition's state in the server's memory.
    ///
    /// # Errors
    /// The server does not answer, or refuses.
    pub fn state(&self, partition: u32) -> Result<LiveState, LogError> {
        self.ask(async |line| internal::state(line, partition).await)
    }

    /// What the process says of itself for a support bundle, as JSON.
    ///
    /// # Errors
    /// The server does not answer, or refuses.
    pub fn support(&self) -> Result<Value, LogError> {
        self.ask(async |line| internal::support(line).await)
    }

    /// The version of the process.
    ///
    /// # Errors
    /// The server does not answer, or refuses.
    pub fn version(&self) -> Result<String, LogError> {
        Ok(self.support()?["version"].as_str().unwrap_or_default().to_owned())
    }

    /// The metrics of the process, in Prometheus' text format.
    ///
    /// # Errors
    /// The server does not answer, or refuses.
    pub fn metrics(&self) -> Result<String, LogError> {
        self.ask(async |line| internal::metrics(line).await)
    }

    /// Asks the server to set the clocks of its partitions back. `because` is recorded in the log.
    ///
    /// # Errors
    /// The server does not answer, or refuses.
    pub fn set_clock(&self, because: &str) -> Result<Vec<ClockSet>, LogError> {
        self.ask(async |line| internal::set_clock(line, because).await)
    }

    /// Whether the server answers.
    pub fn is_there(&self) -> bool {
        self.reach().is_ok()
    }

    fn reach(&self) -> Result<Vec<Range<u64>>, LogError> {
        self.ask(async |line| Ok(internal::log(line).await?.reach))
    }

    fn reach_of(&self, partition: u32) -> Result<Range<u64>, LogError> {
        let reach = self.reach()?.get(partition as usize).cloned();
        reach.ok_or_else(|| LogError::no_partition(partition, self.partitions))
    }

    fn ask<T>(&self, question: impl AsyncFnOnce(&mut Line) -> Result<T, String>) -> Result<T, LogError> {
        let answer = self.runtime.block_on(question(&mut self.line.lock()));
        answer.map_err(|why| LogError::transient(format!("cannot call {}{why}", self.base)))
    }
}

impl CommittedTail for RunningServer {
    fn partitions(&self) -> u32 {
        self.partitions
    }

    fn first(&self, partition: u32) -> Result<u64, LogError> {
        Ok(self.reach_of(partition)?.start)
    }

    fn log_id(&self) -> Option<u128> {
        Some(self.log_id)
    }

    fn end(&self, partition: u32) -> Result<u64, LogError> {
        Ok(self.reach_of(partition)?.end)
    }

    /// Returns as many events as the server puts in one page; `_bytes_max` has no effect.
    fn read(&self, partition: u32, from_seq: u64, _bytes_max: usize) -> Result<Vec<StoredEvent>, LogError> {
        let page = self.ask(async |line| internal::page(line, partition, from_seq).await);
        page.map_err(|error| match self.first(partition) {
            Ok(first) if from_seq < first => LogError::out_of_range(error.detail),
            _ => error,
        })
    }
}

/// An address to connect to: a server that listens on every address is called on the loopback.
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
    use std::io::{BufRead, BufReader, Write};
    use std::net::TcpListener;

    /// The story: during an upgrade a command asked a server of the version before, and advised for ever to try again.
    #[test]
    fn a_server_that_does_not_tell_its_log_is_of_an_earlier_version() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let earlier = || {
            let (mut caller, _) = listener.accept().unwrap();
            let asked = BufReader::new(caller.try_clone().unwrap());
            assert!(asked.lines().any(|line| line.unwrap().is_empty()), "the head of a request");
            let body = r#"{"partitions":2,"ends":[3,4]}"#;
            let length = body.len();
            write!(caller, "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{body}").unwrap();
        };
        let refused = std::thread::scope(|scope| {
            scope.spawn(earlier);
            RunningServer::at(address, None, None).err().expect("it is refused")
        });
        assert!(refused.needs_operator(), "{refused}");
        let told = format!("http://{address} is a server of an earlier version");
        assert!(refused.detail.starts_with(&told), "{refused}");
    }

    #[test]
    fn a_server_that_listens_on_every_address_is_called_on_the_loopback() {
        assert_eq!(reachable("0.0.0.0".parse().unwrap()), IpAddr::V4(Ipv4Addr::LOCALHOST));
        assert_eq!(reachable("::".parse().unwrap()), IpAddr::V6(Ipv6Addr::LOCALHOST));
        assert_eq!(reachable("10.1.2.3".parse().unwrap()), "10.1.2.3".parse::<IpAddr>().unwrap());
    }
}
