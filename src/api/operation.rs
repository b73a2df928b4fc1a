//! What can be asked for, whatever the protocol, and who may ask. Each edge names the [`Operation`] of each of its calls.
//! So this one table grants permissions, and counts, logs and spans use one set of names.

use crate::access::{Role, Roles};
use crate::config::Open;
use crate::service::Charge;

/// Who may call an operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Allowed {
    /// Everybody, also without a credential.
    Everybody,
    /// Principals with one of these roles.
    Roles(Roles),
}

const READERS: &[Role] = &[Role::Viewer, Role::Planner, Role::Operator];
const READERS_AND_CHECKOUT: &[Role] = &[Role::Checkout, Role::Viewer, Role::Planner, Role::Operator];

macro_rules! operations {
    ($($name:ident = $text:literal, $allowed:expr;)*) => {
        /// One thing that a caller can ask of a process.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
        pub enum Operation { $(#[doc = concat!("The operation `", $text, "`.")] $name,)* }

        impl Operation {
            /// Every operation, in the order of the table.
            pub const ALL: &[Operation] = &[$(Operation::$name,)*];

            /// Its stable name, which is its `operationId` in the description of the HTTP interface.
            pub const fn name(self) -> &'static str {
                match self { $(Operation::$name => $text,)* }
            }

            /// Who may call it.
            pub const fn allowed(self) -> Allowed {
                match self { $(Operation::$name => $allowed,)* }
            }
        }
    };
}

impl Operation {
    /// Whether everybody may call it, also without a credential: by this table, or by the settings of a deployment.
    pub fn is_open(self, pages: Open) -> bool {
        match self {
            Operation::Metrics => pages.metrics,
            Operation::Docs | Operation::OpenApi => pages.docs,
            other => other.allowed() == Allowed::Everybody,
        }
    }

    /// What it counts as in its caller's quota. A call on what its caller already has is not counted, so that no quota
    /// keeps a hold from being confirmed or capacity from being given back.
    pub const fn charge(self) -> Option<Charge> {
        match self {
            Operation::Reserve
            | Operation::Amend
            | Operation::DefinePool
            | Operation::ChangePool
            | Operation::RetirePool
            | Operation::SetMode => Some(Charge::Take),
            Operation::Availability
            | Operation::ListPools
            | Operation::WatchPools
            | Operation::GetPool
            | Operation::ListReservations
            | Operation::GetReservation => Some(Charge::Read),
            Operation::Confirm | Operation::Extend | Operation::Release => None,
            // These are for whoever looks after the service, or cost next to nothing.
            Operation::Livez
            | Operation::Readyz
            | Operation::Startupz
            | Operation::Metrics
            | Operation::OpenApi
            | Operation::Docs
            | Operation::ReadLog
            | Operation::ReadState
            | Operation::Support
            | Operation::SetClock
            | Operation::SwapState => None,
        }
    }

    /// What a call of a caller with these roles counts as. A refusal that has a line in the audit log is counted whatever was
    /// asked for: that log leaves nothing out, so nobody may fill it.
    pub fn charge_of(self, roles: Roles) -> Option<Charge> {
        let is_refused = matches!(self.allowed(), Allowed::Roles(allowed) if !allowed.meet(roles));
        self.charge().or((is_refused && self.is_audited()).then_some(Charge::Read))
    }

    /// Whether only planners or operators may call it: an attempt of somebody else is worth a line of the audit log.
    pub const fn is_audited(self) -> bool {
        match self.allowed() {
            Allowed::Everybody => false,
            Allowed::Roles(roles) => !roles.meet(Roles::of(&[Role::Checkout, Role::Viewer, Role::Metrics])),
        }
    }
}

const fn only(roles: &[Role]) -> Allowed {
    Allowed::Roles(Roles::of(roles))
}

operations! {
    Availability = "availability", only(READERS_AND_CHECKOUT);
    ListPools = "list_pools", only(READERS);
    WatchPools = "watch_pools", only(READERS);
    GetPool = "get_pool", only(READERS);
    DefinePool = "define_pool", only(&[Role::Planner]);
    ChangePool = "change_pool", only(&[Role::Planner]);
    RetirePool = "retire_pool", only(&[Role::Planner]);
    SetMode = "set_mode", only(&[Role::Planner]);
    ListReservations = "list_reservations", only(READERS_AND_CHECKOUT);
    Reserve = "reserve", only(&[Role::Checkout]);
    GetReservation = "get_reservation", only(READERS_AND_CHECKOUT);
    Amend = "amend", only(&[Role::Checkout]);
    Release = "release", only(&[Role::Checkout]);
    Confirm = "confirm", only(&[Role::Checkout]);
    Extend = "extend", only(&[Role::Checkout]);
    Livez = "livez", Allowed::Everybody;
    Readyz = "readyz", Allowed::Everybody;
    Startupz = "startupz", Allowed::Everybody;
    Metrics = "metrics", only(&[Role::Metrics, Role::Operator]);
    OpenApi = "openapi", only(READERS_AND_CHECKOUT);
    Docs = "docs", only(READERS_AND_CHECKOUT);
    ReadLog = "read_log", only(&[Role::Operator]);
    ReadState = "read_state", only(&[Role::Operator]);
    Support = "support", only(&[Role::Operator]);
    SetClock = "set_clock", only(&[Role::Operator]);
    SwapState = "swap_state", only(&[Role::Operator]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_differ_and_nothing_that_changes_is_for_everybody() {
        assert_eq!(
            Operation::ALL.iter().map(|operation| operation.name()).collect::<BTreeSet<_>>().len(),
            Operation::ALL.len()
        );
        let open: Vec<_> =
            Operation::ALL.iter().filter(|operation| operation.allowed() == Allowed::Everybody).collect();
        assert_eq!(open, [&Operation::Livez, &Operation::Readyz, &Operation::Startupz]);
        let all = Operation::ALL.iter().filter(|operation| operation.is_open(Open { metrics: true, docs: true }));
        let pages = [Operation::Metrics, Operation::OpenApi, Operation::Docs];
        assert!(all.eq(open.into_iter().chain(&pages)), "settings open nothing but pages");
    }
}
