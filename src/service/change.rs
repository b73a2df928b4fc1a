//! Changing a reservation: confirming, extending, amending and releasing it.

use super::{CallContext, Decided, Refusal, Service};
use crate::domain::{Amounts, CommandBody, ReservationId};
use std::time::Duration;

/// A change of a reservation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ReservationChange {
    /// The hold becomes a permanent reservation.
    Confirm,
    /// The hold lasts this long, counted from the decision.
    Extend {
        /// The time in milliseconds.
        hold_ttl_ms: u64,
    },
    /// The demand of the reservation is replaced.
    Amend {
        /// The whole new demand, as units by dimension.
        demand: Amounts,
    },
    /// The reservation gives back what it takes.
    Release,
}

impl ReservationChange {
    fn command(self, reservation: ReservationId) -> CommandBody {
        match self {
            ReservationChange::Confirm => CommandBody::Confirm { reservation },
            ReservationChange::Extend { hold_ttl_ms } => CommandBody::Extend { reservation, hold_ttl_ms },
            ReservationChange::Amend { demand } => CommandBody::Amend { reservation, demand },
            ReservationChange::Release => CommandBody::Release { reservation },
        }
    }
}

impl Service {
    /// Changes a reservation. Nothing is appended for an id that was never admitted, so that guessing ids costs the log
    /// nothing. Looking for the reservation and waiting for the decision share the caller's deadline.
    ///
    /// # Errors
    /// The [`Refusal`] to tell the caller.
    pub async fn change_reservation(
        &self,
        id: ReservationId,
        change: ReservationChange,
        context: CallContext,
    ) -> Result<Decided, Refusal> {
        if self.admitted(id).is_none() {
            self.look_for(id, self.left(&context)).await?;
        }
        self.decide(change.command(id), context).await
    }

    /// Looks for a reservation that this process does not know: another process may have admitted it a moment ago.
    async fn look_for(&self, id: ReservationId, within: Duration) -> Result<(), Refusal> {
        let handle = self.replica().of_reservation(&id).ok_or(Refusal::UnknownReservation(id))?;
        self.readable(handle, false).await?;
        let is_fresh = self.freshness.reached(handle, within).await;
        match self.admitted(id) {
            Some(_) => Ok(()),
            None if is_fresh => Err(Refusal::UnknownReservation(id)),
            None => Err(Refusal::NotKnownHere(id)),
        }
    }
}
