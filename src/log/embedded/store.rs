//! An open log and its end. One thread appends at a time, and any number of threads read meanwhile (`read.rs`). Nothing
//! here is retried: after a fault the segments have to be opened again before anything is known of them.

use super::begins::note;
use super::disk::{Disk, Named, is_want_of_room};
use super::draft::Draft;
use super::error::{Fault, damaged};
use super::frame::{Form, Head, Kind};
use super::packed::{Dictionary, Packer};
use super::recent::{Recent, Sealed};
use super::scan::{Index, Indexed};
use super::segment::{CHUNK_BYTES, FORMAT_VERSION, ReadAt as _, SegmentHeader, Slot, path_of};
use super::training::Training;
use crate::crash;
use crate::log::Manifest;
use parking_lot::{Mutex, RwLock};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

/// Bytes at which the first segment with packed frames is sealed, at the latest: then the log has a dictionary of its own soon.
const FIRST_SEGMENT_BYTES: u64 = 4 << 20;

/// What readers look at. It is locked for moments only, never while a disk works.
#[derive(Debug)]
pub(super) struct Readable {
    pub(super) sealed: Vec<Sealed>,
    pub(super) active: Indexed,
    /// The file of the active segment.
    file: Arc<Named>,
}

impl Readable {
    /// The segment with which the log begins.
    pub(super) fn first(&self) -> &Arc<SegmentHeader> {
        self.sealed.first().map_or(&self.active.header, |sealed| &sealed.header)
    }
}

/// The end of the log.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) named: Arc<Named>,
    pub(super) header: Arc<SegmentHeader>,
    pub(super) heads: Vec<Head>,
    pub(super) end: u64,
    /// Where the last frame begins; 0 when the segment has none.
    pub(super) last_frame: u64,
    /// The end of the last batch that was known to be flushed when the segment was opened or made.
    pub(super) flushed_end: u64,
    /// Bytes of the file. Those behind the end are zero.
    pub(super) allocated: u64,
    pub(super) next_batch: u64,
    pub(super) next_slot: u64,
    /// The dictionary of the next segment, once a part of this one is written.
    pub(super) training: Option<Training>,
}

/// How a log is written.
#[derive(Clone, Debug)]
pub(super) struct Terms {
    pub(super) disk: Arc<dyn Disk>,
    /// A segment is sealed before it becomes larger than so many bytes.
    pub(super) segment_bytes: u64,
}

/// An open log.
#[derive(Debug)]
pub(super) struct Store {
    pub(super) dir: PathBuf,
    pub(super) manifest: Manifest,
    terms: Terms,
    writer: Mutex<Writer>,
    pub(super) readable: RwLock<Readable>,
    pub(super) recent: Recent,
    /// Whether batches may be appended. Not before the log is settled, and not after a fault.
    is_writable: AtomicBool,
    /// Why there is no room for a turn, in the words of the system.
    lacking: Mutex<Option<String>>,
    has_lost_a_flush: AtomicBool,
}

impl Store {
    pub(super) fn new(dir: &Path, terms: Terms, sealed: Vec<Sealed>, (writer, index): (Writer, Index)) -> Store {
        let file = Arc::clone(&writer.named);
        let active = Indexed { named: Arc::clone(&file) as _, header: Arc::clone(&writer.header), index };
        Store {
            dir: dir.to_owned(),
            manifest: writer.header.manifest,
            terms,
            writer: Mutex::new(writer),
            readable: RwLock::new(Readable { sealed, active, file }),
            recent: Recent::default(),
            is_writable: AtomicBool::new(false),
            lacking: Mutex::default(),
            has_lost_a_flush: AtomicBool::new(false),
        }
    }

    /// The ends of the partitions.
    pub(super) fn heads(&self) -> Vec<Head> {
        self.writer.lock().heads.clone()
    }

    /// The segment that is written, where it ends, and where its last frame begins.
    pub(super) fn end(&self) -> (Arc<SegmentHeader>, (u64, u64)) {
        let writer = self.writer.lock();
        (Arc::clone(&writer.header), (writer.end, writer.last_frame))
    }

    /// What the segment that is written is packed against.
    pub(super) fn dictionary(&self) -> Dictionary {
        self.readable.read().active.header.dictionary.clone()
    }

    /// The file that is written, which no sealed segment is.
    pub(super) fn active(&self) -> Arc<Named> {
        Arc::clone(&self.readable.read().file)
    }

    /// Whether a flush has failed. The system may have dropped what it could not write, and may report the next flush
    /// as a success. What this process reads of the file may then differ from the disk.
    pub(super) fn has_lost_a_flush(&self) -> bool {
        self.has_lost_a_flush.load(SeqCst)
    }

    pub(super) fn is_writable(&self) -> bool {
        self.is_writable.load(SeqCst)
    }

    /// Refuses all further changes, because there is no room for them.
    pub(super) fn lacks_room(&self, error: &io::Error) {
        self.shut();
        *self.lacking.lock() = Some(error.to_string());
    }

    /// Why the log cannot be written, in words; `None` when it can.
    pub(super) fn unwritable(&self) -> Option<String> {
        let lacking = || self.lacking.lock().clone().unwrap_or_else(|| "it is only read".to_owned());
        (!self.is_writable()).then(lacking)
    }

    /// Refuses all further changes.
    pub(super) fn shut(&self) {
        self.is_writable.store(false, SeqCst);
    }

    /// Makes the log ready for batches: what a torn batch has left behind the end, up to `written_to`, becomes zero
    /// again. Otherwise it could look like a part of a later batch.
    ///
    /// What a killed process has written may be in the memory of the system only, names as well as the last batch. So
    /// all of it is flushed before the file says that its end is known, and before anything is removed because the log
    /// holds it. After a flush that failed the memory of the system may hold it for good, and count it as written: a further
    /// flush would pass it over. So what is not known to be flushed, which is the last batch, is written once more.
    /// An error leaves the log readable.
    pub(super) fn settle(&self, written_to: u64) -> io::Result<()> {
        let mut writer = self.writer.lock();
        if written_to > writer.end {
            let torn = usize::try_from(written_to.saturating_sub(writer.end)).unwrap_or(usize::MAX);
            self.terms.disk.write(&writer.named, writer.end, &vec![0; torn])?;
        }
        self.write_again(&writer)?;
        self.flush(&writer.named)?;
        note(&*self.terms.disk, &self.dir, self.readable.read().first().number)?;
        [Some(&*self.dir), self.dir.parent()].into_iter().flatten().try_for_each(|dir| self.flush_names(dir))?;
        self.mark(&mut writer, true)?;
        self.flush(&writer.named)?;
        self.is_writable.store(true, SeqCst);
        self.train(&mut writer);
        Ok(())
    }

    /// Writes what is not known to be flushed once more, as it is read.
    fn write_again(&self, writer: &Writer) -> io::Result<()> {
        let length = usize::try_from(writer.end.saturating_sub(writer.flushed_end)).unwrap_or_default();
        if length == 0 {
            return Ok(());
        }
        let mut bytes = vec![0; length];
        if writer.named.read_up_to(writer.flushed_end, &mut bytes)? != length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.terms.disk.write(&writer.named, writer.flushed_end, &bytes)
    }

    /// Appends batches of frames of one flush each: all of them are durable when this returns.
    ///
    /// # Errors
    /// [`Fault`]: what of it is on the disk is unknown, and nothing more can be appended.
    pub(super) fn append(&self, drafts: &mut [Draft]) -> Result<(), Fault> {
        let mut writer = self.writer.lock();
        if !self.is_writable.swap(false, SeqCst) {
            return Err(io::Error::other("the file cannot be written before it is opened again").into());
        }
        if self.is_full(&writer, packed(drafts, &writer)?, drafts) {
            self.seal(&mut writer)?;
        }
        let bytes = packed(drafts, &writer)?;
        self.make_room(&mut writer, bytes)?;
        self.write(&mut writer, drafts)?;
        self.is_writable.store(true, SeqCst);
        Ok(())
    }

    /// Whether a batch of so many bytes goes into the next segment. Frames are written in the newest form only.
    fn is_full(&self, writer: &Writer, bytes: u64, drafts: &[Draft]) -> bool {
        let (is_used, place) = (writer.last_frame > 0, writer.header.place(writer.end));
        let has_room =
            writer.end.saturating_add(bytes) <= self.sealed_at(writer) && drafts.iter().all(|draft| draft.fits(place));
        writer.header.manifest.format_version < FORMAT_VERSION || (is_used && !has_room)
    }

    /// Bytes at which the segment that is written is sealed.
    fn sealed_at(&self, writer: &Writer) -> u64 {
        let is_first = match self.readable.read().sealed.last() {
            Some(before) => before.header.form() == Form::Plain,
            None => writer.header.number == 0,
        };
        if is_first { self.terms.segment_bytes.min(FIRST_SEGMENT_BYTES) } else { self.terms.segment_bytes }
    }

    /// Begins to make the dictionary of the next segment when enough of this one is written.
    fn train(&self, writer: &mut Writer) {
        let end = Training::begins_at(&writer.header, self.sealed_at(writer));
        if let Some(end) = end.filter(|end| writer.training.is_none() && writer.end >= *end) {
            writer.training = Some(Training::begin(Arc::clone(&writer.named), Arc::clone(&writer.header), end));
        }
    }

    /// The dictionary of the segment after the one that is written.
    fn next_dictionary(&self, writer: &mut Writer) -> Dictionary {
        let made = writer.training.take().and_then(Training::made);
        made.unwrap_or_else(|| writer.header.next_dictionary())
    }

    /// Makes the next segment. From then on the one before is sealed: its end is in the header of the next one.
    fn seal(&self, writer: &mut Writer) -> io::Result<()> {
        let header = SegmentHeader {
            manifest: Manifest { format_version: FORMAT_VERSION, ..self.manifest },
            number: writer.header.number.saturating_add(1),
            first_batch: writer.next_batch,
            before: (writer.end, writer.last_frame),
            heads: writer.heads.clone(),
            dictionary: self.next_dictionary(writer),
        };
        let created = create(&*self.terms.disk, &self.dir, &header);
        let (named, allocated) = created.inspect_err(|error| {
            // A flush of it, or of its name, may be what has failed.
            self.has_lost_a_flush.fetch_or(!is_want_of_room(error), SeqCst);
        })?;
        let (named, header) = (Arc::new(named), Arc::new(header));
        let index = Index::new(header.heads.len());
        let next = Indexed { named: Arc::clone(&named) as _, header: Arc::clone(&header), index };
        let mut readable = self.readable.write();
        let sealed = std::mem::replace(&mut readable.active, next);
        readable.file = Arc::clone(&named);
        readable.sealed.push(Sealed { header: Arc::clone(&sealed.header), end: writer.end });
        drop(readable);
        self.recent.keep(Arc::new(sealed));
        crash::point("log-sealed");
        let (heads, next_batch) = (std::mem::take(&mut writer.heads), writer.next_batch);
        let end = header.begin();
        *writer = Writer {
            named,
            header,
            heads,
            end,
            last_frame: 0,
            flushed_end: end,
            allocated,
            next_batch,
            next_slot: 1,
            training: None,
        };
        Ok(())
    }

    /// Removes the oldest segment, which has to be a sealed one of this number. Who appends waits for moments only.
    ///
    /// Names become safe in the order of the segments: a power cut leaves no log with a gap.
    ///
    /// # Errors
    /// [`Fault`]: the segment is there as before, or is removed and may come back after a power cut.
    pub(super) fn remove_oldest(&self, number: u64) -> Result<(), Fault> {
        if self.has_lost_a_flush() {
            return Err(io::Error::other("a flush has failed, and nothing is removed before a restart").into());
        }
        note(&*self.terms.disk, &self.dir, number.saturating_add(1))?;
        self.flush_names(&self.dir)?;
        let mut readable = self.readable.write();
        if readable.sealed.first().is_none_or(|sealed| sealed.header.number != number) {
            return Err(damaged(format!("segment {number} is not the oldest sealed one")));
        }
        let sealed = readable.sealed.remove(0);
        drop(readable);
        self.recent.forget(number);
        crash::point("log-leaving");
        if let Err(error) = self.terms.disk.remove(&path_of(&self.dir, number)) {
            self.readable.write().sealed.insert(0, sealed);
            return Err(error.into());
        }
        crash::point("log-removed");
        Ok(self.flush_names(&self.dir)?)
    }

    /// Looks whether there is room for a chunk: in a file of its own, because the next turn may go into a new segment, and because
    /// this one may have its length without the blocks for it; and behind the end of this one, unless it is sealed before.
    ///
    /// # Errors
    /// [`Fault`]; the log is as it was.
    pub(super) fn reserve(&self) -> Result<(), Fault> {
        let mut writer = self.writer.lock();
        let zeros = vec![0; usize::try_from(CHUNK_BYTES).unwrap_or_default()];
        let named = self.terms.disk.create(&self.dir.join("room.new"))?;
        let written = self.terms.disk.write(&named, 0, &zeros).and_then(|()| self.terms.disk.flush(&named));
        self.terms.disk.remove(&named.path)?;
        written?;
        let is_sealed_before = writer.header.manifest.format_version < FORMAT_VERSION
            || writer.end.saturating_add(CHUNK_BYTES) > self.sealed_at(&writer);
        if is_sealed_before { Ok(()) } else { self.make_room(&mut writer, CHUNK_BYTES) }
    }

    /// Allocates zeros for so many bytes behind the end, and at least one more. They are flushed before they are used:
    /// then a file that ends within a frame was cut off. Overwriting allocated blocks makes the flush of a batch
    /// cheaper.
    fn make_room(&self, writer: &mut Writer, bytes: u64) -> Result<(), Fault> {
        let needed = writer.end.saturating_add(bytes).saturating_add(1).next_multiple_of(CHUNK_BYTES);
        if u32::try_from(needed).is_err() {
            let detail = format!("{bytes} bytes are too many for one batch");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, detail).into());
        }
        if needed > writer.allocated {
            self.terms.disk.set_len(&writer.named, needed)?;
            let zeros = vec![0; usize::try_from(CHUNK_BYTES).unwrap_or_default()];
            for offset in (writer.allocated..needed).step_by(zeros.len().max(1)) {
                self.terms.disk.write(&writer.named, offset, &zeros)?;
            }
            self.flush(&writer.named)?;
            writer.allocated = needed;
        }
        Ok(())
    }

    fn write(&self, writer: &mut Writer, drafts: &mut [Draft]) -> Result<(), Fault> {
        let (count, batch) = (drafts.len(), writer.next_batch);
        let mut end = writer.end;
        for (number, draft) in (1..).zip(drafts.iter_mut()) {
            let bytes = draft.sealed(writer.header.place(end), batch, number == count)?;
            self.terms.disk.write(&writer.named, end, bytes)?;
            end = end.saturating_add(bytes.len() as u64);
        }
        let mut start = std::mem::replace(&mut writer.end, end);
        writer.next_batch = batch.saturating_add(1);
        self.mark(writer, false)?;
        self.flush(&writer.named)?;
        let mut readable = self.readable.write();
        for draft in drafts {
            for (at, header) in draft.headers(writer.header.place(start)) {
                let offset = start.saturating_add(at);
                readable.active.index.push(&writer.header, offset, &header);
                writer.last_frame = offset;
                if let (Kind::Turn, Some(head)) = (header.kind, writer.heads.get_mut(header.partition as usize)) {
                    *head = header.end();
                }
            }
            start = start.saturating_add(draft.length() as u64);
        }
        drop(readable);
        self.train(writer);
        Ok(())
    }

    /// Writes the end into the next slot.
    fn mark(&self, writer: &mut Writer, is_settled: bool) -> io::Result<()> {
        let batch = writer.next_batch.saturating_sub(1);
        let slot = Slot { number: writer.next_slot, batch, end: writer.end, is_settled };
        let (offset, bytes) = slot.bytes(&writer.header);
        self.terms.disk.write(&writer.named, offset, &bytes)?;
        writer.next_slot = writer.next_slot.saturating_add(1);
        Ok(())
    }

    fn flush(&self, named: &Named) -> io::Result<()> {
        self.terms.disk.flush(named).inspect_err(|_| self.has_lost_a_flush.store(true, SeqCst))
    }

    fn flush_names(&self, dir: &Path) -> io::Result<()> {
        self.terms.disk.flush_dir(dir).inspect_err(|_| self.has_lost_a_flush.store(true, SeqCst))
    }
}

impl Drop for Store {
    /// Says in the file that its end is known: a batch that is damaged later is then missed.
    fn drop(&mut self) {
        if self.is_writable() {
            let mut writer = self.writer.lock();
            // Without it the log is as a killed process leaves it.
            let _told = self.mark(&mut writer, true).and_then(|()| self.flush(&writer.named));
        }
    }
}

/// Bytes of these drafts in the segment that is written. Those that were packed for the one before it are packed again.
fn packed(drafts: &mut [Draft], writer: &Writer) -> Result<u64, Fault> {
    let mut packer = Packer::new(writer.header.dictionary.clone());
    drafts.iter_mut().try_for_each(|draft| draft.pack_with(&mut packer))?;
    Ok(drafts.iter().map(|draft| draft.length() as u64).fold(0, u64::saturating_add))
}

/// Makes a segment under a temporary name and renames it, so that a crash leaves no half-made one. Returns it, and
/// how many bytes it has.
pub(super) fn create(disk: &dyn Disk, dir: &Path, header: &SegmentHeader) -> io::Result<(Named, u64)> {
    let path = path_of(dir, header.number);
    let named = disk.create(&path.with_extension("new"))?;
    let mut bytes = header.bytes();
    let allocated = (bytes.len() as u64).saturating_add(header.begin()).next_multiple_of(CHUNK_BYTES);
    disk.set_len(&named, allocated)?;
    bytes.resize(usize::try_from(allocated).unwrap_or_default(), 0);
    disk.write(&named, 0, &bytes)?;
    let batch = header.first_batch.saturating_sub(1);
    let (offset, slot) = Slot { number: 0, batch, end: header.begin(), is_settled: true }.bytes(header);
    disk.write(&named, offset, &slot)?;
    disk.flush(&named)?;
    disk.rename(&named.path, &path)?;
    disk.flush_dir(dir)?;
    Ok((Named { path, file: named.file }, allocated))
}
