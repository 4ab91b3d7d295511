//! Where all this happens: a mount and a pid namespace of its own. `/run` is private there, so that
//! no socket, fifo or runtime state meets those of the machine, and whatever is left at the end,
//! even if this program is killed, ends with the namespace.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

/// The pid outside, in the program that runs inside.
const INSIDE: &str = "WAVETANK_TEST_INSIDE";

/// Everything here is below it; short, for the sockets.
pub(crate) const ROOT: &str = "/run/w";

pub(crate) enum Entered {
    Inside,
    Ended(ExitCode),
    Cannot(String),
}

/// One generation of containerd.
pub(crate) struct Installed {
    pub(crate) version: String,
    /// With `containerd` and `containerd-shim-runc-v2`.
    pub(crate) programs: PathBuf,
}

/// Whether this program is the one inside already.
pub(crate) fn is_inside() -> bool {
    std::env::var_os(INSIDE).is_some()
}

pub(crate) fn enter() -> Entered {
    if is_inside() {
        prepare();
        return Entered::Inside;
    }
    if let Err(why) = needs() {
        return Entered::Cannot(why);
    }
    // The shell stays: it is pid 1 there, and reaps whatever nobody else does.
    let status = Command::new("unshare")
        .args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc"])
        .args(["--propagation", "private", "sh", "-c", "\"$@\"; exit $?", "sh"])
        .arg(std::env::current_exe().unwrap())
        .args(std::env::args_os().skip(1))
        .env(INSIDE, std::process::id().to_string())
        .status();
    match status.ok().and_then(|status| status.code()) {
        Some(code) => Entered::Ended(ExitCode::from(u8::try_from(code).unwrap_or(1))),
        None => Entered::Ended(ExitCode::FAILURE),
    }
}

fn succeeds(program: impl AsRef<Path>, args: &[&str]) -> bool {
    let mut command = Command::new(program.as_ref());
    let command = command.args(args).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

fn needs() -> Result<(), String> {
    if !nix::unistd::geteuid().is_root() {
        return Err("it needs root".to_owned());
    }
    for program in ["containerd", "ctr"] {
        if !succeeds(program, &["--version"]) {
            return Err(format!("there is no {program}"));
        }
    }
    if runtimes().is_empty() {
        return Err("there is neither runc nor crun".to_owned());
    }
    if !succeeds("busybox", &["true"]) {
        return Err("there is no busybox".to_owned());
    }
    let namespaces = ["--mount", "--pid", "--fork", "--mount-proc", "true"];
    if !succeeds("unshare", &namespaces) {
        return Err("no mount and pid namespace can be made".to_owned());
    }
    Ok(())
}

/// The namespace is there; now what is in it.
fn prepare() {
    let sh = |script: &str| assert!(succeeds("sh", &["-c", script]), "{script}");
    sh("mount -t tmpfs tmpfs /run && mkdir -p /run/containerd /run/lock /run/w");
    // crun refuses to work where both generations of cgroups are mounted; and it makes directories
    // where the second was, which shall not stay.
    if Path::new("/sys/fs/cgroup/unified/cgroup.procs").exists() {
        sh("umount /sys/fs/cgroup/unified && mount -t tmpfs tmpfs /sys/fs/cgroup/unified");
    }
    let image = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/containerd/image.sh");
    let status = Command::new("sh").arg(image).arg(image_file()).status();
    assert!(status.unwrap().success(), "the image could not be made");
}

pub(crate) fn image_file() -> PathBuf {
    Path::new(ROOT).join("image.tar")
}

/// Differs between all runs of this program at one time.
pub(crate) fn run_number() -> String {
    std::env::var(INSIDE).unwrap()
}

/// The containerds of this machine; and what to say of one that is missing.
pub(crate) fn containerds() -> (Vec<Installed>, Option<String>) {
    let mut found = vec![installed(&which("containerd")).unwrap()];
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/containerd-2");
    let newer = std::env::var_os("WAVETANK_CONTAINERD_2").map_or(default, PathBuf::from);
    let newer = newer.join("usr/bin/containerd");
    let missing = match installed(&newer) {
        Some(installed) => {
            found.push(installed);
            None
        }
        None => Some(format!("there is no {} that runs", newer.display())),
    };
    (found, missing)
}

fn which(program: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut candidates = std::env::split_paths(&path).map(|directory| directory.join(program));
    candidates.find(|candidate| candidate.exists()).unwrap_or_else(|| program.into())
}

fn installed(containerd: &Path) -> Option<Installed> {
    let output = Command::new(containerd).arg("--version").output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let number = |word: &&str| word.starts_with(|letter: char| letter.is_ascii_digit());
    let version = text.split_whitespace().find(number)?;
    let version = version.split(['~', '+', '-']).next()?.to_owned();
    Some(Installed { version, programs: containerd.parent()?.to_owned() })
}

/// The runtimes of this machine, by name and path.
pub(crate) fn runtimes() -> Vec<(&'static str, PathBuf)> {
    let found = ["runc", "crun"].into_iter().filter(|name| succeeds(name, &["--version"]));
    found.map(|name| (name, which(name))).collect()
}

/// Why no checkpoint can be made, if none can.
pub(crate) fn no_criu() -> Option<&'static str> {
    if which("criu").is_relative() {
        return Some("there is no criu");
    }
    (!succeeds("criu", &["check"])).then_some("criu check says that it does not work here")
}

/// Whether a directory of programs has criu, and nothing that everybody needs.
pub(crate) fn is_for_criu(directory: &Path) -> bool {
    directory.join("criu").exists() && !directory.join("sh").exists()
}

/// The shim under test.
pub(crate) fn our_shim() -> PathBuf {
    let beside_us = || env!("CARGO_BIN_EXE_containerd-shim-wavetank-v2").into();
    std::env::var_os("WAVETANK_SHIM").unwrap_or_else(beside_us).into()
}

/// Directories of control groups that are called so, in whatever hierarchy.
pub(crate) fn cgroups_called(name: &str) -> Vec<PathBuf> {
    let root = Path::new("/sys/fs/cgroup");
    let hierarchies = fs::read_dir(root).unwrap().flatten().map(|entry| entry.path());
    let candidates = hierarchies.chain([root.to_owned()]).map(|hierarchy| hierarchy.join(name));
    let are_real = |candidate: &PathBuf| !candidate.starts_with(root.join("unified"));
    candidates.filter(are_real).filter(|candidate| candidate.is_dir()).collect()
}

/// Leaves no control group of this run. A frozen process cannot die, not even with its namespace.
pub(crate) fn clear_cgroups() {
    let run = run_number();
    let script = format!(
        "cd /sys/fs/cgroup
         for file in $(find . -path '*/wt{run}-*' -name freezer.state); do echo THAWED >$file; done
         for file in $(find . -path '*/wt{run}-*' -name cgroup.freeze); do echo 0 >$file; done
         find . -depth -type d -path '*/wt{run}-*' -exec rmdir '{{}}' '+' 2>/dev/null
         true"
    );
    assert!(succeeds("sh", &["-c", &script]), "{script}");
}
