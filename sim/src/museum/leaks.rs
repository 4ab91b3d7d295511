//! Classes 21 to 31: what waits for ever, and what stays behind.

use super::Exhibit;

pub(super) const EXHIBITS: &[Exhibit] = &[];
