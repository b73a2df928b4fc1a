//! The fields `RateLimit` and `RateLimit-Policy` of answers to callers with a quota, by the draft of the IETF
//! (draft-ietf-httpapi-ratelimit-headers, version 11).

use crate::service::Standing;
use axum::http::{HeaderName, HeaderValue};

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const LIMIT: HeaderName = HeaderName::from_static("ratelimit");

/// Both fields. The policy is what a full bucket holds, and the seconds in which an empty one fills. The limit is what
/// the bucket holds now, and the second in which no more than that is certain: some more come back in each.
pub fn fields(Standing { charge, rate, remaining }: &Standing) -> [(HeaderName, HeaderValue); 2] {
    let (name, burst) = (charge.name(), rate.burst());
    let fills_s = burst.get().div_ceil(rate.per_second().get());
    let policy = format!("\"{name}\";q={burst};w={fills_s}");
    let limit = format!("\"{name}\";r={remaining};t=1");
    // They are ASCII.
    let value = |text: String| HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""));
    [(POLICY, value(policy)), (LIMIT, value(limit))]
}
