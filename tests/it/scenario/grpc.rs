//! The whole service over gRPC: the calls that say the same as the requests of the HTTP depth.

use super::callers::play;
use super::http::{HttpCaller, Over, shows};
use super::{Depth, Scenario, Transcript};
use crate::grpc::client;

pub struct GrpcDepth;

impl Depth for GrpcDepth {
    /// What is for the whole service over HTTP is for it over gRPC.
    fn name(&self) -> &'static str {
        "http"
    }

    fn shows(&self, kind: &str, field: &str) -> bool {
        shows(kind, field)
    }

    fn run(&mut self, scenario: &Scenario) -> Transcript {
        play(scenario, |server| Box::new(HttpCaller::over(server, Over::Grpc(Box::new(client(server))))))
    }
}
