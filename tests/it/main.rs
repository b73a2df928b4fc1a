//! Integration tests.

mod arbitrary;
mod contract;
mod correlator;
mod golden;
mod machine;
mod machine_laws;
mod model;
mod scenario;
mod schemas;
mod store;
mod tidy;
mod wire;
mod world;
