//! What an endpoint may refuse: its own refusals, and those that come with its kind.

use crate::api::http::endpoints::{Endpoint, Kind};
use crate::api::http::health::PROBES;
use crate::api::operation::{Allowed, Operation};
use crate::api::problem::{Case, RequestFault};
use crate::domain::Reason;
use crate::service::Code;
use std::collections::BTreeMap;
use utoipa::openapi::path::HttpMethod as Method;

/// Refusals that this edge may give to every request.
const FAULTS: [RequestFault; 9] = [
    RequestFault::BadRequest,
    RequestFault::BadHost,
    RequestFault::HeadTimeout,
    RequestFault::BodyTimeout,
    RequestFault::BodyTooLarge,
    RequestFault::WrongContentType,
    RequestFault::UnknownContentEncoding,
    RequestFault::HeadTooLarge,
    RequestFault::UnknownTransferCoding,
];
/// Reasons for which an owner may refuse every command.
const REASONS: [Reason; 5] =
    [Reason::Malformed, Reason::Misrouted, Reason::DeadlineTooFar, Reason::TooManyCommands, Reason::MemoryFull];

impl Endpoint {
    /// All refusals of this endpoint, by status.
    pub fn refusals(&self) -> BTreeMap<u16, Vec<Case>> {
        let decided = if self.is_command() { &REASONS[..] } else { &[] };
        let mut cases: Vec<Case> =
            self.faults.iter().chain(&FAULTS).chain(self.more()).map(|fault| fault.case()).collect();
        let reasons = self.reasons.iter().chain(decided).map(|reason| Code::of_reason(*reason));
        let more: &[Code] = match self.kind {
            Kind::Reserve => &[Code::Shed, Code::Timeout, Code::TimeoutUnknown, Code::Restoring, Code::Unreadable],
            Kind::Command => {
                &[Code::Shed, Code::Timeout, Code::TimeoutUnknown, Code::NotFresh, Code::Restoring, Code::Unreadable]
            }
            Kind::Read => &[Code::Shed, Code::NotFresh, Code::Restoring, Code::Unreadable],
            Kind::Page if PROBES.contains(&self.path) => &[],
            Kind::Page | Kind::Undescribed => &[Code::Shed, Code::Restoring],
        };
        let is_levelled =
            matches!(self.operation, Operation::DefinePool | Operation::ChangePool | Operation::RetirePool);
        let levelled = is_levelled.then_some(Code::FeatureLevel);
        let counted = self.operation.charge().map(|_| Code::OverQuota);
        cases.extend(
            reasons.chain(counted).chain(levelled).chain([Code::Internal]).chain(more.iter().copied()).map(Case::of),
        );
        let mut by_status: BTreeMap<u16, Vec<Case>> = BTreeMap::new();
        for case in cases {
            let of_status = by_status.entry(case.status).or_default();
            if !of_status.contains(&case) {
                of_status.push(case);
            }
        }
        by_status
    }

    /// The refusals that come with its kind.
    fn more(&self) -> Vec<&'static RequestFault> {
        let mut more = Vec::new();
        if self.operation.allowed() != Allowed::Everybody {
            more.extend(&[RequestFault::BadAuthorization, RequestFault::Unauthenticated, RequestFault::Forbidden]);
        }
        if self.method != Method::Get {
            more.extend(&[RequestFault::ForeignHost, RequestFault::ForeignOrigin]);
        }
        if self.kind != Kind::Page {
            more.push(&RequestFault::BadQuery);
        }
        if self.path.contains('{') {
            more.push(&RequestFault::BadName);
        }
        if self.is_command() {
            more.extend(&[RequestFault::BadKey, RequestFault::BadTimeout, RequestFault::BadName]);
        }
        if self.body.is_some() || self.is_command() {
            more.extend(&[RequestFault::BadJson, RequestFault::UnknownField, RequestFault::BadUnits]);
        }
        more
    }
}
