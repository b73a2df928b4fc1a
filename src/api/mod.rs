//! The edges: each speaks one protocol with callers, and none of them decides anything.
pub mod http;
pub mod identity;
pub mod operation;
