//! Calls that hardly anybody makes: on the wrong kind of file, and with names that lead nowhere.

use std::path::Path;

use wavetank::host::{
    Command, Fd, Host, LoopFlags, OpenFlags, Result, Termios, WaitFor, WindowSize,
};

use super::draw::LONG;

/// How many there are.
pub(crate) const ODD: usize = 20;
/// More than any socket takes.
const MUCH: usize = 200;

#[expect(clippy::needless_pass_by_value, reason = "every caller has it to give away")]
fn text(result: Result<impl std::fmt::Debug>) -> String {
    format!("{result:?}")
}

/// Makes one of them, on a descriptor that may be anything or nothing.
pub(crate) fn odd<H: Host>(host: &mut H, base: &Path, fd: Fd, which: usize) -> String {
    match which {
        0 => text(host.pty_number(fd).map(drop)),
        1 => text(host.unlock_pty(fd)),
        // One that is opened is closed at once.
        2 => text(host.open_pty_peer(fd).and_then(|peer| host.close(peer))),
        3 => text(host.window_size(fd)),
        4 => text(host.set_window_size(fd, WindowSize { columns: 80, rows: 24 })),
        5 => text(host.terminal_attributes(fd).map(drop)),
        6 => {
            let none = Termios { input: 0, output: 0, control: 0, local: 0, ..some_terminal(host) };
            let is_terminal = host.terminal_attributes(fd).is_ok();
            if is_terminal { String::new() } else { text(host.set_terminal_attributes(fd, &none)) }
        }
        7 => text(host.free_loop_device(fd).map(drop)),
        8 => text(host.attach_loop_device(fd, fd, LoopFlags::empty())),
        9 => text(host.bind(fd, &base.join("no/such"))),
        10 => text(host.bind(fd, &base.join(LONG))),
        11 => text(host.bind(fd, &base.join("f/x"))),
        12 => text(host.connect(fd, &base.join("f/x"))),
        13 => removed_directory(host, base),
        14 => spawn(host, &base.join(LONG), None),
        15 => spawn(host, &base.join("no/such"), Some(LONG)),
        16 => spawn(host, &base.join("loop"), None),
        17 => text(host.read_at(fd, 3, &mut [0; 8])),
        18 => {
            // How much that is nobody promises.
            let last = (0..MUCH).map(|_| host.send(fd, &[7; 20_000], &[])).find(Result::is_err);
            format!("{last:?}")
        }
        _ => {
            let link = host.symlink(Path::new("loop"), &base.join("loop"));
            let opened = host.open(&base.join("loop"), OpenFlags::READ, 0).map(drop);
            let gone = host.change_dir(&base.join("loop/x"));
            format!("{link:?} {opened:?} {gone:?} {:?}", host.stat(&base.join("loop")).map(drop))
        }
    }
}

/// Attributes to change, as this machine's terminals have them.
fn some_terminal<H: Host>(host: &mut H) -> Termios {
    let flags = OpenFlags::READ | OpenFlags::WRITE | OpenFlags::NOCTTY;
    let master = host.open(Path::new("/dev/ptmx"), flags, 0).unwrap();
    let attributes = host.terminal_attributes(master).unwrap();
    host.close(master).unwrap();
    attributes
}

fn removed_directory<H: Host>(host: &mut H, base: &Path) -> String {
    let here = base.join("gone");
    let made = host.mkdir(&here, 0o755);
    let entered = host.change_dir(&here);
    let removed = host.rmdir(&here);
    let now = host.current_dir().map(drop);
    host.change_dir(Path::new("/")).unwrap();
    format!("{made:?} {entered:?} {removed:?} {now:?}")
}

/// A start that fails; one that does not is waited for.
fn spawn<H: Host>(host: &mut H, program: &Path, below: Option<&str>) -> String {
    let command = Command {
        program: program.to_owned(),
        argv: vec!["odd".into()],
        cwd: below.map(|name| program.join(name)),
        ..Command::default()
    };
    let spawned = host.spawn(&command);
    if let Ok(pid) = spawned {
        host.wait(WaitFor::Pid(pid), true).unwrap();
    }
    format!("{:?}", spawned.map(drop))
}
