//! A transaction that its producer has not ended hides the records behind its beginning from committed readers. A turn
//! takes moments. A transaction of another program on the topic of commands stops the partition until that program ends it.
//! On the topic of events it hides new events from followers; callers are still answered, by replies. A claim waits for its end,
//! and fails where that does not come.

use crate::log::LogError;
use crate::log::kafka::client::reader::{TopicPartition, offset_of};
use crate::log::kafka::data::context::LogContext;
use crate::time::Stopwatch;
use std::fmt;
use std::ops::Range;
use std::time::Duration;

/// Longest wait for an answer of the cluster. The owner waits for it, and has nothing else to do.
const ASK_LIMIT: Duration = Duration::from_millis(500);
/// Time between two looks of an owner that has nothing to do.
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
    /// The open transaction that holds records of this partition back now; none without one, or when the cluster does not answer.
    pub(super) fn now(context: &LogContext, at: TopicPartition<'_>) -> Option<OpenTransaction> {
        held_back(context, at).ok().and_then(|held| OpenTransaction::of(context, at, held))
    }

    /// That of these offsets; none where they are empty.
    fn of(context: &LogContext, at: TopicPartition<'_>, held: Range<i64>) -> Option<OpenTransaction> {
        let (topic, brokers) = (at.topic.to_owned(), context.cluster.brokers.clone());
        let Range { start: from, end: until } = held;
        (from < until).then_some(OpenTransaction { topic, partition: at.partition, brokers, from, until })
    }

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

/// What an owner without commands has found out about its topic of commands.
#[derive(Default)]
pub(super) struct Watch {
    /// Time since the last look.
    looked: Option<Stopwatch>,
    /// What was found at the last look.
    found: Option<OpenTransaction>,
    /// Whether it was there at the look before as well, and was logged.
    is_told: bool,
    /// The next command, if readable records lay behind it at the last look.
    behind: Option<u64>,
    /// No command lies before this offset.
    passed: i64,
}

impl Watch {
    /// Takes that a command came, so nothing is held back before it. Returns whether something was at the last look.
    pub(in crate::log::kafka) fn came(&mut self) -> bool {
        self.looked = None;
        if self.is_told {
            tracing::info!("the transaction that held commands back has ended: commands are read again");
        }
        self.is_told = false;
        self.found.take().is_some()
    }

    /// The open transaction that holds commands back, if there is one.
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

    /// Takes what was found. What is found at two looks is logged once.
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

    /// Finds out, when it is time, why no command comes from `next` on: whether commands are held back, and whether the
    /// owner's reader still reads what is there. A reader of a topic that was deleted and created again may wait for ever.
    ///
    /// # Errors
    /// [`LogError`] when the reader misses commands: the partition must be claimed again.
    pub(super) fn look(&mut self, context: &LogContext, partition: u32, next: u64) -> Result<(), LogError> {
        if !self.is_due() {
            return Ok(());
        }
        let at = context.commands(partition);
        // A cluster that does not answer is reported elsewhere.
        let Ok(Range { start: from, end: until }) = held_back(context, at) else { return Ok(()) };
        let found = OpenTransaction::of(context, at, from..until);
        context.paces.held_back(partition, found.as_ref().map_or(0, OpenTransaction::count));
        self.take(found);
        let place = offset_of(next);
        if until < place {
            return Err(LogError::out_of_range(format!("{at} ends at offset {until}, and the next command is {next}")));
        }
        if from <= place.max(self.passed) || self.behind.replace(next) != Some(next) {
            return Ok(());
        }
        let mut is_there = false;
        context.readers.with(|reader| {
            reader.assign(at, place)?;
            reader.each(at, from, ASK_LIMIT, |_| {
                is_there = true;
                Ok::<_, LogError>(false)
            })
        })?;
        self.passed = from;
        match is_there {
            false => Ok(()),
            true => Err(LogError::transient(format!(
                "{at} has commands from {next} on, and the owner receives none of them"
            ))),
        }
    }
}

/// The offsets that committed readers do not see: from the end of what they see to the whole end.
fn held_back(context: &LogContext, at: TopicPartition<'_>) -> Result<Range<i64>, LogError> {
    // The whole end first: what is committed up to there meanwhile is not held back.
    let until = context.uncommitted.bounds_within(at, ASK_LIMIT)?.end;
    let from = context.readers.with(|reader| reader.bounds_within(at, ASK_LIMIT))?.end;
    Ok(from..until)
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
