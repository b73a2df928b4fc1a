//! Packed frames: each is read alone, and one that does not come out as it went in is refused.

use super::super::disk::Named;
use super::super::draft::{Draft, Pair};
use super::super::error::OpenError;
use super::super::frame::{FRAME_HEADER, Head, Header, Place, Records, check_of};
use super::super::packed::{Dictionary, Packer};
use super::super::read::Span;
use super::super::segment::{FORMAT_VERSION, SegmentHeader, path_of};
use super::super::start::Started;
use super::super::store::Store;
use super::segments::{fresh, fresh_of, fresh_with, open, settled};
use crate::limits::DICTIONARY_BYTES_MAX;
use crate::log::Opening;
use crate::trace::TraceContext;
use std::fs;
use std::os::unix::fs::FileExt;

type Record = (Vec<u8>, Vec<u8>, Option<TraceContext>);

/// An event with its command as a caller's is: much of it stands in both, and a part is in no other.
fn record(partition: u32, seq: u64) -> Record {
    let own = blake3::hash(format!("{partition} {seq}").as_bytes()).to_hex();
    let event = format!("accepted {own} of pool-{partition} orders crates {}", "\0".repeat(60));
    let trace = TraceContext { trace_id: 9 + u128::from(seq), span_id: seq, is_sampled: true, state: None };
    (
        event.into_bytes(),
        format!("asked {own} of pool-{partition} orders").into_bytes(),
        (!seq.is_multiple_of(3)).then_some(trace),
    )
}

fn append(store: &Store, partition: u32, count: u64) {
    let first = store.heads()[partition as usize];
    let records: Vec<_> = (0..count).map(|n| record(partition, first.next_seq + n)).collect();
    let pairs = records.iter().map(|(event, command, trace)| Pair {
        event: Some(event),
        command: Some(command),
        trace: trace.as_ref(),
    });
    store.append(&mut [Draft::of_turn(&mut Packer::new(Dictionary::of_program()), partition, first, pairs)]).unwrap();
}

/// One event with its command.
fn read(store: &Store, partition: u32, at: u64) -> Result<Record, String> {
    let one = |records| {
        let span = Span { records, partition, from: at, end: at + 1, bytes_max: 1 };
        let found = store.read(span, |record| (record.bytes.to_vec(), record.trace)).map_err(|fault| fault.to_string());
        found.map(|mut found| found.pop().unwrap())
    };
    let (event, trace) = one(Records::Events)?;
    Ok((event, one(Records::Commands)?.0, trace))
}

/// Three turns of each partition, closed in order, and where their frames are.
fn sample() -> (tempfile::TempDir, Vec<(u32, u64, std::ops::Range<usize>)>) {
    let dir = fresh();
    let store = settled(dir.path(), u64::MAX);
    let (mut frames, mut seqs) = (Vec::new(), [0u64; 2]);
    for n in 0..6u32 {
        let (partition, begin) = (n % 2, store.end().1.0 as usize);
        append(&store, partition, 1 + u64::from(n) % 3);
        frames.push((partition, seqs[partition as usize], begin..store.end().1.0 as usize));
        seqs[partition as usize] = store.heads()[partition as usize].next_seq;
    }
    (dir, frames)
}

/// Which records of a partition are refused. None is read that was not written.
#[track_caller]
fn refused(store: &Store, partition: u32) -> Vec<u64> {
    let end = store.heads()[partition as usize].next_seq;
    (0..end)
        .filter(|seq| match read(store, partition, *seq) {
            Ok(found) => {
                assert_eq!(found, record(partition, *seq));
                false
            }
            Err(why) => {
                assert!(why.contains("segment-00000000 is not what was written"), "{why}");
                true
            }
        })
        .collect()
}

#[test]
fn a_turn_takes_a_part_of_its_bytes_and_is_read_alone() {
    let dir = fresh();
    let store = settled(dir.path(), u64::MAX);
    let begin = store.end().1.0;
    (0..300).for_each(|n| append(&store, n % 2, 1));
    let plain: usize =
        (0..300).map(|n| record(n % 2, u64::from(n / 2))).map(|(event, command, _)| event.len() + command.len()).sum();
    let taken = store.end().1.0 - begin;
    assert!(taken < plain as u64 * 7 / 10, "{taken} bytes for {plain}");
    for at in (0..150).rev().step_by(7) {
        assert_eq!(read(&store, 1, at), Ok(record(1, at)));
    }
    drop(store);
    let store = settled(dir.path(), u64::MAX);
    append(&store, 0, 2_000);
    assert_eq!((refused(&store, 0), refused(&store, 1)), (vec![], vec![]));
    store.check(&Opening::default()).unwrap();
}

/// The story: a byte rots in a packed frame of a log that was closed in order. What cannot be read says so, nothing else is
/// lost, and no record comes out wrong.
#[test]
fn a_changed_byte_of_a_packed_frame_costs_that_frame_or_is_refused_by_name() {
    let (dir, frames) = sample();
    let named = Named::open(path_of(dir.path(), 0), true).unwrap();
    let bytes = fs::read(&named.path).unwrap();
    let mut costs = 0;
    for (partition, seq, range) in &frames {
        for at in range.clone() {
            named.file.write_all_at(&[bytes[at] ^ 1 << (at % 8)], at as u64).unwrap();
            match open(dir.path(), u64::MAX) {
                Err(error) => {
                    let is_in_header = at < range.start + FRAME_HEADER;
                    assert!(is_in_header && matches!(error, OpenError::Damaged { .. }), "{error} at {at}");
                }
                Ok(Started { store, .. }) => {
                    let lost = [0, 1].map(|partition| refused(&store, partition));
                    assert!(lost[1 - *partition as usize].is_empty());
                    assert_eq!(lost[*partition as usize].first(), Some(seq), "at {at} of {range:?}");
                    let error = store.check(&Opening::default()).unwrap_err().to_string();
                    assert!(error.contains("the contents are not what was written"), "{error}");
                    costs += 1;
                }
            }
            named.file.write_all_at(&bytes[at..=at], at as u64).unwrap();
        }
    }
    assert!(costs > 300, "{costs}");
}

/// The story: a program has written a frame whose checks are right, and whose body is no packed one, or says that it holds
/// more than any does. It is damage like another: refused by name, and no memory is taken for it.
#[test]
fn a_packed_body_that_lies_under_a_right_check_is_refused_by_name() {
    let (dir, frames) = sample();
    let path = path_of(dir.path(), 0);
    let bytes = fs::read(&path).unwrap();
    let named = Named::open(path.clone(), false).unwrap();
    let segment = SegmentHeader::read(&named).unwrap().unwrap();
    let (partition, seq, range) = frames[4].clone();
    let place = segment.place(range.start as u64);
    let header = Header::read(place, &bytes[range.start..]).unwrap();
    assert!(header.is_packed);
    let body = range.start + FRAME_HEADER..range.end;
    let huge = [&[0b1110_0100][..], &u64::MAX.to_le_bytes()].concat();
    let one_more = [bytes[body.start], bytes[body.start + 1].wrapping_add(1)];
    for lie in [&[0u8; 60][..], &[0xFF; 60], &huge, &one_more, &bytes[body.start + 1..body.start + 40]] {
        let mut image = bytes.clone();
        image[body.start..][..lie.len()].copy_from_slice(lie);
        let check = check_of(&image[body.clone()]);
        image[range.start + 26..][..8].copy_from_slice(&check);
        let check = place.check(header.batch, header.first, &image[range.start..range.start + 34]);
        image[range.start + 34..][..8].copy_from_slice(&check);
        fs::write(&path, image).unwrap();
        let store = open(dir.path(), u64::MAX).unwrap().store;
        assert_eq!(refused(&store, partition).first(), Some(&seq));
        assert!(refused(&store, 1 - partition).is_empty());
        let error = store.check(&Opening::default()).unwrap_err().to_string();
        assert!(error.contains("segment-00000000 is damaged"), "{error}");
    }
}

/// The story: a log of the version before is served by this one, and was left with a segment in which nothing is yet. That
/// one is sealed as it is; frames are written in the newest form only.
#[test]
fn an_empty_segment_of_the_version_before_is_sealed_by_the_first_turn() {
    let dir = fresh_of(2);
    let store = settled(dir.path(), u64::MAX);
    (0..5).for_each(|n| append(&store, n % 2, 3));
    drop(store);
    let store = settled(dir.path(), u64::MAX);
    append(&store, 0, 1);
    let versions = [0, 1].map(|number| {
        let named = Named::open(path_of(dir.path(), number), false).unwrap();
        SegmentHeader::read(&named).unwrap().unwrap().manifest.format_version
    });
    assert_eq!((versions, path_of(dir.path(), 2).exists()), ([2, FORMAT_VERSION], false));
    assert_eq!((refused(&store, 0), refused(&store, 1)), (vec![], vec![]));
    store.check(&Opening::default()).unwrap();
    drop(store);
    // A segment that says of the one before it that nothing was in it is believed by no other way.
    let named = Named::open(path_of(dir.path(), 1), true).unwrap();
    let header = SegmentHeader::read(&named).unwrap().unwrap();
    for wrong in [
        SegmentHeader { first_batch: 2, ..header.clone() },
        SegmentHeader { before: (header.before.0 + 1, 0), ..header.clone() },
        SegmentHeader { heads: vec![Head { next_seq: 1, next_input: 0 }; 2], ..header },
    ] {
        named.file.write_all_at(&wrong.bytes(), 0).unwrap();
        let error = open(dir.path(), u64::MAX).unwrap_err().to_string();
        assert!(error.contains("it does not end where segment 1 begins"), "{error}");
    }
}

/// The story: each file of a log has a dictionary of its own, or none, and a later version may have chosen it. What goes into
/// it was packed against another one, and is packed again. Everything is read.
#[test]
fn every_segment_is_read_with_the_dictionary_that_it_carries() {
    let (event, command, _) = record(1, 7);
    for dictionary in [&[][..], &[event, command].concat(), &[b'a'; DICTIONARY_BYTES_MAX]] {
        let dictionary = Dictionary::of(dictionary);
        let dir = fresh_with(FORMAT_VERSION, dictionary.clone());
        let begin = settled(dir.path(), u64::MAX).end().1.0;
        let store = settled(dir.path(), begin + (20 << 10));
        let in_which = || store.end().0.number;
        assert_eq!(store.dictionary(), dictionary);
        while in_which() < 2 {
            append(&store, 0, 40);
            append(&store, 1, 1);
        }
        assert_eq!((refused(&store, 0), refused(&store, 1)), (vec![], vec![]));
        store.check(&Opening::default()).unwrap();
        drop(store);
        let store = open(dir.path(), u64::MAX).unwrap().store;
        let found = [0, 1, 2].map(|at| store.segments()[at].header.dictionary.clone());
        assert_eq!(found, [dictionary.clone(), dictionary.clone(), dictionary]);
        assert_eq!((refused(&store, 0), refused(&store, 1)), (vec![], vec![]));
    }
}

/// The dictionary is a part of the header, in which nothing may change.
#[test]
fn a_changed_byte_of_a_dictionary_is_refused_by_name() {
    let (dir, _) = sample();
    let named = Named::open(path_of(dir.path(), 0), true).unwrap();
    let bytes = fs::read(&named.path).unwrap();
    let slots = SegmentHeader::read(&named).unwrap().unwrap().slots();
    for at in 16..slots.start as usize {
        named.file.write_all_at(&[bytes[at] ^ 1 << (at % 8)], at as u64).unwrap();
        let error = open(dir.path(), u64::MAX).unwrap_err();
        assert!(
            matches!(&error, OpenError::Damaged { detail, .. } if detail.starts_with("its header is not")),
            "{error}"
        );
        named.file.write_all_at(&bytes[at..=at], at as u64).unwrap();
    }
    assert!(open(dir.path(), u64::MAX).is_ok());
}

/// The story: a program has written a header whose check is right, and whose dictionary is none.
#[test]
fn a_dictionary_that_is_none_is_damage_under_a_right_check() {
    let own = Dictionary::of_program();
    let broken = [&own.bytes()[..8], &[0xFF; 500]].concat();
    for (dictionary, says) in
        [(broken, "its dictionary is none"), (vec![b'a'; DICTIONARY_BYTES_MAX + 1], "its dictionary is too long")]
    {
        let dir = fresh_with(FORMAT_VERSION, Dictionary::of(&dictionary));
        let error = open(dir.path(), u64::MAX).unwrap_err();
        assert!(matches!(&error, OpenError::Damaged { detail, .. } if detail == says), "{error}");
    }
    // The length that it says reaches beyond the header, or further than it may.
    for length in [own.bytes().len() as u32 + 4_096, u32::MAX] {
        let dir = fresh();
        let named = Named::open(path_of(dir.path(), 0), true).unwrap();
        let mut bytes = SegmentHeader::read(&named).unwrap().unwrap().bytes();
        bytes[68..72].copy_from_slice(&length.to_le_bytes());
        let check = check_of(&bytes[16..]);
        bytes[8..16].copy_from_slice(&check);
        named.file.write_all_at(&bytes, 0).unwrap();
        assert!(matches!(open(dir.path(), u64::MAX).unwrap_err(), OpenError::Damaged { .. }));
    }
}

#[test]
fn numbers_that_are_too_large_for_a_segment_begin_the_next_one() {
    let heads = [Head { next_seq: 5, next_input: 7 }];
    let dir = fresh();
    let header = SegmentHeader::read(&Named::open(path_of(dir.path(), 0), false).unwrap()).unwrap().unwrap();
    let place = Place { heads: &heads, ..header.place(12_288) };
    let draft = |next_seq, next_input| {
        let pair = Pair { event: Some(&b"event"[..]), command: Some(&b"command"[..]), trace: None };
        Draft::of_turn(
            &mut Packer::new(Dictionary::of_program()),
            0,
            Head { next_seq, next_input },
            std::iter::once(pair),
        )
    };
    let most = u64::from(u32::MAX);
    for (next_seq, next_input, fits) in
        [(5, 7, true), (5 + most, 7 + most, true), (6 + most, 7, false), (5, 8 + most, false), (4, 7, false)]
    {
        let mut draft = draft(next_seq, next_input);
        assert_eq!(draft.fits(place), fits);
        let sealed = draft.sealed(place, 1, true).map(<[u8]>::to_vec);
        assert_eq!(sealed.is_ok(), fits);
        let first = sealed.ok().and_then(|bytes| Header::read(place, &bytes)).map(|header| header.first);
        assert_eq!(first, fits.then_some(Head { next_seq, next_input }));
    }
    // The same numbers, counted from others, are another frame.
    let mut draft = draft(9, 9);
    let bytes = draft.sealed(place, 1, true).unwrap().to_vec();
    let others = [Head { next_seq: 6, next_input: 7 }];
    assert!(Header::read(place, &bytes).is_some());
    assert!(Header::read(Place { heads: &others, ..place }, &bytes).is_none());
    assert!(Header::read(Place { first_batch: place.first_batch + 1, ..place }, &bytes).is_none());
}
