//! The dictionary of the next segment, made of what the log itself writes. When a quarter of a segment is written, a thread
//! reads frames of that quarter, trains a dictionary on some of them, and judges it by others, for some tenths of a second. The
//! seal takes it if it packs those others better than the dictionary of the segment does; otherwise the next segment has the same
//! one.
//!
//! What is made follows from the bytes of the segment, and not from when the thread runs or how often the process starts.
//! There is time for it: the other three quarters are written before the seal asks. Where they were not, as in a process
//! that began with a nearly full segment, the seal waits for [`WAIT`] at most and goes on with the same dictionary.

use super::disk::Named;
use super::error::{Fault, damaged};
use super::frame::{Form, Header, Kind};
use super::packed::{Dictionary, Packer, Unpacking};
use super::scan::{changed, each_frame};
use super::segment::{ReadAt, SegmentHeader};
use crate::limits::DICTIONARY_BYTES_MAX;
use crate::threads;
use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;
use zstd::dict::from_continuous;

/// Bytes of a dictionary that is made.
const MADE_BYTES: usize = 8 << 10;
const _: () = assert!(MADE_BYTES <= DICTIONARY_BYTES_MAX);
/// A quarter of fewer bytes is too small to learn from.
const QUARTER_BYTES_MIN: u64 = 128 << 10;
/// Most bytes of the segment that are looked at as samples. Out of their packing they are two to five times as many.
const SAMPLES_BYTES_MAX: u64 = 512 << 10;
/// A longer body is no sample: it repeats itself, and a dictionary helps it little.
const SAMPLE_BYTES_MAX: usize = 8 << 10;
/// One sample in so many judges what was made of the others.
const JUDGE_ONE_IN: usize = 4;
/// The longest that a seal waits, and with it all turns.
const WAIT: Duration = Duration::from_secs(5);
/// The most that the judges may take with a new dictionary, in percent of what they take with the one before.
const WORTH_PERCENT: usize = 98;

/// A dictionary that is being made.
#[derive(Debug)]
pub(super) struct Training(Receiver<Option<Dictionary>>);

impl Training {
    /// Where the quarter ends of which a segment learns that is sealed at so many bytes; `None` when it is too small, or of
    /// the form before, which the next turn seals.
    pub(super) fn begins_at(header: &SegmentHeader, sealed_at: u64) -> Option<u64> {
        if header.form() == Form::Plain {
            return None;
        }
        let quarter = sealed_at.saturating_sub(header.begin()) / 4;
        (quarter >= QUARTER_BYTES_MIN).then(|| header.begin().saturating_add(quarter))
    }

    /// Begins with the frames of a segment before this byte, which are written and flushed.
    pub(super) fn begin(named: Arc<Named>, header: Arc<SegmentHeader>, end: u64) -> Training {
        let (tell, told) = bounded(1);
        let started = threads::spawn("log-dictionary", move || {
            threads::stand_back(threads::NICE);
            // The log goes on without one, so a panic here must not end the process, nor each one that starts after it.
            let made = catch_unwind(AssertUnwindSafe(|| made(&*named, &header, end)))
                .unwrap_or_else(|_| Err(damaged("a panic")));
            // The seal waits for nothing else, and the log may have been closed meanwhile.
            let _closed = tell.send(made.as_ref().ok().cloned().flatten());
            let segment = named.path.display();
            match made {
                Ok(made) => tracing::debug!(?made, %segment, "a better dictionary for the next segment of the log"),
                Err(fault) => {
                    tracing::warn!(%fault, %segment, "no dictionary was made for the next segment of the log");
                }
            }
        });
        if let Err(error) = started {
            tracing::warn!(%error, "no dictionary is made for the next segment of the log");
        }
        Training(told)
    }

    /// Waits for the end, though not for long: turns wait as well. `None` when the dictionary of the segment is as good, or none
    /// could be made.
    pub(super) fn made(self) -> Option<Dictionary> {
        match self.0.recv_timeout(WAIT) {
            Ok(made) => made,
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => {
                tracing::warn!("no dictionary is ready for the next segment of the log");
                None
            }
        }
    }
}

/// A better dictionary than that of the segment, for frames as they are before this byte.
fn made(read: &dyn ReadAt, header: &SegmentHeader, end: u64) -> Result<Option<Dictionary>, Fault> {
    let (mut data, mut sizes, mut judges) = (Vec::new(), Vec::new(), Vec::new());
    let mut number = 0usize;
    each_sample(read, header, end, |body| {
        number = number.saturating_add(1);
        if number.is_multiple_of(JUDGE_ONE_IN) {
            judges.push(body.to_vec());
        } else {
            data.extend_from_slice(body);
            sizes.push(body.len());
        }
    })?;
    // It refuses what is too little, or all the same.
    let Ok(trained) = from_continuous(&data, &sizes, MADE_BYTES) else { return Ok(None) };
    let trained = Dictionary::of(&trained);
    let (before, after) = (packed(&header.dictionary, &judges), packed(&trained, &judges));
    let is_better = after.saturating_mul(100) <= before.saturating_mul(WORTH_PERCENT);
    Ok(is_better.then_some(trained))
}

/// Bytes that these bodies take with a dictionary.
fn packed(dictionary: &Dictionary, bodies: &[Vec<u8>]) -> usize {
    let (mut packer, mut block) = (Packer::new(dictionary.clone()), Vec::new());
    let lengths = bodies.iter().map(|body| {
        block.clear();
        if packer.pack(body, &mut block) { block.len() } else { body.len() }
    });
    lengths.fold(0, usize::saturating_add)
}

/// Calls `what` with bodies of frames before this byte, spread evenly.
fn each_sample(read: &dyn ReadAt, segment: &SegmentHeader, end: u64, mut what: impl FnMut(&[u8])) -> Result<(), Fault> {
    let frames = frames(read, segment, end)?;
    let bytes = frames.iter().map(|(_, frame)| frame.frame_length()).fold(0, u64::saturating_add);
    let step = usize::try_from(bytes.div_ceil(SAMPLES_BYTES_MAX)).unwrap_or(usize::MAX).max(1);
    let (mut unpacking, mut bytes) = (Unpacking::default(), Vec::new());
    for (at, frame) in frames.iter().step_by(step) {
        let changed = || changed(read, *at);
        bytes.resize(frame.length as usize, 0);
        let there = read.read_up_to(at.saturating_add(segment.form().header() as u64), &mut bytes)?;
        if there != bytes.len() || !frame.is_body(&bytes) {
            return Err(changed());
        }
        let body = unpacking.body(&segment.dictionary, frame, &bytes).ok_or_else(changed)?;
        if body.len() <= SAMPLE_BYTES_MAX {
            what(body);
        }
    }
    Ok(())
}

/// The frames of turns before this byte that may be samples.
fn frames(read: &dyn ReadAt, segment: &SegmentHeader, end: u64) -> Result<Vec<(u64, Header)>, Fault> {
    let mut frames = Vec::new();
    each_frame(read, segment, end, |_, offset, frame| {
        if frame.kind == Kind::Turn && frame.length as usize <= SAMPLE_BYTES_MAX {
            frames.push((offset, *frame));
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(frames)
}
