//! What is written is read as it was, and whatever else is read is refused in words.

use crate::arbitrary;
use headroom::domain::Recorded;
use headroom::wire::{command, event, reply};
use proptest::prelude::*;

proptest! {
    #[test]
    fn a_command_survives_its_bytes(original in arbitrary::command()) {
        prop_assert_eq!(command::decode(&command::encode(&original)), Ok(original));
    }

    #[test]
    fn an_event_survives_its_bytes(original in arbitrary::event()) {
        let (bytes, digest) = event::encode(&original);
        prop_assert_eq!(event::decode(&bytes), Ok(Recorded { event: original, digest }));
    }

    #[test]
    fn a_reply_survives_its_bytes(to: u64, original in arbitrary::event()) {
        let (_, digest) = event::encode(&original);
        let decided = Recorded { event: original, digest };
        prop_assert_eq!(reply::decode(&reply::encode(to, &decided)), Ok(reply::Reply { to, decided }));
    }
}
