//! The `control` fifo: what is understood, and what is passed over.

use rstest::rstest;
use serde_json::json;

use crate::support::{Input, Place, is_alive, signal, until};

#[rstest]
#[case::plain("0 0 0\n")]
#[case::sizes("0 80 24\n")]
#[case::garbage("abc def\n\n1 2\n7 1 1\n0 0 0\n")]
#[case::unknown("2 0 0\n3 1 1\n-1 0 0\n255 255 255\n0 0 0\n")]
#[case::spaces("  0\t0   0 \n")]
#[case::not_text("\0\0\0\n\u{fffd}\n0 0 0\n")]
#[case::too_many("0 0 0 0\n1 2 3 4\n0 0 0\n")]
#[case::too_large("99999999999999999999 0 0\n0 0 0\n")]
#[case::resize_without_a_terminal("1 80 24\n1 0 0\n1 99999 99999\n0 0 0\n")]
#[case::repeated("0 0 0\n0 0 0\n0 0 0\n")]
fn input_ends_after(#[case] message: &str) {
    let place = Place::new();
    let mut shim = place.init().start();
    shim.control(message);
    shim.finish_with("0");
}

#[rstest]
#[case("0 0 0")]
#[case("0 0\n")]
#[case("00 0\n")]
#[case("1 0 0\n")]
#[case("-0 0\n0\n0\n0\n")]
fn input_goes_on_after(#[case] message: &str) {
    let place = Place::new();
    let mut shim = place.init().start();
    shim.control(message);
    taken(&shim);
    shim.input().write(b"still");
    assert_eq!(shim.out().read_exact(5), b"still");
    assert!(is_alive(shim.process()));
    // Whatever has come before, the next line is understood.
    shim.control("\n0 0 0\n");
    shim.finish_with("0");
}

/// Waits until the shim has read all that was written.
fn taken(shim: &crate::support::Shim) {
    let looker = crate::support::Stream::open(&shim.dir.join("control"));
    until("the message is taken", || looker.unread() == 0);
}

#[test]
fn a_message_in_many_pieces() {
    let place = Place::new();
    let mut shim = place.init().start();
    for piece in ["", "0", " ", "0 0"] {
        shim.control(piece);
        taken(&shim);
    }
    assert!(is_alive(shim.process()));
    shim.control("\n");
    shim.finish_with("0");
}

#[rstest]
#[case::lines("7 7 7\n")]
#[case::resizes("1 80 24\n")]
#[case::no_line("0123456789")]
#[case::empty_lines("\n")]
fn a_flood(#[case] piece: &str) {
    let place = Place::new();
    let mut shim = place.init().start();
    let mut flood = Input::open(&shim.dir.join("control"));
    let mut input = shim.input();
    for round in 0..10_u8 {
        flood.write(piece.repeat(20_000).as_bytes());
        input.write(&[round]);
        assert_eq!(shim.out().read_exact(1), [round]);
    }
    drop((flood, input));
    shim.control("\n0 0 0\n");
    shim.finish_with("0");
}

/// The shim holds its own write end: without one, the fifo would end with the daemon.
#[test]
fn a_daemon_that_comes_back() {
    let place = Place::with(json!({"container": {"echo": true}}));
    let mut shim = place.init().start();
    shim.process();
    shim.lose_control();
    shim.input().write(b"alone");
    assert_eq!(shim.out().read_exact(5), b"alone");
    Input::open(&shim.dir.join("control")).write(b"0 0 0\n");
    shim.finish_with("0");
}

#[test]
fn nothing_is_read_before_it_is_told_what() {
    let place = Place::with(json!({"container": {"argv": ["sleep", "1000"]}}));
    let mut prepared = place.init().prepare();
    // As much as a fifo holds: whoever sent it is not kept waiting for the shim.
    prepared.control(&"7 7 7\n".repeat(10_000));
    let mut shim = prepared.start();
    taken(&shim);
    signal(shim.process(), 9);
    shim.finish_with("137");
}
