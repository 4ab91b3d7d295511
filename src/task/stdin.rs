//! What a daemon hands over on stdin.

use std::time::Duration;

use crate::Error;
use crate::host::{Errno, Fd, FileKind, Host, PollFd, Ready};

/// Daemons bound what they hand over in the same way.
const STDIN_MAX: usize = 10 * 1024 * 1024;
/// A daemon closes it at once.
const PATIENCE: Duration = Duration::from_secs(5);

/// Reads stdin to its end. A terminal, at which a human sits, and a stdin that is not open hand
/// over nothing.
///
/// # Errors
/// It cannot be read, is too long, or is not closed in time.
pub(super) fn read_stdin<H: Host>(host: &mut H) -> Result<Vec<u8>, Error> {
    let stdin = Fd(0);
    let failed = |errno| Error::system("read", "stdin", errno);
    match host.fstat(stdin) {
        Err(Errno::EBADF) => return Ok(Vec::new()),
        Err(errno) => return Err(failed(errno)),
        Ok(stat) if stat.kind == FileKind::Character => {
            if host.terminal_attributes(stdin).is_ok() {
                return Ok(Vec::new());
            }
        }
        Ok(_) => {}
    }
    let deadline = host.now() + PATIENCE;
    let mut content = Vec::new();
    let mut buffer = vec![0; 64 * 1024];
    while content.len() <= STDIN_MAX {
        let mut question = [PollFd::new(stdin, Ready::READ)];
        let left = deadline.saturating_sub(host.now());
        match host.poll(&mut question, Some(left)) {
            Ok(0) => return Err(Error::invalid("stdin", "is not closed")),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(failed(errno)),
        }
        if question[0].ready.is_empty() {
            continue;
        }
        match host.read(stdin, &mut buffer) {
            Ok(0) => return Ok(content),
            Ok(count) => content.extend_from_slice(&buffer[..count]),
            Err(Errno::EINTR | Errno::EAGAIN) => {}
            Err(errno) => return Err(failed(errno)),
        }
    }
    Err(Error::invalid("stdin", format_args!("has more than {STDIN_MAX} bytes")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::{FileStat, MockHost};

    fn pipe(host: &mut MockHost) {
        let stat = FileStat {
            kind: FileKind::Fifo,
            mode: 0,
            uid: 0,
            gid: 0,
            size: 0,
            device: 0,
            inode: 0,
        };
        host.expect_fstat().returning(move |_| Ok(stat));
    }

    fn readable(question: &mut [PollFd]) -> usize {
        question[0].ready = Ready::READ;
        1
    }

    #[test]
    fn in_pieces_and_with_interruptions() {
        let mut host = MockHost::new();
        pipe(&mut host);
        host.expect_now().returning(|| Duration::ZERO);
        host.expect_poll().returning(|question, _| Ok(readable(question)));
        let mut answers = vec![Ok(0), Ok(2), Err(Errno::EINTR), Ok(3)];
        host.expect_read().times(4).returning(move |_, buffer| {
            buffer[..3].copy_from_slice(b"abc");
            answers.pop().unwrap()
        });
        assert_eq!(read_stdin(&mut host).unwrap(), b"abcab");
    }

    #[test]
    fn one_that_nobody_closes() {
        let mut host = MockHost::new();
        pipe(&mut host);
        let mut time = Duration::ZERO;
        host.expect_now().returning(move || {
            time += Duration::from_secs(3);
            time
        });
        host.expect_poll().returning(|question, timeout| {
            Ok(if timeout == Some(Duration::ZERO) { 0 } else { readable(question) })
        });
        host.expect_read().returning(|_, _| Ok(1));
        assert_eq!(read_stdin(&mut host).unwrap_err().to_string(), "stdin: is not closed");
    }

    #[test]
    fn one_that_never_ends() {
        let mut host = MockHost::new();
        pipe(&mut host);
        host.expect_now().returning(|| Duration::ZERO);
        host.expect_poll().returning(|question, _| Ok(readable(question)));
        host.expect_read().returning(|_, buffer| Ok(buffer.len()));
        let error = read_stdin(&mut host).unwrap_err().to_string();
        assert_eq!(error, "stdin: has more than 10485760 bytes");
    }

    #[test]
    fn one_that_is_not_open() {
        let mut host = MockHost::new();
        host.expect_fstat().returning(|_| Err(Errno::EBADF));
        assert_eq!(read_stdin(&mut host).unwrap(), b"");
    }
}
