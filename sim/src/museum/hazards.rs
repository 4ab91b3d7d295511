//! What was read in the code of containerd 0.2.9, and in no report.

use wavetank::host::Bug;

use super::Exhibit;

pub(super) const EXHIBITS: &[Exhibit] = &[
    Exhibit {
        class: 41,
        title: "a control fifo that cannot be read is read for ever",
        references: "containerd v0.2.9, containerd-shim/main.go",
        flows: &["control-breaks"],
        bug: Some(Bug::ControlSpins),
        why_not: "",
    },
    Exhibit {
        class: 41,
        title: "a line that is no message is read for ever",
        references: "containerd v0.2.9, containerd-shim/main.go",
        flows: &["early-close"],
        bug: Some(Bug::MalformedLineStays),
        why_not: "",
    },
    Exhibit {
        class: 42,
        title: "an exit status that cannot be written is an empty file",
        references: "containerd v0.2.9, containerd-shim/process.go",
        flows: &["disk-full"],
        bug: Some(Bug::StatusInPlace),
        why_not: "",
    },
    Exhibit {
        class: 43,
        title: "a wait that is interrupted leaves zombies",
        references: "containerd v0.2.9, osutils/reaper.go",
        flows: &[],
        bug: None,
        why_not: "the shim never waits in wait4(2), and a call of it that does not wait is not interrupted",
    },
    Exhibit {
        class: 44,
        title: "a console that the runtime does not send is waited for",
        references: "containerd v0.2.9, containerd-shim/process.go",
        flows: &["no-console", "task/no-console"],
        bug: Some(Bug::ConsoleAwaited),
        why_not: "",
    },
    Exhibit {
        class: 45,
        title: "a runtime that never ends hides the exit",
        references: "containerd v0.2.9, containerd-shim/main.go",
        flows: &["kill-hangs", "task/runtime-hangs"],
        bug: Some(Bug::CleaningUpForEver),
        why_not: "",
    },
];
