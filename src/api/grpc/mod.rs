//! The gRPC edge. It shares the listener, the bounds of requests, the callers and the refusals of HTTP; what differs is
//! how messages are written. [`calls`] has the calls, [`message`] takes a message from its body and puts one there,
//! [`messages`] reads what a caller says, [`answers`] writes what the service answers, and [`status`] says which status a
//! refusal has. The messages are generated from `schemas/headroom/v1/capacity.proto`. The services for health and reflection
//! are tonic's.
#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

mod answers;
mod calls;
mod health;
mod message;
mod messages;
mod routes;
pub mod status;
mod timeout;
mod watch;
#[rustfmt::skip]
#[allow(missing_docs, clippy::all, clippy::too_many_lines, clippy::indexing_slicing, clippy::arithmetic_side_effects)]
pub mod v1;

pub(in crate::api) use message::PREFIX_BYTES;
pub use routes::methods;
pub(in crate::api) use routes::{is_call, routes, unknown};

/// The name of the service.
const SERVICE: &str = "headroom.v1.Capacity";

/// The description of all messages and calls, as a `google.protobuf.FileDescriptorSet`.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!("../../../schemas/headroom/v1/capacity.bin");
