//! Which daemon has started us, where it does not say.
//!
//! Containerd 2.0 to 2.2 start a shim word for word as 1.7 does. But they know version 3 of the task
//! service, with which one shim is started for a whole pod, and 1.7 refuses a shim that offers it.
//! What a Go program was built of is written in it (`go version -m` shows it), and there it is looked
//! up: containerd calls itself by its version there, and so does what has it built in, as k3s does.

use std::path::Path;

use crate::host::{Fd, Host, OpenFlags, close_all};

/// How containerd 2.x is called where a program is told what it was built of.
const SECOND_GENERATION: &[u8] = b"github.com/containerd/containerd/v2";
/// The section of a Go program that says what it was built of (`debug/buildinfo` of Go).
const BUILD_INFO: &[u8] = b".go.buildinfo\0";
/// More than any section that is read here needs, in bytes.
const SECTION_MAX: u64 = 1 << 20;

/// An ELF file of 64 bits (`elf(5)`): its header and one of its section headers, in bytes.
const HEADER_LEN: usize = 64;
const SECTION_LEN: usize = 64;
const MAGIC_OF_64_BITS: &[u8] = b"\x7fELF\x02";

/// Whether who has started us is a containerd 2.x. What cannot be read is none.
pub(super) fn is_of_second_generation<H: Host>(host: &mut H) -> bool {
    let program = format!("/proc/{}/exe", host.parent().0);
    is_built_of(host, Path::new(&program), SECOND_GENERATION)
}

fn is_built_of<H: Host>(host: &mut H, program: &Path, module: &[u8]) -> bool {
    let Ok(file) = host.open(program, OpenFlags::READ | OpenFlags::NONBLOCK, 0) else {
        return false;
    };
    let info = section(host, file, BUILD_INFO).unwrap_or_default();
    close_all(host, [file]);
    info.windows(module.len()).any(|window| window == module)
}

/// The section of this name, which ends in a zero.
fn section<H: Host>(host: &mut H, file: Fd, name: &[u8]) -> Option<Vec<u8>> {
    let header = read_range(host, file, 0, HEADER_LEN as u64)?;
    if !header.starts_with(MAGIC_OF_64_BITS) {
        return None;
    }
    let (count, of_names) = (number_of_2(&header, 60)?, usize::from(number_of_2(&header, 62)?));
    let length = u64::from(count) * SECTION_LEN as u64;
    let table = read_range(host, file, number_of_8(&header, 40)?, length)?;
    let sections: Vec<Section> = table.chunks(SECTION_LEN).filter_map(Section::parse).collect();
    let names = sections.get(of_names)?.read(host, file)?;
    let is_named = |it: &&Section| names.get(it.name..).is_some_and(|rest| rest.starts_with(name));
    sections.iter().find(is_named)?.read(host, file)
}

/// Where a section is.
struct Section {
    /// Where its name begins, in the section of names.
    name: usize,
    offset: u64,
    length: u64,
}

impl Section {
    fn parse(header: &[u8]) -> Option<Section> {
        let name = u32::from_ne_bytes(header.get(..4)?.try_into().ok()?);
        Some(Section {
            name: usize::try_from(name).ok()?,
            offset: number_of_8(header, 24)?,
            length: number_of_8(header, 32)?,
        })
    }

    fn read<H: Host>(&self, host: &mut H, file: Fd) -> Option<Vec<u8>> {
        read_range(host, file, self.offset, self.length)
    }
}

fn number_of_2(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn number_of_8(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

/// All bytes of a range, if they are there and not too many.
fn read_range<H: Host>(host: &mut H, file: Fd, offset: u64, length: u64) -> Option<Vec<u8>> {
    if length > SECTION_MAX {
        return None;
    }
    let mut bytes = vec![0; usize::try_from(length).ok()?];
    let mut have = 0;
    while have < bytes.len() {
        let at = offset.checked_add(have as u64)?;
        match host.read_at(file, at, &mut bytes[have..]) {
            Ok(0) | Err(_) => return None,
            Ok(count) => have += count,
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::files::write_atomically;
    use crate::host::LinuxHost;

    const INFO: &str = "path\tgithub.com/containerd/containerd/v2/cmd/containerd\n";

    /// An ELF file with a section of names and one of build information.
    fn program(section: &str, info: &str) -> Vec<u8> {
        let names = format!("\0.shstrtab\0{section}\0");
        let at_names = HEADER_LEN + 2 * SECTION_LEN;
        let header = |name: u32, offset: usize, length: usize| {
            let mut header = vec![0; SECTION_LEN];
            header[..4].copy_from_slice(&name.to_ne_bytes());
            header[24..32].copy_from_slice(&(offset as u64).to_ne_bytes());
            header[32..40].copy_from_slice(&(length as u64).to_ne_bytes());
            header
        };
        let mut file = vec![0; HEADER_LEN];
        file[..5].copy_from_slice(MAGIC_OF_64_BITS);
        file[40..48].copy_from_slice(&(HEADER_LEN as u64).to_ne_bytes());
        file[60..62].copy_from_slice(&2_u16.to_ne_bytes());
        file.extend(header(1, at_names, names.len()));
        file.extend(header(11, at_names + names.len(), info.len()));
        file.extend(names.bytes().chain(info.bytes()));
        file
    }

    fn is_second(file: &[u8]) -> bool {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("program");
        let mut host = LinuxHost::new();
        write_atomically(&mut host, &path, file).unwrap();
        is_built_of(&mut host, &path, SECOND_GENERATION)
    }

    #[rstest]
    #[case::containerd_2(".go.buildinfo", INFO, true)]
    #[case::built_in(
        ".go.buildinfo",
        "path\tk3s\ndep\tgithub.com/containerd/containerd/v2\tv2.0.5\n",
        true
    )]
    #[case::containerd_1(
        ".go.buildinfo",
        "path\tgithub.com/containerd/containerd/cmd/containerd\n",
        false
    )]
    #[case::another_section(".go.other", INFO, false)]
    fn what_a_program_was_built_of(
        #[case] section: &str,
        #[case] info: &str,
        #[case] expected: bool,
    ) {
        assert_eq!(is_second(&program(section, info)), expected);
    }

    #[test]
    fn a_program_that_was_cut_off_is_none() {
        let whole = program(".go.buildinfo", INFO);
        assert!((0..whole.len()).all(|length| !is_second(&whole[..length])));
    }

    #[rstest]
    #[case::no_such_file("/nonexistent")]
    #[case::a_directory("/")]
    #[case::no_elf_file("/proc/self/status")]
    #[case::not_written_in_go("/proc/self/exe")]
    fn what_is_none(#[case] path: &str) {
        let mut host = LinuxHost::new();
        assert!(!is_built_of(&mut host, Path::new(path), SECOND_GENERATION));
    }
}
