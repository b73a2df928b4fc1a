//! The bytes of rows, one after another in a plain file that is only appended to. The file does not say which of them
//! are in use. Bytes that no [`RowSpan`] points to are waste of an older checkpoint or of an unfinished one.

use std::fs::{self, File};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Bytes of a row's checksum.
const CHECK_BYTES: usize = 8;
/// Bytes of an encoded [`RowSpan`].
const PLACE_BYTES: usize = 8 + 4 + CHECK_BYTES;

/// The position, length and checksum of a row's bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct RowSpan {
    /// The offset of the first byte.
    pub(super) offset: u64,
    /// The number of bytes.
    pub(super) len: u32,
    /// Their checksum, as [`checksum`] computes it.
    pub(super) check: u64,
}

impl RowSpan {
    /// Offset, length and checksum, little-endian.
    pub(super) fn encode(self) -> Vec<u8> {
        [&self.offset.to_le_bytes()[..], &self.len.to_le_bytes(), &self.check.to_le_bytes()].concat()
    }

    /// The span that [`RowSpan::encode`] has encoded.
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

/// The checksum of a value under its key, so that a value under the wrong key is noticed.
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
    /// Opens the file with this number, of which the first `end` bytes are in use.
    pub(super) fn open(dir: &Path, number: u64, end: u64) -> io::Result<Reader> {
        let file = File::open(path(dir, number))?;
        // Checked here, so that a wrong length cannot allocate more memory than the file has bytes.
        match file.metadata()?.len() {
            len if len < end => Err(io::Error::other(format!("rows.{number} ends at {len}, not at {end}"))),
            _ => Ok(Reader { file, end, bytes: Vec::new() }),
        }
    }

    /// The row's bytes; an error when they are not the ones that were written.
    pub(super) fn read(&mut self, key: &[u8], span: RowSpan) -> io::Result<&[u8]> {
        let wrong = |what: &str| io::Error::other(format!("row {} {what}", hex(key)));
        if span.offset.checked_add(u64::from(span.len)).is_none_or(|end| end > self.end) {
            return Err(wrong("is beyond the end"));
        }
        self.bytes.resize(usize::try_from(span.len).map_err(io::Error::other)?, 0);
        self.file.read_exact_at(&mut self.bytes, span.offset)?;
        if checksum(key, &self.bytes) != span.check {
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
    /// Continues at `end`, and overwrites what an unfinished checkpoint left there. With `end` 0 the file is emptied or
    /// made.
    pub(super) fn open(dir: &Path, number: u64, end: u64) -> io::Result<Writer> {
        let mut file = File::options().create(true).truncate(end == 0).write(true).open(path(dir, number))?;
        file.seek(SeekFrom::Start(end))?;
        Ok(Writer { file: BufWriter::with_capacity(64 << 10, file), end })
    }

    /// Appends a row.
    pub(super) fn write(&mut self, key: &[u8], bytes: &[u8]) -> io::Result<RowSpan> {
        let too_long = || io::Error::other(format!("row {} is too long", hex(key)));
        let len = u32::try_from(bytes.len()).map_err(|_| too_long())?;
        let span = RowSpan { offset: self.end, len, check: checksum(key, bytes) };
        self.end = self.end.checked_add(u64::from(len)).ok_or_else(too_long)?;
        self.file.write_all(bytes)?;
        Ok(span)
    }

    /// Flushes the file to the disk and returns its end.
    pub(super) fn finish(mut self) -> io::Result<u64> {
        self.file.flush()?;
        self.file.get_ref().sync_data()?;
        Ok(self.end)
    }
}

/// Removes every file of rows except this one. A file that remains only costs space, so errors are ignored.
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
