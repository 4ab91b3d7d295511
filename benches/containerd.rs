//! What our v2 shim costs, beside containerd's own, under the same daemon in the same run.
//!
//! `cargo bench --bench containerd` builds ours statically linked, starts the installed containerd
//! in namespaces of its own (as `cargo test --test containerd` does), and prints medians and their
//! ratios. CPU time is that of the shims' own processes alone (`clock_getcpuclockid(3)`), read when
//! they have ended and nobody has reaped them yet; what runtimes use is theirs. Needs root.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::print_stdout,
    dead_code,
    missing_docs
)]

#[path = "../tests/containerd/client.rs"]
mod client;
#[path = "../tests/containerd/daemon.rs"]
mod daemon;
#[path = "../tests/containerd/place.rs"]
mod place;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use client::{told, wait_for};
use daemon::{Combination, Daemon, IMAGE, Shim, arguments};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::time::{ClockId, clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;

const SHIMS: [Shim; 2] = [Shim::Stock, Shim::Ours];
const RUNS: usize = 9;
const EXECS: usize = 25;
const FLAGS: &str = "-C target-feature=+crt-static -C relocation-model=static";

fn main() -> ExitCode {
    // Built outside: inside, this program's namespace has another /run.
    if std::env::var_os("WAVETANK_TEST_INSIDE").is_none() {
        build_static();
    }
    match place::enter() {
        place::Entered::Inside => {
            measure();
            ExitCode::SUCCESS
        }
        place::Entered::Ended(code) => code,
        place::Entered::Cannot(why) => {
            println!("SKIPPED containerd: {why}");
            ExitCode::SUCCESS
        }
    }
}

fn target() -> String {
    format!("{}-unknown-linux-gnu", std::env::consts::ARCH)
}

fn our_static_shim() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    root.join("target/static").join(target()).join("release/containerd-shim-wavetank-v2")
}

fn build_static() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let built = Command::new(env!("CARGO"))
        .args(["build", "--release", "--bin", "containerd-shim-wavetank-v2"])
        .args(["--target", &target(), "--target-dir"])
        .arg(root.join("target/static"))
        .env("RUSTFLAGS", FLAGS)
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .current_dir(root)
        .status();
    assert!(built.unwrap().success(), "the static shim could not be built");
    // Freshly written programs are dirty in the page cache, and would count as ours.
    Command::new("sync").status().unwrap();
}

fn measure() {
    // Orphaned shims become our children, so that we can look at them when they have ended.
    nix::sys::prctl::set_child_subreaper(true).unwrap();
    let (mut containerds, _) = place::containerds();
    let (runtime, runtime_path) = place::runtimes().remove(0);
    let combination = Combination { containerd: containerds.remove(0), runtime, runtime_path };
    println!("containerd {}, medians; the ratio is ours to containerd's own", combination.name());
    let daemon = Daemon::start(&Arc::new(combination), &SHIMS);
    let ours = daemon.place.join("bin/containerd-shim-wavetank-v2");
    fs::remove_file(&ours).unwrap();
    symlink(our_static_shim(), &ours).unwrap();

    let bench = Bench { daemon };
    bench.row("start to address, ms", RUNS, |shim, _| bench.start_by_hand(shim).wall);
    let helpers: Vec<f64> = bench.row("CPU of a run's short programs, ms", RUNS, |shim, _| {
        let mounting = if shim == Shim::Ours { 2.0 * bench.unmount_by_hand() } else { 0.0 };
        bench.start_by_hand(shim).cpu + bench.delete_by_hand(shim) + mounting
    });
    let servers = bench.row("CPU of a run's server, ms", RUNS, |shim, n| bench.run(shim, n));
    let [stock, ours] = [0, 1].map(|which: usize| helpers[which] + servers[which]);
    show("CPU of a whole run, ms", stock, ours);
    bench.living();
}

/// What a short program took, in milliseconds.
struct Took {
    wall: f64,
    cpu: f64,
}

struct Bench {
    daemon: Daemon,
}

impl Bench {
    /// Measures both shims in turn, so that what else the machine does hits both.
    fn row(&self, name: &str, rounds: usize, of: impl Fn(Shim, usize) -> f64) -> Vec<f64> {
        let mut values: [Vec<f64>; 2] = Default::default();
        for round in 0..rounds {
            for (shim, values) in SHIMS.into_iter().zip(&mut values) {
                values.push(of(shim, round));
            }
        }
        let medians: Vec<f64> = values.into_iter().map(median).collect();
        show(name, medians[0], medians[1]);
        medians
    }

    fn program(&self, shim: Shim) -> PathBuf {
        match shim {
            Shim::Stock => {
                self.daemon.combination.containerd.programs.join("containerd-shim-runc-v2")
            }
            Shim::Ours => self.daemon.place.join("bin/containerd-shim-wavetank-v2"),
        }
    }

    fn bundle(&self, shim: Shim) -> PathBuf {
        let bundle = self.daemon.place.join(format!("by-hand-{}", shim.name()));
        fs::create_dir_all(bundle.join("rootfs")).unwrap();
        fs::write(bundle.join("config.json"), r#"{"ociVersion":"1.0.2"}"#).unwrap();
        bundle
    }

    fn helper(&self, shim: Shim, action: &str) -> (Took, String) {
        let bundle = self.bundle(shim);
        let mut command = Command::new(self.program(shim));
        command.current_dir(&bundle).stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::null());
        command.env("TTRPC_ADDRESS", self.daemon.place.join("c.sock.ttrpc"));
        command.args(["-namespace", "by-hand", "-id", "by-hand", "-address"]);
        command.arg(self.daemon.address()).args(["-publish-binary", "containerd", "-bundle"]);
        command.arg(&bundle).arg(action);
        let begin = Instant::now();
        let mut child = command.spawn().unwrap();
        let mut out = String::new();
        let mut pipe = child.stdout.take().unwrap();
        std::io::Read::read_to_string(&mut pipe, &mut out).unwrap_or_default();
        let wall = millis(begin.elapsed());
        let cpu = cpu_at_end(child.id());
        child.wait().unwrap();
        (Took { wall, cpu }, out)
    }

    fn start_by_hand(&self, shim: Shim) -> Took {
        let (took, address) = self.helper(shim, "start");
        assert!(address.starts_with("unix://"), "{address:?}");
        let is_ours = |pid: &u32| arguments(*pid).iter().any(|word| word == "by-hand");
        let server = wait_for("the server runs", || daemon::processes().find(is_ours));
        nix::sys::signal::kill(pid(server), nix::sys::signal::SIGKILL).unwrap();
        cpu_at_end(server);
        nix::sys::wait::waitpid(pid(server), None).unwrap();
        fs::remove_file(address.trim().trim_start_matches("unix://")).unwrap();
        took
    }

    fn delete_by_hand(&self, shim: Shim) -> f64 {
        self.helper(shim, "delete").0.cpu
    }

    /// Ours has a child for mounting, and one for unmounting.
    fn unmount_by_hand(&self) -> f64 {
        let job = self.daemon.place.join("job.json");
        fs::write(&job, r#"{"unmount":{"rootfs":"/run/none"}}"#).unwrap();
        let mut command = Command::new(self.program(Shim::Ours));
        command.arg("mount").stdin(fs::File::open(job).unwrap()).stdout(Stdio::null());
        let mut child = command.spawn().unwrap();
        let cpu = cpu_at_end(child.id());
        assert!(child.wait().unwrap().success(), "nothing to unmount is no failure");
        cpu
    }

    /// CPU of the server of one `ctr run`.
    fn run(&self, shim: Shim, number: usize) -> f64 {
        let mut run = self.daemon.ctr(shim);
        run.args(["run", "--rm", "--runtime", shim.runtime_name(), IMAGE]);
        run.arg(format!("r{number}")).arg("true");
        told(run).fine();
        // The one orphan that has ended, or is about to.
        let ended = waitid(Id::All, WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT).unwrap();
        let server = match ended {
            WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, ..) => pid,
            other => panic!("{other:?}"),
        };
        let cpu = cpu_of(server);
        nix::sys::wait::waitpid(server, None).unwrap();
        cpu
    }

    /// What is measured of shims that live.
    fn living(&self) {
        for shim in SHIMS {
            self.ctr(
                shim,
                &["run", "-d", "--runtime", shim.runtime_name(), IMAGE, "b", "sleep", "1000"],
            );
        }
        let servers = SHIMS.map(|shim| self.daemon.shims(shim)[0]);
        let memory = |name: &str| {
            let [stock, ours] = servers.map(private_dirty);
            show(name, stock, ours);
        };
        memory("private dirty with one container, kB");
        self.row("CPU of an exec, ms", EXECS, |shim, number| {
            let server = pid(servers[shim as usize]);
            let before = cpu_of(server);
            let id = format!("e{number}");
            self.ctr(shim, &["tasks", "exec", "--exec-id", &id, "b", "true"]);
            cpu_of(server) - before
        });
        memory("private dirty after its execs, kB");
        self.row("CPU for 1 GiB of an exec's output, ms", 3, |shim, number| {
            let server = pid(servers[shim as usize]);
            let before = cpu_of(server);
            self.ctr(
                shim,
                &[
                    "tasks",
                    "exec",
                    "--exec-id",
                    &format!("o{number}"),
                    "b",
                    "dd",
                    "if=/dev/zero",
                    "bs=64k",
                    "count=16384",
                ],
            );
            cpu_of(server) - before
        });
        self.row("CPU of a server whose init says 1 GiB, ms", 3, |shim, number| {
            let mut run = self.daemon.ctr(shim);
            run.args(["run", "--rm", "--runtime", shim.runtime_name(), IMAGE]);
            run.arg(format!("g{number}")).args(["dd", "if=/dev/zero", "bs=64k", "count=16384"]);
            run.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            assert!(run.status().unwrap().success(), "1 GiB of output");
            let ended = waitid(Id::All, WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT).unwrap();
            let server = ended.pid().unwrap();
            let cpu = cpu_of(server);
            nix::sys::wait::waitpid(server, None).unwrap();
            cpu
        });
        for shim in SHIMS {
            self.ctr(shim, &["tasks", "kill", "-s", "9", "b"]);
            self.ctr(shim, &["tasks", "delete", "b"]);
        }
    }

    fn ctr(&self, shim: Shim, args: &[&str]) {
        let mut command = self.daemon.ctr(shim);
        command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        // Deleting what was killed is told as a failure.
        command.status().unwrap();
    }
}

fn pid(number: u32) -> Pid {
    Pid::from_raw(number.cast_signed())
}

/// CPU that a process has used, in milliseconds; not that of its children.
fn cpu_of(process: Pid) -> f64 {
    let clock: ClockId = clock_getcpuclockid(process).unwrap();
    millis(Duration::from(clock_gettime(clock).unwrap()))
}

/// The same, once it has ended; it is left to be reaped.
fn cpu_at_end(process: u32) -> f64 {
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
    waitid(Id::Pid(pid(process)), flags).unwrap();
    cpu_of(pid(process))
}

fn private_dirty(process: u32) -> f64 {
    let rollup = fs::read_to_string(format!("/proc/{process}/smaps_rollup")).unwrap();
    let line = rollup.lines().find_map(|line| line.strip_prefix("Private_Dirty:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn show(name: &str, stock: f64, ours: f64) {
    println!("{name:42} containerd's {stock:>9.2}   ours {ours:>9.2}   ratio {:.3}", ours / stock);
}
