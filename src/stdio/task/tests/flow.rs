//! Bytes on their way: clients that come and go, and nobody who waits for ever.

use rstest::rstest;

use super::*;

#[rstest]
fn a_reader_that_goes_away_is_followed_by_another(#[values(false, true)] direct: bool) {
    let mut bench = Bench::with_fifos(direct, ["", "out", ""]);
    let process = bench.process_end(1);
    bench.runtime_done();
    let first = bench.reader("out");
    bench.write(process, b"one");
    bench.settle();
    assert_eq!(bench.found(first), found(b"one", false));
    bench.close(first);
    bench.write(process, b"two");
    bench.settle();
    let second = bench.reader("out");
    assert_eq!(bench.found(second), found(b"two", false));
    assert_eq!(bench.troubles, []);
}

#[rstest]
fn a_process_whose_reader_stalls_has_to_wait_and_loses_nothing(
    #[values(false, true)] direct: bool,
) {
    let mut bench = Bench::with_fifos(direct, ["", "out", ""]);
    let client = bench.reader("out");
    let process = bench.process_end(1);
    bench.runtime_done();
    let mut written: usize = 0;
    while let Ok(count) = bench.host.write(process, &[b'x'; 4096]) {
        written += count;
        bench.settle();
    }
    assert_eq!(bench.host.write(process, b"x"), Err(Errno::EAGAIN));
    let mut read = bench.found(client).bytes.len();
    bench.settle();
    bench.write(process, b"end");
    bench.close(process);
    bench.process_ended();
    loop {
        let Found { bytes, ended } = bench.found(client);
        read += bytes.len();
        if ended {
            break;
        }
        bench.settle();
    }
    assert_eq!(read, written + 3);
    assert_eq!(bench.lost(), []);
}

#[test]
fn a_client_that_goes_away_does_not_end_the_input() {
    let mut bench = Bench::with_fifos(false, ["in", "", ""]);
    let process = bench.process_end(0);
    bench.runtime_done();
    for word in [b"one", b"two"] {
        let client = bench.writer("in");
        bench.write(client, word);
        bench.close(client);
        bench.settle();
        assert_eq!(bench.found(process), found(word, false));
    }
}

#[test]
fn input_closed_before_anybody_wrote_has_ended() {
    let mut bench = Bench::with_fifos(false, ["in", "", ""]);
    bench.stdio.close_stdin(&mut bench.host);
    bench.settle();
    let process = bench.process_end(0);
    bench.runtime_done();
    assert_eq!(bench.found(process), found(b"", true));
    bench.stdio.close_stdin(&mut bench.host);
}

#[test]
fn input_closed_at_once_still_arrives_whole() {
    let mut bench = Bench::with_fifos(false, ["in", "", ""]);
    let client = bench.writer("in");
    bench.stdio.close_stdin(&mut bench.host);
    let process = bench.process_end(0);
    bench.runtime_done();
    let input: Vec<u8> = (0..1_000_000_u32).map(|number| number.to_le_bytes()[0]).collect();
    let (mut sent, mut arrived) = (0, Vec::new());
    while sent < input.len() {
        sent += bench.host.write(client, &input[sent..]).unwrap_or(0);
        bench.settle();
        arrived.extend(bench.found(process).bytes);
    }
    assert_eq!(bench.found(process), found(b"", false));
    bench.close(client);
    bench.settle();
    let rest = bench.found(process);
    arrived.extend(rest.bytes);
    assert!(rest.ended);
    assert!(arrived == input, "{} bytes of {}", arrived.len(), input.len());
}

#[test]
fn a_process_that_does_not_read_can_be_heard() {
    let mut bench = Bench::with_fifos(false, ["in", "out", "err"]);
    let writer = bench.writer("in");
    let process = [0, 1, 2].map(|number| bench.process_end(number));
    bench.runtime_done();
    while bench.host.write(writer, &[0; 4096]).is_ok() {
        bench.settle();
    }
    bench.write(process[2], b"deaf");
    bench.settle();
    let reader = bench.reader("err");
    assert_eq!(bench.found(reader), found(b"deaf", false));
}

#[test]
fn a_process_that_closes_its_input_is_not_disturbed() {
    let mut bench = Bench::with_fifos(false, ["in", "out", ""]);
    let process = bench.process_end(1);
    bench.runtime_done();
    let writer = bench.writer("in");
    bench.write(writer, b"unwanted");
    bench.settle();
    assert_eq!(bench.host.write(writer, b"more"), Err(Errno::EPIPE));
    bench.write(process, b"well");
    bench.settle();
    let reader = bench.reader("out");
    assert_eq!(bench.found(reader), found(b"well", false));
    assert_eq!(bench.troubles, []);
}

#[test]
fn a_full_disk_holds_a_process_up_and_does_not_keep_it() {
    let mut bench = Bench::new();
    bench.open(&Wanted { stdout: "/dev/full".to_owned(), ..Wanted::default() });
    let process = bench.process_end(1);
    bench.runtime_done();
    bench.write(process, b"nowhere");
    bench.settle();
    assert!(bench.stdio.due().is_some());
    bench.close(process);
    bench.process_ended();
    assert!(!bench.stdio.is_drained());
    bench.wait(DRAIN);
    assert!(bench.stdio.is_drained());
    assert_eq!(bench.lost(), [("stdout", 7)]);
}

#[rstest]
fn both_outputs_of_a_file_are_in_one(#[values("file://", "")] scheme: &str
) {
    let mut bench = Bench::new();
    let path = bench.text(if scheme.is_empty() { "log" } else { "new/deep/log" });
    if scheme.is_empty() {
        let flags = OpenFlags::WRITE | OpenFlags::CREATE;
        let file = bench.host.open(&bench.path("log"), flags, 0o600).unwrap();
        bench.close(file);
    }
    let stdout = format!("{scheme}{path}");
    let stderr = if scheme.is_empty() { stdout.clone() } else { String::new() };
    bench.open(&Wanted { stdout, stderr, ..Wanted::default() });
    let ends = bench.stdio.child_ends().to_vec();
    bench.write(ends[1], b"out ");
    bench.write(ends[2], b"err ");
    bench.write(ends[1], b"out");
    bench.runtime_done();
    assert_eq!(bench.stdio.due(), None);
    bench.process_ended();
    assert!(bench.stdio.is_drained());
    let name = path.strip_prefix(bench.dir.path().to_str().unwrap()).unwrap().to_owned();
    let file = bench.reader(name.trim_start_matches('/'));
    assert_eq!(bench.found(file), found(b"out err out", true));
}
