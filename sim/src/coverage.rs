//! Which rare branches of the shim were taken, in how many runs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;
use wavetank::host::Mark;

/// Counts marks over many runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Coverage {
    /// In how many runs each was reached, if in any.
    runs: BTreeMap<Mark, u64>,
}

impl Coverage {
    /// Adds those of one run.
    pub fn add(&mut self, marks: &BTreeSet<Mark>) {
        for mark in marks {
            *self.runs.entry(*mark).or_default() += 1;
        }
    }

    /// Adds those of others.
    pub fn merge(&mut self, other: &Coverage) {
        for (mark, runs) in &other.runs {
            *self.runs.entry(*mark).or_default() += runs;
        }
    }

    /// Those that were reached in no run.
    #[must_use]
    pub fn missing(&self) -> Vec<Mark> {
        Mark::ALL.iter().copied().filter(|mark| !self.runs.contains_key(mark)).collect()
    }

    /// In how many runs a mark was reached.
    #[must_use]
    pub fn runs(&self, mark: Mark) -> u64 {
        self.runs.get(&mark).copied().unwrap_or(0)
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (all, missing) = (Mark::ALL.len(), self.missing());
        write!(f, "{} of {all} rare branches were reached", all - missing.len())?;
        let names: Vec<&str> = missing.into_iter().map(Mark::name).collect();
        if names.is_empty() { Ok(()) } else { write!(f, "; never {}", names.join(", ")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_never_reached_is_named() {
        let mut coverage = Coverage::default();
        let all: BTreeSet<Mark> = Mark::ALL.iter().copied().collect();
        let mut some = all.clone();
        some.remove(&Mark::LateOom);
        coverage.add(&some);
        assert_eq!(coverage.missing(), [Mark::LateOom]);
        assert!(coverage.to_string().ends_with("; never late-oom"), "{coverage}");
        let mut both = coverage.clone();
        both.merge(&coverage);
        both.add(&all);
        assert_eq!((both.runs(Mark::LateOom), both.runs(Mark::EndsUntold)), (1, 3));
        assert_eq!(both.missing(), []);
    }
}
