//! The gRPC edge, called as its callers do: with a generated client, over the listener of HTTP.

#[rustfmt::skip]
mod client;
mod conformance;
mod generated;
pub mod protocol;
mod roles;
mod translate;
pub mod watch;
mod watch_position;

use crate::server::{Server, runtime};
pub use client::capacity_client::CapacityClient;
use headroom::api::grpc::status::RpcStatus;
use headroom::api::grpc::v1;
use prost::Message;
use std::net::SocketAddr;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};
pub use translate::{Answer, Asked, ask};

/// A connection that is made when it is needed.
pub fn channel(address: SocketAddr) -> Channel {
    let endpoint = Endpoint::try_from(format!("http://{address}")).unwrap();
    let _runtime = runtime().enter();
    endpoint.connect_lazy()
}

/// A client of this server.
pub fn client(server: &Server) -> CapacityClient<Channel> {
    CapacityClient::new(channel(server.address))
}

/// The problem that a status carries.
pub fn problem(status: &Status) -> v1::Problem {
    let details = RpcStatus::decode(status.details()).unwrap();
    assert_eq!((details.code, &*details.message), (status.code().into(), status.message()));
    let [detail] = &details.details[..] else { panic!("{status:?}") };
    assert_eq!(detail.type_url, "type.googleapis.com/headroom.v1.Problem");
    v1::Problem::decode(&*detail.value).unwrap()
}
