//! Short ways to put a program into a machine and to run it.

use std::ffi::OsString;
use std::path::Path;

use wavetank::host::{Command, Errno, Fd, Host, OpenFlags, Pid, PollFd, Ready, Result, WaitFor};
use wavetank_sim::{Choose, Config, Outcome, Random, Recorded, Replay, SimHost, World};

pub(crate) const READ: OpenFlags = OpenFlags::READ;
pub(crate) const WRITE: OpenFlags = OpenFlags::WRITE;
pub(crate) const BOTH: OpenFlags = OpenFlags::READ.union(OpenFlags::WRITE);
pub(crate) const NONBLOCK: OpenFlags = OpenFlags::NONBLOCK;
pub(crate) const CREATE: OpenFlags = OpenFlags::CREATE;

/// A machine with `/tmp` and `/bin`.
pub(crate) fn machine() -> World {
    machine_with(Config::default())
}

pub(crate) fn machine_with(mut config: Config) -> World {
    config.trace = true;
    let mut world = World::new(config);
    world.add_dir("/tmp").add_dir("/bin");
    world
}

/// Runs one program alone in a machine, to a good end.
pub(crate) fn alone(program: impl Fn(&mut SimHost<'_>) + 'static) -> World {
    in_machine(machine(), program)
}

/// Runs one more program in a machine, which has all its other programs in place.
pub(crate) fn in_machine(mut world: World, program: impl Fn(&mut SimHost<'_>) + 'static) -> World {
    world.add_program("/bin/main", move |host, _| {
        program(host);
        0
    });
    world.start("/bin/main", &["main"]).unwrap();
    finish(&mut world, &mut Replay::default());
    world
}

/// Runs to a good end, whatever is chosen.
pub(crate) fn finish(world: &mut World, chooser: &mut dyn Choose) {
    let outcome = world.run(chooser);
    assert_eq!(outcome, Outcome::Done, "{outcome}\n{}", world.trace().join("\n"));
}

/// Runs a machine that `build` makes under many seeds; `check` looks at it afterwards.
pub(crate) fn under_seeds(seeds: u64, build: impl Fn() -> World, check: impl Fn(&World)) {
    for seed in 0..seeds {
        let mut world = build();
        let mut chooser = Recorded::new(Random::new(seed));
        let outcome = world.run(&mut chooser);
        assert_eq!(outcome, Outcome::Done, "seed {seed}: {outcome}\n{}", world.trace().join("\n"));
        check(&world);
    }
}

/// Starts a program of the machine with these descriptors.
pub(crate) fn spawn<H: Host>(host: &mut H, argv: &[&str], fds: &[Fd]) -> Pid {
    host.spawn(&command(argv, fds)).unwrap()
}

/// A command whose program lies in `/bin`.
pub(crate) fn command(argv: &[&str], fds: &[Fd]) -> Command {
    Command {
        program: Path::new("/bin").join(argv[0]),
        argv: argv.iter().map(OsString::from).collect(),
        fds: fds.to_vec(),
        ..Command::default()
    }
}

/// Waits for a child and gives the number of its end.
pub(crate) fn reap<H: Host>(host: &mut H, pid: Pid) -> i32 {
    host.wait(WaitFor::Pid(pid), true).unwrap().unwrap().status.number()
}

pub(crate) fn open<H: Host>(host: &mut H, path: &str, flags: OpenFlags) -> Result<Fd> {
    host.open(Path::new(path), flags, 0o666)
}

/// What one descriptor is ready for now.
pub(crate) fn ready<H: Host>(host: &mut H, fd: Fd) -> Ready {
    let mut fds = [PollFd::new(fd, Ready::READ | Ready::WRITE)];
    host.poll(&mut fds, Some(std::time::Duration::ZERO)).unwrap();
    fds[0].ready
}

/// One read of up to 64 KiB.
pub(crate) fn read<H: Host>(host: &mut H, fd: Fd) -> std::result::Result<Vec<u8>, Errno> {
    let mut buffer = vec![0; 65536];
    let count = host.read(fd, &mut buffer)?;
    buffer.truncate(count);
    Ok(buffer)
}
