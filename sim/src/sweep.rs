//! The sweep: every call that the shim makes fails, at every place in the source where it is made,
//! with every error of the [catalogue](crate::errnos), once and for ever; and of a canonical life
//! cycle every two calls ([`pairs`]).

pub mod pairs;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::call::Call;
use crate::choose::{Lazy, Recorded, Replay};
use crate::errnos::errors_at;
use crate::fault::Fault;
use crate::flow::{Case, Flow};
use crate::run::{Failure, Run};
use crate::site::{Made, Site};
use crate::tape::Tape;

/// The flows in which every call fails, wherever it is made, and every two calls: from a start to
/// an end, with output and an exec.
pub const CANONICAL: [&str; 2] = ["exec", "task/life"];
/// The programs whose calls fail.
const SHIMS: [&str; 2] = ["containerd-shim", "containerd-shim-wavetank-v2"];
/// In a flow that is not canonical a site fails when it is come to for the first time, and so many
/// further times.
const FURTHER: usize = 1;

/// A call that is to fail: the so-many-th of its kind that the shim's processes make.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Point {
    /// Where it is made.
    pub site: Site,
    /// How many calls of its kind come before.
    pub before: u64,
}

/// A flow with a tape, and the calls that the shim makes in it.
#[derive(Clone, Debug)]
pub struct Course {
    /// The run that nothing disturbs.
    pub tape: Tape,
    /// What the tape is of: to look it up for every run would cost more than the run.
    flow: Flow,
    program: &'static str,
    points: Vec<Point>,
    is_canonical: bool,
}

/// What came of disturbed runs.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Count {
    /// How many there were.
    pub runs: u64,
    /// How many of their faults did not strike.
    pub missed: u64,
    /// Where a call failed, each place once.
    pub sites: BTreeSet<Site>,
}

/// A disturbed run that did not keep its promises.
#[derive(Clone, Debug)]
pub struct Broken {
    /// The run.
    pub tape: Tape,
    /// What gave it away.
    pub failure: Failure,
}

impl Course {
    /// Runs a flow undisturbed: with a tape of zeros, or with a seed's answers. Nothing if there is no
    /// such flow.
    #[must_use]
    pub fn of(name: &str, seed: Option<u64>) -> Option<Course> {
        let case = Case::of(name);
        let flow = case.flow()?;
        let listing = flow.clone().listing_calls();
        let (run, answers) = match seed {
            None => (listing.run(&mut Replay::default(), false), Vec::new()),
            Some(seed) => {
                let mut chooser = Recorded::new(Lazy::seeded(seed));
                (listing.run(&mut chooser, false), chooser.into_tape())
            }
        };
        let is_task = matches!(flow, Flow::Task(_));
        let program = SHIMS[usize::from(is_task)];
        let points = points(&run.calls, program);
        let is_canonical = seed.is_none() && CANONICAL.contains(&name);
        Some(Course { tape: Tape::new(case, answers), flow, program, points, is_canonical })
    }

    /// The calls that the shim makes, in their order.
    #[must_use]
    pub fn points(&self) -> &[Point] {
        &self.points
    }

    /// The calls that are to fail: all of a canonical flow; of others as many of a site as there are
    /// reasons to.
    #[must_use]
    pub fn chosen(&self) -> Vec<Point> {
        let mut seen: BTreeMap<Site, usize> = BTreeMap::new();
        let is_chosen = |point: &&Point| {
            let times = seen.entry(point.site).or_default();
            *times += 1;
            self.is_canonical || *times <= 1 + FURTHER
        };
        self.points.iter().filter(is_chosen).copied().collect()
    }

    /// How a call may fail: a fault for each error, once and for ever.
    pub fn faults(&self, point: Point) -> impl Iterator<Item = Fault> {
        errors_at(point.site.call, point.site.file).map(move |(errno, lasts)| {
            let fault = Fault::fail(errno).of(point.site.call).by(self.program).after(point.before);
            if lasts { fault.for_ever() } else { fault }
        })
    }

    /// Runs it with these faults.
    ///
    /// # Errors
    /// What promise was not kept.
    pub fn disturb(&self, faults: Vec<Fault>) -> Result<Run, Box<Broken>> {
        self.run(self.flow.clone(), faults)
    }

    fn run(&self, flow: Flow, faults: Vec<Fault>) -> Result<Run, Box<Broken>> {
        let mut chooser = Replay::new(self.tape.answers.clone());
        let mut run = flow.with(&faults, None).run(&mut chooser, false);
        let Some(failure) = run.failure.take() else { return Ok(run) };
        let case = Case { faults, ..self.tape.case.clone() };
        let tape = Tape { case, answers: self.tape.answers.clone() };
        Err(Box::new(Broken { tape, failure }))
    }

    /// Every chosen call fails in every way.
    pub fn single(&self) -> Vec<(Point, Fault)> {
        let all = |point: Point| self.faults(point).map(move |fault| (point, fault));
        self.chosen().into_iter().flat_map(all).collect()
    }
}

impl Count {
    /// Takes a run in whose call at `site` failed, or was to fail.
    pub fn take(&mut self, site: Site, run: &Run) {
        self.runs += 1;
        if run.trouble.is_any() {
            self.sites.insert(site);
        } else {
            self.missed += 1;
        }
    }
}

/// The calls of a program, each with how many of its kind there were before. What fails already cannot
/// be made to fail.
fn points(calls: &[Made], program: &str) -> Vec<Point> {
    let mut made: BTreeMap<Call, u64> = BTreeMap::new();
    let own = calls.iter().filter(|made| made.program == program);
    own.filter_map(|call| {
        let before = made.entry(call.site.call).or_default();
        *before += 1;
        (!call.has_failed).then_some(Point { site: call.site, before: *before - 1 })
    })
    .collect()
}
