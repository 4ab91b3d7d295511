//! `fifo(7)`

use std::path::Path;

use rstest::rstest;
use wavetank::host::{Errno, Host, OpenFlags, Ready};
use wavetank_sim::{Outcome, Replay};

use crate::common::*;

#[rstest]
#[case::a_reader_that_does_not_wait(READ | NONBLOCK, None)]
#[case::a_writer_that_does_not_wait(WRITE | NONBLOCK, Some(Errno::ENXIO))]
#[case::both(BOTH, None)]
#[case::both_and_not_waiting(BOTH | NONBLOCK, None)]
fn opening_a_fifo_that_nobody_has_open(#[case] flags: OpenFlags, #[case] errno: Option<Errno>) {
    alone(move |host| {
        host.mkfifo(Path::new("/tmp/fifo"), 0o600).unwrap();
        assert_eq!(open(host, "/tmp/fifo", flags).err(), errno);
    });
}

#[rstest]
#[case::reader(READ, "a writer of /tmp/fifo")]
#[case::writer(WRITE, "a reader of /tmp/fifo")]
fn opening_a_fifo_alone_waits_for_ever(#[case] flags: OpenFlags, #[case] what: &str) {
    let mut world = machine();
    world.add_fifo("/tmp/fifo");
    world.add_program("/bin/main", move |host, _| {
        open(host, "/tmp/fifo", flags).unwrap();
        0
    });
    let pid = world.start("/bin/main", &["main"]).unwrap();
    let Outcome::Stuck(waiting) = world.run(&mut Replay::default()) else { panic!("not stuck") };
    assert_eq!(waiting.len(), 1);
    assert_eq!((waiting[0].pid, waiting[0].what.as_str()), (pid, what));
}

#[test]
fn a_reader_hears_of_a_hangup_only_after_a_writer_came() {
    alone(|host| {
        host.mkfifo(Path::new("/tmp/fifo"), 0o600).unwrap();
        let reader = open(host, "/tmp/fifo", READ | NONBLOCK).unwrap();
        assert_eq!(read(host, reader), Ok(vec![]));
        assert_eq!(ready(host, reader), Ready::empty());

        let writer = open(host, "/tmp/fifo", WRITE | NONBLOCK).unwrap();
        assert_eq!(read(host, reader), Err(Errno::EAGAIN));
        assert_eq!(ready(host, reader), Ready::empty());
        assert_eq!(ready(host, writer), Ready::WRITE);

        host.write(writer, b"x").unwrap();
        host.close(writer).unwrap();
        assert_eq!(ready(host, reader), Ready::READ | Ready::HANGUP);
        assert_eq!(read(host, reader), Ok(b"x".to_vec()));
        assert_eq!(ready(host, reader), Ready::HANGUP);
        assert_eq!(read(host, reader), Ok(vec![]));
    });
}

#[test]
fn every_reader_that_was_there_with_a_writer_hears_of_the_hangup() {
    alone(|host| {
        host.mkfifo(Path::new("/tmp/fifo"), 0o600).unwrap();
        let early = open(host, "/tmp/fifo", READ | NONBLOCK).unwrap();
        let writer = open(host, "/tmp/fifo", WRITE | NONBLOCK).unwrap();
        let late = open(host, "/tmp/fifo", READ | NONBLOCK).unwrap();
        host.close(writer).unwrap();
        let too_late = open(host, "/tmp/fifo", READ | NONBLOCK).unwrap();
        let heard = [early, late, too_late].map(|fd| ready(host, fd));
        assert_eq!(heard, [Ready::HANGUP, Ready::HANGUP, Ready::empty()]);
    });
}

#[test]
fn bytes_stay_while_somebody_has_the_fifo_open() {
    alone(|host| {
        host.mkfifo(Path::new("/tmp/fifo"), 0o600).unwrap();
        let holder = open(host, "/tmp/fifo", BOTH).unwrap();
        let writer = open(host, "/tmp/fifo", WRITE).unwrap();
        host.write(writer, b"kept").unwrap();
        host.close(writer).unwrap();
        let reader = open(host, "/tmp/fifo", READ | NONBLOCK).unwrap();
        host.close(holder).unwrap();
        assert_eq!(host.unread(reader), Ok(4));
        assert_eq!(read(host, reader), Ok(b"kept".to_vec()));

        let writer = open(host, "/tmp/fifo", WRITE).unwrap();
        host.write(writer, b"lost").unwrap();
        host.close(reader).unwrap();
        assert_eq!(ready(host, writer), Ready::WRITE | Ready::ERROR);
        host.close(writer).unwrap();
        let reader = open(host, "/tmp/fifo", READ | NONBLOCK).unwrap();
        assert_eq!(read(host, reader), Ok(vec![]));
    });
}

#[test]
fn two_that_open_both_sides_meet() {
    let build = || {
        let mut world = machine();
        world.add_fifo("/tmp/fifo");
        world.add_program("/bin/reader", |host, _| {
            let fd = open(host, "/tmp/fifo", READ).unwrap();
            let mut got = Vec::new();
            loop {
                match read(host, fd).unwrap() {
                    bytes if bytes.is_empty() => break,
                    bytes => got.extend(bytes),
                }
            }
            assert_eq!(got, b"hello");
            0
        });
        world.add_program("/bin/writer", |host, _| {
            let fd = open(host, "/tmp/fifo", WRITE).unwrap();
            host.write(fd, b"hel").unwrap();
            host.write(fd, b"lo").unwrap();
            0
        });
        world.start("/bin/reader", &["reader"]).unwrap();
        world.start("/bin/writer", &["writer"]).unwrap();
        world
    };
    under_seeds(300, build, |world| assert!(world.exits().iter().all(|(_, it)| it.success())));
}

#[test]
fn a_partner_that_came_and_went_ends_the_waiting() {
    let mut world = machine();
    world.add_fifo("/tmp/fifo").add_program("/bin/waiter", |host, _| {
        let fd = open(host, "/tmp/fifo", READ).unwrap();
        assert_eq!(read(host, fd), Ok(vec![]));
        0
    });
    world.add_program("/bin/passer", |host, _| {
        let fd = open(host, "/tmp/fifo", WRITE | NONBLOCK).unwrap();
        host.close(fd).unwrap();
        0
    });
    world.start("/bin/waiter", &["waiter"]).unwrap();
    // It runs as far as it can, which is into its opening.
    assert!(matches!(world.run(&mut Replay::default()), Outcome::Stuck(_)));
    world.start("/bin/passer", &["passer"]).unwrap();
    finish(&mut world, &mut Replay::default());
}

#[test]
fn one_that_is_killed_while_it_opens_is_no_reader() {
    let mut world = machine();
    world.add_fifo("/tmp/fifo").add_program("/bin/waiter", |host, _| {
        open(host, "/tmp/fifo", READ).unwrap();
        0
    });
    world.add_program("/bin/writer", |host, _| {
        assert_eq!(open(host, "/tmp/fifo", WRITE | NONBLOCK), Err(Errno::ENXIO));
        0
    });
    let waiter = world.start("/bin/waiter", &["waiter"]).unwrap();
    assert!(matches!(world.run(&mut Replay::default()), Outcome::Stuck(_)));
    world.signal(waiter, wavetank::host::Signal::KILL).unwrap();
    finish(&mut world, &mut Replay::default());
    world.start("/bin/writer", &["writer"]).unwrap();
    finish(&mut world, &mut Replay::default());
    assert_eq!(world.open_files(), 0);
}
