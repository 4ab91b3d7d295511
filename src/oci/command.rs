//! Command lines of OCI runtimes, in the dialects of three generations.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Checkpoint, rfc3339_nano};

/// A generation of the runtime's command line, named by the command that makes a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dialect {
    /// Of 2016, containerd 0.2.0 to 0.2.2: `start … --console PATH -d` makes a container and
    /// starts it.
    Start,
    /// Of containerd 0.2.9: `create … [--console-socket PATH]` makes it, and the daemon starts it.
    /// (From 0.2.3 to 0.2.8 it was `create … --console PATH`, which is not spoken here.)
    Create,
    /// What `Start` means, on runtimes of today: `run -d … [--console-socket PATH]`.
    Run,
}

impl Dialect {
    /// The dialect of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Dialect> {
        match name {
            "start" => Some(Dialect::Start),
            "create" => Some(Dialect::Create),
            "run" => Some(Dialect::Run),
            _ => None,
        }
    }

    /// Whether the runtime sends the console over a socket, rather than being told its path.
    #[must_use]
    pub fn has_console_socket(self) -> bool {
        self != Dialect::Start
    }
}

/// How a process comes to its terminal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Console {
    /// It has none.
    None,
    /// It opens this one.
    Path(PathBuf),
    /// The runtime makes one and sends it to this socket.
    Socket(PathBuf),
}

/// A container's runtime as it is called for one process of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Runtime {
    /// The command line's generation.
    pub dialect: Dialect,
    /// The container.
    pub id: String,
    /// Its bundle.
    pub bundle: PathBuf,
    /// The runtime, as the client named it: the program's name in its own arguments.
    pub name: String,
    /// Arguments of the runtime itself, in front of the command.
    pub args: Vec<String>,
    /// Whether the root is changed by `MS_MOVE` and not by `pivot_root`.
    pub no_pivot: bool,
    /// The process's state directory, where its pid file and the runtime's log are.
    pub state_dir: PathBuf,
}

/// A command line in the making.
struct Line(Vec<OsString>);

impl Line {
    fn arg(&mut self, arg: impl AsRef<OsStr>) -> &mut Line {
        self.0.push(arg.as_ref().to_owned());
        self
    }

    fn args(&mut self, args: &[String]) {
        self.0.extend(args.iter().map(OsString::from));
    }

    fn option(&mut self, name: &str, value: impl AsRef<OsStr>) -> &mut Line {
        self.arg(name).arg(value)
    }

    fn flag_if(&mut self, condition: bool, name: &str) -> &mut Line {
        if condition { self.arg(name) } else { self }
    }
}

impl Runtime {
    /// Where the runtime writes the process's pid.
    #[must_use]
    pub fn pid_file(&self) -> PathBuf {
        self.state_dir.join("pid")
    }

    /// Makes the container; with it starts it, unless that is the daemon's part.
    #[must_use]
    pub fn create(&self, console: &Console) -> Vec<OsString> {
        let command = match self.dialect {
            Dialect::Start => "start",
            Dialect::Create => "create",
            Dialect::Run => "run",
        };
        let mut line = self.logging();
        line.arg(command).option("--bundle", &self.bundle);
        self.console(&mut line, console);
        line.flag_if(self.no_pivot, "--no-pivot");
        line.flag_if(self.dialect != Dialect::Create, "-d");
        self.pid_file_and_id(line)
    }

    /// Starts a further process in the container, described by `process.json`.
    #[must_use]
    pub fn exec(&self, console: &Console) -> Vec<OsString> {
        let process = self.state_dir.join("process.json");
        let mut line = self.logging();
        line.arg("exec");
        if self.dialect == Dialect::Start {
            line.option("--process", &process);
            self.console(&mut line, console);
            line.arg("-d");
        } else {
            line.arg("-d").option("--process", &process);
            self.console(&mut line, console);
        }
        self.pid_file_and_id(line)
    }

    /// Makes the container from a checkpoint in the directory `image`; `now` is the time since
    /// 1970 that names its work directory.
    #[must_use]
    pub fn restore(
        &self,
        image: &Path,
        checkpoint: &Checkpoint,
        console: &Console,
        now: Duration,
    ) -> Vec<OsString> {
        let with_work_path = self.dialect == Dialect::Create;
        let mut line = self.logging();
        line.arg("restore").flag_if(with_work_path, "-d").option("--image-path", image);
        if with_work_path {
            let work = format!("criu.work/restore-{}", rfc3339_nano(now));
            line.option("--work-path", image.join(work));
        }
        line.flag_if(checkpoint.shell, "--shell-job");
        line.flag_if(checkpoint.tcp, "--tcp-established");
        line.flag_if(checkpoint.unix_sockets, "--ext-unix-sk");
        line.flag_if(self.no_pivot, "--no-pivot");
        line.flag_if(!with_work_path, "-d");
        if self.dialect.has_console_socket() {
            self.console(&mut line, console);
            for namespace in &checkpoint.empty_namespaces {
                line.option("--empty-ns", namespace);
            }
        }
        self.pid_file_and_id(line)
    }

    /// Kills every process of the container.
    #[must_use]
    pub fn kill_all(&self) -> Vec<OsString> {
        let mut line = self.plain();
        line.arg("kill").arg("--all").arg(&self.id).arg("SIGKILL");
        line.0
    }

    /// Deletes the container, which must not run any more.
    #[must_use]
    pub fn delete(&self) -> Vec<OsString> {
        let mut line = self.plain();
        line.arg("delete").arg(&self.id);
        line.0
    }

    fn plain(&self) -> Line {
        let mut line = Line(vec![self.name.clone().into()]);
        line.args(&self.args);
        line
    }

    fn logging(&self) -> Line {
        let mut line = Line(vec![self.name.clone().into()]);
        line.option("--log", self.state_dir.join("log.json")).option("--log-format", "json");
        line.args(&self.args);
        line
    }

    /// In 2016 the option was always there, with an empty argument for no console.
    fn console(&self, line: &mut Line, console: &Console) {
        match console {
            Console::Path(path) => line.option("--console", path),
            Console::Socket(path) => line.option("--console-socket", path),
            Console::None if self.dialect == Dialect::Start => line.option("--console", ""),
            Console::None => line,
        };
    }

    fn pid_file_and_id(&self, mut line: Line) -> Vec<OsString> {
        line.option("--pid-file", self.pid_file()).arg(&self.id);
        line.0
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn runtime(dialect: Dialect) -> Runtime {
        Runtime {
            dialect,
            id: "c1".into(),
            bundle: "/b".into(),
            name: "runc".into(),
            args: vec!["--root=/r".to_owned()],
            no_pivot: false,
            state_dir: "/s/c1/init".into(),
        }
    }

    fn words(argv: &[OsString]) -> String {
        let quoted = |arg: &OsString| match arg.to_str() {
            Some("") => "''".to_owned(),
            Some(text) => text.to_owned(),
            None => format!("{arg:?}"),
        };
        argv.iter().map(quoted).collect::<Vec<_>>().join(" ")
    }

    const LOG: &str = "runc --log /s/c1/init/log.json --log-format json --root=/r";
    const PID: &str = "--pid-file /s/c1/init/pid c1";

    #[rstest]
    #[case(Dialect::Start, Console::None, "start --bundle /b --console '' -d")]
    #[case(Dialect::Start, Console::Path("/dev/pts/3".into()), "start --bundle /b --console /dev/pts/3 -d")]
    #[case(Dialect::Create, Console::None, "create --bundle /b")]
    #[case(Dialect::Create, Console::Socket("/t/p".into()), "create --bundle /b --console-socket /t/p")]
    #[case(Dialect::Run, Console::None, "run --bundle /b -d")]
    #[case(Dialect::Run, Console::Socket("/t/p".into()), "run --bundle /b --console-socket /t/p -d")]
    fn creating(#[case] dialect: Dialect, #[case] console: Console, #[case] expected: &str) {
        let argv = runtime(dialect).create(&console);
        assert_eq!(words(&argv), format!("{LOG} {expected} {PID}"));
    }

    #[rstest]
    #[case(Dialect::Start, "start --bundle /b --console '' --no-pivot -d")]
    #[case(Dialect::Create, "create --bundle /b --no-pivot")]
    #[case(Dialect::Run, "run --bundle /b --no-pivot -d")]
    fn creating_without_pivot(#[case] dialect: Dialect, #[case] expected: &str) {
        let runtime = Runtime { no_pivot: true, ..runtime(dialect) };
        assert_eq!(words(&runtime.create(&Console::None)), format!("{LOG} {expected} {PID}"));
    }

    #[rstest]
    #[case(Dialect::Start, Console::None, "exec --process /s/c1/init/process.json --console '' -d")]
    #[case(Dialect::Create, Console::None, "exec -d --process /s/c1/init/process.json")]
    #[case(Dialect::Create, Console::Socket("/t/p".into()),
        "exec -d --process /s/c1/init/process.json --console-socket /t/p")]
    #[case(Dialect::Run, Console::None, "exec -d --process /s/c1/init/process.json")]
    fn executing(#[case] dialect: Dialect, #[case] console: Console, #[case] expected: &str) {
        let argv = runtime(dialect).exec(&console);
        assert_eq!(words(&argv), format!("{LOG} {expected} {PID}"));
    }

    #[rstest]
    #[case(
        Dialect::Start,
        "restore --image-path /i --shell-job --tcp-established --ext-unix-sk --no-pivot -d"
    )]
    #[case(
        Dialect::Create,
        "restore -d --image-path /i --work-path /i/criu.work/restore-1970-01-01T00:00:01.5Z --shell-job --tcp-established --ext-unix-sk --no-pivot --empty-ns network"
    )]
    #[case(
        Dialect::Run,
        "restore --image-path /i --shell-job --tcp-established --ext-unix-sk --no-pivot -d --empty-ns network"
    )]
    fn restoring(#[case] dialect: Dialect, #[case] expected: &str) {
        let runtime = Runtime { no_pivot: true, ..runtime(dialect) };
        let checkpoint = Checkpoint {
            tcp: true,
            unix_sockets: true,
            shell: true,
            empty_namespaces: vec!["network".to_owned()],
        };
        let now = Duration::from_millis(1500);
        let argv = runtime.restore(Path::new("/i"), &checkpoint, &Console::None, now);
        assert_eq!(words(&argv), format!("{LOG} {expected} {PID}"));
    }

    #[test]
    fn deleting() {
        assert_eq!(words(&runtime(Dialect::Create).delete()), "runc --root=/r delete c1");
    }

    #[test]
    fn killing_all() {
        let argv = runtime(Dialect::Create).kill_all();
        assert_eq!(words(&argv), "runc --root=/r kill --all c1 SIGKILL");
    }
}
