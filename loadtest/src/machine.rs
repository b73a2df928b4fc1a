//! The machine of a figure, and how much of it the run used. A figure without its machine says nothing.

use headroom::client::{self, Connection, Method};
use rustix::param::clock_ticks_per_second;
use rustix::time::{ClockId, clock_gettime};
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

/// How many syncs are timed to calibrate a disk.
const SYNCS: u32 = 50;

/// One line about the machine.
pub fn line() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let cpu = read("/proc/cpuinfo");
    let cpu = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':')).map_or("?", |(_, m)| m);
    let kernel = read("/proc/sys/kernel/osrelease");
    format!("{cores} cores ({}), Linux {}, load {}", cpu.trim(), kernel.trim(), load())
}

/// The load averages of the last 1, 5 and 15 minutes.
pub fn load() -> String {
    read("/proc/loadavg").split(' ').take(3).collect::<Vec<_>>().join(" ")
}

/// The resident memory of this process.
pub fn resident_bytes() -> Option<u64> {
    let status = read("/proc/self/status");
    let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next())?;
    Some(kib.parse::<u64>().ok()? * 1_024)
}

/// The file system that a path is on.
pub fn file_system(path: &Path) -> String {
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let mounts = read("/proc/self/mounts");
    let on = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ');
        let (_, point, kind) = (words.next()?, words.next()?, words.next()?);
        path.starts_with(point).then_some((point.len(), kind))
    });
    on.max().map_or_else(|| "?".to_owned(), |(_, kind)| kind.to_owned())
}

/// How long the disk under a directory takes to make 4 KiB durable, in microseconds: the middle of [`SYNCS`] tries.
pub fn sync_us(directory: &Path, now_us: impl Fn() -> u64) -> Option<u64> {
    let path = directory.join("calibration");
    let mut file = File::create(&path).ok()?;
    let mut took: Vec<_> = (0..SYNCS)
        .map(|_| {
            let began = now_us();
            file.write_all(&[7; 4_096]).and_then(|()| file.sync_data()).ok()?;
            Some(now_us().saturating_sub(began))
        })
        .collect::<Option<_>>()?;
    std::fs::remove_file(path).ok()?;
    took.sort_unstable();
    took.get(took.len() / 2).copied()
}

/// The process ids of the rig's running brokers, from their pid files; none when there is no rig.
pub fn brokers_of(rig: &Path) -> Vec<u32> {
    let pid = |n: u32| read(&rig.join(format!("broker{n}.pid")).display().to_string()).trim().parse().ok();
    (1..=3).filter_map(pid).filter(|pid| process_seconds(*pid).is_some()).collect()
}

/// CPU time of all cores together, in ticks.
#[derive(Clone, Copy, Debug, Default)]
struct Ticks {
    all: f64,
    idle: f64,
    stolen: f64,
}

/// CPU time: what this process, the server and the brokers have used, and what was idle or taken by the hypervisor.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cpu {
    /// Seconds of this process.
    pub generator: f64,
    /// Seconds of the server; `None` when they are not known.
    pub server: Option<f64>,
    /// Seconds of the brokers; `None` when they are not known.
    pub brokers: Option<f64>,
    ticks: Ticks,
}

/// The CPU time that this thread has used, in seconds.
pub fn thread_seconds() -> f64 {
    seconds(ClockId::ThreadCPUTime)
}

/// The CPU time that all threads of this process have used, in seconds.
pub fn own_seconds() -> f64 {
    seconds(ClockId::ProcessCPUTime)
}

fn seconds(of: ClockId) -> f64 {
    let time = clock_gettime(of);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

impl Cpu {
    /// The CPU time used so far, without a server.
    pub fn of(brokers: &[u32]) -> Cpu {
        let own = clock_gettime(ClockId::ProcessCPUTime);
        let generator = own.tv_sec as f64 + own.tv_nsec as f64 / 1e9;
        let seconds: Option<f64> = brokers.iter().map(|pid| process_seconds(*pid)).sum();
        Cpu { generator, server: None, brokers: seconds.filter(|_| !brokers.is_empty()), ticks: ticks() }
    }

    /// The CPU time used so far. For a server that is a child process it is exact to the tick; another server reports
    /// whole seconds in its metrics.
    pub async fn read(server: &mut Connection, child: Option<u32>, brokers: &[u32]) -> Cpu {
        let server = match child {
            Some(pid) => process_seconds(pid),
            None => server_seconds(server).await,
        };
        Cpu { server, ..Cpu::of(brokers) }
    }

    /// What was used since `earlier`.
    pub fn since(&self, earlier: &Cpu) -> Cpu {
        let (now, then) = (self.ticks, earlier.ticks);
        let ticks = Ticks { all: now.all - then.all, idle: now.idle - then.idle, stolen: now.stolen - then.stolen };
        let used = |now: Option<f64>, then: Option<f64>| now.zip(then).map(|(now, then)| now - then);
        Cpu {
            generator: self.generator - earlier.generator,
            server: used(self.server, earlier.server),
            brokers: used(self.brokers, earlier.brokers),
            ticks,
        }
    }

    /// The part of all cores that the hypervisor kept for others.
    pub fn stolen(&self) -> f64 {
        self.part(self.ticks.stolen)
    }

    /// The part of all cores that was idle.
    pub fn idle(&self) -> f64 {
        self.part(self.ticks.idle)
    }

    fn part(&self, ticks: f64) -> f64 {
        if self.ticks.all > 0.0 { ticks / self.ticks.all } else { 0.0 }
    }
}

fn process_seconds(pid: u32) -> Option<f64> {
    let stat = read(&format!("/proc/{pid}/stat"));
    // The name in parentheses may hold anything; user and system time are the 12th and 13th word after it.
    let (_, words) = stat.rsplit_once(')')?;
    let ticks: f64 = words.split_whitespace().skip(11).take(2).filter_map(|word| word.parse::<f64>().ok()).sum();
    Some(ticks / clock_ticks_per_second() as f64)
}

async fn server_seconds(server: &mut Connection) -> Option<f64> {
    let request = client::bare(Method::GET, client::path("/metrics").ok()?);
    let answer = server.call(request, Duration::from_secs(2)).await.ok()?;
    let text = std::str::from_utf8(&answer.body).ok()?;
    text.lines().find_map(|line| line.strip_prefix("process_cpu_seconds_total ")?.trim().parse().ok())
}

fn ticks() -> Ticks {
    let stat = read("/proc/stat");
    let first = stat.lines().next().unwrap_or_default();
    let ticks: Vec<f64> = first.split_whitespace().skip(1).filter_map(|word| word.parse().ok()).collect();
    // user nice system idle iowait irq softirq steal; guests are in user already.
    let at = |n: usize| ticks.get(n).copied().unwrap_or_default();
    Ticks { all: ticks.iter().take(8).sum(), idle: at(3) + at(4), stolen: at(7) }
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}
