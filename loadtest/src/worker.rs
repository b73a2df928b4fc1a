//! One of the callers whose requests make up a stream.

use crate::grpc::{self, Channel};
use crate::lane::Lane;
use crate::tally::{Class, Tally};
use crate::target::Target;
use headroom::client::Connection;
use headroom::client::reserve_answer::ReserveAnswer;
use headroom::time::{Clock, SystemClock};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;

/// Two kinds of requests, each in a lane of its own.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It takes units of a pool; its answer is kept for the audit.
    Reserve,
    /// It asks for availability, and changes nothing.
    Query,
}

/// What a caller makes its calls with.
pub enum Carrier {
    /// A connection of its own.
    Http(Connection),
    /// A channel that others use as well; it makes reservations only.
    Grpc(Channel),
}

/// A caller, which has one request under way at a time.
pub struct Worker {
    /// What it asks for.
    pub kind: Kind,
    /// What it makes its calls with.
    pub carrier: Carrier,
    /// The clock that all measure by.
    pub clock: Arc<SystemClock>,
    /// The requests to send.
    pub target: Arc<Target>,
    /// Where the requests that are due wait.
    pub lane: Arc<Lane>,
    /// Where answers are counted.
    pub tally: Arc<Mutex<Tally>>,
    /// How each reservation was answered, by its number.
    pub endings: Arc<Mutex<Vec<(u32, ReserveAnswer)>>>,
    /// Time after which an answer is not waited for any more.
    pub give_up: Duration,
}

impl Worker {
    /// Sends what is due, one request after the other, until the lane is closed.
    pub async fn run(mut self) {
        while let Some(job) = self.lane.next().await {
            let sent = self.clock.now();
            let (over, class, told) = match &mut self.carrier {
                Carrier::Http(connection) => {
                    let request = match self.kind {
                        Kind::Reserve => self.target.reserve(job.number, None),
                        Kind::Query => self.target.query(job.number),
                    };
                    let ended = connection.call(request, self.give_up).await;
                    let over = self.clock.now();
                    (over, Class::of(&ended), (self.kind == Kind::Reserve).then(|| ReserveAnswer::of(&ended)))
                }
                Carrier::Grpc(channel) => {
                    let ended = channel.reserve(&self.target.message(job.number), self.give_up).await;
                    (self.clock.now(), grpc::class(&ended), Some(grpc::told(&ended)))
                }
            };
            self.tally.lock().ended(job, sent, over, class);
            self.endings.lock().extend(told.map(|told| (job.number, told)));
        }
    }
}
