//! Of which log a target is: it takes the events of one log only, whatever partitions that has.

use super::batch::Place;
use super::target::{Target, TargetError};
use crate::log::{CommittedTail, LogError};

/// Why what is written is of another log than this one; `None` when it is not, or when one of the two ids is not known.
pub fn other_log(written: Option<&str>, own: Option<u128>) -> Option<String> {
    let (written, own) = (written?, text(own?));
    (written != own).then(|| {
        format!(
            "what is written here is of the log {written}, and this is the log {own}: give this one another sink_schema, or \
             another sink_files"
        )
    })
}

/// Makes this log the one of the target, if it has none yet. The inner error is that of the log.
///
/// # Errors
/// [`TargetError::Operator`] when the target is of another log. Nothing was written then.
pub(super) fn settle(tail: &dyn CommittedTail, target: &mut impl Target) -> Result<Result<(), LogError>, TargetError> {
    let mut written = target.log()?;
    if written.is_none() {
        // An earlier version has not noted it. What it wrote tells.
        for (partition, place) in target.written()? {
            match foreign(tail, partition, place) {
                Ok(None) => {}
                Ok(Some(why)) => return Err(TargetError::Operator(format!("partition {partition}: {why}"))),
                Err(error) => return Ok(Err(error)),
            }
        }
        if let Some(own) = tail.log_id() {
            target.note_log(&text(own))?;
            written = target.log()?;
        }
    }
    match other_log(written.as_deref(), tail.log_id()) {
        None => Ok(Ok(())),
        Some(why) => Err(TargetError::Operator(why)),
    }
}

/// Why a partition that is written up to this place is none of this log. Events that are gone tell nothing.
fn foreign(tail: &dyn CommittedTail, partition: u32, place: Place) -> Result<Option<String>, LogError> {
    let partitions = tail.partitions();
    if partition >= partitions {
        return Ok(Some(format!("it is written, and the log has {partitions} partitions only: it is another one")));
    }
    let end = tail.end(partition)?;
    match end >= place.next_seq && place.next_seq < tail.first(partition)? {
        true => Ok(None),
        false => place.disagreement(tail, partition, end),
    }
}

fn text(log_id: u128) -> String {
    format!("{log_id:032x}")
}
