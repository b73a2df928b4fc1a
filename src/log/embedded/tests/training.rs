//! Dictionaries that a log makes of what it holds.

use super::super::disk::Named;
use super::super::draft::{Draft, Pair};
use super::super::frame::{FRAME_HEADER, Records};
use super::super::packed::{Dictionary, Packer};
use super::super::read::Span;
use super::super::segment::{FORMAT_VERSION, path_of};
use super::super::store::Store;
use super::super::training::Training;
use super::segments::{fresh, fresh_of, open, settled};
use crate::log::Opening;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// So few bytes that a quarter of them is just enough.
const SEGMENT_BYTES: u64 = 600 << 10;
/// Frames of a batch.
const FRAMES: u64 = 60;

type Event = fn(u64) -> Vec<u8>;

fn own(seq: u64, bytes: usize) -> Vec<u8> {
    let mut own = vec![0; bytes];
    blake3::Hasher::new().update(&seq.to_le_bytes()).finalize_xof().fill(&mut own);
    own
}

/// What the dictionary of the program does not know, and a part that is in no other event.
fn alike(seq: u64) -> Vec<u8> {
    [own(seq, 40), format!("the grocer in the third street, shelf {}, left of the door", seq % 7).into_bytes()].concat()
}

fn random(seq: u64) -> Vec<u8> {
    own(seq, 150)
}

/// Appends a batch of turns of one event.
fn append(store: &Store, event: Event) {
    let (mut head, mut packer) = (store.heads()[0], Packer::new(store.dictionary()));
    let mut drafts: Vec<_> = (0..FRAMES)
        .map(|_| {
            let (first, bytes) = (head, event(head.next_seq));
            head.next_seq += 1;
            let pair = Pair { event: Some(&bytes), ..Pair::default() };
            Draft::of_turn(&mut packer, 0, first, std::iter::once(pair))
        })
        .collect();
    store.append(&mut drafts).unwrap();
}

/// Goes on until this segment is written.
fn until(store: &Store, segment: u64, event: Event) {
    while store.end().0.number < segment {
        append(store, event);
    }
}

#[track_caller]
fn is_all_there(store: &Store, event: Event) {
    let (mut found, end) = (0, store.heads()[0].next_seq);
    while found < end {
        let span = Span { records: Records::Events, partition: 0, from: found, end, bytes_max: 1 << 20 };
        for (seq, bytes) in store.read(span, |record| (record.position, record.bytes.to_vec())).unwrap() {
            assert_eq!((seq, bytes), (found, event(found)));
            found += 1;
        }
    }
    store.check(&Opening::default()).unwrap();
}

fn dictionary(store: &Store, segment: usize) -> Dictionary {
    store.segments()[segment].header.dictionary.clone()
}

/// The bytes of the first frame of a segment.
fn first_frame(dir: &Path, store: &Store, segment: u64) -> usize {
    let begin = store.segments()[segment as usize].header.begin() as usize;
    let bytes = fs::read(path_of(dir, segment)).unwrap();
    FRAME_HEADER + u32::from_le_bytes(*bytes[begin + 4..].first_chunk().unwrap()) as usize
}

/// The story: a shop has its own names. Its log knows them from the second file on, and that one is read like any other.
#[test]
fn the_next_segment_is_packed_against_what_the_log_has_written() {
    let dir = fresh();
    let store = settled(dir.path(), SEGMENT_BYTES);
    until(&store, 2, alike);
    append(&store, alike);
    let learned = [0, 1, 2].map(|segment| dictionary(&store, segment));
    assert_eq!(learned[0], Dictionary::of_program());
    assert_ne!(learned[1], learned[0]);
    let frames = [0, 1].map(|segment| first_frame(dir.path(), &store, segment));
    assert!(frames[1] * 10 < frames[0] * 9, "{frames:?}");
    is_all_there(&store, alike);
    drop(store);
    let store = settled(dir.path(), SEGMENT_BYTES);
    assert_eq!([0, 1, 2].map(|segment| dictionary(&store, segment)), learned);
    is_all_there(&store, alike);
}

/// The story: a server is started again and again, and killed at any moment. What it writes does not depend on it.
#[test]
fn what_is_learned_follows_from_the_segment_and_not_from_when_the_process_ran() {
    let made = |batches_of_a_life: usize| {
        let dir = fresh();
        let mut store = settled(dir.path(), SEGMENT_BYTES);
        for batch in 0.. {
            if store.end().0.number == 1 {
                return dictionary(&store, 1);
            }
            if batch % batches_of_a_life == 0 {
                store.shut();
                drop(store);
                store = settled(dir.path(), SEGMENT_BYTES);
            }
            append(&store, alike);
        }
        unreachable!()
    };
    let once = made(usize::MAX);
    assert_ne!(once, Dictionary::of_program());
    assert!([1, 7, 23].into_iter().all(|batches| made(batches) == once));
}

/// The story: a part of the segment cannot be read any more. That is told to who reads it; the log goes on with what it knows.
#[test]
fn a_segment_of_which_nothing_can_be_learned_is_followed_by_one_with_the_same_dictionary() {
    let dir = fresh();
    let store = settled(dir.path(), SEGMENT_BYTES);
    append(&store, alike);
    let damaged = Named::open(path_of(dir.path(), 0), true).unwrap();
    damaged.file.write_all_at(&[0xA5; 200], store.end().1.0 - 500).unwrap();
    until(&store, 1, alike);
    assert_eq!(dictionary(&store, 1), Dictionary::of_program());
    // What is new in every frame teaches nothing.
    let dir = fresh();
    let store = settled(dir.path(), SEGMENT_BYTES);
    until(&store, 1, random);
    assert_eq!(dictionary(&store, 1), Dictionary::of_program());
    is_all_there(&store, random);
}

/// A log learns soon, and its files are not small for ever.
#[test]
fn the_first_segment_with_packed_frames_is_small_and_no_other() {
    let large: Event = |seq| own(seq, 1 << 10);
    for version in [2, FORMAT_VERSION] {
        let (dir, first) = (fresh_of(version), u64::from(version == 2));
        let store = settled(dir.path(), 64 << 20);
        until(&store, first + 1, large);
        let end = store.segments()[first as usize].end.0;
        assert!((4 << 20) - (80 << 10) < end && end <= 4 << 20, "{end}");
        while store.end().1.0 < 5 << 20 {
            append(&store, large);
        }
        assert_eq!(store.end().0.number, first + 1);
        drop(store);
        assert_eq!(open(dir.path(), 64 << 20).unwrap().store.end().0.number, first + 1);
    }
    let dir = fresh();
    let header = settled(dir.path(), SEGMENT_BYTES).end().0;
    assert_eq!(
        Training::begins_at(&header, SEGMENT_BYTES),
        Some(header.begin() + (SEGMENT_BYTES - header.begin()) / 4)
    );
    assert_eq!(Training::begins_at(&header, 500 << 10), None);
}
