//! What several commands need: flags, opening a log, the state that a restart would come to, and turns that a person asks
//! for.

pub(super) mod flags;
pub(super) mod operator_turn;
pub(super) mod restart;
pub(super) mod source;
