//! Integration tests.

mod arbitrary;
mod contract;
mod wire;
mod store;
mod machine;
mod scenario;
