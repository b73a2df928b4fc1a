//! What an answer to a Reserve tells its caller, in as few bytes as remembering millions of them allows.

use super::{Answer, CallError};
use crate::audit::history::{Proof, Told};
use crate::domain::{Digest, Reason, ReservationId};
use serde::Deserialize;

/// Codes of refusals that are no [`Reason`]: given by the gateway, never recorded.
const GATEWAY_CODES: [&str; 4] = ["timeout", "shed", "no_owner", "closing"];

/// How a Reserve ended for its caller.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ending {
    /// Yes, with the proof.
    Yes(Proof),
    /// No, for good, with the code.
    No(&'static str),
    /// Nobody knows.
    Unknown,
    /// An answer that is none of the API's: the server or the tool is wrong.
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

impl Ending {
    /// The ending behind an answer, or behind none.
    pub fn of(ended: &Result<Answer, CallError>) -> Ending {
        match ended {
            Ok(answer) if answer.status == 201 => proof(&answer.body).map_or(Ending::Unreadable, Ending::Yes),
            Ok(answer) => refusal(&answer.body).unwrap_or(Ending::Unreadable),
            // Nothing was sent, so nothing can have been applied.
            Err(CallError::NotSent(_)) => Ending::No("not_sent"),
            Err(CallError::Broken(_) | CallError::GaveUp) => Ending::Unknown,
        }
    }

    /// The same as the auditor takes it.
    pub fn told(self) -> Told {
        match self {
            Ending::Yes(proof) => Told::Yes(proof),
            Ending::No(code) => Told::No(code.to_owned()),
            Ending::Unknown | Ending::Unreadable => Told::Unknown,
        }
    }
}

/// The proof in the body of a yes.
pub fn proof(body: &[u8]) -> Option<Proof> {
    let yes: Yes<'_> = serde_json::from_slice(body).ok()?;
    Some(Proof {
        reservation: ReservationId::parse(yes.reservation).ok()?,
        partition: yes.proof.partition,
        seq: yes.proof.seq,
        epoch: yes.proof.epoch,
        digest: digest(yes.proof.digest)?,
    })
}

fn refusal(body: &[u8]) -> Option<Ending> {
    let problem: Problem<'_> = serde_json::from_slice(body).ok()?;
    match problem.outcome {
        "not_applied" => Some(Ending::No(code(problem.code))),
        "unknown" => Some(Ending::Unknown),
        _ => None,
    }
}

/// The code as a constant; codes that nobody knows are one.
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

    fn ending(status: u16, body: &str) -> Ending {
        Ending::of(&Ok(Answer { status, is_replayed: false, body: Bytes::copy_from_slice(body.as_bytes()) }))
    }

    #[test]
    fn an_answer_says_yes_no_or_that_nobody_knows() {
        let id = ReservationId::new(7, [9; 11]);
        let digest = Digest([0xab; 16]);
        let yes = format!(
            r#"{{"reservation":"{id}","pool":"p","status":"confirmed","demand":{{"orders":1}},
            "proof":{{"partition":3,"seq":41,"epoch":2,"limits":{{"orders":9}},"used":{{"orders":1}},"digest":"{digest}"}}}}"#
        );
        let proof = Proof { reservation: id, partition: 3, seq: 41, epoch: 2, digest };
        assert_eq!(ending(201, &yes), Ending::Yes(proof));
        let no = |code: &str, outcome: &str| format!(r#"{{"status":409,"code":"{code}","outcome":"{outcome}"}}"#);
        assert_eq!(ending(409, &no("over_limit", "not_applied")), Ending::No("over_limit"));
        assert_eq!(ending(503, &no("timeout", "not_applied")), Ending::No("timeout"));
        assert_eq!(ending(503, &no("brand_new", "not_applied")), Ending::No("other"));
        assert_eq!(ending(503, &no("timeout", "unknown")), Ending::Unknown);
        for (status, body) in [(201, "{}"), (409, "not found"), (500, ""), (503, &no("timeout", "maybe"))] {
            assert_eq!(ending(status, body), Ending::Unreadable, "{status} {body}");
        }
    }

    #[test]
    fn only_what_never_left_is_surely_not_applied() {
        assert_eq!(Ending::of(&Err(CallError::NotSent(String::new()))), Ending::No("not_sent"));
        assert_eq!(Ending::of(&Err(CallError::GaveUp)), Ending::Unknown);
        assert_eq!(Ending::of(&Err(CallError::Broken(String::new()))), Ending::Unknown);
    }
}
