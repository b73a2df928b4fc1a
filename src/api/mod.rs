//! The edges: each speaks one protocol with callers, and none of them decides anything. What they share is here: the
//! table of operations, what requests may say, and every refusal.
mod body;
mod detail;
pub mod grpc;
pub mod http;
pub mod identity;
pub mod instant;
pub mod operation;
pub mod problem;
mod shapes;
pub mod trace;
mod value;
