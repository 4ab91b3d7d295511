//! The door: how a program in the simulated machine makes its calls.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use wavetank::host::{
    Command, Errno, Exit, Fd, FileStat, Host, LoopFlags, MountFlags, OpenFlags, Peer, Pid, Pipe,
    PollFd, Received, Result, Signal, SpawnError, Termios, User, WaitFor, WindowSize,
};

use crate::call::Call;
use crate::caller::{SimHost, Spawned, done, planned, quoted};
use crate::directory::Directory;
use crate::fault::About;
use crate::fs::Node;
use crate::kernel::Kernel;
use crate::mounts::Request;
use crate::pipe::PipeBuffer;
use crate::touch::Thing;
use crate::trace::bytes_text;
use crate::wait::{Tried, Wait};

fn command_text(command: &Command) -> String {
    let words: Vec<_> = command.argv.iter().map(|word| word.to_string_lossy()).collect();
    format!("{} [{}] fds {:?}", quoted(&command.program), words.join(" "), command.fds)
}

impl Host for SimHost<'_> {
    #[track_caller]
    fn open(&mut self, path: &Path, flags: OpenFlags, mode: u32) -> Result<Fd> {
        self.call(
            Call::Open,
            About::Path(path),
            || format!("{}, {flags:?}", quoted(path)),
            |kernel, pid| kernel.open(pid, path, flags, mode),
        )
    }

    #[track_caller]
    fn close(&mut self, fd: Fd) -> Result<()> {
        self.call_on(Call::Close, fd, |kernel, pid| kernel.close(pid, fd))
    }

    #[track_caller]
    fn read(&mut self, fd: Fd, buffer: &mut [u8]) -> Result<usize> {
        let len = self.shortened_read(fd, buffer.len());
        let arguments = || format!("{fd}, {len}");
        let pid = self.pid;
        self.announce(|kernel| kernel.read_would_wait(pid, fd));
        let count = self.call(Call::Read, About::Descriptor(fd), arguments, |kernel, pid| {
            kernel.read(pid, fd, &mut buffer[..len])
        })?;
        self.note_bytes(&buffer[..count]);
        Ok(count)
    }

    #[track_caller]
    fn write(&mut self, fd: Fd, bytes: &[u8]) -> Result<usize> {
        let bytes = &bytes[..self.shortened_write(bytes.len())];
        let arguments = || format!("{fd}, {} {}", bytes.len(), bytes_text(bytes));
        let mut written = 0;
        self.call(Call::Write, About::Descriptor(fd), arguments, |kernel, pid| {
            kernel.write(pid, fd, bytes, &mut written)
        })
    }

    #[track_caller]
    fn splice(&mut self, from: Fd, to: Fd, len: usize) -> Result<usize> {
        let len = self.shortened(len);
        let arguments = || format!("{from}, {to}, {len}");
        self.call(Call::Splice, About::Descriptor(to), arguments, |kernel, pid| {
            done(kernel.splice(pid, from, to, len))
        })
    }

    #[track_caller]
    fn pipe(&mut self, flags: OpenFlags) -> Result<Pipe> {
        self.call(
            Call::Pipe,
            About::Nothing,
            || format!("{flags:?}"),
            |kernel, pid| done(kernel.pipe(pid, flags)),
        )
    }

    #[track_caller]
    fn set_nonblocking(&mut self, fd: Fd, on: bool) -> Result<()> {
        let arguments = || format!("{fd}, {on}");
        self.call(Call::SetNonblocking, About::Descriptor(fd), arguments, |kernel, pid| {
            done(kernel.set_nonblocking(pid, fd, on))
        })
    }

    #[track_caller]
    fn unread(&mut self, fd: Fd) -> Result<usize> {
        self.call_on(Call::Unread, fd, |kernel, pid| kernel.unread(pid, fd))
    }

    #[track_caller]
    fn stat(&mut self, path: &Path) -> Result<FileStat> {
        self.call_at(Call::Stat, path, |kernel, pid| kernel.stat(pid, path))
    }

    #[track_caller]
    fn fstat(&mut self, fd: Fd) -> Result<FileStat> {
        self.call_on(Call::Fstat, fd, |kernel, pid| kernel.fstat(pid, fd))
    }

    #[track_caller]
    fn fchown(&mut self, fd: Fd, uid: u32, gid: u32) -> Result<()> {
        let arguments = || format!("{fd}, {uid}, {gid}");
        self.call(Call::Fchown, About::Descriptor(fd), arguments, |kernel, pid| {
            done(kernel.fchown(pid, fd, uid, gid))
        })
    }

    #[track_caller]
    fn fchmod(&mut self, fd: Fd, mode: u32) -> Result<()> {
        let arguments = || format!("{fd}, {mode:o}");
        self.call(Call::Fchmod, About::Descriptor(fd), arguments, |kernel, pid| {
            done(kernel.fchmod(pid, fd, mode))
        })
    }

    #[track_caller]
    fn rename(&mut self, from: &Path, to: &Path) -> Result<()> {
        let arguments = || format!("{}, {}", quoted(from), quoted(to));
        self.call(Call::Rename, About::Path(to), arguments, |kernel, pid| {
            done(kernel.rename(pid, from, to))
        })
    }

    #[track_caller]
    fn unlink(&mut self, path: &Path) -> Result<()> {
        self.call_at(Call::Unlink, path, |kernel, pid| kernel.unlink(pid, path))
    }

    #[track_caller]
    fn mkdir(&mut self, path: &Path, mode: u32) -> Result<()> {
        let arguments = || format!("{}, {mode:o}", quoted(path));
        self.call(Call::Mkdir, About::Path(path), arguments, |kernel, pid| {
            done(kernel.make(pid, path, Node::Directory(Directory::new()), mode))
        })
    }

    #[track_caller]
    fn rmdir(&mut self, path: &Path) -> Result<()> {
        self.call_at(Call::Rmdir, path, |kernel, pid| kernel.rmdir(pid, path))
    }

    #[track_caller]
    fn mkfifo(&mut self, path: &Path, mode: u32) -> Result<()> {
        let arguments = || format!("{}, {mode:o}", quoted(path));
        self.call(Call::Mkfifo, About::Path(path), arguments, |kernel, pid| {
            let buffer = PipeBuffer::new(kernel.config.pipe_pages);
            done(kernel.make(pid, path, Node::Fifo(buffer), mode))
        })
    }

    #[track_caller]
    fn symlink(&mut self, target: &Path, path: &Path) -> Result<()> {
        let arguments = || format!("{}, {}", quoted(target), quoted(path));
        self.call(Call::Symlink, About::Path(path), arguments, |kernel, pid| {
            done(kernel.symlink(pid, target, path))
        })
    }

    #[track_caller]
    fn read_at(&mut self, fd: Fd, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        let len = self.shortened_read(fd, buffer.len());
        let arguments = || format!("{fd}, {offset}, {len}");
        let count = self.call(Call::ReadAt, About::Descriptor(fd), arguments, |kernel, pid| {
            done(kernel.read_at(pid, fd, offset, &mut buffer[..len]))
        })?;
        self.note_bytes(&buffer[..count]);
        Ok(count)
    }

    #[track_caller]
    fn memory_file(&mut self) -> Result<Fd> {
        self.call_bare(Call::MemoryFile, Kernel::memory_file)
    }

    #[track_caller]
    fn event_counter(&mut self) -> Result<Fd> {
        self.call_bare(Call::EventCounter, Kernel::event_counter)
    }

    #[track_caller]
    fn readlink(&mut self, path: &Path) -> Result<PathBuf> {
        self.call_at(Call::Readlink, path, |kernel, pid| kernel.readlink(pid, path))
    }

    #[track_caller]
    fn list(&mut self, path: &Path) -> Result<Vec<OsString>> {
        self.call_at(Call::List, path, |kernel, pid| kernel.list(pid, path))
    }

    #[track_caller]
    fn mount(
        &mut self,
        source: &Path,
        target: &Path,
        kind: &str,
        flags: MountFlags,
        data: &str,
    ) -> Result<()> {
        let (from, to) = (quoted(source), quoted(target));
        let arguments = || format!("{from}, {to}, {kind:?}, {flags:?}, {data:?}");
        let request = Request { source, target, kind, flags, data };
        self.call(Call::Mount, About::Path(target), arguments, |kernel, pid| {
            done(kernel.mount(pid, &request))
        })
    }

    #[track_caller]
    fn unmount(&mut self, target: &Path, detach: bool) -> Result<()> {
        let arguments = || format!("{}, {detach}", quoted(target));
        self.call(Call::Unmount, About::Path(target), arguments, |kernel, pid| {
            done(kernel.unmount(pid, target, detach))
        })
    }

    #[track_caller]
    fn clone_tree(&mut self, path: &Path) -> Result<Fd> {
        self.call_at(Call::CloneTree, path, |_, _| Err(Errno::ENOSYS))
    }

    #[track_caller]
    fn map_tree_ids(&mut self, tree: Fd, user_namespace: Fd, read_only: bool) -> Result<()> {
        let arguments = || format!("{tree}, {user_namespace}, {read_only}");
        self.call(Call::MapTreeIds, About::Descriptor(tree), arguments, |_, _| Err(Errno::ENOSYS))
    }

    #[track_caller]
    fn attach_tree(&mut self, tree: Fd, target: &Path) -> Result<()> {
        let arguments = || format!("{tree}, {}", quoted(target));
        self.call(Call::AttachTree, About::Path(target), arguments, |_, _| Err(Errno::ENOSYS))
    }

    #[track_caller]
    fn enter_new_user_namespace(&mut self) -> Result<()> {
        self.call_bare(Call::EnterNewUserNamespace, |_, _| Err(Errno::EINVAL))
    }

    #[track_caller]
    fn free_loop_device(&mut self, control: Fd) -> Result<u32> {
        self.call_on(Call::FreeLoopDevice, control, |kernel, pid| kernel.no_loop(pid, control))
    }

    #[track_caller]
    fn attach_loop_device(&mut self, device: Fd, file: Fd, flags: LoopFlags) -> Result<()> {
        let arguments = || format!("{device}, {file}, {flags:?}");
        self.call(Call::AttachLoopDevice, About::Descriptor(device), arguments, |kernel, pid| {
            done(kernel.no_loop(pid, device).map(drop))
        })
    }

    #[track_caller]
    fn unlock_pty(&mut self, master: Fd) -> Result<()> {
        self.call_on(Call::UnlockPty, master, |kernel, pid| kernel.unlock_pty(pid, master))
    }

    #[track_caller]
    fn pty_number(&mut self, master: Fd) -> Result<u32> {
        self.call_on(Call::PtyNumber, master, |kernel, pid| kernel.pty_number(pid, master))
    }

    #[track_caller]
    fn open_pty_peer(&mut self, master: Fd) -> Result<Fd> {
        self.call_on(Call::OpenPtyPeer, master, |kernel, pid| kernel.open_pty_peer(pid, master))
    }

    #[track_caller]
    fn window_size(&mut self, terminal: Fd) -> Result<WindowSize> {
        self.call_on(Call::WindowSize, terminal, |kernel, pid| kernel.window_size(pid, terminal))
    }

    #[track_caller]
    fn set_window_size(&mut self, terminal: Fd, size: WindowSize) -> Result<()> {
        let arguments = || format!("{terminal}, {}x{}", size.columns, size.rows);
        self.call(Call::SetWindowSize, About::Descriptor(terminal), arguments, |kernel, pid| {
            done(kernel.set_window_size(pid, terminal, size))
        })
    }

    #[track_caller]
    fn terminal_attributes(&mut self, terminal: Fd) -> Result<Termios> {
        self.call_on(Call::TerminalAttributes, terminal, |kernel, pid| {
            kernel.terminal_attributes(pid, terminal)
        })
    }

    #[track_caller]
    fn set_terminal_attributes(&mut self, terminal: Fd, attributes: &Termios) -> Result<()> {
        let about = About::Descriptor(terminal);
        let arguments = || format!("{terminal}, {attributes:?}");
        self.call(Call::SetTerminalAttributes, about, arguments, |kernel, pid| {
            done(kernel.set_terminal_attributes(pid, terminal, *attributes))
        })
    }

    #[track_caller]
    fn spawn(&mut self, command: &Command) -> std::result::Result<Pid, SpawnError> {
        let about = About::Path(&command.program);
        let spawned = self.call(
            Call::Spawn,
            about,
            || command_text(command),
            |kernel, pid| Ok(Tried::Done(Spawned(kernel.spawn(pid, command)))),
        );
        spawned.map_or_else(|errno| Err(planned(errno)), |spawned| spawned.0)
    }

    #[track_caller]
    fn exec(&mut self, command: &Command) -> SpawnError {
        let about = About::Path(&command.program);
        let failed = self.call(
            Call::Exec,
            about,
            || command_text(command),
            |kernel, pid| Ok(Tried::Done(Spawned(kernel.exec(pid, command)))),
        );
        match failed {
            Ok(Spawned(Err(error))) => error,
            Ok(Spawned(Ok(()))) => unreachable!("a process went on that had become another"),
            Err(errno) => planned(errno),
        }
    }

    #[track_caller]
    fn wait(&mut self, target: WaitFor, block: bool) -> Result<Option<Exit>> {
        let arguments = || format!("{target:?}, {block}");
        self.announce(|_| block.then_some(Wait::Child(target)));
        self.call(Call::Wait, About::Nothing, arguments, |kernel, pid| {
            kernel.wait(pid, target).map(|exit| match exit {
                None if block => Tried::Wait(Wait::Child(target)),
                exit => Tried::Done(exit),
            })
        })
    }

    #[track_caller]
    fn kill(&mut self, pid: Pid, signal: Signal) -> Result<()> {
        let arguments = || format!("{pid}, {signal}");
        self.call(Call::Kill, About::Nothing, arguments, |kernel, me| {
            done(kernel.kill(me, pid, signal))
        })
    }

    fn pid(&mut self) -> Pid {
        Pid(self.pid)
    }

    #[track_caller]
    fn parent(&mut self) -> Pid {
        self.sure(Call::Parent, |kernel, pid| {
            kernel.sees(Thing::Parent(pid));
            Pid(kernel.processes[pid].parent)
        })
    }

    fn user(&mut self) -> User {
        let process = &self.kernel.borrow().processes[self.pid];
        User { uid: process.uid, gid: process.gid }
    }

    #[track_caller]
    fn share_core(&mut self) -> Result<()> {
        self.call_bare(Call::ShareCore, Kernel::share_core)
    }

    #[track_caller]
    fn become_subreaper(&mut self) -> Result<()> {
        self.call(Call::BecomeSubreaper, About::Nothing, String::new, |kernel, pid| {
            kernel.alters(Thing::Life(pid));
            kernel.process(pid).subreaper = true;
            done(Ok(()))
        })
    }

    #[track_caller]
    fn signals(&mut self, signals: &[Signal]) -> Result<Fd> {
        let arguments = || format!("{signals:?}");
        self.call(Call::Signals, About::Nothing, arguments, |kernel, pid| {
            done(kernel.signals(pid, signals))
        })
    }

    #[track_caller]
    fn read_signal(&mut self, fd: Fd) -> Result<Signal> {
        self.call_on(Call::ReadSignal, fd, |kernel, pid| kernel.read_signal(pid, fd))
    }

    #[track_caller]
    fn poll(&mut self, fds: &mut [PollFd], timeout: Option<Duration>) -> Result<usize> {
        let asked = fds.len();
        let arguments = || format!("{asked} descriptors, {timeout:?}");
        let mut deadline = self.announce(|kernel| kernel.poll_would_wait(fds, timeout));
        let count = self.call(Call::Poll, About::Nothing, arguments, |kernel, pid| {
            kernel.poll(pid, fds, timeout, &mut deadline)
        })?;
        self.kernel.borrow_mut().trace.more(|| {
            let ready = fds.iter().filter(|it| !it.ready.is_empty());
            ready.map(|it| format!(" {}:{:?}", it.fd, it.ready)).collect()
        });
        Ok(count)
    }

    fn now(&mut self) -> Duration {
        let kernel = &mut *self.kernel.borrow_mut();
        kernel.tick();
        Duration::from_nanos(kernel.clock)
    }

    fn wall_clock(&mut self) -> Duration {
        let now = self.now();
        self.kernel.borrow().config.wall_clock + now
    }

    #[track_caller]
    fn socket(&mut self) -> Result<Fd> {
        self.call_bare(Call::Socket, Kernel::socket)
    }

    #[track_caller]
    fn bind(&mut self, socket: Fd, path: &Path) -> Result<()> {
        let arguments = || format!("{socket}, {}", quoted(path));
        self.call(Call::Bind, About::Path(path), arguments, |kernel, pid| {
            done(kernel.bind(pid, socket, path))
        })
    }

    #[track_caller]
    fn listen(&mut self, socket: Fd, backlog: u32) -> Result<()> {
        let arguments = || format!("{socket}, {backlog}");
        self.call(Call::Listen, About::Descriptor(socket), arguments, |kernel, pid| {
            done(kernel.listen(pid, socket, backlog))
        })
    }

    #[track_caller]
    fn accept(&mut self, socket: Fd) -> Result<Fd> {
        let arguments = || socket.to_string();
        self.call(Call::Accept, About::Descriptor(socket), arguments, |kernel, pid| {
            kernel.accept(pid, socket)
        })
    }

    #[track_caller]
    fn connect(&mut self, socket: Fd, path: &Path) -> Result<()> {
        let arguments = || format!("{socket}, {}", quoted(path));
        self.call(Call::Connect, About::Path(path), arguments, |kernel, pid| {
            kernel.connect(pid, socket, path)
        })
    }

    #[track_caller]
    fn send(&mut self, socket: Fd, bytes: &[u8], fds: &[Fd]) -> Result<usize> {
        let bytes = &bytes[..self.shortened(bytes.len())];
        let arguments = || format!("{socket}, {} {}, {fds:?}", bytes.len(), bytes_text(bytes));
        let mut sent = 0;
        self.call(Call::Send, About::Descriptor(socket), arguments, |kernel, pid| {
            kernel.send(pid, socket, bytes, fds, &mut sent)
        })
    }

    #[track_caller]
    fn receive(&mut self, socket: Fd, buffer: &mut [u8]) -> Result<Received> {
        let len = self.shortened(buffer.len());
        let arguments = || format!("{socket}, {len}");
        let about = About::Descriptor(socket);
        let received = self.call(Call::Receive, about, arguments, |kernel, pid| {
            kernel.receive(pid, socket, &mut buffer[..len])
        })?;
        self.note_bytes(&buffer[..received.len]);
        Ok(received)
    }

    #[track_caller]
    fn peer(&mut self, socket: Fd) -> Result<Peer> {
        self.call_on(Call::Peer, socket, |kernel, pid| kernel.peer(pid, socket))
    }

    #[track_caller]
    fn socket_path(&mut self, socket: Fd) -> Result<PathBuf> {
        self.call_on(Call::SocketPath, socket, |kernel, pid| kernel.socket_path(pid, socket))
    }

    #[track_caller]
    fn current_dir(&mut self) -> Result<PathBuf> {
        self.call_bare(Call::CurrentDir, |kernel, pid| kernel.current_dir(pid))
    }

    #[track_caller]
    fn change_dir(&mut self, path: &Path) -> Result<()> {
        self.call_at(Call::ChangeDir, path, |kernel, pid| kernel.change_dir(pid, path))
    }

    fn environment(&mut self) -> Vec<OsString> {
        self.kernel.borrow().processes[self.pid].env.to_vec()
    }

    fn random(&mut self) -> u64 {
        self.kernel.borrow_mut().random()
    }
}
