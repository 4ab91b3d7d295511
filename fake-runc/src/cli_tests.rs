use rstest::rstest;

use super::*;

fn parse_words(words: &[&str]) -> std::result::Result<Invocation, Refusal> {
    let argv: Vec<OsString> = [&"fake-runc"].into_iter().chain(words).map(OsString::from).collect();
    parse(&argv)
}

fn action_of(words: &[&str]) -> Action {
    parse_words(words).unwrap_or_else(|refusal| panic!("{words:?}: {}", refusal.message)).action
}

/// What differs between the calls that start a container.
fn launched(word: Subcommand, id: &str) -> Launch {
    Launch {
        word,
        id: id.into(),
        bundle: None,
        waits_for_start: false,
        detach: true,
        keep: false,
        image: None,
        work: None,
        stdio: Stdio { pid_file: Some("/s/pid".into()), ..Stdio::default() },
    }
}

fn id() -> String {
    "c1".into()
}

fn bundle() -> Option<PathBuf> {
    Some("/b".into())
}

fn with_console(console: ConsoleFlag) -> Stdio {
    Stdio { console, pid_file: Some("/s/pid".into()), preserve_fds: 0 }
}

/// Before the subcommand, all three generations say the same.
const LOGGED: [&str; 4] = ["--log", "/s/log.json", "--log-format", "json"];

fn socket() -> ConsoleFlag {
    ConsoleFlag::Socket("/t/pty.sock".into())
}

#[rstest]
#[case::first_2016(
    "start --bundle /b --console  -d --pid-file /s/pid c1",
    Launch { bundle: bundle(), stdio: with_console(ConsoleFlag::None), ..launched(Subcommand::Start, "c1") }
)]
#[case::first_2016_no_pivot(
    "start --bundle /b --console  --no-pivot -d --pid-file /s/pid c1",
    Launch { bundle: bundle(), stdio: with_console(ConsoleFlag::None), ..launched(Subcommand::Start, "c1") }
)]
#[case::first_2016_tty(
    "start --bundle /b --console /dev/pts/3 -d --pid-file /s/pid c1",
    Launch {
        bundle: bundle(),
        stdio: with_console(ConsoleFlag::Path("/dev/pts/3".into())),
        ..launched(Subcommand::Start, "c1")
    }
)]
#[case::create_0_2_3(
    "create --bundle /b --console  --no-pivot --pid-file /s/pid c1",
    Launch {
        bundle: bundle(),
        waits_for_start: true,
        stdio: with_console(ConsoleFlag::None),
        ..launched(Subcommand::Create, "c1")
    }
)]
#[case::create_0_2_9(
    "create --bundle /b --pid-file /s/pid c1",
    Launch { bundle: bundle(), waits_for_start: true, ..launched(Subcommand::Create, "c1") }
)]
#[case::create_0_2_9_tty(
    "create --bundle /b --console-socket /t/pty.sock --no-pivot --pid-file /s/pid c1",
    Launch {
        bundle: bundle(),
        waits_for_start: true,
        stdio: with_console(socket()),
        ..launched(Subcommand::Create, "c1")
    }
)]
#[case::restore_2016(
    "restore --image-path /b/checkpoints/c9 --shell-job --tcp-established --ext-unix-sk --no-pivot -d --pid-file /s/pid c1",
    Launch { image: Some("/b/checkpoints/c9".into()), ..launched(Subcommand::Restore, "c1") }
)]
#[case::restore_0_2_3(
    "restore --image-path /i --work-path /i/criu.work/restore-2016 --pid-file /s/pid c1",
    Launch {
        image: Some("/i".into()),
        work: Some("/i/criu.work/restore-2016".into()),
        detach: false,
        ..launched(Subcommand::Restore, "c1")
    }
)]
#[case::restore_0_2_9(
    "restore -d --image-path /i --work-path /i/criu.work/restore-2026-11-23T11:50:20.862661654Z --shell-job --tcp-established --ext-unix-sk --no-pivot --empty-ns network --empty-ns ipc --pid-file /s/pid c1",
    Launch {
        image: Some("/i".into()),
        work: Some("/i/criu.work/restore-2026-11-23T11:50:20.862661654Z".into()),
        ..launched(Subcommand::Restore, "c1")
    }
)]
#[case::create_1_1(
    "create --bundle /b --pid-file /s/pid --console-socket /t/pty.sock --no-pivot --no-new-keyring --preserve-fds 2 c1",
    Launch {
        bundle: bundle(),
        waits_for_start: true,
        stdio: Stdio { preserve_fds: 2, ..with_console(socket()) },
        ..launched(Subcommand::Create, "c1")
    }
)]
#[case::run_1_1(
    "run -b /b --pid-file=/s/pid -no-subreaper --keep c1",
    Launch { bundle: bundle(), detach: false, keep: true, ..launched(Subcommand::Run, "c1") }
)]
#[case::run_1_1_detached(
    "run --bundle=/b --detach --pid-file /s/pid c1",
    Launch { bundle: bundle(), ..launched(Subcommand::Run, "c1") }
)]
#[case::restore_1_1(
    "restore --bundle /b --pid-file /s/pid --image-path /i --work-path /w --tcp-established --file-locks --manage-cgroups-mode soft --lazy-pages --auto-dedup --lsm-profile x --lsm-mount-context y --detach c1",
    Launch {
        bundle: bundle(),
        image: Some("/i".into()),
        work: Some("/w".into()),
        ..launched(Subcommand::Restore, "c1")
    }
)]
#[case::create_v2(
    "create --bundle /b --pid-file /s/pid --console-socket /t/pty.sock --no-pivot --no-new-keyring c1",
    Launch {
        bundle: bundle(),
        waits_for_start: true,
        stdio: with_console(socket()),
        ..launched(Subcommand::Create, "c1")
    }
)]
#[case::restore_v2(
    "restore --image-path /i --work-path /w --parent-path /p --detach --pid-file /s/pid --console-socket /t/pty.sock --no-pivot -no-subreaper --bundle /b c1",
    Launch {
        bundle: bundle(),
        image: Some("/i".into()),
        work: Some("/w".into()),
        stdio: with_console(socket()),
        ..launched(Subcommand::Restore, "c1")
    }
)]
fn every_caller_can_start_a_container(#[case] line: &str, #[case] expected: Launch) {
    // Two spaces stand for an empty argument.
    let words: Vec<&str> = LOGGED.into_iter().chain(line.split(' ')).collect();
    assert_eq!(action_of(&words), Action::Launch(expected), "{line}");
}

fn execed(process: Option<&str>, args: &[&str]) -> Exec {
    Exec {
        id: id(),
        process: process.map(PathBuf::from),
        args: args.iter().map(OsString::from).collect(),
        env: vec![],
        cwd: None,
        tty: false,
        detach: true,
        ignore_paused: false,
        stdio: with_console(ConsoleFlag::Absent),
    }
}

#[rstest]
#[case::first_2016(
    "exec --process /s/process.json --console  -d --pid-file /s/pid c1",
    Exec { stdio: with_console(ConsoleFlag::None), ..execed(Some("/s/process.json"), &[]) }
)]
#[case::tty_0_2_3(
    "exec -d --process /s/process.json --console /dev/pts/4 --pid-file /s/pid c1",
    Exec {
        stdio: with_console(ConsoleFlag::Path("/dev/pts/4".into())),
        ..execed(Some("/s/process.json"), &[])
    }
)]
#[case::plain_0_2_9(
    "exec -d --process /s/process.json --pid-file /s/pid c1",
    execed(Some("/s/process.json"), &[])
)]
#[case::tty_0_2_9(
    "exec -d --process /s/process.json --console-socket /t/pty.sock --pid-file /s/pid c1",
    Exec { stdio: with_console(socket()), ..execed(Some("/s/process.json"), &[]) }
)]
#[case::of_1_1(
    "exec --detach -p /s/process.json -t --pid-file /s/pid --console-socket /t/pty.sock c1",
    Exec { tty: true, stdio: with_console(socket()), ..execed(Some("/s/process.json"), &[]) }
)]
#[case::by_words(
    "exec -d --cwd /w --env A=1 -e B=2 --user 1:1 -g 5 -c CAP_KILL --no-new-privs --apparmor a --process-label l --cgroup / --ignore-paused --preserve-fds=1 --pid-file /s/pid c1 sh -c -d",
    Exec {
        cwd: Some("/w".into()),
        env: vec!["A=1".into(), "B=2".into()],
        ignore_paused: true,
        stdio: Stdio { preserve_fds: 1, ..with_console(ConsoleFlag::Absent) },
        ..execed(None, &["sh", "-c", "-d"])
    }
)]
#[case::v2(
    "exec --process /s/process.json --console-socket /t/pty.sock --detach --pid-file /s/pid c1",
    Exec { stdio: with_console(socket()), ..execed(Some("/s/process.json"), &[]) }
)]
fn every_caller_can_start_another_process(#[case] line: &str, #[case] expected: Exec) {
    let words: Vec<&str> = LOGGED.into_iter().chain(line.split(' ')).collect();
    assert_eq!(action_of(&words), Action::Exec(expected), "{line}");
}

#[rstest]
#[case("start c1", Action::Start { id: id() })]
#[case("delete c1", Action::Delete { id: id(), force: false })]
#[case("delete --force c1", Action::Delete { id: id(), force: true })]
#[case("delete c1 -f", Action::Delete { id: id(), force: true })]
#[case("kill c1", Action::Kill { id: id(), all: false, signal: Signal::TERM })]
#[case("kill c1 9", Action::Kill { id: id(), all: false, signal: Signal::KILL })]
#[case("kill c1 HUP", Action::Kill { id: id(), all: false, signal: Signal::HUP })]
#[case("kill --all c1 SIGKILL", Action::Kill { id: id(), all: true, signal: Signal::KILL })]
#[case("kill c1 KILL -a", Action::Kill { id: id(), all: true, signal: Signal::KILL })]
#[case("kill c1 0", Action::Kill { id: id(), all: false, signal: Signal(0) })]
#[case("kill --all c1 15", Action::Kill { id: id(), all: true, signal: Signal::TERM })]
#[case("pause c1", Action::Pause { id: id() })]
#[case("resume c1", Action::Resume { id: id() })]
#[case("state c1", Action::State { id: id() })]
#[case("ps --format json c1", Action::Ps { id: id(), json: true })]
#[case("ps c1 -ef", Action::Ps { id: id(), json: false })]
#[case("events --stats c1", Action::Events { id: id() })]
#[case("features", Action::Features)]
#[case("list", Action::List { json: false, quiet: false })]
#[case("list -q", Action::List { json: false, quiet: true })]
#[case("list --format=json", Action::List { json: true, quiet: false })]
#[case("spec --bundle /b", Action::Spec { bundle: bundle() })]
#[case("--version", Action::Version)]
#[case("-v", Action::Version)]
#[case("--help", Action::Help)]
#[case("kill --help", Action::Help)]
#[case(
    "update --resources=- c1",
    Action::Update(Update { id: id(), resources: Some("-".into()), limits: BTreeMap::new() })
)]
#[case(
    "update --memory 1 --cpu-share=2 c1",
    Action::Update(Update {
        id: id(),
        resources: None,
        limits: [("cpu-share", "2"), ("memory", "1")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
    })
)]
#[case(
    "checkpoint --image-path /i --work-path /w --leave-running --tcp-established --shell-job --ext-unix-sk --empty-ns network c1",
    Action::Checkpoint(Checkpoint {
        id: id(),
        image: Some("/i".into()),
        work: Some("/w".into()),
        leave_running: true,
    })
)]
#[case(
    "checkpoint --image-path /i --work-path /w --parent-path /p --tcp-established --ext-unix-sk --shell-job --file-locks --empty-ns network c1",
    Action::Checkpoint(Checkpoint {
        id: id(),
        image: Some("/i".into()),
        work: Some("/w".into()),
        leave_running: false,
    })
)]
#[case(
    "checkpoint c1",
    Action::Checkpoint(Checkpoint { id: id(), image: None, work: None, leave_running: false })
)]
fn the_other_subcommands_are_understood(#[case] line: &str, #[case] expected: Action) {
    let words: Vec<&str> = line.split(' ').collect();
    assert_eq!(action_of(&words), expected, "{line}");
}

#[test]
fn without_a_word_there_is_help() {
    assert_eq!(action_of(&[]), Action::Help);
}

#[rstest]
#[case(&["--log", "/l", "--log-format", "json", "--root", "/r"], Some("/l"), true, Some("/r"))]
#[case(&["--log=/l", "--log-format=text", "--root=/r", "--debug"], Some("/l"), false, Some("/r"))]
#[case(&["--systemd-cgroup", "--rootless", "auto", "--criu=/c"], None, false, None)]
#[case(&["-systemd-cgroup=true", "-root", "/r", "--log", ""], None, false, Some("/r"))]
fn flags_before_the_subcommand_are_understood(
    #[case] flags: &[&str],
    #[case] log: Option<&str>,
    #[case] log_json: bool,
    #[case] root: Option<&str>,
) {
    let words: Vec<&str> = flags.iter().copied().chain(["state", "c1"]).collect();
    let Invocation { global, action } = parse_words(&words).unwrap();
    let (log, root) = (log.map(PathBuf::from), root.map(PathBuf::from));
    assert_eq!(global, Global { log, log_json, root });
    assert_eq!(action, Action::State { id: id() });
}

#[rstest]
#[case("fly c1", "No help topic for 'fly'")]
#[case("--fly state c1", "flag provided but not defined: -fly")]
#[case("create --fly c1", "flag provided but not defined: -fly")]
#[case("--log-format xml state c1", "invalid log-format: xml")]
#[case("create", "\"create\" requires exactly 1 argument")]
#[case("state c1 c2", "\"state\" requires exactly 1 argument")]
#[case("start", "\"start\" requires exactly 1 argument")]
#[case("kill", "\"kill\" requires a minimum of 1 argument")]
#[case("kill c1 9 9", "\"kill\" requires at most 2 arguments")]
#[case("kill c1 FOO", "unknown signal \"FOO\"")]
#[case("exec c1", "process args cannot be empty")]
#[case("state ..", "invalid id format")]
#[case("state a/b", "invalid id format")]
#[case("state ", "invalid id format")]
#[case("ps --format xml c1", "invalid format option")]
#[case("create --bundle", "flag needs an argument: -bundle")]
#[case("run --preserve-fds x c1", "invalid value \"x\" for flag -preserve-fds: parse error")]
#[case("run --preserve-fds -1 c1", "invalid value \"-1\" for flag -preserve-fds: parse error")]
fn what_cannot_be_understood_is_refused_in_words(#[case] line: &str, #[case] message: &str) {
    let words: Vec<&str> = line.split(' ').collect();
    assert_eq!(parse_words(&words).unwrap_err().message, message, "{line}");
}

#[test]
fn a_refusal_knows_where_it_is_to_be_told() {
    let refusal = parse_words(&["--log", "/l", "--log-format", "json", "fly"]).unwrap_err();
    assert_eq!(refusal.global.log, Some("/l".into()));
    assert!(refusal.global.log_json);
}
