use containerd_shim_protos::ttrpc::proto::KeyValue;
use proptest::collection::vec;
use proptest::prelude::*;
use rstest::rstest;

use super::super::frame::{BODY_MAX, encode};
use super::*;

fn frame(kind: Kind, stream: u32, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    assert!(encode(kind, stream, body, &mut bytes));
    bytes
}

fn body(timeout_nano: i64) -> Vec<u8> {
    let pair = KeyValue { key: "k".to_owned(), value: "v".to_owned(), ..KeyValue::default() };
    let request = wire::Request {
        service: "containerd.task.v2.Task".to_owned(),
        method: "Wait".to_owned(),
        payload: b"payload".to_vec(),
        timeout_nano,
        metadata: vec![pair],
        ..wire::Request::default()
    };
    request.write_to_bytes().unwrap()
}

fn request(stream: u32) -> Vec<u8> {
    frame(Kind::REQUEST, stream, &body(0))
}

/// All answers that wait to be sent, which are sent with that.
fn answers(connection: &mut Connection) -> Vec<(u32, wire::Response)> {
    let bytes = connection.outgoing().to_vec();
    connection.sent(bytes.len());
    let (mut decoder, mut rest) = (Decoder::default(), &bytes[..]);
    let decoded = std::iter::from_fn(|| decoder.take(&mut rest));
    let answer = |decoded| match decoded {
        Decoded::Frame(Frame { kind: Kind::RESPONSE, stream, body }) => {
            (stream, wire::Response::parse_from_bytes(&body).unwrap())
        }
        other => panic!("{other:?}"),
    };
    decoded.map(answer).collect()
}

fn failures(connection: &mut Connection) -> Vec<(u32, Status)> {
    let status = |response: wire::Response| Status::from_wire(response.status.unwrap()).unwrap();
    answers(connection).into_iter().map(|(stream, answer)| (stream, status(answer))).collect()
}

#[test]
fn a_call_is_told_and_answered() {
    let mut connection = Connection::new();
    let call = Incoming {
        stream: 7,
        service: "containerd.task.v2.Task".to_owned(),
        method: "Wait".to_owned(),
        payload: b"payload".to_vec(),
        timeout: None,
        metadata: vec![("k".to_owned(), "v".to_owned())],
    };
    assert_eq!(connection.feed(&request(7)), [call]);
    assert!(connection.is_open(7) && !connection.wants_to_send());
    connection.reply(7, Ok(b"done".to_vec()));
    connection.reply(7, Ok(b"again".to_vec()));
    connection.reply(9, Ok(b"never asked".to_vec()));
    let sent = answers(&mut connection);
    assert_eq!(sent.len(), 1);
    assert_eq!((sent[0].0, &sent[0].1.payload[..]), (7, &b"done"[..]));
    assert!(sent[0].1.status.is_none());
    assert!(!connection.wants_to_send() && !connection.is_open(7));
}

#[rstest]
#[case(0, None)]
#[case(-5, None)]
#[case(2_000_000_000, Some(Duration::from_secs(2)))]
fn a_timeout_counts_only_above_zero(#[case] nanos: i64, #[case] timeout: Option<Duration>) {
    let calls = Connection::new().feed(&frame(Kind::REQUEST, 1, &body(nanos)));
    assert_eq!(calls.iter().map(|call| call.timeout).collect::<Vec<_>>(), [timeout]);
}

#[rstest]
#[case::even(request(8), 8, "StreamID must be odd for client initiated streams")]
#[case::zero(request(0), 0, "StreamID must be odd for client initiated streams")]
#[case::the_same(request(5), 5, "StreamID cannot be re-used and must increment")]
#[case::lower(request(3), 3, "StreamID cannot be re-used and must increment")]
#[case::data(frame(Kind::DATA, 5, b"x"), 5, "StreamID is no longer active")]
#[case::even_data(
    frame(Kind::DATA, 4, b"x"),
    4,
    "StreamID must be odd for client initiated streams"
)]
#[case::no_request(
    frame(Kind::REQUEST, 7, b"\x0a\xff"),
    7,
    "unmarshal request error: Unexpected EOF"
)]
#[case::not_utf8(
    frame(Kind::REQUEST, 7, b"\x0a\x01\xff"),
    7,
    "unmarshal request error: Invalid UTF-8 sequence"
)]
fn what_breaks_the_rules_is_answered_and_the_next_call_served(
    #[case] bytes: Vec<u8>,
    #[case] stream: u32,
    #[case] message: &str,
) {
    let mut connection = Connection::new();
    assert_eq!(connection.feed(&request(5)).len(), 1);
    assert_eq!(connection.feed(&bytes), []);
    let expected = Status::new(Code::InvalidArgument, message);
    assert_eq!(failures(&mut connection), [(stream, expected)]);
    assert_eq!(connection.feed(&request(9)).len(), 1);
    assert!(connection.is_open(5) && connection.is_open(9) && !connection.is_broken());
}

#[test]
fn a_request_that_is_too_long_costs_only_itself() {
    let len = u32::try_from(BODY_MAX).unwrap() + 1;
    let mut connection = Connection::new();
    let header = [&len.to_be_bytes()[..], &[0, 0, 0, 3, 1, 0]].concat();
    assert_eq!(connection.feed(&header), []);
    assert_eq!(connection.feed(&vec![0; BODY_MAX]), []);
    let calls = connection.feed(&[&[0][..], &request(3)].concat());
    let message = "message length 4194305 exceed maximum message size of 4194304";
    let expected = Status::new(Code::ResourceExhausted, message);
    assert_eq!(failures(&mut connection), [(3, expected)]);
    assert_eq!(calls.len(), 1, "the number was not used up");
}

#[test]
fn a_response_that_is_too_long_is_an_error_of_that_call() {
    let mut connection = Connection::new();
    connection.feed(&[request(1), request(3), request(5)].concat());
    connection.reply(1, Ok(vec![0; BODY_MAX]));
    connection.reply(3, Err(Status::unknown("x".repeat(BODY_MAX))));
    let told: Vec<_> = failures(&mut connection);
    let message = "message length 4194309 exceed maximum message size of 4194304";
    assert_eq!(told[0], (1, Status::new(Code::ResourceExhausted, message)));
    assert_eq!((told[1].0, told[1].1.code), (3, Code::ResourceExhausted));
    connection.reply(5, Ok(Vec::new()));
    assert_eq!(answers(&mut connection).len(), 1);
}

#[test]
fn a_kind_of_a_later_ttrpc_is_passed_over() {
    let mut connection = Connection::new();
    assert_eq!(connection.feed(&frame(Kind(4), 1, b"news")), []);
    assert!(!connection.wants_to_send());
    assert_eq!(connection.feed(&request(1)).len(), 1);
}

#[test]
fn a_peer_that_takes_no_answers_is_held_off_and_then_given_up() {
    let mut connection = Connection::new();
    let streams = (0..).map(|number| 2 * number + 1).take(20);
    let requests: Vec<u8> = streams.clone().flat_map(request).collect();
    assert_eq!(connection.feed(&requests).len(), 20);
    let mut most = 0;
    for stream in streams {
        connection.reply(stream, Ok(vec![0; 1024 * 1024]));
        assert!(!connection.wants_to_receive());
        most = most.max(connection.outgoing().len());
    }
    assert!(connection.is_broken() && !connection.wants_to_send());
    assert!(most <= BREAK_AT, "{most}");
    assert_eq!(connection.feed(&request(99)), []);
}

#[test]
fn an_end_to_the_calls_that_may_be_open() {
    let mut connection = Connection::new();
    let mut stream = 1;
    for _ in 0..OPEN_MAX {
        assert_eq!(connection.feed(&frame(Kind::REQUEST, stream, b"")).len(), 1);
        stream += 2;
    }
    assert_eq!(connection.feed(&frame(Kind::REQUEST, stream, b"")), []);
    let message = "16384 calls are open on this connection";
    let expected = Status::new(Code::ResourceExhausted, message);
    assert_eq!(failures(&mut connection), [(stream, expected)]);
    connection.reply(1, Ok(Vec::new()));
    assert_eq!(connection.feed(&frame(Kind::REQUEST, stream + 2, b"")).len(), 1);
}

#[test]
fn a_connection_survives_being_written_down_in_the_middle_of_a_frame() {
    let bytes = [request(1), request(3)].concat();
    let (before, after) = bytes.split_at(bytes.len() - 5);
    let mut connection = Connection::new();
    assert_eq!(connection.feed(before).len(), 1);
    connection.reply(1, Ok(b"x".to_vec()));
    connection.sent(3);
    let text = serde_json::to_string(&connection).unwrap();
    let mut again: Connection = serde_json::from_str(&text).unwrap();
    assert_eq!(again, connection);
    assert_eq!(again.feed(after).len(), 1);
    assert_eq!(again.outgoing(), connection.outgoing());
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic_or_hold_more_than_they_are_worth(
        pieces in vec(
            prop_oneof![
                vec(any::<u8>(), 0..60),
                (any::<u8>(), any::<u32>(), vec(any::<u8>(), 0..60))
                    .prop_map(|(kind, stream, body)| frame(Kind(kind % 5), stream, &body)),
            ],
            0..30,
        ),
    ) {
        let mut connection = Connection::new();
        let mut fed = 0;
        for piece in pieces {
            for call in connection.feed(&piece) {
                connection.reply(call.stream, Err(Status::no_service(&call.service)));
            }
            fed += piece.len();
            // The longest text for the shortest frame.
            prop_assert!(connection.outgoing().len() <= 20 * fed);
            prop_assert!(connection.open.is_empty());
        }
    }
}
