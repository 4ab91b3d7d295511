//! Calls about files, fifos, terminals and sockets, and one process that makes them.

use std::cell::RefCell;
use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use wavetank::host::{
    Fd, FileKind, Host, LinuxHost, OpenFlags, PollFd, Ready, Result, Signal, Termios, User,
    WindowSize, close_all,
};
use wavetank_sim::{Config, Outcome, Random, World};

use super::compare::{Answer, Pairs, Topic, count};
use super::draw::sequence;
use super::odd::odd;

pub(crate) const SLOTS: usize = 8;

/// A call, with slots for descriptors and names for paths.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Open(&'static str, OpenFlags, usize),
    Close(usize),
    Read(usize, usize),
    ReadAt(usize, u64, usize),
    Write(usize, usize, usize),
    Splice(usize, usize, usize),
    Pipe(usize, usize),
    Unread(usize),
    Kind(usize),
    Mode(usize, u32),
    Owner(usize, bool),
    Nonblocking(usize, bool),
    Stat(&'static str),
    Rename(&'static str, &'static str),
    Unlink(&'static str),
    Mkdir(&'static str),
    Rmdir(&'static str),
    Mkfifo(&'static str),
    Symlink(&'static str, &'static str),
    Readlink(&'static str),
    List(&'static str),
    ChangeDir(&'static str),
    Memory(usize),
    Counter(usize),
    Count(usize, u64),
    Poll(Ready),
    PollOne(usize, Ready, u64),
    Odd(usize, usize),
    Master(usize),
    Unlock(usize),
    Peer(usize, usize),
    Raw(usize),
    Cooked(usize),
    Size(usize),
    SetSize(usize, u16),
    Socket(usize),
    Bind(usize, &'static str),
    Listen(usize),
    Connect(usize, &'static str),
    Accept(usize, usize),
    Send(usize, usize, usize, usize),
    Receive(usize, usize),
    Credentials(usize),
    SocketPath(usize),
}

/// What a sequence is about; each has its own mixture of calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Calls {
    Files,
    Fifos,
    Terminals,
    Sockets,
}

/// What is typed and printed at terminals: letters, and what is more than that to a terminal (end
/// of line, end of file, erase, interrupt, bell).
const TYPED: &[u8] = b"abc\ndef\x04ghijk\x7f\x7fl\rmno\x07\x7fp\x03qrs\n\x04tuvwx\n\nyz";
/// How long Linux usually takes for what must come.
const MOMENT: Duration = Duration::from_micros(100);
/// How long it may take.
const PATIENCE: Duration = Duration::from_secs(1);

struct Machine<'a, H> {
    host: &'a mut H,
    /// Where the names are.
    base: PathBuf,
    calls: Calls,
    slots: [Option<Fd>; SLOTS],
    /// Which slots have a counter.
    counters: [bool; SLOTS],
}

impl<H: Host> Machine<'_, H> {
    /// A number that is no descriptor, where a slot is empty.
    fn fd(&self, slot: usize) -> Fd {
        self.slots[slot].unwrap_or(Fd(999))
    }

    fn at(&self, name: &str) -> PathBuf {
        self.base.join(name)
    }

    /// A path as it is seen from the base, if it leads below that.
    fn below_base(&self, path: &Path) -> PathBuf {
        path.strip_prefix(&self.base).unwrap_or(path).to_owned()
    }

    fn put(&mut self, slot: usize, fd: Fd) {
        self.counters[slot] = false;
        close_all(self.host, self.slots[slot].replace(fd));
    }

    fn opened(&mut self, slot: usize, result: Result<Fd>) -> String {
        let text = format!("{:?}", result.map(drop));
        if let Ok(fd) = result {
            self.put(slot, fd);
        }
        text
    }

    fn bytes(&self, first: usize, count: usize) -> Vec<u8> {
        let letter = |at: usize| match self.calls {
            Calls::Terminals => TYPED[at % TYPED.len()],
            _ => b'a' + u8::try_from(at % 23).unwrap(),
        };
        (first..first + count).map(letter).collect()
    }

    /// What all terminals say of themselves after a call.
    ///
    /// What is written to one side of a terminal comes to the other in Linux by way of a work
    /// queue, so a moment later. So Linux is given that moment, and then time until it says what
    /// is expected; if it never does, that is a difference. (A poll of a terminal with nothing to
    /// read waits for the work queue; after an echo, which passes two of them, the second does.)
    fn settled(&mut self, step: &Step, expected: Option<&str>) -> String {
        if self.calls != Calls::Terminals {
            return String::new();
        }
        let Some(expected) = expected else { return self.state() };
        if matches!(step, Step::Write(..)) {
            self.host.poll(&mut [], Some(MOMENT)).unwrap();
        }
        let start = Instant::now();
        loop {
            self.state();
            let state = self.state();
            if state == expected || start.elapsed() > PATIENCE {
                return state;
            }
            self.host.poll(&mut [], Some(MOMENT)).unwrap();
        }
    }

    fn state(&mut self) -> String {
        let ready = self.step(&Step::Poll(Ready::READ | Ready::WRITE));
        let unread: Vec<_> =
            self.slots.into_iter().flatten().map(|fd| self.host.unread(fd)).collect();
        format!("{ready} {unread:?}")
    }

    fn step(&mut self, step: &Step) -> String {
        match *step {
            Step::Open(path, flags, slot) => {
                let path = self.at(path);
                let result = self.host.open(&path, flags | OpenFlags::NOCTTY, 0o644);
                self.opened(slot, result)
            }
            Step::Close(slot) => {
                let result = self.host.close(self.fd(slot));
                self.slots[slot] = None;
                text(result)
            }
            Step::Read(slot, size) => {
                let mut buffer = vec![0; size];
                let result = self.host.read(self.fd(slot), &mut buffer);
                text(result.map(|count| digest(&buffer[..count])))
            }
            Step::ReadAt(slot, offset, size) => {
                let mut buffer = vec![0; size];
                let result = self.host.read_at(self.fd(slot), offset, &mut buffer);
                text(result.map(|count| digest(&buffer[..count])))
            }
            Step::Write(slot, size, first) => {
                let size = if self.counters[slot] { size.min(size_of::<u64>()) } else { size };
                let bytes = self.bytes(first, size);
                text(self.host.write(self.fd(slot), &bytes))
            }
            Step::Splice(from, to, size) => {
                text(self.host.splice(self.fd(from), self.fd(to), size))
            }
            Step::Pipe(reader, writer) if reader != writer => {
                match self.host.pipe(OpenFlags::NONBLOCK) {
                    Ok(pipe) => {
                        self.put(reader, pipe.read);
                        self.put(writer, pipe.write);
                        "a pipe".to_owned()
                    }
                    Err(errno) => format!("{errno:?}"),
                }
            }
            Step::Pipe(..) => String::new(),
            Step::Unread(slot) => text(self.host.unread(self.fd(slot))),
            Step::Kind(slot) => text(self.host.fstat(self.fd(slot)).map(|stat| {
                (stat.kind, if stat.kind == FileKind::Regular { stat.size } else { 0 })
            })),
            Step::Stat(path) => {
                let me = self.host.user();
                text(self.host.stat(&self.base.join(path)).map(|stat| {
                    let size = if stat.kind == FileKind::Regular { stat.size } else { 0 };
                    (stat.kind, size, (stat.uid, stat.gid) == (me.uid, me.gid))
                }))
            }
            Step::Mode(slot, mode) => {
                let result = self.host.fchmod(self.fd(slot), mode);
                let now = self.host.fstat(self.fd(slot)).map(|stat| stat.mode);
                text(result.and(now))
            }
            Step::Owner(slot, mine) => {
                let me = self.host.user();
                let wanted = if mine { (me.uid, me.gid) } else { (1234, 4321) };
                let result = self.host.fchown(self.fd(slot), wanted.0, wanted.1);
                let now = self.host.fstat(self.fd(slot)).map(|stat| (stat.uid, stat.gid) == wanted);
                text(result.and(now))
            }
            Step::Nonblocking(slot, on) => text(self.host.set_nonblocking(self.fd(slot), on)),
            Step::Rename(from, to) => {
                text(self.host.rename(&self.base.join(from), &self.base.join(to)))
            }
            Step::Unlink(path) => text(self.host.unlink(&self.base.join(path))),
            Step::Mkdir(path) => text(self.host.mkdir(&self.base.join(path), 0o755)),
            Step::Rmdir(path) => text(self.host.rmdir(&self.base.join(path))),
            Step::Mkfifo(path) => text(self.host.mkfifo(&self.base.join(path), 0o644)),
            Step::Symlink(target, path) => {
                text(self.host.symlink(Path::new(target), &self.base.join(path)))
            }
            Step::Readlink(path) => text(self.host.readlink(&self.base.join(path))),
            Step::List(path) => text(self.host.list(&self.base.join(path))),
            Step::ChangeDir(path) => {
                let result = self.host.change_dir(&self.base.join(path));
                let now = result.and_then(|()| self.host.current_dir());
                self.host.change_dir(Path::new("/")).unwrap();
                text(now.map(|now| self.below_base(&now)))
            }
            Step::Memory(slot) => {
                let result = self.host.memory_file();
                let me = self.host.user();
                let stat = result.and_then(|fd| self.host.fstat(fd));
                let of_me = stat
                    .map(|it| (it.kind, it.size, it.mode, (it.uid, it.gid) == (me.uid, me.gid)));
                self.opened(slot, result) + &text(of_me)
            }
            Step::Counter(slot) => {
                let result = self.host.event_counter();
                let opened = self.opened(slot, result);
                self.counters[slot] |= result.is_ok();
                opened
            }
            Step::Count(slot, number) => {
                text(self.host.write(self.fd(slot), &number.to_ne_bytes()))
            }
            Step::Poll(interest) => {
                let open: Vec<Fd> = self.slots.iter().flatten().copied().collect();
                let mut questions: Vec<PollFd> =
                    open.iter().map(|fd| PollFd::new(*fd, interest)).collect();
                let count = self.host.poll(&mut questions, Some(Duration::ZERO));
                let ready: Vec<Ready> = questions.iter().map(|answer| answer.ready).collect();
                format!("{count:?} {ready:?}")
            }
            Step::Odd(slot, which) => odd(self.host, &self.base, self.fd(slot), which),
            Step::PollOne(slot, interest, milliseconds) => {
                let mut question = [PollFd::new(self.fd(slot), interest)];
                let timeout = Some(Duration::from_millis(milliseconds));
                let count = self.host.poll(&mut question, timeout);
                format!("{count:?} {:?}", question[0].ready)
            }
            Step::Master(slot) => {
                let flags = OpenFlags::READ | OpenFlags::WRITE | OpenFlags::NONBLOCK;
                let result = self.host.open(Path::new("/dev/ptmx"), flags | OpenFlags::NOCTTY, 0);
                self.opened(slot, result)
            }
            Step::Unlock(slot) => text(self.host.unlock_pty(self.fd(slot))),
            Step::Peer(slot, other) => {
                let result = self.host.open_pty_peer(self.fd(slot));
                if let Ok(fd) = result {
                    self.host.set_nonblocking(fd, true).unwrap();
                }
                self.opened(other, result)
            }
            Step::Raw(slot) => {
                let fd = self.fd(slot);
                let raw = self.host.terminal_attributes(fd).map(Termios::raw);
                text(raw.and_then(|raw| self.host.set_terminal_attributes(fd, &raw)))
            }
            Step::Cooked(slot) => {
                let fd = self.fd(slot);
                let cooked = self.host.terminal_attributes(fd).map(|now| Termios {
                    input: now.input | Termios::ICRNL,
                    output: now.output | Termios::OPOST | Termios::ONLCR,
                    local: now.local | Termios::ISIG | Termios::ICANON | Termios::ECHO,
                    ..now
                });
                text(cooked.and_then(|it| self.host.set_terminal_attributes(fd, &it)))
            }
            Step::Size(slot) => text(self.host.window_size(self.fd(slot))),
            Step::SetSize(slot, columns) => {
                let size = WindowSize { columns, rows: 24 };
                text(self.host.set_window_size(self.fd(slot), size))
            }
            Step::Socket(slot) => {
                let result = self.host.socket();
                if let Ok(fd) = result {
                    self.host.set_nonblocking(fd, true).unwrap();
                }
                self.opened(slot, result)
            }
            Step::Bind(slot, path) => text(self.host.bind(self.fd(slot), &self.base.join(path))),
            Step::Listen(slot) => text(self.host.listen(self.fd(slot), 1)),
            Step::Connect(slot, path) => {
                text(self.host.connect(self.fd(slot), &self.base.join(path)))
            }
            Step::Accept(slot, other) => {
                let result = self.host.accept(self.fd(slot));
                if let Ok(fd) = result {
                    self.host.set_nonblocking(fd, true).unwrap();
                }
                self.opened(other, result)
            }
            Step::Send(slot, size, first, other) => {
                let bytes = self.bytes(first, size);
                let fds: Vec<Fd> = self.slots[other].into_iter().collect();
                let kinds = fds.iter().map(|fd| self.host.fstat(*fd).map(|stat| stat.kind));
                // A socket on its way to itself is collected in Linux, sooner or later.
                if kinds.into_iter().any(|kind| kind == Ok(FileKind::Socket)) {
                    return text(self.host.send(self.fd(slot), &bytes, &[]));
                }
                text(self.host.send(self.fd(slot), &bytes, &fds))
            }
            Step::Receive(slot, size) => {
                let mut buffer = vec![0; size];
                let result = self.host.receive(self.fd(slot), &mut buffer);
                text(result.map(|received| {
                    let count = received.fds.len();
                    close_all(self.host, received.fds);
                    (digest(&buffer[..received.len]), count)
                }))
            }
            Step::Credentials(slot) => {
                let (pid, user) = (self.host.pid(), self.host.user());
                let who = self.host.peer(self.fd(slot));
                let nobody = |user: User| user.uid == u32::MAX && user.gid == u32::MAX;
                text(who.map(|it| (it.pid == pid, it.user == user, it.pid.0 == 0, nobody(it.user))))
            }
            Step::SocketPath(slot) => {
                let path = self.host.socket_path(self.fd(slot));
                text(path.map(|path| self.below_base(&path)))
            }
        }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "every caller has it to give away")]
fn text(result: Result<impl Debug>) -> String {
    format!("{result:?}")
}

/// Enough of some bytes to tell them from others.
fn digest(bytes: &[u8]) -> (usize, String, u64) {
    let start = String::from_utf8_lossy(&bytes[..bytes.len().min(8)]).into_owned();
    let sum = bytes.iter().fold(7, |sum: u64, byte| sum.wrapping_mul(31) + u64::from(*byte));
    (bytes.len(), start, sum)
}

/// Makes the calls of a sequence. With `expected`, which is for Linux, it waits for what must come
/// and goes no further than to the first difference.
fn play<H: Host>(
    host: &mut H,
    base: &Path,
    calls: Calls,
    steps: &[Step],
    expected: Option<&[Answer]>,
) -> Vec<Answer> {
    let signals = host.signals(&[Signal::PIPE]).unwrap();
    let (slots, counters) = ([None; SLOTS], [false; SLOTS]);
    let mut machine = Machine { host, base: base.to_owned(), calls, slots, counters };
    let mut answers = Vec::new();
    for (place, step) in steps.iter().enumerate() {
        let expected = expected.map(|answers| &answers[place]);
        let said = machine.step(step);
        let after = machine.settled(step, expected.map(|answer| answer.after.as_str()));
        answers.push(Answer { said, after });
        if expected.is_some_and(|expected| *expected != answers[place]) {
            break;
        }
    }
    close_all(machine.host, machine.slots.into_iter().flatten().chain([signals]));
    answers
}

impl Topic for Calls {
    type Step = Step;

    fn name(&self) -> &'static str {
        match self {
            Calls::Files => "files",
            Calls::Fifos => "fifos",
            Calls::Terminals => "terminals",
            Calls::Sockets => "sockets",
        }
    }

    fn draw(&self, seed: u64) -> Vec<Step> {
        sequence(*self, seed)
    }

    fn on_linux(&self, _: u64, _: &[usize], steps: &[Step], expected: &[Answer]) -> Vec<Answer> {
        let directory = tempfile::tempdir().unwrap();
        play(&mut LinuxHost::new(), directory.path(), *self, steps, Some(expected))
    }

    fn may_be_late(&self) -> bool {
        *self == Calls::Terminals
    }

    fn simulated(&self, seed: u64, steps: &[Step], pairs: &mut Pairs) -> Vec<Answer> {
        let mut world = World::new(Config { trace: true, ..Config::default() });
        let answers = Rc::new(RefCell::new(Vec::new()));
        let (calls, steps, told) = (*self, steps.to_vec(), Rc::clone(&answers));
        world.add_program("/bin/play", move |host, _| {
            *told.borrow_mut() = play(host, Path::new("/work"), calls, &steps, None);
            0
        });
        world.add_dir("/work");
        let pid = world.start("/bin/play", &["play"]).unwrap();
        let User { uid, gid } = LinuxHost::new().user();
        world.set_user(pid, uid, gid).set_mode("/work", 0o700, uid, gid);
        assert_eq!(world.run(&mut Random::new(0)), Outcome::Done, "{}, seed {seed}", self.name());
        count(pairs, &world.events(), "play");
        answers.take()
    }
}
