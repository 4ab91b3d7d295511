//! The flows that must go right whatever the order of events.

use serde_json::{Value, json};
use wavetank::host::{Errno, Signal, WindowSize};
use wavetank::oci::Dialect;

use super::lean;
use super::plan::{Plan, Process};
use super::user::Typed;
use crate::guests::pattern;
use crate::{Call, Config, Fault};

/// A flow: who does what, and what must come of it.
#[derive(Clone, Debug)]
pub struct Flow {
    /// Its name.
    pub name: &'static str,
    /// What the machine is like.
    pub config: Config,
    /// Who does what.
    pub actor: Actor,
    /// Files below the work directory.
    pub files: Vec<(String, Vec<u8>)>,
    /// What goes wrong.
    pub faults: Vec<Fault>,
    /// What the daemon must see, for each process.
    pub expected: Vec<Expected>,
}

/// Who sets a flow going.
#[derive(Clone, Debug)]
pub enum Actor {
    /// A daemon with its client.
    Daemon(Plan),
    /// Somebody who types `wavetank run`.
    User(Typed),
}

/// What the daemon must see of a process.
#[derive(Clone, Debug, Default)]
pub struct Expected {
    /// The exit code of its shim.
    pub shim_code: i32,
    /// The contents of `exitStatus`.
    pub status: Option<String>,
    /// All its output.
    pub stdout: Vec<u8>,
    /// All its other output.
    pub stderr: Vec<u8>,
    /// Something that the shim's log must say; an empty one must say nothing.
    pub log: &'static str,
}

impl Expected {
    pub(super) fn ended(status: i32, stdout: impl Into<Vec<u8>>) -> Expected {
        Expected { status: Some(status.to_string()), stdout: stdout.into(), ..Expected::default() }
    }

    fn failed(log: &'static str) -> Expected {
        Expected { shim_code: 1, log, ..Expected::default() }
    }
}

/// The flow of that name.
#[must_use]
pub fn flow(name: &str) -> Option<Flow> {
    flows().into_iter().find(|flow| flow.name == name)
}

/// A container's first process that runs a guest's words.
pub(super) fn guest(
    name: &'static str,
    dialect: Dialect,
    words: &[&str],
    expected: Expected,
) -> Flow {
    scripted(name, dialect, &json!({ "container": { "argv": argv(words) } }), expected)
}

fn argv(words: &[&str]) -> Vec<String> {
    std::iter::once("guest").chain(words.iter().copied()).map(str::to_owned).collect()
}

fn scripted(name: &'static str, dialect: Dialect, script: &Value, expected: Expected) -> Flow {
    let init = Process { id: "init".to_owned(), ..Process::default() };
    Flow {
        name,
        config: Config { short_one_in: 4, timers_race: false, steps: 200_000, ..Config::default() },
        actor: Actor::Daemon(Plan {
            runtime: "fake-runc",
            dialect,
            env: Vec::new(),
            processes: vec![init],
            race: false,
        }),
        files: vec![("bundle/fake-runc.json".to_owned(), script.to_string().into_bytes())],
        faults: Vec::new(),
        expected: vec![expected],
    }
}

impl Flow {
    pub(super) fn plan(mut self, change: impl FnOnce(&mut Plan)) -> Flow {
        if let Actor::Daemon(plan) = &mut self.actor {
            change(plan);
        }
        self
    }

    pub(super) fn init(self, change: impl FnOnce(&mut Process)) -> Flow {
        self.plan(|plan| change(&mut plan.processes[0]))
    }

    /// So many times in a row the status cannot be written.
    fn disk_full_for(mut self, times: u64) -> Flow {
        for name in ["exitStatus.new", "exitStatus"] {
            let full = Fault::fail(Errno::ENOSPC).of(Call::Write).on(name);
            self.faults.extend((0..times).map(|time| full.clone().after(time)));
        }
        self
    }

    fn fault(mut self, fault: Fault) -> Flow {
        self.faults.push(fault);
        self
    }
}

/// Children that end when their parent does.
const ENDS_TOGETHER: [&str; 10] = [
    "fork-hold-stdout-ms",
    "5",
    "fork-hold-stdout-ms",
    "5",
    "fork-hold-stdout-ms",
    "5",
    "sleep-ms",
    "5",
    "exit",
    "3",
];

/// Every flow.
#[must_use]
pub fn flows() -> Vec<Flow> {
    let size = Some(WindowSize { columns: 91, rows: 37 });
    let echoed = pattern(300);
    vec![
        lean(),
        guest("hello", Dialect::Run, &["print", "hello", "exit", "7"], Expected::ended(7, "hello")),
        guest(
            "hello-create",
            Dialect::Create,
            &["print", "hello", "exit", "7"],
            Expected::ended(7, "hello"),
        ),
        guest(
            "hello-start",
            Dialect::Start,
            &["print", "hello", "exit", "7"],
            Expected::ended(7, "hello"),
        ),
        guest(
            "echo",
            Dialect::Run,
            &["echo", "error", "done"],
            Expected { stderr: b"done".to_vec(), ..Expected::ended(0, echoed.clone()) },
        )
        .init(|init| init.input = pattern(300)),
        guest("early-close", Dialect::Create, &["read-all"], Expected::ended(0, "300")).init(
            |init| {
                init.input = pattern(300);
                init.control = "0 0 0\nnonsense\n0 0 0\n".to_owned();
            },
        ),
        guest("tty", Dialect::Run, &["winsize", "exit", "3"], Expected::ended(3, "91x37"))
            .init(|init| (init.terminal, init.size) = (true, size)),
        guest("tty-start", Dialect::Start, &["winsize", "exit", "3"], Expected::ended(3, "91x37"))
            .init(|init| (init.terminal, init.size) = (true, size)),
        exec(),
        restore(),
        guest("output", Dialect::Run, &["bytes", "200000"], Expected::ended(0, pattern(200_000))),
        guest(
            "reader-returns",
            Dialect::Run,
            &["bytes", "3000", "read-all"],
            Expected::ended(0, [pattern(3000), b"0".to_vec()].concat()),
        )
        .init(|init| init.leaves_after = Some(1)),
        guest(
            "killed",
            Dialect::Run,
            &["print", "x", "sleep-ms", "1000000"],
            Expected::ended(137, "x"),
        )
        .init(|init| init.signal = Some((Signal::KILL, 1))),
        guest(
            "grandchild",
            Dialect::Start,
            &["print", "x", "fork-hold-stdout-ms", "50"],
            Expected::ended(0, "x"),
        ),
        guest("ends-together", Dialect::Start, &ENDS_TOGETHER, Expected::ended(3, "")),
        scripted(
            "early-exit",
            Dialect::Run,
            &json!({ "container": { "argv": argv(&["exit", "5"]) },
                "on": { "run": { "midway": { "wait_for_process_exit": true } } } }),
            Expected::ended(5, ""),
        ),
        scripted(
            "runtime-fails",
            Dialect::Run,
            &json!({ "on": { "run": { "before": { "log_error": "no", "exit_code": 1 } } } }),
            Expected::default(),
        ),
        scripted(
            "runtime-dies",
            Dialect::Create,
            &json!({ "on": { "create": { "before": { "die_by_signal": "KILL" } } } }),
            Expected::default(),
        ),
        scripted(
            "runtime-stderr",
            Dialect::Run,
            &json!({ "container": { "argv": argv(&["exit", "0"]) },
                "on": { "run": { "before": { "stderr_bytes": 70_000 } } } }),
            Expected { stderr: fake_runc::pattern(0, 70_000), ..Expected::ended(0, "") },
        ),
        scripted(
            "no-pid-file",
            Dialect::Run,
            &json!({ "on": { "run": { "pid_file": "none" } } }),
            Expected::failed("open pid: no such file or directory"),
        ),
        scripted(
            "stranger",
            Dialect::Run,
            &json!({ "container": { "argv": argv(&["exit", "0"]) }, "on": { "run": { "pid_file": { "text": "2" } } } }),
            Expected::failed("no child processes (ECHILD)"),
        ),
        orphan("orphan-start", Dialect::Start, "start"),
        orphan("orphan-create", Dialect::Create, "create"),
        orphan("orphan-run", Dialect::Run, "run"),
        orphan("orphan-delete-again", Dialect::Run, "run")
            .fault(Fault::fail(Errno::ENOMEM).of(Call::List).by("fake-runc")),
        guest(
            "missing-fifo",
            Dialect::Run,
            &["exit", "0"],
            Expected::failed("open /w/init-stdout: no such file or directory"),
        )
        .init(|init| init.without = Some("stdout")),
        guest("tty-no-descriptors", Dialect::Run, &["winsize"], Expected::ended(0, "91x37"))
            .init(|init| (init.terminal, init.size) = (true, size))
            .fault(Fault::fail(Errno::EMFILE).of(Call::Accept).by("containerd-shim")),
        guest(
            "disk-full-while-draining",
            Dialect::Start,
            &["fork-hold-stdout-ms", "9000", "exit", "6"],
            Expected::ended(6, ""),
        )
        .disk_full_for(60),
        guest("disk-full", Dialect::Run, &["print", "x", "exit", "6"], Expected::ended(6, "x"))
            .disk_full_for(1),
        guest(
            "disk-stays-full",
            Dialect::Run,
            &["print", "x", "exit", "6"],
            Expected {
                stdout: b"x".to_vec(),
                ..Expected::failed("write exitStatus: no space left on device")
            },
        )
        .fault(Fault::fail(Errno::ENOSPC).of(Call::Write).on("exitStatus.new").for_ever()),
        user(),
        // One orphan ends while another still has the output open.
        guest(
            "orphans",
            Dialect::Start,
            &["print", "x", "fork-hold-stdout-ms", "50", "fork-hold-stdout-ms", "3000"],
            Expected::ended(0, "x"),
        ),
        // What was read in the code of containerd 0.2.9.
        guest(
            "control-breaks",
            Dialect::Run,
            &["print", "x", "sleep-ms", "1000", "exit", "6"],
            Expected::ended(6, "x"),
        )
        .init(|init| init.control = "0 0 0\n".to_owned())
        .fault(
            Fault::fail(Errno::EIO).of(Call::Read).by("containerd-shim").on("control").for_ever(),
        ),
        scripted(
            "no-console",
            Dialect::Run,
            &json!({ "container": { "argv": argv(&["exit", "0"]) },
                "on": { "run": { "console": "skipped" } } }),
            Expected::failed("the runtime has ended without sending the console"),
        )
        .init(|init| init.terminal = true),
        scripted(
            "kill-hangs",
            Dialect::Run,
            &json!({ "container": { "argv": argv(&["exit", "6"]) },
                "on": { "kill": { "before": { "hang": true } } } }),
            Expected { log: "took too long to kill", ..Expected::ended(6, "") },
        ),
    ]
}

/// The shortest whole life: most of its calls are the shim's.
fn lean() -> Flow {
    let words = argv(&["print", "hello", "exit", "7"]).join("\n");
    let flow = guest("lean", Dialect::Run, &[], Expected::ended(7, "hello"));
    let files = vec![(format!("bundle/{}", lean::WORDS), words.into_bytes())];
    Flow { files, ..flow }.plan(|plan| plan.runtime = lean::NAME)
}

fn user() -> Flow {
    let words = ["guest", "echo", "error", "done", "exit", "7"].map(str::to_owned).to_vec();
    let typed = Typed { words, input: pattern(300) };
    let expected = Expected {
        shim_code: 7,
        stdout: pattern(300),
        stderr: format!("{}done", wavetank::manager::FAKE_RUNC_NOTE).into_bytes(),
        ..Expected::default()
    };
    let flow = scripted("wavetank-run", Dialect::Run, &json!({}), expected);
    Flow { actor: Actor::User(typed), files: Vec::new(), ..flow }
}

/// A runtime that starts a process and does not tell of it.
fn orphan(name: &'static str, dialect: Dialect, command: &str) -> Flow {
    let script = json!({
        "container": { "argv": argv(&["sleep-ms", "1000000"]) },
        "on": { command: { "pid_file": "none" } },
    });
    let expected = Expected::failed("open pid: no such file or directory");
    scripted(name, dialect, &script, expected)
}

fn exec() -> Flow {
    let script = json!({
        "container": { "argv": argv(&["print", "first", "read-all"]) },
        "exec": { "argv": argv(&["print", "second", "exit", "9"]) },
    });
    let mut flow = scripted("exec", Dialect::Run, &script, Expected::ended(0, "first0"));
    flow.expected.push(Expected::ended(9, "second"));
    let second = Process { id: "e1".to_owned(), ..Process::default() };
    flow.plan(|plan| plan.processes.push(second))
}

fn restore() -> Flow {
    let script = json!({ "container": { "argv": argv(&["print", "again", "exit", "4"]) } });
    let mut flow = scripted("restore", Dialect::Run, &script, Expected::ended(4, "again"));
    let config = json!({ "created": "2016-11-23T11:50:20.8Z", "name": "c9", "tcp": true,
        "unixSockets": true, "shell": true, "exit": true });
    let file = "bundle/checkpoints/c9/config.json".to_owned();
    flow.files.push((file, config.to_string().into_bytes()));
    flow.init(|init| init.checkpoint = "c9".to_owned())
}
