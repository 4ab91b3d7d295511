//! Opening: what is refused, and that nothing stays open then.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;

use rstest::rstest;

use super::*;
use crate::host::{FileKind, FileStat, MockHost, Pipe, Result};
use crate::stdio::Owner;

/// Descriptors as a kernel counts them, and which call fails.
struct Kernel {
    open: BTreeSet<Fd>,
    next: i32,
    calls_left: u32,
    kind: FileKind,
}

impl Kernel {
    fn call(&mut self) -> Result<()> {
        self.calls_left = self.calls_left.checked_sub(1).ok_or(Errno::EMFILE)?;
        Ok(())
    }

    fn new_fd(&mut self) -> Fd {
        self.next += 1;
        self.open.insert(Fd(self.next));
        Fd(self.next)
    }

    fn open(&mut self) -> Result<Fd> {
        self.call()?;
        Ok(self.new_fd())
    }

    fn pipe(&mut self) -> Result<Pipe> {
        self.call()?;
        Ok(Pipe { read: self.new_fd(), write: self.new_fd() })
    }
}

fn host_on(kernel: &Rc<RefCell<Kernel>>) -> MockHost {
    let mut host = MockHost::new();
    let mine = || Rc::clone(kernel);
    let k = mine();
    host.expect_open().returning_st(move |_, _, _| k.borrow_mut().open());
    let k = mine();
    host.expect_pipe().returning_st(move |_| k.borrow_mut().pipe());
    let k = mine();
    host.expect_socket().returning_st(move || k.borrow_mut().open());
    let k = mine();
    host.expect_close().returning_st(move |fd| {
        assert!(k.borrow_mut().open.remove(&fd), "{fd} is closed twice");
        Ok(())
    });
    let k = mine();
    host.expect_fstat().returning_st(move |_| {
        let kind = k.borrow().kind;
        Ok(FileStat { kind, mode: 0, uid: 0, gid: 0, size: 0, device: 0, inode: 0 })
    });
    let k = mine();
    host.expect_set_nonblocking().returning_st(move |_, _| k.borrow_mut().call());
    let k = mine();
    host.expect_fchown().returning_st(move |_, _, _| k.borrow_mut().call());
    let k = mine();
    host.expect_mkdir().returning_st(move |_, _| k.borrow_mut().call());
    let k = mine();
    host.expect_bind().returning_st(move |_, _| k.borrow_mut().call());
    let k = mine();
    host.expect_listen().returning_st(move |_, _| k.borrow_mut().call());
    host.expect_random().returning(|| 7);
    host.expect_unlink().returning(|_| Ok(()));
    host.expect_rmdir().returning(|_| Ok(()));
    host.expect_unread().returning(|_| Ok(0));
    host.expect_poll().returning(|_, _| Ok(0));
    host
}

#[rstest]
fn whatever_fails_nothing_stays_open(
    #[values("/out", "file:///out", "binary:///log", "")] stdout: &str,
    #[values(false, true)] terminal: bool,
    #[values(FileKind::Fifo, FileKind::Regular)] kind: FileKind,
    #[values(false, true)] direct: bool,
    #[values(false, true)] only_pipes: bool,
) {
    let wanted = Wanted {
        stdin: "/in".to_owned(),
        stdout: stdout.to_owned(),
        stderr: "/err".to_owned(),
        terminal,
        direct,
        only_pipes,
        owner: Owner { uid: u32::from(!direct), gid: 0 },
        ..Wanted::default()
    };
    for calls in 0..100 {
        let kernel = Kernel { open: BTreeSet::new(), next: 2, calls_left: calls, kind };
        let kernel = Rc::new(RefCell::new(kernel));
        let mut host = host_on(&kernel);
        let opened = TaskStdio::open(&mut host, &wanted, &[]);
        if let Ok(mut stdio) = opened {
            assert_eq!(stdio.child_ends().len(), 3);
            if kernel.borrow().calls_left > 0 {
                stdio.close(&mut host);
                assert_eq!(kernel.borrow().open, BTreeSet::new());
                return;
            }
            stdio.close(&mut host);
        }
        assert_eq!(kernel.borrow().open, BTreeSet::new(), "after {calls} calls");
    }
    panic!("it never succeeds");
}

/// Everything goes where it was to go, but through a pipe.
#[rstest]
#[case::fifo("")]
#[case::file("file://")]
fn who_wants_only_pipes_gets_them(#[case] scheme: &str, #[values(false, true)] only_pipes: bool) {
    let mut bench = Bench::new();
    let path = if scheme.is_empty() { bench.fifo("out") } else { bench.text("out") };
    let stdout = format!("{scheme}{path}");
    bench.open(&Wanted { stdout, direct: true, only_pipes, ..Wanted::default() });
    let link = PathBuf::from(format!("/proc/self/fd/{}", bench.stdio.child_ends()[1]));
    let end = bench.host.readlink(&link).unwrap();
    assert_eq!(end.to_str().unwrap().starts_with("pipe:"), only_pipes, "{}", end.display());
    let process = bench.process_end(1);
    bench.runtime_done();
    let reader = bench.reader("out");
    bench.write(process, b"said");
    bench.settle();
    assert_eq!(bench.found(reader).bytes, b"said");
    assert_eq!(bench.troubles, []);
}

#[rstest]
#[case("ttrpc://x/y", "unknown STDIO scheme ttrpc")]
#[case("/nowhere/out", "open /nowhere/out: no such file or directory (ENOENT)")]
#[case("file:///dev/null/x/out", "ENOTDIR")]
fn what_cannot_be_opened_is_named(
    #[case] stdout: &str,
    #[case] why: &str,
    #[values(false, true)] terminal: bool,
) {
    let wanted = Wanted { stdout: stdout.to_owned(), terminal, ..Wanted::default() };
    let error = TaskStdio::open(&mut LinuxHost::new(), &wanted, &[]).unwrap_err().to_string();
    assert!(error.contains(why), "{error}");
}

#[test]
fn no_streams_are_three_times_nothing() {
    let mut bench = Bench::new();
    bench.stdio = TaskStdio::null(&mut bench.host).unwrap();
    let ends = bench.stdio.child_ends().to_vec();
    assert_eq!(ends.len(), 3);
    bench.write(ends[1], b"nowhere");
    assert_eq!(bench.found(ends[0]), found(b"", true));
    bench.runtime_done();
    assert!(bench.stdio.is_ready());
    assert_eq!(bench.stdio.due(), None);
    assert!(!bench.stdio.is_drained());
    bench.process_ended();
    assert!(bench.stdio.is_drained());
}

#[test]
fn streams_at_rest_are_small() {
    assert!(size_of::<TaskStdio>() < 1024, "{} bytes", size_of::<TaskStdio>());
}
