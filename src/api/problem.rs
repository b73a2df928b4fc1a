//! The one table of everything that can go wrong, and of what a caller is told: the status, the stable code, whether
//! the request may still be applied, and whether a repetition can help. The text for one refusal comes from
//! [`super::detail`]. Each edge writes a [`Problem`] in its own format.

use super::detail;
use super::identity::Refused;
use crate::access::Denied;
use crate::domain::{Amounts, ChainedEvent, Dimension, EventBody, Micros, Reason, Rejection, ReservationId};
use crate::service::outcome::{Code, Effect, Meaning};
use crate::service::{Refusal, Shed, Standing};
use axum::http::header::{ALLOW, WWW_AUTHENTICATE};
use axum::http::{HeaderName, HeaderValue};
use std::borrow::Cow;

/// The challenge to a caller without a credential.
const BEARER: HeaderValue = HeaderValue::from_static("Bearer realm=\"headroom\"");

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
        Code::OverQuota => 429,
        Code::Shed | Code::SlowReader | Code::NotFresh | Code::Restoring | Code::Unreadable | Code::Timeout => 503,
        Code::TimeoutUnknown => 504,
        Code::PositionOutOfRange => 410,
        Code::FeatureLevel => 409,
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
        Reason::PoolRetired
        | Reason::RetiresTooSoon
        | Reason::PoolInUse
        | Reason::OrderHasReservation
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
    BadMessage = "bad_message", 400, "The gRPC message is not the expected one";
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
    BadTimeout = "bad_timeout", 400, "The timeout of the call is not valid";
    BadKey = "bad_key", 400, "The idempotency key is not valid";
    BadVersion = "bad_version", 400, "The expected version is not valid";
    BadQuery = "bad_query", 400, "A query parameter is not valid";
    BadAuthorization = "bad_authorization", 400, "The Authorization header is not valid";
    Unauthenticated = "unauthenticated", 401, "The caller has not proved who it is";
    Forbidden = "forbidden", 403, "The caller may not do this";
    ForeignOrigin = "foreign_origin", 403, "The request comes from another site's page";
    NotFound = "not_found", 404, "There is nothing at this path";
    UnknownService = "unknown_service", 404, "The health of this service is not known";
    MethodNotAllowed = "method_not_allowed", 405, "The path does not take this method";
    TlsRequired = "tls_required", 400, "The caller speaks plain HTTP, and this address takes TLS";
    TlsNotSpoken = "tls_not_spoken", 400, "The caller speaks TLS, and this address takes plain HTTP";
    HeadTimeout = "head_timeout", 408, "The request did not come in time";
    BodyTimeout = "body_timeout", 408, "The body did not come in time";
    BodyTooLarge = "body_too_large", 413, "The body is too large";
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

/// A refusal, with all that a caller is told of it.
#[derive(Clone, Debug)]
pub struct Problem {
    case: Case,
    detail: Cow<'static, str>,
    /// Headers of the answer that its code asks for.
    headers: Vec<(HeaderName, HeaderValue)>,
    /// The refusal of the service, if it is one of those.
    refusal: Option<Box<Refusal>>,
}

impl Problem {
    fn new(case: Case, detail: impl Into<Cow<'static, str>>) -> Problem {
        Problem { case, detail: detail.into(), headers: Vec::new(), refusal: None }
    }

    /// A refusal with a code of the service, for a reason that only this edge knows.
    pub fn of(code: Code, detail: impl Into<Cow<'static, str>>) -> Problem {
        Problem::new(Case::of(code), detail)
    }

    /// A refusal by this edge: the request never reached the service.
    pub fn fault(fault: RequestFault, detail: impl Into<Cow<'static, str>>) -> Problem {
        Problem::new(fault.case(), detail)
    }

    /// A refusal of a method that the path does not take.
    pub fn method_not_allowed(path: &str, allowed: HeaderValue) -> Problem {
        let takes = allowed.to_str().unwrap_or_default();
        let detail = format!("{path} takes {takes} and no other method");
        Problem::fault(RequestFault::MethodNotAllowed, detail).header(ALLOW, allowed)
    }

    /// Adds one more header.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Problem {
        self.headers.push((name, value));
        self
    }

    /// Logs a bug, and refuses the request that met it.
    pub fn bug(what: &'static str) -> Problem {
        tracing::error!(what, "an answer could not be made: this is a bug");
        Problem::from(Refusal::Internal)
    }

    /// The stable code of the refusal.
    pub fn code(&self) -> &'static str {
        self.case.code
    }

    /// What its code says, in words.
    pub fn title(&self) -> &'static str {
        self.case.title
    }

    /// Why the call was shed, if it was.
    pub fn shed(&self) -> Option<Shed> {
        self.refusal.as_deref().and_then(Refusal::shed)
    }

    /// What is left of the caller's quota, if that is why it was refused.
    pub fn over_quota(&self) -> Option<&Standing> {
        match self.refusal.as_deref() {
            Some(Refusal::OverQuota(standing)) => Some(standing),
            _ => None,
        }
    }

    /// The event of the refusal, if the owner decided it.
    pub fn event(&self) -> Option<&ChainedEvent> {
        self.refusal.as_deref().and_then(Refusal::event)
    }

    /// Its row in the table.
    pub fn case(&self) -> Case {
        self.case
    }

    /// What is wrong this time, with which value, and what to do.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// The headers that its code asks for.
    pub fn into_headers(self) -> Vec<(HeaderName, HeaderValue)> {
        self.headers
    }

    /// Whether the key had this refusal before.
    pub fn is_repeated(&self) -> bool {
        self.event().is_some_and(|event| matches!(event.event.body, EventBody::Repeated(..)))
    }

    /// The first dimension that refused, if one did.
    pub fn dimension(&self) -> Option<Dimension> {
        self.rejection()?.dimension
    }

    /// What the pool had left, where counters decided.
    pub fn remaining(&self) -> Option<Amounts> {
        let rejection = self.rejection()?;
        let (limits, used) = (rejection.limits.as_ref()?, rejection.used.as_ref()?);
        Some(limits.map(|d, limit| limit.saturating_sub(used.get(d).unwrap_or_default())))
    }

    /// The reservation that is the cause of the refusal, or that lives under the key of an attempt that was not applied.
    pub fn reservation(&self) -> Option<ReservationId> {
        if let Some(Refusal::EarlierAttempt(reservation, _)) = self.refusal.as_deref() {
            return Some(*reservation);
        }
        let rejection = self.rejection()?;
        match rejection.reason {
            Reason::HoldExpired | Reason::AlreadyReleased | Reason::NotAHold => rejection.reservation,
            Reason::OrderHasReservation => rejection.existing_reservation,
            _ => None,
        }
    }

    /// The latest end that a hold could have, if it asked for too much time.
    pub fn hold_until(&self) -> Option<Micros> {
        self.rejection()?.hold_until
    }

    /// The number of live reservations for which a pool may not retire.
    pub fn live_reservations(&self) -> Option<u64> {
        self.rejection()?.live
    }

    /// Until when the id of a pool that has retired lately may not be defined anew.
    pub fn retired_until(&self) -> Option<Micros> {
        self.refusal.as_deref().and_then(Refusal::retired_until)
    }

    fn rejection(&self) -> Option<&Rejection> {
        self.event()?.event.body.rejection()
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Problem {
        let problem = Problem::of(refusal.code(), detail::of(&refusal));
        Problem { refusal: Some(Box::new(refusal)), ..problem }
    }
}

/// A caller that is not known, or may not do what it asks for, is told by the rules of RFC 6750, too.
impl From<Refused> for Problem {
    fn from(refused: Refused) -> Problem {
        let detail = refused.to_string();
        let (fault, challenge) = match refused {
            Refused::Header(_) => {
                (RequestFault::BadAuthorization, format!(", error=\"invalid_request\", error_description=\"{detail}\""))
            }
            // Whoever brings no credential is told no error.
            Refused::Denied(Denied::Missing) => (RequestFault::Unauthenticated, String::new()),
            Refused::Denied(_) => {
                (RequestFault::Unauthenticated, format!(", error=\"invalid_token\", error_description=\"{detail}\""))
            }
            Refused::Forbidden(_, roles) => {
                let scope = roles.to_string().replace(',', " ");
                (RequestFault::Forbidden, format!(", error=\"insufficient_scope\", scope=\"{scope}\""))
            }
        };
        let challenge = HeaderValue::try_from(format!("Bearer realm=\"headroom\"{challenge}")).unwrap_or(BEARER);
        Problem::fault(fault, detail).header(WWW_AUTHENTICATE, challenge)
    }
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
