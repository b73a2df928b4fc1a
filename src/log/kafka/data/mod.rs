//! The topics of a log: how commands, events, replies and dead letters are written and read.

pub(super) mod commands;
pub(super) mod context;
mod dead_letter_record;
pub(super) mod dead_letters;
pub(super) mod events;
pub(super) mod paces;
pub(super) mod progress;
pub(super) mod record;
pub(super) mod replies;
mod search;
pub(super) mod sink;
pub(super) mod stream;
