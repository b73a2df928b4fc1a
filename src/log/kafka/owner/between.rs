//! Records of others that lie between an owner's own. A record of no owner means nothing: readers skip it. The fence of
//! another owner ends this owner. An event that this owner did not write may lie in a transaction that is still open. Nobody
//! owns a partition without a fence, so the owner continues, and looks again when that transaction has ended. If it was
//! committed, the log is broken, and the next claim reports how.

use crate::log::LogError;
use crate::log::kafka::client::reader::{Next, Reader, unanswered};
use crate::log::kafka::client::settings::ASK_LIMIT;
use crate::log::kafka::data::context::LogContext;
use crate::log::kafka::data::record::{self, EventRecord, Kind};
use crate::time::Stopwatch;
use rdkafka::message::Message;
use std::ops::Range;
use std::time::Duration;

/// Time between two looks at whether the transaction in doubt has ended.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Offsets with events that this owner did not write.
struct Doubt {
    places: Range<i64>,
    /// The sequence number of this owner's first event from there on.
    seq: u64,
    /// Time since the last look.
    looked: Stopwatch,
}

/// What one owner knows about records of others between its own.
#[derive(Default)]
pub(in crate::log::kafka) struct Between {
    /// Sees uncommitted records too. Created when it is first needed.
    reader: Option<Reader>,
    doubt: Option<Doubt>,
}

impl Between {
    /// Whether no other owner has written at these offsets, where this owner has just written the events of `seqs`.
    ///
    /// # Errors
    /// [`LogError`] when that cannot be read in time.
    pub(super) fn is_ours(
        &mut self,
        context: &LogContext,
        partition: u32,
        places: Range<i64>,
        seqs: Range<u64>,
    ) -> Result<bool, LogError> {
        let at = context.events(partition);
        let reader = match &self.reader {
            Some(reader) => reader,
            None => self.reader.insert(Reader::uncommitted(&context.cluster)?),
        };
        reader.assign(at, places.start)?;
        let (mut own, mut others) = (0u64, false);
        let reading = Stopwatch::start();
        loop {
            let left = reading.left_of(ASK_LIMIT);
            let message = match reader.next(left)? {
                Next::Message(message) => message,
                _ if left.is_zero() => return Err(unanswered(at)),
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
            // The last offset is that of this owner's last record, and there may be nothing behind it to wait for.
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
            "another program writes to the partition's events"
        );
        if others {
            let (places, seq) = match self.doubt.take() {
                Some(doubt) => (doubt.places.start..places.end, doubt.seq),
                None => (places, seqs.start),
            };
            // This owner may end before it knows. Then its successor in this process has to read there.
            context.progress_of(partition).written_beside(seq);
            self.doubt = Some(Doubt { places, seq, looked: Stopwatch::start() });
        }
        Ok(true)
    }

    /// Looks again at what is in doubt, once a second.
    ///
    /// # Errors
    /// [`LogError`] when the log is broken there: the owner must end.
    pub(in crate::log::kafka) fn settle(&mut self, context: &LogContext, partition: u32) -> Result<(), LogError> {
        let Some(doubt) = self.doubt.as_mut().filter(|doubt| doubt.looked.elapsed() >= LOOK_EVERY) else {
            return Ok(());
        };
        doubt.looked = Stopwatch::start();
        let at = context.events(partition);
        let Range { start, end } = doubt.places;
        let mut course = context.course(partition).at(doubt.seq);
        let is_settled = context.readers.with(|reader| {
            if reader.bounds(at)?.end < end {
                return Ok(false);
            }
            reader.assign(at, start)?;
            reader.each(at, end, ASK_LIMIT, |message| {
                let found = record::found_awaited(message, &context.framing);
                match found {
                    EventRecord::Unread(why) => return Err(why.at(at, message.offset())),
                    found => course.take(&found).map_err(LogError::from)?,
                }
                Ok(true)
            })?;
            Ok(true)
        })?;
        if is_settled {
            context.progress_of(partition).read_in_order(doubt.seq);
            self.doubt = None;
        }
        Ok(())
    }
}
