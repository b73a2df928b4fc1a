#![doc = include_str!("ARCHITECTURE.md")]

pub mod causes;
pub mod crash;
pub mod file_state;
pub mod limits;
pub mod threads;
pub mod time;
pub mod words;

pub mod domain;
pub mod wire;

pub mod access;
pub mod trace;

pub mod backup;
pub mod log;
pub mod objects;
pub mod snapshot;
pub mod store;

pub mod gateway;
pub mod owner;
pub mod replica;

pub mod service;

pub mod archive;
pub mod audit;
pub mod sink;

pub mod config;
pub mod telemetry;
pub mod tls;

pub mod api;

pub mod client;

pub mod app;
pub mod cmd;
