//! What the next events need of a large state lies far apart in memory. Folding one event after the other waits for memory
//! several times with each. So what a few events need is read before they are folded: the processor fetches it for all of
//! them beside each other.

use super::PartitionState;
use crate::domain::Event;
use crate::replica::slab::LOOK_AHEAD;

/// The most events for which a state looks ahead at once.
pub const EVENTS_AHEAD: usize = LOOK_AHEAD;

impl PartitionState {
    /// Reads what folding these events will read, for no more than [`EVENTS_AHEAD`] of them. It answers nothing and changes
    /// nothing, so it may be left out.
    pub fn look_ahead<'a>(&self, events: impl Iterator<Item = &'a Event> + Clone) {
        self.slab.look_ahead(events.clone().filter_map(|event| event.body.reservation_id()));
        events.filter_map(Event::command).for_each(|command| self.decided.look_ahead(command.id));
    }
}
