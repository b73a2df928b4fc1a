//! The consumer group of owners: membership, assignments, and the notes that owners write about themselves.

pub(super) mod distance;
pub(super) mod member;
