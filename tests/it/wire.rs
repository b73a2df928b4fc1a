//! What is written is read as it was, and whatever else is read is refused in words.

use crate::strategies;
use headroom::domain::{
    Attempt, Attempts, ChainedEvent, Command, CommandBody, CommandId, CommandKind, Digest, Event, Micros,
};
use headroom::domain::{EventBody, Pool, Reservation, ReservationId, Status};
use headroom::limits::COMMAND_BYTES_MAX;
use headroom::log::Reply;
use headroom::wire::snapshot::{
    Piece, Slots, decided_row, decode_row, page_row, pool_row, remembered_key, remembered_row,
};
use headroom::wire::{DecodeError, command, digest, event, reply};
use proptest::collection::vec;
use proptest::prelude::*;
use std::sync::Arc;

proptest! {
    #[test]
    fn a_command_survives_its_bytes(original in strategies::command()) {
        prop_assert_eq!(command::decode(&command::encode(&original)), Ok(original));
    }

    #[test]
    fn a_command_is_the_same_body_after_its_bytes(original in strategies::command()) {
        let decoded = command::decode(&command::encode(&original)).unwrap();
        prop_assert_eq!(decoded.body.fingerprint(), original.body.fingerprint());
    }

    #[test]
    fn an_event_survives_its_bytes(original in strategies::event()) {
        let (bytes, digest) = event::encode(&original);
        prop_assert_eq!(event::decode(&bytes), Ok(ChainedEvent::new(original, digest)));
    }

    #[test]
    fn a_reply_survives_its_bytes(to: u64, original in strategies::event()) {
        let (bytes, digest) = event::encode(&original);
        let reply = Reply { to, decided: ChainedEvent::new(original, digest), bytes, trace: None };
        prop_assert_eq!(reply::decode(&reply::encode(&reply)), Ok(reply));
    }

    #[test]
    fn rows_survive_their_bytes(
        pool in strategies::pool(),
        (no, page) in (any::<u32>(), strategies::page()),
        (key, remembered) in strategies::remembered(),
        (until, ids) in (strategies::micros(), vec(any::<u128>().prop_map(CommandId), 0..9)),
    ) {
        let (row, value) = decided_row((until, no), &ids);
        prop_assert_eq!(decode_row(&row, &value), Ok(Piece::Decided((until, no), ids)));
        let (row, value) = pool_row(&pool);
        prop_assert_eq!(decode_row(&row, &value), Ok(Piece::Pool(pool)));
        let (row, value) = page_row(no, page.iter().map(|(slot, id, reservation)| (*slot, id, reservation)));
        let mut slots: Slots = std::array::from_fn(|_| None);
        page.into_iter().for_each(|(slot, id, reservation)| slots[usize::from(slot)] = Some((id, reservation)));
        prop_assert_eq!(decode_row(&row, &value), Ok(Piece::Page(no, Arc::new(slots))));
        let (row, value) = remembered_row(&key, &remembered);
        prop_assert_eq!(&row, &remembered_key(&key));
        prop_assert_eq!(decode_row(&row, &value), Ok(Piece::DedupEntry(key, remembered)));
    }

    #[test]
    fn a_commands_id_is_read_whatever_follows_it(original in strategies::command(), cut: prop::sample::Index) {
        let bytes = command::encode(&original);
        let (id, cut) = (Some(original.id), cut.index(bytes.len()));
        let head = headroom::wire::frame::FRAME_BYTES + 1 + 1 + 1 + 32;
        prop_assert_eq!(command::id_of(&bytes), id);
        prop_assert_eq!(command::id_of(&bytes[..cut]), id.filter(|_| cut >= head));
        prop_assert_eq!(command::id_of(&[bytes, vec![0; 9]].concat()), id);
    }

    #[test]
    fn garbage_is_refused_in_words(bytes in vec(any::<u8>(), 0..512)) {
        refused(command::decode(&bytes))?;
        prop_assert_eq!(command::id_of(&bytes), None);
        refused(event::decode(&bytes))?;
        refused(reply::decode(&bytes))?;
        refused(decode_row(&bytes, &bytes))?;
    }

    #[test]
    fn damage_never_panics(
        original in strategies::event(),
        asked in strategies::command(),
        page in strategies::page(),
        (at, to) in (any::<prop::sample::Index>(), any::<u8>()),
        cut: prop::sample::Index,
    ) {
        let damaged = |mut bytes: Vec<u8>| {
            let at = at.index(bytes.len());
            bytes[at] = to;
            let end = cut.index(bytes.len() * 2).min(bytes.len());
            bytes.truncate(end);
            bytes
        };
        let (bytes, _) = event::encode(&original);
        let _ = event::decode(&damaged(bytes.clone()));
        refused(event::decode(&bytes[..cut.index(bytes.len())]))?;
        let _ = command::decode(&damaged(command::encode(&asked)));
        let (row, value) = page_row(1, page.iter().map(|(slot, id, reservation)| (*slot, id, reservation)));
        let _ = decode_row(&row, &damaged(value));
    }
}

/// Refused, in lower-case words that end without a full stop.
fn refused<T: std::fmt::Debug>(decoded: Result<T, DecodeError>) -> Result<(), TestCaseError> {
    let text = match decoded {
        Ok(decoded) => return Err(TestCaseError::fail(format!("{decoded:?} was made of garbage"))),
        Err(error) => error.to_string(),
    };
    prop_assert!(!text.is_empty() && text.len() < 1_000 && !text.ends_with('.'), "{}", text);
    prop_assert!(!text.starts_with(|c: char| c.is_uppercase()), "{}", text);
    Ok(())
}

fn tick(prev: Digest) -> Event {
    Event { partition: 0, seq: 1, epoch: 1, prev, decided_at: Micros(1), cause: None, body: EventBody::Tick }
}

#[test]
fn the_digest_is_of_the_datum_and_holds_its_predecessor() {
    let (bytes, digest) = event::encode(&tick(Digest([1; 16])));
    let datum = blake3::hash(&bytes[headroom::wire::frame::FRAME_BYTES..]);
    assert_eq!(digest.0, datum.as_bytes()[..16]);
    assert_ne!(digest, event::encode(&tick(Digest([2; 16]))).1);
}

#[test]
fn refusals_name_what_is_wrong() {
    let ask = CommandBody::Release { reservation: ReservationId::new(0, [0; 11]) };
    let command = Command {
        id: CommandId(1),
        reply_to: None,
        attempt: Attempt(0),
        actor: None,
        key: None,
        deadline: Micros(0),
        body: ask,
    };
    assert_eq!(command.body.kind(), CommandKind::Release);
    let good = command::encode(&command);
    let refusal = |bytes: &[u8]| command::decode(bytes).unwrap_err().to_string();
    let with = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        refusal(&bytes)
    };
    assert_eq!(refusal(&[]), "shorter than its frame");
    assert_eq!(with(0, 0), "not framed as an avro single object");
    assert_eq!(with(2, !good[2]), "written under a schema that is not known here");
    let by_schema = |text: String| text.strip_prefix("not of the schema it names: ").unwrap().to_owned();
    assert_eq!(by_schema(with(10, 0)), "the Ask 0 is not known here");
    assert_eq!(by_schema(with(10, 100)), "the Ask 50 is not known here");
    assert_eq!(by_schema(with(10, 2 * 9)), "the Ask Handover is retired: no program writes it");
    assert_eq!(by_schema(with(13, b'X')), "a command's id is not 32 hex digits");
    assert!(by_schema(with(13, 0xFF)).contains("utf-8"));
    assert!(by_schema(with(11, 4)).contains("union"));
    assert!(by_schema(refusal(&good[..good.len() - 1])).contains("EOF"));
    assert_eq!(refusal(&[good.clone(), vec![0]].concat()), "bytes follow the record");
    assert_eq!(refusal(&vec![0; COMMAND_BYTES_MAX + 1]), "longer than 65536 bytes");
}

#[test]
fn an_event_of_a_retired_kind_is_refused_by_name() {
    let (mut bytes, _) = event::encode(&tick(Digest::default()));
    bytes[10] = 2 * 14; // HandedOver, as Avro writes it.
    let refusal = event::decode(&bytes).unwrap_err().to_string();
    assert_eq!(refusal, "not of the schema it names: the Kind HandedOver is retired: no program writes it");
}

#[test]
fn a_length_that_is_a_lie_allocates_nothing() {
    let good = command::encode(&Command {
        id: CommandId(1),
        reply_to: None,
        attempt: Attempt(0),
        actor: None,
        key: None,
        deadline: Micros(0),
        body: CommandBody::Release { reservation: ReservationId::new(0, [0; 11]) },
    });
    // The first text's length, as the longest and the largest negative number there is.
    for lie in [[0xFE, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 1], [0xFF; 10]] {
        let bytes = [&good[..12], &lie, &good[13..]].concat();
        let text = command::decode(&bytes).unwrap_err().to_string();
        assert!(["EOF", "end of slice", "buffer length"].iter().any(|why| text.contains(why)), "{text}");
    }
}

#[test]
fn what_people_read_has_the_schemas_names() {
    let (bytes, _) = event::encode(&tick(Digest::default()));
    let json = event::to_json(&event::decode(&bytes).unwrap());
    let digest = event::decode(&bytes).unwrap().digest.to_string();
    let expected = serde_json::json!({
        "kind": "Tick", "partition": 0, "seq": "1", "epoch": "1", "prev": "00000000000000000000000000000000",
        "decided_at": "1970-01-01T00:00:00.000001Z", "digest": digest,
    });
    assert_eq!(json, expected);
}

fn live() -> impl Strategy<Value = Vec<(ReservationId, Reservation)>> {
    let one = (strategies::reservation_id(), strategies::reservation(), any::<bool>());
    vec(one, 1..4).prop_map(|many| {
        let live = many.into_iter().map(|(id, reservation, held)| {
            let status = if held { Status::Held } else { Status::Confirmed };
            (id, Reservation { status, ..reservation })
        });
        std::collections::BTreeMap::from_iter(live).into_iter().collect()
    })
}

fn state(pools: &[Pool], live: &[(ReservationId, Reservation)]) -> Digest {
    let mut stating = digest::Stating::begin();
    pools.iter().for_each(|pool| stating.pool(pool));
    live.iter().for_each(|(id, reservation)| stating.reservation(*id, reservation));
    stating.end()
}

proptest! {
    #[test]
    fn the_digest_of_a_state_is_of_its_values(pool in strategies::pool(), live in live()) {
        let pools = [pool];
        let same = state(&pools, &live);
        let mut later = live.clone();
        later.iter_mut().for_each(|(_, r)| r.seq ^= 1);
        prop_assert_eq!(same, state(&pools, &later), "which event changed it last is no value");
        let mut confirmed = live.clone();
        confirmed.iter_mut().filter(|(_, r)| r.status == Status::Confirmed).for_each(|(_, r)| r.until.0 ^= 1);
        prop_assert_eq!(same, state(&pools, &confirmed), "a confirmed one has no deadline");
        let mut other = live.clone();
        other[0].1.fingerprint ^= 1;
        prop_assert_ne!(same, state(&pools, &other));
        let mut counted = live.clone();
        counted[0].1.attempts = match counted[0].1.attempts {
            Attempts::Settled => Attempts::None,
            _ => Attempts::Settled,
        };
        prop_assert_ne!(same, state(&pools, &counted));
        let (mut cancelled, before) = (counted.clone(), state(&pools, &counted));
        cancelled[0].1.attempts = Attempts::None;
        cancelled[0].1.attempts.cancel(Attempt(u64::MAX));
        prop_assert_ne!(before, state(&pools, &cancelled));
        let mut ended = live.clone();
        ended[0].1.status = Status::Released;
        prop_assert_ne!(same, state(&pools, &ended));
        ended[0].1.until.0 ^= 1;
        prop_assert_ne!(state(&pools, &ended), state(&pools, &live));
        prop_assert_ne!(same, state(&pools, &live[1..]));
        prop_assert_ne!(same, state(&[], &live));
        let used = Pool { version: pools[0].version ^ 1, ..pools[0].clone() };
        prop_assert_ne!(same, state(&[used], &live));
    }
}

#[test]
#[should_panic(expected = "in order of id")]
fn a_state_out_of_order_has_no_digest() {
    let reservation =
        Reservation { status: Status::Confirmed, ..Reservation::void(headroom::domain::PoolId::new("p").unwrap()) };
    let id = |n| ReservationId::new(n, [0; 11]);
    let _ = state(&[], &[(id(2), reservation.clone()), (id(1), reservation)]);
}
