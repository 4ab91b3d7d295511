//! `unix(7)`. The errors and the poll bits were looked up on Linux.

use std::path::Path;

use rstest::rstest;
use wavetank::host::{Errno, Fd, FileKind, Host, OpenFlags, Ready, Signal};
use wavetank_sim::{Config, SimHost};

use crate::common::*;

fn listener(host: &mut SimHost<'_>, path: &str, backlog: u32) -> Fd {
    let fd = host.socket().unwrap();
    host.bind(fd, Path::new(path)).unwrap();
    host.listen(fd, backlog).unwrap();
    host.set_nonblocking(fd, true).unwrap();
    fd
}

fn connected(host: &mut SimHost<'_>) -> (Fd, Fd) {
    let listener = listener(host, "/tmp/socket", 1);
    let client = host.socket().unwrap();
    host.connect(client, Path::new("/tmp/socket")).unwrap();
    let server = host.accept(listener).unwrap();
    host.close(listener).unwrap();
    for fd in [client, server] {
        host.set_nonblocking(fd, true).unwrap();
    }
    (client, server)
}

#[test]
fn a_socket_gives_its_file_its_mode() {
    alone(|host| {
        let mode = |host: &mut SimHost<'_>, path: &str| host.stat(Path::new(path)).unwrap().mode;
        listener(host, "/tmp/open", 1);
        assert_eq!(mode(host, "/tmp/open"), 0o755);
        let fd = host.socket().unwrap();
        host.fchmod(fd, 0o620).unwrap();
        host.bind(fd, Path::new("/tmp/narrow")).unwrap();
        assert_eq!(mode(host, "/tmp/narrow"), 0o600);
        host.fchmod(fd, 0o666).unwrap();
        assert_eq!(mode(host, "/tmp/narrow"), 0o600);
    });
}

#[test]
fn a_socket_before_it_is_connected() {
    alone(|host| {
        let fd = host.socket().unwrap();
        assert_eq!(ready(host, fd), Ready::WRITE | Ready::HANGUP);
        assert_eq!(host.read(fd, &mut [0]), Err(Errno::EINVAL));
        assert_eq!(host.write(fd, b"x"), Err(Errno::ENOTCONN));
        assert_eq!(host.accept(fd), Err(Errno::EINVAL));
        assert_eq!(host.listen(fd, 1), Err(Errno::EINVAL));
        let null = open(host, "/dev/null", READ).unwrap();
        assert_eq!(host.accept(null), Err(Errno::ENOTSOCK));
        let link = host.readlink(Path::new("/proc/self/fd/0")).unwrap();
        assert_eq!(link, Path::new(&format!("socket:[{}]", host.fstat(fd).unwrap().inode)));
    });
}

#[rstest]
#[case("/tmp/new", None)]
#[case("/tmp", Some(Errno::EADDRINUSE))]
#[case("/none/x", Some(Errno::ENOENT))]
#[case("", Some(Errno::EINVAL))]
fn binding(#[case] path: &'static str, #[case] errno: Option<Errno>) {
    alone(move |host| {
        let fd = host.socket().unwrap();
        assert_eq!(host.bind(fd, Path::new(path)).err(), errno);
        if errno.is_none() {
            assert_eq!(host.stat(Path::new(path)).unwrap().kind, FileKind::Socket);
            assert_eq!(host.bind(fd, Path::new("/tmp/other")), Err(Errno::EINVAL));
            assert_eq!(open(host, path, BOTH), Err(Errno::ENXIO));
        }
    });
}

#[test]
fn a_path_of_a_socket_has_at_most_107_bytes() {
    alone(|host| {
        let fd = host.socket().unwrap();
        let path = |len: usize| format!("/tmp/{}", "x".repeat(len - 5));
        assert_eq!(host.bind(fd, Path::new(&path(108))), Err(Errno::ENAMETOOLONG));
        assert_eq!(host.bind(fd, Path::new(&path(107))), Ok(()));
    });
}

#[test]
fn connecting() {
    let mut world = machine();
    world.add_file("/tmp/file", "");
    in_machine(world, |host| {
        let client = host.socket().unwrap();
        host.set_nonblocking(client, true).unwrap();
        assert_eq!(host.connect(client, Path::new("/tmp/none")), Err(Errno::ENOENT));
        assert_eq!(host.connect(client, Path::new("/tmp/file")), Err(Errno::ECONNREFUSED));
        let path = Path::new("/tmp/socket");
        let bound = host.socket().unwrap();
        host.bind(bound, path).unwrap();
        assert_eq!(host.connect(client, path), Err(Errno::ECONNREFUSED));
        host.listen(bound, 0).unwrap();
        host.set_nonblocking(bound, true).unwrap();
        assert_eq!(ready(host, bound), Ready::empty());
        assert_eq!(host.accept(bound), Err(Errno::EAGAIN));
        assert_eq!(host.connect(bound, path), Err(Errno::EINVAL));
        assert_eq!(host.connect(client, path), Ok(()));
        assert_eq!((ready(host, bound), ready(host, client)), (Ready::READ, Ready::WRITE));
        assert_eq!(host.connect(client, path), Err(Errno::EAGAIN), "the queue is full");
        host.accept(bound).unwrap();
        assert_eq!(host.connect(client, path), Err(Errno::EISCONN));

        let late = host.socket().unwrap();
        host.connect(late, path).unwrap();
        host.close(bound).unwrap();
        assert_eq!(ready(host, late), Ready::READ | Ready::WRITE | Ready::ERROR | Ready::HANGUP);
        assert_eq!(host.read(late, &mut [0]), Err(Errno::ECONNRESET));
        assert_eq!(host.read(late, &mut [0]), Ok(0));
        assert_eq!(host.connect(client, path), Err(Errno::ECONNREFUSED), "only the file is left");
        host.unlink(path).unwrap();
    });
}

#[test]
fn a_connection_that_ends() {
    alone(|host| {
        let signals = host.signals(&[Signal::PIPE]).unwrap();
        let (client, server) = connected(host);
        assert_eq!(ready(host, server), Ready::WRITE);
        host.write(client, b"unread").unwrap();
        assert_eq!(host.unread(server), Ok(6));
        host.close(client).unwrap();
        assert_eq!(ready(host, server), Ready::READ | Ready::WRITE | Ready::HANGUP);
        assert_eq!(host.read(server, &mut [0; 3]), Ok(3));
        assert_eq!(host.read(server, &mut [0; 9]), Ok(3));
        assert_eq!(host.read(server, &mut [0; 9]), Ok(0));
        assert_eq!(host.write(server, b"x"), Err(Errno::EPIPE));
        assert_eq!(host.read_signal(signals), Ok(Signal::PIPE));
    });
}

#[test]
fn a_peer_that_goes_with_unread_bytes_resets() {
    alone(|host| {
        let (client, server) = connected(host);
        host.write(server, b"abc").unwrap();
        host.write(client, b"never read").unwrap();
        host.close(server).unwrap();
        assert_eq!(host.read(client, &mut [0; 9]), Ok(3));
        assert_eq!(host.read(client, &mut [0; 9]), Err(Errno::ECONNRESET));
        assert_eq!(host.read(client, &mut [0; 9]), Ok(0));
    });
}

#[rstest]
#[case(1, 278)]
#[case(192, 53_376)]
#[case(193, 32_231)]
#[case(1728, 160_704)]
#[case(3776, 185_024)]
#[case(4096, 180_224)]
#[case(5000, 170_000)]
#[case(10_000, 170_000)]
#[case(32_768, 229_376)]
#[case(200_000, 236_544)]
fn how_much_a_socket_holds(#[case] len: usize, #[case] expected: usize) {
    alone(move |host| {
        let (client, _server) = connected(host);
        let mut total = 0;
        while let Ok(count) = host.write(client, &vec![0; len]) {
            total += count;
        }
        assert_eq!(total, expected);
    });
}

#[test]
fn a_socket_is_writable_when_three_quarters_are_free() {
    alone(|host| {
        let (client, server) = connected(host);
        while host.write(client, &[0; 4096]).is_ok() {}
        let mut taken = 0;
        while ready(host, client) != Ready::WRITE {
            taken += host.read(server, &mut [0; 4096]).unwrap();
        }
        assert_eq!(taken, 139_264);
    });
}

#[test]
fn descriptors_travel_with_the_first_byte_of_their_message() {
    let world = alone(|host| {
        let (client, server) = connected(host);
        let pipe = host.pipe(NONBLOCK).unwrap();
        host.send(client, b"A", &[]).unwrap();
        host.send(client, b"BC", &[pipe.write, pipe.write]).unwrap();
        host.send(client, b"D", &[]).unwrap();
        assert_eq!(host.send(client, b"x", &[Fd(99)]), Err(Errno::EBADF));
        host.close(pipe.write).unwrap();
        assert_eq!(ready(host, pipe.read), Ready::empty(), "one is under way");

        let mut buffer = [0; 99];
        let received = host.receive(server, &mut buffer).unwrap();
        assert_eq!((&buffer[..received.len], received.fds.len()), (b"ABC".as_slice(), 2));
        host.write(received.fds[1], b"through").unwrap();
        assert_eq!(read(host, pipe.read), Ok(b"through".to_vec()));
        assert_eq!(host.receive(server, &mut buffer).unwrap().fds, []);
        assert_eq!(host.receive(server, &mut buffer), Err(Errno::EAGAIN));

        host.send(client, b"E", &[pipe.read]).unwrap();
        assert_eq!(host.read(server, &mut buffer), Ok(1), "a plain read loses them");
        host.send(client, b"F", &[pipe.read]).unwrap();
    });
    assert_eq!(world.open_files(), 0);
}

#[test]
fn descriptors_for_which_there_is_no_number_are_lost() {
    let world = machine_with(Config { descriptors: 6, ..Config::default() });
    let world = in_machine(world, |host| {
        let (client, server) = connected(host);
        let pipe = host.pipe(OpenFlags::empty()).unwrap();
        host.send(client, b"x", &[pipe.read, pipe.read, pipe.read]).unwrap();
        let received = host.receive(server, &mut [0; 9]).unwrap();
        assert_eq!(received.fds.len(), 2);
    });
    assert_eq!(world.open_files(), 0);
}

#[test]
fn a_server_and_its_clients_in_any_order() {
    let build = || {
        let mut world = machine();
        world.add_program("/bin/client", |host, argv| {
            let fd = host.socket().unwrap();
            host.connect(fd, Path::new("/tmp/socket")).unwrap();
            host.write(fd, argv[1].to_str().unwrap().as_bytes()).unwrap();
            assert_eq!(read(host, fd), Ok(b"thanks".to_vec()));
            0
        });
        world.add_program("/bin/main", |host, _| {
            let listener = listener(host, "/tmp/socket", 0);
            host.set_nonblocking(listener, false).unwrap();
            let clients = ["1", "2", "3"].map(|name| spawn(host, &["client", name], &[]));
            let mut names = Vec::new();
            for _ in clients {
                let fd = host.accept(listener).unwrap();
                names.extend(read(host, fd).unwrap());
                host.write(fd, b"thanks").unwrap();
                host.close(fd).unwrap();
            }
            names.sort_unstable();
            assert_eq!(names, b"123");
            clients.into_iter().map(|pid| reap(host, pid)).sum()
        });
        world.start("/bin/main", &["main"]).unwrap();
        world
    };
    under_seeds(200, build, |world| {
        assert!(world.exits().iter().all(|(_, status)| status.success()));
        assert_eq!(world.open_files(), 0);
    });
}
