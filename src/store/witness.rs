//! The witness: a small file next to a log that notes how far each partition was seen as committed. It is written after
//! each commit and before the caller gets the answer, so that it is never ahead of a sound log, and never behind what
//! callers were promised. It survives the end of the process. [`Witness::flush`] flushes it to the disk only now and
//! then, because a power cut alone loses nothing of a log that is flushed with every commit.
//!
//! The file has a header and two entries for each partition, which are written in turn: when one is half written, the
//! other one is still valid. All numbers are little-endian, and every entry has a checksum. This code does not know
//! what an event is.

use super::{Seen, StoreError};
use crate::domain::{Digest, Micros};
use crate::limits::PARTITIONS_MAX;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

const FILE_NAME: &str = "witness";
const MAGIC: &[u8; 16] = b"headroom-witness";
const FORMAT_VERSION: u32 = 1;
/// The size of the header and of every entry: less than a sector, which a disk writes completely or not at all.
const PLACE_BYTES: usize = 64;
const CHECK_BYTES: usize = 8;

type Entry = [u8; PLACE_BYTES];

/// The file of the witness, which may not exist yet.
pub struct Witness {
    path: PathBuf,
    open: OnceLock<Open>,
}

/// The file, open for writing.
struct Open {
    file: File,
    log_id: u128,
    /// The number of notes so far, by partition.
    counts: Vec<AtomicU64>,
    is_dirty: AtomicBool,
    is_failing: AtomicBool,
}

/// The contents of the header.
#[derive(Clone, Copy)]
struct Header {
    log_id: u128,
    partitions: u32,
}

impl Witness {
    /// The witness of this directory. Does not access the disk.
    pub fn of(data_dir: &Path) -> Witness {
        Witness { path: data_dir.join(FILE_NAME), open: OnceLock::new() }
    }

    /// The path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The number of partitions in the file; 0 without a file.
    ///
    /// # Errors
    /// [`StoreError`] when it cannot be read; its kind says whether it is damaged.
    pub fn partitions(&self) -> Result<u32, StoreError> {
        Ok(self.read()?.map_or(0, |(_, header)| header.partitions))
    }

    /// How far the partition was seen as committed.
    ///
    /// # Errors
    /// [`StoreError`] when it cannot be read; its kind says whether it is damaged.
    pub fn seen(&self, partition: u32) -> Result<Option<Seen>, StoreError> {
        let Some((file, header)) = self.read()? else { return Ok(None) };
        if partition >= header.partitions {
            return Ok(None);
        }
        let newest = newest(&file, header.log_id, partition).map_err(|error| self.failed("read", &error))?;
        newest.map(|newest| newest.map(|(_, seen)| seen)).map_err(|why| self.damaged(why))
    }

    /// Opens the witness of this log for writing. Earlier notes of the log are kept.
    ///
    /// # Errors
    /// [`StoreError`] when the witness belongs to another log or cannot be written.
    pub fn begin(&self, log_id: u128, partitions: u32) -> Result<(), StoreError> {
        match self.read()? {
            Some((_, found)) if (found.log_id, found.partitions) != (log_id, partitions) => {
                return Err(StoreError::new(self.told("is of another log")));
            }
            Some(_) => {}
            None => self.create(Header { log_id, partitions }).map_err(|error| self.failed("written", &error))?,
        }
        let opened = OpenOptions::new().read(true).write(true).open(&self.path);
        let file = opened.map_err(|error| self.failed("written", &error))?;
        let mut counts = Vec::new();
        for partition in 0..partitions {
            let newest = newest(&file, log_id, partition).map_err(|error| self.failed("read", &error))?;
            let count = newest.ok().flatten().map_or(0, |(count, _)| count);
            counts.push(AtomicU64::new(count));
        }
        let (is_dirty, is_failing) = Default::default();
        // If another call has opened it already, that one stays in use.
        let _ = self.open.set(Open { file, log_id, counts, is_dirty, is_failing });
        Ok(())
    }

    /// Notes how far the partition was seen as committed, if the witness is open. Only the partition's writer may call
    /// it.
    pub fn note(&self, partition: u32, seen: &Seen) {
        let Some(open) = self.open.get() else { return };
        let Some(count) = open.counts.get(partition as usize) else { return };
        let next = count.load(Relaxed).saturating_add(1);
        count.store(next, Relaxed);
        let entry = encode(open.log_id, partition, next, seen);
        let written = open.file.write_all_at(&entry, place_at(partition, next));
        open.is_dirty.store(true, Relaxed);
        self.tell(open, written);
    }

    /// Flushes the notes to the disk, so that they survive the end of the machine.
    pub fn flush(&self) {
        let Some(open) = self.open.get() else { return };
        if open.is_dirty.swap(false, Relaxed) {
            self.tell(open, open.file.sync_data());
        }
    }

    /// Logs once that the witness cannot be written. The log itself still holds every decision; only a later loss might
    /// not be noticed.
    fn tell(&self, open: &Open, done: io::Result<()>) {
        let path = self.path.display();
        match done {
            Ok(()) if open.is_failing.load(Relaxed) => {
                open.is_failing.store(false, Relaxed);
                tracing::info!(%path, "the witness is written again");
            }
            Ok(()) => {}
            Err(error) if !open.is_failing.swap(true, Relaxed) => {
                tracing::error!(%path, %error, "the witness cannot be written: a loss of the log might not be noticed");
            }
            Err(_) => {}
        }
    }

    fn read(&self) -> Result<Option<(File, Header)>, StoreError> {
        let file = match File::open(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file.map_err(|error| self.failed("read", &error))?,
        };
        let mut entry = [0; PLACE_BYTES];
        let header = match file.read_exact_at(&mut entry, 0) {
            Ok(()) => Header::decode(&entry),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => None,
            Err(error) => return Err(self.failed("read", &error)),
        };
        let header = header.ok_or_else(|| self.damaged("is damaged: its header cannot be read"))?;
        Ok(Some((file, header)))
    }

    /// Makes the complete file under a temporary name and renames it, so that a crash leaves no half-made file.
    fn create(&self, header: Header) -> io::Result<()> {
        let new = self.path.with_extension("new");
        let mut bytes = header.encode().to_vec();
        bytes.resize(usize::try_from(place_at(header.partitions, 0)).unwrap_or(PLACE_BYTES), 0);
        fs::write(&new, bytes)?;
        File::open(&new)?.sync_all()?;
        fs::rename(&new, &self.path)?;
        self.path.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
    }

    /// An error of the system. Only a file that is cut off is damaged: one that the system does not give may be sound.
    fn failed(&self, done: &str, error: &io::Error) -> StoreError {
        let detail = self.told(format_args!("cannot be {done}: {error}"));
        match error.kind() {
            io::ErrorKind::UnexpectedEof => self.damaged("is shorter than it should be"),
            io::ErrorKind::PermissionDenied => {
                StoreError::refused(format!("{detail}; give the file back to the user of the server"))
            }
            _ => StoreError::new(detail),
        }
    }

    fn damaged(&self, why: &str) -> StoreError {
        StoreError::damaged(self.told(why))
    }

    fn told(&self, what: impl fmt::Display) -> String {
        format!("the witness {} {what}", self.path.display())
    }
}

impl Header {
    fn encode(self) -> Entry {
        let Header { log_id, partitions } = self;
        let body = [MAGIC.as_slice(), &FORMAT_VERSION.to_le_bytes(), &partitions.to_le_bytes(), &log_id.to_le_bytes()]
            .concat();
        sealed(&body, &[])
    }

    fn decode(entry: &Entry) -> Option<Header> {
        let (magic, rest) = opened(entry, &[])?.split_first_chunk::<16>()?;
        let (version, rest) = rest.split_first_chunk()?;
        let (partitions, rest) = rest.split_first_chunk()?;
        let partitions = u32::from_le_bytes(*partitions);
        let is_ours = magic == MAGIC && u32::from_le_bytes(*version) == FORMAT_VERSION;
        let log_id = u128::from_le_bytes(*rest.first_chunk()?);
        (is_ours && (1..=PARTITIONS_MAX).contains(&partitions)).then_some(Header { log_id, partitions })
    }
}

/// The offset in the file of a partition's note with this count.
fn place_at(partition: u32, count: u64) -> u64 {
    let index = u64::from(partition).saturating_mul(2).saturating_add(1).saturating_add(count % 2);
    index.saturating_mul(PLACE_BYTES as u64)
}

/// The last note of a partition, or the reason why it cannot be read.
fn newest(file: &File, log_id: u128, partition: u32) -> io::Result<Result<Option<(u64, Seen)>, &'static str>> {
    let (mut newest, mut is_damaged) = (None::<(u64, Seen)>, false);
    for side in 0..2 {
        let mut entry = [0; PLACE_BYTES];
        file.read_exact_at(&mut entry, place_at(partition, side))?;
        let noted = decode(log_id, partition, &entry);
        is_damaged |= noted.is_none() && entry != [0; PLACE_BYTES];
        newest = newest.into_iter().chain(noted).max_by_key(|(count, _)| *count);
    }
    Ok(if newest.is_none() && is_damaged { Err("is damaged: what it has seen cannot be read") } else { Ok(newest) })
}

fn encode(log_id: u128, partition: u32, count: u64, seen: &Seen) -> Entry {
    let Seen { next_seq, chain, decided_at, .. } = seen;
    let numbers = [count, *next_seq, decided_at.0].map(u64::to_le_bytes).concat();
    sealed(&[numbers.as_slice(), &chain.0].concat(), &keyed(log_id, partition))
}

fn decode(log_id: u128, partition: u32, entry: &Entry) -> Option<(u64, Seen)> {
    let (count, rest) = opened(entry, &keyed(log_id, partition))?.split_first_chunk()?;
    let (next_seq, rest) = rest.split_first_chunk()?;
    let (decided_at, rest) = rest.split_first_chunk()?;
    let (next_seq, decided_at) = (u64::from_le_bytes(*next_seq), Micros(u64::from_le_bytes(*decided_at)));
    let seen = Seen { log_id, next_seq, chain: Digest(*rest.first_chunk()?), decided_at };
    Some((u64::from_le_bytes(*count), seen))
}

/// Extra bytes in a note's checksum, so that a note found at another position is refused.
fn keyed(log_id: u128, partition: u32) -> Vec<u8> {
    [log_id.to_le_bytes().as_slice(), &partition.to_le_bytes()].concat()
}

fn sealed(body: &[u8], key: &[u8]) -> Entry {
    let mut entry = [0; PLACE_BYTES];
    let (check, room) = entry.split_at_mut(CHECK_BYTES);
    room.iter_mut().zip(body).for_each(|(to, from)| *to = *from);
    let sum = checksum(room, key);
    check.copy_from_slice(&sum);
    entry
}

fn opened<'a>(entry: &'a Entry, key: &[u8]) -> Option<&'a [u8]> {
    let (check, body) = entry.split_first_chunk::<CHECK_BYTES>()?;
    (*check == checksum(body, key)).then_some(body)
}

fn checksum(body: &[u8], key: &[u8]) -> [u8; CHECK_BYTES] {
    let mut sum = [0; CHECK_BYTES];
    blake3::Hasher::new().update(key).update(body).finalize_xof().fill(&mut sum);
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: u128 = 7;

    fn seen(next_seq: u64) -> Seen {
        Seen { log_id: LOG, next_seq, chain: Digest([9; 16]), decided_at: Micros(next_seq * 10) }
    }

    fn begun(dir: &Path, partitions: u32) -> Witness {
        let witness = Witness::of(dir);
        witness.begin(LOG, partitions).unwrap();
        witness
    }

    #[test]
    fn what_was_noted_last_is_what_it_says_whoever_reads_it() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!((Witness::of(dir.path()).seen(0), Witness::of(dir.path()).partitions()), (Ok(None), Ok(0)));
        let witness = begun(dir.path(), 3);
        assert_eq!(witness.seen(1), Ok(None));
        // A loss that was accepted takes it back as well.
        for next in [5, 9, 2, 3] {
            witness.note(1, &seen(next));
            witness.note(7, &seen(next));
            assert_eq!(Witness::of(dir.path()).seen(1), Ok(Some(seen(next))));
        }
        drop(witness);
        let again = begun(dir.path(), 3);
        again.note(1, &seen(4));
        again.flush();
        assert_eq!((again.seen(1), again.seen(0), again.partitions()), (Ok(Some(seen(4))), Ok(None), Ok(3)));
        for (log_id, partitions) in [(LOG + 1, 3), (LOG, 4)] {
            let error = Witness::of(dir.path()).begin(log_id, partitions).unwrap_err();
            assert!(error.detail.ends_with("is of another log"), "{error}");
        }
    }

    const RECORDED: &str = "tests/golden/formats/witness-1/witness";

    /// A new form has a new number, and is recorded beside the one before. `HEADROOM_REWRITE_GOLDEN=1` writes it anew while no
    /// release has it.
    #[test]
    fn the_file_has_the_form_that_was_recorded_for_its_number() {
        let dir = tempfile::tempdir().unwrap();
        let witness = begun(dir.path(), 2);
        [1, 2, 3].into_iter().for_each(|next| witness.note(0, &seen(next)));
        witness.note(1, &seen(7));
        if std::env::var_os("HEADROOM_REWRITE_GOLDEN").is_some() {
            fs::create_dir_all("tests/golden/formats/witness-1").unwrap();
            fs::copy(witness.path(), RECORDED).unwrap();
        }
        let recorded = fs::read(RECORDED).unwrap();
        assert!(fs::read(witness.path()).unwrap() == recorded, "the form of the witness has changed");
        fs::write(witness.path(), recorded).unwrap();
        assert_eq!(
            [0, 1].map(|partition| Witness::of(dir.path()).seen(partition)),
            [Ok(Some(seen(3))), Ok(Some(seen(7)))]
        );
    }

    #[test]
    fn whatever_byte_is_changed_it_says_what_was_noted_or_that_it_cannot_be_read() {
        let dir = tempfile::tempdir().unwrap();
        let witness = begun(dir.path(), 2);
        for next in 1..=3 {
            witness.note(0, &seen(next));
        }
        let bytes = fs::read(witness.path()).unwrap();
        let mut found = [0; 3];
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            fs::write(witness.path(), changed).unwrap();
            match Witness::of(dir.path()).seen(0) {
                Ok(newest) if newest == Some(seen(3)) => found[0] += 1,
                Ok(older) => {
                    assert_eq!(older, Some(seen(2)));
                    found[1] += 1;
                }
                Err(error) => {
                    assert!(error.is_of_no_use() && error.detail.contains("is damaged"), "{error}");
                    found[2] += 1;
                }
            }
        }
        // The header, the newer of the two entries, and all the rest.
        assert_eq!(found, [bytes.len() - 2 * PLACE_BYTES, PLACE_BYTES, PLACE_BYTES]);
        for (cut, says) in
            [(0, "is damaged"), (1, "is damaged"), (PLACE_BYTES, "is shorter"), (PLACE_BYTES + 1, "is shorter")]
        {
            fs::write(witness.path(), &bytes[..cut]).unwrap();
            let error = Witness::of(dir.path()).seen(0).unwrap_err();
            assert!(error.is_of_no_use() && error.detail.contains(says), "cut at {cut}: {error}");
        }
    }

    /// The story: root copied the file, and it is root's now. Nothing of it is damaged.
    #[test]
    fn a_file_that_the_system_does_not_give_is_not_damaged() {
        let dir = tempfile::tempdir().unwrap();
        let witness = Witness::of(dir.path());
        // The permission of a file is not asked of a test that runs as root.
        let error = witness.failed("read", &io::Error::from(io::ErrorKind::PermissionDenied));
        assert_eq!(error.kind, crate::store::StoreErrorKind::Refused);
        let says = format!("the witness {} cannot be read: permission denied; give the file", witness.path().display());
        assert!(error.detail.starts_with(&says), "{error}");
        fs::create_dir(witness.path()).unwrap();
        for error in [witness.seen(0).unwrap_err(), witness.partitions().unwrap_err()] {
            assert!(!error.is_of_no_use() && error.detail.contains(" cannot be read: "), "{error}");
        }
    }
}
