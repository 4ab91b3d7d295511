//! Classes 10 to 20: everybody hangs, because somebody still holds, or no longer reads, a pipe.

use wavetank::host::Bug;

use super::Exhibit;

pub(super) const EXHIBITS: &[Exhibit] = &[Exhibit {
    class: 15,
    title: "the end of the input is told before there is an input to end, and forgotten",
    references: "#4489, #9423, nerdctl#5042, moby#38001, buildkit#1619, podman#392",
    flows: &["task/close-io"],
    bug: Some(Bug::ForgottenCloseIo),
    why_not: "",
}];
