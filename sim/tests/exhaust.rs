//! The races of which every order is tried: that none breaks a promise, that they are all, and that a
//! bug of the race does not get through.
#![allow(clippy::unwrap_used, missing_docs)]

use rstest::rstest;
use wavetank::host::Bug;
use wavetank_sim::exhaust::Race;

#[rstest]
#[case("race/close-io-exit", 500)]
#[case("race/exit-exec", 50)]
#[case("race/exit-start", 300)]
#[case("race/reconnect-exit", 2000)]
#[case("race/classic-exit-start", 2)]
#[case("race/classic-close-io-exit", 2)]
#[case("race/classic-resize-console", 500)]
fn no_order_of_a_race_breaks_a_promise(#[case] name: &str, #[case] at_least: u64) {
    let (tried, broken) = Race::named(name).unwrap().try_all(None, &mut || true);
    if let Some(broken) = broken {
        panic!("{}\nits tape:\n{}", broken.failure, broken.tape);
    }
    assert!(tried.is_whole);
    assert!(tried.orders >= at_least, "only {} orders", tried.orders);
}

/// Some bugs of a race show in the plain order already, which is the first one.
#[rstest]
#[case("race/exit-exec", Bug::EarlyExitForgotten, true)]
#[case("race/exit-start", Bug::ExitsDropped, true)]
#[case("race/kill-delete", Bug::ExitsBehindRequests, false)]
#[case("race/resize-console", Bug::EarlyResizeLost, true)]
#[case("race/reconnect-exit", Bug::WaitsOnlyForward, false)]
#[case("race/classic-resize-console", Bug::EarlyResizeLost, true)]
fn a_bug_of_the_race_is_found(#[case] name: &str, #[case] bug: Bug, #[case] is_plain: bool) {
    let (tried, broken) = Race::named(name).unwrap().try_all(Some(bug), &mut || true);
    let broken = broken.unwrap();
    assert_eq!(tried.orders == 1, is_plain, "after {} orders", tried.orders);
    let again = broken.tape.run(false).unwrap().failure.unwrap();
    assert_eq!(again, broken.failure);
}
