//! The museum: every scenario passes, and every planted bug is found.
#![allow(clippy::unwrap_used, missing_docs)]

use wavetank::host::Bug;
use wavetank_sim::Flow;
use wavetank_sim::museum::{Exhibit, exhibits, hunt, scenario};

/// With so many seeds a scenario passes here; nightly runs take more.
const SEEDS: u64 = 20;

#[test]
fn every_scenario_passes() {
    for exhibit in exhibits() {
        let failed = scenario(&exhibit, 0..SEEDS, &mut || true);
        assert!(failed.is_none(), "{}: {}", exhibit.title, failed.unwrap().0);
    }
}

#[test]
fn every_planted_bug_is_found() {
    for exhibit in exhibits().iter().filter(|exhibit| exhibit.bug.is_some()) {
        let find = hunt(exhibit, 0, &mut || true);
        assert!(find.is_some(), "{:?} is not found", exhibit.bug);
    }
}

#[test]
fn every_bug_has_its_place() {
    for bug in Bug::ALL {
        let places = exhibits().iter().filter(|exhibit| exhibit.bug == Some(*bug)).count();
        assert_eq!(places, 1, "{} is at {places} places", bug.name());
    }
}

#[test]
fn the_table_says_all_that_is_to_be_said() {
    let exhibits = exhibits();
    assert!(exhibits.is_sorted_by_key(|exhibit| exhibit.class));
    for Exhibit { class, title, references, flows, bug, why_not } in exhibits {
        assert!(!title.is_empty() && !references.is_empty(), "class {class}");
        assert_eq!(bug.is_none(), !why_not.is_empty(), "class {class}: {title}");
        assert!(bug.is_none() || !flows.is_empty(), "class {class}: {title} has no scenario");
        for name in flows {
            assert!(Flow::named(name).is_some(), "class {class}: there is no flow {name}");
        }
    }
}
