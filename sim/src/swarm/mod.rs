//! What drawn flows are made of: questions to the chooser, and calls that fail.

mod draw;

use wavetank::host::Errno;

use crate::{Call, Fault};

pub(crate) use draw::Draw;

/// Calls that fail, with an error that their pages name. To kill one's own child fails nowhere.
const FAILURES: [(Call, Errno); 40] = [
    (Call::Spawn, Errno::EAGAIN),
    (Call::Spawn, Errno::ENOMEM),
    (Call::MemoryFile, Errno::EMFILE),
    (Call::Pipe, Errno::EMFILE),
    (Call::Pipe, Errno::ENFILE),
    (Call::Open, Errno::EMFILE),
    (Call::Open, Errno::ENOMEM),
    (Call::Open, Errno::EINTR),
    (Call::Open, Errno::ENOSPC),
    (Call::Write, Errno::ENOSPC),
    (Call::Write, Errno::EINTR),
    (Call::Read, Errno::EINTR),
    (Call::Splice, Errno::EINTR),
    (Call::Splice, Errno::ENOMEM),
    (Call::Close, Errno::EINTR),
    (Call::Close, Errno::EIO),
    (Call::Rename, Errno::ENOSPC),
    (Call::Rename, Errno::EIO),
    (Call::Mkdir, Errno::ENOSPC),
    (Call::Mkfifo, Errno::ENOSPC),
    (Call::List, Errno::ENOMEM),
    (Call::Stat, Errno::ENOMEM),
    (Call::Fstat, Errno::ENOMEM),
    (Call::Accept, Errno::EMFILE),
    (Call::Accept, Errno::ECONNABORTED),
    (Call::Accept, Errno::ENOMEM),
    (Call::Socket, Errno::EMFILE),
    (Call::Socket, Errno::ENFILE),
    (Call::Connect, Errno::EAGAIN),
    (Call::Connect, Errno::EINTR),
    (Call::Send, Errno::EINTR),
    (Call::Receive, Errno::EINTR),
    (Call::Poll, Errno::ENOMEM),
    (Call::Poll, Errno::EINTR),
    (Call::ReadSignal, Errno::EINTR),
    (Call::Signals, Errno::EMFILE),
    (Call::SetWindowSize, Errno::EINTR),
    (Call::Mount, Errno::ENOMEM),
    (Call::Unmount, Errno::EBUSY),
    (Call::ReadAt, Errno::ENODEV),
];

/// Calls of a program that fail: once, or from some moment on. Where the disk is full, it is for one of
/// these files.
pub(crate) fn failing_calls(draw: &mut Draw<'_>, program: &str, files: &[&str]) -> Vec<Fault> {
    let count = 1 + draw.below(4);
    (0..count).map(|_| failing_call(draw, program, files)).collect()
}

fn failing_call(draw: &mut Draw<'_>, program: &str, files: &[&str]) -> Fault {
    let (call, errno) = draw.pick(&FAILURES);
    let mut fault = Fault::fail(errno).of(call).by(program).after(draw.below(40) as u64);
    if (call, errno) == (Call::Write, Errno::ENOSPC) {
        // Nothing else has to do with a disk.
        fault = fault.on(draw.pick(files)).after(draw.below(3) as u64);
    }
    // These say that something has happened, which is not so for ever.
    let is_of_once = matches!(errno, Errno::EINTR | Errno::ECONNABORTED);
    if draw.seldom() && !is_of_once && call != Call::Poll {
        fault = fault.for_ever();
    }
    fault
}
