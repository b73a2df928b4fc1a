//! A folder or a bucket, as a place for objects. Each call ends after a time that grows with its bytes, and at once when the
//! process ends.

use super::client::client;
use super::folder::{Unopened, directories, opened};
use super::names::{Names, flush};
use super::refusal::{Act, is_no_object, not_allowed, refused};
use super::{Got, LISTED_MAX, Listed, Objects, Tag};
use crate::causes::causes;
use crate::config::ObjectPlace;
use crate::domain::Micros;
use crate::store::StoreError;
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutPayload, UpdateVersion};
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{File, TryLockError};
use std::future::Future;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::panic::AssertUnwindSafe;
use std::path::{Path as FsPath, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use tokio::task::spawn_blocking;

/// Longest time of a call, in addition to that for its bytes.
pub const CALL_LIMIT: Duration = Duration::from_secs(10);
/// Bytes a second that a store has to take or give.
const BYTES_PER_SECOND_MIN: u64 = 1 << 20;
/// Bytes that a store sends about an object that it lists.
const LISTED_BYTES: u64 = 512;
/// Most characters of an error that are told: a store may answer with a page.
const TOLD_MAX: usize = 400;

/// Most directories among objects that are named.
const DIRECTORIES_TOLD_MAX: usize = 100;
/// Longest limit of a call that waits for a folder: no limit that anybody sees.
const NO_LIMIT: Duration = Duration::from_secs(1 << 30);
/// Most objects that are on their way into a folder at the same time. A write that was given up keeps its bytes until the disk
/// answers.
const UNDER_WAY_MAX: usize = 4;
/// Most threads that wait for the disk of a folder. A call that was given up keeps its thread until the disk answers, and a
/// process may have no more threads than its system gives it.
const THREADS_MAX: usize = 64;

/// Who may replace an object.
pub enum Lock {
    /// Whoever has this file open, which is locked. The system unlocks it when the process ends.
    Held(File),
    /// Another process has it.
    Elsewhere,
    /// Nobody is kept away: [`Bucket::replace`] tells who was overtaken.
    Unknown,
}

/// A place that the settings name.
pub struct Bucket {
    place: ObjectPlace,
    reached: Reached,
    /// Drives the calls, and is taken when the place is closed.
    runtime: Option<Runtime>,
    closing: watch::Sender<bool>,
    /// The directories that a listing has named.
    told: Mutex<BTreeSet<PathBuf>>,
    /// Each object that is on its way into a folder has one more of it.
    under_way: Arc<()>,
}

/// The bytes of an object on its way into a folder.
struct UnderWay {
    bytes: Vec<u8>,
    _one: Arc<()>,
}

impl AsRef<[u8]> for UnderWay {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// How the place is reached.
enum Reached {
    /// It is opened for each call, so that one that is gone is noticed. `is_dir` tells a directory, and `flush` flushes the names
    /// in one.
    Folder { dir: PathBuf, is_dir: fn(&FsPath) -> bool, flush: fn(&FsPath) -> io::Result<()> },
    /// The client keeps connections. Names begin with the prefix.
    Store { client: Arc<dyn ObjectStore>, prefix: String },
}

impl Bucket {
    /// Makes a client of the place. It is not called yet.
    ///
    /// # Errors
    /// [`StoreError`] when the settings of the client are impossible, or the system gives no means to drive it.
    pub fn open(place: &ObjectPlace) -> Result<Bucket, StoreError> {
        Bucket::open_with(place, std::env::vars_os())
    }

    /// The same with these variables instead of those of this process.
    ///
    /// # Errors
    /// Those of [`Bucket::open`].
    pub fn open_with(
        place: &ObjectPlace,
        variables: impl Iterator<Item = (OsString, OsString)>,
    ) -> Result<Bucket, StoreError> {
        let wrong = |why: String| StoreError::new(format!("{place}: {why}"));
        let reached = match place {
            ObjectPlace::Folder(dir) => Reached::Folder { dir: dir.clone(), is_dir: FsPath::is_dir, flush },
            ObjectPlace::Bucket { store, url, prefix } => {
                let client = client((*store, url), variables, CALL_LIMIT).map_err(wrong)?;
                Reached::Store { client, prefix: prefix.clone() }
            }
        };
        let runtime = Builder::new_current_thread().enable_all().max_blocking_threads(THREADS_MAX).build();
        let runtime = runtime.map_err(|error| wrong(causes(&error)))?;
        let (closing, told, under_way) = (watch::Sender::new(false), Mutex::default(), Arc::default());
        Ok(Bucket { place: place.clone(), reached, runtime: Some(runtime), closing, told, under_way })
    }

    /// Ends the calls that are on their way, and refuses all that come.
    pub fn close(&self) {
        self.closing.send_replace(true);
    }

    /// The same to a bucket once this is over. A folder is waited for: who gave up a write into one that hangs would lose its
    /// lock, and the write might still come.
    pub fn close_after(&self, end: impl Future<Output = ()> + Send + 'static) {
        if let (Reached::Store { .. }, Some(runtime)) = (&self.reached, &self.runtime) {
            let closing = self.closing.clone();
            runtime.spawn(async move {
                end.await;
                closing.send_replace(true);
            });
        }
    }

    /// The client, once a folder was seen to be there.
    async fn client(&self, what: (Act, &str)) -> Result<Arc<dyn ObjectStore>, StoreError> {
        let (act, path) = what;
        let (dir, is_dir) = match &self.reached {
            Reached::Folder { dir, is_dir, .. } => (dir.clone(), *is_dir),
            Reached::Store { client, .. } => return Ok(Arc::clone(client)),
        };
        let object = (act != Act::List).then(|| dir.join(path));
        match spawn_blocking(move || opened(&dir, object.as_deref(), is_dir)).await {
            Ok(Ok(client)) => Ok(client),
            Ok(Err(Unopened::Refused(why))) => Err(StoreError::refused(self.detail(what, &why))),
            Ok(Err(Unopened::Unusable(why))) => Err(StoreError::operator(self.detail(what, why))),
            Ok(Err(Unopened::Directory)) => {
                Err(StoreError::operator(format!("{}: {path} is a directory, and no object: move it away", self.place)))
            }
            Ok(Err(Unopened::Failed(error))) => Err(self.failed(what, &error)),
            Err(error) => Err(StoreError::new(self.detail(what, &causes(&error)))),
        }
    }

    fn path(&self, path: &str) -> Path {
        match &self.reached {
            Reached::Folder { .. } => Path::from(path),
            Reached::Store { prefix, .. } => Path::from(format!("{prefix}/{path}")),
        }
    }

    /// The path of an object in a folder.
    fn where_is(&self, path: &str) -> PathBuf {
        match &self.reached {
            Reached::Folder { dir, .. } => dir.join(path),
            Reached::Store { .. } => PathBuf::new(),
        }
    }

    /// What is told of a call that has failed.
    fn detail(&self, (act, path): (Act, &str), why: &str) -> String {
        format!("{}: cannot {} {path}: {why}", self.place, act.name())
    }

    fn failed(&self, (act, path): (Act, &str), error: &object_store::Error) -> StoreError {
        match refused(error, &self.place, (act, &self.where_is(path))) {
            Some(why) => StoreError::refused(self.detail((act, path), &why)),
            None => StoreError::new(self.detail((act, path), &told(error))),
        }
    }

    /// Names the directories that lie where objects of a folder are looked for, each once.
    fn tell_directories(&self, folder: &str) {
        let Reached::Folder { dir, .. } = &self.reached else { return };
        // The listing stands all the same: these are named for a person.
        let Ok(found) = self.directories(folder) else { return };
        let mut told = self.told.lock();
        for name in found {
            let path = dir.join(folder).join(name);
            if told.len() < DIRECTORIES_TOLD_MAX && !told.contains(&path) {
                tracing::warn!(path = %path.display(), "a directory is no object, and is passed over");
                told.insert(path);
            }
        }
    }

    /// The bytes of an object as they are written.
    ///
    /// # Errors
    /// [`StoreError`] while writes that were given up hang in the disk of a folder.
    fn payload(&self, path: &str, bytes: Vec<u8>) -> Result<PutPayload, StoreError> {
        if matches!(self.reached, Reached::Store { .. }) {
            return Ok(PutPayload::from(bytes));
        }
        if Arc::strong_count(&self.under_way) > UNDER_WAY_MAX {
            let why = format!("{UNDER_WAY_MAX} writes that were given up have not ended: the disk of the folder hangs");
            return Err(StoreError::new(self.detail((Act::Write, path), &why)));
        }
        let owner = UnderWay { bytes, _one: Arc::clone(&self.under_way) };
        Ok(PutPayload::from(Bytes::from_owner(owner)))
    }

    fn names(&self, path: &str) -> Names {
        let (dir, flush) = match &self.reached {
            Reached::Folder { dir, flush, .. } => (dir, *flush),
            Reached::Store { .. } => return Names { folders: Vec::new(), flush },
        };
        let above = FsPath::new(path).ancestors().skip(1);
        Names { folders: above.map(|folder| dir.join(folder)).collect(), flush }
    }

    /// Keeps other processes from replacing an object, as far as a lock can: in a folder.
    ///
    /// # Errors
    /// [`StoreError`] when the folder is not there, or takes no lock.
    pub fn lock(&self, path: &str) -> Result<Lock, StoreError> {
        let Reached::Folder { dir, .. } = &self.reached else { return Ok(Lock::Unknown) };
        let file = dir.join(path);
        let fail = |error: io::Error| {
            let detail = |why: &str| format!("{}: cannot lock {path}: {why}", self.place);
            match not_allowed(&error, &file) {
                Some(why) => StoreError::refused(detail(&why)),
                None => StoreError::new(detail(&error.to_string())),
            }
        };
        // Only what is in the folder is made, and not the folder: it may be a disk that is not mounted now.
        if let Some(within) = file.parent().filter(|within| dir.is_dir() && !within.is_dir()) {
            match std::fs::create_dir(within) {
                // Another writer was faster.
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                made => made.map_err(fail)?,
            }
        }
        let file = File::options().create(true).append(true).open(&file).map_err(fail)?;
        match file.try_lock() {
            Ok(()) => Ok(Lock::Held(file)),
            Err(TryLockError::WouldBlock) => Ok(Lock::Elsewhere),
            Err(TryLockError::Error(error)) => Err(fail(error)),
        }
    }

    /// Whether this is still the file that other processes find locked. Who deleted it, or the folder, has let others in.
    ///
    /// # Errors
    /// [`StoreError`] when the folder cannot be asked.
    pub fn holds(&self, path: &str, lock: &Lock) -> Result<bool, StoreError> {
        let (Reached::Folder { dir, .. }, Lock::Held(file)) = (&self.reached, lock) else { return Ok(true) };
        let fail = |error: std::io::Error| StoreError::new(format!("{}: cannot find {path}: {error}", self.place));
        let identity = |meta: std::fs::Metadata| (meta.dev(), meta.ino());
        match std::fs::metadata(dir.join(path)) {
            Ok(found) => Ok(identity(found) == identity(file.metadata().map_err(fail)?)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && dir.is_dir() => Ok(false),
            Err(error) => Err(fail(error)),
        }
    }

    /// Reads an object of at most so many bytes, with what [`Bucket::replace`] needs; `None` when there is none.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn read(&self, path: &str, bytes_max: u64) -> Result<Option<(Got, Tag)>, StoreError> {
        let at = self.path(path);
        let get = |client: Arc<dyn ObjectStore>| async move {
            match client.get(&at).await {
                Err(error) if is_no_object(&error) => Ok(None),
                Err(error) => Err(error),
                Ok(found) => {
                    let tag = Tag { e_tag: found.meta.e_tag.clone(), version: found.meta.version.clone() };
                    let got = match found.meta.size {
                        size if size > bytes_max => Got::Longer(size),
                        // Not copied: a snapshot may have some hundreds of megabytes.
                        _ => Got::Whole(found.bytes().await?.into()),
                    };
                    Ok(Some((got, tag)))
                }
            }
        };
        self.call((Act::Read, path), bytes_max, get)
    }

    /// Writes an object that was last seen so, or was not there. `None` when somebody else has written or deleted it since. A
    /// store does both at once. In a folder it is looked for before, and the lock keeps others away in the meantime.
    ///
    /// # Errors
    /// [`StoreError`]; then it is not known whether the object was written.
    pub fn replace(&self, path: &str, bytes: Vec<u8>, seen: Option<&Tag>) -> Result<Option<Tag>, StoreError> {
        let is_folder = matches!(self.reached, Reached::Folder { .. });
        let mode = match seen {
            None => PutMode::Create,
            Some(_) if is_folder => PutMode::Overwrite,
            Some(Tag { e_tag, version }) => {
                PutMode::Update(UpdateVersion { e_tag: e_tag.clone(), version: version.clone() })
            }
        };
        // Who gave up a write into a folder that hangs would lose its lock, and the write might still come, after those of
        // the next writer.
        let limit = if is_folder { NO_LIMIT } else { CALL_LIMIT };
        let at = self.path(path);
        let expected = seen.filter(|_| is_folder).map(|tag| tag.e_tag.clone());
        let names = self.names(path);
        let put = |client: Arc<dyn ObjectStore>| async move {
            if let Some(expected) = expected {
                match client.head(&at).await {
                    Ok(found) if found.e_tag == expected => {}
                    Ok(_) | Err(object_store::Error::NotFound { .. }) => return Ok(None),
                    Err(error) => return Err(error),
                }
            }
            match client.put_opts(&at, PutPayload::from(bytes), mode.into()).await {
                Ok(put) => names.flushed(Some(Tag { e_tag: put.e_tag, version: put.version })).await,
                Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => {
                    names.flushed(None).await
                }
                Err(error) => Err(error),
            }
        };
        self.call_within((Act::Replace, path), limit, put)
    }

    /// Whether an object of this folder, or of those in it, has such a name. Among very many, the answer is yes.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn has(&self, folder: &str, is_one: impl Fn(&str) -> bool) -> Result<bool, StoreError> {
        let at = self.path(folder);
        let look = |client: Arc<dyn ObjectStore>| async move {
            let (mut objects, mut seen) = (client.list(Some(&at)), 0_usize);
            while let Some(object) = objects.next().await.transpose()? {
                seen = seen.saturating_add(1);
                if object.location.filename().is_some_and(&is_one) || seen == LISTED_MAX {
                    return Ok(true);
                }
            }
            Ok(false)
        };
        self.call((Act::List, folder), listed_bytes(LISTED_MAX), look)
    }

    /// The name of the first object of this folder, and not of those in it, that comes after this name in their order; `None` when
    /// none does. A store tells it with one page, however many objects there are. A folder has no order, and is read to its end.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn first_after(&self, folder: &str, name: &str) -> Result<Option<String>, StoreError> {
        let (at, after) = (self.path(folder), self.path(&format!("{folder}/{name}")));
        let is_in_order = matches!(self.reached, Reached::Store { .. });
        let look = |client: Arc<dyn ObjectStore>| async move {
            let depth = at.parts().count().saturating_add(1);
            let (mut objects, mut first) = (client.list_with_offset(Some(&at), &after), None::<Path>);
            while let Some(object) = objects.next().await.transpose()? {
                let found = object.location;
                // Not every store begins behind the name.
                let is_first = found > after && first.as_ref().is_none_or(|first| found < *first);
                if is_first && found.parts().count() == depth {
                    first = Some(found);
                    if is_in_order {
                        break;
                    }
                }
            }
            Ok(first.and_then(|first| first.filename().map(str::to_owned)))
        };
        self.call((Act::List, folder), listed_bytes(LISTED_MAX), look)
    }

    /// Writes an object within so long a time.
    ///
    /// # Errors
    /// [`StoreError`]; then it is not known whether the object was written.
    pub fn put_within(&self, path: &str, bytes: Vec<u8>, limit: Duration) -> Result<(), StoreError> {
        let (at, names, payload) = (self.path(path), self.names(path), self.payload(path, bytes)?);
        let put = |client: Arc<dyn ObjectStore>| async move {
            client.put(&at, payload).await?;
            names.flushed(()).await
        };
        self.call_within((Act::Write, path), limit, put)
    }

    /// Makes a call that moves so many bytes.
    fn call<T, F>(
        &self,
        what: (Act, &str),
        bytes: u64,
        call: impl FnOnce(Arc<dyn ObjectStore>) -> F,
    ) -> Result<T, StoreError>
    where
        F: Future<Output = object_store::Result<T>>,
    {
        self.call_within(what, limit_of(bytes), call)
    }

    fn call_within<T, F>(
        &self,
        what: (Act, &str),
        limit: Duration,
        call: impl FnOnce(Arc<dyn ObjectStore>) -> F,
    ) -> Result<T, StoreError>
    where
        F: Future<Output = object_store::Result<T>>,
    {
        let fail = |why: &str| StoreError::new(self.detail(what, why));
        let Some(runtime) = &self.runtime else { return Err(fail("the process ends")) };
        let called = async {
            let client = self.client(what).await?;
            match AssertUnwindSafe(call(client)).catch_unwind().await {
                Ok(done) => done.map_err(|error| self.failed(what, &error)),
                Err(_) => Err(fail("the client panicked: a line above this one says where")),
            }
        };
        let mut closing = self.closing.subscribe();
        runtime.block_on(async {
            tokio::select! {
                biased;
                _ = closing.wait_for(|is_closing| *is_closing) => Err(fail("the process ends")),
                done = tokio::time::timeout(limit, called) => match done {
                    Ok(done) => done,
                    Err(_) => Err(fail(&format!("no answer within {} s", limit.as_secs()))),
                },
            }
        })
    }
}

/// Longest time of a call that moves so many bytes.
pub fn limit_of(bytes: u64) -> Duration {
    CALL_LIMIT.saturating_add(Duration::from_secs(bytes / BYTES_PER_SECOND_MIN))
}

/// Bytes that a store sends about so many objects.
fn listed_bytes(most: usize) -> u64 {
    LISTED_BYTES.saturating_mul(most as u64)
}

/// The beginning of an error, which has its causes in it.
fn told(error: &object_store::Error) -> String {
    let text = error.to_string();
    match text.char_indices().nth(TOLD_MAX) {
        None => text,
        Some((cut, _)) => format!("{}…", &text[..cut]),
    }
}

impl Drop for Bucket {
    fn drop(&mut self) {
        // A folder that hangs keeps the thread of its call, and nobody waits for it.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Objects for Bucket {
    fn put(&self, path: &str, bytes: Vec<u8>) -> Result<(), StoreError> {
        let limit = limit_of(bytes.len() as u64);
        self.put_within(path, bytes, limit)
    }

    fn create(&self, path: &str, bytes: Vec<u8>) -> Result<bool, StoreError> {
        let (at, length) = (self.path(path), bytes.len() as u64);
        let (names, payload) = (self.names(path), self.payload(path, bytes)?);
        let create = |client: Arc<dyn ObjectStore>| async move {
            match client.put_opts(&at, payload, PutMode::Create.into()).await {
                Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => {
                    names.flushed(false).await
                }
                Err(error) => Err(error),
                Ok(_) => names.flushed(true).await,
            }
        };
        self.call((Act::Write, path), length, create)
    }

    fn get(&self, path: &str, bytes_max: u64) -> Result<Option<Got>, StoreError> {
        Ok(self.read(path, bytes_max)?.map(|(got, _)| got))
    }

    fn heeds_conditions(&self, path: &str) -> Result<bool, StoreError> {
        if matches!(self.reached, Reached::Folder { .. }) {
            return Ok(true);
        }
        self.replace(path, b"first".to_vec(), None)?;
        // No store gives these to an object. Each kind looks at one of them.
        let stranger = Tag { e_tag: Some(format!("\"{:032}\"", 0)), version: Some("1".to_owned()) };
        let is_taken_for_new = self.replace(path, b"second".to_vec(), None)?.is_some();
        Ok(!is_taken_for_new && self.replace(path, b"third".to_vec(), Some(&stranger))?.is_none())
    }

    fn list(&self, folder: &str, most: usize) -> Result<Vec<Listed>, StoreError> {
        let at = self.path(folder);
        let list = |client: Arc<dyn ObjectStore>| async move {
            let depth = at.parts().count() + 1;
            let (mut objects, mut found) = (client.list(Some(&at)), Vec::new());
            while let Some(object) = objects.next().await.transpose()? {
                let Some(name) = object.location.filename() else { continue };
                if object.location.parts().count() != depth {
                    continue;
                }
                let written = u64::try_from(object.last_modified.timestamp_micros()).unwrap_or_default();
                found.push(Listed { name: name.to_owned(), bytes: object.size, written: Micros(written) });
                if found.len() >= most {
                    break;
                }
            }
            Ok(found)
        };
        let found = self.call((Act::List, folder), listed_bytes(most), list)?;
        self.tell_directories(folder);
        Ok(found)
    }

    fn directories(&self, folder: &str) -> Result<Vec<String>, StoreError> {
        let Reached::Folder { dir, is_dir, .. } = &self.reached else { return Ok(Vec::new()) };
        let (within, is_dir) = (dir.join(folder), *is_dir);
        let look = |_: Arc<dyn ObjectStore>| async move {
            let found = spawn_blocking(move || directories(&within, is_dir)).await;
            Ok::<_, object_store::Error>(found.unwrap_or_default())
        };
        self.call((Act::List, folder), 0, look)
    }

    fn delete(&self, path: &str) -> Result<(), StoreError> {
        let at = self.path(path);
        let delete = |client: Arc<dyn ObjectStore>| async move {
            match client.delete(&at).await {
                Err(error) if is_no_object(&error) => Ok(()),
                done => done,
            }
        };
        self.call((Act::Delete, path), 0, delete)
    }
}

#[cfg(test)]
mod tests;
