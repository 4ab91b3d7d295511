//! The command lines of `runc(8)` as containerd's shim for the runtime v2 API uses them. crun and
//! youki understand the same.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// A runtime and what it is told in front of every command. Each method gives a whole argument
/// vector, the program's name included.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Runc {
    /// The runtime, by name or path.
    pub program: String,
    /// Where it keeps its containers.
    pub root: PathBuf,
    /// Where it says what went wrong.
    pub log: PathBuf,
    /// systemd makes the cgroups.
    pub systemd_cgroup: bool,
    /// The `criu` to use, by path. Empty: the runtime's own choice; runc has not had this option
    /// since 1.2.
    pub criu: String,
}

/// A container to create.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Create {
    /// Its name.
    pub id: String,
    /// Where its `config.json` is.
    pub bundle: PathBuf,
    /// Where the runtime is to write the pid of its first process.
    pub pid_file: PathBuf,
    /// The socket to which the terminal is sent, if it has one.
    pub console_socket: Option<PathBuf>,
    /// Change the root by `MS_MOVE` and not by `pivot_root`.
    pub no_pivot: bool,
    /// Leave it in the session keyring of the runtime.
    pub no_new_keyring: bool,
}

/// A further process to start in a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecArgs {
    /// The container.
    pub id: String,
    /// The process's description (`process` of `config.json`).
    pub process_file: PathBuf,
    /// Where the runtime is to write its pid.
    pub pid_file: PathBuf,
    /// The socket to which the terminal is sent, if it has one.
    pub console_socket: Option<PathBuf>,
}

/// A container to checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointArgs {
    /// The container.
    pub id: String,
    /// Directory of the checkpoint.
    pub image_path: PathBuf,
    /// Where criu keeps what it needs while it works.
    pub work_path: PathBuf,
    /// An earlier checkpoint that this one builds on.
    pub parent_path: Option<PathBuf>,
    /// Checkpoint open TCP connections.
    pub open_tcp: bool,
    /// Checkpoint connections over unix sockets to outside.
    pub external_unix_sockets: bool,
    /// Checkpoint a terminal from outside.
    pub terminal: bool,
    /// Checkpoint file locks.
    pub file_locks: bool,
    /// Namespaces that are not checkpointed.
    pub empty_namespaces: Vec<String>,
    /// The container goes on afterwards.
    pub leave_running: bool,
}

/// A container to restore from a checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restore {
    /// Its name.
    pub id: String,
    /// Where its `config.json` is.
    pub bundle: PathBuf,
    /// Directory of the checkpoint.
    pub image_path: PathBuf,
    /// Where criu keeps what it needs while it works.
    pub work_path: PathBuf,
    /// The earlier checkpoint that it builds on.
    pub parent_path: Option<PathBuf>,
    /// Where the runtime is to write the pid of its first process.
    pub pid_file: PathBuf,
    /// The socket to which the terminal is sent, if it has one.
    pub console_socket: Option<PathBuf>,
    /// Change the root by `MS_MOVE` and not by `pivot_root`.
    pub no_pivot: bool,
}

impl Runc {
    /// Creates a container, whose first process waits to be started.
    #[must_use]
    pub fn create(&self, container: &Create) -> Vec<OsString> {
        let mut line = self.command("create");
        line.option("--bundle", &container.bundle)
            .option("--pid-file", &container.pid_file)
            .path_if("--console-socket", container.console_socket.as_deref())
            .flag_if(container.no_pivot, "--no-pivot")
            .flag_if(container.no_new_keyring, "--no-new-keyring")
            .finish(&container.id)
    }

    /// Starts the first process of a container.
    #[must_use]
    pub fn start(&self, id: &str) -> Vec<OsString> {
        self.command("start").finish(id)
    }

    /// Starts a further process in a container.
    #[must_use]
    pub fn exec(&self, process: &ExecArgs) -> Vec<OsString> {
        let mut line = self.command("exec");
        line.option("--process", &process.process_file)
            .path_if("--console-socket", process.console_socket.as_deref())
            .arg("--detach")
            .option("--pid-file", &process.pid_file)
            .finish(&process.id)
    }

    /// Sends a signal, by number, to the first process of a container, or to all.
    #[must_use]
    pub fn kill(&self, id: &str, signal: u32, all: bool) -> Vec<OsString> {
        let mut line = self.command("kill");
        line.flag_if(all, "--all").arg(id).finish(signal.to_string())
    }

    /// Deletes a container; with `force` also one that runs, and one that is not there is fine.
    #[must_use]
    pub fn delete(&self, id: &str, force: bool) -> Vec<OsString> {
        self.command("delete").flag_if(force, "--force").finish(id)
    }

    /// Freezes a container.
    #[must_use]
    pub fn pause(&self, id: &str) -> Vec<OsString> {
        self.command("pause").finish(id)
    }

    /// Thaws a container.
    #[must_use]
    pub fn resume(&self, id: &str) -> Vec<OsString> {
        self.command("resume").finish(id)
    }

    /// Changes the limits of a container to those that come over stdin, as JSON.
    #[must_use]
    pub fn update(&self, id: &str) -> Vec<OsString> {
        self.command("update").arg("--resources=-").finish(id)
    }

    /// Checkpoints a container.
    #[must_use]
    pub fn checkpoint(&self, checkpoint: &CheckpointArgs) -> Vec<OsString> {
        let mut line = self.command("checkpoint");
        line.option("--image-path", &checkpoint.image_path)
            .option("--work-path", &checkpoint.work_path)
            .path_if("--parent-path", checkpoint.parent_path.as_deref())
            .flag_if(checkpoint.open_tcp, "--tcp-established")
            .flag_if(checkpoint.external_unix_sockets, "--ext-unix-sk")
            .flag_if(checkpoint.terminal, "--shell-job")
            .flag_if(checkpoint.file_locks, "--file-locks");
        for namespace in &checkpoint.empty_namespaces {
            line.option("--empty-ns", namespace);
        }
        line.flag_if(checkpoint.leave_running, "--leave-running").finish(&checkpoint.id)
    }

    /// Makes a container, and its first process, from a checkpoint.
    #[must_use]
    pub fn restore(&self, container: &Restore) -> Vec<OsString> {
        let mut line = self.command("restore");
        line.option("--image-path", &container.image_path)
            .option("--work-path", &container.work_path)
            .path_if("--parent-path", container.parent_path.as_deref())
            .arg("--detach")
            .option("--pid-file", &container.pid_file)
            .path_if("--console-socket", container.console_socket.as_deref())
            .flag_if(container.no_pivot, "--no-pivot")
            .arg("-no-subreaper")
            .option("--bundle", &container.bundle)
            .finish(&container.id)
    }

    /// Prints what the runtime can do (`features.md` of the runtime specification). It is about no
    /// container, so nothing stands in front of it.
    #[must_use]
    pub fn features(&self) -> Vec<OsString> {
        vec![self.program.clone().into(), "features".into()]
    }

    fn command(&self, name: &str) -> Line {
        let mut line = Line(vec![self.program.clone().into()]);
        line.option("--root", &self.root).option("--log", &self.log).option("--log-format", "json");
        if !self.criu.is_empty() {
            line.option("--criu", &self.criu);
        }
        line.flag_if(self.systemd_cgroup, "--systemd-cgroup").arg(name);
        line
    }
}

/// A command line in the making.
struct Line(Vec<OsString>);

impl Line {
    fn arg(&mut self, arg: impl AsRef<OsStr>) -> &mut Line {
        self.0.push(arg.as_ref().to_owned());
        self
    }

    fn option(&mut self, name: &str, value: impl AsRef<OsStr>) -> &mut Line {
        self.arg(name).arg(value)
    }

    fn path_if(&mut self, name: &str, path: Option<&Path>) -> &mut Line {
        match path {
            Some(path) => self.option(name, path),
            None => self,
        }
    }

    fn flag_if(&mut self, condition: bool, name: &str) -> &mut Line {
        if condition { self.arg(name) } else { self }
    }

    /// The whole line, with its last argument.
    fn finish(&mut self, last: impl AsRef<OsStr>) -> Vec<OsString> {
        self.arg(last);
        std::mem::take(&mut self.0)
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn runc() -> Runc {
        Runc {
            program: "runc".to_owned(),
            root: "/r/ns".into(),
            log: "/b/log.json".into(),
            systemd_cgroup: false,
            criu: String::new(),
        }
    }

    fn words(argv: &[OsString]) -> String {
        argv.iter().map(|arg| arg.to_str().unwrap()).collect::<Vec<_>>().join(" ")
    }

    const HEAD: &str = "runc --root /r/ns --log /b/log.json --log-format json";

    #[rstest]
    #[case(None, false, false, "create --bundle /b --pid-file /b/init.pid c1")]
    #[case(
        Some("/t/p"),
        true,
        true,
        "create --bundle /b --pid-file /b/init.pid --console-socket /t/p --no-pivot --no-new-keyring c1"
    )]
    fn creating(
        #[case] console_socket: Option<&str>,
        #[case] no_pivot: bool,
        #[case] no_new_keyring: bool,
        #[case] expected: &str,
    ) {
        let container = Create {
            id: "c1".to_owned(),
            bundle: "/b".into(),
            pid_file: "/b/init.pid".into(),
            console_socket: console_socket.map(PathBuf::from),
            no_pivot,
            no_new_keyring,
        };
        assert_eq!(words(&runc().create(&container)), format!("{HEAD} {expected}"));
    }

    #[rstest]
    #[case(None, "exec --process /t/e --detach --pid-file /b/e1.pid c1")]
    #[case(
        Some("/t/p"),
        "exec --process /t/e --console-socket /t/p --detach --pid-file /b/e1.pid c1"
    )]
    fn executing(#[case] console_socket: Option<&str>, #[case] expected: &str) {
        let process = ExecArgs {
            id: "c1".to_owned(),
            process_file: "/t/e".into(),
            pid_file: "/b/e1.pid".into(),
            console_socket: console_socket.map(PathBuf::from),
        };
        assert_eq!(words(&runc().exec(&process)), format!("{HEAD} {expected}"));
    }

    #[rstest]
    #[case(runc().start("c1"), "start c1")]
    #[case(runc().kill("c1", 15, false), "kill c1 15")]
    #[case(runc().kill("c1", 0, true), "kill --all c1 0")]
    #[case(runc().delete("c1", false), "delete c1")]
    #[case(runc().delete("c1", true), "delete --force c1")]
    #[case(runc().pause("c1"), "pause c1")]
    #[case(runc().resume("c1"), "resume c1")]
    #[case(runc().update("c1"), "update --resources=- c1")]
    fn short_commands(#[case] argv: Vec<OsString>, #[case] expected: &str) {
        assert_eq!(words(&argv), format!("{HEAD} {expected}"));
    }

    #[test]
    fn everything_in_front_of_a_command() {
        let runc = Runc { systemd_cgroup: true, criu: "/criu".to_owned(), ..runc() };
        let expected = format!("{HEAD} --criu /criu --systemd-cgroup start c1");
        assert_eq!(words(&runc.start("c1")), expected);
        assert_eq!(words(&runc.features()), "runc features");
    }

    #[test]
    fn checkpointing() {
        let mut checkpoint = CheckpointArgs {
            id: "c1".to_owned(),
            image_path: "/i".into(),
            work_path: "/w".into(),
            ..CheckpointArgs::default()
        };
        let least = format!("{HEAD} checkpoint --image-path /i --work-path /w c1");
        assert_eq!(words(&runc().checkpoint(&checkpoint)), least);
        checkpoint = CheckpointArgs {
            parent_path: Some("/p".into()),
            open_tcp: true,
            external_unix_sockets: true,
            terminal: true,
            file_locks: true,
            empty_namespaces: vec!["network".to_owned(), "ipc".to_owned()],
            leave_running: true,
            ..checkpoint
        };
        let most = format!(
            "{HEAD} checkpoint --image-path /i --work-path /w --parent-path /p --tcp-established \
             --ext-unix-sk --shell-job --file-locks --empty-ns network --empty-ns ipc \
             --leave-running c1"
        );
        assert_eq!(words(&runc().checkpoint(&checkpoint)), most);
    }

    #[test]
    fn restoring() {
        let mut container = Restore {
            id: "c1".to_owned(),
            bundle: "/b".into(),
            image_path: "/i".into(),
            work_path: "/w".into(),
            pid_file: "/b/init.pid".into(),
            ..Restore::default()
        };
        let least = format!(
            "{HEAD} restore --image-path /i --work-path /w --detach --pid-file /b/init.pid \
             -no-subreaper --bundle /b c1"
        );
        assert_eq!(words(&runc().restore(&container)), least);
        container.parent_path = Some("/p".into());
        container.console_socket = Some("/t/p".into());
        container.no_pivot = true;
        let most = format!(
            "{HEAD} restore --image-path /i --work-path /w --parent-path /p --detach \
             --pid-file /b/init.pid --console-socket /t/p --no-pivot -no-subreaper --bundle /b c1"
        );
        assert_eq!(words(&runc().restore(&container)), most);
    }
}
