//! The bytes of rows, one after another in a plain file that is only appended to. Which of them count is not known
//! here: whatever no [`RowSpan`] points to is waste, left by an older checkpoint or by one that was never finished.

use std::fs::{self, File};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Bytes of a row's checksum.
const CHECK_BYTES: usize = 8;
/// Bytes of an encoded [`RowSpan`].
const PLACE_BYTES: usize = 8 + 4 + CHECK_BYTES;

/// Where a row's bytes are, and what they are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct RowSpan {
    /// Where they begin.
    pub(super) offset: u64,
    /// How many there are.
    pub(super) len: u32,
    /// Their checksum, as [`checksum`] computes it.
    pub(super) check: u64,
}

impl RowSpan {
    /// Offset, length and checksum, little-endian.
    pub(super) fn encode(self) -> Vec<u8> {
        [&self.offset.to_le_bytes()[..], &self.len.to_le_bytes(), &self.check.to_le_bytes()].concat()
    }

    /// What [`RowSpan::encode`] made.
    pub(super) fn decode(bytes: &[u8]) -> Option<RowSpan> {
        let bytes: &[u8; PLACE_BYTES] = bytes.try_into().ok()?;
        let (offset, rest) = bytes.split_first_chunk()?;
        let (len, check) = rest.split_first_chunk()?;
        Some(RowSpan {
            offset: u64::from_le_bytes(*offset),
            len: u32::from_le_bytes(*len),
            check: u64::from_le_bytes(check.try_into().ok()?),
        })
    }
}

/// The checksum of a value under its key, which also finds a value that stands under another's.
pub(super) fn checksum(key: &[u8], bytes: &[u8]) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&u64::try_from(key.len()).unwrap_or(u64::MAX).to_le_bytes()).update(key).update(bytes);
    u64::from_le_bytes(hasher.finalize().as_bytes().first_chunk().copied().unwrap_or_default())
}

/// The file of this number.
pub(super) fn path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("rows.{number}"))
}

/// Reads rows from one file.
pub(super) struct Reader {
    file: File,
    /// Everything from here on is waste.
    end: u64,
    bytes: Vec<u8>,
}

impl Reader {
    /// The file of this number, of which `end` bytes count.
    pub(super) fn open(dir: &Path, number: u64, end: u64) -> io::Result<Reader> {
        let file = File::open(path(dir, number))?;
        // Checked here, so that a wrong length can ask for no more memory than there are bytes.
        match file.metadata()?.len() {
            len if len < end => Err(io::Error::other(format!("rows.{number} ends at {len}, not at {end}"))),
            _ => Ok(Reader { file, end, bytes: Vec::new() }),
        }
    }

    /// The row's bytes, if they are the ones that were written.
    pub(super) fn read(&mut self, key: &[u8], place: RowSpan) -> io::Result<&[u8]> {
        let wrong = |what: &str| io::Error::other(format!("row {} {what}", hex(key)));
        if place.offset.checked_add(u64::from(place.len)).is_none_or(|end| end > self.end) {
            return Err(wrong("is beyond the end"));
        }
        self.bytes.resize(usize::try_from(place.len).map_err(io::Error::other)?, 0);
        self.file.read_exact_at(&mut self.bytes, place.offset)?;
        if checksum(key, &self.bytes) != place.check {
            return Err(wrong("has a wrong checksum"));
        }
        Ok(&self.bytes)
    }
}

/// Appends rows to one file.
pub(super) struct Writer {
    file: BufWriter<File>,
    end: u64,
}

impl Writer {
    /// Goes on at `end`, over whatever an unfinished checkpoint left there. A file that begins is made anew.
    pub(super) fn open(dir: &Path, number: u64, end: u64) -> io::Result<Writer> {
        let mut file = File::options().create(true).truncate(end == 0).write(true).open(path(dir, number))?;
        file.seek(SeekFrom::Start(end))?;
        Ok(Writer { file: BufWriter::with_capacity(64 << 10, file), end })
    }

    /// Appends a row.
    pub(super) fn write(&mut self, key: &[u8], bytes: &[u8]) -> io::Result<RowSpan> {
        let too_long = || io::Error::other(format!("row {} is too long", hex(key)));
        let len = u32::try_from(bytes.len()).map_err(|_| too_long())?;
        let place = RowSpan { offset: self.end, len, check: checksum(key, bytes) };
        self.end = self.end.checked_add(u64::from(len)).ok_or_else(too_long)?;
        self.file.write_all(bytes)?;
        Ok(place)
    }

    /// Makes all of it durable and answers where it ends.
    pub(super) fn finish(mut self) -> io::Result<u64> {
        self.file.flush()?;
        self.file.get_ref().sync_data()?;
        Ok(self.end)
    }
}

/// Removes every file of rows but this one. One that stays costs space and nothing else, so errors are not told.
pub(super) fn remove_others(dir: &Path, number: u64) {
    let keep = path(dir, number);
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let is_rows = entry.file_name().to_string_lossy().starts_with("rows.");
        if is_rows && entry.path() != keep {
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn hex(key: &[u8]) -> String {
    key.iter().map(|byte| format!("{byte:02x}")).collect()
}
