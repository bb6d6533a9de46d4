//! Faults that the feature `mutants` injects at the seams of the fan-out, to show that the delivery checker notices them.
//! Without the feature every function here is the identity and costs nothing.

use trunkline_bus::Delivery;
use trunkline_domain::{JoinFrom, Room};

#[cfg(feature = "mutants")]
static LAST_POSITIONS: std::sync::Mutex<std::collections::BTreeMap<Room, trunkline_domain::Position>> =
    std::sync::Mutex::new(std::collections::BTreeMap::new());

/// Returns the delivery that the reader handles in place of `delivery`.
#[cfg(not(feature = "mutants"))]
pub(super) fn replace_delivery(delivery: Delivery) -> Delivery {
    delivery
}

/// `repair` and `resync`: an entry that reveals a gap seems to follow the one before it.
#[cfg(feature = "mutants")]
pub(super) fn replace_delivery(delivery: Delivery) -> Delivery {
    use trunkline_bus::mutant::{Mutant, is_on};

    let Delivery::Entry(room, mut entry) = delivery else { return delivery };
    let mut positions = LAST_POSITIONS.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let last = positions.insert(room.clone(), entry.message.pos);
    if let Some(last) = last.filter(|_| is_on(Mutant::Repair) || is_on(Mutant::Resync)) {
        entry.prev = last;
    }
    Delivery::Entry(room, entry)
}

/// Returns where a subscription of `room` starts in place of `from`.
#[cfg(not(feature = "mutants"))]
pub(crate) fn replace_start(_: &Room, from: JoinFrom) -> JoinFrom {
    from
}

/// `catch-up`: a subscription that resumes starts at the newest entry, so the entries before it are skipped, and `joined`
/// claims that nothing is missing.
#[cfg(feature = "mutants")]
pub(crate) fn replace_start(room: &Room, from: JoinFrom) -> JoinFrom {
    use trunkline_bus::mutant::{Mutant, is_on};

    if !is_on(Mutant::CatchUp) || from.after.is_none() {
        return from;
    }
    let positions = LAST_POSITIONS.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    JoinFrom { after: positions.get(room).copied().max(from.after), ..from }
}
