//! Writing: threads that each write some of the partitions, until a signal, or until what the log has now is written.

use super::served::Served;
use super::tally::Tally;
use super::{access_to, named};
use crate::api::http;
use crate::app::signals::Signals;
use crate::cmd::shared::certificate::Certificate;
use crate::cmd::shared::source::{Source, is_known, own_server};
use crate::cmd::shared::stderr;
use crate::cmd::{Failure, Verdict};
use crate::config::{Config, Sink, SinkFiles, SinkRedshift, SinkTo};
use crate::log::{CommittedTail, LogError};
use crate::objects::{CALL_LIMIT, Tag};
use crate::sink::files::{FILES_LIMIT, Files};
use crate::sink::postgres::{ANSWER_LIMIT, Access, CONNECT_LIMIT, Database, Ending, Postgres, Sessions};
use crate::sink::redshift::Redshift;
use crate::sink::{
    Carried, First, Looked, Others, Pace, Progress, Report as _, Rules, Seen, Speed, Target, TargetError, Worker,
    Writer,
};
use crate::threads;
use crate::time::{Clock as _, Stopwatch, SystemClock, pause_unless};
use crate::words::counted;
use std::io::Write;
use std::net::SocketAddr;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};

/// Most writers, each with a connection: while one waits for the database, another one reads the log.
const WRITERS_MAX: u32 = 2;
/// Shortest and longest pause between two looks at the log.
const LOOK: [Duration; 2] = [Duration::from_millis(25), Duration::from_millis(200)];
/// Shortest and longest pause before the database or the log is asked again that did not answer. Each is twice as long as the
/// one before.
const RETRY: [Duration; 2] = [Duration::from_millis(200), Duration::from_secs(10)];
/// A backfill gives up when a sink that lives has a partition for so long. The database may take a while to notice that a process
/// has ended.
const ALONE_WITHIN: Duration = Duration::from_secs(5);
/// A sink in Redshift or in a bucket has ended when it has not moved its position for so long after a batch was due. A living one
/// moves it within [`ANSWER_LIMIT`] or [`FILES_LIMIT`]; when that fails, it claims the partition again over a new connection, which
/// shows too. With less, a sink whose batches take long would lose its partition in the middle of each, and so would the one that
/// took it, and neither would ever write.
const LEFT_AFTER: Duration = Duration::from_secs(150);
const _: () = {
    let again = RETRY[1].as_secs().saturating_add(CONNECT_LIMIT.as_secs());
    assert!(LEFT_AFTER.as_secs() > ANSWER_LIMIT.as_secs().saturating_add(again));
    // Three calls look whether the store heeds conditions, and four read the log's id and the position, and replace it twice.
    let calls = CALL_LIMIT.as_secs().saturating_mul(7);
    assert!(LEFT_AFTER.as_secs() > FILES_LIMIT.as_secs().saturating_add(RETRY[1].as_secs()).saturating_add(calls));
};
/// Pause between two looks for a server.
const SERVER_EVERY: Duration = Duration::from_secs(1);

/// The log that is read.
enum Log {
    /// A cluster, or the file of a stopped server.
    Open(Source),
    /// The server of this directory, which may stop and start again.
    Served(PathBuf, Option<Certificate>),
}

impl Log {
    /// Passes a reader of the log to `work`.
    fn with<T>(&self, work: impl FnOnce(&dyn CommittedTail) -> Result<T, String>) -> Result<T, String> {
        match self {
            Log::Open(source) => work(source.tail()),
            Log::Served(dir, own) => work(&Served::now(dir, own.as_ref())?),
        }
    }
}

/// How the target is opened.
enum To {
    Tables { access: Access, sessions: Sessions, process: u128 },
    Redshift { access: Access, settings: SinkRedshift, process: u128, others: Others<(i64, i64)> },
    Files { files: SinkFiles, process: u128, others: Others<Tag>, ending: Ending },
}

impl To {
    fn of(sink: &Sink, ending: Ending) -> To {
        let (process, left_after) = (process_id(), Duration::from_millis(sink.batch_ms).saturating_add(LEFT_AFTER));
        match &sink.to {
            SinkTo::Tables(database) => {
                let access = access_to(database, Some(ending));
                match database.redshift.clone() {
                    None => To::Tables { access, sessions: Sessions::default(), process },
                    Some(settings) => To::Redshift { access, settings, process, others: Others::new(left_after) },
                }
            }
            SinkTo::Files(files) => {
                To::Files { files: files.clone(), process, others: Others::new(left_after), ending }
            }
        }
    }

    /// Opens it for the writer of the partitions whose numbers have this rest.
    fn open(&self, rest: u32) -> Result<Box<dyn Target>, TargetError> {
        Ok(match self {
            To::Tables { access, sessions, process } => {
                Box::new(Postgres::open(access, sessions, Writer { process: *process, rest })?)
            }
            To::Redshift { access, settings, process, others } => {
                Box::new(Redshift::open(access, settings, *process, others)?)
            }
            To::Files { files, process, others, ending } => {
                let writer = Writer { process: *process, rest };
                Box::new(Files::open(files, writer, others, Some(ending.clone()))?)
            }
        })
    }

    fn progress(&self) -> Result<Vec<Progress>, TargetError> {
        match self {
            To::Tables { access, .. } | To::Redshift { access, .. } => Database::with_tables(access)?.progress(),
            To::Files { files, .. } => Files::progress(&files.place),
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a random number tells this process from all others")]
fn process_id() -> u128 {
    rand::random()
}

/// Everything that the writers share.
struct Shared {
    log: Log,
    to: To,
    rules: Rules,
    /// How fast they read, where that is bounded.
    speed: Option<Speed>,
    /// Within this time each partition gets a batch, at that speed.
    batch_ms: u64,
    look_every: Duration,
    /// What a backfill writes of each partition that was never written: from its begin to where it ends. Empty for a sink
    /// that goes on.
    goals: Vec<Range<u64>>,
    clock: SystemClock,
    tally: Tally,
    /// When the end began.
    ending: watch::Sender<Option<Stopwatch>>,
}

pub(super) fn run(config: &Config, own: Option<Certificate>, out: &mut impl Write) -> Result<Verdict, Failure> {
    let sink = named(config)?;
    let (log, partitions) = match &config.kafka {
        Some(_) => {
            let source = Source::open(config, own.as_ref())?;
            let partitions = source.tail().partitions();
            (Log::Open(source), Some(partitions))
        }
        None => {
            is_known(&config.data_dir)?;
            (Log::Served(config.data_dir.clone(), own), None)
        }
    };
    let pace = Pace::Every(Duration::from_millis(sink.batch_ms));
    let rules = Rules { pace, first: First::Seq(0), events_enough: sink.batch_events, is_aside: sink.is_aside };
    let look_every = Duration::from_millis(sink.batch_ms / 4).clamp(LOOK[0], LOOK[1]);
    let shared = Arc::new(Shared::new(log, sink, rules, look_every, Vec::new()));
    write_all(&shared, partitions, sink.listen, out)?;
    tracing::info!("stopped");
    Ok(Verdict::Fine)
}

pub(super) fn backfill(
    config: &Config,
    own: Option<Certificate>,
    first: First,
    out: &mut impl Write,
) -> Result<Verdict, Failure> {
    let sink = named(config)?;
    let source = Source::open(config, own.as_ref())?;
    let partitions = source.tail().partitions();
    let goals =
        (0..partitions).map(|partition| goal(source.tail(), partition, first)).collect::<Result<Vec<_>, _>>()?;
    is_in_log(first, &goals).map_err(Failure::Unusable)?;
    let log = match source {
        Source::Server(_) => Log::Served(config.data_dir.clone(), own),
        open => Log::Open(open),
    };
    let rules = Rules { pace: Pace::AtOnce, first, events_enough: sink.batch_events, is_aside: sink.is_aside };
    let shared = Arc::new(Shared::new(log, sink, rules, LOOK[0], goals));
    write_all(&shared, Some(partitions), None, out)?;
    let tally = &shared.tally;
    if let Some(begun) = tally.begun.get().filter(|begun| !begun.is_empty()) {
        writeln!(out, "{}", not_begun_at(first, begun))?;
    }
    let (rows, events) = (tally.rows.load(Relaxed), tally.events.load(Relaxed));
    let written = format!("{} of {} written", counted(rows, "row"), counted(events, "event"));
    if tally.is_cut.load(Relaxed) {
        let Some((all, _)) = tally.all.get() else {
            writeln!(out, "interrupted before anything was counted or written; the same command begins again")?;
            return Ok(Verdict::Wrong);
        };
        let left = counted(all.saturating_sub(events), "event");
        writeln!(out, "interrupted: {written}, and {left} left; the same command goes on")?;
        return Ok(Verdict::Wrong);
    }
    writeln!(out, "{written}")?;
    Ok(Verdict::fine_if(!tally.is_stopped.load(Relaxed)))
}

/// What a backfill writes of a partition that was never written.
fn goal(tail: &dyn CommittedTail, partition: u32, first: First) -> Result<Range<u64>, LogError> {
    let end = tail.end(partition)?;
    Ok(match first {
        First::Seq(seq) => seq.min(end)..end,
        // A claim tells when the log cannot say it.
        First::OfLog => tail.first(partition).unwrap_or_default()..end,
    })
}

/// Whether there is a partition that reaches so far. The others begin at their ends, which is where all of them would begin with a
/// number that is mistyped.
fn is_in_log(first: First, goals: &[Range<u64>]) -> Result<(), String> {
    let end = goals.iter().map(|goal| goal.end).max().unwrap_or_default();
    match first {
        First::Seq(seq) if seq > end => {
            let longest = goals.iter().position(|goal| goal.end == end).unwrap_or_default();
            Err(format!(
                "--from {seq} is behind the end of every partition: the longest, {longest}, ends before seq {end}"
            ))
        }
        _ => Ok(()),
    }
}

/// The partitions for which this begin has no meaning, because they were begun before, and where each stood. Of those that are asked
/// for from their first event on, the ones that were begun later, and where.
fn begun_before(first: First, goals: &[Range<u64>], written: &[Progress]) -> Vec<(u32, u64)> {
    if first == First::Seq(0) {
        let later = written.iter().filter(|progress| progress.first_seq > 0);
        return later.map(|progress| (progress.partition, progress.first_seq)).collect();
    }
    let is_begun = |progress: &&Progress| {
        let goal = goals.get(progress.partition as usize);
        progress.written_s_ago.is_some() || goal.is_some_and(|goal| goal.start < progress.place.next_seq)
    };
    written.iter().filter(is_begun).map(|progress| (progress.partition, progress.place.next_seq)).collect()
}

/// What is told of them.
fn not_begun_at(first: First, begun: &[(u32, u64)]) -> String {
    let at: Vec<String> = begun.iter().map(|(partition, seq)| format!("partition {partition} at seq {seq}")).collect();
    let at = at.join(", ");
    let from = match first {
        First::Seq(0) => return format!("what was begun later goes on without the events before that: {at}"),
        First::Seq(seq) => seq.to_string(),
        First::OfLog => "first".to_owned(),
    };
    format!("--from {from} has no meaning for what was begun before, which went on where it was: {at}")
}

impl Shared {
    fn new(log: Log, sink: &Sink, rules: Rules, look_every: Duration, goals: Vec<Range<u64>>) -> Shared {
        let tally = Tally::new();
        let (clock, ending) = (SystemClock::new(), watch::Sender::new(None));
        let (to, speed) = (To::of(sink, ending.subscribe()), sink.events_per_second.map(Speed::new));
        Shared { log, to, rules, speed, batch_ms: sink.batch_ms, look_every, goals, clock, tally, ending }
    }

    fn is_over(&self) -> bool {
        self.ending.borrow().is_some()
    }

    /// Lets everything come to an end.
    fn end(&self) {
        self.ending.send_modify(|began| *began = began.or_else(|| Some(Stopwatch::start())));
    }

    /// Writes every partition whose number has this rest, until there is nothing more to do here.
    fn write(&self, rest: u32, writers: u32) -> Result<(), String> {
        let (mut retry, mut carried) = (RETRY[0], Carried::new(self.rules.events_enough));
        while !self.is_over() {
            let gone_on = match self.to.open(rest) {
                Err(error) => Err(error),
                Ok(target) => {
                    let mine = (rest, writers);
                    let gone_on = self.log.with(|tail| self.go_on(tail, target, mine, &mut carried, &mut retry));
                    gone_on.map_err(TargetError::Transient)
                }
            };
            let error = match gone_on {
                Ok(None) => return Ok(()),
                Ok(Some(error)) => error,
                Err(error) => {
                    carried.failed(None, &error.to_string(), self.clock.wall());
                    error
                }
            };
            let why = match error {
                TargetError::Operator(why) => return Err(why),
                TargetError::Refused(why) => self.refused(&mut carried, why)?,
                error => error.to_string(),
            };
            self.tally.failed(None, &why);
            self.rest(&mut retry);
        }
        self.tally.is_cut.store(true, Relaxed);
        Ok(())
    }

    /// What is told of a refusal after which it is tried again.
    ///
    /// # Errors
    /// The same, when it is not. Somebody waits for a backfill, and the same command goes on.
    fn refused(&self, carried: &mut Carried, why: String) -> Result<String, String> {
        if !self.goals.is_empty() {
            return Err(why);
        }
        let age = match self.rules.pace {
            Pace::Every(age) => age,
            Pace::AtOnce => Duration::ZERO,
        };
        // A living writer tries again within this time after a batch is due.
        match carried.patience.refused(self.clock.now(), age.saturating_add(LEFT_AFTER)) {
            None => Ok(why),
            Some((count, ms)) => {
                let s = ms / 1_000;
                Err(format!("{why}; it was refused {count} times in {s} s, and nothing was written meanwhile"))
            }
        }
    }

    /// Counts what a backfill has still to write.
    fn count(&self) -> Result<(), String> {
        let mut retry = RETRY[0];
        while !self.is_over() {
            // What cannot be written to at all is told before anything is counted.
            match self.to.open(0).and_then(|_| self.to.progress()) {
                Ok(written) => {
                    let numbered = (0..).zip(&self.goals);
                    let left = numbered.map(|(partition, goal)| left_of(goal, partition, &written)).sum();
                    self.tally.all.get_or_init(|| (left, Stopwatch::start()));
                    self.tally.begun.get_or_init(|| begun_before(self.rules.first, &self.goals, &written));
                    return Ok(());
                }
                Err(error @ TargetError::Transient(_)) => {
                    self.tally.failed(None, &error.to_string());
                    self.rest(&mut retry);
                }
                Err(error) => return Err(error.to_string()),
            }
        }
        self.tally.is_cut.store(true, Relaxed);
        Ok(())
    }

    /// Pauses before something is asked again. The next pause is longer.
    fn rest(&self, retry: &mut Duration) {
        pause_unless(*retry, || self.is_over());
        *retry = retry.saturating_mul(2).min(RETRY[1]);
    }

    /// Writes over one connection, of every `writers` partitions the one with this rest; answers why that cannot go on, and `None`
    /// when all is done.
    fn go_on(
        &self,
        tail: &dyn CommittedTail,
        target: Box<dyn Target>,
        (rest, writers): (u32, u32),
        carried: &mut Carried,
        retry: &mut Duration,
    ) -> Result<Option<TargetError>, String> {
        let pause = |limit| {
            pause_unless(limit, || self.is_over());
            !self.is_over()
        };
        let paced = self.speed.as_ref().map(|speed| speed.paced(tail, &self.clock, &pause));
        let tail = paced.as_ref().map_or(tail, |paced| paced as &dyn CommittedTail);
        let mine: Vec<u32> = (0..tail.partitions()).filter(|partition| partition % writers == rest).collect();
        let rules = Rules { events_enough: self.events_enough(tail.partitions()), ..self.rules };
        let mut worker = Worker::new(tail, target, rules, &self.tally, carried, mine.iter().copied());
        let mut elsewhere = Elsewhere::default();
        while !self.is_over() {
            match worker.look(&self.clock) {
                Err(error) => return Ok(Some(error)),
                Ok(Looked::Failed) => self.rest(retry),
                Ok(looked) => {
                    // A claim alone shows nothing: what fails may be to write.
                    if looked != Looked::Claimed {
                        *retry = RETRY[0];
                    }
                    if !self.goals.is_empty() {
                        if let Some(why) = elsewhere.looked(&worker, &mine) {
                            return Ok(Some(TargetError::Operator(why)));
                        }
                        if self.is_done(&worker, &mine) {
                            return Ok(None);
                        }
                    }
                    if looked == Looked::Idle {
                        pause_unless(self.look_every, || self.is_over());
                    }
                }
            }
        }
        self.tally.is_cut.store(true, Relaxed);
        Ok(None)
    }

    /// The number of events with which a batch is large enough. At a speed that is bounded each of so many partitions gets one
    /// within the time of a batch, so that no other process takes this one for dead.
    fn events_enough(&self, partitions: u32) -> u64 {
        let Some(speed) = &self.speed else { return self.rules.events_enough };
        let each = speed.events_in(self.batch_ms).checked_div(u64::from(partitions)).unwrap_or_default();
        each.min(self.rules.events_enough)
    }

    /// Whether a backfill has written these partitions, or cannot write more of them.
    fn is_done(&self, worker: &Worker<'_, Box<dyn Target>>, mine: &[u32]) -> bool {
        let until = |partition: u32| self.goals.get(partition as usize).map_or(0, |goal| goal.end);
        mine.iter().all(|partition| match worker.seen(*partition) {
            Seen::Unasked | Seen::Elsewhere => false,
            Seen::Stopped => true,
            Seen::Written(next_seq) => next_seq >= until(*partition),
        })
    }
}

/// What a backfill knows of other sinks that have its partitions.
#[derive(Default)]
struct Elsewhere {
    /// A partition that one that lives has, and since when.
    living_since: Option<(u32, Stopwatch)>,
    is_told: bool,
}

impl Elsewhere {
    /// Why a backfill does not wait for partitions of others. Where one that has ended is known only by positions that stand still,
    /// it waits as long as that takes, and tells once how long that is.
    fn looked(&mut self, worker: &Worker<'_, Box<dyn Target>>, mine: &[u32]) -> Option<String> {
        let (mut living, mut waits) = (None, Vec::new());
        for partition in mine.iter().copied().filter(|partition| worker.seen(*partition) == Seen::Elsewhere) {
            match worker.left_in(partition) {
                Some(left) => waits.push(left),
                None => living = living.or(Some(partition)),
            }
        }
        let is_asked = mine.iter().all(|partition| worker.seen(*partition) != Seen::Unasked);
        if let Some(longest) = waits.iter().max().filter(|_| is_asked && !self.is_told) {
            let (count, s) = (counted(waits.len() as u64, "partition"), longest.as_secs().saturating_add(1));
            stderr::note(format_args!(
                "another sink had {count} to write, and no lock tells whether it lives: this one waits, {s} s at most, and goes on \
                 if nothing is written there meanwhile"
            ));
            self.is_told = true;
        }
        let since = |partition| self.living_since.filter(|(of, _)| *of == partition).map(|(_, since)| since);
        self.living_since = living.map(|partition| (partition, since(partition).unwrap_or_else(Stopwatch::start)));
        let (living, _) = self.living_since.filter(|(_, since)| since.elapsed() > ALONE_WITHIN)?;
        Some(format!("another sink writes partition {living}: leave the writing to it"))
    }
}

/// How many events of a partition are still to be written.
fn left_of(goal: &Range<u64>, partition: u32, written: &[Progress]) -> u64 {
    let from = match written.iter().find(|progress| progress.partition == partition) {
        Some(progress) if progress.written_s_ago.is_some() => progress.place.next_seq,
        Some(progress) => progress.place.next_seq.max(goal.start),
        None => goal.start,
    };
    goal.end.saturating_sub(from)
}

/// Starts the writers, and waits for them. Until then signals only end the writing.
fn write_all(
    shared: &Arc<Shared>,
    partitions: Option<u32>,
    listen: Option<SocketAddr>,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::Unusable(format!("cannot start an event loop: {error}")))?;
    let mut interrupts = {
        let _inside = runtime.enter();
        Signals::interrupts().map_err(|error| Failure::Unusable(format!("cannot listen for signals: {error}")))?
    };
    if let Some(address) = listen {
        let cannot = |error| Failure::Unusable(format!("cannot listen on {address}: {error}"));
        let listener = runtime.block_on(TcpListener::bind(address)).map_err(cannot)?;
        // With port 0 this line tells the port. Nobody has to read it: a closed output is no error.
        let address = listener.local_addr().map_err(cannot)?;
        drop(writeln!(out, "headroom sink shows its metrics on http://{address}/metrics").and_then(|()| out.flush()));
        let shown = Arc::clone(shared);
        runtime.spawn(async move { http::scraped(&listener, move || shown.tally.metrics.text_of_sink()).await });
    }
    let (tell, mut told) = mpsc::unbounded_channel();
    let watching = Arc::clone(shared);
    let lead = threads::spawn("sink", move || {
        // The receiver is gone when the process ends.
        let _ = tell.send(watching.lead(partitions));
    });
    let lead = lead.map_err(|error| Failure::Unusable(format!("cannot start a thread: {error}")))?;
    let ended = runtime.block_on(async {
        tokio::select! {
            ended = told.recv() => ended,
            () = interrupts.received() => {
                tracing::info!("stopping");
                shared.end();
                lead.thread().unpark();
                told.recv().await
            }
        }
    });
    ended.unwrap_or(Ok(())).map_err(Failure::Wrong)
}

impl Shared {
    /// Finds out how many partitions there are, and waits for a writer for each share of them.
    fn lead(self: &Arc<Self>, partitions: Option<u32>) -> Result<(), String> {
        let Some(partitions) = partitions.or_else(|| self.partitions_of_server()) else { return Ok(()) };
        self.tally.partitions.get_or_init(|| partitions);
        let writers = partitions.clamp(1, WRITERS_MAX);
        if !self.goals.is_empty() {
            self.count()?;
        }
        let (tell, told) = crossbeam_channel::unbounded();
        let mut handles: Vec<JoinHandle<()>> = Vec::new();
        for rest in 0..writers {
            let (shared, tell) = (Arc::clone(self), tell.clone());
            let spawned = threads::spawn(&format!("sink-{rest}"), move || {
                // Whoever waits for it is this process.
                let _ = tell.send(shared.write(rest, writers));
            });
            handles.push(spawned.map_err(|error| format!("cannot start a thread: {error}"))?);
        }
        drop(tell);
        let (mut ended, mut left) = (Ok(()), writers);
        while left > 0 {
            if let Ok(result) = told.recv_timeout(LOOK[1]) {
                left = left.saturating_sub(1);
                if result.is_err() {
                    self.end();
                }
                ended = ended.and(result);
            }
            if self.is_over() {
                handles.iter().for_each(|handle| handle.thread().unpark());
            }
        }
        ended
    }

    /// The partitions of the server, once it runs; `None` when the sink is to end first.
    fn partitions_of_server(&self) -> Option<u32> {
        let Log::Served(dir, own) = &self.log else { return None };
        while !self.is_over() {
            match own_server(dir, own.as_ref()) {
                Ok(server) => return Some(server.partitions()),
                Err(why) => self.tally.failed(None, &why),
            }
            pause_unless(SERVER_EVERY, || self.is_over());
        }
        None
    }
}
