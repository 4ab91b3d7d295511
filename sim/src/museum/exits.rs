//! Classes 1 to 9: the container is gone, and everybody believes that it runs.

use wavetank::host::Bug;

use super::Exhibit;

pub(super) const EXHIBITS: &[Exhibit] = &[
    Exhibit {
        class: 1,
        title: "an exit is delivered late or never: one wait for several ends",
        references: "#13539, #12678, #13849, #13814, #6080",
        flows: &["grandchild"],
        bug: Some(Bug::OneWaitPerSignal),
        why_not: "",
    },
    Exhibit {
        class: 6,
        title: "a status is invented though it is known",
        references: "#4769, #6429, #6465, #14113, moby#46212",
        flows: &["task/hello"],
        bug: Some(Bug::InventedStatus),
        why_not: "",
    },
];
