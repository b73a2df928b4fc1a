//! The one table from everything that can go wrong to what a caller is told: status, stable code, whether it may yet
//! have happened, whether trying again can help. What is said beside it, of one case, is [`super::detail`]'s. Bodies are
//! RFC 9457 problems.

use crate::domain::Reason;
use crate::gateway::admission::Shed;
use crate::limits::{INFLIGHT_PER_PARTITION_MAX, READS_MAX};
use std::borrow::Cow;

/// What `retryable` says in every row of the table, for callers.
pub const RETRYABLE: &str = "`retryable: true` means that what stood in the way may pass by itself: the same request, \
    under the same `Idempotency-Key`, may succeed later. `retryable: false` means that it will not before somebody changes \
    what `detail` names: the request, its key, the pool, or the service.";

/// Whether what was asked may yet have happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Effect {
    /// It has not and will not.
    NotApplied,
    /// Nobody knows yet: repeat it with the same key.
    Unknown,
}

impl Effect {
    /// Its name in bodies.
    pub fn code(self) -> &'static str {
        match self {
            Effect::NotApplied => "not_applied",
            Effect::Unknown => "unknown",
        }
    }
}

/// One row of the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Case {
    /// Stable: callers branch on it.
    pub code: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// For people; the same for every problem with this code.
    pub title: &'static str,
    /// Whether it may have happened.
    pub outcome: Effect,
    /// What [`RETRYABLE`] says.
    pub is_retryable: bool,
}

/// A case that the caller can only mend by asking something else.
const fn fault(code: &'static str, status: u16, title: &'static str) -> Case {
    Case { code, status, title, outcome: Effect::NotApplied, is_retryable: false }
}

/// A case that passes.
const fn passing(code: &'static str, status: u16, title: &'static str) -> Case {
    Case { code, status, title, outcome: Effect::NotApplied, is_retryable: true }
}

macro_rules! edge_cases {
    ($($name:ident = $code:literal, $status:literal, $title:literal;)*) => {
        /// Refusals of the edge itself: the request never came as far as a decision.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Edge { $(#[doc = $title] $name,)* }

        impl Edge {
            /// All of them.
            pub const ALL: &[Edge] = &[$(Edge::$name,)*];

            /// Its row.
            pub fn case(self) -> Case {
                match self {
                    $(Edge::$name => Case { is_retryable: self.is_passing(), ..fault($code, $status, $title) },)*
                }
            }
        }
    };
}

edge_cases! {
    BadRequest = "bad_request", 400, "The request is not valid HTTP";
    BadHost = "bad_host", 400, "The Host header is missing or not valid";
    BadJson = "bad_json", 400, "The body is not the JSON expected";
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

impl Edge {
    /// Whether the same request may come through: it was slow, not wrong.
    fn is_passing(self) -> bool {
        matches!(self, Edge::HeadTimeout | Edge::BodyTimeout)
    }
}

/// A bug: whatever was asked may have been done.
pub const INTERNAL: Case =
    Case { code: "internal", status: 500, title: "The server failed", outcome: Effect::Unknown, is_retryable: true };
/// Shed before anything was appended.
pub const SHED: Case = passing("shed", 503, "The service cannot take this call now");
/// A reader asked for the newest state, and it did not come in time.
pub const NOT_FRESH: Case = passing("not_fresh", 503, "The newest state did not come in time");
/// The partition's state is being rebuilt.
pub const RESTORING: Case = passing("restoring", 503, "The state asked for is not whole yet");
/// The partition's state could not be rebuilt.
pub const UNREADABLE: Case = fault("unreadable", 503, "The state asked for cannot be read");
/// A timeout after which it is certain that nothing was left behind.
pub const TIMEOUT: Case = passing("timeout", 503, "No decision came in time, and none will");
/// A timeout after which nobody knows yet.
pub const TIMEOUT_UNKNOWN: Case = Case {
    code: "timeout",
    status: 504,
    title: "No decision came in time; it may yet be applied",
    outcome: Effect::Unknown,
    is_retryable: true,
};

/// A partition whose state is not read for a caller, and why.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unread {
    /// Which one.
    pub partition: u32,
    /// What a caller is told who asked for nothing else.
    pub case: Case,
    /// Why, in words.
    pub why: String,
}

/// The row of a refusal by the owner.
pub fn of_reason(reason: Reason) -> Case {
    match reason {
        Reason::Malformed => fault("malformed", 400, "The command cannot be what any caller meant"),
        Reason::Misrouted => fault("misrouted", 500, "The command came to the wrong partition"),
        // Nobody is told of a copy; whoever were would not know what its original came to.
        Reason::Duplicate => {
            Case { outcome: Effect::Unknown, ..passing("duplicate", 500, "The command was decided before") }
        }
        Reason::Expired | Reason::Abandoned => TIMEOUT,
        Reason::DeadlineTooFar => {
            passing("deadline_too_far", 503, "The clocks of the gateway and of the owner are too far apart")
        }
        Reason::TooManyCommands => passing("too_many_commands", 503, "The partition was asked too much a moment ago"),
        Reason::MemoryFull => passing("memory_full", 503, "The partition remembers as much as it may"),
        Reason::KeyReused => fault("key_reused", 422, "The key was used with another body"),
        Reason::TooManyAttempts => {
            passing("too_many_attempts", 503, "Too many tries of the key were given up just now")
        }
        // What is in it does not go by itself.
        Reason::PartitionFull => fault("partition_full", 503, "The partition holds as much as it may"),
        Reason::UnknownPool => fault("unknown_pool", 404, "There is no such pool"),
        Reason::UnknownReservation => fault("unknown_reservation", 404, "There is no such reservation"),
        Reason::StaleVersion => fault("stale_version", 412, "The pool has another version"),
        Reason::OrderHasReservation => {
            fault("order_has_reservation", 409, "The order has a live reservation in the pool, which lets it have one")
        }
        Reason::PastCutoff => fault("past_cutoff", 409, "The pool's cutoff has passed"),
        Reason::Closed => fault("closed", 409, "The pool is closed"),
        Reason::Paused => fault("paused", 409, "The pool is paused"),
        Reason::UnknownDimension => fault("unknown_dimension", 409, "The pool has no such dimension"),
        Reason::OverLimit => fault("over_limit", 409, "It does not fit"),
        Reason::LimitOutOfRange => fault("limit_out_of_range", 409, "The limit would leave its range"),
        Reason::InvalidWindow => {
            fault("invalid_window", 409, "The window would be incomplete, or its times out of order")
        }
        Reason::LabelsFull => fault("labels_full", 409, "The pool would have more labels than it may"),
        Reason::DimensionInUse => fault("dimension_in_use", 409, "Reservations still use the dimension"),
        Reason::HoldExpired => fault("hold_expired", 409, "The hold has expired"),
        Reason::AlreadyReleased => fault("already_released", 409, "The reservation has been released"),
        Reason::NotAHold => fault("not_a_hold", 409, "The reservation is not a hold"),
        Reason::HoldTooLong => fault("hold_too_long", 409, "The pool lets no hold have so much time at once"),
        Reason::HoldTooOld => fault("hold_too_old", 409, "The pool lets no hold live so long in all"),
        Reason::HoldBeyondWindow => fault("hold_beyond_window", 409, "The hold would outlive the pool's window"),
    }
}

/// What a caller is told of being shed.
pub fn of_shed(shed: Shed) -> (Case, Cow<'static, str>) {
    let detail = match shed {
        Shed::InFlight => {
            let most = INFLIGHT_PER_PARTITION_MAX;
            return (SHED, format!("{most} calls are in flight on the partition, which is the most: try again").into());
        }
        Shed::Wait => "the partition would not come to this call before its deadline: try again, or give it more time",
        Shed::Full => "the queue of the partition is full: try again when it is shorter",
        Shed::NoOwner => "nobody decides for the partition at present: try again, /readyz says why",
        Shed::Closing => "the process is shutting down: try again, another one takes the call",
        Shed::Connections => "as many connections as may be open are being served: try again, or ask another process",
        Shed::Reads => {
            let most = READS_MAX;
            return (SHED, format!("{most} queries over pools are under way, which is the most: try again").into());
        }
    };
    (SHED, detail.into())
}

/// Every row, once, in order of status.
pub fn cases() -> Vec<Case> {
    let edge = Edge::ALL.iter().map(|edge| edge.case());
    // What a copy of a command comes to is told nobody.
    let told = Reason::ALL.iter().filter(|reason| **reason != Reason::Duplicate);
    let decided = told.map(|reason| of_reason(*reason));
    let mut cases: Vec<_> = edge
        .chain(decided)
        .chain([INTERNAL, SHED, NOT_FRESH, RESTORING, UNREADABLE, TIMEOUT, TIMEOUT_UNKNOWN])
        .collect();
    cases.sort_unstable_by_key(|case| (case.status, case.code));
    cases.dedup();
    cases
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn a_code_means_one_thing() {
        let mut titles = BTreeMap::new();
        for case in cases().into_iter().filter(|case| *case != TIMEOUT_UNKNOWN) {
            assert_eq!(titles.insert(case.code, case), None, "{}", case.code);
            assert!(case.code.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{}", case.code);
            assert_eq!(case.outcome == Effect::Unknown, case == INTERNAL);
        }
    }

    #[test]
    fn a_refusal_keeps_its_reasons_code_unless_it_is_a_timeout() {
        for reason in Reason::ALL {
            let case = of_reason(*reason);
            assert!(case == TIMEOUT || case.code == reason.code(), "{reason}");
            // What a key remembers is no matter of load: asking again changes nothing.
            assert!(!(reason.is_remembered() && case.is_retryable), "{reason}");
        }
    }
}
