//! Readiness by progress, a sans-IO machine. Its input is what is seen of every partition at one moment. It says which
//! of them do not decide, why, and since when. One sign is the status that a partition's thread sets. The other signs
//! hold even if that thread hangs: commands wait and no event comes, or the log was asked and does not answer.

use crate::domain::Micros;
use crate::limits::{OWNERLESS_MS, STALLED_MS};
use crate::replica::partition::LogContact;
use std::collections::BTreeMap;

/// What a partition's thread says of itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Condition {
    /// The partition is served here or by another process. The text says what goes wrong, if anything does; the
    /// partition may be decided all the same.
    Served(Option<String>),
    /// Nothing of it is decided through this process, and this is why.
    Stopped(String),
}

/// What is seen of one partition at one moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Seen {
    /// The status, as its thread says it.
    pub condition: Condition,
    /// Whether commands wait for a decision.
    pub waits: bool,
    /// The number of events known: it grows with every decision.
    pub events: u64,
    /// Whether the partition's log was asked and has not answered, and how often it has.
    pub log: LogContact,
    /// How often another process has shown that it is the owner; none where that is not known or not asked.
    pub owner: Option<u64>,
    /// Whether an owner has shown itself since this process began: itself, or another one.
    pub is_owned: bool,
}

/// Why a partition is not as it should be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outage {
    /// The reason, in words for an operator.
    pub why: String,
    /// When it began.
    pub since: Micros,
    /// Whether it may be decided all the same.
    pub decides: bool,
    /// Whether it is a part of the start of this process: nobody has shown yet that it owns the partition.
    pub is_of_start: bool,
}

/// For how long signs of life of a partition are missing, in microseconds. 0 where a sign is there, or none is expected.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Silence {
    /// Commands wait, and none is decided.
    pub decisions_us: u64,
    /// The partition's log was asked, and does not answer.
    pub log_us: u64,
    /// No process shows that it owns the partition.
    pub owner_us: u64,
}

/// What is worth a line in the log.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct News {
    /// Partitions whose outage has begun, by its reason.
    pub began: BTreeMap<String, Vec<u32>>,
    /// Partitions whose outage is over.
    pub ended: Vec<u32>,
    /// How long the longest of the ended outages was, in milliseconds.
    pub longest_ms: u64,
}

/// Since when something has been waited for without any progress.
#[derive(Clone, Copy, Default, Debug)]
struct Stall {
    since: Option<Micros>,
    progress: u64,
}

impl Stall {
    /// Takes a look. Answers since when there is no progress, once that is at least `limit_ms` ago.
    fn look(&mut self, waits: bool, progress: u64, now: Micros, limit_ms: u64) -> Option<Micros> {
        if !waits {
            self.since = None;
        } else if self.since.is_none() || progress != self.progress {
            self.since = Some(now);
        }
        self.progress = progress;
        self.since.filter(|since| now.ms_since(*since) >= limit_ms)
    }

    /// For how many microseconds there has been no progress; 0 when nothing is waited for.
    fn age_us(self, now: Micros) -> u64 {
        self.since.map_or(0, |since| now.0.saturating_sub(since.0))
    }
}

#[derive(Clone, Copy, Default, Debug)]
struct Partition {
    decisions: Stall,
    log: Stall,
    owner: Stall,
    first_owner: Stall,
    was_owned: bool,
    /// The outage under way; none while the partition is as it should be.
    outage: Option<Running>,
}

/// An outage that is not over.
#[derive(Clone, Copy, Debug)]
struct Running {
    since: Micros,
    /// Whether [`News`] has named it.
    is_told: bool,
}

/// All partitions of one process.
#[derive(Clone, Default, Debug)]
pub struct Readiness {
    partitions: BTreeMap<u32, Partition>,
    /// The log as a whole.
    log: Stall,
}

impl Readiness {
    /// Takes a look at all partitions. Answers those that are not as they should be, and what has changed.
    pub fn look(&mut self, seen: BTreeMap<u32, Seen>, now: Micros) -> (BTreeMap<u32, Outage>, News) {
        let is_asked = seen.values().any(|seen| seen.log.is_asked);
        let answers = seen.values().fold(0u64, |sum, seen| sum.saturating_add(seen.log.answers));
        let silent = self.log.look(is_asked, answers, now, STALLED_MS);
        self.partitions.retain(|partition, _| seen.contains_key(partition));
        let (mut outages, mut news) = (BTreeMap::new(), News::default());
        for (partition, seen) in seen {
            let kept = self.partitions.entry(partition).or_default();
            let is_worth_a_line = matches!(seen.condition, Condition::Served(_));
            match kept.look(seen, silent, now) {
                Some(mut outage) => {
                    let running = kept.outage.get_or_insert(Running { since: outage.since, is_told: false });
                    outage.since = running.since;
                    // A short outage is not worth a log line. What stops a partition is reported by a line of its own, and a
                    // start by its progress.
                    let is_worth_a_line = is_worth_a_line && !outage.is_of_start;
                    if !running.is_told && is_worth_a_line && now.ms_since(running.since) >= STALLED_MS {
                        running.is_told = true;
                        news.began.entry(outage.why.clone()).or_default().push(partition);
                    }
                    outages.insert(partition, outage);
                }
                None => {
                    if let Some(Running { since, is_told: true }) = kept.outage.take() {
                        news.ended.push(partition);
                        news.longest_ms = news.longest_ms.max(now.ms_since(since));
                    }
                }
            }
        }
        (outages, news)
    }

    /// For how long signs of life are missing at `now`, as the last look has seen them.
    pub fn silences(&self, now: Micros) -> BTreeMap<u32, Silence> {
        let silence = |kept: &Partition| Silence {
            decisions_us: kept.decisions.age_us(now),
            log_us: kept.log.age_us(now),
            owner_us: kept.owner.age_us(now),
        };
        self.partitions.iter().map(|(partition, kept)| (*partition, silence(kept))).collect()
    }
}

impl Partition {
    fn look(&mut self, seen: Seen, all_silent: Option<Micros>, now: Micros) -> Option<Outage> {
        let stalled = self.decisions.look(seen.waits, seen.events, now, STALLED_MS);
        let silent = self.log.look(seen.log.is_asked, seen.log.answers, now, STALLED_MS);
        // New events show that there is an owner, too.
        let shown = seen.owner.unwrap_or_default().saturating_add(seen.events);
        let ownerless = self.owner.look(seen.owner.is_some(), shown, now, OWNERLESS_MS);
        let trouble = match seen.condition {
            Condition::Stopped(why) => {
                return Some(Outage { why, since: now, decides: false, is_of_start: false });
            }
            Condition::Served(trouble) => trouble,
        };
        let unowned = self.unowned(seen.is_owned, now);
        // Notes may have been read later than the state was there.
        let late = unowned.filter(|(_, is_of_start)| !is_of_start && seen.owner.is_some());
        let ownerless = ownerless.or(late.map(|(since, _)| since));
        let (why, since) = match (all_silent, silent, stalled, ownerless) {
            (Some(since), ..) => ("the cluster does not answer", since),
            (_, Some(since), ..) => ("the partition's log does not answer", since),
            (.., Some(since), _) => ("commands wait and nothing is decided", since),
            (.., Some(since)) => ("no process shows that it owns the partition", since),
            (None, None, None, None) => match unowned {
                Some((since, true)) => ("no process has shown yet that it owns the partition", since),
                _ => return trouble.map(|why| Outage { why, since: now, decides: true, is_of_start: false }),
            },
        };
        let why = trouble.map_or_else(|| why.to_owned(), |trouble| format!("{trouble}; {why}"));
        Some(Outage { why, since, decides: false, is_of_start: unowned.is_some_and(|(_, is_of_start)| is_of_start) })
    }

    /// Since when a process that begins has waited for the partition's first sign of an owner, and whether that is a matter of
    /// the start. After a while it is not: the partition has no owner, which is told as that, or nobody can know.
    fn unowned(&mut self, is_owned: bool, now: Micros) -> Option<(Micros, bool)> {
        self.was_owned |= is_owned;
        let since = self.first_owner.look(!self.was_owned, 0, now, 0)?;
        Some((since, now.ms_since(since) < OWNERLESS_MS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEGAN: Micros = Micros(1_000_000);

    fn well() -> Seen {
        Seen {
            condition: Condition::Served(None),
            waits: false,
            events: 7,
            log: LogContact { is_asked: false, answers: 3 },
            owner: None,
            is_owned: true,
        }
    }

    fn waiting(events: u64) -> Seen {
        Seen { waits: true, events, ..well() }
    }

    fn owned(notes: u64) -> Seen {
        Seen { owner: Some(notes), ..well() }
    }

    fn asked(answers: u64) -> Seen {
        Seen { log: LogContact { is_asked: true, answers }, ..well() }
    }

    fn said(condition: Condition) -> Seen {
        Seen { condition, ..well() }
    }

    fn at(ms: u64) -> Micros {
        BEGAN.plus_ms(ms)
    }

    /// Looks at one partition at these times, beside another that is well. What is said at the end: why, since when in
    /// milliseconds, and whether it may be decided all the same.
    fn last(looks: &[(u64, Seen)]) -> Option<(String, u64, bool)> {
        let mut readiness = Readiness::default();
        let mut last = None;
        for (n, (ms, seen)) in (0..).zip(looks) {
            // Its log is asked and answers.
            let other = Seen { log: LogContact { is_asked: true, answers: n }, ..well() };
            let (outages, _) = readiness.look(BTreeMap::from([(0, seen.clone()), (1, other)]), at(*ms));
            assert!(!outages.contains_key(&1), "{outages:?}");
            last = outages.get(&0).map(|s| (s.why.clone(), s.since.ms_since(BEGAN), s.decides));
        }
        last
    }

    #[test]
    fn a_partition_is_judged_by_what_it_does() {
        let trouble = || Condition::Served(Some("not owned: why".to_owned()));
        let stopped = || Condition::Stopped("failed: why".to_owned());
        let nothing = "commands wait and nothing is decided";
        let silent = "the partition's log does not answer";
        let both = &format!("not owned: why; {nothing}");
        let nobody = "no process shows that it owns the partition";
        let cases: [(&[(u64, Seen)], _); 18] = [
            (&[(0, well()), (STALLED_MS, well())], None),
            (&[(0, waiting(7)), (STALLED_MS - 1, waiting(7))], None),
            (&[(0, waiting(7)), (STALLED_MS, waiting(7))], Some((nothing, 0, false))),
            (&[(0, well()), (5, waiting(7)), (STALLED_MS + 5, waiting(7))], Some((nothing, 5, false))),
            // Slow is not stalled, and nobody waits is not stalled.
            (&[(0, waiting(7)), (1_000, waiting(8)), (STALLED_MS, waiting(8))], None),
            (&[(0, waiting(7)), (1_000, well()), (STALLED_MS, waiting(7))], None),
            (&[(0, waiting(7)), (STALLED_MS, waiting(7)), (STALLED_MS + 1, waiting(8))], None),
            (&[(0, asked(3)), (STALLED_MS - 1, asked(3))], None),
            (&[(0, asked(3)), (STALLED_MS, asked(3))], Some((silent, 0, false))),
            (&[(0, asked(3)), (STALLED_MS, asked(4))], None),
            (&[(3, said(trouble())), (STALLED_MS, said(trouble()))], Some(("not owned: why", 3, true))),
            (
                &[(0, waiting(7)), (STALLED_MS, Seen { condition: trouble(), ..waiting(7) })],
                Some((both.as_str(), 0, false)),
            ),
            (&[(3, said(stopped())), (9, said(stopped()))], Some(("failed: why", 3, false))),
            (&[(0, owned(1)), (OWNERLESS_MS - 1, owned(1))], None),
            (&[(0, owned(1)), (OWNERLESS_MS, owned(1))], Some((nobody, 0, false))),
            (&[(0, owned(1)), (OWNERLESS_MS, owned(2))], None),
            (&[(0, owned(1)), (OWNERLESS_MS, Seen { events: 8, ..owned(1) })], None),
            // For a while it is not known.
            (&[(0, owned(1)), (9, well()), (OWNERLESS_MS, owned(1))], None),
        ];
        for (looks, expected) in cases {
            let expected = expected.map(|(why, since, decides)| (why.to_owned(), since, decides));
            assert_eq!(last(looks), expected, "{looks:?}");
        }
    }

    /// The story: a process had read its log, answered that it is ready, and owned nothing for a moment more. Callers who came at
    /// once waited, and some in vain.
    #[test]
    fn a_partition_of_which_no_owner_was_seen_yet_is_not_decided_while_the_process_starts() {
        let unowned = |owner| Seen { is_owned: false, owner, ..well() };
        let shown = || Seen { is_owned: true, ..well() };
        let (yet, nobody) =
            ("no process has shown yet that it owns the partition", "no process shows that it owns the partition");
        let trouble = Seen { condition: Condition::Served(Some("not owned: why".to_owned())), ..unowned(None) };
        let both = &format!("not owned: why; {yet}");
        let restoring = || said(Condition::Stopped("restoring".to_owned()));
        let cases: [(&[(u64, Seen)], _); 9] = [
            (&[(3, unowned(Some(0)))], Some((yet, 3, false, true))),
            (&[(3, unowned(None)), (90, trouble)], Some((both.as_str(), 3, false, true))),
            (&[(3, unowned(Some(0))), (90, shown())], None),
            // Once it was seen, only its silence counts.
            (&[(3, shown()), (90, unowned(Some(1)))], None),
            // It is waited for from when the state is there, which is one start.
            (&[(0, restoring()), (OWNERLESS_MS, unowned(None))], Some((yet, 0, false, true))),
            (&[(0, unowned(Some(0))), (OWNERLESS_MS, unowned(Some(0)))], Some((nobody, 0, false, false))),
            // Notes are read later than the state was there, or events still come.
            (
                &[(0, unowned(None)), (90, unowned(Some(0))), (OWNERLESS_MS, unowned(Some(0)))],
                Some((nobody, 0, false, false)),
            ),
            (
                &[
                    (0, unowned(Some(0))),
                    (90, Seen { events: 8, ..unowned(Some(0)) }),
                    (OWNERLESS_MS, Seen { events: 8, ..unowned(Some(0)) }),
                ],
                Some((nobody, 0, false, false)),
            ),
            // Whoever may not read the notes of others cannot wait for them.
            (&[(0, unowned(None)), (OWNERLESS_MS, unowned(None))], None),
        ];
        for (looks, expected) in cases {
            let (mut readiness, mut last) = (Readiness::default(), None);
            for (ms, seen) in looks {
                let (outages, news) = readiness.look(BTreeMap::from([(0, seen.clone())]), at(*ms));
                let is_told = outages.values().any(|outage| outage.why == nobody);
                assert_eq!(news.began.is_empty(), !is_told, "{looks:?}: {news:?}");
                last = outages.get(&0).map(|s| (s.why.clone(), s.since.ms_since(BEGAN), s.decides, s.is_of_start));
            }
            let expected =
                expected.map(|(why, since, decides, is_of_start)| (why.to_owned(), since, decides, is_of_start));
            assert_eq!(last, expected, "{looks:?}");
        }
    }

    #[test]
    fn a_log_of_which_no_part_answers_is_out_of_reach_for_partitions_not_asked_yet() {
        let mut readiness = Readiness::default();
        let seen = || BTreeMap::from([(0, asked(3)), (1, well())]);
        assert!(readiness.look(seen(), at(0)).0.is_empty());
        let (outages, news) = readiness.look(seen(), at(STALLED_MS));
        let why = "the cluster does not answer";
        let outage = Outage { why: why.to_owned(), since: at(0), decides: false, is_of_start: false };
        assert_eq!(outages, BTreeMap::from([(0, outage.clone()), (1, outage)]));
        assert_eq!(news.began, BTreeMap::from([(why.to_owned(), vec![0, 1])]));
    }

    #[test]
    fn it_is_told_once_that_it_begins_and_once_that_it_ends() {
        let mut readiness = Readiness::default();
        let mut look = |ms: u64, seen: Seen| readiness.look(BTreeMap::from([(4, seen)]), at(ms)).1;
        assert_eq!(look(0, waiting(7)), News::default());
        let why = "commands wait and nothing is decided".to_owned();
        assert_eq!(look(STALLED_MS, waiting(7)).began, BTreeMap::from([(why, vec![4])]));
        assert_eq!(look(STALLED_MS + 1, waiting(7)), News::default());
        // Another reason does not begin another outage.
        let halted = said(Condition::Stopped("halted".to_owned()));
        assert_eq!(look(STALLED_MS + 2, halted), News::default());
        let ended = News { ended: vec![4], longest_ms: STALLED_MS + 3, ..News::default() };
        assert_eq!(look(STALLED_MS + 3, well()), ended);
        assert_eq!(look(STALLED_MS + 4, well()), News::default());
        // A short outage is not reported.
        let trouble = said(Condition::Served(Some("fenced".to_owned())));
        assert_eq!(look(STALLED_MS + 5, trouble), News::default());
        assert_eq!(look(STALLED_MS + 6, well()), News::default());
    }

    #[test]
    fn a_partition_that_is_not_there_any_more_is_forgotten() {
        let mut readiness = Readiness::default();
        readiness.look(BTreeMap::from([(9, waiting(1))]), at(0));
        readiness.look(BTreeMap::new(), at(1));
        assert!(readiness.look(BTreeMap::from([(9, waiting(1))]), at(STALLED_MS)).0.is_empty());
    }

    #[test]
    fn silence_is_counted_from_the_last_sign_of_life() {
        let mut readiness = Readiness::default();
        let mut look = |seen: Seen, ms: u64| {
            let now = BEGAN.plus_ms(ms);
            readiness.look([(0, seen)].into(), now);
            let Silence { decisions_us, log_us, owner_us } = readiness.silences(now)[&0];
            [decisions_us, log_us, owner_us].map(|us| us / 1_000)
        };
        assert_eq!(look(waiting(7), 0), [0; 3]);
        assert_eq!(look(waiting(7), 400), [400, 0, 0]);
        assert_eq!(look(waiting(8), 500), [0; 3], "one was decided");
        let asked = || Seen { log: LogContact { is_asked: true, answers: 3 }, ..well() };
        assert_eq!([look(asked(), 600), look(asked(), 900)], [[0; 3], [0, 300, 0]]);
        assert_eq!(look(owned(1), 1_000), [0; 3]);
        assert_eq!(look(owned(1), 1_200), [0, 0, 200]);
        assert_eq!(look(owned(2), 1_300), [0; 3]);
        assert_eq!(look(well(), 9_000), [0; 3], "nothing is expected");
    }
}
