//! Starting a child.
//!
//! The child is made with `CLONE_VM | CLONE_VFORK`: it borrows our memory, and we stand still until
//! it has become another program or is gone. Nothing of our memory is copied, and why it failed is
//! simply left where we read it. Between `clone` and `execve` only plain system calls are made.
//!
//! A child that is to run our own program once more is a copy of us instead, and executes nothing.

use std::ffi::{CStr, CString, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::ptr;

use nix::libc::{self, c_char, c_int, c_void};

use super::files::c_string;
use super::last_errno;
use super::signal_set::SignalSet;
use crate::host::{Command, Errno, Lead, Pid, Signal, SpawnError, SpawnStep};

/// The file that is the program that runs (`proc_pid_exe(5)`).
const OWN_PROGRAM: &str = "/proc/self/exe";

/// What a program does, and its exit code.
pub(super) type OwnProgram = fn(&[OsString]) -> i32;

unsafe extern "C" {
    static environ: *const *const c_char;
}

/// Our environment, entry by entry.
pub(super) fn environment() -> Vec<OsString> {
    let mut entries = Vec::new();
    // SAFETY: `environ` is null, or an array of strings that ends with null, and nobody here changes
    // it once the program runs.
    unsafe {
        let mut at = environ;
        while !at.is_null() && !(*at).is_null() {
            entries.push(OsString::from_vec(CStr::from_ptr(*at).to_bytes().to_vec()));
            at = at.add(1);
        }
    }
    entries
}

/// Gives a signal its default disposition; one that cannot have another needs none.
pub(super) fn set_default(signal: Signal) {
    // SAFETY: a zeroed sigaction is SIG_DFL with an empty mask.
    unsafe {
        let default: libc::sigaction = std::mem::zeroed();
        libc::sigaction(signal.0, &raw const default, ptr::null_mut());
    }
}

/// A command laid out as `execve(2)` wants it, so that the child need not allocate.
struct Prepared {
    program: CString,
    argv: StringArray,
    env: Option<StringArray>,
    cwd: Option<CString>,
    /// Descriptors to be put at 0, 1, 2, …; first moved out of each other's way.
    fds: Vec<c_int>,
    parent_death_signal: c_int,
    parent: c_int,
    lead: Lead,
    failure: Option<SpawnError>,
}

/// Strings, and the null-ended array of pointers to them.
struct StringArray {
    _strings: Vec<CString>,
    pointers: Vec<*const c_char>,
}

impl StringArray {
    fn new<S: AsRef<std::ffi::OsStr>>(items: &[S]) -> Result<StringArray, Errno> {
        let strings =
            items.iter().map(|item| c_string(item.as_ref())).collect::<Result<Vec<_>, _>>()?;
        let mut pointers: Vec<_> = strings.iter().map(|string| string.as_ptr()).collect();
        pointers.push(ptr::null());
        Ok(StringArray { _strings: strings, pointers })
    }
}

impl Prepared {
    fn new(command: &Command) -> Result<Prepared, SpawnError> {
        let prepare = || {
            Ok(Prepared {
                program: c_string(command.program.as_os_str())?,
                argv: StringArray::new(&command.argv)?,
                env: command.env.as_deref().map(StringArray::new).transpose()?,
                cwd: command
                    .cwd
                    .as_ref()
                    .filter(|path| !path.as_os_str().as_bytes().is_empty())
                    .map(|path| c_string(path.as_os_str()))
                    .transpose()?,
                fds: command.fds.iter().map(|fd| fd.0).collect(),
                parent_death_signal: command.parent_death_signal.map_or(0, |signal| signal.0),
                parent: nix::unistd::getpid().as_raw(),
                lead: command.lead,
                failure: None,
            })
        };
        prepare().map_err(|errno| SpawnError { step: SpawnStep::Prepare, errno })
    }
}

/// A child's stack until it has its own memory. Not from the heap: so large a piece, used for a
/// moment, would make our memory larger for good.
struct Stack(*mut c_void);

impl Stack {
    const SIZE: usize = 32 * 1024;

    fn new() -> Result<Stack, Errno> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_STACK;
        // SAFETY: asks for new memory, anywhere.
        match unsafe { libc::mmap(ptr::null_mut(), Stack::SIZE, protection, flags, -1, 0) } {
            libc::MAP_FAILED => Err(last_errno()),
            start => Ok(Stack(start)),
        }
    }

    fn end(&self) -> *mut c_void {
        self.0.wrapping_byte_add(Stack::SIZE)
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // SAFETY: the memory came from mmap with this size, and nobody uses it any more.
        unsafe { libc::munmap(self.0, Stack::SIZE) };
    }
}

pub(super) fn spawn(command: &Command) -> Result<Pid, SpawnError> {
    let mut prepared = Prepared::new(command)?;
    let stack = Stack::new().map_err(|errno| SpawnError { step: SpawnStep::Fork, errno })?;
    // SAFETY: the stack is used by the child alone, downwards from its end, and outlives it as
    // our memory user, since CLONE_VFORK holds us until execve or exit. `prepared` is written by
    // the child only while we stand still. No handler of ours may run in the child, which shares
    // our memory; so nothing is delivered until it has its own dispositions.
    let forked = undisturbed(|| unsafe {
        forked(libc::clone(
            child,
            stack.end(),
            libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD,
            (&raw mut prepared).cast(),
        ))
    });
    let pid = forked?;
    // SAFETY: `prepared` is ours; volatile, because the child wrote behind the compiler's back.
    match unsafe { (&raw const prepared.failure).read_volatile() } {
        None => Ok(pid),
        Some(failure) => {
            // SAFETY: waits for the child that has just ended, so that it leaves no zombie.
            while unsafe { libc::waitpid(pid.0, ptr::null_mut(), 0) } == -1
                && last_errno() == Errno::EINTR
            {}
            Err(failure)
        }
    }
}

/// What `clone` and `fork` gave to the parent.
fn forked(pid: c_int) -> Result<Pid, SpawnError> {
    if pid == -1 { Err(failed(SpawnStep::Fork)) } else { Ok(Pid(pid)) }
}

/// Does something while no signal is delivered.
fn undisturbed<T>(work: impl FnOnce() -> T) -> T {
    // Where it is refused (`seccomp(2)`), there are no handlers of ours that could be in the way.
    let before = SignalSet::ALL.be_blocked();
    let result = work();
    let _ = before.and_then(SignalSet::be_blocked);
    result
}

/// Whether a command can be carried out by [`fork`].
pub(super) fn is_own_program(command: &Command) -> bool {
    let Command { program, env, cwd, lead, .. } = command;
    program.as_os_str() == OWN_PROGRAM && env.is_none() && cwd.is_none() && *lead == Lead::Nothing
}

/// Starts our own program, `main`, in a copy of our memory. To execute it anew would cost several
/// times what it has to do: a new image has its pages to fetch and its libraries to set up.
pub(super) fn fork(command: &Command, main: OwnProgram) -> Result<Pid, SpawnError> {
    let mut prepared = Prepared::new(command)?;
    // What can fail does so here, where it can be told.
    let failed_early = |errno| SpawnError { step: SpawnStep::Prepare, errno };
    // SAFETY: plain system calls on numbers.
    unsafe { move_away(&mut prepared.fds) }.map_err(failed_early)?;
    let child = undisturbed(|| {
        // SAFETY: there is one thread, so the copy is whole.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            be_forked(&prepared, || main(&command.argv));
        }
        forked(pid)
    });
    close_all(&prepared.fds);
    child
}

/// What the copy does until its end; it never gets out of here, not even by a panic.
fn be_forked(prepared: &Prepared, main: impl FnOnce() -> c_int) -> ! {
    // SAFETY: this process is the child, and has just begun.
    let code = match unsafe { prepare_forked(prepared) } {
        Ok(()) => std::panic::catch_unwind(std::panic::AssertUnwindSafe(main)).unwrap_or(101),
        Err(_) => 127,
    };
    // SAFETY: ends the process, and nothing that it shares with us has to be tidied up.
    unsafe { libc::_exit(code) }
}

fn close_all(fds: &[c_int]) {
    for fd in fds {
        // SAFETY: the numbers are those that `move_away` made.
        unsafe { libc::close(*fd) };
    }
}

/// Makes a copy of us the child that was asked for.
///
/// # Safety
/// Changes descriptors and signal handling of the calling process.
unsafe fn prepare_forked(prepared: &Prepared) -> Result<(), SpawnError> {
    let count = c_int::try_from(prepared.fds.len()).unwrap_or(c_int::MAX);
    // SAFETY: plain system calls on numbers.
    unsafe {
        follow_into_death(prepared)?;
        put_in_place(&prepared.fds)
            .map_err(|errno| SpawnError { step: SpawnStep::Prepare, errno })?;
        libc::syscall(libc::SYS_close_range, count, c_int::MAX, 0);
        clean_signals();
    }
    Ok(())
}

pub(super) fn exec(command: &Command) -> SpawnError {
    match Prepared::new(&Command { lead: Lead::Nothing, ..command.clone() }) {
        // SAFETY: the pointers in a Prepared stay valid as long as it does.
        Ok(mut prepared) => unsafe { become_program(&mut prepared) },
        Err(failure) => failure,
    }
}

extern "C" fn child(argument: *mut c_void) -> c_int {
    // SAFETY: the argument is the Prepared that spawn lent us; the parent stands still meanwhile.
    unsafe {
        let prepared = &mut *argument.cast::<Prepared>();
        let failure = become_program(prepared);
        (&raw mut prepared.failure).write_volatile(Some(failure));
        libc::_exit(127)
    }
}

/// Does everything between `clone` and `execve`, and that. Returns only on failure.
///
/// # Safety
/// The pointers in `prepared` must be valid. Only async-signal-safe calls are made.
unsafe fn become_program(prepared: &mut Prepared) -> SpawnError {
    // SAFETY: plain system calls on numbers and on the strings that `prepared` owns.
    unsafe {
        if let Err(failure) = follow_into_death(prepared) {
            return failure;
        }
        if let Err(errno) = place_descriptors(&mut prepared.fds) {
            return SpawnError { step: SpawnStep::Prepare, errno };
        }
        let led = match prepared.lead {
            Lead::Nothing => 0,
            Lead::Group => libc::setpgid(0, 0),
            Lead::Session => libc::setsid(),
            Lead::TerminalSession => match libc::setsid() {
                -1 => -1,
                _ => libc::ioctl(0, libc::TIOCSCTTY, 0),
            },
        };
        if led == -1 {
            return failed(SpawnStep::Prepare);
        }
        if let Some(cwd) = &prepared.cwd
            && libc::chdir(cwd.as_ptr()) == -1
        {
            return failed(SpawnStep::Chdir);
        }
        clean_signals();
        let env = prepared.env.as_ref().map_or(environ, |env| env.pointers.as_ptr());
        libc::execve(prepared.program.as_ptr(), prepared.argv.pointers.as_ptr(), env);
        failed(SpawnStep::Exec)
    }
}

/// Asks for the signal that comes when the parent dies.
///
/// # Safety
/// Changes the calling process, which must be the child.
unsafe fn follow_into_death(prepared: &Prepared) -> Result<(), SpawnError> {
    if prepared.parent_death_signal == 0 {
        return Ok(());
    }
    // SAFETY: plain system calls on numbers.
    unsafe {
        if libc::prctl(libc::PR_SET_PDEATHSIG, prepared.parent_death_signal) == -1 {
            return Err(failed(SpawnStep::Prepare));
        }
        if libc::getppid() != prepared.parent {
            return Err(SpawnError { step: SpawnStep::Prepare, errno: Errno::ESRCH });
        }
    }
    Ok(())
}

fn failed(step: SpawnStep) -> SpawnError {
    SpawnError { step, errno: last_errno() }
}

/// Puts the descriptors at 0, 1, 2, …, and marks all others to be closed by `execve`.
///
/// # Safety
/// Changes the descriptor table of the calling process.
unsafe fn place_descriptors(fds: &mut [c_int]) -> Result<(), Errno> {
    let count = c_int::try_from(fds.len()).unwrap_or(c_int::MAX);
    // SAFETY: plain system calls on numbers.
    unsafe {
        move_away(fds)?;
        put_in_place(fds)?;
        // Before Linux 5.11 there is no such call; then only what is close-on-exec is closed.
        libc::syscall(libc::SYS_close_range, count, c_int::MAX, libc::CLOSE_RANGE_CLOEXEC);
    }
    Ok(())
}

/// Gives every descriptor a further number, out of the way of 0, 1, 2, …
///
/// # Safety
/// Changes the descriptor table of the calling process.
unsafe fn move_away(fds: &mut [c_int]) -> Result<(), Errno> {
    let count = c_int::try_from(fds.len()).unwrap_or(c_int::MAX);
    for at in 0..fds.len() {
        // SAFETY: plain system calls on numbers.
        unsafe {
            fds[at] = match libc::fcntl(fds[at], libc::F_DUPFD_CLOEXEC, count) {
                -1 => {
                    let errno = last_errno();
                    close_all(&fds[..at]);
                    return Err(errno);
                }
                number => number,
            };
        }
    }
    Ok(())
}

/// Puts descriptors that are out of the way at 0, 1, 2, …
///
/// # Safety
/// Changes the descriptor table of the calling process.
unsafe fn put_in_place(fds: &[c_int]) -> Result<(), Errno> {
    for (number, fd) in (0..).zip(fds) {
        // SAFETY: a plain system call on numbers.
        if unsafe { libc::dup2(*fd, number) } == -1 {
            return Err(last_errno());
        }
    }
    Ok(())
}

/// Every signal at its default, and none held back: what a program expects to start with.
fn clean_signals() {
    (1..=libc::SIGRTMAX()).map(Signal).for_each(set_default);
    let _ = SignalSet::NONE.be_blocked();
}
