//! Integration tests.

mod arbitrary;
mod audit;
mod brokered;
mod cli;
mod clock;
mod collision;
mod contract;
mod copies;
mod correlator;
mod coverage;
mod crash;
mod damage;
mod dead_letters;
mod demo;
mod described;
mod files;
mod follower;
mod fresh;
mod full_disk;
mod golden;
mod http;
mod impossible;
mod losses;
mod machine;
mod machine_laws;
mod memory;
mod metrics;
mod model;
mod overdue;
mod owner;
mod owner_laws;
mod process;
mod rig;
mod scenario;
mod schemas;
mod search;
mod server;
mod store;
mod threads;
mod ticks;
mod tidy;
mod wait;
mod wire;
mod world;

/// How long a slow test hunts: what the environment says, or the usual.
fn knob(variable: &str, usual: u64) -> u64 {
    std::env::var(variable).map_or(usual, |text| text.parse().unwrap_or_else(|e| panic!("{variable}={text}: {e}")))
}
