//! What keeps committed readers from records that are there: a transaction that its producer has not ended. An owner's own
//! takes moments. A stranger's on commands silences the partition for as long as it lasts, which the stranger chooses; on
//! events it keeps followers from what is decided meanwhile, and callers are answered by replies all the same.

use crate::log::LogError;
use crate::log::kafka::Inner;
use crate::log::kafka::client::reader::offset_of;
use crate::time::Stopwatch;
use std::fmt;
use std::ops::Range;
use std::time::Duration;

/// Longest wait for an answer of the cluster: an owner waits for it that has nothing to do.
const ASK_LIMIT: Duration = Duration::from_millis(500);
/// Between two looks of an owner that has nothing to do.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Records of a partition that committed readers do not see.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct OpenTransaction {
    topic: String,
    partition: u32,
    brokers: String,
    /// The offset of the first of them.
    from: i64,
    /// The offset after the last of them.
    until: i64,
}

impl OpenTransaction {
    /// How many offsets that is.
    fn count(&self) -> u64 {
        u64::try_from(self.until.saturating_sub(self.from)).unwrap_or_default()
    }
}

impl fmt::Display for OpenTransaction {
    /// The client has no call that names the producer: Kafka's own tool has.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let OpenTransaction { topic, partition, brokers, from, until } = self;
        write!(
            f,
            "{topic}/{partition}: offsets {from} to {until} are held back by a transaction that nobody has ended; \
             kafka-transactions.sh --bootstrap-server {brokers} describe-producers --topic {topic} --partition \
             {partition} names its producer"
        )
    }
}

/// What an owner that has nothing to do looks for now and then.
#[derive(Default)]
pub(super) struct Watch {
    looked: Option<Stopwatch>,
    /// What was found at the last look.
    found: Option<OpenTransaction>,
    /// Whether it was there at the look before as well, and was told.
    is_told: bool,
    /// The next command, where readable places lay behind it at the last look.
    behind: Option<u64>,
    /// Up to here there is no command behind it.
    passed: i64,
}

impl Watch {
    /// A command came: nothing holds back those before it. Answers whether something did at the last look.
    pub(in crate::log::kafka) fn came(&mut self) -> bool {
        self.looked = None;
        if self.is_told {
            tracing::info!("commands are read again");
        }
        self.is_told = false;
        self.found.take().is_some()
    }

    /// Why nothing comes, if it is that.
    pub(in crate::log::kafka) fn told(&self) -> Option<&OpenTransaction> {
        self.found.as_ref().filter(|_| self.is_told)
    }

    /// Whether it is time for another look.
    fn is_due(&mut self) -> bool {
        let is_due = self.looked.get_or_insert_with(Stopwatch::start).elapsed() >= LOOK_EVERY;
        if is_due {
            self.looked = Some(Stopwatch::start());
        }
        is_due
    }

    /// Takes what was found; the same at two looks is told.
    fn take(&mut self, found: Option<OpenTransaction>) {
        let from = |held: &Option<OpenTransaction>| held.as_ref().map(|held| held.from);
        let is_same = found.is_some() && from(&found) == from(&self.found);
        if !is_same {
            self.came();
        } else if !self.is_told
            && let Some(held) = &found
        {
            tracing::warn!("{held}");
            self.is_told = true;
        }
        self.found = found;
    }
}

impl Inner {
    /// Looks, if it is time, why no command comes from `next` on: whether those that are there are held back, and whether
    /// the owner's reader still reads what is there. A topic that is made anew may leave it waiting for good.
    ///
    /// # Errors
    /// [`LogError`] when it does not: the partition is to be claimed again.
    pub(super) fn look_behind(&self, partition: u32, next: u64, watch: &mut Watch) -> Result<(), LogError> {
        if !watch.is_due() {
            return Ok(());
        }
        let topic = &self.cluster.topics.commands;
        // A cluster that does not answer is told of elsewhere.
        let Ok((from, until)) = self.ends(topic, partition) else { return Ok(()) };
        let found = self.held_back(topic, partition, from..until);
        self.paces.held_back(partition, found.as_ref().map_or(0, OpenTransaction::count));
        watch.take(found);
        let place = offset_of(next);
        if until < place {
            return Err(LogError::new(format!("{topic}/{partition} ends at {until}, before the next command, {next}")));
        }
        if from <= place.max(watch.passed) || watch.behind.replace(next) != Some(next) {
            return Ok(());
        }
        let mut is_there = false;
        self.with_reader(|reader| {
            reader.assign(topic, partition, place)?;
            reader.each((topic, partition), ASK_LIMIT, |_| {
                is_there = true;
                Ok::<_, LogError>(false)
            })
        })?;
        watch.passed = from;
        match is_there {
            false => Ok(()),
            true => {
                Err(LogError::new(format!("{topic}/{partition} has commands from {next} on, and none of them comes")))
            }
        }
    }

    /// The end of what may be read, and the end.
    fn ends(&self, topic: &str, partition: u32) -> Result<(i64, i64), LogError> {
        // The end first: what is committed up to there meanwhile is not held back.
        let (_, until) = self.uncommitted.bounds_within(topic, partition, ASK_LIMIT)?;
        let (_, from) = self.with_reader(|reader| reader.bounds_within(topic, partition, ASK_LIMIT))?;
        Ok((from, until))
    }

    fn held_back(&self, topic: &str, partition: u32, places: Range<i64>) -> Option<OpenTransaction> {
        let Range { start: from, end: until } = places;
        let brokers = self.cluster.brokers.clone();
        (from < until).then(|| OpenTransaction { topic: topic.to_owned(), partition, brokers, from, until })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_at_two_looks_is_told_until_something_comes() {
        let held = |from| {
            let (topic, brokers) = ("h.commands".to_owned(), "k:9092".to_owned());
            Some(OpenTransaction { topic, partition: 3, brokers, from, until: 12 })
        };
        let mut watch = Watch::default();
        for (found, is_told) in
            [(None, false), (held(7), false), (held(7), true), (held(7), true), (held(9), false), (held(9), true)]
        {
            watch.take(found);
            assert_eq!(watch.told().is_some(), is_told, "{:?}", watch.found);
        }
        let told = watch.told().unwrap();
        assert_eq!(told.count(), 3);
        assert!(told.to_string().starts_with("h.commands/3: offsets 9 to 12 are held back by a transaction"), "{told}");
        watch.came();
        assert!(watch.told().is_none());
        watch.take(held(9));
        assert!(watch.told().is_none(), "an owner's look may fall into anybody's commit");
    }
}
