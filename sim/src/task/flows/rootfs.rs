//! Containers whose root file system the shim mounts, and mounts that are in use.

use wavetank::host::Errno;
use wavetank::ttrpc::Code;

use super::super::plan::{Ask, Step, Until, done, refused};
use super::{Flow, birth, burial, flow_of, process, steps};
use crate::{Call, Fault};

pub(super) fn flows() -> Vec<Flow> {
    vec![hello("task/rootfs").busy_for(3), delete_fails(), delete_again()]
}

impl Flow {
    /// So many times in a row a mount is in use.
    fn busy_for(mut self, times: u64) -> Flow {
        let busy = Fault::fail(Errno::EBUSY).of(Call::Unmount);
        self.faults.extend((0..times).map(|time| busy.clone().after(time)));
        self
    }
}

fn hello(name: &'static str) -> Flow {
    flow_of(
        name,
        vec![process("c1", &["print", "hello", "exit", "7"], &[7], "hello")],
        vec![steps(&[&birth("c1"), &burial("c1")])],
    )
    .change("c1", |it| it.mounts = vec!["", "a"])
}

/// A mount is in use for longer than anybody waits, and the delete that failed is tried again.
fn delete_fails() -> Flow {
    let mut burial = burial("c1");
    let text = "failed to unmount the root file system";
    burial.insert(2, Step::Ask(Ask::Delete("c1"), refused(Code::Unknown, text)));
    let mut flow = hello("task/rootfs-stays-busy").busy_for(60).within(10);
    flow.plan.threads = vec![steps(&[&birth("c1"), &burial])];
    flow.change("c1", |it| it.mounts = vec![""])
}

/// A client that gave up while the root file system was being unmounted comes back.
fn delete_again() -> Flow {
    let begun = [
        Step::Until(Until::Ended("c1")),
        Step::Until(Until::Eof("c1")),
        Step::Begin(Ask::Delete("c1"), done()),
        Step::Until(Until::Passed(100)),
        Step::HangUp,
        Step::Ask(Ask::Delete("c1"), done()),
        Step::Census,
        Step::CleanUp("c1"),
        Step::Ask(Ask::Shutdown("c1"), done()),
    ];
    let mut flow = hello("task/delete-again").busy_for(20);
    flow.plan.threads = vec![steps(&[&birth("c1"), &begun])];
    flow
}
