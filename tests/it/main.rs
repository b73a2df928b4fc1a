//! Integration tests.

mod arbitrary;
mod contract;
mod correlator;
mod machine;
mod scenario;
mod store;
mod wire;
mod world;
