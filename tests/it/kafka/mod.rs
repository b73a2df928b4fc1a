//! Against a real Kafka and a real schema registry. Slow, so that `tests/run quick` leaves all of it out.

mod rig;
mod schemas;
mod topics;
