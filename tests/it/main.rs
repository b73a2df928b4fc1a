//! Integration tests.

mod arbitrary;
mod audit;
mod cli;
mod contract;
mod correlator;
mod crash;
mod damage;
mod demo;
mod golden;
mod http;
mod impossible;
mod machine;
mod machine_laws;
mod metrics;
mod model;
mod owner;
mod scenario;
mod schemas;
mod server;
mod store;
mod tidy;
mod wire;
mod world;
