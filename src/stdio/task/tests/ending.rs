//! The end of a process: what is still read then, by whom, and for how long.

use rstest::rstest;

use super::*;

#[rstest]
fn output_ends_with_the_process(#[values(false, true)] direct: bool) {
    let mut bench = Bench::with_fifos(direct, ["", "out", "err"]);
    let clients = ["out", "err"].map(|name| bench.reader(name));
    let process = [1, 2].map(|number| bench.process_end(number));
    bench.runtime_done();
    for (end, word) in process.into_iter().zip([b"out", b"err"]) {
        bench.write(end, word);
        bench.close(end);
    }
    assert!(!bench.stdio.is_drained());
    bench.process_ended();
    assert_eq!(bench.found(clients[0]), found(b"out", true));
    assert_eq!(bench.found(clients[1]), found(b"err", true));
    assert!(bench.is_removed());
    assert_eq!(bench.stdio.due(), None);
}

#[rstest]
fn a_process_that_closes_its_output_is_heard_to_do_so(#[values(false, true)] direct: bool) {
    let mut bench = Bench::with_fifos(direct, ["", "out", ""]);
    let client = bench.reader("out");
    let process = bench.process_end(1);
    bench.runtime_done();
    bench.write(process, b"last");
    bench.close(process);
    bench.settle();
    assert_eq!(bench.found(client), found(b"last", true));
}

#[test]
fn a_child_that_keeps_the_output_is_waited_for_so_long_and_no_longer() {
    let mut bench = Bench::with_fifos(false, ["", "out", ""]);
    let client = bench.reader("out");
    let grandchild = bench.process_end(1);
    bench.runtime_done();
    bench.process_ended();
    bench.write(grandchild, b"late");
    bench.settle();
    assert_eq!(bench.found(client), found(b"late", false));
    assert!(!bench.stdio.is_drained());
    bench.wait(DRAIN);
    assert!(bench.stdio.is_drained());
    assert_eq!(bench.found(client), found(b"", true));
    assert_eq!(bench.host.write(grandchild, b"too late"), Err(Errno::EPIPE));
}

#[rstest]
fn what_was_not_read_waits_for_a_reader(#[values(false, true)] direct: bool) {
    let mut bench = Bench::with_fifos(direct, ["", "out", ""]);
    let process = bench.process_end(1);
    bench.runtime_done();
    bench.write(process, b"kept");
    bench.close(process);
    bench.process_ended();
    assert!(!bench.stdio.is_drained());
    let look = bench.stdio.due().unwrap();
    assert!(look <= bench.now() + Duration::from_millis(20), "{look:?}");
    let client = bench.reader("out");
    bench.wait(Duration::from_millis(100));
    assert_eq!(bench.found(client), found(b"kept", true));
    assert!(bench.is_removed());
    assert_eq!(bench.lost(), []);
}

#[rstest]
fn a_client_has_time_to_read_what_is_there_before_the_process_is_removed(
    #[values(false, true)] direct: bool,
    #[values(false, true)] reads: bool,
) {
    let mut bench = Bench::with_fifos(direct, ["", "out", ""]);
    let client = bench.reader("out");
    let process = bench.process_end(1);
    bench.runtime_done();
    bench.write(process, b"kept");
    bench.close(process);
    bench.process_ended();
    let soon = bench.now() + DRAIN / 2;
    assert!(bench.stdio.due().unwrap() > soon, "nothing is looked at before that");
    assert!(!bench.is_removed());
    if reads {
        assert_eq!(bench.found(client), found(b"kept", true));
    }
    bench.wait(Duration::from_millis(if reads { 100 } else { 500 }));
    assert!(bench.stdio.is_drained());
    if !reads {
        assert_eq!(bench.found(client), found(b"kept", true), "it is there for who reads it");
    }
    assert_eq!(bench.lost(), []);
}

#[rstest]
fn a_client_that_came_late_has_as_much_time(#[values(false, true)] direct: bool) {
    let mut bench = Bench::with_fifos(direct, ["", "out", ""]);
    let process = bench.process_end(1);
    bench.runtime_done();
    bench.write(process, b"kept");
    bench.close(process);
    bench.process_ended();
    bench.wait(Duration::from_secs(1));
    let client = bench.reader("out");
    bench.wait(Duration::from_millis(100));
    bench.wait(Duration::from_millis(100));
    assert!(!bench.is_removed());
    assert_eq!(bench.found(client), found(b"kept", true));
    bench.wait(Duration::from_millis(100));
    assert!(bench.stdio.is_drained());
}

#[rstest]
fn what_nobody_comes_for_is_told(#[values(false, true)] direct: bool) {
    let mut bench = Bench::with_fifos(direct, ["", "out", ""]);
    let process = bench.process_end(1);
    bench.runtime_done();
    bench.write(process, b"kept");
    bench.close(process);
    bench.process_ended();
    bench.wait(DRAIN);
    assert!(bench.stdio.is_drained());
    assert_eq!(bench.lost(), [("stdout", 4)]);
}

#[rstest]
fn a_reader_that_is_late_for_no_output_at_all_finds_an_end(#[values(false, true)] direct: bool) {
    let mut bench = Bench::with_fifos(direct, ["", "out", ""]);
    bench.runtime_done();
    bench.process_ended();
    assert!(!bench.stdio.is_drained());
    let client = bench.reader("out");
    bench.wait(Duration::from_millis(100));
    assert!(bench.stdio.is_drained());
    assert_eq!(bench.found(client), found(b"", true));
}

#[rstest]
fn a_reader_that_has_read_all_and_left_is_not_waited_for(#[values(false, true)] direct: bool) {
    let mut bench = Bench::new();
    let stdout = bench.fifo("out");
    let client = bench.reader("out");
    bench.open(&Wanted { stdout, direct, ..Wanted::default() });
    let process = bench.process_end(1);
    bench.runtime_done();
    bench.write(process, b"all");
    bench.settle();
    assert_eq!(bench.found(client), found(b"all", false));
    bench.close(client);
    bench.close(process);
    bench.process_ended();
    assert!(bench.stdio.is_drained());
}

#[test]
fn a_fifo_whose_path_is_gone_is_closed_with_the_process() {
    let mut bench = Bench::with_fifos(true, ["", "out", ""]);
    let client = bench.reader("out");
    let path = bench.path("out");
    bench.host.unlink(&path).unwrap();
    bench.runtime_done();
    bench.process_ended();
    assert!(bench.stdio.is_drained());
    assert_eq!(bench.found(client), found(b"", true));
}

#[rstest]
fn what_was_created_and_never_started_ends(#[values(false, true)] direct: bool) {
    let mut bench = Bench::with_fifos(direct, ["in", "out", "err"]);
    let clients = ["out", "err"].map(|name| bench.reader(name));
    // The runtime has not even ended.
    bench.process_ended();
    assert!(bench.stdio.is_drained());
    for client in clients {
        assert_eq!(bench.found(client), found(b"", true));
    }
}

#[test]
fn a_looker_after_readers_does_not_look_before_the_end() {
    let mut bench = Bench::with_fifos(false, ["", "out", ""]);
    bench.runtime_done();
    assert_eq!(bench.stdio.due(), None);
    bench.process_ended();
    assert!(bench.stdio.due().is_some());
}

#[rstest]
fn all_that_is_known_survives_being_written_down(#[values(false, true)] direct: bool) {
    let mut bench = Bench::with_fifos(direct, ["in", "out", "err"]);
    bench.runtime_done();
    bench.process_ended();
    let text = serde_json::to_string(&bench.stdio).unwrap();
    assert_eq!(serde_json::from_str::<TaskStdio>(&text).unwrap(), bench.stdio, "{text}");
}
