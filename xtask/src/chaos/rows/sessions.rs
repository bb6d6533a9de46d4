//! What happens to sessions.

use super::Row;

pub(super) const ROWS: &[Row] = &[];
