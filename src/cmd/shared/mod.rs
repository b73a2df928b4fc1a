//! What several commands need: flags and the files that they name, opening a log, the state that its events lead to, the state
//! that a restart would come to, turns that a person asks for, the output, and how progress and tables are shown.

pub(super) mod certificate;
pub(super) mod files;
pub(super) mod flags;
pub(super) mod fold;
pub(super) mod operator_turn;
pub(super) mod output;
pub(super) mod progress;
pub(super) mod restart;
pub(super) mod source;
pub(super) mod stderr;
pub(super) mod table;
