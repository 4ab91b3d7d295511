//! What a process knows and changes of itself: its program, parent, user, directory and cores;
//! files in memory, counters, and who is at the other end of a socket.

use std::path::Path;
use std::time::Duration;

use wavetank::files::read_file;
use wavetank::host::{
    Command, Errno, Fd, FileKind, Host, OpenFlags, Peer, Pid, Ready, Signal, User, close_all,
};
use wavetank_sim::{Call, Config, Fault, Replay, SimHost, World};

use crate::common::*;

/// Runs `main` and has it end well, as a process of this user.
fn as_user(mut world: World, uid: u32, main: impl Fn(&mut SimHost<'_>) + 'static) -> World {
    world.add_program("/bin/main", move |host, _| {
        main(host);
        0
    });
    let pid = world.start("/bin/main", &["main"]).unwrap();
    world.set_user(pid, uid, uid + 1);
    finish(&mut world, &mut Replay::default());
    assert!(world.exit_status(pid).unwrap().success());
    world
}

#[test]
fn a_program_starts_itself_again_also_when_its_name_is_gone() {
    let mut world = machine();
    world.add_program("/bin/self", |host, argv| match argv[0].to_str().unwrap() {
        "first" => {
            host.unlink(Path::new("/bin/self")).unwrap();
            let again = Command {
                program: "/proc/self/exe".into(),
                argv: vec!["second".into()],
                ..Command::default()
            };
            let child = host.spawn(&again).unwrap();
            reap(host, child)
        }
        "second" => {
            let argv = vec!["third".into()];
            host.exec(&Command { program: "/proc/self/exe".into(), argv, ..Command::default() });
            1
        }
        _ => 3,
    });
    let pid = world.start("/bin/self", &["first"]).unwrap();
    finish(&mut world, &mut Replay::default());
    assert_eq!(world.exit_status(pid).unwrap().number(), 3);
    assert_eq!(world.exits().len(), 2);
}

#[test]
fn a_parent_is_who_started_us_and_then_who_took_us_over() {
    let mut world = machine();
    world.add_program("/bin/child", |host, argv| {
        let starter: i32 = argv[1].to_str().unwrap().parse().unwrap();
        assert_eq!(host.parent(), Pid(starter));
        host.kill(Pid(starter), Signal::KILL).unwrap();
        host.poll(&mut [], Some(Duration::from_millis(1))).unwrap();
        i32::from(host.parent() != Pid(1))
    });
    world.add_program("/bin/main", |host, _| {
        let me = host.pid().to_string();
        spawn(host, &["child", &me], &[]);
        host.poll(&mut [], None).unwrap();
        1
    });
    // A planned fault does not hit what cannot fail.
    world.add_fault(Fault::fail(Errno::EIO).of(Call::Parent).for_ever());
    world.start("/bin/main", &["main"]).unwrap();
    finish(&mut world, &mut Replay::default());
    let codes: Vec<i32> = world.exits().iter().map(|(_, status)| status.number()).collect();
    assert_eq!(codes, [137, 0]);
}

#[test]
fn a_directory_is_changed_if_it_may_be_searched() {
    let mut world = machine();
    world.add_dir("/tmp/open/sub").add_dir("/tmp/shut").add_file("/tmp/file", "");
    world.set_mode("/tmp/shut", 0o700, 0, 0).add_symlink("/tmp/link", "open");
    as_user(world, 1000, |host| {
        assert_eq!(host.user(), User { uid: 1000, gid: 1001 });
        for (path, errno) in [
            ("/tmp/shut", Errno::EACCES),
            ("/tmp/file", Errno::ENOTDIR),
            ("/tmp/none", Errno::ENOENT),
        ] {
            assert_eq!(host.change_dir(Path::new(path)), Err(errno), "{path}");
        }
        host.change_dir(Path::new("/tmp/link")).unwrap();
        host.change_dir(Path::new("sub")).unwrap();
        assert_eq!(host.current_dir().unwrap(), Path::new("/tmp/open/sub"));
    });
}

#[test]
fn a_group_gets_cores_of_its_own_and_hands_them_on() {
    let mut world = machine();
    world.add_program("/bin/child", |host, _| {
        host.poll(&mut [], None).unwrap();
        0
    });
    world.add_program("/bin/main", |host, _| {
        spawn(host, &["child"], &[]);
        host.share_core().unwrap();
        spawn(host, &["child"], &[]);
        host.poll(&mut [], None).unwrap();
        0
    });
    let other = world.start("/bin/child", &["child"]).unwrap();
    world
        .start_command(&Command { lead: wavetank::host::Lead::Group, ..command(&["main"], &[]) })
        .unwrap();
    world.run(&mut Replay::default());
    let core = |pid: Pid| world.processes().into_iter().find(|it| it.pid == pid).unwrap().core;
    assert_eq!(core(other), 0);
    let own: Vec<u64> = world.processes().iter().skip(1).map(|it| it.core).collect();
    assert_eq!(own, [1, 1, 1]);
}

#[test]
fn a_file_in_memory_has_no_name_and_takes_no_disk() {
    let world = machine_with(Config { disk_bytes: Some(0), ..Config::default() });
    let world = in_machine(world, |host| {
        let fd = host.memory_file().unwrap();
        assert_eq!(host.write(fd, b"hello"), Ok(5));
        assert_eq!(host.fstat(fd).unwrap().kind, FileKind::Regular);
        let mut buffer = [0; 3];
        assert_eq!(host.read_at(fd, 1, &mut buffer), Ok(3));
        assert_eq!(&buffer, b"ell");
        assert_eq!(read(host, fd), Ok(vec![]), "the descriptor stands where it stood");
        let link = format!("/proc/self/fd/{fd}");
        let name = host.readlink(Path::new(&link)).unwrap();
        assert_eq!(name, Path::new("/memfd:wavetank (deleted)"));
        assert_eq!(read_file(host, Path::new(&link), 100), Ok(b"hello".to_vec()));
        let full = open(host, "/tmp/file", CREATE | WRITE).unwrap();
        assert_eq!(host.write(full, b"x"), Err(Errno::ENOSPC));
        close_all(host, [fd, full]);
    });
    assert_eq!(world.inodes(), machine().inodes() + 2, "the program and the file on the disk");
}

#[test]
fn a_counter_is_waited_for_and_read_whole() {
    let world = machine_with(Config { short_one_in: 2, ..Config::default() });
    in_machine(world, |host| {
        let counter = host.event_counter().unwrap();
        assert_eq!(ready(host, counter), Ready::WRITE);
        assert_eq!(read(host, counter), Err(Errno::EAGAIN));
        for more in [2_u64, 3] {
            assert_eq!(host.write(counter, &more.to_ne_bytes()), Ok(8));
        }
        assert_eq!(ready(host, counter), Ready::READ | Ready::WRITE);
        assert_eq!(host.read(counter, &mut [0; 7]), Err(Errno::EINVAL));
        assert_eq!(read(host, counter), Ok(5_u64.to_ne_bytes().to_vec()));
        assert_eq!(host.read_at(counter, 0, &mut [0; 8]), Err(Errno::ESPIPE));
        let name = host.readlink(Path::new(&format!("/proc/self/fd/{counter}"))).unwrap();
        assert_eq!(name, Path::new("anon_inode:[eventfd]"));
    });
}

#[test]
fn a_counter_that_may_wait_does() {
    let mut world = machine();
    world.add_program("/bin/child", |host, _| {
        host.poll(&mut [], Some(Duration::from_millis(1))).unwrap();
        host.write(Fd(0), &7_u64.to_ne_bytes()).unwrap();
        host.poll(&mut [], Some(Duration::from_millis(1))).unwrap();
        read(host, Fd(0)).unwrap();
        0
    });
    in_machine(world, |host| {
        let counter = host.event_counter().unwrap();
        host.set_nonblocking(counter, false).unwrap();
        let child = spawn(host, &["child"], &[counter]);
        assert_eq!(read(host, counter), Ok(7_u64.to_ne_bytes().to_vec()));
        host.write(counter, &(u64::MAX - 1).to_ne_bytes()).unwrap();
        assert_eq!(host.write(counter, &1_u64.to_ne_bytes()), Ok(8), "once it was read");
        assert_eq!(reap(host, child), 0);
    });
}

#[test]
fn a_socket_knows_who_is_at_the_other_end() {
    let mut world = machine();
    world.set_mode("/tmp", 0o777, 0, 0);
    world.add_program("/bin/client", |host, _| {
        let socket = host.socket().unwrap();
        let nobody = Peer { pid: Pid(0), user: User { uid: u32::MAX, gid: u32::MAX } };
        assert_eq!(host.peer(socket), Ok(nobody));
        host.connect(socket, Path::new("/tmp/s")).unwrap();
        let server = host.parent();
        let user = User { uid: 7, gid: 8 };
        assert_eq!(host.peer(socket), Ok(Peer { pid: server, user }));
        assert_eq!(host.socket_path(socket), Ok("".into()));
        0
    });
    as_user(world, 7, |host| {
        let listener = host.socket().unwrap();
        host.change_dir(Path::new("/tmp")).unwrap();
        host.bind(listener, Path::new("s")).unwrap();
        host.listen(listener, 1).unwrap();
        let client = spawn(host, &["client"], &[]);
        let socket = host.accept(listener).unwrap();
        let user = host.user();
        assert_eq!(host.peer(socket), Ok(Peer { pid: client, user }));
        assert_eq!(host.socket_path(socket), Ok("s".into()), "as it was told");
        assert_eq!(reap(host, client), 0);
        assert_eq!(host.peer(socket).unwrap().pid, client, "also when it is gone");
        let pipe = host.pipe(OpenFlags::empty()).unwrap();
        assert_eq!(host.peer(pipe.read), Err(Errno::ENOTSOCK));
        assert_eq!(host.socket_path(pipe.read), Err(Errno::ENOTSOCK));
    });
}

fn score(host: &mut SimHost<'_>, pid: Pid) -> String {
    let path = format!("/proc/{pid}/oom_score_adj");
    String::from_utf8(read_file(host, Path::new(&path), 100).unwrap()).unwrap()
}

#[test]
fn a_score_is_read_written_and_handed_on() {
    let mut world = machine();
    world.add_program("/bin/child", |host, _| {
        let me = host.pid();
        i32::from(score(host, me) != "-998\n")
    });
    in_machine(world, |host| {
        let me = host.pid();
        assert_eq!(score(host, me), "0\n");
        let fd = open(host, &format!("/proc/{me}/oom_score_adj"), WRITE).unwrap();
        for (text, errno) in [("", Errno::EINVAL), ("high", Errno::EINVAL), ("1001", Errno::EINVAL)]
        {
            assert_eq!(host.write(fd, text.as_bytes()), Err(errno), "{text:?}");
        }
        assert_eq!(host.write(fd, b"-998\n"), Ok(5));
        let child = spawn(host, &["child"], &[]);
        assert_eq!(reap(host, child), 0);
    });
}

#[test]
fn only_root_makes_a_score_lower() {
    as_user(machine(), 1000, |host| {
        let me = host.pid();
        let own = open(host, &format!("/proc/{me}/oom_score_adj"), WRITE).unwrap();
        assert_eq!(host.write(own, b"5"), Ok(1));
        assert_eq!(host.write(own, b"4"), Err(Errno::EACCES));
        assert_eq!(open(host, "/proc/1/oom_score_adj", WRITE), Err(Errno::EACCES));
    });
}
