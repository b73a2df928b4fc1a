//! One figure of Headroom's: a server, a session with it, and the audit of its log.

use crate::args::{Args, Server};
use crate::greedy;
use crate::machine;
use crate::ramp;
use crate::secure;
use crate::server::Started;
use crate::session::{Callers, Figures, Session};
use crate::topics::{Copies, Made, cluster};
use crate::verdict::Verdict;
use headroom::client::Connection;
use headroom::client::scratch::Scratch;
use headroom::log::kafka::Cluster;
use headroom::time::{Clock, Stopwatch, SystemClock};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Time after which creating the topics is not tried again.
const APPLY_LIMIT: Duration = Duration::from_secs(15);

/// A server to call. Dropping it removes what was made for it, in the order of these fields.
pub struct Service {
    started: Option<Started>,
    _made: Option<Made>,
    _scratch: Option<Scratch>,
    callers: Callers,
    /// The machine and the storage that it runs on.
    pub place: String,
}

impl Service {
    /// The server that runs already, or one that this run starts.
    ///
    /// # Errors
    /// Why there is no server.
    pub async fn start(args: &Args) -> Result<Service, String> {
        let machine = machine::line();
        let program = match args.server()? {
            Server::At(address) => {
                let place = format!("{machine}; server at {address}");
                let callers = Callers { all: caller(Connection::new(address), args)?, greedy: None };
                return Ok(Service { started: None, _made: None, _scratch: None, callers, place });
            }
            Server::Start(program) => program,
        };
        let scratch = match &args.scratch_in {
            Some(parent) => Scratch::within(parent, "headroom-loadtest"),
            None => Scratch::new("headroom-loadtest"),
        };
        let scratch = scratch.map_err(|e| format!("no scratch directory: {e}"))?;
        let (mut arguments, mut made) = (Vec::new(), None);
        let on = match &args.brokers {
            Some(brokers) => {
                let cluster = cluster(brokers, "loadtest");
                let config = configuration(scratch.path(), &cluster, args.partitions)?;
                made = Some(Made::all_of(&cluster)?);
                apply(&program, &config)?;
                arguments.extend(["--config".to_owned(), config.display().to_string()]);
                format!("the cluster at {brokers}")
            }
            None => {
                arguments.extend(args.partitions.iter().flat_map(|n| ["--partitions".to_owned(), n.to_string()]));
                let clock = SystemClock::new();
                let sync = machine::sync_us(scratch.path(), || clock.now().0);
                let sync = sync.map_or("?".to_owned(), |us| us.to_string());
                format!("{}, 4 KiB made durable in {sync} µs", machine::file_system(scratch.path()))
            }
        };
        arguments.extend(args.serve_arg.iter().cloned());
        let tokens = guard(&program, scratch.path(), args, &mut arguments)?;
        let started = Started::start(&program, scratch.path(), &arguments).await?;
        let server = started.connection.clone();
        let greedy = tokens.greedy.map(|token| server.clone().with_token(&token)).transpose()?;
        let all = match tokens.all {
            Some(token) => server.with_token(&token)?,
            None => caller(server, args)?,
        };
        let callers = Callers { all, greedy };
        let place = format!("{machine}; server is process {} of this run, on {on}", started.pid());
        Ok(Service { started: Some(started), _made: made, _scratch: Some(scratch), callers, place })
    }

    /// Measures the server, and audits its log.
    ///
    /// # Errors
    /// Why there is no figure.
    pub async fn measure(&self, args: &Args, mut show: impl FnMut(&Figures)) -> Result<Outcome, String> {
        let child = self.started.as_ref().map(Started::pid);
        let mut session = Session::open(args, &self.callers, child).await?;
        let mut phases = Vec::new();
        let mut keep = |figures: Figures| {
            show(&figures);
            phases.push(figures);
        };
        let best = match args.ramp {
            Some(p99_ms) => Some(ramp::climb(&mut session, args.pace.rate, p99_ms, &mut keep).await?),
            None => {
                for beside in args.besides() {
                    keep(session.phase(args.pace.rate, beside).await?);
                }
                None
            }
        };
        let verdict = if args.no_audit { None } else { Some(Verdict::reach(&mut session).await?) };
        Ok(Outcome { phases, best, verdict })
    }

    /// Stops the server if this run started it, and waits for its end.
    ///
    /// # Errors
    /// When it does not end well.
    pub async fn stop(mut self) -> Result<(), String> {
        match self.started.take() {
            Some(started) => started.stop().await,
            None => Ok(()),
        }
    }
}

/// The caller whose token the arguments name, if they name one.
fn caller(server: Connection, args: &Args) -> Result<Connection, String> {
    let Some(file) = &args.token_file else { return Ok(server) };
    let token = std::fs::read_to_string(file).map_err(|e| format!("{}: {e}", file.display()))?;
    server.with_token(token.trim())
}

/// The tokens that this run has made for its callers.
#[derive(Default)]
struct Tokens {
    all: Option<String>,
    greedy: Option<String>,
}

/// Makes what a server needs that asks for tokens, or speaks TLS, and adds what it has to be told.
fn guard(program: &Path, scratch: &Path, args: &Args, arguments: &mut Vec<String>) -> Result<Tokens, String> {
    let mut tokens = Tokens::default();
    if args.tls {
        arguments.extend(secure::certificate(scratch)?);
    }
    if args.tls || args.is_greedy() {
        arguments.extend(["--auth", "tokens"].map(str::to_owned));
        tokens.all = Some(secure::token(program, scratch, "loadtest")?);
    }
    if args.is_greedy() {
        let quota = format!("{}={}", greedy::NAME, (args.greedy_rate / greedy::TIMES).ceil());
        arguments.extend(["--quota-takes".to_owned(), quota]);
        tokens.greedy = Some(secure::token(program, scratch, greedy::NAME)?);
    }
    Ok(tokens)
}

/// Writes the configuration of a server on this cluster.
fn configuration(directory: &Path, cluster: &Cluster, partitions: Option<u32>) -> Result<PathBuf, String> {
    let copies = Copies::on(cluster)?;
    let topics = &cluster.topics;
    let mut text = format!(
        r#"kafka_brokers = "{}"
kafka_replication = {}
kafka_min_in_sync = {}
application = "{}"
environment = "{}"
topic_commands = "{}"
topic_events = "{}"
topic_replies = "{}"
topic_dead_letters = "{}"
topic_manifest = "{}"
"#,
        cluster.brokers,
        copies.all,
        copies.in_sync,
        cluster.application,
        cluster.environment,
        topics.commands,
        topics.events,
        topics.replies,
        topics.dead_letters,
        topics.manifest,
    );
    if let Some(partitions) = partitions {
        text.push_str(&format!("partitions = {partitions}\n"));
    }
    let path = directory.join("headroom.toml");
    std::fs::write(&path, text).map_err(|e| format!("{}: {e}", path.display()))?;
    Ok(path)
}

/// Lets Headroom create its topics. It is tried again when it fails, because new partitions may have no leader yet. A
/// second success changes nothing.
fn apply(program: &Path, config: &Path) -> Result<(), String> {
    let name = program.display();
    let trying = Stopwatch::start();
    loop {
        let ended = Command::new(program).args(["topics", "apply", "--config"]).arg(config).output();
        let ended = ended.map_err(|e| format!("{name}: {e}"))?;
        if ended.status.success() {
            return Ok(());
        }
        if trying.elapsed() > APPLY_LIMIT {
            let said = [ended.stdout, ended.stderr].concat();
            return Err(format!("{name} topics apply: {}", String::from_utf8_lossy(&said).trim()));
        }
    }
}

/// The result of a session.
pub struct Outcome {
    /// What its phases measured.
    pub phases: Vec<Figures>,
    /// The highest rate that was sustained, if it was looked for.
    pub best: Option<f64>,
    /// What the audit found, unless it was left out.
    pub verdict: Option<Verdict>,
}

impl Outcome {
    /// Whether the figure counts, in one word, and why if it does not.
    pub fn standing(&self) -> (&'static str, Option<String>) {
        match self.verdict.as_ref().map(Verdict::void) {
            None => ("UNAUDITED", None),
            Some(Some(why)) => ("VOID", Some(why)),
            Some(None) => ("audited", None),
        }
    }
}
