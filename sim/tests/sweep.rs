//! The sweep: in the two canonical life cycles every call of the shim fails, wherever it is made, with
//! every error of the catalogue, once and for ever; in other flows the first two calls at every place;
//! and all promises are kept.
#![allow(clippy::print_stdout, missing_docs)]

use rstest::rstest;
use wavetank_sim::sweep::pairs::{self, Kind};
use wavetank_sim::sweep::{Broken, Count, Course};

#[rstest]
#[case::classic("exec", 31, 790)]
#[case::task("task/life", 65, 1800)]
fn every_call_may_fail(#[case] flow: &str, #[case] sites: usize, #[case] faults: u64) {
    let seen = all_kept(flow);
    assert!(seen.0 >= sites && seen.1 >= faults, "{flow}: {seen:?} sites and faults");
}

/// A share of all flows: those that go where the others do not, through terminals, loggers, mounts, pods,
/// cgroups, fifos without readers, and shims, daemons and runtimes that end early or hang. All of them
/// are tried by `wavetank-sim sweep`.
#[rstest]
#[case::classic(&[
    "tty", "tty-start", "tty-no-descriptors", "no-console", "stranger", "kill-hangs", "wavetank-run",
    "restore", "runtime-fails", "reader-returns", "control-breaks", "orphans",
])]
#[case::processes(&[
    "task/exec-fails", "task/exec-churn", "task/terminated-while-exec-starts", "task/runtime-hangs",
    "task/pause", "task/pids-again", "task/checkpoint", "task/start-fails", "task/no-pid-file",
])]
#[case::streams(&[
    "task/tty-exec", "task/no-console", "task/console-lost", "task/console-waits", "task/logger-hangs",
    "task/reader-away", "task/reader-away-direct", "task/client-leaves-at-delete", "task/close-io",
])]
#[case::machines(&[
    "task/rootfs-stays-busy", "task/out-of-memory", "task/unreadable-memory", "task/shim-is-killed",
    "task/shims-come-and-go", "task/pod", "task/daemon-dies", "task/no-space-for-runtime",
    "task/no-process-for-delete", "task/any-fault",
])]
fn calls_of_other_flows_may_fail(#[case] flows: &[&str]) {
    for flow in flows {
        let (sites, faults) = all_kept(flow);
        println!("{flow}: {faults} faults at {sites} sites");
    }
}

/// Every chosen call of a flow fails in every way, each strikes, and all promises are kept: at how many
/// sites, and how many faults.
fn all_kept(flow: &str) -> (usize, u64) {
    let Some(course) = Course::of(flow, None) else { panic!("there is no flow {flow}") };
    let mut count = Count::default();
    let mut broken = Vec::new();
    for (point, fault) in course.single() {
        match course.disturb(vec![fault]) {
            Ok(run) => count.take(point.site, &run),
            Err(it) => broken.push((point.site, it)),
        }
    }
    let places: Vec<String> = broken.iter().map(|(site, _)| site.to_string()).collect();
    if let Some((site, first)) = broken.first() {
        let Broken { tape, failure } = &**first;
        panic!(
            "{} runs of {flow} fail, at {places:?}\n{site}: {failure}\nits tape, to look at with \
             `wavetank-sim show FILE`:\n{tape}",
            broken.len(),
        );
    }
    assert_eq!(count.missed, 0, "faults of {flow} that did not strike");
    (count.sites.len(), count.runs)
}

/// A share of the pairs of calls: with each first one so many second ones, others with the next. All of
/// them are tried by `wavetank-sim sweep --pairs`.
#[rstest]
#[case::classic("exec", Kind::Calls, 8)]
#[case::task("task/life", Kind::Calls, 4)]
fn every_two_calls_may_fail(#[case] flow: &str, #[case] kind: Kind, #[case] share: usize) {
    let Some(course) = Course::of(flow, None) else { panic!("there is no flow {flow}") };
    let mut count = pairs::Count::default();
    let mut all = 0;
    for (number, first) in course.first_of_pairs(kind).iter().enumerate() {
        let seconds = course.second_of_pairs(kind, first);
        let seconds =
            seconds.unwrap_or_else(|broken| panic!("{}\n{}", broken.failure, broken.tape));
        let step = seconds.len().div_ceil(share).max(1);
        for second in seconds.iter().skip(number % step).step_by(step) {
            if let Err(broken) = course.disturb_twice(first, second, &mut count) {
                let Broken { tape, failure } = *broken;
                panic!("{failure}\nits tape, to look at with `wavetank-sim show FILE`:\n{tape}");
            }
        }
        all += seconds.len();
    }
    let pairs = usize::try_from(count.pairs).unwrap_or(usize::MAX);
    println!("{flow}: {pairs} of {all} pairs, at {} pairs of places", count.places.len());
    assert_eq!(count.missed, 0, "pairs of {flow} of which not both struck");
    assert!(pairs > 90 * share && pairs < all, "{pairs} of {all} pairs");
}
