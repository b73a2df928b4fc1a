//! A server that the load test starts on a scratch directory, and stops by the signal that an operator would send.

use headroom::app::{Location, read_address};
use headroom::client::{self, Connection};
use headroom::limits::SHUTDOWN_MS;
use headroom::tls;
use rustix::process::{Pid, Signal, kill_process};
use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tokio::time::Instant;

/// Time to start and to become ready.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// Time to stop after it was asked to.
const STOP_TIMEOUT: Duration = Duration::from_millis(SHUTDOWN_MS + 5_000);
/// Pause between two checks of either.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Bytes of its last output that an error shows.
const LAST_WORDS: usize = 2_000;

/// The data directory of the server in this directory.
pub fn data_dir(directory: &Path) -> PathBuf {
    directory.join("data")
}

/// A child process that serves. Dropping it kills it.
pub struct Started {
    child: Child,
    output: PathBuf,
    /// A connection to it, of which others are made.
    pub connection: Connection,
}

impl Started {
    /// Starts `program serve` on a directory and waits until it is ready.
    ///
    /// # Errors
    /// Why it is not ready.
    pub async fn start(program: &Path, directory: &Path, arguments: &[String]) -> Result<Started, String> {
        let name = program.display();
        let output = directory.join("server.log");
        let data = data_dir(directory);
        let log = File::create(&output).map_err(|e| format!("{}: {e}", output.display()))?;
        let err = log.try_clone().map_err(|e| e.to_string())?;
        let mut command = Command::new(program);
        command.arg("serve").arg("--data-dir").arg(&data).args(["--listen", "127.0.0.1:0"]).args(arguments);
        let child = command.stdin(Stdio::null()).stdout(log).stderr(err).spawn().map_err(|e| format!("{name}: {e}"))?;
        let unknown = Connection::new(SocketAddr::from(([127, 0, 0, 1], 0)));
        let mut started = Started { child, output, connection: unknown };
        let until = Instant::now() + START_TIMEOUT;
        while !started.is_ready(&data).await {
            if started.child.try_wait().is_ok_and(|ended| ended.is_some()) || Instant::now() > until {
                return Err(format!("{name} does not serve: {}", started.last_words()));
            }
            tokio::time::sleep_until(Instant::now() + LOOK_EVERY).await;
        }
        Ok(started)
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    async fn is_ready(&mut self, data: &Path) -> bool {
        let Ok(Location { address, certificate }) = read_address(data) else { return false };
        self.connection = match certificate.map(|pin| tls::pinned(pin, None)).transpose() {
            Ok(Some(tls)) => Connection::secure(address, tls),
            Ok(None) => Connection::new(address),
            Err(_) => return false,
        };
        client::is_ready(&mut self.connection).await
    }

    /// Asks it to stop and waits until it has.
    ///
    /// # Errors
    /// When it does not, or says that something went wrong.
    pub async fn stop(mut self) -> Result<(), String> {
        kill_process(Pid::from_child(&self.child), Signal::TERM).map_err(|e| e.to_string())?;
        let until = Instant::now() + STOP_TIMEOUT;
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) if status.success() => return Ok(()),
                Ok(Some(status)) => return Err(format!("the server ended with {status}: {}", self.last_words())),
                Ok(None) if Instant::now() > until => return Err("the server does not stop".to_owned()),
                Ok(None) => tokio::time::sleep_until(Instant::now() + LOOK_EVERY).await,
                Err(error) => return Err(error.to_string()),
            }
        }
    }

    fn last_words(&self) -> String {
        let said = std::fs::read_to_string(&self.output).unwrap_or_default();
        let from = said.char_indices().rev().map(|(at, _)| at).nth(LAST_WORDS).unwrap_or_default();
        said.get(from..).unwrap_or_default().trim().to_owned()
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        // The child may have ended already. Without the wait it would stay as a zombie.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
