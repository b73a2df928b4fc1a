//! Schemas of records: how a record says under which schema it was written, and the schema registry.

pub mod framing;
pub mod registry;
pub(super) mod resolver;
