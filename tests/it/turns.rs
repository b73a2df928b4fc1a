//! Turns that tests write by hand.

use headroom::log::{StoredCommand, StoredEvent, Turn, TurnEvent};

/// A turn that decides these commands and writes these events, whose records have no keys.
pub fn turn(inputs: Vec<StoredCommand>, events: &[StoredEvent]) -> Turn {
    let written = |StoredEvent { seq, bytes, .. }: StoredEvent| TurnEvent { seq, key: None, bytes };
    Turn { inputs, events: events.iter().cloned().map(written).collect(), ..Turn::default() }
}

/// The events that a turn writes, as readers get them.
pub fn stored(turn: &Turn) -> Vec<StoredEvent> {
    let read = |TurnEvent { seq, bytes, .. }: TurnEvent| StoredEvent { seq, bytes, trace: None };
    turn.events.iter().cloned().map(read).collect()
}
