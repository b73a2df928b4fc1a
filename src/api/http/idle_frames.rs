//! Counts the frames of an HTTP/2 connection that bring nothing. hyper answers or drops each of them, which costs
//! processor time and no memory. A connection that sends too many is cut off.

use super::slots::ConnectionSlot;
use crate::limits::{HTTP2_CONTINUATION_COST, HTTP2_IDLE_FRAMES_MAX};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncRead;
use tokio::time::Instant;
use tokio_util::io::InspectReader;

/// How many frames that bring nothing are free with each request.
const HTTP2_IDLE_FRAMES_PER_REQUEST: u32 = 4;

/// Bytes before the first frame: the preface.
const PREFACE_BYTES: usize = 24;
const HEAD_BYTES: usize = 9;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;

/// The same connection, whose frames are counted as they are read.
pub fn counted<S: AsyncRead>(io: S, place: Arc<ConnectionSlot>) -> InspectReader<S, impl FnMut(&[u8])> {
    let mut counter = Counter::new();
    InspectReader::new(io, move |bytes| {
        if counter.is_too_many(bytes) {
            place.line.cut();
        }
    })
}

/// Finds the frames in a sequence of bytes.
struct Counter {
    /// Bytes until the next frame begins.
    skip: usize,
    /// What has come of that frame's head.
    head: [u8; HEAD_BYTES],
    come: usize,
    /// What was counted since then.
    count: u32,
    since: Instant,
}

impl Counter {
    fn new() -> Counter {
        Counter { skip: PREFACE_BYTES, head: [0; HEAD_BYTES], come: 0, count: 0, since: Instant::now() }
    }

    /// Whether there are too many frames that bring nothing.
    fn is_too_many(&mut self, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            let (skipped, rest) = bytes.split_at(self.skip.min(bytes.len()));
            self.skip = self.skip.saturating_sub(skipped.len());
            let wanted = HEAD_BYTES.saturating_sub(self.come);
            let (part, rest) = rest.split_at(wanted.min(rest.len()));
            self.head.iter_mut().skip(self.come).zip(part).for_each(|(place, byte)| *place = *byte);
            self.come = self.come.saturating_add(part.len());
            if self.come == HEAD_BYTES {
                self.frame();
            }
            bytes = rest;
        }
        self.count > HTTP2_IDLE_FRAMES_MAX && !self.is_a_new_second()
    }

    /// The head of a frame is whole.
    fn frame(&mut self) {
        let [a, b, c, kind, flags, ..] = self.head;
        let length = u32::from_be_bytes([0, a, b, c]);
        (self.come, self.skip) = (0, length as usize);
        self.count = match kind {
            HEADERS => self.count.saturating_sub(HTTP2_IDLE_FRAMES_PER_REQUEST),
            CONTINUATION => self.count.saturating_add(HTTP2_CONTINUATION_COST),
            // The end of a stream brings something. How many streams are reset is counted elsewhere.
            RST_STREAM => self.count,
            DATA if length > 0 || flags & END_STREAM != 0 => self.count,
            _ => self.count.saturating_add(1),
        };
    }

    fn is_a_new_second(&mut self) -> bool {
        let is_new = self.since.elapsed() >= Duration::from_secs(1);
        if is_new {
            (self.count, self.since) = (0, Instant::now());
        }
        is_new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let [.., a, b, c] = (payload.len() as u32).to_be_bytes();
        [&[a, b, c, kind, flags, 0, 0, 0, 1], payload].concat()
    }

    #[test]
    fn frames_are_found_however_the_bytes_come() {
        let bytes = [vec![0; PREFACE_BYTES], frame(6, 0, &[6; 8]).repeat(5), frame(DATA, 0, &[0; 300])].concat();
        let bytes = [bytes, frame(DATA, 0, &[]), frame(DATA, END_STREAM, &[])].concat();
        for size in [1, 2, 7, 9, 64, bytes.len()] {
            let mut counter = Counter::new();
            assert!(bytes.chunks(size).all(|chunk| !counter.is_too_many(chunk)));
            assert_eq!((counter.count, counter.skip, counter.come), (6, 0, 0), "{size}");
        }
    }

    #[test]
    fn too_many_in_a_second_are_too_many_and_requests_pay_for_some() {
        let ping = frame(6, 0, &[6; 8]);
        let mut counter = Counter::new();
        assert!(!counter.is_too_many(&[0; PREFACE_BYTES]));
        assert!((0..HTTP2_IDLE_FRAMES_MAX).all(|_| !counter.is_too_many(&ping)));
        assert!(!counter.is_too_many(&frame(HEADERS, 0, b"x")) && !counter.is_too_many(&ping));
        assert!((0..HTTP2_IDLE_FRAMES_PER_REQUEST).any(|_| counter.is_too_many(&ping)));
        counter.since = counter.since.checked_sub(Duration::from_secs(1)).unwrap();
        assert!(!counter.is_too_many(&ping), "that was in another second");
    }
}
