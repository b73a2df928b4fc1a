//! Integration tests: what the service owes its callers and operators, over each log, from the pure domain to whole
//! processes on real brokers. Helpers are in `fixtures`, `wait`, `process`, `server`, `world`, `bed` and `rig`.

mod access;
mod alerts;
mod audit;
mod authority;
mod backup;
mod bed;
mod bounded_log;
mod bounded_memory;
mod brokered;
mod buckets;
mod canary;
mod carried_log;
mod chart;
mod cli;
mod clock;
mod clouds;
mod collector;
mod contract;
mod correlator;
mod corrupt_file;
mod crash;
mod data_directory;
mod dead_letters;
mod demo;
mod duplicate_commands;
mod faulty;
mod file_limits;
mod fixtures;
mod follower;
mod fresh_reads;
mod full_disk;
mod giving_up;
mod golden;
mod grpc;
mod http;
mod id_collision;
mod invalid_events;
mod lacking_states;
mod levels;
mod live_copy;
mod lost_data;
mod machine;
mod machine_laws;
mod metrics;
mod model;
mod openapi_check;
mod overdue_holds;
mod owner;
mod owner_laws;
mod packed_frames;
mod partition_status;
mod places;
mod pool_filter;
mod pool_search;
mod process;
mod reservation_pages;
mod retirement;
mod rig;
mod roles;
mod scenario;
mod schemas;
mod season;
mod server;
mod sink;
mod snapshots;
mod state;
mod store;
mod strategies;
mod swap;
mod threads;
mod ticks;
mod tidy;
mod traces;
mod turns;
mod wait;
mod wire;
mod world;

/// How long a slow test hunts: what the environment says, or the usual.
fn knob(variable: &str, usual: u64) -> u64 {
    std::env::var(variable).map_or(usual, |text| text.parse().unwrap_or_else(|e| panic!("{variable}={text}: {e}")))
}
