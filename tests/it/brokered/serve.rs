//! Whole processes on a rig: `headroom serve` with a data directory each, over topics that `headroom topics apply` made.
//! What they log is kept when a test fails.

use crate::brokered::prefix;
use crate::clock::real_binary::Stepped;
use crate::process::{Ended, KILLED, agent, code_of, headroom, run};
use crate::rig::Rig;
use crate::wait::until;
use headroom::log::kafka::ops::admin::Admin;
use headroom::log::kafka::{Cluster, Framing, Kafka, Topics};
use headroom::time::Stopwatch;
use parking_lot::Mutex;
use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

/// What makes the binary play the version that knew the feature levels up to this one.
pub const OLDER: &str = "HEADROOM_OLDER_LEVEL";

/// A log on a rig's cluster, its configuration, and the directories of those who serve it.
pub struct Site {
    /// None once it is to be kept.
    dir: Option<TempDir>,
    cluster: Cluster,
}

impl Site {
    /// With topics of its own.
    #[track_caller]
    pub fn new(rig: &Rig, partitions: u32) -> Site {
        Site::made_by(rig, partitions, None)
    }

    /// The same as the version made it that knew the feature levels up to this one.
    #[track_caller]
    pub fn made_by(rig: &Rig, partitions: u32, older: Option<u32>) -> Site {
        let prefix = prefix();
        let cluster = Cluster {
            brokers: rig.brokers().to_owned(),
            security: BTreeMap::new(),
            application: "headroom".to_owned(),
            environment: "dev".to_owned(),
            topics: Topics::of(&prefix),
            alternates: true,
        };
        let dir = tempfile::Builder::new().prefix("headroom-site-").tempdir().unwrap();
        let site = Site { dir: Some(dir), cluster };
        fs::write(site.path("headroom.toml"), site.configuration(partitions)).unwrap();
        let mut apply = site.command(["topics", "apply"]);
        apply.envs(older.map(|level| (OLDER, level.to_string())));
        let applied = run(&mut apply);
        assert_eq!(applied.code, 0, "{}{}", applied.out, applied.err);
        site
    }

    fn configuration(&self, partitions: u32) -> String {
        let Cluster { brokers, topics, .. } = &self.cluster;
        let replication = brokers.split(',').count();
        let min_in_sync = replication.div_ceil(2);
        let Topics { commands, events, replies, dead_letters, manifest } = topics;
        format!(
            r#"
            kafka_brokers = "{brokers}"
            kafka_replication = {replication}
            kafka_min_in_sync = {min_in_sync}
            partitions = {partitions}
            topic_commands = "{commands}"
            topic_events = "{events}"
            topic_replies = "{replies}"
            topic_dead_letters = "{dead_letters}"
            topic_manifest = "{manifest}"
            "#
        )
    }

    /// One of the binary's commands on this log. Settings follow the subcommand: add others to it.
    pub fn command<const N: usize>(&self, args: [&str; N]) -> Command {
        let mut command = headroom(args);
        command.arg("--config").arg(self.path("headroom.toml"));
        command
    }

    /// Runs one of them to its end.
    #[track_caller]
    pub fn run<const N: usize>(&self, args: [&str; N]) -> Ended {
        run(&mut self.command(args))
    }

    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// The log as this process reads it.
    pub fn log(&self) -> Kafka {
        let seen = Admin::new(self.cluster.clone()).unwrap().look().unwrap();
        let manifest = seen.manifest.unwrap().expect("topics apply wrote one").manifest;
        Kafka::open(self.cluster.clone(), manifest, Framing::none(), super::draw).unwrap()
    }

    /// A process with all roles that serves this log, when it is ready. Its name is its own at this site.
    #[track_caller]
    pub fn serve(&self, name: &str) -> Serving<'_> {
        self.serve_by(name, &self.cluster.brokers)
    }

    /// The same by way of this broker, such as a proxy before it.
    #[track_caller]
    pub fn serve_by(&self, name: &str, brokers: &str) -> Serving<'_> {
        let mut serving = self.serving(name);
        brokers.clone_into(&mut serving.brokers);
        serving.start();
        serving.ready();
        serving
    }

    /// The same before it runs.
    pub fn serving(&self, name: &str) -> Serving<'_> {
        let (name, brokers) = (name.to_owned(), self.cluster.brokers.clone());
        let (process, at, plays) = (Mutex::new(None), Whereabouts::default(), Mutex::new(None));
        let dies_at = Mutex::new(None);
        Serving { site: self, name, brokers, settings: Vec::new(), clock: None, dies_at, plays, process, at }
    }

    /// What a process of this name has, and files of the site.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.as_ref().expect("until it is dropped").path().join(name)
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let keep = std::thread::panicking() || std::env::var_os("HEADROOM_RIG_KEEP").is_some();
        if let Some(dir) = self.dir.take().filter(|_| keep) {
            eprintln!("what the processes wrote is in {}", dir.keep().display());
        }
    }
}

/// Where a process listens while it runs, for callers that outlive any of its lives.
#[derive(Clone, Default)]
pub struct Whereabouts(Arc<Mutex<Option<SocketAddr>>>);

impl Whereabouts {
    pub fn now(&self) -> Option<SocketAddr> {
        *self.0.lock()
    }
}

/// A process, or none while it is down. It may be asked from any thread.
pub struct Serving<'s> {
    site: &'s Site,
    name: String,
    brokers: String,
    /// Flags beside those of the site.
    settings: Vec<String>,
    /// Its wall clock, where that is not the machine's.
    clock: Option<&'s Stepped>,
    /// The named point at which it dies, if it is to die at one.
    dies_at: Mutex<Option<&'static str>>,
    /// The newest feature level that it knows, where that is not the binary's.
    plays: Mutex<Option<u32>>,
    process: Mutex<Option<Child>>,
    at: Whereabouts,
}

impl<'s> Serving<'s> {
    /// With these flags.
    pub fn with<const N: usize>(mut self, settings: [&str; N]) -> Serving<'s> {
        self.settings.extend(settings.map(str::to_owned));
        self
    }

    /// By this wall clock.
    pub fn by(mut self, clock: &'s Stepped) -> Serving<'s> {
        self.clock = Some(clock);
        self
    }

    /// From its next start on it plays the version that knew the feature levels up to this one.
    pub fn plays(&self, older: Option<u32>) {
        *self.plays.lock() = older;
    }

    /// From its next start on it dies where it passes this point for the first time.
    pub fn dies_at(&self, point: Option<&'static str>) {
        *self.dies_at.lock() = point;
    }

    /// Starts it on any free port, over what it had before. Returns when it listens.
    #[track_caller]
    pub fn start(&self) {
        let (data, log) = (self.site.path(&self.name), self.site.path(&format!("{}.log", self.name)));
        let err = File::options().create(true).append(true).open(log).unwrap();
        let mut command = self.site.command(["serve", "--listen", "127.0.0.1:0"]);
        command.args(["--kafka-brokers", &self.brokers]).args(&self.settings);
        command.arg("--data-dir").arg(&data).env("RUST_BACKTRACE", "1");
        self.clock.map(|clock| clock.rules(&mut command));
        command.envs(self.plays.lock().map(|level| (OLDER, level.to_string())));
        command.envs(self.dies_at.lock().map(|point| ("HEADROOM_CRASH_AT", format!("{point}:1"))));
        let mut child = command.stdout(err.try_clone().unwrap()).stderr(err).spawn().unwrap();
        let mut address = None;
        until("the process listens", || {
            if let Some(status) = child.try_wait().unwrap() {
                panic!("{} ended with {status}", self.name);
            }
            let text = fs::read_to_string(data.join("server.addr")).unwrap_or_default();
            // A process that was killed left its own.
            let of_child = text.trim_end().split_once(' ').filter(|(_, pid)| *pid == child.id().to_string());
            address = of_child.and_then(|(address, _)| address.parse().ok());
            address.is_some()
        });
        *self.at.0.lock() = address;
        assert!(self.process.lock().replace(child).is_none(), "it was down");
    }

    /// Waits until it takes calls.
    #[track_caller]
    pub fn ready(&self) {
        let (agent, url) = (agent(), self.url().expect("it runs"));
        until("the process is ready", || agent.get(format!("{url}/readyz")).call().is_ok_and(|r| r.status() == 200));
    }

    /// Where it listens, now and later.
    pub fn whereabouts(&self) -> Whereabouts {
        self.at.clone()
    }

    /// Where it listens while it runs, without a slash at its end.
    pub fn url(&self) -> Option<String> {
        self.at.now().map(|address| format!("http://{address}"))
    }

    /// It gets no further.
    pub fn kill9(&self) {
        if let Some(mut child) = self.process.lock().take() {
            // It may have ended by itself.
            let _ = child.kill();
            child.wait().unwrap();
            *self.at.0.lock() = None;
        }
    }

    /// Stops the process with SIGSTOP: it stands still and keeps its connections.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets a stopped process go on, with SIGCONT.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// SIGTERM, and waits for a clean end. Callers see it as running until then.
    #[track_caller]
    pub fn terminate(&self) {
        let (status, _) = self.end();
        assert!(status.success(), "{} ended with {status}", self.name);
    }

    /// The same, however it ends, and how long that takes.
    #[track_caller]
    pub fn end(&self) -> (ExitStatus, Duration) {
        let ending = Stopwatch::start();
        self.signal(Signal::TERM);
        (self.ended(), ending.elapsed())
    }

    /// Waits until it has died at the point where it was told to, and of nothing else.
    #[track_caller]
    pub fn died(&self) {
        assert_eq!(code_of(self.ended()), KILLED, "{}", self.name);
    }

    /// Waits for its end.
    #[track_caller]
    fn ended(&self) -> ExitStatus {
        let mut status = None;
        until("the process ends", || {
            status = self.process.lock().as_mut().and_then(|child| child.try_wait().unwrap());
            status.is_some()
        });
        (*self.process.lock(), *self.at.0.lock()) = (None, None);
        status.expect("until there is one")
    }

    /// What it has logged so far.
    pub fn logged(&self) -> String {
        fs::read_to_string(self.site.path(&format!("{}.log", self.name))).unwrap()
    }

    #[track_caller]
    fn signal(&self, signal: Signal) {
        let process = self.process.lock();
        kill_process(Pid::from_child(process.as_ref().expect("it runs")), signal).unwrap();
    }
}

impl Drop for Serving<'_> {
    fn drop(&mut self) {
        self.kill9();
    }
}
