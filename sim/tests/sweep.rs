//! The sweep: in the two canonical life cycles every call of the shim fails, wherever it is made, with
//! every error of the catalogue, once and for ever; and all promises are kept.
#![allow(missing_docs)]

use rstest::rstest;
use wavetank_sim::sweep::{Broken, Count, Course};

#[rstest]
#[case::classic("exec", 31, 790)]
#[case::task("task/life", 65, 1800)]
fn every_call_may_fail(#[case] flow: &str, #[case] sites: usize, #[case] faults: u64) {
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
    let seen = (count.sites.len(), count.runs);
    assert!(seen.0 >= sites && seen.1 >= faults, "{flow}: {seen:?} sites and faults");
}
