//! What lies in the topics, and how it is written and read: commands, events, replies and dead letters.

pub(super) mod commands;
pub(super) mod context;
mod dead_letter_record;
pub(super) mod dead_letters;
pub(super) mod events;
pub(super) mod paces;
pub(super) mod progress;
pub(super) mod record;
pub(super) mod replies;
pub(super) mod sink;
pub(super) mod stream;
