//! A deliberate fault (mutant) that the delivery checker must notice. It exists only in builds with the feature `mutants`,
//! where the environment variable `TRUNKLINE_MUTANT` names it; see `trunkline_bus::mutant`.

#[cfg(all(feature = "mutants", not(debug_assertions)))]
compile_error!("the feature `mutants` breaks guarantees on purpose and must not be in a release build");

/// `fold-order`: amendments are applied in the order in which they arrive.
#[cfg(not(feature = "mutants"))]
pub(crate) const fn fold_ignores_positions() -> bool {
    false
}

/// `fold-order`: amendments are applied in the order in which they arrive.
#[cfg(feature = "mutants")]
pub(crate) fn fold_ignores_positions() -> bool {
    static ACTIVE: std::sync::LazyLock<bool> = std::sync::LazyLock::new(|| {
        let active = std::env::var("TRUNKLINE_MUTANT").unwrap_or_default();
        active.split(',').any(|one| one == "fold-order")
    });
    *ACTIVE
}
