//! The one table of everything that can go wrong, and of what a caller is told: the status, the stable code, whether
//! the request may still be applied, and whether a repetition can help. The text for one refusal comes from
//! [`super::detail`]. Bodies are RFC 9457 problems.

use crate::domain::Reason;
use crate::service::outcome::{Code, Effect, Meaning};

/// What `retryable` says in every row of the table, for callers.
pub const RETRYABLE: &str = "`retryable: true` means that what stood in the way may pass by itself: the same request, \
    under the same `Idempotency-Key`, may succeed later. `retryable: false` means that it will not before somebody changes \
    what `detail` names: the request, its key, the pool, or the service.";

/// One row of the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Case {
    /// The stable code; callers branch on it.
    pub code: &'static str,
    /// The HTTP status of the answer.
    pub status: u16,
    /// One sentence for people, the same for every problem with this code.
    pub title: &'static str,
    /// Whether the request may have been applied.
    pub outcome: Effect,
    /// Whether the same request may succeed later; [`RETRYABLE`] explains it to callers.
    pub is_retryable: bool,
}

impl Case {
    /// The row of a refusal by the service.
    pub fn of(code: Code) -> Case {
        let Meaning { name, title, effect, is_retryable } = code.meaning();
        Case { code: name, status: status(code), title, outcome: effect, is_retryable }
    }
}

/// The HTTP status of a refusal by the service.
fn status(code: Code) -> u16 {
    match code {
        Code::Refused(reason) => status_of(reason),
        Code::Shed | Code::NotFresh | Code::Restoring | Code::Unreadable | Code::Timeout => 503,
        Code::TimeoutUnknown => 504,
        Code::Internal => 500,
    }
}

fn status_of(reason: Reason) -> u16 {
    match reason {
        Reason::Malformed => 400,
        Reason::UnknownPool | Reason::UnknownReservation => 404,
        Reason::StaleVersion => 412,
        Reason::KeyReused => 422,
        Reason::Misrouted | Reason::Duplicate => 500,
        Reason::Expired
        | Reason::Abandoned
        | Reason::DeadlineTooFar
        | Reason::TooManyCommands
        | Reason::MemoryFull
        | Reason::TooManyAttempts
        | Reason::PartitionFull => 503,
        Reason::OrderHasReservation
        | Reason::PastCutoff
        | Reason::Closed
        | Reason::Paused
        | Reason::UnknownDimension
        | Reason::OverLimit
        | Reason::LimitOutOfRange
        | Reason::InvalidWindow
        | Reason::LabelsFull
        | Reason::DimensionInUse
        | Reason::HoldExpired
        | Reason::AlreadyReleased
        | Reason::NotAHold
        | Reason::HoldTooLong
        | Reason::HoldTooOld
        | Reason::HoldBeyondWindow => 409,
    }
}

macro_rules! request_faults {
    ($($name:ident = $code:literal, $status:literal, $title:literal;)*) => {
        /// What is wrong with a request that never reached a decision.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum RequestFault { $(#[doc = $title] $name,)* }

        impl RequestFault {
            /// Every variant, once.
            pub const ALL: &[RequestFault] = &[$(RequestFault::$name,)*];

            /// The row of this refusal in the table of problems.
            pub fn case(self) -> Case {
                let (code, status, title) = match self {
                    $(RequestFault::$name => ($code, $status, $title),)*
                };
                Case { code, status, title, outcome: Effect::NotApplied, is_retryable: self.is_passing() }
            }
        }
    };
}

request_faults! {
    BadRequest = "bad_request", 400, "The request is not valid HTTP";
    BadHost = "bad_host", 400, "The Host header is missing or not valid";
    BadJson = "bad_json", 400, "The body is not the expected JSON";
    UnknownField = "unknown_field", 400, "The request has a field that does not exist";
    MissingField = "missing_field", 400, "A required field is missing";
    BadName = "bad_name", 400, "A name is not valid";
    BadUnits = "bad_units", 400, "A number of units is not valid";
    ZeroDemand = "zero_demand", 400, "The demand asks for nothing";
    NoDimensions = "no_dimensions", 400, "No dimension is named";
    TooManyDimensions = "too_many_dimensions", 400, "Too many dimensions are named";
    TooManyAreas = "too_many_areas", 400, "Too many areas are named";
    TooManyLabels = "too_many_labels", 400, "Too many labels are named";
    BadTime = "bad_time", 400, "A time is not valid";
    BadWindow = "bad_window", 400, "The window is not valid";
    BadMode = "bad_mode", 400, "The mode is not valid";
    BadChange = "bad_change", 400, "The change of the pool is not valid";
    BadHoldTtl = "bad_hold_ttl", 400, "The hold's time is not valid";
    BadRule = "bad_rule", 400, "A rule of the pool is not valid";
    BadTimeout = "bad_timeout", 400, "The Request-Timeout-Ms header is not valid";
    BadKey = "bad_key", 400, "The Idempotency-Key header is not valid";
    BadVersion = "bad_version", 400, "The If-Match or If-None-Match header is not valid";
    BadQuery = "bad_query", 400, "A query parameter is not valid";
    BadAuthorization = "bad_authorization", 400, "The Authorization header is not valid";
    Unauthenticated = "unauthenticated", 401, "The caller has not proved who it is";
    Forbidden = "forbidden", 403, "The caller may not do this";
    ForeignOrigin = "foreign_origin", 403, "The request comes from another site's page";
    NotFound = "not_found", 404, "There is nothing at this path";
    MethodNotAllowed = "method_not_allowed", 405, "The path does not take this method";
    TlsNotSpoken = "tls_not_spoken", 400, "The caller speaks TLS, and this address takes plain HTTP";
    HeadTimeout = "head_timeout", 408, "The request did not come in time";
    BodyTimeout = "body_timeout", 408, "The body did not come in time";
    BodyTooLarge = "body_too_large", 413, "The body is too large";
    UriTooLong = "uri_too_long", 414, "The request's target is too long";
    WrongContentType = "wrong_content_type", 415, "The body has to be application/json";
    UnknownContentEncoding = "unknown_content_encoding", 415, "The body's encoding is not known";
    ForeignHost = "foreign_host", 421, "The request is meant for another service";
    HeadTooLarge = "head_too_large", 431, "The request's head is too large";
    UnknownTransferCoding = "unknown_transfer_coding", 501, "The body's transfer coding is not known";
}

impl RequestFault {
    /// Whether the same request may succeed later, because it was slow and not wrong.
    fn is_passing(self) -> bool {
        matches!(self, RequestFault::HeadTimeout | RequestFault::BodyTimeout)
    }
}

/// Every row, once, in order of status.
pub fn cases() -> Vec<Case> {
    let fault = RequestFault::ALL.iter().map(|fault| fault.case());
    let mut cases: Vec<_> = fault.chain(Code::all().map(Case::of)).collect();
    cases.sort_unstable_by_key(|case| (case.status, case.code));
    cases
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn a_code_means_one_thing() {
        let mut titles = BTreeMap::new();
        for case in cases().into_iter().filter(|case| *case != Case::of(Code::TimeoutUnknown)) {
            assert_eq!(titles.insert(case.code, case), None, "{}", case.code);
            assert!(case.code.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{}", case.code);
        }
    }
}
