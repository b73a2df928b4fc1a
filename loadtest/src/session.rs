//! A session: pools of its own, one or more measured phases on them, and one audit of all requests.

use crate::alarm::Alarm;
use crate::args::{Args, PaceArgs, REQUESTS_MAX};
use crate::greedy::{self, Greedy};
use crate::grpc::Channel;
use crate::holds;
use crate::lane::{Job, Lane};
use crate::machine::Cpu;
use crate::readers::{Course, Readers};
use crate::tally::Tally;
use crate::target::Target;
use crate::turns::Turns;
use crate::worker::{Carrier, Kind, Worker};
use headroom::audit::history::{Call, History};
use headroom::client::pools::define;
use headroom::client::reserve_answer::ReserveAnswer;
use headroom::client::{self, Connection, internal};
use headroom::domain::Micros;
use headroom::time::{Clock, SystemClock};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

/// Time the server has to become ready.
const READY_TIMEOUT: Duration = Duration::from_secs(20);
/// From deciding the schedule to the first request due.
const HEAD_START_US: u64 = 20_000;
/// Shortest wait between two looks at the schedule: a request that becomes due meanwhile is sent up to this much later,
/// and the generator does not wake for every single request.
const QUANTUM_US: u64 = 100;
/// Time past a request's own deadline after which it counts as never answered.
const GIVE_UP_AFTER_MS: u64 = 2_000;
/// The part of the offered requests that has to be answered in time for a rate to count as sustained.
const ANSWERED_MIN: f64 = 0.99;
/// The first number of a greedy caller's request. The others' stay below it, and both end before the next one begins.
const GREEDY_FIRST: u32 = 1 << 31;
/// The part of the offered requests that may fail.
const FAILED_MAX: f64 = 0.001;

/// What one phase measured.
pub struct Figures {
    /// Reservations offered a second.
    pub rate: f64,
    /// Length of the measured time, in seconds.
    pub seconds: f64,
    /// Answers to Reserve requests.
    pub reserves: Tally,
    /// The queries, if there were any.
    pub queries: Option<Tally>,
    /// The answers to readers in a closed loop, if there were any.
    pub readers: Option<Tally>,
    /// The answers to a caller that exceeds its quota, if there was one.
    pub greedy: Option<Tally>,
    /// CPU time used in the measured time.
    pub cpu: Cpu,
    /// What turns cost in it, on a cluster.
    pub turns: Option<Turns>,
}

impl Figures {
    /// Why the offered rate was not sustained; `None` when it was.
    pub fn not_sustained(&self) -> Option<String> {
        let sum = |f: fn(&Tally) -> u64| f(&self.reserves) + self.queries.as_ref().map_or(0, f);
        not_sustained(sum(|tally| tally.scheduled), sum(|tally| tally.answered_in_time), sum(Tally::failed))
    }
}

/// Why so many requests were not sustained, of which so many were answered in the measured time, and so many failed; `None`
/// when they were.
pub fn not_sustained(scheduled: u64, answered: u64, failed: u64) -> Option<String> {
    let part = |count: u64| count as f64 / scheduled.max(1) as f64;
    let (answered, failed) = (part(answered), part(failed));
    if answered < ANSWERED_MIN {
        return Some(format!("{:.1} % of what was offered was answered in the measured time", answered * 100.0));
    }
    (failed > FAILED_MAX).then(|| format!("{:.2} % of what was offered got no decision", failed * 100.0))
}

/// The other load that runs beside the reservations of a phase.
#[derive(Clone, Copy, PartialEq)]
pub enum Beside {
    /// Nothing else runs meanwhile.
    Nothing,
    /// So many readers in a closed loop.
    Readers(usize),
    /// The end of so many holds, all at the moment at which measuring begins.
    Holds(u32),
    /// One more caller, which reserves so often a second and may do so much less often.
    Greedy(f64),
}

/// The callers of a server, each as a connection that is not open yet.
#[derive(Clone)]
pub struct Callers {
    /// Whoever makes pools, reserves, asks and audits.
    pub all: Connection,
    /// A caller with a small quota, if there is one.
    pub greedy: Option<Connection>,
}

/// A session with one server.
pub struct Session {
    args: Args,
    clock: Arc<SystemClock>,
    target: Arc<Target>,
    /// A connection of the greedy caller, if there is one.
    greedy: Option<Connection>,
    /// The server's process id, when it is this run's child.
    child: Option<u32>,
    /// The brokers' process ids, as far as they are known.
    brokers: Vec<u32>,
    /// The connection for calls that are not measured; those that are have connections like it.
    pub control: Connection,
    /// How each reservation ended, by its number.
    endings: Arc<Mutex<Vec<(u32, ReserveAnswer)>>>,
    next_number: u32,
    /// Numbers from [`GREEDY_FIRST`] on are those of the greedy caller.
    next_greedy: u32,
}

impl Session {
    /// Makes the session's pools. `callers` has its connections to the server.
    ///
    /// # Errors
    /// Why they could not be made.
    pub async fn open(args: &Args, callers: &Callers, child: Option<u32>) -> Result<Session, String> {
        let clock = Arc::new(SystemClock::new());
        let target = Arc::new(Target::new(args, &format!("{:x}", clock.now().0)));
        let Callers { all: mut control, greedy } = callers.clone();
        client::ready(&mut control, READY_TIMEOUT).await?;
        define(&control, target.pools()).await?;
        Ok(Session {
            args: args.clone(),
            clock,
            target,
            greedy,
            child,
            brokers: args.broker_pids(),
            control,
            endings: Arc::default(),
            next_number: 0,
            next_greedy: GREEDY_FIRST,
        })
    }

    /// The requests of the session.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Whether a phase at this rate still fits what one session remembers.
    pub fn has_room(&self, rate: f64) -> bool {
        f64::from(self.next_number) + rate * self.args.pace.duration() <= REQUESTS_MAX
    }

    /// Offers `rate` reservations a second through the warm-up and the measured time, beside the other load, and waits
    /// for the last answers.
    ///
    /// # Errors
    /// Why the phase cannot be run.
    pub async fn phase(&mut self, rate: f64, beside: Beside) -> Result<Figures, String> {
        let Args { pace: PaceArgs { warmup, seconds, .. }, read_rate, .. } = self.args;
        let warmup_us = (warmup * 1e6) as u64;
        let measured = match beside {
            Beside::Holds(count) => self.hold(count, warmup_us).await?,
            Beside::Nothing | Beside::Readers(_) | Beside::Greedy(_) => {
                Micros(self.clock.now().0 + HEAD_START_US + warmup_us)
            }
        };
        let start = Micros(measured.0 - warmup_us);
        let end = Micros(measured.0 + (seconds * 1e6) as u64);
        let times = (start, measured, end);
        let greedy = match beside {
            Beside::Greedy(rate) => Some(self.start_greedy(rate, times)?),
            _ => None,
        };
        let reserves = self.stream(Kind::Reserve, rate, times, self.args.connections);
        let queries = async {
            if read_rate < 1e-9 {
                return Ok(None);
            }
            self.stream(Kind::Query, read_rate, times, self.args.read_connections).await.map(Some)
        };
        let course = Course {
            server: self.control.clone(),
            target: Arc::clone(&self.target),
            clock: Arc::clone(&self.clock),
            measured: (measured, end),
            give_up: self.give_up(),
        };
        let readers = match beside {
            Beside::Readers(count) => Some(Readers::start(course, count)?),
            Beside::Nothing | Beside::Holds(_) | Beside::Greedy(_) => None,
        };
        let costs = self.costs_between(measured, end);
        let (reserves, queries, costs) = tokio::join!(reserves, queries, costs);
        let ((reserves, made), queries) = (reserves?, queries?);
        let readers = match readers {
            Some(readers) => Some(readers.end().await?),
            None => None,
        };
        let greedy = match greedy {
            Some(greedy) => Some(greedy.end().await?),
            None => None,
        };
        self.next_number = made;
        // The next phase starts on a log at rest.
        internal::settled_ends(&mut self.control).await?;
        let (cpu, turns) = costs?;
        let queries = queries.map(|(tally, _)| tally);
        Ok(Figures { rate, seconds, reserves, queries, readers, greedy, cpu, turns })
    }

    fn start_greedy(&mut self, rate: f64, times: (Micros, Micros, Micros)) -> Result<Greedy, String> {
        let server = self.greedy.clone().ok_or("there is no greedy caller")?;
        let first = self.next_greedy;
        self.next_greedy += (rate * self.args.pace.duration()) as u32;
        Greedy::start(greedy::Course {
            server,
            target: Arc::clone(&self.target),
            clock: Arc::clone(&self.clock),
            times,
            numbers: first..self.next_greedy,
            endings: Arc::clone(&self.endings),
            give_up: self.give_up(),
        })
    }

    /// Makes so many holds, and answers when all of them end: early enough for a warm-up before that.
    async fn hold(&mut self, count: u32, warmup_us: u64) -> Result<Micros, String> {
        let due = Micros(self.clock.now().0 + holds::time_us(count) + HEAD_START_US + warmup_us);
        let course = holds::Course {
            server: self.control.clone(),
            target: Arc::clone(&self.target),
            clock: Arc::clone(&self.clock),
            endings: Arc::clone(&self.endings),
            due,
        };
        let last = self.next_number + count;
        holds::make(course, self.next_number..last).await?;
        self.next_number = last;
        if self.clock.now().0 + HEAD_START_US + warmup_us > due.0 {
            return Err(format!("{count} holds were not made in {} ms", holds::time_us(count) / 1_000));
        }
        Ok(due)
    }

    /// Offers one kind of request and answers what was counted, with the number after the last.
    async fn stream(
        &self,
        kind: Kind,
        rate: f64,
        (start, measured, end): (Micros, Micros, Micros),
        connections: usize,
    ) -> Result<(Tally, u32), String> {
        let lane = Arc::new(Lane::new(self.args.backlog));
        let tally = Arc::new(Mutex::new(Tally::new(measured, end)));
        let mut workers = JoinSet::new();
        for carrier in self.carriers(kind, connections).await? {
            workers.spawn(self.worker(kind, carrier, &lane, &tally).run());
        }
        let pace = &self.args.pace;
        let arrivals = pace.arrivals(rate, pace.seed + u64::from(self.next_number) + kind as u64);
        let alarm = Alarm::new().map_err(|e| format!("no timer: {e}"))?;
        let mut number = self.next_number;
        for offset in arrivals {
            let due = Micros(start.0 + offset);
            loop {
                let ahead = due.0.saturating_sub(self.clock.now().0);
                if ahead == 0 {
                    break;
                }
                alarm.wait(ahead.max(QUANTUM_US)).await.map_err(|e| format!("the timer: {e}"))?;
            }
            let is_measured = due >= measured;
            let is_taken = lane.offer(Job { number, due, is_measured });
            if is_measured {
                tally.lock().due(is_taken);
            }
            number = number.wrapping_add(1);
        }
        lane.close();
        while let Some(ended) = workers.join_next().await {
            ended.map_err(|e| e.to_string())?;
        }
        let counted = std::mem::replace(&mut *tally.lock(), Tally::new(measured, end));
        Ok((counted, number))
    }

    /// What each of so many callers makes its calls with.
    async fn carriers(&self, kind: Kind, callers: usize) -> Result<Vec<Carrier>, String> {
        if kind == Kind::Query || !self.args.grpc {
            return Ok((0..callers).map(|_| Carrier::Http(self.control.clone())).collect());
        }
        let mut channels = Vec::new();
        for _ in 0..self.args.channels.min(callers) {
            channels.push(Channel::open(self.control.address(), self.args.timeout_ms).await?);
        }
        Ok(channels.iter().cycle().take(callers).map(|channel| Carrier::Grpc(channel.clone())).collect())
    }

    fn worker(&self, kind: Kind, carrier: Carrier, lane: &Arc<Lane>, tally: &Arc<Mutex<Tally>>) -> Worker {
        Worker {
            kind,
            carrier,
            clock: Arc::clone(&self.clock),
            target: Arc::clone(&self.target),
            lane: Arc::clone(lane),
            tally: Arc::clone(tally),
            endings: Arc::clone(&self.endings),
            give_up: self.give_up(),
        }
    }

    fn give_up(&self) -> Duration {
        Duration::from_millis(self.args.timeout_ms + GIVE_UP_AFTER_MS)
    }

    async fn costs_between(&self, from: Micros, to: Micros) -> Result<(Cpu, Option<Turns>), String> {
        let alarm = Alarm::new().map_err(|e| format!("no timer: {e}"))?;
        let mut server = self.control.clone();
        let mut at = async |when: Micros| {
            let ahead = when.0.saturating_sub(self.clock.now().0);
            alarm.wait(ahead).await.map_err(|e| format!("the timer: {e}"))?;
            let cpu = Cpu::read(&mut server, self.child, &self.brokers).await;
            Ok::<_, String>((cpu, Turns::read(&mut server).await))
        };
        let (cpu, turns) = at(from).await?;
        let (cpu_after, turns_after) = at(to).await?;
        Ok((cpu_after.since(&cpu), turns_after.zip(turns).map(|(after, before)| after.since(&before))))
    }

    /// What every caller of the session was told, and how many answers were not answers of the API.
    pub fn history(&self) -> (History, u64) {
        let endings = self.endings.lock();
        let mut history = History::new();
        let call = |(number, ending): &(u32, ReserveAnswer)| -> Option<Call> { self.target.call(*number, *ending) };
        endings.iter().filter_map(call).for_each(|call| history.record(call));
        let unreadable = endings.iter().filter(|(_, ending)| *ending == ReserveAnswer::Unreadable).count();
        (history, unreadable as u64)
    }
}
