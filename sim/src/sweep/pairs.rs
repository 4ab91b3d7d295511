//! Two calls that fail in one run.
//!
//! The first is one of the undisturbed run. The second comes after it in the run in which the first
//! fails, and may be one that is only made because it failed. So no pair is tried of which the second
//! could not strike, and none is left out.

use std::collections::BTreeSet;

use super::{Broken, Course, Point, points};
use crate::fault::Fault;
use crate::run::Run;
use crate::site::Site;

/// Which pairs of calls fail, and how. All of errors at all of calls would be some millions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Every two calls, each once with the first error that the catalogue has for it.
    Calls,
    /// Every two places in the source, each at the first call that is made there, in every two ways:
    /// with every error of the catalogue, once and for ever.
    Ways,
}

/// A call, and how it fails.
pub type Way = (Point, Fault);

/// What came of pairs.
#[derive(Clone, Debug, Default)]
pub struct Count {
    /// How many pairs were tried.
    pub pairs: u64,
    /// How many of them did not both strike.
    pub missed: u64,
    /// Where both calls were made, each pair of places once.
    pub places: BTreeSet<(Site, Site)>,
}

impl Course {
    /// The first of each pair.
    #[must_use]
    pub fn first_of_pairs(&self, kind: Kind) -> Vec<Way> {
        self.ways(kind, &self.points)
    }

    /// With a call failing, how each call that comes after it may fail too: the second of each pair.
    /// While all calls of a kind fail for ever, none of them is a second.
    ///
    /// # Errors
    /// What promise was not kept with the first alone.
    pub fn second_of_pairs(&self, kind: Kind, first: &Way) -> Result<Vec<Way>, Box<Broken>> {
        let (point, fault) = first;
        let run = self.run(self.flow.clone().listing_calls(), vec![fault.clone()])?;
        let points = points(&run.calls, self.program);
        // The calls before it are the same as without it.
        let place = points.iter().position(|it| it == point).map_or(points.len(), |it| it + 1);
        let mut ways = self.ways(kind, &points[place..]);
        ways.retain(|(it, _)| !fault.for_ever || it.site.call != point.site.call);
        Ok(ways)
    }

    /// Runs it with both failing.
    ///
    /// # Errors
    /// What promise was not kept.
    pub fn disturb_twice(
        &self,
        first: &Way,
        second: &Way,
        count: &mut Count,
    ) -> Result<(), Box<Broken>> {
        count.pairs += 1;
        let run = self.disturb(vec![first.1.clone(), second.1.clone()])?;
        count.take(first.0.site, second.0.site, &run);
        Ok(())
    }

    fn ways(&self, kind: Kind, points: &[Point]) -> Vec<Way> {
        let mut seen = BTreeSet::new();
        let mut ways = Vec::new();
        for point in points {
            let most = match kind {
                Kind::Calls => 1,
                Kind::Ways if seen.insert(point.site) => usize::MAX,
                Kind::Ways => 0,
            };
            ways.extend(self.faults(*point).take(most).map(|fault| (*point, fault)));
        }
        ways
    }
}

impl Count {
    fn take(&mut self, first: Site, second: Site, run: &Run) {
        if run.struck < 2 {
            self.missed += 1;
        } else {
            self.places.insert((first, second));
        }
    }

    /// Takes what others have counted.
    pub fn add(&mut self, other: Count) {
        self.pairs += other.pairs;
        self.missed += other.missed;
        self.places.extend(other.places);
    }
}
