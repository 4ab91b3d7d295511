//! Opening what a client wants, and making the inner ends for it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::outlet::{Carried, Outlet, Reader};
use super::{Inlet, TaskStdio, Wanted};
use crate::Error;
use crate::host::{Bug, Errno, Fd, FileKind, Host, OpenFlags, Pipe, close_all};
use crate::stdio::endpoint::is_fifo;
use crate::stdio::logger::{Asked, Logger};
use crate::stdio::uri::Place;
use crate::stdio::{ConsoleSocket, Input, Output, Owner, Relay, open_null};

impl TaskStdio {
    /// Opens what the client wants, without waiting for anybody. Of the environment `env` the
    /// directories for a console socket are taken.
    ///
    /// # Errors
    /// What could not be opened or made, and an unknown scheme; nothing stays open.
    pub fn open<H: Host>(
        host: &mut H,
        wanted: &Wanted,
        env: &[OsString],
    ) -> Result<TaskStdio, Error> {
        let mut stdio = TaskStdio::default();
        let opened = if wanted.terminal {
            stdio.open_terminal(host, wanted, env)
        } else {
            stdio.open_streams(host, wanted)
        };
        match opened {
            Ok(()) => Ok(stdio),
            Err(error) => {
                stdio.close(host);
                Err(error)
            }
        }
    }

    /// Streams that are all `/dev/null`.
    ///
    /// # Errors
    /// What `open(2)` gives.
    pub fn null<H: Host>(host: &mut H) -> Result<TaskStdio, Error> {
        TaskStdio::open(host, &Wanted::default(), &[])
    }

    fn open_streams<H: Host>(&mut self, host: &mut H, wanted: &Wanted) -> Result<(), Error> {
        let place = Place::parse(&wanted.stdout)?;
        self.open_stdin(host, wanted)?;
        match place {
            Place::Path(path) => {
                self.stdout = self.open_output(host, &path, wanted)?;
                self.stderr = self.open_output(host, &stderr_path(&wanted.stderr)?, wanted)?;
            }
            Place::File(path) => {
                make_file(host, &path)?;
                self.stdout = self.open_output(host, &path, wanted)?;
                self.stderr = self.open_output(host, &path, wanted)?;
            }
            Place::Logger { program, arguments, must_say_ready } => {
                let env = logger_env(wanted);
                let asked = Asked { program, arguments, must_say_ready, env };
                self.open_logger(host, asked, wanted.owner)?;
            }
        }
        Ok(())
    }

    fn open_stdin<H: Host>(&mut self, host: &mut H, wanted: &Wanted) -> Result<(), Error> {
        if wanted.stdin.is_empty() {
            return self.push_null(host);
        }
        let input = Input::open(host, Path::new(&wanted.stdin))?;
        let inlet = self.stdin.insert(Inlet { input, pipe: None, relay: None });
        let Pipe { read, write } = host.pipe(OpenFlags::empty()).map_err(pipe_failed)?;
        self.child_ends.push(read);
        inlet.pipe = Some(write);
        inlet.relay = Some(Relay::new(host, inlet.input.source, write));
        wanted.owner.give(host, read).map_err(pipe_failed)?;
        host.set_nonblocking(write, true).map_err(pipe_failed)
    }

    /// Opens one output, and adds the process's end of it.
    fn open_output<H: Host>(
        &mut self,
        host: &mut H,
        path: &Path,
        wanted: &Wanted,
    ) -> Result<Outlet, Error> {
        if path.as_os_str().is_empty() {
            self.push_null(host)?;
            return Ok(Outlet::default());
        }
        let (output, reader) = meet(host, path)?;
        match (&reader, output.keeper) {
            // The kernel appends, and tells the process what a file tells its writer.
            (Reader::Nobody, _) if !wanted.only_pipes && is_regular(host, output.sink) => {
                self.push_waiting(host, output.sink);
                return Ok(Outlet::default());
            }
            (Reader::Client { .. }, keeper) if host.planted(Bug::FifoGivenAway) => {
                close_all(host, keeper);
                self.push_waiting(host, output.sink);
                return Ok(Outlet::default());
            }
            (&Reader::Client { met, .. }, Some(keeper))
                if wanted.direct && !wanted.only_pipes && wanted.owner == Owner::default() =>
            {
                self.push_waiting(host, output.sink);
                return Ok(Outlet::shared(path.to_owned(), keeper, met));
            }
            _ => {}
        }
        let sink = output.sink;
        let mut carried = Carried { source: None, output, reader, relay: None };
        match self.push_relayed_pipe(host, wanted.owner) {
            Ok(source) => {
                carried.source = Some(source);
                carried.relay = Some(Relay::new(host, source, sink));
                Ok(Outlet::carried(carried))
            }
            Err(error) => {
                Outlet::carried(carried).close(host);
                Err(error)
            }
        }
    }

    /// Adds an end that waits for room when it is written.
    fn push_waiting<H: Host>(&mut self, host: &mut H, fd: Fd) {
        // This fails only for what is not open.
        let _ = host.set_nonblocking(fd, false);
        self.child_ends.push(fd);
    }

    /// As [`TaskStdio::push_pipe`], for a relay.
    fn push_relayed_pipe<H: Host>(&mut self, host: &mut H, owner: Owner) -> Result<Fd, Error> {
        let read = self.push_pipe(host, owner)?;
        match host.set_nonblocking(read, true) {
            Ok(()) => Ok(read),
            Err(errno) => {
                close_all(host, [read]);
                Err(pipe_failed(errno))
            }
        }
    }

    /// Makes a pipe whose write end is the process's, and gives the read end.
    fn push_pipe<H: Host>(&mut self, host: &mut H, owner: Owner) -> Result<Fd, Error> {
        let Pipe { read, write } = host.pipe(OpenFlags::empty()).map_err(pipe_failed)?;
        self.child_ends.push(write);
        match owner.give(host, write) {
            Ok(()) => Ok(read),
            Err(errno) => {
                close_all(host, [read]);
                Err(pipe_failed(errno))
            }
        }
    }

    fn open_logger<H: Host>(
        &mut self,
        host: &mut H,
        asked: Asked,
        owner: Owner,
    ) -> Result<(), Error> {
        let stdout = self.push_pipe(host, owner)?;
        self.stdout = Outlet::logged(stdout);
        let stderr = self.push_pipe(host, owner)?;
        self.stderr = Outlet::logged(stderr);
        let null = self.dev_null(host)?;
        self.logger = Some(Logger::new(host, asked, [null, stdout, stderr])?);
        Ok(())
    }

    fn open_terminal<H: Host>(
        &mut self,
        host: &mut H,
        wanted: &Wanted,
        env: &[OsString],
    ) -> Result<(), Error> {
        let place = Place::parse(&wanted.stdout)?;
        for _ in 0..3 {
            self.push_null(host)?;
        }
        if !wanted.stdin.is_empty() {
            let input = Input::open(host, Path::new(&wanted.stdin))?;
            self.stdin = Some(Inlet { input, pipe: None, relay: None });
        }
        let (output, reader) = match place {
            Place::Path(path) if path.as_os_str().is_empty() => {
                (Output { sink: open_null(host)?, keeper: None }, Reader::Nobody)
            }
            Place::Path(path) => meet(host, &path)?,
            Place::File(path) => {
                make_file(host, &path)?;
                meet(host, &path)?
            }
            Place::Logger { program, arguments, must_say_ready } => {
                let env = logger_env(wanted);
                let asked = Asked { program, arguments, must_say_ready, env };
                (self.open_terminal_logger(host, asked)?, Reader::Logger)
            }
        };
        self.stdout = Outlet::carried(Carried { source: None, output, reader, relay: None });
        self.console_socket = Some(ConsoleSocket::listen_at_runtime_dir(host, env)?);
        Ok(())
    }

    /// A logger for what a terminal says: a pipe to it, and another that ends at once.
    fn open_terminal_logger<H: Host>(
        &mut self,
        host: &mut H,
        asked: Asked,
    ) -> Result<Output, Error> {
        let null = self.dev_null(host)?;
        let errors = host.pipe(OpenFlags::empty()).map_err(pipe_failed)?;
        close_all(host, [errors.write]);
        let made = host.pipe(OpenFlags::empty()).map_err(pipe_failed).and_then(|pipe| {
            let nonblocking = host.set_nonblocking(pipe.write, true).map_err(pipe_failed);
            nonblocking
                .and_then(|()| Logger::new(host, asked, [null, pipe.read, errors.read]))
                .map(|logger| (pipe, logger))
                .inspect_err(|_| close_all(host, [pipe.read, pipe.write]))
        });
        let (pipe, mut logger) = made.inspect_err(|_| close_all(host, [errors.read]))?;
        logger.lend(errors.read);
        self.logger = Some(logger);
        Ok(Output { sink: pipe.write, keeper: Some(pipe.read) })
    }

    fn dev_null<H: Host>(&mut self, host: &mut H) -> Result<Fd, Error> {
        match self.null {
            Some(null) => Ok(null),
            None => Ok(*self.null.insert(open_null(host)?)),
        }
    }

    fn push_null<H: Host>(&mut self, host: &mut H) -> Result<(), Error> {
        let null = self.dev_null(host)?;
        self.child_ends.push(null);
        Ok(())
    }
}

/// Opens where an output goes, and says who reads it.
fn meet<H: Host>(host: &mut H, path: &Path) -> Result<(Output, Reader), Error> {
    let (output, met) = Output::meet(host, path)?;
    // A fifo that could not be opened to read, say, has a client all the same.
    let reader = match output.keeper.is_some() || is_fifo(host, output.sink) {
        true => Reader::Client { path: path.to_owned(), met },
        false => Reader::Nobody,
    };
    Ok((output, reader))
}

fn pipe_failed(errno: Errno) -> Error {
    Error::system("pipe", "for the process's streams", errno)
}

fn is_regular<H: Host>(host: &mut H, fd: Fd) -> bool {
    host.fstat(fd).is_ok_and(|stat| stat.kind == FileKind::Regular)
}

fn logger_env(wanted: &Wanted) -> Vec<OsString> {
    vec![
        format!("CONTAINER_ID={}", wanted.id).into(),
        format!("CONTAINER_NAMESPACE={}", wanted.namespace).into(),
    ]
}

/// Where stderr goes beside a stdout that is a path.
fn stderr_path(text: &str) -> Result<PathBuf, Error> {
    match Place::parse(text)? {
        Place::Path(path) | Place::File(path) => Ok(path),
        Place::Logger { .. } => Err(Error::invalid(text, "stdout does not go to that logger")),
    }
}

/// Makes sure that there is a file of that path. A fifo that is there is one, read or not.
fn make_file<H: Host>(host: &mut H, path: &Path) -> Result<(), Error> {
    let flags = OpenFlags::WRITE | OpenFlags::CREATE | OpenFlags::NONBLOCK | OpenFlags::NOCTTY;
    let opened = match host.open(path, flags, 0o644) {
        Err(Errno::ENOENT) => {
            make_directories(host, path.parent().unwrap_or(Path::new("")))?;
            host.open(path, flags, 0o644)
        }
        opened => opened,
    };
    match opened {
        Ok(fd) => close_all(host, [fd]),
        Err(Errno::ENXIO) => {}
        Err(errno) => return Err(Error::system("open", path.display(), errno)),
    }
    Ok(())
}

fn make_directories<H: Host>(host: &mut H, path: &Path) -> Result<(), Error> {
    let made = match (host.mkdir(path, 0o755), path.parent()) {
        (Err(Errno::ENOENT), Some(parent)) => {
            make_directories(host, parent)?;
            host.mkdir(path, 0o755)
        }
        (made, _) => made,
    };
    match made {
        Ok(()) | Err(Errno::EEXIST) => Ok(()),
        Err(errno) => Err(Error::system("mkdir", path.display(), errno)),
    }
}
