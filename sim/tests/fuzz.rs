//! What the fuzz targets do, with bytes that are drawn from seeds instead of found by a fuzzer.
#![allow(clippy::unwrap_used, missing_docs)]

use containerd_shim_protos::protobuf::Message;
use containerd_shim_protos::ttrpc::Request;
use wavetank::ttrpc::{Connection, HEADER_LEN};
use wavetank_sim::{Choose, Random, fuzz};

const RUNS: u64 = 400;
const STREAMS: u64 = 3000;

fn bytes(chooser: &mut Random, len: usize) -> Vec<u8> {
    (0..len).map(|_| u8::try_from(chooser.choose(256)).unwrap()).collect()
}

#[test]
fn bytes_are_runs_of_flows_that_go_right() {
    let flows = fuzz::flows();
    for seed in 0..RUNS {
        let mut chooser = Random::new(seed);
        let len = chooser.choose(1500);
        let failed = fuzz::run(&flows, &bytes(&mut chooser, len));
        let failed = failed.map(|(failure, tape)| format!("{failure}\n{tape}"));
        assert_eq!(failed, None, "seed {seed}");
    }
}

/// Frames that are nearly right: lengths, kinds and flags that occur, and bodies that are requests.
fn stream(chooser: &mut Random) -> Vec<u8> {
    let mut stream = bytes(chooser, 1);
    for number in 0..chooser.choose(6) {
        let service = ["containerd.task.v2.Task", "", "x"][chooser.choose(3)].to_owned();
        let request = Request { service, method: "State".to_owned(), ..Request::default() };
        let mut body = request.write_to_bytes().unwrap();
        if chooser.choose(3) == 0 {
            let len = chooser.choose(40);
            body = bytes(chooser, len);
        }
        let len = u32::try_from(body.len() + [0, 0, 0, 1, 5 << 20][chooser.choose(5)]).unwrap();
        let call = u32::try_from(2 * number + [1, 1, 1, 0][chooser.choose(4)]).unwrap();
        stream.extend(len.to_be_bytes());
        stream.extend(call.to_be_bytes());
        stream.extend([[1, 1, 1, 2, 3, 9][chooser.choose(6)], [0, 0, 1, 2, 4][chooser.choose(5)]]);
        stream.extend(body);
    }
    stream
}

#[test]
fn a_connection_takes_what_comes() {
    let mut calls = 0;
    for seed in 0..STREAMS {
        let stream = stream(&mut Random::new(seed));
        assert_eq!(fuzz::ttrpc(&stream), Ok(()), "seed {seed}");
        calls += Connection::new().feed(&stream[1..]).len();
        let noise = bytes(&mut Random::new(seed), 4 * HEADER_LEN);
        assert_eq!(fuzz::ttrpc(&noise), Ok(()), "seed {seed}");
    }
    assert!(calls > 500, "only {calls} of the frames are calls");
}
