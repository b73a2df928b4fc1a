//! How a record says under which schema it was written. Inside this program that is always a fingerprint. Where a schema
//! registry is configured, records on the cluster have the registry's id instead, as its other clients expect: a zero byte,
//! four bytes of id (big-endian), and the same datum. Chains and digests are computed over the inside form, so they do not
//! depend on a registry.
//!
//! Every record that we write also has a header `schema` with the fingerprint. So our own records are read without the
//! registry. Only records of other programs need it, and only a definite answer counts: the id is one of our schemas, or it
//! is another one, or it does not exist. Without an answer the partition waits before the record.
//!
//! A fingerprint that is not known here, in the header of a framed record, is that of a later version of this program. Such
//! a record must not be refused: it may be the Abandon that makes a "no" final, and a later version will read it. So the
//! partition stops before it and reports that. A program that may write commands can stop a partition this way; it could
//! also release what others hold, or overload the partition. The permissions that `headroom topics acls` prints let only
//! gateways and owners write. It does not happen by accident: a record of an unknown schema counts as another program's,
//! and is answered as such, if the header is missing, has not 8 bytes, or contradicts the frame. Events are written by
//! owners only, so for them the frame is enough: an event that cannot be read was written by a later version, and the chain
//! is not broken.

use super::resolver::{Answer, Ask, Resolver};
use crate::log::LogError;
use crate::log::kafka::client::reader::TopicPartition;
use crate::time::{Stopwatch, pause};
use crate::wire::frame::{self, FRAME_BYTES, Fingerprint};
use crate::wire::schema;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

/// Length of the registry's frame in bytes.
const ID_FRAME_BYTES: usize = 5;
/// Time between two log lines about one schema that cannot be read.
const TELL_EVERY: Duration = Duration::from_secs(60);
/// Time after which the registry is asked again about the ids that it said were none of our schemas.
const NO_LASTS: Duration = Duration::from_secs(60);
/// How many schemas the time of the last log line is kept for.
const TOLD_MAX: usize = 64;

/// Who writes the records of a topic. It decides what an unknown schema means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Writer {
    /// Any program that has the permission.
    Anyone,
    /// Owners of partitions and nobody else.
    Owner,
}

/// Why a record cannot be read yet, or not by this process. Nothing may be decided about such a record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Unread {
    /// The registry has not answered for this id.
    Unasked {
        /// The registry's id of the schema.
        id: u32,
        /// The registry's address.
        registry: String,
        /// Why the last question failed; `None` when none did.
        why: Option<String>,
    },
    /// A later version of this program wrote it.
    Newer(Fingerprint),
    /// An event has the id of a registry, and none is configured.
    NoRegistry(u32),
    /// An event has an id, and the registry says that it is none of our schemas.
    NotOurs {
        /// The registry's id of the schema.
        id: u32,
        /// The registry's address.
        registry: String,
    },
}

impl Unread {
    /// The same as an error that names the record.
    pub(in crate::log::kafka) fn at(&self, at: TopicPartition<'_>, offset: i64) -> LogError {
        self.error(format!("{at} offset {offset}: {self}"))
    }

    /// An error with this detail: a registry may answer in a moment, and everything else waits for a person.
    pub(in crate::log::kafka) fn error(&self, detail: String) -> LogError {
        match self {
            Unread::Unasked { .. } => LogError::transient(detail),
            Unread::Newer(_) | Unread::NoRegistry(_) | Unread::NotOurs { .. } => LogError::operator(detail),
        }
    }

    /// Identifies the schema.
    fn subject(&self) -> u64 {
        match self {
            Unread::Unasked { id, .. } | Unread::NoRegistry(id) | Unread::NotOurs { id, .. } => u64::from(*id),
            Unread::Newer(fingerprint) => u64::from_be_bytes(*fingerprint),
        }
    }
}

impl fmt::Display for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unread::Unasked { id, registry, why } => {
                write!(f, "the registry at {registry} has not said what its schema {id} is")?;
                why.as_ref().map_or(Ok(()), |why| write!(f, ": {why}"))
            }
            Unread::Newer(fingerprint) => {
                let fingerprint = u64::from_le_bytes(*fingerprint);
                write!(
                    f,
                    "written under a schema of a newer version, {fingerprint:016x}: it takes that version to read"
                )
            }
            Unread::NoRegistry(id) => {
                write!(f, "written under the schema {id} of a registry, and registry_url is not set")
            }
            Unread::NotOurs { id, registry } => {
                write!(f, "the registry at {registry} has no schema {id} that is known here")
            }
        }
    }
}

impl std::error::Error for Unread {}

/// The registry that is asked about unknown ids.
pub struct Source {
    /// The registry's address, for messages.
    pub name: String,
    /// How long one answer may take.
    pub patience: Duration,
    /// Asks the registry. Called on a thread of its own.
    pub ask: Box<Ask>,
}

/// Translates frames in both directions, from any thread.
pub struct Framing {
    /// Fingerprints of every schema that this version knows.
    ours: BTreeSet<Fingerprint>,
    outgoing: BTreeMap<Fingerprint, u32>,
    source: Option<(String, Duration, Resolver)>,
    told: Mutex<BTreeMap<u64, Stopwatch>>,
}

impl fmt::Debug for Framing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(&self.outgoing).finish()
    }
}

impl Framing {
    /// Without a registry: a frame stays as it is, unless the record's schema header names its schema.
    pub fn none() -> Framing {
        Framing { ours: schema::known().clone(), outgoing: BTreeMap::new(), source: None, told: Mutex::default() }
    }

    /// With these ids. Where one schema has several, all of them are read and the last one is written. `source` is asked
    /// about any other id, on a thread of its own.
    ///
    /// # Errors
    /// [`LogError`] when that thread cannot be started.
    pub fn new(ids: impl IntoIterator<Item = (Fingerprint, u32)>, source: Source) -> Result<Framing, LogError> {
        let Source { name, patience, ask } = source;
        let ids: Vec<(Fingerprint, u32)> = ids.into_iter().collect();
        let resolver = Resolver::start(ids.iter().map(|(fingerprint, id)| (*id, *fingerprint)), ask, NO_LASTS)?;
        let mut framing = Framing { source: Some((name, patience, resolver)), ..Framing::none() };
        for (fingerprint, id) in ids {
            framing.ours.insert(fingerprint);
            framing.outgoing.insert(fingerprint, id);
        }
        Ok(framing)
    }

    /// The form that is written to the cluster.
    pub fn outgoing(&self, mut bytes: Vec<u8>) -> Vec<u8> {
        let id = fingerprint_of(&bytes).and_then(|fingerprint| self.outgoing.get(&fingerprint).copied());
        if let Some(id) = id {
            bytes.splice(..FRAME_BYTES, [0].into_iter().chain(id.to_be_bytes()));
        }
        bytes
    }

    /// The inside form of a record. `schema` is the record's schema header. A record that is definitely of another schema
    /// stays as it is: its reader will refuse it. Does not wait for the registry.
    ///
    /// # Errors
    /// [`Unread`]: nothing may be decided about the record. Call again later; meanwhile the registry is asked.
    pub fn incoming(&self, bytes: &[u8], schema: Option<Fingerprint>, by: Writer) -> Result<Vec<u8>, Unread> {
        self.translate((bytes, schema, by), |_, resolver, id| resolver.look(id))
    }

    /// The same, waiting for the registry's answer for as long as one may take.
    ///
    /// # Errors
    /// [`Unread`] like [`Framing::incoming`].
    pub fn incoming_awaited(&self, bytes: &[u8], schema: Option<Fingerprint>, by: Writer) -> Result<Vec<u8>, Unread> {
        self.translate((bytes, schema, by), |patience, resolver, id| resolver.wait(id, patience))
    }

    fn translate(
        &self,
        (bytes, schema, by): (&[u8], Option<Fingerprint>, Writer),
        ask: impl FnOnce(Duration, &Resolver, u32) -> Result<Answer, Option<String>>,
    ) -> Result<Vec<u8>, Unread> {
        if let Some(written) = fingerprint_of(bytes) {
            let is_newer = !self.ours.contains(&written) && (by == Writer::Owner || schema == Some(written));
            return if is_newer { Err(Unread::Newer(written)) } else { Ok(bytes.to_vec()) };
        }
        let Some(([0, id @ ..], datum)) = bytes.split_first_chunk::<ID_FRAME_BYTES>() else {
            return Ok(bytes.to_vec());
        };
        let id = u32::from_be_bytes(*id);
        if let Some(schema) = schema {
            return if self.ours.contains(&schema) { Ok(framed(schema, datum)) } else { Err(Unread::Newer(schema)) };
        }
        let is_owners = by == Writer::Owner;
        let Some((registry, patience, resolver)) = &self.source else {
            // Without a registry, such a command is another program's. Such an event means that a setting is missing here.
            return if is_owners { Err(Unread::NoRegistry(id)) } else { Ok(bytes.to_vec()) };
        };
        match ask(*patience, resolver, id) {
            Ok(Answer::Ours(fingerprint)) => Ok(framed(fingerprint, datum)),
            Ok(Answer::NotOurs) if is_owners => {
                // An owner has used this id, so the registry may be an empty one, or may lag behind.
                resolver.forget(id);
                Err(Unread::NotOurs { id, registry: registry.clone() })
            }
            Ok(Answer::NotOurs) => Ok(bytes.to_vec()),
            Err(why) => Err(Unread::Unasked { id, registry: registry.clone(), why }),
        }
    }

    /// Waits until it is worth reading a record again that could not be read, or for `limit`.
    pub(in crate::log::kafka) fn pause(&self, unread: &Unread, limit: Duration) {
        match (unread, &self.source) {
            // The next read takes the answer.
            (Unread::Unasked { id, .. }, Some((_, _, resolver))) => drop(resolver.wait(*id, limit)),
            _ => pause(limit),
        }
    }

    /// Logs that the partition waits before a record: once a minute for each schema.
    pub(in crate::log::kafka) fn tell(&self, unread: &Unread, at: TopicPartition<'_>, offset: u64) {
        let mut told = self.told.lock();
        let subject = unread.subject();
        if told.get(&subject).is_some_and(|told| told.elapsed() < TELL_EVERY) {
            return;
        }
        if told.len() >= TOLD_MAX
            && let Some(oldest) = told.iter().max_by_key(|(_, told)| told.elapsed()).map(|(subject, _)| *subject)
        {
            told.remove(&oldest);
        }
        told.insert(subject, Stopwatch::start());
        tracing::warn!(at.topic, at.partition, offset, "{unread}: the partition waits before this record");
    }
}

/// The fingerprint of the schema of a record in its inside form.
pub(in crate::log::kafka) fn fingerprint_of(bytes: &[u8]) -> Option<Fingerprint> {
    frame::open(bytes).ok().map(|(fingerprint, _)| fingerprint)
}

fn framed(fingerprint: Fingerprint, datum: &[u8]) -> Vec<u8> {
    let mut framed = frame::begin(fingerprint, FRAME_BYTES.saturating_add(datum.len()));
    framed.extend_from_slice(datum);
    framed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::kafka::schema::resolver::IdAnswer;
    use crate::wire::schema::known;
    use crossbeam_channel::{Receiver, Sender, unbounded};

    const OURS: Fingerprint = [1, 2, 3, 4, 5, 6, 7, 8];
    const OTHER: Fingerprint = [9; 8];
    /// Longer than a busy machine takes.
    const LONG: Duration = Duration::from_secs(30);

    fn single(fingerprint: Fingerprint) -> Vec<u8> {
        framed(fingerprint, b"datum")
    }

    fn with_id(id: u32) -> Vec<u8> {
        [&[0], id.to_be_bytes().as_slice(), b"datum"].concat()
    }

    /// 7 is ours, 8 becomes so when it is asked about, and of 500 and more the registry says nothing; and what it was asked.
    fn framing() -> (Framing, Receiver<Vec<u32>>) {
        let (told, asked): (Sender<Vec<u32>>, _) = unbounded();
        let ask = move |ids: &[u32]| -> Vec<IdAnswer> {
            told.send(ids.to_vec()).unwrap();
            let answer = |id: &u32| match id {
                8 => Ok(Some(OURS)),
                500.. => Err(LogError::transient("silent")),
                _ => Ok(None),
            };
            ids.iter().map(answer).collect()
        };
        let source = Source { name: "http://r".to_owned(), patience: LONG, ask: Box::new(ask) };
        (Framing::new([(OURS, 7)], source).unwrap(), asked)
    }

    fn read(framing: &Framing, bytes: &[u8]) -> Result<Vec<u8>, Unread> {
        framing.incoming_awaited(bytes, None, Writer::Anyone)
    }

    #[test]
    fn a_frame_is_translated_and_back() {
        let (framing, asked) = framing();
        assert_eq!(framing.outgoing(single(OURS)), with_id(7));
        assert_eq!(framing.incoming(&with_id(7), None, Writer::Owner), Ok(single(OURS)));
        let before = framing.incoming(&single(OURS), None, Writer::Owner);
        assert_eq!(before, Ok(single(OURS)), "written before there was a registry");
        assert!(asked.is_empty());
    }

    #[test]
    fn without_a_registry_nothing_is_translated_that_does_not_say_what_it_is() {
        let none = Framing::none();
        for bytes in [single(OURS), with_id(7), vec![]] {
            assert_eq!(none.outgoing(bytes.clone()), bytes);
            assert_eq!(none.incoming(&bytes, None, Writer::Anyone), Ok(bytes));
        }
        let known = *known().first().unwrap();
        assert_eq!(none.incoming(&with_id(7), Some(known), Writer::Owner), Ok(single(known)));
        assert_eq!(none.incoming(&with_id(7), None, Writer::Owner), Err(Unread::NoRegistry(7)));
    }

    #[test]
    fn an_unknown_id_is_asked_about_once() {
        let (framing, asked) = framing();
        for _ in 0..3 {
            assert_eq!(read(&framing, &with_id(8)), Ok(single(OURS)));
            assert_eq!(read(&framing, &with_id(9)), Ok(with_id(9)));
        }
        assert_eq!(asked.try_iter().flatten().collect::<Vec<_>>(), [8, 9]);
        let registry = "http://r".to_owned();
        let of_owner = framing.incoming(&with_id(9), None, Writer::Owner);
        assert_eq!(of_owner, Err(Unread::NotOurs { id: 9, registry }), "an event is never another program's");
        assert_eq!(read(&framing, &with_id(9)), Ok(with_id(9)));
        assert_eq!(asked.try_iter().flatten().collect::<Vec<_>>(), [9], "the registry may have been put right");
        // What was learned is read; what is written stays as it was.
        assert_eq!(framing.outgoing(single(OURS)), with_id(7));
    }

    #[test]
    fn a_registry_that_says_nothing_has_not_said_that_there_is_none() {
        let (framing, asked) = framing();
        let unasked = |why: Option<&str>| {
            Err(Unread::Unasked { id: 500, registry: "http://r".to_owned(), why: why.map(str::to_owned) })
        };
        assert_eq!(framing.incoming(&with_id(500), None, Writer::Anyone), unasked(None), "at once");
        asked.recv_timeout(LONG).unwrap();
        for _ in 0..2 {
            assert_eq!(read(&framing, &with_id(500)), unasked(Some("silent")));
        }
        assert_eq!(asked.recv_timeout(LONG).unwrap(), [500], "it is asked again");
    }

    #[test]
    fn a_header_says_whose_a_record_is() {
        let (framing, asked) = framing();
        // Nobody is asked about our own records, whatever their ids are, nor about those of a later version.
        assert_eq!(framing.incoming(&with_id(600), Some(OURS), Writer::Anyone), Ok(single(OURS)));
        for by in [Writer::Anyone, Writer::Owner] {
            for bytes in [with_id(600), with_id(7), single(OTHER)] {
                assert_eq!(framing.incoming(&bytes, Some(OTHER), by), Err(Unread::Newer(OTHER)), "{bytes:?} {by:?}");
            }
            assert_eq!(framing.incoming(&single(OURS), Some(OTHER), by), Ok(single(OURS)), "its frame says otherwise");
            assert_eq!(framing.incoming(b"text", Some(OTHER), by), Ok(b"text".to_vec()), "it has no frame");
        }
        // It counts as another program's, except on a topic that only owners write.
        for schema in [None, Some(OURS)] {
            assert_eq!(framing.incoming(&single(OTHER), schema, Writer::Anyone), Ok(single(OTHER)));
            assert_eq!(framing.incoming(&single(OTHER), schema, Writer::Owner), Err(Unread::Newer(OTHER)));
        }
        assert!(asked.is_empty());
    }

    #[test]
    fn whatever_it_is_it_is_passed_on() {
        let (framing, _asked) = framing();
        for bytes in [vec![], vec![0], vec![0, 0, 0, 7], vec![0xC3, 0x01, 1], b"text".to_vec(), single(OTHER)] {
            assert_eq!(read(&framing, &bytes), Ok(bytes.clone()));
            assert_eq!(framing.outgoing(bytes.clone()), bytes);
        }
        assert_eq!(read(&framing, &[0, 0, 0, 0, 7]), Ok(frame::begin(OURS, 0)));
    }

    #[test]
    fn what_cannot_be_read_says_why_and_where() {
        let unread = Unread::Unasked { id: 9, registry: "http://r".to_owned(), why: Some("silent".to_owned()) };
        let expected = "c/1 offset 17: the registry at http://r has not said what its schema 9 is: silent";
        assert_eq!(unread.at(TopicPartition { topic: "c", partition: 1 }, 17).detail, expected);
        let newer = Unread::Newer([8, 7, 6, 5, 4, 3, 2, 1]).to_string();
        assert!(newer.starts_with("written under a schema of a newer version, 0102030405060708: "), "{newer}");
    }
}
