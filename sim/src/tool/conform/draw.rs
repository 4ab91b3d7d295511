//! Draws the calls of a sequence: for each topic a mixture of its own.

use wavetank::host::{OpenFlags, Ready};
use wavetank_sim::{Choose, Random};

use super::calls::{Calls, SLOTS, Step};
use super::odd::ODD;

/// How many calls a sequence has besides those that prepare it.
const CALLS: usize = 60;
/// So many of them are used for files and terminals.
const FEW: usize = 4;

const NAMES: [&str; 14] =
    ["a", "b", "f", "g", "d", "d", "d/x", "d/x", "a/x", "d/", "a/", "d/x/..", "no/such", LONG];
/// One letter more than a name may have.
pub(crate) const LONG: &str = concat!(
    "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn",
    "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn",
    "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn",
    "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn",
);
const FIFOS: [&str; 2] = ["f", "g"];
/// Where reads begin that do not go on where the last ended.
const OFFSETS: [u64; 5] = [0, 1, 99, 5000, u64::MAX];
/// What counters are counted up by.
const COUNTS: [u64; 5] = [0, 1, 5, u64::MAX - 1, u64::MAX];
const SIZES: [usize; 8] = [1, 2, 100, 4095, 4096, 4097, 20_000, 70_000];

fn draw(chooser: &mut Random, topic: Calls) -> Step {
    // Few enough that most calls find something.
    let slots = match topic {
        Calls::Files | Calls::Terminals => FEW,
        Calls::Fifos | Calls::Sockets => SLOTS,
    };
    let slot = chooser.choose(slots);
    let other = chooser.choose(slots);
    let name = NAMES[chooser.choose(NAMES.len())];
    let second = NAMES[chooser.choose(NAMES.len())];
    let fifo = FIFOS[chooser.choose(FIFOS.len())];
    let size = SIZES[chooser.choose(SIZES.len())];
    let first = chooser.choose(1000);
    let access = [OpenFlags::READ, OpenFlags::WRITE, OpenFlags::READ | OpenFlags::WRITE];
    let access = access[chooser.choose(3)] | OpenFlags::NONBLOCK;
    let extra = [
        OpenFlags::empty(),
        OpenFlags::CREATE,
        OpenFlags::CREATE | OpenFlags::EXCLUSIVE,
        OpenFlags::APPEND,
        OpenFlags::TRUNCATE,
        OpenFlags::NOFOLLOW,
        OpenFlags::DIRECTORY,
        OpenFlags::CREATE | OpenFlags::NOFOLLOW,
    ];
    let extra = extra[chooser.choose(extra.len())];
    let offset = OFFSETS[chooser.choose(OFFSETS.len())];
    let count = COUNTS[chooser.choose(COUNTS.len())];
    let both = Ready::READ | Ready::WRITE;
    let interest = [Ready::READ, Ready::WRITE, both, Ready::PRIORITY, Ready::empty()];
    let interest = interest[chooser.choose(interest.len())];
    let mode = [0o600, 0o644, 0o4755, 0][chooser.choose(4)];
    let odd = chooser.choose(ODD);
    let yes = chooser.choose(2) == 1;
    match topic {
        Calls::Files => match chooser.choose(22) {
            0..=3 => Step::Open(name, access | extra, slot),
            4 => Step::Close(slot),
            5 => Step::Read(slot, size),
            6 | 7 => Step::Write(slot, size, first),
            8 => Step::Rename(name, second),
            9 => Step::Unlink(name),
            10 => Step::Mkdir(name),
            11 => Step::Rmdir(name),
            12 => Step::Symlink(second, name),
            13 => [Step::Readlink(name), Step::Mkfifo(name)][chooser.choose(2)].clone(),
            14 => [Step::List("."), Step::List(name)][chooser.choose(2)].clone(),
            15 => Step::ReadAt(slot, offset, size),
            16 => Step::ChangeDir(name),
            20 => Step::Odd(slot, odd),
            18 => [Step::Mode(slot, mode), Step::Owner(slot, yes)][chooser.choose(2)].clone(),
            19 => Step::Unread(slot),
            17 => [Step::Memory(slot), Step::Poll(interest)][chooser.choose(2)].clone(),
            _ => [Step::Stat(name), Step::Kind(slot)][chooser.choose(2)].clone(),
        },
        Calls::Fifos => match chooser.choose(20) {
            0 => Step::Mkfifo(fifo),
            1..=3 => Step::Open(fifo, access, slot),
            4 => Step::Pipe(slot, other),
            5 | 6 => Step::Close(slot),
            7 | 8 => Step::Write(slot, size, first),
            9 | 10 => Step::Read(slot, size),
            11 => Step::Splice(slot, other, size),
            12 => Step::Unread(slot),
            13 => {
                [Step::Counter(slot), Step::ReadAt(slot, offset, size)][chooser.choose(2)].clone()
            }
            14 | 15 => Step::Count(slot, count),
            18 => Step::Odd(slot, odd),
            16 => Step::PollOne(slot, interest, u64::from(yes)),
            17 => [Step::Kind(slot), Step::Nonblocking(slot, true)][chooser.choose(2)].clone(),
            _ => Step::Poll(interest),
        },
        Calls::Terminals => match chooser.choose(25) {
            0 => Step::Master(slot),
            1 => Step::Unlock(slot),
            2 | 3 => Step::Peer(slot, other),
            4 => Step::Close(slot),
            5 | 6 => [Step::Raw(slot), Step::Cooked(slot)][chooser.choose(2)].clone(),
            7..=12 => Step::Write(slot, size.min(100), first),
            13..=18 => Step::Read(slot, size),
            19 => [Step::SetSize(slot, 80), Step::Odd(slot, 0)][chooser.choose(2)].clone(),
            22 => Step::ReadAt(slot, offset, size),
            20 | 21 => [Step::Size(slot), Step::Unread(slot)][chooser.choose(2)].clone(),
            _ => Step::Poll(interest),
        },
        Calls::Sockets => match chooser.choose(28) {
            0 => Step::Socket(slot),
            1 => Step::Bind(slot, fifo),
            2 => Step::Listen(slot),
            3 | 4 => Step::Connect(slot, fifo),
            5 | 6 => Step::Accept(slot, other),
            7..=9 => Step::Send(slot, size, first, other),
            10..=12 => Step::Receive(slot, size),
            13 => Step::Close(slot),
            14..=16 => Step::Write(slot, size, first),
            17..=19 => Step::Read(slot, size),
            20 => Step::Pipe(slot, other),
            21 => Step::Unread(slot),
            22 | 23 => Step::Credentials(slot),
            24 => [Step::SocketPath(slot), Step::Odd(slot, odd)][chooser.choose(2)].clone(),
            25 => Step::ReadAt(slot, offset, size),
            _ => Step::Poll(interest),
        },
    }
}

/// Calls with which a sequence begins, and begins again in its middle, so that most that follow
/// find something.
fn prepare(chooser: &mut Random, topic: Calls) -> Vec<Step> {
    let name = FIFOS[chooser.choose(FIFOS.len())];
    let shift = chooser.choose(SLOTS);
    let at = |place: usize| (place + shift) % SLOTS;
    match topic {
        Calls::Files => vec![Step::Mkdir("d")],
        Calls::Fifos => vec![Step::Mkfifo("f"), Step::Mkfifo("g"), Step::Counter(shift)],
        Calls::Terminals => vec![
            Step::Master(shift % FEW),
            Step::Unlock(shift % FEW),
            Step::Peer(shift % FEW, (shift + 1) % FEW),
        ],
        Calls::Sockets => vec![
            Step::Socket(at(0)),
            Step::Bind(at(0), name),
            Step::Listen(at(0)),
            Step::Socket(at(1)),
            Step::Connect(at(1), name),
            Step::Accept(at(0), at(2)),
            Step::Socket(at(3)),
            Step::Socket(at(4)),
            Step::Connect(at(3), name),
            Step::Accept(at(0), at(4)),
            Step::Pipe(at(5), at(6)),
            Step::Socket(at(7)),
        ],
    }
}

/// The calls of a seed.
pub(crate) fn sequence(topic: Calls, seed: u64) -> Vec<Step> {
    let mut chooser = Random::new(seed);
    let mut steps = Vec::new();
    for _ in 0..2 {
        steps.extend(prepare(&mut chooser, topic));
        steps.extend((0..CALLS / 2).map(|_| draw(&mut chooser, topic)));
    }
    steps
}
