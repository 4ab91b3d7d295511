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
