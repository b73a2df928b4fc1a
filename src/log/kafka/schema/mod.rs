//! Schemas of records: how a record says which one it has, and the registry that knows them by number.

pub mod framing;
pub mod registry;
pub(super) mod resolver;
