//! Integration tests.

mod arbitrary;
mod contract;
mod correlator;
mod golden;
mod machine;
mod scenario;
mod schemas;
mod store;
mod tidy;
mod wire;
mod world;
