//! How records say under which schema they were written. Inside the program it is always a fingerprint; where a schema
//! registry is configured, records on the cluster carry the registry's id instead, as its other clients expect: a zero
//! byte, four bytes of id, big-endian, and the same datum. Chains and digests are over what is inside, so that they do
//! not depend on a registry.

use crate::wire::frame::{self, FRAME_BYTES, Fingerprint};
use parking_lot::{Mutex, RwLock};
use std::collections::BTreeMap;
use std::fmt;

/// How long the registry's frame is.
const ID_FRAME_BYTES: usize = 5;
/// Ids that were not known at the start and may be asked about, until the process ends: more would be a stranger's.
const ASKED_MAX: usize = 64;

/// Whose schema an id is, if it is one of ours. It may wait, with a limit.
pub type Ask = dyn Fn(u32) -> Option<Fingerprint> + Send + Sync;

/// Translates frames in both directions, from any thread.
pub struct Framing {
    ids: RwLock<Ids>,
    /// Held while one is asked about, so that nobody asks twice.
    asked: Mutex<usize>,
    ask: Option<Box<Ask>>,
}

#[derive(Default)]
struct Ids {
    outgoing: BTreeMap<Fingerprint, u32>,
    /// `None` where the registry was asked in vain.
    incoming: BTreeMap<u32, Option<Fingerprint>>,
}

impl fmt::Debug for Framing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(&self.ids.read().incoming).finish()
    }
}

impl Framing {
    /// Without a registry: every frame is left as it is.
    pub fn none() -> Framing {
        Framing { ids: RwLock::default(), asked: Mutex::default(), ask: None }
    }

    /// With these ids. Of several for one schema the last is written; all of them are read. `ask` is called once about
    /// any other id that is met.
    pub fn new(ids: impl IntoIterator<Item = (Fingerprint, u32)>, ask: Box<Ask>) -> Framing {
        let mut known = Ids::default();
        for (fingerprint, id) in ids {
            known.outgoing.insert(fingerprint, id);
            known.incoming.insert(id, Some(fingerprint));
        }
        Framing { ids: RwLock::new(known), asked: Mutex::default(), ask: Some(ask) }
    }

    /// As it is written to the cluster.
    pub fn outgoing(&self, mut bytes: Vec<u8>) -> Vec<u8> {
        let id =
            frame::open(&bytes).ok().and_then(|(fingerprint, _)| self.ids.read().outgoing.get(&fingerprint).copied());
        if let Some(id) = id {
            bytes.splice(..FRAME_BYTES, [0].into_iter().chain(id.to_be_bytes()));
        }
        bytes
    }

    /// As it is read inside. What is of no schema of ours stays as it is, and is refused by whoever reads it.
    pub fn incoming(&self, bytes: &[u8]) -> Vec<u8> {
        let Some(([0, id @ ..], datum)) = bytes.split_first_chunk::<ID_FRAME_BYTES>() else { return bytes.to_vec() };
        let Some(fingerprint) = self.schema_of(u32::from_be_bytes(*id)) else { return bytes.to_vec() };
        let mut framed = frame::begin(fingerprint, FRAME_BYTES.saturating_add(datum.len()));
        framed.extend_from_slice(datum);
        framed
    }

    fn schema_of(&self, id: u32) -> Option<Fingerprint> {
        let ask = self.ask.as_ref()?;
        let known = |ids: &Ids| ids.incoming.get(&id).copied();
        if let Some(known) = known(&self.ids.read()) {
            return known;
        }
        let mut asked = self.asked.lock();
        if let Some(known) = known(&self.ids.read()) {
            return known;
        }
        if *asked >= ASKED_MAX {
            return None;
        }
        *asked += 1;
        let answer = ask(id);
        self.ids.write().incoming.insert(id, answer);
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    const OURS: Fingerprint = [1, 2, 3, 4, 5, 6, 7, 8];
    const OTHER: Fingerprint = [9; 8];

    fn single(fingerprint: Fingerprint) -> Vec<u8> {
        let mut bytes = frame::begin(fingerprint, 16);
        bytes.extend_from_slice(b"datum");
        bytes
    }

    fn with_id(id: u32) -> Vec<u8> {
        [&[0], id.to_be_bytes().as_slice(), b"datum"].concat()
    }

    /// 7 is ours, 8 becomes so when it is asked about; and how often any was.
    fn framing() -> (Framing, Arc<AtomicUsize>) {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let ask = move |id| {
            count.fetch_add(1, Ordering::Relaxed);
            (id == 8).then_some(OURS)
        };
        (Framing::new([(OURS, 7)], Box::new(ask)), asked)
    }

    #[test]
    fn a_frame_is_translated_and_back() {
        let (framing, asked) = framing();
        assert_eq!(framing.outgoing(single(OURS)), with_id(7));
        assert_eq!(framing.incoming(&with_id(7)), single(OURS));
        assert_eq!(framing.incoming(&single(OURS)), single(OURS), "written before there was a registry");
        assert_eq!(asked.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn without_a_registry_nothing_is_translated() {
        let none = Framing::none();
        for bytes in [single(OURS), with_id(7), vec![]] {
            assert_eq!(none.outgoing(bytes.clone()), bytes);
            assert_eq!(none.incoming(&bytes), bytes);
        }
    }

    #[test]
    fn an_unknown_id_is_asked_about_once() {
        let (framing, asked) = framing();
        for _ in 0..3 {
            assert_eq!(framing.incoming(&with_id(8)), single(OURS));
            assert_eq!(framing.incoming(&with_id(9)), with_id(9));
        }
        assert_eq!(asked.load(Ordering::Relaxed), 2);
        // What was learned is read; what is written stays as it was.
        assert_eq!(framing.outgoing(single(OURS)), with_id(7));
    }

    #[test]
    fn a_stranger_cannot_keep_the_registry_busy() {
        let (framing, asked) = framing();
        for id in 1_000..2_000 {
            assert_eq!(framing.incoming(&with_id(id)), with_id(id));
        }
        assert_eq!(asked.load(Ordering::Relaxed), ASKED_MAX);
    }

    #[test]
    fn whatever_it_is_it_is_passed_on() {
        let (framing, _) = framing();
        for bytes in [vec![], vec![0], vec![0, 0, 0, 7], vec![0xC3, 0x01, 1], b"text".to_vec(), single(OTHER)] {
            assert_eq!(framing.incoming(&bytes), bytes);
            assert_eq!(framing.outgoing(bytes.clone()), bytes);
        }
        assert_eq!(framing.incoming(&[0, 0, 0, 0, 7]), frame::begin(OURS, 0));
    }
}
