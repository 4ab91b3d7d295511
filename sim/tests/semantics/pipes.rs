//! `pipe(7)`, `splice(2)`, page by page.

use rstest::rstest;
use wavetank::host::{Errno, ExitStatus, Fd, Host, OpenFlags, Pipe, Ready, Signal, write_all};
use wavetank_sim::{Config, SimHost};

use crate::common::*;

fn pipe(host: &mut SimHost<'_>) -> Pipe {
    host.pipe(NONBLOCK).unwrap()
}

/// A pipe whose SIGPIPE does not kill us.
fn without_sigpipe(host: &mut SimHost<'_>) -> Fd {
    host.signals(&[Signal::PIPE]).unwrap()
}

#[test]
fn a_pipe_is_full_with_sixteen_pages() {
    alone(|host| {
        let Pipe { read: r, write: w } = pipe(host);
        for _ in 0..16 {
            assert_eq!(host.write(w, &[7; 4096]), Ok(4096));
        }
        assert_eq!(host.write(w, b"x"), Err(Errno::EAGAIN));
        assert_eq!(ready(host, w), Ready::empty());
        assert_eq!(host.read(r, &mut [0]), Ok(1));
        assert_eq!(host.write(w, b"x"), Err(Errno::EAGAIN), "no page is free yet");
        assert_eq!(host.read(r, &mut [0; 4095]), Ok(4095));
        assert_eq!(ready(host, w), Ready::WRITE);
        assert_eq!(host.write(w, &[8; 5000]), Ok(4096));
    });
}

#[rstest]
#[case::all_pages(vec![], 70000, 65536)]
#[case::an_odd_byte_before(vec![1], 65536, 61440)]
#[case::the_odd_part_goes_on_in_the_last_page(vec![1], 4095 + 61440, 65535)]
#[case::whole_pages_never_do(vec![1], 4096, 4096)]
fn how_much_one_write_takes(
    #[case] before: Vec<usize>,
    #[case] offered: usize,
    #[case] taken: usize,
) {
    alone(move |host| {
        let Pipe { write: w, .. } = pipe(host);
        for len in &before {
            host.write(w, &vec![0; *len]).unwrap();
        }
        assert_eq!(host.write(w, &vec![0; offered]), Ok(taken));
    });
}

#[test]
fn up_to_a_page_is_whole_or_nothing() {
    alone(|host| {
        let Pipe { read: r, write: w } = pipe(host);
        host.write(w, &[0; 61440 + 2000]).unwrap();
        assert_eq!(host.write(w, &[0; 4096]), Err(Errno::EAGAIN));
        assert_eq!(host.write(w, &[0; 2097]), Err(Errno::EAGAIN));
        assert_eq!(host.write(w, &[0; 2096]), Ok(2096));
        assert_eq!(host.unread(r), Ok(65536));
    });
}

#[test]
fn the_ends_of_a_pipe() {
    alone(|host| {
        let Pipe { read: r, write: w } = pipe(host);
        assert_eq!(host.read(r, &mut [0]), Err(Errno::EAGAIN));
        assert_eq!(host.read(r, &mut []), Ok(0));
        assert_eq!(host.read(w, &mut [0]), Err(Errno::EBADF));
        assert_eq!(host.write(r, b"x"), Err(Errno::EBADF));
        assert_eq!((ready(host, r), ready(host, w)), (Ready::empty(), Ready::WRITE));
        host.close(w).unwrap();
        assert_eq!((ready(host, r), ready(host, w)), (Ready::HANGUP, Ready::INVALID));
        assert_eq!(host.read(r, &mut [0]), Ok(0));

        without_sigpipe(host);
        let Pipe { read: r, write: w } = pipe(host);
        host.write(w, &[0; 65536]).unwrap();
        host.close(r).unwrap();
        assert_eq!(ready(host, w), Ready::ERROR);
        assert_eq!(host.write(w, b"x"), Err(Errno::EPIPE));
        assert_eq!(host.write(w, b""), Ok(0));
    });
}

#[rstest]
#[case::held_back(true, ExitStatus::Code(0))]
#[case::not_held_back(false, ExitStatus::Signal(Signal::PIPE))]
fn a_write_without_reader_kills(#[case] held_back: bool, #[case] expected: ExitStatus) {
    let world = alone(move |host| {
        let signals = held_back.then(|| without_sigpipe(host));
        let Pipe { read: r, write: w } = pipe(host);
        host.close(r).unwrap();
        assert_eq!(host.write(w, b"x"), Err(Errno::EPIPE));
        assert_eq!(host.read_signal(signals.unwrap()), Ok(Signal::PIPE));
    });
    assert_eq!(world.exits()[0].1, expected);
}

#[test]
fn spliced_bytes_take_a_page_each() {
    alone(|host| {
        let (from, to) = (pipe(host), pipe(host));
        for _ in 0..16 {
            host.write(from.write, b"q").unwrap();
            assert_eq!(host.splice(from.read, to.write, 10), Ok(1));
        }
        assert_eq!(ready(host, to.write), Ready::empty());
        host.write(from.write, b"q").unwrap();
        assert_eq!(host.splice(from.read, to.write, 10), Err(Errno::EAGAIN));
        assert_eq!(host.read(to.read, &mut [0; 99]), Ok(16));
    });
}

#[test]
fn a_page_that_was_spliced_in_part_is_not_written_to() {
    alone(|host| {
        let (from, to) = (pipe(host), pipe(host));
        host.write(from.write, b"abcdef").unwrap();
        assert_eq!(host.splice(from.read, to.write, 2), Ok(2));
        host.write(to.write, b"XY").unwrap();
        assert_eq!(host.splice(from.read, to.write, 99), Ok(4));
        assert_eq!(read(host, to.read), Ok(b"abXYcdef".to_vec()));
    });
}

#[test]
fn splice_asks_in_this_order() {
    alone(|host| {
        let signals = without_sigpipe(host);
        let (from, to) = (pipe(host), pipe(host));
        assert_eq!(host.splice(from.read, to.write, 1), Err(Errno::EAGAIN));
        assert_eq!(host.splice(from.read, from.write, 1), Err(Errno::EINVAL));
        assert_eq!(host.splice(from.write, to.write, 1), Err(Errno::EBADF));
        assert_eq!(host.splice(from.read, to.write, 0), Ok(0));
        host.write(to.write, &[0; 65536]).unwrap();
        host.close(from.write).unwrap();
        assert_eq!(host.splice(from.read, to.write, 1), Err(Errno::EAGAIN), "full before the end");
        host.read(to.read, &mut [0; 4096]).unwrap();
        assert_eq!(host.splice(from.read, to.write, 1), Ok(0));
        host.close(to.read).unwrap();
        assert_eq!(host.splice(from.read, to.write, 1), Err(Errno::EPIPE));
        assert_eq!(host.read_signal(signals), Ok(Signal::PIPE));
    });
}

#[test]
fn a_pipe_can_be_spliced_to_a_file() {
    let world = alone(|host| {
        let from = pipe(host);
        let file = open(host, "/tmp/file", CREATE | WRITE).unwrap();
        let append = open(host, "/tmp/file", WRITE | OpenFlags::APPEND).unwrap();
        assert_eq!(host.splice(from.read, file, 9), Err(Errno::EAGAIN));
        host.write(from.write, b"abcdef").unwrap();
        assert_eq!(host.splice(from.read, append, 9), Err(Errno::EINVAL));
        assert_eq!(host.splice(from.read, file, 4), Ok(4));
        assert_eq!(host.splice(file, append, 4), Err(Errno::EBADF));
        assert_eq!(host.unread(from.read), Ok(2));
    });
    assert_eq!(world.text("/tmp/file").as_deref(), Some("abcd"));
}

/// One process writes more than a pipe holds, and another reads it, for any order of steps.
#[rstest]
#[case::plain(16, 0)]
#[case::one_page(1, 0)]
#[case::short_reads_and_writes(2, 4)]
fn bytes_are_conserved(#[case] pipe_pages: usize, #[case] short_one_in: usize) {
    const TOTAL: usize = 100_000;
    let build = move || {
        let config = Config { pipe_pages, short_one_in, ..Config::default() };
        let mut world = machine_with(config);
        world.add_program("/bin/producer", |host, _| {
            let bytes = wavetank_sim::guests::pattern(TOTAL);
            for part in bytes.chunks(30_001) {
                write_all(host, Fd(1), part).unwrap();
            }
            0
        });
        world.add_program("/bin/main", |host, _| {
            let Pipe { read: r, write: w } = host.pipe(OpenFlags::empty()).unwrap();
            let producer = spawn(host, &["producer"], &[w, w]);
            host.close(w).unwrap();
            let mut got = Vec::new();
            loop {
                match read(host, r).unwrap() {
                    bytes if bytes.is_empty() => break,
                    bytes => got.extend(bytes),
                }
            }
            assert!(got == wavetank_sim::guests::pattern(TOTAL));
            reap(host, producer)
        });
        world.start("/bin/main", &["main"]).unwrap();
        world
    };
    under_seeds(40, build, |world| {
        assert!(world.exits().iter().all(|(_, status)| status.success()));
        assert_eq!(world.open_files(), 0);
    });
}
