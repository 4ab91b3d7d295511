use std::path::Path;
use std::sync::{Arc, Mutex};

use containerd_shim_protos::api::{ConnectRequest, ConnectResponse, StateRequest};
use rstest::rstest;

use super::*;
use crate::host::{LinuxHost, MockHost};
use crate::ttrpc::{Code, Connection, Incoming};

/// What a shim answers to a call.
type Behaviour = fn(&Incoming) -> Option<Result<Vec<u8>, Status>>;

/// A host with a shim behind its one socket.
fn host_with(behaviour: Behaviour) -> MockHost {
    let server = Arc::new(Mutex::new(Connection::new()));
    let reads = Arc::clone(&server);
    let mut host = MockHost::new();
    host.expect_socket().once().return_const(Ok(Fd(5)));
    host.expect_connect().withf(|_, path| path == Path::new("/s")).once().return_const(Ok(()));
    host.expect_set_nonblocking().once().return_const(Ok(()));
    host.expect_send().returning(move |_, bytes, _| {
        let mut server = server.lock().unwrap();
        for call in server.feed(bytes) {
            if let Some(result) = behaviour(&call) {
                server.reply(call.stream, result);
            }
        }
        Ok(bytes.len())
    });
    host.expect_read().returning(move |_, buffer| {
        let mut server = reads.lock().unwrap();
        if !server.wants_to_send() {
            return Err(Errno::EAGAIN);
        }
        let count = server.outgoing().len().min(buffer.len()).min(7);
        buffer[..count].copy_from_slice(&server.outgoing()[..count]);
        server.sent(count);
        Ok(count)
    });
    host.expect_close().once().return_const(Ok(()));
    let mut time = Duration::ZERO;
    host.expect_now().returning(move || {
        time += Duration::from_millis(600);
        time
    });
    host.expect_poll().returning(|_, _| Ok(1));
    host
}

fn connected(call: &Incoming) -> Option<Result<Vec<u8>, Status>> {
    let request = ConnectRequest::parse_from_bytes(&call.payload).unwrap();
    let answer = ConnectResponse { shim_pid: 41, task_pid: 42, ..ConnectResponse::default() };
    Some(match (call.service.as_str(), request.id.as_str()) {
        (TASK_V3, "c") => Ok(answer.write_to_bytes().unwrap()),
        (TASK_V3, _) => Ok(b"\xff".to_vec()),
        (other, _) => Err(Status::no_service(other)),
    })
}

fn connect(host: &mut MockHost) -> TaskClient {
    TaskClient::connect(host, "unix:///s").unwrap()
}

fn request(id: &str) -> ConnectRequest {
    ConnectRequest { id: id.to_owned(), ..ConnectRequest::default() }
}

#[test]
fn a_call_gives_the_message_or_the_status() {
    let mut host = host_with(connected);
    let mut client = connect(&mut host);
    let error = client.call::<_, _, ConnectResponse>(&mut host, "Connect", &request("c"));
    assert_eq!(error.unwrap_err().status().map(|status| status.code), Some(Code::Unimplemented));
    let mut client = client.service(TASK_V3);
    let answer: ConnectResponse = client.call(&mut host, "Connect", &request("c")).unwrap();
    assert_eq!((answer.shim_pid, answer.task_pid), (41, 42));
    let error = client.call::<_, _, ConnectResponse>(&mut host, "Connect", &request("d"));
    assert!(matches!(error.unwrap_err(), CallError::Connection(Error::Invalid { .. })));
    client.close(&mut host);
}

fn all_but_wait(call: &Incoming) -> Option<Result<Vec<u8>, Status>> {
    (call.method != "Wait").then(|| Ok(call.method.clone().into_bytes()))
}

#[test]
fn a_call_waits_no_longer_than_its_timeout() {
    let mut host = host_with(all_but_wait);
    let mut client = connect(&mut host);
    client.set_timeout(Some(Duration::from_secs(2)));
    let error = client.call::<_, _, ConnectResponse>(&mut host, "Wait", &request("c"));
    assert_eq!(error.unwrap_err(), CallError::Status(Status::deadline_exceeded()));
    client.close(&mut host);
}

#[test]
fn an_answer_that_is_not_waited_for_is_kept() {
    let mut host = host_with(all_but_wait);
    let mut client = connect(&mut host);
    let wait = client.send(&mut host, "Wait", &request("c")).unwrap();
    let state = client.send(&mut host, "State", &StateRequest::new()).unwrap();
    let pids = client.send(&mut host, "Pids", &request("c")).unwrap();
    assert_eq!(client.receive(&mut host).unwrap(), (state, Ok(b"State".to_vec())));
    assert_eq!(client.receive(&mut host).unwrap(), (pids, Ok(b"Pids".to_vec())));
    assert_eq!((client.take(wait), client.has_answer(wait)), (None, false));
    client.close(&mut host);
}

#[rstest]
#[case("socket", Errno::EMFILE)]
#[case("connect", Errno::ECONNREFUSED)]
#[case("fcntl", Errno::EBADF)]
fn a_connection_that_fails_says_so_and_leaves_nothing(#[case] call: &str, #[case] errno: Errno) {
    let mut host = MockHost::new();
    let (socket, connect) = (call == "socket", call == "connect");
    host.expect_socket().once().return_once(move || if socket { Err(errno) } else { Ok(Fd(5)) });
    host.expect_connect().return_once(move |_, _| if connect { Err(errno) } else { Ok(()) });
    host.expect_set_nonblocking().return_once(move |_, _| Err(errno));
    host.expect_close().times(usize::from(!socket)).return_const(Ok(()));
    let error = TaskClient::connect(&mut host, "/s").unwrap_err();
    assert_eq!(error, Error::system(call, "/s", errno));
}

#[test]
fn the_last_answer_before_the_end_is_not_lost() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s");
    let mut host = LinuxHost::new();
    let listener = host.socket().unwrap();
    host.bind(listener, &path).unwrap();
    host.listen(listener, 1).unwrap();
    let mut client = TaskClient::connect(&mut host, path.to_str().unwrap()).unwrap();
    let shutdown = client.send(&mut host, "Shutdown", &request("c")).unwrap();
    let shim = host.accept(listener).unwrap();
    let mut buffer = [0; 4096];
    let count = host.read(shim, &mut buffer).unwrap();
    let mut server = Connection::new();
    let calls = server.feed(&buffer[..count]);
    server.reply(calls[0].stream, Ok(Vec::new()));
    assert_eq!(host.send(shim, server.outgoing(), &[]), Ok(server.outgoing().len()));
    host.close(shim).unwrap();
    assert_eq!(client.receive(&mut host).unwrap(), (shutdown, Ok(Vec::new())));
    let end = client.receive(&mut host).unwrap_err();
    assert_eq!(end, Error::system("read", path.display(), Errno::ECONNRESET));
    client.close(&mut host);
    host.close(listener).unwrap();
}
