//! What a run of a flow came to.

/// What a run came to.
#[derive(Clone, Debug)]
pub struct Run {
    /// The first thing that is not as it was promised, if any.
    pub failure: Option<String>,
    /// Same for runs in which the same happened.
    pub hash: u64,
    /// Calls of the host that were made.
    pub steps: u64,
    /// What happened, line by line, if it was to be kept.
    pub trace: Vec<String>,
}
