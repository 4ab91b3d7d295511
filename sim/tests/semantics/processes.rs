//! `fork(2)`, `execve(2)`, `wait4(2)`, `prctl(2)`.

use std::path::Path;
use std::time::Duration;

use rstest::rstest;
use wavetank::host::{
    Command, Errno, ExitStatus, Fd, Host, Lead, OpenFlags, Pid, Signal, SpawnStep, WaitFor,
};
use wavetank_sim::{Config, Odometer, Outcome, Replay, SimHost, World};

use crate::common::*;

/// `exit N` ends with N, `hang` never, `sleep N` after so many milliseconds.
fn add_child(world: &mut World) {
    world.add_program("/bin/child", |host, argv| {
        let number = || argv[2].to_str().unwrap().parse::<u32>().unwrap();
        match argv[1].to_str().unwrap() {
            "exit" => return i32::try_from(number()).unwrap(),
            "sleep" => {
                host.poll(&mut [], Some(Duration::from_millis(number().into()))).unwrap();
            }
            _ => {
                host.poll(&mut [], None).unwrap();
            }
        }
        0
    });
}

fn with_child(program: impl Fn(&mut SimHost<'_>) + 'static) -> World {
    let mut world = machine();
    add_child(&mut world);
    in_machine(world, program)
}

#[test]
fn the_low_eight_bits_of_the_exit_code_count() {
    with_child(|host| {
        let pid = spawn(host, &["child", "exit", "263"], &[]);
        assert_eq!(reap(host, pid), 7);
        assert_eq!(host.wait(WaitFor::Any, true), Err(Errno::ECHILD));
    });
}

#[test]
fn waiting_without_blocking() {
    with_child(|host| {
        let hangs = spawn(host, &["child", "hang"], &[]);
        let sleeps = spawn(host, &["child", "sleep", "5"], &[]);
        assert_eq!(host.wait(WaitFor::Any, false), Ok(None));
        host.poll(&mut [], Some(Duration::from_millis(9))).unwrap();
        assert_eq!(host.wait(WaitFor::Pid(hangs), false), Ok(None));
        assert_eq!(host.wait(WaitFor::Any, false).unwrap().unwrap().pid, sleeps);
        assert_eq!(host.wait(WaitFor::Pid(sleeps), false), Err(Errno::ECHILD));
        assert_eq!(host.wait(WaitFor::Pid(Pid(1)), false), Err(Errno::ECHILD));
        host.kill(hangs, Signal::KILL).unwrap();
        assert_eq!(reap(host, hangs), 137);
    });
}

#[rstest]
#[case::no_file("/bin/none", 0o755, None, SpawnStep::Exec, Errno::ENOENT)]
#[case::no_x_bit("/tmp/file", 0o644, None, SpawnStep::Exec, Errno::EACCES)]
#[case::no_program("/tmp/file", 0o755, None, SpawnStep::Exec, Errno::ENOEXEC)]
#[case::directory("/tmp", 0o755, None, SpawnStep::Exec, Errno::EACCES)]
#[case::below_a_file("/tmp/file/x", 0o755, None, SpawnStep::Exec, Errno::ENOTDIR)]
#[case::no_such_cwd("/bin/child", 0o755, Some("/none"), SpawnStep::Chdir, Errno::ENOENT)]
#[case::cwd_is_a_file("/bin/child", 0o755, Some("/tmp/file"), SpawnStep::Chdir, Errno::ENOTDIR)]
fn a_program_that_cannot_be_started(
    #[case] program: &'static str,
    #[case] mode: u32,
    #[case] cwd: Option<&'static str>,
    #[case] step: SpawnStep,
    #[case] errno: Errno,
) {
    let mut world = machine();
    add_child(&mut world);
    world.add_file("/tmp/file", "text").set_mode("/tmp/file", mode, 0, 0);
    in_machine(world, move |host| {
        let command =
            Command { program: program.into(), cwd: cwd.map(Into::into), ..Command::default() };
        let spawned = host.spawn(&command).unwrap_err();
        assert_eq!((spawned.step, spawned.errno), (step, errno));
        let error = host.exec(&command);
        assert_eq!((error.step, error.errno), (step, errno));
        assert_eq!(host.wait(WaitFor::Any, false), Err(Errno::ECHILD), "nothing is left behind");
    });
}

#[test]
fn other_failures_of_starting() {
    with_child(|host| {
        let bad = host.spawn(&command(&["child", "hang"], &[Fd(5)])).unwrap_err();
        assert_eq!((bad.step, bad.errno), (SpawnStep::Prepare, Errno::EBADF));
        open(host, "/bin/new", CREATE | WRITE).unwrap();
        let new = command(&["new"], &[]);
        assert_eq!(host.spawn(&new).unwrap_err().errno, Errno::EACCES);
        host.fchmod(Fd(0), 0o755).unwrap();
        assert_eq!(host.spawn(&new).unwrap_err().errno, Errno::ETXTBSY);
        host.close(Fd(0)).unwrap();
        assert_eq!(host.spawn(&new).unwrap_err().errno, Errno::ENOEXEC);
    });
}

#[test]
fn a_child_has_the_given_descriptors_and_no_others() {
    let mut world = machine();
    world.add_program("/bin/child", |host, _| {
        let names = host.list(Path::new("/proc/self/fd")).unwrap();
        assert_eq!(names, ["0", "1", "2"], "2 is the one that lists");
        assert_eq!(read(host, Fd(0)), Ok(b"cde".to_vec()), "the offset is shared");
        host.write(Fd(1), b"out").unwrap();
        0
    });
    world.add_file("/tmp/file", "abcde");
    let world = in_machine(world, |host| {
        open(host, "/dev/null", READ).unwrap();
        let file = open(host, "/tmp/file", READ).unwrap();
        host.read(file, &mut [0; 2]).unwrap();
        let out = open(host, "/tmp/out", CREATE | WRITE).unwrap();
        let pid = spawn(host, &["child"], &[file, out]);
        assert_eq!(reap(host, pid), 0);
        assert_eq!(read(host, file), Ok(vec![]));
    });
    assert_eq!(world.text("/tmp/out").as_deref(), Some("out"));
}

#[test]
fn environment_and_directory_are_inherited_unless_given() {
    let mut world = machine();
    world.add_program("/bin/child", |host, argv| {
        let cwd = host.current_dir().unwrap();
        assert_eq!(cwd, Path::new(&argv[1]));
        assert_eq!(host.environment(), [argv[2].clone()]);
        0
    });
    world.add_program("/bin/main", |host, _| {
        let pid = spawn(host, &["child", "/tmp", "A=1"], &[]);
        assert_eq!(reap(host, pid), 0);
        let mut other = command(&["child", "/bin", "B=2"], &[]);
        other.cwd = Some("../bin".into());
        other.program = "child".into();
        other.env = Some(vec!["B=2".into()]);
        let pid = host.spawn(&other).unwrap();
        assert_eq!(reap(host, pid), 0);
        0
    });
    let mut main = command(&["main"], &[]);
    main.cwd = Some("/tmp".into());
    main.env = Some(vec!["A=1".into()]);
    world.start_command(&main).unwrap();
    finish(&mut world, &mut Replay::default());
}

#[test]
fn exec_keeps_pid_children_and_pending_signals_but_no_descriptors() {
    let mut world = machine();
    add_child(&mut world);
    world.add_program("/bin/next", |host, argv| {
        assert_eq!(host.pid().to_string(), argv[1].to_str().unwrap());
        assert_eq!(host.list(Path::new("/proc/self/fd")).unwrap(), ["0", "1"]);
        assert_eq!(host.readlink(Path::new("/proc/self/exe")).unwrap(), Path::new("/bin/next"));
        let exit = host.wait(WaitFor::Any, true).unwrap().unwrap();
        assert_eq!(exit.status, ExitStatus::Code(3));
        9
    });
    let world = in_machine(world, |host| {
        host.pipe(OpenFlags::empty()).unwrap();
        let null = open(host, "/dev/null", READ).unwrap();
        spawn(host, &["child", "exit", "3"], &[]);
        let me = host.pid().to_string();
        let error = host.exec(&command(&["next", &me], &[null]));
        panic!("{error:?}");
    });
    assert_eq!(world.exits().last().unwrap().1, ExitStatus::Code(9));
    assert_eq!(world.open_files(), 0);
}

/// State, parent, group, session and start time of `/proc/PID/stat`.
fn stat_of(host: &mut SimHost<'_>, pid: Pid) -> (String, [i64; 4]) {
    let fd = open(host, &format!("/proc/{pid}/stat"), OpenFlags::READ).unwrap();
    let text = String::from_utf8(read(host, fd).unwrap()).unwrap();
    assert_eq!(read(host, fd), Ok(vec![]), "then it is at its end");
    host.close(fd).unwrap();
    let fields: Vec<&str> = text.split_whitespace().collect();
    assert_eq!(fields.len(), 52);
    assert_eq!((fields[0], fields[1]), (pid.to_string().as_str(), "(child)"));
    (fields[2].to_owned(), [3, 4, 5, 21].map(|field| fields[field].parse().unwrap()))
}

#[test]
fn what_proc_says_of_a_process() {
    with_child(|host| {
        host.poll(&mut [], Some(Duration::from_millis(70))).unwrap();
        let me = host.pid();
        let mut command = command(&["child", "hang"], &[]);
        command.lead = Lead::Session;
        let child = host.spawn(&command).unwrap();
        let other = spawn(host, &["child", "exit", "0"], &[]);
        host.poll(&mut [], Some(Duration::from_millis(1))).unwrap();
        let (parent, number) = (i64::from(me.0), i64::from(child.0));
        assert_eq!(stat_of(host, child), ("S".into(), [parent, number, number, 7]));
        host.kill(child, Signal::STOP).unwrap();
        assert_eq!(stat_of(host, child).0, "T");
        assert_eq!(stat_of(host, other), ("Z".into(), [parent, 1, 1, 7]));

        let kept = open(host, &format!("/proc/{other}/stat"), OpenFlags::READ).unwrap();
        reap(host, other);
        assert_eq!(read(host, kept), Err(Errno::ESRCH));
        let gone = format!("/proc/{other}/stat");
        assert_eq!(open(host, &gone, OpenFlags::READ), Err(Errno::ENOENT));
        let own = open(host, "/proc/self/stat", OpenFlags::READ).unwrap();
        assert!(read(host, own).unwrap().starts_with(format!("{me} (").as_bytes()));
        host.close(kept).unwrap();
        host.close(own).unwrap();
        host.kill(child, Signal::KILL).unwrap();
        reap(host, child);
    });
}

#[test]
fn a_start_that_fails_leaves_a_signal_and_no_child() {
    with_child(|host| {
        let signals = host.signals(&[Signal::CHLD]).unwrap();
        assert_eq!(host.spawn(&command(&["none"], &[])).unwrap_err().errno, Errno::ENOENT);
        assert_eq!(host.read_signal(signals), Ok(Signal::CHLD));
        assert_eq!(host.wait(WaitFor::Any, false), Err(Errno::ECHILD));
    });
}

#[test]
fn orphans_go_to_the_nearest_subreaper() {
    let mut world = machine();
    add_child(&mut world);
    world.add_program("/bin/between", |host, _| {
        spawn(host, &["child", "sleep", "5"], &[]);
        spawn(host, &["child", "exit", "4"], &[]);
        0
    });
    let world = in_machine(world, |host| {
        host.become_subreaper().unwrap();
        let signals = host.signals(&[Signal::CHLD]).unwrap();
        let between = spawn(host, &["between"], &[]);
        let mut ends = Vec::new();
        while let Ok(Some(exit)) = host.wait(WaitFor::Any, true) {
            ends.push((exit.pid == between, exit.status.number()));
        }
        ends.sort_unstable();
        assert_eq!(ends, [(false, 0), (false, 4), (true, 0)]);
        assert_eq!(host.read_signal(signals), Ok(Signal::CHLD));
    });
    assert_eq!(world.processes(), []);
}

#[test]
fn init_reaps_what_nobody_else_wants() {
    let mut world = machine();
    add_child(&mut world);
    let world = in_machine(world, |host| {
        spawn(host, &["child", "exit", "1"], &[]);
        spawn(host, &["child", "sleep", "3"], &[]);
    });
    assert_eq!(world.exits().len(), 3);
    assert_eq!(world.leaks(&world.paths()), []);
}

#[test]
fn a_child_can_be_told_of_its_parents_death() {
    let mut world = machine();
    add_child(&mut world);
    let world = in_machine(world, |host| {
        let mut child = command(&["child", "hang"], &[]);
        child.parent_death_signal = Some(Signal::KILL);
        host.spawn(&child).unwrap();
    });
    assert_eq!(world.exits()[1].1, ExitStatus::Signal(Signal::KILL));
}

#[test]
fn pids_are_used_again_but_not_those_of_zombies() {
    let config = Config { pid_max: 6, ..Config::default() };
    let mut world = machine_with(config);
    add_child(&mut world);
    in_machine(world, |host| {
        assert_eq!(host.pid(), Pid(2));
        let first = spawn(host, &["child", "exit", "0"], &[]);
        let second = spawn(host, &["child", "exit", "0"], &[]);
        let third = spawn(host, &["child", "exit", "0"], &[]);
        assert_eq!([first, second, third], [Pid(3), Pid(4), Pid(5)]);
        host.poll(&mut [], Some(Duration::from_millis(1))).unwrap();
        let full = host.spawn(&command(&["child", "exit", "0"], &[])).unwrap_err();
        assert_eq!((full.step, full.errno), (SpawnStep::Fork, Errno::EAGAIN));
        reap(host, second);
        assert_eq!(spawn(host, &["child", "exit", "0"], &[]), Pid(4));
    });
}

#[test]
fn a_pid_is_taken_while_a_group_bears_its_number() {
    let config = Config { pid_max: 5, ..Config::default() };
    let mut world = machine_with(config);
    add_child(&mut world);
    world.add_program("/bin/leader", |host, _| {
        spawn(host, &["child", "sleep", "9"], &[]);
        0
    });
    in_machine(world, |host| {
        let mut leader = command(&["leader"], &[]);
        leader.lead = Lead::Group;
        let leader = host.spawn(&leader).unwrap();
        reap(host, leader);
        assert!(host.spawn(&command(&["child", "exit", "0"], &[])).is_err());
        assert_eq!(host.kill(leader, Signal(0)), Err(Errno::ESRCH));
        assert_eq!(host.kill(Pid(-leader.0), Signal(0)), Ok(()));
    });
}

/// The end of a pipe may be seen before its writer can be reaped, and the other way round not.
#[test]
fn closing_comes_before_the_end() {
    let mut seen = [false; 2];
    let mut odometer = Odometer::new();
    loop {
        let mut world = machine();
        add_child(&mut world);
        world.add_program("/bin/main", |host, _| {
            let pipe = host.pipe(OpenFlags::empty()).unwrap();
            let child = spawn(host, &["child", "exit", "0"], &[pipe.write]);
            host.close(pipe.write).unwrap();
            assert_eq!(read(host, pipe.read), Ok(vec![]));
            match host.wait(WaitFor::Pid(child), false).unwrap() {
                None => 1,
                Some(_) => 0,
            }
        });
        let pid = world.start("/bin/main", &["main"]).unwrap();
        assert_eq!(world.run(&mut odometer), Outcome::Done);
        seen[usize::from(world.exit_status(pid).unwrap().success())] = true;
        if !odometer.advance() {
            break;
        }
    }
    assert_eq!(seen, [true, true]);
}
