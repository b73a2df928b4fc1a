//! A place for objects that does not do its part.

use headroom::objects::{Bucket, Got, Listed, Objects};
use headroom::store::StoreError;
use parking_lot::Mutex;

/// What a place does with what it is given and asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Conduct {
    Fine,
    /// It does not answer.
    Gone,
    /// It takes nothing.
    Full,
    /// It lists what it has, and gives nothing.
    GivesNothing,
    /// It lists what it has, and fails every other time that something is to be given.
    FailsBetween,
    /// It lists what it has, and says that there is none of it.
    Forgets,
    /// It keeps less than it was given, and says that all is well.
    KeepsShort,
    /// It keeps other bytes of the same length.
    KeepsOthers,
    /// It says that all is well, and keeps nothing.
    KeepsNothing,
    /// It fails when a manifest comes.
    LosesManifests,
    /// It does not list what has the last name.
    HidesNewest,
    /// It replaces what is there, whatever it is told.
    IgnoresConditions,
}

/// Something that happens beside a call.
type Happens<'a> = Box<dyn FnOnce() + Send + 'a>;

pub struct Faulty<'a> {
    pub bucket: Bucket,
    conduct: Mutex<Conduct>,
    before_put: Mutex<Option<Happens<'a>>>,
    gets: Mutex<u64>,
}

impl<'a> Faulty<'a> {
    pub fn over(bucket: Bucket) -> Faulty<'a> {
        Faulty { bucket, conduct: Mutex::new(Conduct::Fine), before_put: Mutex::new(None), gets: Mutex::new(0) }
    }

    pub fn is(&self, conduct: Conduct) {
        *self.conduct.lock() = conduct;
    }

    /// Lets this happen once, before the next object is written.
    pub fn before_put(&self, happens: impl FnOnce() + Send + 'a) {
        *self.before_put.lock() = Some(Box::new(happens));
    }

    /// How many objects were asked for since this was asked last.
    pub fn gets(&self) -> u64 {
        std::mem::take(&mut *self.gets.lock())
    }

    fn call(&self) -> Result<Conduct, StoreError> {
        match *self.conduct.lock() {
            Conduct::Gone => Err(StoreError::new("the place is gone".to_owned())),
            conduct => Ok(conduct),
        }
    }

    /// What it keeps of an object that it was given; none when it keeps nothing.
    fn kept(&self, path: &str, mut bytes: Vec<u8>) -> Result<Option<Vec<u8>>, StoreError> {
        if let Some(happens) = self.before_put.lock().take() {
            happens();
        }
        match self.call()? {
            Conduct::Full => return Err(StoreError::new("no space is left".to_owned())),
            Conduct::LosesManifests if path.ends_with(".json") => return Err(no_answer()),
            Conduct::KeepsNothing => return Ok(None),
            Conduct::KeepsShort => bytes.truncate(bytes.len() / 2),
            Conduct::KeepsOthers => bytes[20] ^= 1,
            _ => {}
        }
        Ok(Some(bytes))
    }
}

fn no_answer() -> StoreError {
    StoreError::new("no answer within 10 s".to_owned())
}

impl Objects for Faulty<'_> {
    fn put(&self, path: &str, bytes: Vec<u8>) -> Result<(), StoreError> {
        self.kept(path, bytes)?.map_or(Ok(()), |bytes| self.bucket.put(path, bytes))
    }
    fn create(&self, path: &str, bytes: Vec<u8>) -> Result<bool, StoreError> {
        match self.kept(path, bytes)? {
            None => Ok(true),
            Some(bytes) if self.call()? == Conduct::IgnoresConditions => self.bucket.put(path, bytes).map(|()| true),
            Some(bytes) => self.bucket.create(path, bytes),
        }
    }
    fn get(&self, path: &str, bytes_max: u64) -> Result<Option<Got>, StoreError> {
        let asked = {
            let mut gets = self.gets.lock();
            *gets += 1;
            *gets
        };
        match self.call()? {
            Conduct::GivesNothing => Err(no_answer()),
            Conduct::FailsBetween if asked % 2 == 1 => Err(StoreError::new("status code: 503".to_owned())),
            Conduct::Forgets => Ok(None),
            _ => self.bucket.get(path, bytes_max),
        }
    }
    fn heeds_conditions(&self, path: &str) -> Result<bool, StoreError> {
        Ok(self.call()? != Conduct::IgnoresConditions && self.bucket.heeds_conditions(path)?)
    }
    fn list(&self, folder: &str, most: usize) -> Result<Vec<Listed>, StoreError> {
        let conduct = self.call()?;
        let mut listed = self.bucket.list(folder, most)?;
        let stem = |listed: &Listed| listed.name.split_once('.').map(|(stem, _)| stem.to_owned());
        if let Some(newest) = listed.iter().map(stem).max().filter(|_| conduct == Conduct::HidesNewest) {
            listed.retain(|listed| stem(listed) != newest);
        }
        Ok(listed)
    }
    fn directories(&self, folder: &str) -> Result<Vec<String>, StoreError> {
        self.bucket.directories(folder)
    }
    fn delete(&self, path: &str) -> Result<(), StoreError> {
        self.call()?;
        self.bucket.delete(path)
    }
}
