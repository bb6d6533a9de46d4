//! The invariants of `docs/GUARANTEES.md`, one file each.

mod causality;
mod close_code;
mod contiguity;
mod delivery;
mod fold;
mod order;
mod phantom;
mod presence;
mod redaction;
mod reference_read;
mod subscription;
mod unique_position;
mod vacuity;

use super::invariant::Invariant;

pub(crate) use close_code::FD_GROWTH_MAX;

/// All invariants.
#[derive(Debug, Default)]
pub(crate) struct Invariants {
    pub(crate) delivery: delivery::DeliveryInvariant,
    pub(crate) phantom: phantom::PhantomInvariant,
    pub(crate) unique_position: unique_position::UniquePositionInvariant,
    pub(crate) contiguity: contiguity::ContiguityInvariant,
    pub(crate) order: order::OrderInvariant,
    pub(crate) causality: causality::CausalityInvariant,
    pub(crate) subscription: subscription::SubscriptionInvariant,
    pub(crate) reference_read: reference_read::ReferenceReadInvariant,
    pub(crate) presence: presence::PresenceInvariant,
    pub(crate) close_code: close_code::CloseCodeInvariant,
    pub(crate) vacuity: vacuity::VacuityInvariant,
    pub(crate) redaction: redaction::RedactionInvariant,
    pub(crate) fold: fold::FoldInvariant,
}

impl Invariants {
    /// Returns all invariants in the order of their numbers.
    pub(crate) fn all(&mut self) -> [&mut dyn Invariant; 13] {
        [
            &mut self.delivery,
            &mut self.phantom,
            &mut self.unique_position,
            &mut self.contiguity,
            &mut self.order,
            &mut self.causality,
            &mut self.subscription,
            &mut self.reference_read,
            &mut self.presence,
            &mut self.close_code,
            &mut self.vacuity,
            &mut self.redaction,
            &mut self.fold,
        ]
    }
}
