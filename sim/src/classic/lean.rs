//! A runtime that does what the protocol wants of one and no more: it remembers nothing of a container
//! but that there is one.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use wavetank::files::{make_directories, write_atomically};
use wavetank::host::{Command, Fd, Host, SpawnError};

/// Its name.
pub(super) const NAME: &str = "lean-runc";
/// What it runs, in the bundle: a word on each line.
pub(super) const WORDS: &str = "words";

/// `lean-runc --root=DIRECTORY … run|kill|delete … ID`. Options that it has no use for are left out of
/// account; `kill` is for what a container has besides its first process, and here it has none.
pub(super) fn main<H: Host>(host: &mut H, argv: &[OsString]) -> i32 {
    let line = Line(argv);
    let (Some(root), Some(id)) = (line.value(b"--root="), argv.last()) else { return 2 };
    let home = Path::new(root).join(id);
    let is_done = match () {
        () if line.has(b"run") => run(host, &line, &home).is_some(),
        () if line.has(b"delete") => host.rmdir(&home).is_ok(),
        () => line.has(b"kill"),
    };
    i32::from(!is_done)
}

fn run<H: Host>(host: &mut H, line: &Line<'_>, home: &Path) -> Option<()> {
    let bundle = Path::new(line.after(b"--bundle")?);
    let words = wavetank::files::read_file(host, &bundle.join(WORDS), 1 << 16).ok()?;
    make_directories(host, home, 0o711).ok()?;
    let pid = start(host, &words).ok()?;
    write_atomically(host, line.after(b"--pid-file")?.as_ref(), pid.to_string().as_bytes()).ok()
}

fn start<H: Host>(host: &mut H, words: &[u8]) -> Result<wavetank::host::Pid, SpawnError> {
    let words = words.split(|byte| *byte == b'\n');
    let argv: Vec<OsString> = words.map(|word| OsString::from_vec(word.to_vec())).collect();
    let program = PathBuf::from("/bin").join(argv.first().map_or("".as_ref(), OsString::as_os_str));
    let fds = vec![Fd(0), Fd(1), Fd(2)];
    host.spawn(&Command { program, argv, fds, ..Command::default() })
}

/// A command line, of which one thing or another is looked up.
struct Line<'a>(&'a [OsString]);

impl<'a> Line<'a> {
    fn has(&self, word: &[u8]) -> bool {
        self.0.iter().any(|it| it.as_bytes() == word)
    }

    fn after(&self, option: &[u8]) -> Option<&'a OsStr> {
        let at = self.0.iter().position(|it| it.as_bytes() == option)?;
        self.0.get(at + 1).map(OsString::as_os_str)
    }

    fn value(&self, option: &[u8]) -> Option<&'a OsStr> {
        self.0.iter().find_map(|it| it.as_bytes().strip_prefix(option)).map(OsStr::from_bytes)
    }
}
