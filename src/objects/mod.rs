//! A place for objects: a folder, or a bucket of S3, Google Cloud Storage or Azure. Whoever writes objects uses [`Objects`] or
//! [`Bucket`], and none has a client of its own.

mod bucket;
mod client;
mod environment;
mod folder;
mod names;
mod refusal;

pub use bucket::{Bucket, CALL_LIMIT, Lock, limit_of};

use crate::domain::Micros;
use crate::store::StoreError;

/// Most objects of a folder that are listed, where nobody needs more.
pub const LISTED_MAX: usize = 100_000;

/// An object as a store lists it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listed {
    /// The last part of its name.
    pub name: String,
    /// Its length in bytes.
    pub bytes: u64,
    /// When it was written, by the clock of the store.
    pub written: Micros,
}

/// What tells an object from those that had its name before.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tag {
    e_tag: Option<String>,
    version: Option<String>,
}

/// What an object turned out to be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Got {
    /// All of its bytes, as they were written.
    Whole(Vec<u8>),
    /// It has so many bytes, which are more than were asked for.
    Longer(u64),
}

/// A place for objects. Every call ends within a bounded time. It may be called from any thread.
pub trait Objects: Send + Sync {
    /// Writes an object. Nobody sees half of it.
    ///
    /// # Errors
    /// [`StoreError`]; then it is not known whether the object is there.
    fn put(&self, path: &str, bytes: Vec<u8>) -> Result<(), StoreError>;

    /// Writes an object unless there is one of this name. Nobody sees half of it.
    ///
    /// # Errors
    /// [`StoreError`]; then it is not known whether the object is there.
    fn create(&self, path: &str, bytes: Vec<u8>) -> Result<bool, StoreError>;

    /// Reads an object; `None` when there is none of this name. One of more than `bytes_max` bytes is not read.
    ///
    /// # Errors
    /// [`StoreError`]
    fn get(&self, path: &str, bytes_max: u64) -> Result<Option<Got>, StoreError>;

    /// Whether [`Objects::create`] notices an object that is there already, and [`Bucket::replace`] one that has changed. Of a
    /// store it finds out with an object of this name.
    ///
    /// # Errors
    /// [`StoreError`]
    fn heeds_conditions(&self, path: &str) -> Result<bool, StoreError>;

    /// The objects of this folder and not of those in it, in any order. Of more than `most`, only so many.
    ///
    /// # Errors
    /// [`StoreError`]
    fn list(&self, folder: &str, most: usize) -> Result<Vec<Listed>, StoreError>;

    /// The names of directories that lie where the objects of this folder are looked for. They are no objects, and are not
    /// listed. A store has none, and neither has a folder that is not there.
    ///
    /// # Errors
    /// [`StoreError`]
    fn directories(&self, folder: &str) -> Result<Vec<String>, StoreError>;

    /// Deletes an object, if it is there.
    ///
    /// # Errors
    /// [`StoreError`]
    fn delete(&self, path: &str) -> Result<(), StoreError>;
}
