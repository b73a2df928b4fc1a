//! The file of one segment: a header, two slots, and frames up to its end. What follows the end is allocated and zero.
//!
//! ```text
//! header   magic 8 │ check 8 │ format 4 │ bytes of the header 4 │ manifest 44 │ bytes of the dictionary 4 │ 0 4 │ number 8
//!          first batch 8 │ end of the segment before 8 │ its last frame 8 │ the head of every partition, 16 each
//!          dictionary │ zeros
//! slots    2 x 4,096: number 8 │ batch 8 │ end 8 │ is settled 8 │ check 8 │ zeros
//! frames   see `frame.rs`
//! ```
//!
//! The dictionary is the one against which the bodies of its frames are packed (`packed.rs`). So a segment is read by itself,
//! and a writer may choose another one for each. Version 2 packs nothing and has none.
//!
//! The header never changes. The slots are written in turn with every batch, in the same flush: so the end of the log
//! is known twice, and frames that a disk or a copy has lost are missed. A slot lies in a sector of its own: a power
//! cut can spoil the one that is being written, and leaves the other.

use super::frame::{Form, Head, Header, Place, check_of};
use super::packed::{Dictionary, Unpacking};
use crate::domain::Micros;
use crate::limits::{DICTIONARY_BYTES_MAX, PARTITIONS_MAX};
use crate::log::{Manifest, PACKED_LEVEL, known_embedded_level};
use std::fmt::Debug;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// The version of the layout of the log's files that is written. Version 1 was a redb file: see `carried`. Segments of
/// version 2 are read. A log may have segments of both, those of version 2 first.
pub(super) const FORMAT_VERSION: u32 = 3;
const PLAIN_VERSION: u32 = 2;
/// The first bytes of every segment.
pub(super) const MAGIC: [u8; 8] = *b"headroom";
/// Bytes by which a segment grows: the length of the file is a multiple of them. It takes one more flush, every few
/// thousand events.
pub(super) const CHUNK_BYTES: u64 = 1 << 20;
/// A slot takes a block of its own, and the header takes whole blocks.
const BLOCK: u64 = 4_096;
const SLOTS: u64 = 2;
/// Bytes of the header before the heads.
const FIXED: usize = 108;
const HEAD_BYTES: usize = 16;
const SLOT_BYTES: usize = 40;
/// Most bytes of a header.
const HEADER_BYTES_MAX: u64 = header_bytes(PARTITIONS_MAX, DICTIONARY_BYTES_MAX);

/// The newest version that this process reads: [`FORMAT_VERSION`], or an older one where a test plays an older process.
pub(super) fn known_version() -> u32 {
    if known_embedded_level() < PACKED_LEVEL { PLAIN_VERSION } else { FORMAT_VERSION }
}

// The number of a partition takes two bytes in a frame, and there is room for frames in the first chunk.
const _: () = assert!(PARTITIONS_MAX <= 1 << 16 && HEADER_BYTES_MAX + SLOTS * BLOCK < CHUNK_BYTES);

/// The bytes of a segment: of its file, or of an object that its file has become.
pub(super) trait ReadAt: Debug + Send + Sync {
    /// Where they are, for messages.
    fn path(&self) -> &Path;

    /// Reads until the buffer is full or the bytes end. Returns how many were read.
    fn read_up_to(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;
}

/// What the header of a segment says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct SegmentHeader {
    pub(super) manifest: Manifest,
    /// Segments are numbered from 0.
    pub(super) number: u64,
    /// The number of the first batch in it.
    pub(super) first_batch: u64,
    /// Where the segment before ends, and where its last frame begins; both are 0 in the first segment.
    pub(super) before: (u64, u64),
    /// The ends of the partitions before its first frame.
    pub(super) heads: Vec<Head>,
    /// What the bodies of its frames are packed against.
    pub(super) dictionary: Dictionary,
}

/// Why a file is not a segment that this version can read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NoSegment {
    Foreign,
    Damaged(&'static str),
    Version(u32),
}

/// The path of a segment in the directory of the log.
pub(super) fn path_of(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("segment-{number:08}"))
}

/// The number of the segment of this name; `None` when it is no name of a segment.
pub(super) fn number_in(name: &str) -> Option<u64> {
    number_after("segment-", name)
}

/// The number of eight digits or more that follows in this name.
pub(super) fn number_after(prefix: &str, name: &str) -> Option<u64> {
    let number = name.strip_prefix(prefix)?;
    (number.len() >= 8 && number.bytes().all(|byte| byte.is_ascii_digit())).then(|| number.parse().ok())?
}

/// Bytes of a header with the heads of so many partitions, and with so many bytes of a dictionary.
const fn header_bytes(partitions: u32, dictionary: usize) -> u64 {
    let heads = (partitions as u64).saturating_mul(HEAD_BYTES as u64);
    (FIXED as u64).saturating_add(heads).saturating_add(dictionary as u64).next_multiple_of(BLOCK)
}

impl SegmentHeader {
    /// Where the first frame begins.
    pub(super) fn begin(&self) -> u64 {
        self.length().saturating_add(SLOTS.saturating_mul(BLOCK))
    }

    /// Bytes of the header.
    fn length(&self) -> u64 {
        header_bytes(self.manifest.partitions, self.dictionary.bytes().len())
    }

    /// Where the slots are. All other bytes before the end of a segment stay as they are written.
    pub(super) fn slots(&self) -> Range<u64> {
        self.length()..self.begin()
    }

    /// Makes the slots zero in bytes of the segment that begin at this offset. What is left is the same in every copy of the
    /// segment.
    pub(super) fn clear_slots(&self, offset: u64, bytes: &mut [u8]) {
        let slots = self.slots();
        for (at, byte) in (offset..).zip(bytes) {
            if at >= slots.end {
                break;
            }
            if slots.contains(&at) {
                *byte = 0;
            }
        }
    }

    /// How its frames are laid out.
    pub(super) fn form(&self) -> Form {
        if self.manifest.format_version == PLAIN_VERSION { Form::Plain } else { Form::Packed }
    }

    /// What the segment after it is packed against when none was made for that one.
    pub(super) fn next_dictionary(&self) -> Dictionary {
        match self.form() {
            Form::Plain => Dictionary::of_program(),
            Form::Packed => self.dictionary.clone(),
        }
    }

    pub(super) fn place(&self, offset: u64) -> Place<'_> {
        Place {
            form: self.form(),
            log_id: self.manifest.log_id,
            segment: self.number,
            offset,
            first_batch: self.first_batch,
            heads: &self.heads,
        }
    }

    /// The bytes of the header.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let Manifest { log_id, partitions, hash_version, format_version, dedup_window_ms, memory_version, created_at } =
            &self.manifest;
        let (length, dictionary) = (self.length(), self.dictionary.bytes());
        let mut body = Vec::with_capacity(usize::try_from(length).unwrap_or_default());
        // The version first: whatever else a later one changes, it can be told apart by it.
        body.extend_from_slice(&format_version.to_le_bytes());
        body.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
        body.extend_from_slice(&hash_version.to_le_bytes());
        body.extend_from_slice(&partitions.to_le_bytes());
        body.extend_from_slice(&dedup_window_ms.to_le_bytes());
        body.extend_from_slice(&created_at.0.to_le_bytes());
        body.extend_from_slice(&log_id.to_le_bytes());
        body.extend_from_slice(&memory_version.to_le_bytes());
        body.extend_from_slice(&u32::try_from(dictionary.len()).unwrap_or(u32::MAX).to_le_bytes());
        body.extend_from_slice(&[0; 4]);
        for number in [self.number, self.first_batch, self.before.0, self.before.1] {
            body.extend_from_slice(&number.to_le_bytes());
        }
        for head in &self.heads {
            body.extend_from_slice(&head.next_seq.to_le_bytes());
            body.extend_from_slice(&head.next_input.to_le_bytes());
        }
        body.extend_from_slice(dictionary);
        body.resize(usize::try_from(length).unwrap_or_default().saturating_sub(16), 0);
        [&MAGIC[..], &check_of(&body), &body].concat()
    }

    /// Reads the header of a file.
    ///
    /// # Errors
    /// The inner error says why it is none, the outer one that the file cannot be read.
    pub(super) fn read(named: &dyn ReadAt) -> io::Result<Result<SegmentHeader, NoSegment>> {
        let mut fixed = [0; FIXED];
        let there = named.read_up_to(0, &mut fixed)?;
        let start = fixed.get(..there).unwrap_or_default();
        if start.is_empty() {
            return Ok(Err(NoSegment::Damaged("it is empty")));
        }
        if !start.starts_with(&MAGIC) {
            return Ok(Err(NoSegment::Foreign));
        }
        let length = u32_at(&fixed, 20).min(u32::try_from(HEADER_BYTES_MAX).unwrap_or(u32::MAX));
        let mut bytes = vec![0; length as usize];
        if named.read_up_to(0, &mut bytes)? != bytes.len() || bytes.len() < FIXED {
            return Ok(Err(NoSegment::Damaged("its header is not whole")));
        }
        let body = bytes.get(16..).unwrap_or_default();
        if bytes.get(8..16) != Some(&check_of(body)[..]) {
            return Ok(Err(NoSegment::Damaged("its header is not what was written")));
        }
        let version = u32_at(&bytes, 16);
        if !(PLAIN_VERSION..=known_version()).contains(&version) {
            return Ok(Err(NoSegment::Version(version)));
        }
        if u32_at(&bytes, 68) as usize > DICTIONARY_BYTES_MAX {
            return Ok(Err(NoSegment::Damaged("its dictionary is too long")));
        }
        Ok(match SegmentHeader::parse(&bytes) {
            None => Err(NoSegment::Damaged("its header is not whole")),
            Some(header) if !Unpacking::default().knows(&header.dictionary) => {
                Err(NoSegment::Damaged("its dictionary is none"))
            }
            Some(header) => Ok(header),
        })
    }

    fn parse(bytes: &[u8]) -> Option<SegmentHeader> {
        let partitions = u32_at(bytes, 28);
        let manifest = Manifest {
            format_version: u32_at(bytes, 16),
            hash_version: u32_at(bytes, 24),
            partitions,
            dedup_window_ms: u64_at(bytes, 32),
            created_at: Micros(u64_at(bytes, 40)),
            log_id: u128::from_le_bytes(*bytes.get(48..)?.first_chunk()?),
            memory_version: u32_at(bytes, 64),
        };
        let heads_bytes = (partitions as usize).checked_mul(HEAD_BYTES)?;
        let (heads, rest) = bytes.get(FIXED..)?.split_at_checked(heads_bytes)?;
        let heads = heads.chunks_exact(HEAD_BYTES);
        let heads = heads.map(|head| Head { next_seq: u64_at(head, 0), next_input: u64_at(head, 8) }).collect();
        let header = SegmentHeader {
            manifest,
            number: u64_at(bytes, 76),
            first_batch: u64_at(bytes, 84),
            before: (u64_at(bytes, 92), u64_at(bytes, 100)),
            heads,
            dictionary: Dictionary::of(rest.get(..u32_at(bytes, 68) as usize)?),
        };
        (u64::from(u32_at(bytes, 20)) == header.length()).then_some(header)
    }
}

/// What a slot says of the end of a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Slot {
    /// Slots are numbered in the order in which they are written.
    pub(super) number: u64,
    /// The last batch.
    pub(super) batch: u64,
    /// The end of its last frame.
    pub(super) end: u64,
    /// Whether the batch had been flushed before the slot was written. Otherwise a power cut may have kept the slot and
    /// not the batch.
    pub(super) is_settled: bool,
}

impl Slot {
    /// The last batch that was flushed before the slot was written.
    pub(super) fn flushed(&self) -> u64 {
        if self.is_settled { self.batch } else { self.batch.saturating_sub(1) }
    }

    /// Where it is written, and its bytes.
    pub(super) fn bytes(&self, header: &SegmentHeader) -> (u64, Vec<u8>) {
        let offset = header.length().saturating_add((self.number % SLOTS).saturating_mul(BLOCK));
        let numbers = [self.number, self.batch, self.end, u64::from(self.is_settled)];
        let mut bytes = numbers.map(u64::to_le_bytes).concat();
        let check = Slot::check(header, offset, &bytes);
        bytes.extend_from_slice(&check);
        (offset, bytes)
    }

    fn check(header: &SegmentHeader, offset: u64, bytes: &[u8]) -> [u8; 8] {
        let Place { log_id, segment, offset, .. } = header.place(offset);
        check_of(&[&log_id.to_le_bytes()[..], &segment.to_le_bytes(), &offset.to_le_bytes(), bytes].concat())
    }

    /// The slot of this segment that was written last; `None` when both are damaged.
    pub(super) fn last(named: &dyn ReadAt, header: &SegmentHeader) -> io::Result<Option<Slot>> {
        let mut last: Option<Slot> = None;
        for at in 0..SLOTS {
            let offset = header.length().saturating_add(at.saturating_mul(BLOCK));
            let mut bytes = [0; SLOT_BYTES];
            let there = named.read_up_to(offset, &mut bytes)?;
            let (body, check) = bytes.split_at(SLOT_BYTES - 8);
            if there == SLOT_BYTES && check == Slot::check(header, offset, body) {
                let slot = Slot {
                    number: u64_at(body, 0),
                    batch: u64_at(body, 8),
                    end: u64_at(body, 16),
                    is_settled: u64_at(body, 24) == 1,
                };
                last = last.into_iter().chain([slot]).max_by_key(|slot| slot.number);
            }
        }
        Ok(last)
    }
}

/// Whether a whole frame header was written at this offset of the segment; the frame ends at `end`.
pub(super) fn is_frame(named: &dyn ReadAt, header: &SegmentHeader, offset: u64, end: u64) -> io::Result<bool> {
    let mut bytes = vec![0; header.form().header()];
    let there = named.read_up_to(offset, &mut bytes)?;
    let frame = Header::read(header.place(offset), bytes.get(..there).unwrap_or_default());
    Ok(frame.is_some_and(|frame| frame.is_last && offset.saturating_add(frame.frame_length()) == end))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |bytes| u64::from_le_bytes(*bytes))
}
