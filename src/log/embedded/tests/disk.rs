//! A disk that can refuse, delay and forget.

use super::super::disk::{Disk, Named};
use super::super::file::LOG_DIR;
use super::super::segment::CHUNK_BYTES;
use parking_lot::{Condvar, Mutex};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;

const SECTOR: u64 = 512;

/// What is not safe on the disk yet.
#[derive(Debug, Clone)]
enum Change {
    Length(usize, u64),
    Bytes(usize, u64, Vec<u8>),
}

impl Change {
    fn file(&self) -> usize {
        let (Change::Length(file, _) | Change::Bytes(file, ..)) = self;
        *file
    }

    /// The parts that a disk writes as a whole or not at all, in whatever order: those in one sector of the file.
    fn sectors(self) -> Vec<Change> {
        match self {
            Change::Bytes(file, offset, bytes) => {
                let (mut parts, mut at, mut rest) = (Vec::new(), offset, &bytes[..]);
                while !rest.is_empty() {
                    let (sector, left) = rest.split_at(rest.len().min((SECTOR - at % SECTOR) as usize));
                    parts.push(Change::Bytes(file, at, sector.to_vec()));
                    (at, rest) = (at + sector.len() as u64, left);
                }
                parts
            }
            length => vec![length],
        }
    }
}

/// Names of files, and which contents they lead to.
type Names = BTreeMap<PathBuf, usize>;

/// What a power cut leaves: the bytes of each file without the zeros at its end, and its length.
pub(super) type Image = Vec<(PathBuf, Vec<u8>, u64)>;

/// A data directory with the files that a power cut has left.
pub(super) fn left_by(image: Image) -> TempDir {
    let dir = TempDir::new().unwrap();
    let log = dir.path().join(LOG_DIR);
    fs::create_dir(&log).unwrap();
    for (path, bytes, length) in image {
        let path = log.join(path.file_name().unwrap());
        fs::write(&path, bytes).unwrap();
        fs::OpenOptions::new().write(true).open(path).unwrap().set_len(length).unwrap();
    }
    dir
}

/// What the disk does and has done.
#[derive(Debug, Default)]
pub(super) struct Conduct {
    pub(super) writes_fail: bool,
    /// There is room for what is small, and a file may get any length.
    pub(super) chunks_fail: bool,
    /// The write after so many more is made, or half of it, and is told to have failed; so do all that follow.
    pub(super) fails_after: Option<usize>,
    pub(super) fails_half: bool,
    pub(super) syncs_fail: bool,
    /// What a flush could not write counts as written, and whoever reads still gets it.
    pub(super) forgets: bool,
    pub(super) dir_syncs_fail: bool,
    pub(super) removes_fail: bool,
    pub(super) syncs_wait: bool,
    pub(super) syncs: usize,
    /// Whether power cuts are noted.
    pub(super) cuts_power: bool,
    /// What is safe on the disk, and what was written since; the same of names.
    safe: Vec<Vec<u8>>,
    since: Vec<Change>,
    names: Names,
    safe_names: Names,
    /// Every so often: what a power cut would leave now, and how many turns were known to be committed.
    pub(super) cuts: Vec<(usize, Image)>,
    pub(super) committed: usize,
    pub(super) random: u64,
}

impl Conduct {
    fn draw(&mut self, below: u64) -> u64 {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) % below
    }

    fn apply(files: &mut [Vec<u8>], change: &Change) {
        match change {
            Change::Length(file, length) => files[*file].resize(*length as usize, 0),
            Change::Bytes(file, offset, bytes) => {
                // What lies behind the length of a file is not to be seen.
                let to = files[*file].iter_mut().skip(*offset as usize);
                to.zip(bytes).for_each(|(to, from)| *to = *from);
            }
        }
    }

    /// A power cut: of what was written since the last flush any part may be on the disk, down to single sectors, and a later
    /// one without an earlier one.
    fn cut(&mut self) {
        if !self.cuts_power {
            return;
        }
        let mut files = self.safe.clone();
        for change in self.since.clone() {
            let parts = if self.draw(4) == 0 { change.sectors() } else { vec![change] };
            for part in parts {
                if self.draw(3) > 0 {
                    Conduct::apply(&mut files, &part);
                }
            }
        }
        let names = if self.draw(2) == 0 { &self.safe_names } else { &self.names };
        let image = names.iter().map(|(path, file)| {
            let bytes = &files[*file];
            let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            (path.clone(), bytes[..used].to_vec(), bytes.len() as u64)
        });
        self.cuts.push((self.committed, image.collect()));
    }

    fn changed(&mut self, change: impl FnOnce(usize) -> Change, path: &Path) -> io::Result<()> {
        if self.writes_fail {
            return Err(io::Error::new(io::ErrorKind::StorageFull, "no space left"));
        }
        if let Some(file) = self.names.get(path).copied() {
            self.since.push(change(file));
        }
        if self.draw(6) == 0 {
            self.cut();
        }
        Ok(())
    }

    /// Takes what is on the disk as safe.
    pub(super) fn begins(&mut self, dir: &Path) {
        for entry in fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
            self.names.insert(entry.clone(), self.safe.len());
            self.safe.push(fs::read(entry).unwrap());
        }
        self.safe_names = self.names.clone();
    }
}

pub(super) type Conducted = Arc<(Mutex<Conduct>, Condvar)>;

#[derive(Debug)]
pub(super) struct TestDisk(pub(super) Conducted);

impl Disk for TestDisk {
    fn create(&self, path: &Path) -> io::Result<Named> {
        let mut conduct = self.0.0.lock();
        if conduct.writes_fail {
            return Err(io::Error::new(io::ErrorKind::StorageFull, "no space left"));
        }
        let file = conduct.safe.len();
        conduct.safe.push(Vec::new());
        conduct.names.insert(path.to_owned(), file);
        super::super::disk::OsDisk.create(path)
    }

    fn set_len(&self, named: &Named, length: u64) -> io::Result<()> {
        self.0.0.lock().changed(|file| Change::Length(file, length), &named.path)?;
        named.file.set_len(length)
    }

    fn write(&self, named: &Named, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if self.0.0.lock().chunks_fail && bytes.len() as u64 >= CHUNK_BYTES {
            return Err(io::Error::new(io::ErrorKind::StorageFull, "no space left"));
        }
        self.0.0.lock().changed(|file| Change::Bytes(file, offset, bytes.to_vec()), &named.path)?;
        let mut conduct = self.0.0.lock();
        let is_half = conduct.fails_after == Some(0) && conduct.fails_half;
        super::super::disk::OsDisk.write(
            named,
            offset,
            &bytes[..if is_half { bytes.len() / 2 } else { bytes.len() }],
        )?;
        match &mut conduct.fails_after {
            Some(0) => {
                conduct.writes_fail = true;
                Err(io::Error::other("nobody knows"))
            }
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn flush(&self, named: &Named) -> io::Result<()> {
        let (conduct, changed) = &*self.0;
        let mut conduct = conduct.lock();
        conduct.syncs += 1;
        changed.notify_all();
        changed.wait_while(&mut conduct, |conduct| conduct.syncs_wait);
        let conduct = &mut *conduct;
        let flushed = conduct.names.get(&named.path).copied();
        if conduct.syncs_fail {
            if conduct.forgets {
                conduct.since.retain(|change| Some(change.file()) != flushed);
            }
            return Err(io::Error::other("the disk is gone"));
        }
        conduct.cut();
        conduct.since.retain(|change| {
            let is_flushed = Some(change.file()) == flushed;
            if is_flushed {
                Conduct::apply(&mut conduct.safe, change);
            }
            !is_flushed
        });
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut conduct = self.0.0.lock();
        if let Some(file) = conduct.names.remove(from) {
            conduct.names.insert(to.to_owned(), file);
        }
        conduct.cut();
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut conduct = self.0.0.lock();
        if conduct.removes_fail {
            return Err(io::Error::other("the disk is gone"));
        }
        conduct.names.remove(path);
        conduct.cut();
        fs::remove_file(path)
    }

    fn flush_dir(&self, _: &Path) -> io::Result<()> {
        let mut conduct = self.0.0.lock();
        if conduct.dir_syncs_fail {
            return Err(io::Error::other("the disk is gone"));
        }
        conduct.cut();
        conduct.safe_names = conduct.names.clone();
        Ok(())
    }
}
