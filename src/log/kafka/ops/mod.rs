//! Operating a log: its topics, its manifest, permissions, and the checks before a server starts.

pub mod admin;
pub(super) mod coordination;
pub mod levels;
pub(super) mod local_cache;
pub mod manifest;
pub mod owners;
pub mod plan;
pub mod preflight;
pub mod topics;
