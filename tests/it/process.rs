//! The binary as a child process: with no setting but those the test gives, and never waited for without a limit.

use crate::openapi_check;
use crate::wait::{PATIENCE, soon, until};
use headroom::app::StartError;
use headroom::log::embedded::OpenError;
use parking_lot::Mutex;
use std::io::{self, BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::thread::JoinHandle;

/// Opens a log that this process has closed. A child being spawned holds for a moment whatever files this one has open,
/// locks included, so a log may be in use by a process that knows nothing of it.
pub fn once_free<T, E: Refusal>(mut open: impl FnMut() -> Result<T, E>) -> Result<T, E> {
    let mut opened = open();
    soon(|| {
        if opened.as_ref().is_err_and(E::is_in_use) {
            opened = open();
        }
        !opened.as_ref().is_err_and(E::is_in_use)
    });
    opened
}

/// Why a log is not opened.
pub trait Refusal {
    fn is_in_use(&self) -> bool;
}

impl Refusal for OpenError {
    fn is_in_use(&self) -> bool {
        matches!(self, OpenError::InUse { .. })
    }
}

impl Refusal for StartError {
    fn is_in_use(&self) -> bool {
        matches!(self, StartError::InUse(_)) || matches!(self, StartError::Log(error) if error.is_in_use())
    }
}

/// The binary. Settings of the environment, and knobs of these tests, are not for it.
pub fn headroom<const N: usize>(args: [&str; N]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_headroom"));
    without_settings(&mut command).args(args).stdin(Stdio::null());
    command
}

/// The same command without settings of the environment and knobs of these tests, which the binary refuses.
pub fn without_settings(command: &mut Command) -> &mut Command {
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("HEADROOM_")) {
        command.env_remove(name);
    }
    command
}

pub fn spawn(command: &mut Command) -> Child {
    try_spawn(command).unwrap()
}

pub fn try_spawn(command: &mut Command) -> io::Result<Child> {
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()
}

/// An output that nobody reads.
pub fn closed() -> Stdio {
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    writer.into()
}

/// The code of a process that a panic of one of its threads has aborted.
pub const ABORTED: i32 = -6;
/// The code of one that has died at the point where it was told to.
pub const KILLED: i32 = -9;

pub struct Ended {
    /// The exit code; of a process that a signal has ended, the signal's number below zero.
    pub code: i32,
    pub out: String,
    pub err: String,
}

/// What [`Ended`] says of how a process has ended.
pub fn code_of(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| -status.signal().unwrap())
}

/// Runs a command to its end.
pub fn run(command: &mut Command) -> Ended {
    Running::start(command).ended()
}

/// A child that does not outlive its test.
pub struct Running {
    child: Child,
    /// Each with its line end.
    lines: Receiver<String>,
    said: Arc<Mutex<String>>,
    err: Option<JoinHandle<()>>,
}

impl Running {
    pub fn start(command: &mut Command) -> Running {
        let mut child = spawn(command);
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut err = BufReader::new(child.stderr.take().unwrap());
        let (tell, lines) = mpsc::channel();
        std::thread::spawn(move || {
            let mut line = String::new();
            while out.read_line(&mut line).unwrap() > 0 && tell.send(std::mem::take(&mut line)).is_ok() {}
        });
        let said = Arc::<Mutex<String>>::default();
        let err = std::thread::spawn({
            let said = Arc::clone(&said);
            move || {
                let mut line = String::new();
                while err.read_line(&mut line).unwrap() > 0 {
                    said.lock().push_str(&std::mem::take(&mut line));
                }
            }
        });
        Running { child, lines, said, err: Some(err) }
    }

    /// The next line of its output.
    #[track_caller]
    pub fn line(&mut self) -> String {
        let line = self.lines.recv_timeout(PATIENCE);
        line.unwrap_or_else(|error| panic!("no line of output: {error}")).trim_end().to_owned()
    }

    /// What it has said on standard error so far, in whole lines.
    pub fn said(&self) -> String {
        self.said.lock().clone()
    }

    pub fn child(&self) -> &Child {
        &self.child
    }

    /// Whether it has ended.
    pub fn is_over(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Ends it, whatever it is doing.
    pub fn kill(&mut self) -> ExitStatus {
        // It may have ended by itself.
        let _ = self.child.kill();
        self.child.wait().unwrap()
    }

    /// Waits until it has died at the point where it was told to, and of nothing else.
    #[track_caller]
    pub fn died(&mut self, point: &str) {
        until("it dies", || self.is_over());
        assert_eq!(code_of(self.child.wait().unwrap()), KILLED, "{point}");
    }

    /// Waits for its end.
    #[track_caller]
    pub fn ended(mut self) -> Ended {
        until("the process ends", || self.is_over());
        let code = code_of(self.child.wait().unwrap());
        self.err.take().unwrap().join().unwrap();
        Ended { code, out: self.lines.iter().collect(), err: self.said() }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A child that serves, with every partition ready.
pub struct Served {
    pub running: Running,
    /// Without a slash at its end.
    pub url: String,
}

impl Served {
    #[track_caller]
    pub fn start(command: &mut Command) -> Served {
        let served = Served::listening(command);
        // The owners open their partitions first.
        let (agent, ready) = (agent(), format!("{}/readyz", served.url));
        until("the server is ready", || agent.get(&ready).call().is_ok_and(|r| r.status() == 200));
        served
    }

    /// The same before it is ready.
    #[track_caller]
    pub fn listening(command: &mut Command) -> Served {
        let mut running = Running::start(command);
        let line = running.line();
        let url = line.strip_prefix("headroom listens on ").unwrap_or_else(|| panic!("{line:?}")).to_owned();
        Served { running, url }
    }
}

/// A caller that takes every status for an answer, if it is as described.
pub fn agent() -> ureq::Agent {
    any_agent().middleware(openapi_check::checked).build().into()
}

/// The same, of a server that is not ours.
pub fn foreign_agent() -> ureq::Agent {
    any_agent().build().into()
}

fn any_agent() -> ureq::config::ConfigBuilder<ureq::typestate::AgentScope> {
    ureq::Agent::config_builder().timeout_global(Some(PATIENCE)).http_status_as_error(false)
}
