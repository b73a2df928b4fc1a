//! What a phase was like for its callers: how they were answered, how late, and for how long nobody decided.

use super::callers::{How, Notes, Spoken};
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// A process that could not answer, and when: it was stopped, or on its way out.
#[derive(Clone, Copy)]
pub struct Away {
    pub process: usize,
    pub from: Duration,
    pub to: Duration,
}

/// Answers and silences of one phase, as they are printed.
pub struct Report {
    name: String,
    lasted: Duration,
    reserves: usize,
    codes: BTreeMap<(How, &'static str), usize>,
    /// Of each partition, the longest time between two decisions that callers were told of.
    pub gaps: Vec<Duration>,
    /// The latest answer past its deadline, and the same without what a control request took at that moment.
    latest: Duration,
    latest_net: Duration,
    /// Calls later than the grace, net, of how many whose deadline had passed when they were answered.
    pub late: usize,
    pub overdue: usize,
    /// Calls without an answer although their process was there all the time, by the way it ended.
    pub unanswered: Vec<String>,
}

/// A call is answered by its deadline and this.
pub const GRACE: Duration = Duration::from_millis(50);

impl Report {
    pub fn new(name: &str, notes: &Notes, away: &[Away], partitions: usize, lasted: Duration) -> Report {
        let mut report = Report {
            name: name.to_owned(),
            lasted,
            reserves: notes.spoken.iter().filter(|spoken| spoken.is_reserve).count(),
            codes: BTreeMap::new(),
            gaps: gaps(notes, partitions, lasted),
            latest: Duration::ZERO,
            latest_net: Duration::ZERO,
            late: 0,
            overdue: 0,
            unanswered: Vec::new(),
        };
        for spoken in &notes.spoken {
            *report.codes.entry((spoken.how, spoken.code)).or_default() += 1;
            let ended = spoken.begun + spoken.took;
            let was_away = away.iter().any(|a| a.process == spoken.process && spoken.begun <= a.to && ended >= a.from);
            match spoken.how {
                How::Left | How::NotSent => {}
                How::Broken | How::Silent | How::Unreadable if !was_away => {
                    let Spoken { process, how, begun, took, deadline, .. } = spoken;
                    report.unanswered.push(format!("{how:?} by {process} at {begun:?} after {took:?} of {deadline:?}"));
                }
                How::Broken | How::Silent | How::Unreadable => {}
                _ if was_away => {}
                _ => report.lateness(spoken, notes),
            }
        }
        report
    }

    fn lateness(&mut self, spoken: &Spoken, notes: &Notes) {
        let Some(late) = spoken.took.checked_sub(spoken.deadline) else { return };
        let (due, ended) = (spoken.begun + spoken.deadline, spoken.begun + spoken.took);
        // What the machine did to whoever asked next to nothing of the same process: when the call began, and when it
        // was to end.
        let noise = noise(notes, spoken.process, spoken.begun, spoken.begun) + noise(notes, spoken.process, due, ended);
        let net = late.saturating_sub(noise);
        self.overdue += 1;
        self.late += usize::from(net > GRACE);
        self.latest = self.latest.max(late);
        self.latest_net = self.latest_net.max(net);
    }

    pub fn calls(&self) -> usize {
        self.codes.values().sum()
    }

    pub fn count(&self, how: How) -> usize {
        self.codes.iter().filter(|((of, _), _)| *of == how).map(|(_, count)| count).sum()
    }
}

/// The longest control request of those under way at that time.
fn noise(notes: &Notes, process: usize, from: Duration, to: Duration) -> Duration {
    let under_way = notes.probes[process].iter().filter(|probe| probe.begun <= to && probe.begun + probe.took >= from);
    under_way.map(|probe| probe.took).max().unwrap_or_default()
}

/// Between two decisions, and before the first and after the last.
fn gaps(notes: &Notes, partitions: usize, lasted: Duration) -> Vec<Duration> {
    let gap = |partition| {
        let decided = |spoken: &&Spoken| spoken.partition == partition && matches!(spoken.how, How::Yes | How::No);
        let mut at: Vec<Duration> = notes.spoken.iter().filter(decided).map(|s| s.begun + s.took).collect();
        at.extend([Duration::ZERO, lasted]);
        at.sort_unstable();
        at.windows(2).map(|two| two[1].saturating_sub(two[0])).max().unwrap_or_default()
    };
    (0..partitions).map(gap).collect()
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let gaps: Vec<String> = self.gaps.iter().map(|gap| format!("{:.2}", gap.as_secs_f64())).collect();
        let per_s = self.reserves as f64 / self.lasted.as_secs_f64();
        let codes: Vec<String> = self.codes.iter().map(|((_, code), count)| format!("{code} {count}")).collect();
        writeln!(
            f,
            "{}: {:.0} s, {per_s:.0} Reserve/s; nobody decided for {} s",
            self.name,
            self.lasted.as_secs_f64(),
            gaps.join(" ")
        )?;
        writeln!(f, "  {}", codes.join(", "))?;
        let (overdue, late) = (self.overdue, self.late);
        write!(f, "  {overdue} answers past their deadline, the last {:?}, {:?} net;", self.latest, self.latest_net)?;
        write!(f, " {late} more than {GRACE:?} net")
    }
}
