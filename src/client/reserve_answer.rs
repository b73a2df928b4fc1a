//! The answer to a Reserve as its caller understands it. It is small, because a load test keeps millions of them.

use super::{Answer, CallError};
use crate::audit::history::{Proof, Told};
use crate::domain::{Digest, Reason, ReservationId};
use serde::Deserialize;

/// Codes of the gateway's own refusals. They are not a [`Reason`], because no event records them.
const GATEWAY_CODES: [&str; 5] = ["timeout", "shed", "over_quota", "no_owner", "closing"];

/// What a caller knows after a Reserve.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReserveAnswer {
    /// The reservation was accepted; the proof names its event.
    Yes(Proof),
    /// The reservation was refused for good, with the code of the refusal.
    No(&'static str),
    /// The outcome is not known: no answer came, or the answer says `unknown`.
    Unknown,
    /// The answer is not one that the API describes: the server or this tool has a bug.
    Unreadable,
}

#[derive(Deserialize)]
struct Yes<'a> {
    reservation: &'a str,
    proof: YesProof<'a>,
}

#[derive(Deserialize)]
struct YesProof<'a> {
    partition: u32,
    seq: u64,
    epoch: u32,
    digest: &'a str,
}

#[derive(Deserialize)]
struct Problem<'a> {
    code: &'a str,
    outcome: &'a str,
}

impl ReserveAnswer {
    /// Interprets a response, or the failure to get one.
    pub fn of(ended: &Result<Answer, CallError>) -> ReserveAnswer {
        match ended {
            Ok(answer) if answer.status == 201 => {
                proof(&answer.body).map_or(ReserveAnswer::Unreadable, ReserveAnswer::Yes)
            }
            Ok(answer) => refusal(&answer.body).unwrap_or(ReserveAnswer::Unreadable),
            // Nothing was sent, so nothing was applied.
            Err(CallError::NotSent(_)) => ReserveAnswer::No("not_sent"),
            Err(CallError::Broken(_) | CallError::GaveUp) => ReserveAnswer::Unknown,
        }
    }

    /// The reservation with this id was accepted. `event` is the partition, the sequence number and the epoch of the event;
    /// `digest` is the event's digest in hexadecimal.
    pub fn accepted(reservation: &str, event: (u32, u64, u32), digest: &str) -> ReserveAnswer {
        proven(reservation, event, digest).map_or(ReserveAnswer::Unreadable, ReserveAnswer::Yes)
    }

    /// The reservation was refused for good, with this code.
    pub fn refused(text: &str) -> ReserveAnswer {
        ReserveAnswer::No(code(text))
    }

    /// The same answer in the auditor's terms.
    pub fn told(self) -> Told {
        match self {
            ReserveAnswer::Yes(proof) => Told::Yes(proof),
            ReserveAnswer::No(code) => Told::No(code.to_owned()),
            ReserveAnswer::Unknown | ReserveAnswer::Unreadable => Told::Unknown,
        }
    }
}

/// The proof in the body of a 201; `None` when the body has none that can be read.
pub fn proof(body: &[u8]) -> Option<Proof> {
    let yes: Yes<'_> = serde_json::from_slice(body).ok()?;
    proven(yes.reservation, (yes.proof.partition, yes.proof.seq, yes.proof.epoch), yes.proof.digest)
}

fn proven(reservation: &str, (partition, seq, epoch): (u32, u64, u32), text: &str) -> Option<Proof> {
    Some(Proof { reservation: ReservationId::parse(reservation).ok()?, partition, seq, epoch, digest: digest(text)? })
}

fn refusal(body: &[u8]) -> Option<ReserveAnswer> {
    let problem: Problem<'_> = serde_json::from_slice(body).ok()?;
    match problem.outcome {
        "not_applied" => Some(ReserveAnswer::refused(problem.code)),
        "unknown" => Some(ReserveAnswer::Unknown),
        _ => None,
    }
}

/// The code as a static text; a code that this version does not know becomes `other`.
fn code(text: &str) -> &'static str {
    let of_gateway = || GATEWAY_CODES.into_iter().find(|code| *code == text);
    Reason::from_code(text).map(Reason::code).or_else(of_gateway).unwrap_or("other")
}

fn digest(text: &str) -> Option<Digest> {
    (text.len() == 32).then_some(())?;
    let value = u128::from_str_radix(text, 16).ok()?;
    Some(Digest(value.to_be_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::body::Bytes;

    fn of(status: u16, body: &str) -> ReserveAnswer {
        let body = Bytes::copy_from_slice(body.as_bytes());
        ReserveAnswer::of(&Ok(Answer { status, is_replayed: false, retry_after_s: None, body }))
    }

    #[test]
    fn an_answer_is_yes_no_unknown_or_unreadable() {
        let id = ReservationId::new(7, [9; 11]);
        let digest = Digest([0xab; 16]);
        let yes = format!(
            r#"{{"reservation":"{id}","pool":"p","status":"confirmed","demand":{{"orders":1}},
            "proof":{{"partition":3,"seq":41,"epoch":2,"limits":{{"orders":9}},"used":{{"orders":1}},"digest":"{digest}"}}}}"#
        );
        let proof = Proof { reservation: id, partition: 3, seq: 41, epoch: 2, digest };
        assert_eq!(of(201, &yes), ReserveAnswer::Yes(proof));
        let no = |code: &str, outcome: &str| format!(r#"{{"status":409,"code":"{code}","outcome":"{outcome}"}}"#);
        assert_eq!(of(409, &no("over_limit", "not_applied")), ReserveAnswer::No("over_limit"));
        assert_eq!(of(503, &no("timeout", "not_applied")), ReserveAnswer::No("timeout"));
        assert_eq!(of(503, &no("brand_new", "not_applied")), ReserveAnswer::No("other"));
        assert_eq!(of(503, &no("timeout", "unknown")), ReserveAnswer::Unknown);
        for (status, body) in [(201, "{}"), (409, "not found"), (500, ""), (503, &no("timeout", "maybe"))] {
            assert_eq!(of(status, body), ReserveAnswer::Unreadable, "{status} {body}");
        }
    }

    #[test]
    fn only_a_request_that_was_never_sent_is_surely_not_applied() {
        assert_eq!(ReserveAnswer::of(&Err(CallError::NotSent(String::new()))), ReserveAnswer::No("not_sent"));
        assert_eq!(ReserveAnswer::of(&Err(CallError::GaveUp)), ReserveAnswer::Unknown);
        assert_eq!(ReserveAnswer::of(&Err(CallError::Broken(String::new()))), ReserveAnswer::Unknown);
    }
}
