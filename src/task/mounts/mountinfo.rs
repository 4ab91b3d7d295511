//! `/proc/self/mountinfo` (`proc_pid_mountinfo(5)`).

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use crate::Error;
use crate::files::read_file;
use crate::host::Host;

/// More than any list of mounts is long; each has less than a page.
const LIST_MAX: usize = 256 * 1024 * 1024;

/// A line of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Where it is mounted.
    pub(super) target: PathBuf,
    /// The flags of this mount, as options separated by commas.
    pub(super) options: String,
    /// The file system's type.
    pub(super) kind: String,
}

/// All mounts of our mount namespace that can be reached from our root.
///
/// # Errors
/// The list cannot be read.
pub(super) fn read<H: Host>(host: &mut H) -> Result<Vec<Entry>, Error> {
    read_file(host, Path::new("/proc/self/mountinfo"), LIST_MAX).map(|text| parse(&text))
}

fn parse(text: &[u8]) -> Vec<Entry> {
    text.split(|byte| *byte == b'\n').filter_map(entry).collect()
}

/// `ID PARENT DEVICE ROOT TARGET OPTIONS TAG... - TYPE SOURCE OPTIONS`
fn entry(line: &[u8]) -> Option<Entry> {
    let mut fields = line.split(|byte| *byte == b' ');
    let target = OsString::from_vec(unescape(fields.nth(4)?)).into();
    let text = |field: &[u8]| String::from_utf8_lossy(field).into_owned();
    let options = text(fields.next()?);
    fields.find(|field| *field == b"-")?;
    Some(Entry { target, options, kind: text(fields.next()?) })
}

/// Spaces, tabs, newlines and backslashes are a backslash and three octal digits.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, after @ ..] = rest {
        rest = match after {
            [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', after @ ..] if *first == b'\\' => {
                bytes.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                after
            }
            _ => {
                bytes.push(*first);
                after
            }
        };
    }
    bytes
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(
        b"36 35 98:0 / /mnt rw,noatime shared:1 master:2 - ext3 /dev/root rw",
        "/mnt",
        "rw,noatime",
        "ext3"
    )]
    #[case(b"36 35 98:0 / / rw - fuse.sshfs host:/a - rw", "/", "rw", "fuse.sshfs")]
    #[case(
        b"36 35 0:5 / /a\\040b\\011c\\012d\\134e ro - tmpfs none rw",
        "/a b\tc\nd\\e",
        "ro",
        "tmpfs"
    )]
    #[case(b"36 35 0:5 / /a\\04\\0x\\ ro - tmpfs none rw", "/a\\04\\0x\\", "ro", "tmpfs")]
    fn a_line(
        #[case] line: &[u8],
        #[case] target: &str,
        #[case] options: &str,
        #[case] kind: &str,
    ) {
        let (options, kind) = (options.to_owned(), kind.to_owned());
        assert_eq!(entry(line), Some(Entry { target: target.into(), options, kind }));
    }

    #[test]
    fn lines_that_are_none_are_passed_over() {
        let text = b"\n1 2 3\n36 35 0:5 / /a ro tmpfs\n36 35 0:5 / /\xff ro - tmpfs none rw\n";
        let found = parse(text);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].target.as_os_str().as_encoded_bytes(), b"/\xff");
    }
}
