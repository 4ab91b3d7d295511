//! Classes 32 to 40: locks, loops and crashes.

use super::Exhibit;

pub(super) const EXHIBITS: &[Exhibit] = &[];
