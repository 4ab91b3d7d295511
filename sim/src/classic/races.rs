//! Two things at the same time, and nothing else: for those who try every order.

use wavetank::host::WindowSize;
use wavetank::oci::Dialect;

use super::flows::{Expected, Flow, guest};
use crate::Config;

/// Their names, and what races with what.
pub(crate) const RACES: &[(&str, &str)] = &[
    ("race/classic-exit-start", "exit against start"),
    ("race/classic-close-io-exit", "CloseIO against exit"),
    ("race/classic-resize-console", "resize against console"),
];

/// The races: from the start of the shim until everybody waits, which is when all is over, or when the
/// container has seen the size of its terminal.
pub(crate) fn races() -> Vec<Flow> {
    let race = |name, words: &[&str], expected| {
        let flow = guest(name, Dialect::Run, words, expected).plan(|plan| plan.race = true);
        Flow { config: Config { orderly: true, ..Config::default() }, ..flow }
    };
    let size = Some(WindowSize { columns: 91, rows: 37 });
    let (closes, resizes) = ("0 0 0\n".to_owned(), "race/classic-resize-console");
    vec![
        race("race/classic-exit-start", &["exit", "5"], Expected::ended(5, "")),
        race("race/classic-close-io-exit", &["exit", "6"], Expected::ended(6, ""))
            .init(|init| init.control = closes),
        race(resizes, &["winsize", "sleep-ms", "5", "exit", "3"], Expected::ended(3, "91x37"))
            .init(|init| (init.terminal, init.size) = (true, size)),
    ]
}
