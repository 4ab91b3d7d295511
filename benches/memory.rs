//! Memory of a running shim with one idle container, beside that of an empty program.
//!
//! `cargo bench --bench memory` builds both statically linked, runs them together on this machine
//! and prints what `smaps_rollup` (`proc(5)`) says of them, as medians of several processes.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::expect_used,
    clippy::print_stdout,
    missing_docs
)]

mod static_build;

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

const SHIMS: usize = 5;

/// A program that does nothing but wait: what every Rust program needs at the least.
const FLOOR: &str = "fn main() { loop { std::thread::park() } }";

/// What is measured of one process, in kB where it is memory.
struct Figures {
    private_dirty: u64,
    rss: u64,
    pss: u64,
    threads: u64,
}

fn main() {
    let directory = static_build::build();
    let floor_program = static_build::build_small(&directory, "floor", FLOOR);
    // Freshly written programs are dirty in the page cache, and would count as ours.
    Command::new("sync").status().expect("sync");

    let mut floors: Vec<Child> = (0..SHIMS).map(|_| start(&floor_program, &[])).collect();
    let wavetank = directory.join("wavetank");
    let mut runs: Vec<Child> =
        (0..SHIMS).map(|_| start(&wavetank, &["run", "--", "sleep", "1000"])).collect();
    let floor: Vec<Figures> = floors.iter().map(|child| figures(child.id())).collect();
    let shims: Vec<u32> = runs.iter_mut().map(shim_with_container).collect();
    let shim: Vec<Figures> = shims.iter().map(|pid| figures(*pid)).collect();

    println!("one shim with one idle container, static, medians of {SHIMS} that run together");
    print_row("private dirty, kB", &shim, &floor, |figures| figures.private_dirty);
    print_row("RSS, kB", &shim, &floor, |figures| figures.rss);
    print_row("PSS, kB", &shim, &floor, |figures| figures.pss);
    print_row("threads", &shim, &floor, |figures| figures.threads);
    let size = |program: &Path| fs::metadata(program).expect("a program").len();
    let (shim, floor) = (size(&directory.join("containerd-shim")), size(&floor_program));
    println!("{:20} {shim:>9}   an empty program: {floor:>9}", "binary, bytes");

    for run in &mut runs {
        terminate(run.id());
        run.wait().expect("the run ends");
    }
    for floor in &mut floors {
        floor.kill().expect("the empty program ends");
        floor.wait().expect("the empty program ends");
    }
}

fn print_row(name: &str, shim: &[Figures], floor: &[Figures], of: impl Fn(&Figures) -> u64) {
    let median = |figures: &[Figures]| {
        let mut values: Vec<u64> = figures.iter().map(&of).collect();
        values.sort_unstable();
        values[values.len() / 2]
    };
    let (shim, floor) = (median(shim), median(floor));
    let ratio = shim as f64 / floor as f64;
    println!("{name:20} {shim:>9}   an empty program: {floor:>9}   ratio {ratio:.2}");
}

fn start(program: &Path, args: &[&str]) -> Child {
    Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("a program starts")
}

/// The shim below a `wavetank run`, once its container is its child.
fn shim_with_container(run: &mut Child) -> u32 {
    loop {
        let ended = run.try_wait().expect("the run is looked at");
        assert!(ended.is_none(), "the run has ended: {ended:?}");
        let shim = children(run.id()).into_iter().find(|pid| name(*pid) == "containerd-shim");
        let idle = |pid: &u32| children(*pid).iter().any(|child| name(*child) == "sleep");
        if let Some(shim) = shim.filter(idle) {
            return shim;
        }
        std::thread::yield_now();
    }
}

fn children(pid: u32) -> Vec<u32> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_whitespace().filter_map(|word| word.parse().ok()).collect()
}

fn name(pid: u32) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    text.trim_end().to_owned()
}

fn figures(pid: u32) -> Figures {
    let read = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).expect("its figures");
    let (rollup, status) = (read("smaps_rollup"), read("status"));
    let number = |text: &str, key: &str| {
        let line = text.lines().find(|line| line.starts_with(key));
        let word = line.and_then(|line| line.split_whitespace().nth(1));
        word.and_then(|word| word.parse().ok()).expect("a number")
    };
    Figures {
        private_dirty: number(&rollup, "Private_Dirty:"),
        rss: number(&rollup, "Rss:"),
        pss: number(&rollup, "Pss:"),
        threads: number(&status, "Threads:"),
    }
}

fn terminate(pid: u32) {
    let signalled = Command::new("kill").arg(pid.to_string()).status().expect("kill");
    assert!(signalled.success(), "{pid} could not be signalled");
}
