//! Integration tests.

mod arbitrary;
mod contract;
mod correlator;
mod machine;
mod scenario;
mod store;
mod golden;
mod schemas;
mod wire;
mod world;
