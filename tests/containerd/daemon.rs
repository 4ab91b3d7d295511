//! A containerd of our own, with a runtime that it knows as `runc`.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use crate::client::{told, until};
use crate::place::{self, Installed};

/// What is read at once: which daemon, and which runtime.
pub(crate) struct Combination {
    pub(crate) containerd: Installed,
    pub(crate) runtime: &'static str,
    pub(crate) runtime_path: PathBuf,
}

impl Combination {
    pub(crate) fn name(&self) -> String {
        format!("{} {}", self.containerd.version, self.runtime)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Shim {
    Stock,
    Ours,
}

impl Shim {
    pub(crate) fn runtime_name(self) -> &'static str {
        match self {
            Shim::Stock => "io.containerd.runc.v2",
            Shim::Ours => "io.containerd.wavetank.v2",
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Shim::Stock => "stock",
            Shim::Ours => "ours",
        }
    }
}

/// Whether shims find criu, if it is there. Where they do, ours carries all output itself.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Criu {
    Found,
    Hidden,
}

pub(crate) struct Daemon {
    pub(crate) combination: Arc<Combination>,
    pub(crate) place: PathBuf,
    criu: Criu,
    process: Mutex<Option<Child>>,
    listener: Mutex<Option<Child>>,
    events: Arc<Mutex<Vec<String>>>,
}

pub(crate) const IMAGE: &str = "test/busybox:latest";

impl Daemon {
    pub(crate) fn start(combination: &Arc<Combination>, shims: &[Shim], criu: Criu) -> Daemon {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let place = Path::new(place::ROOT).join(NUMBER.fetch_add(1, Ordering::SeqCst).to_string());
        fs::create_dir_all(place.join("bin")).unwrap();
        symlink(&combination.runtime_path, place.join("bin/runc")).unwrap();
        symlink(place::our_shim(), place.join("bin/containerd-shim-wavetank-v2")).unwrap();
        fs::write(place.join("config.toml"), configuration(&place)).unwrap();
        let daemon = Daemon {
            combination: Arc::clone(combination),
            place,
            criu,
            process: Mutex::new(None),
            listener: Mutex::new(None),
            events: Arc::default(),
        };
        daemon.start_process();
        for shim in shims {
            let mut import = daemon.ctr(*shim);
            import.args(["images", "import"]).arg(place::image_file());
            told(import).fine();
        }
        daemon
    }

    /// Starts the daemon's process, also again after [`Daemon::kill`].
    pub(crate) fn start_process(&self) {
        let programs = &self.combination.containerd.programs;
        let log = fs::File::options().create(true).append(true).open(self.place.join("log"));
        let mut command = Command::new(programs.join("containerd"));
        command.arg("--config").arg(self.place.join("config.toml"));
        command.env("PATH", self.search_path()).current_dir("/");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log.unwrap());
        *self.process.lock().unwrap() = Some(command.spawn().unwrap());
        until("the daemon answers", || {
            let mut version = self.ctr(Shim::Stock);
            told({
                version.arg("version");
                version
            })
            .status
                == 0
        });
        self.listen();
    }

    fn search_path(&self) -> std::ffi::OsString {
        let given = std::env::var_os("PATH").unwrap_or_default();
        let first = [self.place.join("bin"), self.combination.containerd.programs.clone()];
        let is_hidden =
            |directory: &PathBuf| self.criu == Criu::Hidden && place::is_for_criu(directory);
        let given = std::env::split_paths(&given).filter(|directory| !is_hidden(directory));
        std::env::join_paths(first.into_iter().chain(given)).unwrap()
    }

    /// From now on, events are collected.
    fn listen(&self) {
        let mut command = self.ctr(Shim::Stock);
        command.arg("events").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let events = Arc::clone(&self.events);
        std::thread::spawn(move || {
            lines.map_while(Result::ok).for_each(|line| events.lock().unwrap().push(line));
        });
        *self.listener.lock().unwrap() = Some(child);
        // It says nothing when it is ready: the event of a made and removed label does.
        let namespace = format!("probe{}", place::run_number());
        until("events arrive", || {
            for verb in ["create", "remove"] {
                let mut probe = self.ctr(Shim::Stock);
                probe.args(["namespaces", verb, &namespace]);
                told(probe);
            }
            self.events().iter().any(|line| line.contains(&namespace))
        });
        self.events.lock().unwrap().clear();
    }

    /// Everything that was told since the daemon was started.
    pub(crate) fn events(&self) -> Vec<String> {
        self.events.lock().unwrap().clone()
    }

    pub(crate) fn namespace(&self, shim: Shim) -> String {
        let number = self.place.file_name().unwrap().to_str().unwrap();
        format!("wt{}-{number}-{}", place::run_number(), shim.name())
    }

    pub(crate) fn address(&self) -> PathBuf {
        self.place.join("c.sock")
    }

    pub(crate) fn ctr(&self, shim: Shim) -> Command {
        // The installed one for all: what a newer one asks for, older runtimes refuse.
        let mut command = Command::new("ctr");
        command.env("CONTAINERD_ADDRESS", self.address());
        command.env("CONTAINERD_NAMESPACE", self.namespace(shim));
        command
    }

    /// Ends the daemon at once, as `kill -9` does.
    pub(crate) fn kill(&self) {
        for process in [&self.process, &self.listener] {
            if let Some(mut child) = process.lock().unwrap().take() {
                let _ = child.kill();
                child.wait().unwrap();
            }
        }
    }

    /// Pids of the shims that a namespace's containers have, started by this daemon.
    pub(crate) fn shims(&self, shim: Shim) -> Vec<u32> {
        let namespace = self.namespace(shim);
        let is_ours = |pid: &u32| {
            let arguments = arguments(*pid);
            let mut pairs = arguments.windows(2);
            pairs.any(|pair| pair[0] == "-namespace" && pair[1] == namespace)
        };
        processes().filter(is_ours).collect()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
    }
}

pub(crate) fn processes() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

pub(crate) fn arguments(pid: u32) -> Vec<String> {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    line.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect()
}

fn configuration(place: &Path) -> String {
    let place = place.display();
    format!(
        r#"version = 2
root = "{place}/root"
state = "{place}/state"
disabled_plugins = [
    "io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime",
    "io.containerd.nri.v1.nri", "io.containerd.internal.v1.opt",
]
[grpc]
address = "{place}/c.sock"
[ttrpc]
address = "{place}/c.sock.ttrpc"
"#
    )
}
