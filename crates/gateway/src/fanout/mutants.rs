//! Faults that the feature `mutants` injects between the reader and the bus, to show that the delivery checker notices them.
//! Without the feature every function here is the identity and costs nothing.

use trunkline_bus::{Delivery, Page, Range};

#[cfg(feature = "mutants")]
use super::cursor::PAGE_ENTRIES;

/// Rewrites entries so that they seem to follow the ones before. Per room it remembers the last position.
#[derive(Debug, Default)]
pub(super) struct GapHider {
    #[cfg(feature = "mutants")]
    last: std::collections::HashMap<trunkline_domain::Room, trunkline_domain::Position>,
}

#[cfg(not(feature = "mutants"))]
impl GapHider {
    #[expect(clippy::unused_self, reason = "the mutant has a state")]
    pub(super) fn pass(&mut self, delivery: Delivery) -> Delivery {
        delivery
    }
}

#[cfg(feature = "mutants")]
impl GapHider {
    /// `repair` and `resync`: an entry that reveals a gap is taken as if nothing were missing before it.
    pub(super) fn pass(&mut self, delivery: Delivery) -> Delivery {
        use trunkline_bus::mutant::{Mutant, is_on};

        match delivery {
            Delivery::Entry(room, mut entry) if is_on(Mutant::Repair) || is_on(Mutant::Resync) => {
                if let Some(last) = self.last.insert(room.clone(), entry.message.pos) {
                    entry.prev = last;
                }
                Delivery::Entry(room, entry)
            }
            other => other,
        }
    }
}

/// Returns the range to read in place of `range`.
#[cfg(not(feature = "mutants"))]
pub(super) fn replace_range(range: Range) -> Range {
    range
}

/// `catch-up`: a cursor that is behind is given the newest entry in place of the page that it needs.
#[cfg(feature = "mutants")]
pub(super) fn replace_range(range: Range) -> Range {
    if jumps(range) { Range::Latest(1) } else { range }
}

/// Returns the page to answer a read of `range` with.
#[cfg(not(feature = "mutants"))]
pub(super) fn replace_page(_: Range, page: Page) -> Page {
    page
}

/// `catch-up`: claims that nothing is missing before the newest entry.
#[cfg(feature = "mutants")]
pub(super) fn replace_page(range: Range, page: Page) -> Page {
    if jumps(range) { Page { follows: true, more: false, ..page } } else { page }
}

#[cfg(feature = "mutants")]
fn jumps(range: Range) -> bool {
    use trunkline_bus::mutant::{Mutant, is_on};

    matches!(range, Range::After(_, PAGE_ENTRIES)) && is_on(Mutant::CatchUp)
}
