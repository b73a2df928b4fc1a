//! What lies between an owner's records and is not of its own. A record of no owner says nothing: readers pass it over.
//! Another owner's fence ends this one. An event that is not this owner's may lie in a transaction that is open, which
//! committed readers do not see past: the owner goes on, for nobody owns a partition without a fence, and looks again when
//! the transaction is decided. If it was committed the log is broken, and the next claim says how.

use crate::log::LogError;
use crate::log::kafka::Inner;
use crate::log::kafka::client::reader::{Next, Reader};
use crate::log::kafka::client::settings::ASK_LIMIT;
use crate::log::kafka::data::record::{self, Course, EventRecord, Kind};
use crate::time::Stopwatch;
use rdkafka::message::Message;
use std::ops::Range;
use std::time::Duration;

/// Between two looks at whether what is in doubt is decided.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Places with events in them that are not this owner's.
struct Doubt {
    places: Range<i64>,
    /// The number of the first event of this owner's from there on.
    seq: u64,
    looked: Stopwatch,
}

/// What one owner knows of what others have written between its records.
#[derive(Default)]
pub(in crate::log::kafka) struct Between {
    /// Sees what is not committed, too; made when it is first needed.
    reader: Option<Reader>,
    doubt: Option<Doubt>,
}

impl Between {
    /// Whether no other owner has written in these places, where this one has just written the events of `seqs`.
    ///
    /// # Errors
    /// [`LogError`] when that cannot be read in time.
    pub(super) fn is_ours(
        &mut self,
        inner: &Inner,
        partition: u32,
        places: Range<i64>,
        seqs: Range<u64>,
    ) -> Result<bool, LogError> {
        let topic = &inner.cluster.topics.events;
        let reader = match &self.reader {
            Some(reader) => reader,
            None => self.reader.insert(Reader::uncommitted(&inner.cluster)?),
        };
        reader.assign(topic, partition, places.start)?;
        let (mut own, mut others) = (0u64, false);
        let reading = Stopwatch::start();
        loop {
            let left = reading.left_of(ASK_LIMIT);
            let message = match reader.next(left)? {
                Next::Message(message) => message,
                _ if left.is_zero() => return Err(LogError::new(format!("{topic}/{partition} does not answer"))),
                Next::End | Next::Nothing => continue,
            };
            if message.offset() >= places.end {
                break;
            }
            match record::kind(&message) {
                Kind::Fence => return Ok(false),
                Kind::Event(seq) if seqs.contains(&seq) => own = own.saturating_add(1),
                Kind::Event(_) => others = true,
                Kind::Foreign => {}
            }
            // Of this owner's records the last ends the places: there may be nothing behind it.
            if message.offset() == places.end.saturating_sub(1) {
                break;
            }
        }
        reader.release();
        others |= own != seqs.end.saturating_sub(seqs.start);
        tracing::warn!(
            partition,
            from = places.start,
            until = places.end,
            "somebody else writes to the partition's events"
        );
        if others {
            let (places, seq) = match self.doubt.take() {
                Some(doubt) => (doubt.places.start..places.end, doubt.seq),
                None => (places, seqs.start),
            };
            self.doubt = Some(Doubt { places, seq, looked: Stopwatch::start() });
        }
        Ok(true)
    }

    /// Looks again at what is in doubt, now and then.
    ///
    /// # Errors
    /// [`LogError`] when it turned out to be a breach: the owner may not go on.
    pub(in crate::log::kafka) fn settle(&mut self, inner: &Inner, partition: u32) -> Result<(), LogError> {
        let Some(doubt) = self.doubt.as_mut().filter(|doubt| doubt.looked.elapsed() >= LOOK_EVERY) else {
            return Ok(());
        };
        doubt.looked = Stopwatch::start();
        let topic = &inner.cluster.topics.events;
        let Range { start, end } = doubt.places;
        let mut course = Course::of(inner.manifest.log_id, partition).at(doubt.seq);
        let is_settled = inner.with_reader(|reader| {
            if reader.bounds(topic, partition)?.1 < end {
                return Ok(false);
            }
            reader.assign(topic, partition, start)?;
            reader.each((topic, partition), ASK_LIMIT, |message| {
                if message.offset() >= end {
                    return Ok(false);
                }
                let found = record::found_awaited(message, &inner.framing);
                match found {
                    EventRecord::Unread(why) => return Err(why.at(topic, partition, message.offset())),
                    found => course.take(&found).map_err(LogError::from)?,
                }
                Ok(true)
            })?;
            Ok(true)
        })?;
        if is_settled {
            self.doubt = None;
        }
        Ok(())
    }
}
