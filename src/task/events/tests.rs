use rstest::rstest;
use tempfile::TempDir;

use super::*;
use crate::host::{LinuxHost, MockHost, close_all};
use crate::manager::events::{EventReceiver, ReceivedEvent};
use crate::ttrpc::{Connection, Incoming};

/// A publisher, and the place of a daemon, on a clock that moves when it is told to.
struct Rig {
    host: LinuxHost,
    directory: TempDir,
    publisher: Publisher,
    now: Duration,
    told: Vec<String>,
}

impl Rig {
    fn new() -> Rig {
        let directory = tempfile::tempdir().unwrap();
        let address = format!("unix://{}", directory.path().join("s").display());
        Rig {
            host: LinuxHost::new(),
            directory,
            publisher: Publisher::new(Some(address.into()), "k8s.io".to_owned()),
            now: Duration::from_secs(1000),
            told: Vec::new(),
        }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("s")
    }

    fn daemon(&mut self) -> EventReceiver {
        let path = self.path();
        EventReceiver::listen(&mut self.host, &path).unwrap()
    }

    fn publish(&mut self, topic: &str) {
        let message = topic.as_bytes().to_vec();
        self.publisher.publish(&mut self.host, topic, "containerd.events.TaskExit", message);
    }

    /// One turn of the publisher with what is ready now.
    fn turn(&mut self) {
        let mut questions = Vec::new();
        self.publisher.ask(&mut questions, false);
        self.host.poll(&mut questions, Some(Duration::ZERO)).unwrap();
        let errors = self.publisher.turn(&mut self.host, &questions, self.now);
        self.told.extend(errors.iter().map(ToString::to_string));
    }

    /// Turns of both sides, as many as a few events need.
    fn turns(&mut self, daemon: &mut EventReceiver) -> Vec<ReceivedEvent> {
        let mut events = Vec::new();
        for _ in 0..8 {
            self.turn();
            let mut questions = Vec::new();
            daemon.ask(&mut questions);
            self.host.poll(&mut questions, Some(Duration::ZERO)).unwrap();
            events.extend(daemon.turn(&mut self.host, &questions));
        }
        self.turn();
        events
    }

    /// Lets the time pass until the publisher has something to do, and gives how long that was.
    fn pass(&mut self) -> Duration {
        let due = self.publisher.due().unwrap();
        let pause = due.saturating_sub(self.now);
        self.now = self.now.max(due);
        pause
    }
}

fn topics(events: &[ReceivedEvent]) -> Vec<&str> {
    events.iter().map(|event| event.topic.as_str()).collect()
}

#[test]
fn events_arrive_whole_and_in_order_over_one_connection() {
    let mut rig = Rig::new();
    let mut daemon = rig.daemon();
    let before = rig.host.wall_clock();
    assert_eq!(rig.publisher.due(), None);
    for topic in ["/tasks/create", "/tasks/start", "/tasks/exit"] {
        rig.publish(topic);
    }
    let after = rig.host.wall_clock();
    assert_eq!(rig.publisher.due(), Some(Duration::ZERO));
    let events = rig.turns(&mut daemon);
    assert_eq!(topics(&events), ["/tasks/create", "/tasks/start", "/tasks/exit"]);
    for event in &events {
        assert!((before..=after).contains(&event.time));
        assert_eq!(event.namespace, "k8s.io");
        assert_eq!(event.type_url, "containerd.events.TaskExit");
        assert_eq!(event.message, event.topic.as_bytes());
    }
    assert!(rig.publisher.is_empty() && rig.publisher.due().is_none());
    assert_eq!((daemon.connections(), rig.told.len()), (1, 0));
    rig.publish("/tasks/delete");
    assert_eq!(topics(&rig.turns(&mut daemon)), ["/tasks/delete"]);
    assert_eq!(daemon.connections(), 1);
    rig.publisher.close(&mut rig.host);
    daemon.close(&mut rig.host);
}

#[test]
fn an_answer_that_nobody_needs_yet_wakes_nobody() {
    let mut rig = Rig::new();
    let mut daemon = rig.daemon();
    rig.publish("/tasks/start");
    let wakes = |rig: &mut Rig, leaving| {
        let mut questions = Vec::new();
        rig.publisher.ask(&mut questions, leaving);
        rig.host.poll(&mut questions, Some(Duration::ZERO)).unwrap() > 0
    };
    rig.turn();
    for _ in 0..3 {
        let mut questions = Vec::new();
        daemon.ask(&mut questions);
        rig.host.poll(&mut questions, Some(Duration::ZERO)).unwrap();
        daemon.turn(&mut rig.host, &questions);
    }
    assert!(!wakes(&mut rig, false));
    assert!(wakes(&mut rig, true), "who leaves waits for it");
    rig.publish("/tasks/exit");
    assert!(wakes(&mut rig, false), "the next event waits for it");
    rig.turn();
    assert_eq!(rig.publisher.queue.len(), 1, "the first has arrived, and the second is under way");
    daemon.close(&mut rig.host);
    assert!(wakes(&mut rig, false), "a daemon that dies is noticed");
    rig.publisher.close(&mut rig.host);
}

#[test]
fn a_daemon_that_is_down_is_told_of_once_and_tried_ever_less_often() {
    let mut rig = Rig::new();
    rig.publish("/tasks/exit");
    let mut pauses = Vec::new();
    for _ in 0..8 {
        rig.turn();
        pauses.push(rig.pass().as_millis());
    }
    assert_eq!(pauses, [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
    let path = rig.path();
    let told = format!("connect {}: no such file or directory (ENOENT)", path.display());
    assert_eq!(rig.told, std::slice::from_ref(&told));

    let mut daemon = rig.daemon();
    rig.publish("/tasks/delete");
    assert_eq!(topics(&rig.turns(&mut daemon)), ["/tasks/exit", "/tasks/delete"]);
    daemon.close(&mut rig.host);
    rig.turn();
    rig.publish("/tasks/start");
    rig.turn();
    assert_eq!(rig.pass().as_millis(), 100, "what was delivered makes the pauses short again");
    assert_eq!(rig.told, [told.clone(), told]);
    assert!(!rig.publisher.is_empty());
}

#[test]
fn an_idle_connection_that_the_daemon_closes_is_closed_and_not_told_of() {
    let mut rig = Rig::new();
    let mut daemon = rig.daemon();
    rig.publish("/tasks/create");
    rig.turns(&mut daemon);
    daemon.hang_up(&mut rig.host);
    rig.turn();
    let mut questions = Vec::new();
    rig.publisher.ask(&mut questions, false);
    assert_eq!((questions, rig.publisher.due()), (Vec::new(), None));
    rig.publish("/tasks/start");
    assert_eq!(topics(&rig.turns(&mut daemon)), ["/tasks/start"]);
    assert_eq!(rig.told, Vec::<String>::new());
    rig.publisher.close(&mut rig.host);
    daemon.close(&mut rig.host);
}

#[test]
fn an_event_that_the_daemon_refuses_is_given_up_and_the_next_one_sent() {
    let mut rig = Rig::new();
    let mut daemon = rig.daemon();
    rig.publish("/tasks/oom");
    rig.publish("/tasks/exit");
    daemon.refuse(Some(Status::unavailable("no room")));
    let mut pauses = Vec::new();
    for _ in 0..5 {
        assert_eq!(rig.turns(&mut daemon), []);
        assert_eq!(rig.told, Vec::<String>::new());
        pauses.push(rig.pass().as_secs());
    }
    assert_eq!(pauses, [1, 2, 3, 4, 5]);
    rig.turn();
    let mut questions = Vec::new();
    daemon.ask(&mut questions);
    rig.host.poll(&mut questions, Some(Duration::ZERO)).unwrap();
    assert_eq!(daemon.turn(&mut rig.host, &questions), []);
    daemon.refuse(None);
    assert_eq!(topics(&rig.turns(&mut daemon)), ["/tasks/exit"]);
    let told = "/tasks/oom: event lost, refused 6 times: no room: unavailable";
    assert_eq!(rig.told, [told]);
    rig.publisher.close(&mut rig.host);
    daemon.close(&mut rig.host);
}

/// A daemon's socket, bare.
fn listen(rig: &mut Rig) -> Fd {
    let (listener, path) = (rig.host.socket().unwrap(), rig.path());
    rig.host.bind(listener, &path).unwrap();
    rig.host.listen(listener, 8).unwrap();
    rig.host.set_nonblocking(listener, true).unwrap();
    listener
}

/// The one call that has come on a new connection.
fn accept_call(rig: &mut Rig, listener: Fd) -> (Fd, Incoming) {
    let fd = rig.host.accept(listener).unwrap();
    let mut buffer = [0; 4096];
    let count = rig.host.read(fd, &mut buffer).unwrap();
    let mut calls = Connection::new().feed(&buffer[..count]);
    assert_eq!(calls.len(), 1);
    (fd, calls.remove(0))
}

#[test]
fn an_event_without_an_answer_is_sent_again_on_a_new_connection() {
    let mut rig = Rig::new();
    let listener = listen(&mut rig);
    rig.publish("/tasks/exit");
    rig.turn();
    let (silent, call) = accept_call(&mut rig, listener);
    assert_eq!((call.service.as_str(), call.method.as_str()), (SERVICE, "Forward"));
    assert_eq!(call.timeout, Some(Duration::from_secs(5)));
    let namespace = ("containerd-namespace-ttrpc".to_owned(), "k8s.io".to_owned());
    assert_eq!(call.metadata, [namespace]);

    assert_eq!(rig.pass(), Duration::from_secs(5));
    rig.turn();
    assert_eq!(rig.pass(), Duration::from_millis(100));
    rig.turn();
    assert_eq!(rig.host.read(silent, &mut [0]), Ok(0), "the first connection was closed");
    let (lost, again) = accept_call(&mut rig, listener);
    assert_eq!(again.payload, call.payload, "the time is that of the event, not of the sending");

    rig.host.close(lost).unwrap();
    rig.turn();
    assert_eq!(rig.pass(), Duration::from_millis(200));
    rig.turn();
    let (third, again) = accept_call(&mut rig, listener);
    assert_eq!(again.payload, call.payload);
    let path = rig.path();
    let told = format!("ttrpc call {}: connection timed out (ETIMEDOUT)", path.display());
    assert_eq!(rig.told, [told]);
    rig.publisher.close(&mut rig.host);
    close_all(&mut rig.host, [silent, third, listener]);
}

#[test]
fn a_publisher_survives_being_written_down_in_the_middle_of_a_call() {
    let mut rig = Rig::new();
    let mut daemon = rig.daemon();
    rig.publish("/tasks/start");
    rig.publish("/tasks/exit");
    rig.turn();
    let text = serde_json::to_string(&rig.publisher).unwrap();
    rig.publisher = serde_json::from_str(&text).unwrap();
    assert_eq!(topics(&rig.turns(&mut daemon)), ["/tasks/start", "/tasks/exit"]);
    rig.publisher.close(&mut rig.host);
    daemon.close(&mut rig.host);
}

#[test]
fn too_many_events_cost_the_oldest_that_is_not_under_way() {
    let mut rig = Rig::new();
    let listener = listen(&mut rig);
    rig.publish("/first");
    rig.turn();
    for number in 0..QUEUE_MAX + 1 {
        rig.publish(&format!("/{number}"));
    }
    let waiting: Vec<_> = rig.publisher.queue.iter().map(|event| event.topic.as_str()).collect();
    assert_eq!((waiting.len(), waiting[0], waiting[1]), (QUEUE_MAX, "/first", "/2"));
    rig.turn();
    rig.turn();
    assert_eq!(rig.told, ["events: 2 lost, since 2048 wait for the daemon"]);
    rig.publisher.close(&mut rig.host);
    close_all(&mut rig.host, [listener]);
}

#[rstest]
#[case::nobody_there("connect", Errno::ECONNREFUSED)]
#[case::no_socket("connect", Errno::ENOENT)]
#[case::backlog_full("connect", Errno::EAGAIN)]
#[case::interrupted("connect", Errno::EINTR)]
#[case::odd("fcntl", Errno::EBADF)]
#[case::no_descriptors("socket", Errno::EMFILE)]
fn a_connection_that_fails_is_closed_and_tried_later(#[case] call: &str, #[case] errno: Errno) {
    let mut host = MockHost::new();
    let fails = |here: &str| call == here;
    let (socket, fcntl) = (fails("socket"), fails("fcntl"));
    host.expect_wall_clock().return_const(Duration::from_secs(1));
    host.expect_socket().once().return_once(move || if socket { Err(errno) } else { Ok(Fd(5)) });
    host.expect_set_nonblocking().return_once(move |_, _| if fcntl { Err(errno) } else { Ok(()) });
    host.expect_connect().return_once(move |_, _| Err(errno));
    host.expect_close().times(usize::from(!socket)).return_const(Ok(()));
    let mut publisher = Publisher::new(Some("/run/c.ttrpc".into()), "default".to_owned());
    publisher.publish(&mut host, "/tasks/exit", "t", Vec::new());
    let now = Duration::from_secs(7);
    let errors = publisher.turn(&mut host, &[], now);
    assert_eq!(errors, [Error::system(call, "/run/c.ttrpc", errno)]);
    assert_eq!(publisher.due(), Some(now + PAUSE_FIRST));
    assert_eq!(publisher.turn(&mut host, &[], now), [], "not before the pause is over");
    assert!(!publisher.is_empty());
}

#[rstest]
#[case(None)]
#[case(Some(""))]
#[case(Some("unix://"))]
fn without_an_address_events_go_nowhere(#[case] address: Option<&str>) {
    let mut host = MockHost::new();
    let mut publisher = Publisher::new(address.map(PathBuf::from), "default".to_owned());
    publisher.publish(&mut host, "/tasks/exit", "t", Vec::new());
    assert!(publisher.is_empty() && publisher.due().is_none());
    assert_eq!(publisher.turn(&mut host, &[], Duration::ZERO), []);
}
