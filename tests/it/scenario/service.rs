//! The use cases, without any protocol: what every edge calls, and what it is answered. The clock stands where the
//! scenario says.

use super::callers::{Caller, play};
use super::{Depth, Fields, Scenario, Seen, Step, Transcript, seen_body};
use crate::server::{Server, runtime};
use headroom::access::{Principal, Roles};
use headroom::domain::{Command, CommandBody, PoolChange, ReservationId};
use headroom::service::{CallContext, Decided, ExpectedPool, Refusal, ReservationChange, Reserve};
use headroom::trace::Tracing;
use std::collections::BTreeMap;
use std::sync::Arc;

pub struct ServiceDepth;

impl Depth for ServiceDepth {
    fn name(&self) -> &'static str {
        "service"
    }

    /// A reservation that was never admitted is refused before there is an event: nothing is known of it but its id.
    fn shows(&self, kind: &str, _: &str) -> bool {
        kind != "rejected unknown_reservation"
    }

    fn run(&mut self, scenario: &Scenario) -> Transcript {
        play(scenario, |server| Box::new(ServiceCaller { server, ids: BTreeMap::new() }))
    }
}

/// Calls what a scenario says.
struct ServiceCaller<'a> {
    server: &'a Server,
    /// The ids that the service gave reservations made without a key.
    ids: BTreeMap<ReservationId, ReservationId>,
}

impl ServiceCaller<'_> {
    async fn call(&self, command: &Command) -> Result<Decided, Refusal> {
        let service = &self.server.service;
        let principal = Arc::new(Principal { name: command.actor.clone(), roles: Roles::ALL });
        let (key, trace) = (command.key.clone(), Arc::new(Tracing::off(|| 7)).enter(None));
        let context = CallContext { key, principal, timeout_ms: None, arrived: service.now(), trace };
        let change = |id: &ReservationId, change| service.change_reservation(self.id(*id), change, context.clone());
        match command.body.clone() {
            CommandBody::DefinePool { pool, spec, expected_version } => {
                let expected = expected_version.map(|version| match version {
                    0 => ExpectedPool::Absent,
                    version => ExpectedPool::Version(version),
                });
                service.define_pool(pool, spec, expected, context).await
            }
            CommandBody::AdjustLimits { pool, change, expected_version } => {
                let change = PoolChange { limits: Some(change), ..PoolChange::default() };
                service.change_pool(pool, change, expected_version, context).await
            }
            CommandBody::ChangePool { pool, change, expected_version } => {
                service.change_pool(pool, change, expected_version, context).await
            }
            CommandBody::RetirePool { pool, with_reservations, expected_version } => {
                service.retire_pool(pool, with_reservations, expected_version, context).await
            }
            CommandBody::SetMode { pool, mode, expected_version } => {
                service.set_mode(pool, mode, expected_version, context).await
            }
            CommandBody::Reserve { pool, demand, hold_ttl_ms, order_ref, .. } => {
                service.reserve(Reserve { pool, demand, hold_ttl_ms, order_ref }, context).await
            }
            CommandBody::Confirm { reservation } => change(&reservation, ReservationChange::Confirm).await,
            CommandBody::Extend { reservation, hold_ttl_ms } => {
                change(&reservation, ReservationChange::Extend { hold_ttl_ms }).await
            }
            CommandBody::Amend { reservation, demand } => {
                change(&reservation, ReservationChange::Amend { demand }).await
            }
            CommandBody::Release { reservation } => change(&reservation, ReservationChange::Release).await,
            CommandBody::Abandon { .. } => panic!("no caller sends this"),
        }
    }
}

impl Caller for ServiceCaller<'_> {
    fn server(&self) -> &Server {
        self.server
    }

    fn id(&self, id: ReservationId) -> ReservationId {
        self.ids.get(&id).copied().unwrap_or(id)
    }

    fn step(&mut self, step: &Step) -> Seen {
        let answer = runtime().block_on(self.call(&step.command));
        let mut seen = match &answer {
            Ok(decided) => seen_body(&decided.0.event.body),
            Err(refusal) => match refusal.event() {
                Some(event) => seen_body(&event.event.body),
                None => Seen { kind: format!("rejected {}", refusal.code().meaning().name), fields: Fields::default() },
            },
        };
        if let CommandBody::ChangePool { .. } = step.command.body {
            // A change of limits alone is recorded as one.
            seen.kind = seen.kind.replace("adjusted", "changed");
        }
        if let Some(id) = step.command.body.reservation() {
            let entry = answer.as_ref().ok().and_then(|decided| decided.entry().ok());
            self.ids.extend(entry.map(|entry| (id, entry.reservation)));
            seen.fields.insert("reservation".to_owned(), id.to_string());
        }
        seen
    }
}
