//! Faults of our own: what shows that the delivery checker notices them.
//!
//! Each switches off one thing that the promise rests on. They are there only in a build with the feature `mutants`,
//! which no release build takes; there the variable `TRUNKLINE_MUTANT` names those that are on, divided by commas. In
//! every other build [`is_on`] is `false` at compile time, and nothing of them is left.

#[cfg(all(feature = "mutants", not(debug_assertions)))]
compile_error!("the feature `mutants` breaks the promise on purpose: it is not for release builds");

/// What can be switched off, and one thing that can be made worse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// `lossy`: every 50th entry that is heard gets lost, as pub/sub may lose it. Not against the promise: repaired.
    Lossy,
    /// `repair`: a jump in a room's positions is taken as if nothing were missing.
    Repair,
    /// `resync`: after a lost subscription rooms are not read again, and what was missed meanwhile is passed over.
    Resync,
    /// `dedupe`: ids of messages are not looked up before appending.
    Dedupe,
    /// `epoch`: every run of Redis is taken for the same, so that a failover goes on in the old epoch.
    Epoch,
    /// `catch-up`: a cursor that is behind jumps to the head, and says that it resumed.
    CatchUp,
}

/// Whether that one is on.
#[cfg(not(feature = "mutants"))]
#[must_use]
pub const fn is_on(_: Mutant) -> bool {
    false
}

#[cfg(feature = "mutants")]
pub use on::is_on;

/// Whether the entry that was just heard is to be lost.
pub(crate) fn loses_entry() -> bool {
    use std::sync::atomic::{AtomicU32, Ordering};

    static HEARD: AtomicU32 = AtomicU32::new(0);
    is_on(Mutant::Lossy) && HEARD.fetch_add(1, Ordering::Relaxed) % 50 == 49
}

/// Whether the consumer is not told that the room is subscribed, because it was told so once before.
#[cfg(not(feature = "mutants"))]
pub(crate) const fn hides_announcement(_: &trunkline_domain::Room) -> bool {
    false
}

#[cfg(feature = "mutants")]
pub(crate) use on::hides_announcement;

#[cfg(feature = "mutants")]
mod on {
    use std::{
        collections::HashSet,
        sync::{Mutex, OnceLock, PoisonError},
    };

    use trunkline_domain::Room;

    use super::Mutant;

    /// Whether the consumer is not told that the room is subscribed, because it was told so once before.
    pub(crate) fn hides_announcement(room: &Room) -> bool {
        static TOLD: OnceLock<Mutex<HashSet<Room>>> = OnceLock::new();
        let mut told = TOLD.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
        is_on(Mutant::Resync) && !told.insert(room.clone())
    }

    /// Whether that one is on.
    #[must_use]
    pub fn is_on(mutant: Mutant) -> bool {
        static ON: OnceLock<String> = OnceLock::new();
        let name = match mutant {
            Mutant::Lossy => "lossy",
            Mutant::Repair => "repair",
            Mutant::Resync => "resync",
            Mutant::Dedupe => "dedupe",
            Mutant::Epoch => "epoch",
            Mutant::CatchUp => "catch-up",
        };
        ON.get_or_init(|| std::env::var("TRUNKLINE_MUTANT").unwrap_or_default()).split(',').any(|one| one == name)
    }
}
