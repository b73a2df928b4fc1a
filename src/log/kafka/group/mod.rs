//! The group of owners: who is a member, what it is assigned, and what owners note about themselves.

pub(super) mod distance;
pub(super) mod member;
