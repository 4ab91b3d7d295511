//! The daemon's side of one shim: its state directory, and the shim that runs in it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Instant;

use nix::fcntl::OFlag;
use nix::poll::PollFlags;
use nix::sys::stat::Mode;
use serde_json::{Map, Value, json};

use super::stream::wait_until_ready;
use super::{Input, LIMIT, Place, Stream, fake_runc, stat_field, until, wait_for};

/// What a shim is to be told.
pub(crate) struct Setup<'a> {
    pub(crate) place: &'a Place,
    id: String,
    /// Where the state directory is, below that of the container.
    below: String,
    process: Map<String, Value>,
    env: BTreeMap<OsString, OsString>,
    runtime: String,
    bundle: PathBuf,
    readers: bool,
    /// A shell command that ends in `exec "$@"`, to start the shim in other surroundings.
    through: Option<String>,
}

impl<'a> Setup<'a> {
    /// As the seed's daemon has it.
    pub(super) fn new(place: &'a Place, id: &str) -> Setup<'a> {
        let stream = |name: &str| place.text(&format!("{id}.{name}"));
        let mark = format!("{}={}", super::MARK, place.text(""));
        let process = json!({
            "terminal": false, "user": {}, "args": ["sh"], "env": ["PATH=/bin:/usr/bin", mark],
            "cwd": "/", "capabilities": ["CAP_KILL"], "rlimits": [], "exec": false,
            "containerdStdin": stream("stdin"), "containerdStdout": stream("stdout"),
            "containerdStderr": stream("stderr"), "runtimeArgs": [place.root_flag()],
            "noPivotRoot": false, "checkpoint": "", "rootUID": 0, "rootGID": 0,
        });
        let Value::Object(process) = process else { unreachable!() };
        Setup {
            place,
            id: id.to_owned(),
            below: String::new(),
            process,
            env: BTreeMap::new(),
            runtime: fake_runc().to_str().unwrap().to_owned(),
            bundle: place.path("bundle"),
            readers: true,
            through: None,
        }
    }

    /// As the daemon of containerd 0.2.9 has it: `consoleSize`, capabilities by kind, and no
    /// `terminal` where there is none.
    pub(crate) fn of_0_2_9(mut self) -> Setup<'a> {
        self.process.remove("terminal");
        self.set("consoleSize", json!({"height": 0, "width": 0}))
            .set("user", json!({"uid": 0, "gid": 0}))
            .set("capabilities", json!({"bounding": ["CAP_KILL"], "ambient": ["CAP_KILL"]}))
            .set("noNewPrivileges", json!(true))
    }

    /// Sets a key of `process.json`.
    pub(crate) fn set(mut self, key: &str, value: Value) -> Setup<'a> {
        self.process.insert(key.to_owned(), value);
        self
    }

    pub(crate) fn terminal(self) -> Setup<'a> {
        self.set("terminal", json!(true))
    }

    pub(crate) fn env(mut self, name: &str, value: impl Into<OsString>) -> Setup<'a> {
        self.env.insert(name.into(), value.into());
        self
    }

    pub(crate) fn dialect(self, dialect: &str) -> Setup<'a> {
        self.env("WAVETANK_DIALECT", dialect)
    }

    pub(crate) fn runtime(mut self, runtime: impl Into<String>) -> Setup<'a> {
        self.runtime = runtime.into();
        self
    }

    pub(crate) fn bundle(mut self, bundle: impl Into<PathBuf>) -> Setup<'a> {
        self.bundle = bundle.into();
        self
    }

    /// The state directory is made in another one of the container's.
    pub(crate) fn below(mut self, directory: &str) -> Setup<'a> {
        self.below = format!("{directory}/");
        self
    }

    /// Nobody has the output's fifos open yet.
    pub(crate) fn without_readers(mut self) -> Setup<'a> {
        self.readers = false;
        self
    }

    /// The shim is started by a shell after it has done this.
    pub(crate) fn through(mut self, preparation: &str) -> Setup<'a> {
        self.through = Some(format!("{preparation}; exec \"$@\""));
        self
    }

    /// Makes the state directory in the daemon's order: `process.json`, `exit`, `control`.
    pub(crate) fn prepare(self) -> Prepared<'a> {
        let dir = self.place.path(&format!("state/c1/{}{}", self.below, self.id));
        fs::create_dir(&dir).unwrap();
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).unwrap();
        let process = Value::Object(self.process.clone());
        fs::write(dir.join("process.json"), format!("{process}\n")).unwrap();
        for name in ["exit", "control"] {
            mkfifo(&dir.join(name));
        }
        let path = |key: &str| PathBuf::from(self.process[key].as_str().unwrap_or_default());
        let [stdin, stdout, stderr] =
            ["containerdStdin", "containerdStdout", "containerdStderr"].map(path);
        for fifo in [&stdin, &stdout, &stderr] {
            if fifo.starts_with(self.place.path("")) && !fifo.exists() {
                mkfifo(fifo);
            }
        }
        let reader = |path: &PathBuf| (self.readers && path.exists()).then(|| Stream::open(path));
        Prepared {
            exit: open(&dir.join("exit"), false),
            control: open(&dir.join("control"), true),
            out: reader(&stdout),
            err: reader(&stderr),
            setup: self,
            dir,
            stdin,
            stdout,
        }
    }

    pub(crate) fn start(self) -> Shim {
        self.prepare().start()
    }
}

pub(crate) fn mkfifo(path: &Path) {
    nix::unistd::mkfifo(path, Mode::from_bits_truncate(0o755)).unwrap();
}

fn open(fifo: &Path, write: bool) -> File {
    let mut options = OpenOptions::new();
    options.read(true).write(write).custom_flags(OFlag::O_NONBLOCK.bits());
    options.open(fifo).unwrap()
}

/// A state directory in which the shim is not started yet.
pub(crate) struct Prepared<'a> {
    pub(crate) setup: Setup<'a>,
    pub(crate) dir: PathBuf,
    pub(crate) stdin: PathBuf,
    pub(crate) stdout: PathBuf,
    exit: File,
    control: File,
    out: Option<Stream>,
    err: Option<Stream>,
}

impl Prepared<'_> {
    pub(crate) fn control(&mut self, message: &str) {
        self.control.write_all(message.as_bytes()).unwrap();
    }

    /// The shim's command line, as the daemon has it.
    pub(crate) fn command(&self) -> Command {
        let shim = env!("CARGO_BIN_EXE_containerd-shim");
        let setup = &self.setup;
        let mut command = match &setup.through {
            None => setup.place.command(shim),
            Some(preparation) => {
                let mut command = setup.place.command("sh");
                command.args(["-c", preparation, "sh", shim]);
                command
            }
        };
        command.arg("c1").arg(&setup.bundle).arg(&setup.runtime);
        command.envs(&setup.env).current_dir(&self.dir).process_group(0);
        command
    }

    pub(crate) fn start(self) -> Shim {
        let command = self.command();
        self.start_as(command)
    }

    pub(crate) fn start_as(self, mut command: Command) -> Shim {
        let child = command.spawn().unwrap();
        // For whoever reaps what is left in its group.
        let note = self.setup.place.path(&format!("{}.shim-pid", self.setup.id));
        fs::write(note, child.id().to_string()).unwrap();
        Shim {
            child,
            dir: self.dir,
            stdin: self.stdin,
            stdout: self.stdout,
            exit: self.exit,
            control: Some(self.control),
            out: self.out,
            err: self.err,
        }
    }
}

/// A shim that runs, and the daemon's ends of its fifos.
pub(crate) struct Shim {
    child: Child,
    pub(crate) dir: PathBuf,
    pub(crate) stdin: PathBuf,
    pub(crate) stdout: PathBuf,
    exit: File,
    control: Option<File>,
    out: Option<Stream>,
    err: Option<Stream>,
}

impl Shim {
    pub(crate) fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    pub(crate) fn out(&mut self) -> &mut Stream {
        self.out.as_mut().unwrap()
    }

    pub(crate) fn err(&mut self) -> &mut Stream {
        self.err.as_mut().unwrap()
    }

    /// The client stops reading.
    pub(crate) fn drop_out(&mut self) {
        self.out = None;
    }

    /// Both outputs' ends of a client, taken away.
    pub(crate) fn take_outputs(&mut self) -> [Stream; 2] {
        [self.out.take().unwrap(), self.err.take().unwrap()]
    }

    /// A client's end of stdin.
    #[track_caller]
    pub(crate) fn input(&self) -> Input {
        Input::open(&self.stdin)
    }

    #[track_caller]
    pub(crate) fn control(&mut self, message: &str) {
        self.control.as_mut().unwrap().write_all(message.as_bytes()).unwrap();
    }

    /// The daemon's end of the control fifo is closed.
    pub(crate) fn lose_control(&mut self) {
        self.control = None;
    }

    #[track_caller]
    pub(crate) fn close_stdin(&mut self) {
        self.control("0 0 0\n");
    }

    pub(crate) fn read(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.dir.join(name)).ok()
    }

    /// The container's process, once the runtime has told.
    #[track_caller]
    pub(crate) fn process(&self) -> i32 {
        wait_for("there is a pid file", || self.read("pid")?.trim().parse().ok())
    }

    #[track_caller]
    pub(crate) fn wait_for_status(&self) -> String {
        wait_for("there is an exit status", || self.read("exitStatus"))
    }

    /// Waits until the shim sleeps, and goes on sleeping: it has noticed all there is to notice.
    #[track_caller]
    pub(crate) fn wait_until_at_rest(&self) {
        let mut asleep = 0;
        until("the shim is at rest", || {
            let sleeps = stat_field(self.pid(), 3).as_deref() == Some("S");
            asleep = if sleeps { asleep + 1 } else { 0 };
            asleep == 20
        });
    }

    /// Whether the shim has ended or closed its exit fifo, just now.
    pub(crate) fn has_hung_up(&self) -> bool {
        let mut question =
            [nix::poll::PollFd::new(std::os::fd::AsFd::as_fd(&self.exit), PollFlags::POLLIN)];
        nix::poll::poll(&mut question, nix::poll::PollTimeout::ZERO).unwrap() > 0
    }

    /// Waits as the daemon does: nothing but a hangup will do.
    #[track_caller]
    pub(crate) fn wait_for_hangup(&self) {
        let ready = wait_until_ready(&self.exit, PollFlags::POLLIN, Instant::now() + LIMIT);
        assert_eq!(ready, PollFlags::POLLHUP, "the daemon takes only this for the end");
    }

    /// Waits for the program alone; what is up with the exit fifo is not looked at.
    #[track_caller]
    pub(crate) fn wait(&mut self) -> Ended {
        let status = wait_for("the shim has ended", || self.child.try_wait().unwrap());
        let code = status.code().unwrap_or_else(|| -status.signal().unwrap_or_default());
        let log = records(&self.read("shim-log.json").unwrap_or_default());
        Ended { code, log, status: self.read("exitStatus") }
    }

    /// Waits for the hangup, and then for the shim.
    #[track_caller]
    pub(crate) fn finish(&mut self) -> Ended {
        self.wait_for_hangup();
        self.wait()
    }

    /// Waits for the end of a container that ended well and of which there is nothing to tell.
    #[track_caller]
    pub(crate) fn finish_with(&mut self, status: &str) {
        let ended = self.finish();
        assert_eq!((ended.code, ended.status.as_deref()), (0, Some(status)), "{ended:?}");
        assert!(ended.log.is_empty(), "{ended:?}");
    }

    /// Kills the shim, as only the kernel or an operator would.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// How a shim ended, and what it left behind.
#[derive(Debug)]
pub(crate) struct Ended {
    /// The exit code; the negative number of a signal.
    pub(crate) code: i32,
    pub(crate) log: Vec<Record>,
    pub(crate) status: Option<String>,
}

impl Ended {
    pub(crate) fn errors(&self) -> Vec<&str> {
        let errors = self.log.iter().filter(|record| record.level == Level::Error);
        errors.map(|record| record.message.as_str()).collect()
    }

    pub(crate) fn warnings(&self) -> Vec<&str> {
        let warnings = self.log.iter().filter(|record| record.level == Level::Warn);
        warnings.map(|record| record.message.as_str()).collect()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    Error,
    Warn,
}

/// A record of `shim-log.json`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) level: Level,
    pub(crate) message: String,
}

/// Reads a log whose form must be right to the byte: objects one after the other, nothing between
/// them, the keys' order and the spaces those of containerd 0.2.
#[track_caller]
pub(crate) fn records(log: &str) -> Vec<Record> {
    let mut values = serde_json::Deserializer::from_str(log).into_iter::<Map<String, Value>>();
    let mut found = Vec::new();
    let mut start = 0;
    while let Some(value) = values.next() {
        let value = value.unwrap_or_else(|error| panic!("{error} in {log:?}"));
        let text = &log[start..values.byte_offset()];
        start = values.byte_offset();
        let (level, rest) = match text.strip_prefix(r#"{"level": "error","msg": ""#) {
            Some(rest) => (Level::Error, rest),
            None => match text.strip_prefix(r#"{"level": "warn","msg": ""#) {
                Some(rest) => (Level::Warn, rest),
                None => panic!("not in the form of a record: {text:?} in {log:?}"),
            },
        };
        assert!(rest.ends_with("\"}") && value.len() == 2, "{text:?}");
        found.push(Record { level, message: value["msg"].as_str().unwrap().to_owned() });
    }
    assert_eq!(start, log.len(), "something follows the records in {log:?}");
    found
}
