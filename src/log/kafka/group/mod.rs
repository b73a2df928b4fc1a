//! The consumer groups: that of owners, with its assignments and the notes that owners write about themselves, and that of all
//! processes, which says who can read what.

pub(super) mod distance;
pub(super) mod member;
pub(super) mod process;
