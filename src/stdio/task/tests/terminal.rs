//! Terminals: how they come, how they are held, and how they end.

use super::*;
use crate::host::WindowSize;
use crate::stdio::{Owner, Pty};

/// Streams with a terminal, which the runtime has sent; gives the process's end of it.
fn with_terminal() -> (Bench, Fd) {
    let mut bench = Bench::new();
    let [stdin, stdout] = ["in", "out"].map(|name| bench.fifo(name));
    bench.open(&Wanted { stdin, stdout, terminal: true, ..Wanted::default() });
    bench.stdio.resize(&mut bench.host, WindowSize { columns: 80, rows: 25 }).unwrap();
    let slave = send_console(&mut bench);
    (bench, slave)
}

pub(super) fn send_console(bench: &mut Bench) -> Fd {
    let (pty, _) = Pty::create(&mut bench.host, Owner::default()).unwrap();
    let slave = pty.slave.unwrap();
    let raw = bench.host.terminal_attributes(slave).unwrap().raw();
    bench.host.set_terminal_attributes(slave, &raw).unwrap();
    bench.host.set_nonblocking(slave, true).unwrap();
    send(bench, pty.master);
    slave
}

/// Sends a descriptor to the console socket, and closes it.
fn send(bench: &mut Bench, fd: Fd) {
    let socket = bench.host.socket().unwrap();
    let path = bench.stdio.console_socket().unwrap();
    bench.host.connect(socket, &path).unwrap();
    assert_eq!(bench.host.send(socket, b"/dev/pts/9", &[fd]), Ok(10));
    bench.close(socket);
    bench.close(fd);
    bench.settle();
}

#[test]
fn a_size_is_kept_until_the_terminal_comes() {
    let (mut bench, slave) = with_terminal();
    assert!(!bench.stdio.awaits_console());
    assert_eq!(bench.host.window_size(slave), Ok(WindowSize { columns: 80, rows: 25 }));
    bench.stdio.resize(&mut bench.host, WindowSize { columns: 100, rows: 30 }).unwrap();
    assert_eq!(bench.host.window_size(slave), Ok(WindowSize { columns: 100, rows: 30 }));
    let left = bench.host.list(bench.dir.path()).unwrap();
    assert_eq!(left, ["in", "out"], "the console socket is removed");
}

#[test]
fn a_terminal_outlives_a_moment_in_which_nobody_has_it_open() {
    let (mut bench, slave) = with_terminal();
    let client = bench.reader("out");
    let again = bench.copy(slave, false);
    bench.close(again);
    bench.write(slave, b"one");
    let name = bench.host.readlink(&PathBuf::from(format!("/proc/self/fd/{slave}"))).unwrap();
    bench.close(slave);
    bench.settle();
    let flags = OpenFlags::READ | OpenFlags::WRITE | OpenFlags::NOCTTY | OpenFlags::NONBLOCK;
    let slave = bench.host.open(&name, flags, 0).unwrap();
    bench.write(slave, b"two");
    bench.settle();
    assert_eq!(bench.found(client), found(b"onetwo", false));
    let writer = bench.writer("in");
    bench.write(writer, b"typed");
    bench.settle();
    assert_eq!(bench.found(slave), found(b"typed", false));
}

#[test]
fn a_terminal_is_read_to_its_end_after_the_process() {
    let (mut bench, slave) = with_terminal();
    let client = bench.reader("out");
    let mut written = Vec::new();
    while let Ok(count) = bench.host.write(slave, &[b'0' + (written.len() % 10) as u8; 1000]) {
        written.extend(vec![b'0' + (written.len() % 10) as u8; count]);
        if written.len() > 100_000 {
            break;
        }
    }
    assert!(written.len() > 4096, "{}", written.len());
    bench.close(slave);
    bench.process_ended();
    let mut read = Vec::new();
    loop {
        let Found { bytes, ended } = bench.found(client);
        read.extend(bytes);
        if ended {
            break;
        }
        bench.settle();
    }
    assert!(read == written, "{} bytes of {}", read.len(), written.len());
    assert!(bench.is_removed());
    assert!(bench.stdio.pty.is_none());
}

#[test]
fn a_terminal_that_others_keep_is_hung_up_in_time() {
    let (mut bench, slave) = with_terminal();
    let client = bench.reader("out");
    bench.process_ended();
    assert!(!bench.stdio.is_drained());
    bench.wait(DRAIN);
    assert!(bench.stdio.is_drained());
    assert_eq!(bench.found(client), found(b"", true));
    assert_eq!(bench.host.write(slave, b"x"), Err(Errno::EIO));
}

#[test]
fn a_process_whose_terminal_never_came_has_an_end() {
    let mut bench = Bench::new();
    let stdout = bench.fifo("out");
    bench.open(&Wanted { stdout, terminal: true, ..Wanted::default() });
    let client = bench.reader("out");
    bench.runtime_done();
    assert!(bench.stdio.awaits_console());
    bench.process_ended();
    assert!(!bench.stdio.awaits_console());
    assert!(bench.stdio.is_drained());
    assert_eq!(bench.found(client), found(b"", true));
}

#[test]
fn what_is_no_terminal_is_not_taken_for_one() {
    let mut bench = Bench::new();
    bench.open(&Wanted { terminal: true, ..Wanted::default() });
    let pipe = bench.host.pipe(OpenFlags::empty()).unwrap();
    send(&mut bench, pipe.read);
    assert!(bench.stdio.awaits_console());
    assert!(bench.troubles[0].to_string().contains("ENOTTY"), "{:?}", bench.troubles);
    send_console(&mut bench);
    assert!(!bench.stdio.awaits_console());
}

#[test]
fn a_terminal_that_nobody_listens_to_does_not_hold_the_process_up() {
    let mut bench = Bench::new();
    bench.open(&Wanted { terminal: true, ..Wanted::default() });
    let slave = send_console(&mut bench);
    for _ in 0..100 {
        bench.write(slave, &[b'x'; 1000]);
        bench.settle();
    }
}
