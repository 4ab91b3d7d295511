//! Our shim beside containerd's own, under the same daemon, in the same run, by turns.
//!
//! `cargo bench --bench containerd` builds ours as it is shipped and prints, for each containerd
//! that the tests in `tests/containerd` find here, medians (memory, times) and means (CPU) of both
//! and their ratio. The CPU time is that of all processes of the shim (`start`, the server,
//! `delete`), without that of the runtime: a wrapper puts each of them into a control group of its
//! own, whose count is in nanoseconds. What a runtime's wrapper needs until it has moved is measured
//! first, and taken off as often as a runtime was called.
#![allow(
    dead_code,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    missing_docs
)]

mod bare_exec;
#[path = "../tests/containerd/client.rs"]
mod client;
#[path = "../tests/containerd/daemon.rs"]
mod daemon;
#[path = "../tests/containerd/place.rs"]
mod place;
#[path = "../tests/containerd/scene.rs"]
mod scene;
mod static_build;

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use client::{told, until};
use daemon::{Combination, Criu, Daemon, Shim};
use scene::Scene;

const SHIMS: [Shim; 2] = [Shim::Stock, Shim::Ours];
const RUNS: usize = 20;
const EXECS: usize = 50;
const CONTAINERS: usize = 5;
const STARTS: usize = 20;
const OUTPUT_MIB: usize = 512;

/// Moves itself to a control group, counts itself, and becomes another program. Which, is told by a
/// file beside it.
const WRAPPER: &str = r#"
use std::io::Write;
use std::os::unix::process::CommandExt;
fn main() {
    let path = std::env::current_exe().unwrap();
    let text = std::fs::read_to_string(path.with_extension("to")).unwrap();
    let (group, program) = text.trim_end().split_once('\n').unwrap();
    std::fs::write(format!("{group}/cgroup.procs"), "0").unwrap();
    let calls = std::fs::File::options().create(true).append(true).open(path.with_extension("calls"));
    calls.unwrap().write_all(b"+").unwrap();
    let args: Vec<_> = std::env::args_os().collect();
    panic!("{}", std::process::Command::new(program).args(&args[1..]).exec());
}
"#;

fn main() {
    if bare_exec::was_it() {
        return;
    }
    if !place::is_inside() {
        let directory = static_build::build();
        static_build::build_small(&directory, "wrapper", WRAPPER);
        // Freshly written programs are dirty in the page cache, and would count as ours.
        Command::new("sync").status().expect("sync");
    }
    match place::enter() {
        place::Entered::Inside => compare(),
        place::Entered::Ended(_) => {}
        place::Entered::Cannot(why) => println!("SKIPPED: {why}"),
    }
}

fn compare() {
    let (containerds, _) = place::containerds();
    let (runtime, runtime_path) = place::runtimes().swap_remove(0);
    for containerd in containerds {
        let runtime_path = runtime_path.clone();
        let combination = Arc::new(Combination { containerd, runtime, runtime_path });
        let daemon = Arc::new(Daemon::start(&combination, &SHIMS, Criu::Hidden));
        let groups = Groups::new(&daemon);
        println!("\ncontainerd {}, both shims by turns", combination.name());
        println!("{:44} {:>10} {:>10} {:>8}", "", "stock", "ours", "ratio");
        let scenes = SHIMS.map(|shim| Scene::new(&daemon, shim, 0));
        groups.wrap(&daemon, true);
        let wrapper = groups.cost_of_wrapper(&daemon);
        println!("{:44} {wrapper:>10.2}", "CPU of a runtime's wrapper, taken off, ms");
        cpu(&scenes, &groups, wrapper);
        groups.wrap(&daemon, false);
        memory(&scenes);
        starts(&scenes);
        drop(scenes);
        drop(daemon);
        groups.remove();
    }
}

fn row(name: &str, [stock, ours]: [f64; 2]) {
    println!("{name:44} {stock:>10.2} {ours:>10.2} {:>8.2}", stock / ours);
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Control groups whose CPU time is counted: one for each shim, one for all runtimes.
struct Groups {
    directories: Vec<PathBuf>,
}

const RUNTIMES: usize = 2;
const PROBE: usize = 3;
/// How often the wrapper is called to see what it costs.
const PROBES: usize = 100;

impl Groups {
    fn new(daemon: &Daemon) -> Groups {
        let first = Path::new("/sys/fs/cgroup/cpuacct");
        let root = if first.is_dir() { first } else { Path::new("/sys/fs/cgroup") };
        let number = daemon.namespace(Shim::Stock);
        let names = ["stock", "ours", "runtimes", "probe"];
        let directories = names.map(|name| root.join(format!("bench-{number}-{name}"))).to_vec();
        directories.iter().for_each(|directory| fs::create_dir(directory).unwrap());
        Groups { directories }
    }

    /// Puts programs before those of the daemon: with or without accounting.
    fn wrap(&self, daemon: &Daemon, account: bool) {
        let stock = daemon.combination.containerd.programs.join("containerd-shim-runc-v2");
        let stock = if stock.exists() { stock } else { "/usr/bin/containerd-shim-runc-v2".into() };
        let ours = static_build::directory().join("containerd-shim-wavetank-v2");
        let all = [
            ("containerd-shim-runc-v2", stock, Shim::Stock as usize),
            ("containerd-shim-wavetank-v2", ours, Shim::Ours as usize),
            ("runc", daemon.combination.runtime_path.clone(), RUNTIMES),
        ];
        for (name, program, group) in all {
            let path = daemon.place.join("bin").join(name);
            let _ = fs::remove_file(&path);
            if account {
                self.wrap_one(&path, &program, group);
            } else {
                std::os::unix::fs::symlink(program, path).unwrap();
            }
        }
    }

    fn wrap_one(&self, path: &Path, program: &Path, group: usize) {
        let group = self.directories[group].display();
        let to = format!("{group}\n{}\n", program.display());
        fs::write(path.with_extension("to"), to).unwrap();
        let copied =
            Command::new("cp").arg(static_build::directory().join("wrapper")).arg(path).status();
        assert!(copied.unwrap().success());
    }

    /// The CPU time, in ms, that a wrapper has used when it has moved to its group: what a shell that
    /// calls it uses, without what the shell itself does. A runtime runs before each, as it does
    /// under a shim, so that a program finds nothing of its own in the processor's caches.
    fn cost_of_wrapper(&self, daemon: &Daemon) -> f64 {
        let [shell, wrapped] = ["probe", "wrapped"].map(|name| daemon.place.join(name));
        self.wrap_one(&shell, Path::new("/bin/sh"), PROBE);
        self.wrap_one(&wrapped, Path::new("/bin/busybox"), RUNTIMES);
        let used_by = |program: &Path| {
            Command::new(&daemon.combination.runtime_path).arg("--version").output().unwrap();
            let before = self.used(PROBE);
            // Something has to follow, or the shell becomes the program.
            let text = format!("{} true; :", program.display());
            assert!(Command::new(&shell).args(["-c", &text]).status().unwrap().success());
            self.used(PROBE) - before
        };
        let before = self.used(RUNTIMES);
        let more = |_| used_by(&wrapped) - used_by(Path::new("/bin/busybox"));
        let more: f64 = (0..PROBES).map(more).sum();
        (more + self.used(RUNTIMES) - before) / PROBES as f64
    }

    /// What the processes of a group have used, in ms.
    fn used(&self, group: usize) -> f64 {
        let directory = &self.directories[group];
        if let Ok(text) = fs::read_to_string(directory.join("cpuacct.usage")) {
            return text.trim().parse::<f64>().unwrap() / 1e6;
        }
        let text = fs::read_to_string(directory.join("cpu.stat")).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("usage_usec ")).unwrap();
        line.parse::<f64>().unwrap() / 1e3
    }

    fn remove(&self) {
        for directory in &self.directories {
            until("its processes have gone", || fs::remove_dir(directory).is_ok());
        }
    }
}

fn wait_until_gone(scene: &Scene) {
    until("the shim has gone", || scene.daemon.shims(scene.shim).is_empty());
}

fn cpu(scenes: &[Scene; 2], groups: &Groups, wrapper: f64) {
    let run = |scene: &Scene| {
        told(scene.run("c", &["--rm"], &["true"])).fine();
        wait_until_gone(scene);
    };
    // The first ones find cold caches.
    scenes.iter().for_each(run);
    let runs = means(scenes, groups, wrapper, RUNS, |scene, _| run(scene));
    row("CPU of a run, ms", runs);

    scenes.iter().for_each(|scene| scene.detached("c", &[], "sleep 1000"));
    let exec = |scene: &Scene, number: usize| {
        told(scene.exec("c", &format!("e{number}"), &[], &["true"])).fine();
    };
    scenes.iter().for_each(|scene| exec(scene, EXECS));
    row("CPU of an exec, ms", means(scenes, groups, wrapper, EXECS, exec));
    let floor = bare_exec::measure(&scenes[0].daemon.place);
    println!("{:44} {:>10} {floor:>10.2}", "  of a bare loop with the same questions, ms", "");
    scenes.iter().for_each(|scene| scene.remove("c"));
    scenes.iter().for_each(wait_until_gone);

    let count = format!("count={OUTPUT_MIB}");
    let output = means(scenes, groups, wrapper, 3, |scene, _| {
        let mut command = scene.run("c", &["--rm"], &["dd", "if=/dev/zero", "bs=1M", &count]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        assert!(command.status().unwrap().success());
        wait_until_gone(scene);
    });
    let per_gib = |at: usize| (output[at] - runs[at]).max(0.0) * 1024.0 / OUTPUT_MIB as f64;
    row("CPU of 1 GiB of output, ms", [per_gib(0), per_gib(1)]);
}

/// The CPU time of each of so many, by turns.
fn means(
    scenes: &[Scene; 2],
    groups: &Groups,
    wrapper: f64,
    count: usize,
    act: impl Fn(&Scene, usize),
) -> [f64; 2] {
    let calls = |scene: &Scene| {
        let file = scene.daemon.place.join("bin/runc.calls");
        fs::metadata(file).map_or(0, |file| file.len()) as f64
    };
    let mut used = SHIMS.map(|shim| -groups.used(shim as usize));
    for number in 0..count {
        for (scene, used) in scenes.iter().zip(&mut used) {
            let before = calls(scene);
            act(scene, number);
            *used -= (calls(scene) - before) * wrapper;
        }
    }
    SHIMS.map(|shim| (used[shim as usize] + groups.used(shim as usize)) / count as f64)
}

fn memory(scenes: &[Scene; 2]) {
    let names: Vec<String> = (0..CONTAINERS).map(|number| format!("m{number}")).collect();
    for name in &names {
        scenes.iter().for_each(|scene| scene.detached(name, &[], "sleep 1000"));
    }
    let of_all = |read: &dyn Fn(u32) -> f64| {
        [0, 1].map(|at: usize| {
            let scene = &scenes[at];
            median(names.iter().map(|name| read(scene.shim_of(name))).collect())
        })
    };
    let private = |pid| number(pid, "smaps_rollup", "Private_Dirty:");
    row("private dirty with one container, kB", of_all(&private));
    row("RSS, kB", of_all(&|pid| number(pid, "smaps_rollup", "Rss:")));
    row("threads", of_all(&|pid| number(pid, "status", "Threads:")));
    let fds = |pid| fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count() as f64;
    row("descriptors", of_all(&fds));
    for number in 0..EXECS {
        for scene in scenes {
            told(scene.exec("m0", &format!("e{number}"), &[], &["true"])).fine();
        }
    }
    let name = format!("private dirty after {EXECS} execs, kB");
    row(&name, [0, 1].map(|at: usize| private(scenes[at].shim_of("m0"))));
    for name in &names {
        scenes.iter().for_each(|scene| scene.remove(name));
    }
    scenes.iter().for_each(wait_until_gone);
}

fn number(pid: u32, file: &str, key: &str) -> f64 {
    let text = fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap();
    let line = text.lines().find(|line| line.starts_with(key)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// From the execution of `start` to the address, and to the end of what it says.
fn starts(scenes: &[Scene; 2]) {
    let mut times = [Vec::new(), Vec::new()];
    for turn in 0..=STARTS {
        for (scene, times) in scenes.iter().zip(&mut times) {
            let time = start(scene, &format!("start{turn}"));
            if turn > 0 {
                times.push(time);
            }
        }
    }
    let of = |part: fn(&(f64, f64)) -> f64| {
        [0, 1].map(|at: usize| median(times[at].iter().map(part).collect()))
    };
    row("start, until the address is told, ms", of(|time| time.0));
    row("start, until it has said all, ms", of(|time| time.1));
}

fn start(scene: &Scene, id: &str) -> (f64, f64) {
    let bundle = scene.directory().join(id);
    fs::create_dir_all(&bundle).unwrap();
    fs::write(bundle.join("config.json"), r#"{"ociVersion":"1.0.2"}"#).unwrap();
    nix::unistd::mkfifo(&bundle.join("log"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    // The daemon holds the log open.
    let log = fs::File::options().read(true).write(true).open(bundle.join("log")).unwrap();
    let program = match scene.shim {
        Shim::Stock => "containerd-shim-runc-v2",
        Shim::Ours => "containerd-shim-wavetank-v2",
    };
    let namespace = scene.daemon.namespace(scene.shim);
    let mut command = Command::new(scene.daemon.place.join("bin").join(program));
    command.args(["-namespace", &namespace, "-publish-binary", "containerd", "-address"]);
    command.arg(scene.daemon.address()).args(["-id", id, "start"]).current_dir(&bundle);
    let ttrpc = format!("{}.ttrpc", scene.daemon.address().display());
    command.env("TTRPC_ADDRESS", ttrpc).env("GOMAXPROCS", "2").env("MAX_SHIM_VERSION", "2");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    let begun = Instant::now();
    let mut child = command.spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let mut text = vec![0; 1];
    stdout.read_exact(&mut text).unwrap();
    let first = begun.elapsed();
    stdout.read_to_end(&mut text).unwrap();
    let whole = begun.elapsed();
    assert!(child.wait().unwrap().success());
    for pid in scene.daemon.shims(scene.shim) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).unwrap());
        // The stock shim loses a SIGTERM that comes before it has begun to wait for signals.
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
    }
    wait_until_gone(scene);
    drop(log);
    (first.as_secs_f64() * 1e3, whole.as_secs_f64() * 1e3)
}
