//! Loggers: what they are started with, when they are ready, and that a process outlives them.

use std::ffi::OsString;

use rstest::rstest;

use super::*;
use crate::host::Command;

/// A logger's own descriptors.
struct Logger {
    stdout: Fd,
    stderr: Fd,
    ready: Fd,
}

impl Logger {
    fn die(&self, bench: &mut Bench) {
        close_all(&mut bench.host, [self.stdout, self.stderr, self.ready]);
    }
}

fn with_logger(scheme: &str, terminal: bool) -> (Bench, Command, Logger) {
    let mut bench = Bench::new();
    bench.open(&Wanted {
        stdout: format!("{scheme}:///bin/log?id=a+b"),
        terminal,
        id: "c1".to_owned(),
        namespace: "n1".to_owned(),
        ..Wanted::default()
    });
    let command = bench.stdio.logger().unwrap();
    assert_eq!(bench.stdio.logger(), None);
    assert!(!bench.stdio.is_ready());
    let logger = Logger {
        stdout: bench.copy(command.fds[3], true),
        stderr: bench.copy(command.fds[4], true),
        ready: bench.copy(command.fds[5], false),
    };
    bench.stdio.logger_started(&mut bench.host);
    (bench, command, logger)
}

#[test]
fn a_logger_is_told_what_it_is_for_and_nothing_else() {
    let (_, command, _) = with_logger("binary", false);
    assert_eq!(command.program, PathBuf::from("/bin/log"));
    assert_eq!(command.argv, ["/bin/log", "id", "a b"]);
    let env: [OsString; 2] = ["CONTAINER_ID=c1".into(), "CONTAINER_NAMESPACE=n1".into()];
    assert_eq!(command.env, Some(env.to_vec()));
    assert_eq!(command.fds.len(), 6);
}

#[rstest]
#[case::says_so("binary", true, true)]
#[case::closes("binary", false, true)]
#[case::says_so_in_v2("binary-v2", true, true)]
#[case::dies_in_v2("binary-v2", false, false)]
fn a_logger_is_ready_or_not(#[case] scheme: &str, #[case] says: bool, #[case] well: bool) {
    let (mut bench, _, logger) = with_logger(scheme, false);
    bench.settle();
    assert!(!bench.stdio.is_ready());
    if says {
        bench.write(logger.ready, b"1");
    }
    bench.close(logger.ready);
    bench.settle();
    assert!(bench.stdio.is_ready());
    let failure = bench.stdio.logger_failed().map(|error| error.to_string());
    assert_eq!(failure.is_none(), well, "{failure:?}");
    let crashed = "logging binary did not call ready (it may have crashed or exited prematurely)";
    assert!(failure.is_none_or(|text| text.ends_with(crashed)));
}

#[test]
fn a_logger_reads_to_the_end_before_the_streams_are_drained() {
    let (mut bench, _, logger) = with_logger("binary", false);
    bench.close(logger.ready);
    let process = [1, 2].map(|number| bench.process_end(number));
    bench.runtime_done();
    bench.write(process[0], b"out");
    bench.write(process[1], b"err");
    let nothing_to_do = |bench: &Bench| {
        let mut questions = Vec::new();
        bench.stdio.ask(&mut questions);
        questions.is_empty() && bench.stdio.due().is_none()
    };
    assert!(nothing_to_do(&bench), "the bytes are none of our business");
    process.into_iter().for_each(|end| bench.close(end));
    bench.process_ended();
    assert!(!bench.stdio.is_drained());
    assert_eq!(bench.found(logger.stdout), found(b"out", true));
    assert_eq!(bench.found(logger.stderr), found(b"err", true));
    bench.wait(Duration::from_millis(100));
    assert!(bench.stdio.is_drained());
    assert!(nothing_to_do(&bench));
}

#[rstest]
fn a_process_outlives_its_logger(#[values(false, true)] ended_is_known: bool) {
    let (mut bench, _, logger) = with_logger("binary", false);
    let process = bench.process_end(1);
    bench.runtime_done();
    logger.die(&mut bench);
    bench.write(process, b"before");
    if ended_is_known {
        bench.stdio.logger_ended(&mut bench.host);
        let mut dropped = 0;
        while dropped < 200_000 {
            dropped += bench.host.write(process, &[0; 4096]).unwrap();
            bench.settle();
        }
    }
    bench.close(process);
    bench.process_ended();
    bench.wait(DRAIN);
    assert!(bench.stdio.is_drained());
    assert_eq!(bench.lost().is_empty(), !ended_is_known);
}

#[test]
fn a_logger_of_a_terminal_hears_it_on_one_stream() {
    let (mut bench, _, logger) = with_logger("binary", true);
    assert_eq!(bench.found(logger.stderr), found(b"", true));
    let slave = terminal::send_console(&mut bench);
    bench.runtime_done();
    bench.write(slave, b"said");
    bench.settle();
    assert_eq!(bench.found(logger.stdout), found(b"said", false));
    bench.write(slave, b"last");
    bench.close(slave);
    bench.process_ended();
    assert!(!bench.stdio.is_drained());
    assert_eq!(bench.found(logger.stdout), found(b"last", true));
    bench.wait(Duration::from_millis(100));
    assert!(bench.stdio.is_drained());
}

#[test]
fn a_terminal_outlives_its_logger() {
    let (mut bench, _, logger) = with_logger("binary", true);
    let slave = terminal::send_console(&mut bench);
    bench.runtime_done();
    logger.die(&mut bench);
    bench.stdio.logger_ended(&mut bench.host);
    for _ in 0..100 {
        bench.write(slave, &[b'x'; 1000]);
        bench.settle();
    }
    let told: Vec<String> = bench.troubles.iter().map(Error::to_string).collect();
    assert_eq!(told, ["write stdout: broken pipe (EPIPE)"]);
}
