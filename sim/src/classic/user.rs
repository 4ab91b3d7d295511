//! Somebody at a shell: types `wavetank run`, feeds it, and reads what it says.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::path::PathBuf;

use wavetank::host::{
    Command, Errno, Fd, Host, OpenFlags, PollFd, Ready, Result, Signal, WaitFor, close_all,
};

use super::plan::Told;
use crate::caller::SimHost;
use crate::trouble::{Impatience, Patience};

/// What the user types, and what the program is given to read.
#[derive(Clone, Debug, Default)]
pub struct Typed {
    /// The container's command.
    pub words: Vec<String>,
    /// Its input.
    pub input: Vec<u8>,
}

pub(super) fn play(host: &mut SimHost<'_>, typed: &Typed) -> Told {
    let mut told = Told { process: "run".to_owned(), ..Told::default() };
    if let Err(errno) = converse(host, typed, &mut told) {
        told.astonished = Some(format!("the user's own call failed: {errno}"));
    }
    told
}

fn converse(host: &mut SimHost<'_>, typed: &Typed, told: &mut Told) -> Result<()> {
    let [stdin, stdout, stderr] = [
        host.pipe(OpenFlags::empty())?,
        host.pipe(OpenFlags::empty())?,
        host.pipe(OpenFlags::empty())?,
    ];
    let command = Command {
        program: PathBuf::from("/bin/wavetank"),
        argv: typed.words.iter().map(OsString::from).collect(),
        env: Some(vec!["PATH=/bin".into(), "TMPDIR=/w".into()]),
        fds: vec![stdin.read, stdout.write, stderr.write],
        ..Command::default()
    };
    let spawned = host.spawn(&command);
    close_all(host, [stdin.read, stdout.write, stderr.write]);
    let pid = spawned.map_err(|error| error.errno)?;
    host.set_nonblocking(stdin.write, true)?;
    let mut patience = Patience::default();
    let mut input: VecDeque<u8> = typed.input.iter().copied().collect();
    let mut feeding = Some(stdin.write);
    let mut reading = vec![(stdout.read, Vec::new(), true), (stderr.read, Vec::new(), true)];
    while reading.iter().any(|(.., open)| *open) {
        if input.is_empty() {
            close_all(host, feeding.take());
        }
        let mut questions: Vec<PollFd> = reading
            .iter()
            .filter(|(.., open)| *open)
            .map(|(fd, ..)| PollFd::new(*fd, Ready::READ))
            .chain(feeding.map(|fd| PollFd::new(fd, Ready::WRITE)))
            .collect();
        let left = patience.left(host);
        host.poll(&mut questions, left)?;
        if patience.ends(host) == Some(Impatience::Hangs) {
            told.astonished = Some("nothing happens any more, and it is not over".to_owned());
            host.kill(pid, Signal::KILL)?;
        }
        for answer in questions.iter().filter(|answer| !answer.ready.is_empty()) {
            if feeding == Some(answer.fd) {
                feed(host, answer.fd, &mut input);
            } else if let Some(stream) = reading.iter_mut().find(|(fd, ..)| *fd == answer.fd) {
                stream.2 = read(host, stream.0, &mut stream.1)?;
            }
        }
    }
    close_all(host, feeding.into_iter().chain([stdout.read, stderr.read]));
    let exit = host.wait(WaitFor::Pid(pid), true)?;
    let mut streams = reading.into_iter().map(|(_, bytes, _)| bytes);
    told.stdout = streams.next().unwrap_or_default();
    told.stderr = streams.next().unwrap_or_default();
    told.shim_code = exit.map(|exit| exit.status.number());
    Ok(())
}

fn feed<H: Host>(host: &mut H, fd: Fd, input: &mut VecDeque<u8>) {
    match host.write(fd, input.make_contiguous()) {
        Ok(count) => drop(input.drain(..count)),
        Err(Errno::EAGAIN) => {}
        Err(_) => input.clear(),
    }
}

fn read<H: Host>(host: &mut H, fd: Fd, bytes: &mut Vec<u8>) -> Result<bool> {
    let mut buffer = [0; 4096];
    let count = host.read(fd, &mut buffer)?;
    bytes.extend_from_slice(&buffer[..count]);
    Ok(count > 0)
}
