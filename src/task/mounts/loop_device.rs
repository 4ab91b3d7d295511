//! Files that are mounted as block devices (`loop(4)`).

use std::path::{Path, PathBuf};

use crate::Error;
use crate::host::{Errno, Fd, Host, LoopFlags, OpenFlags, close_all};

/// As containerd: so often another program may be faster than we are.
const TRIES: u32 = 100;

const CONTROL: &str = "/dev/loop-control";

/// A loop device that shows a file. It lets go of the file when it is neither open nor mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LoopDevice {
    pub(super) path: PathBuf,
    /// To be closed once it is mounted.
    pub(super) fd: Fd,
}

/// Makes a device of a file.
///
/// # Errors
/// Which call failed on what.
pub(super) fn open<H: Host>(
    host: &mut H,
    file: &Path,
    flags: LoopFlags,
) -> Result<LoopDevice, Error> {
    let access = if flags.contains(LoopFlags::READ_ONLY) {
        OpenFlags::READ
    } else {
        OpenFlags::READ | OpenFlags::WRITE
    };
    let backing = open_file(host, file, access)?;
    let device = open_file(host, Path::new(CONTROL), OpenFlags::READ | OpenFlags::WRITE).and_then(
        |control| {
            let device = attach(host, control, (file, backing), access, flags);
            close_all(host, [control]);
            device
        },
    );
    close_all(host, [backing]);
    device
}

fn attach<H: Host>(
    host: &mut H,
    control: Fd,
    (file, backing): (&Path, Fd),
    access: OpenFlags,
    flags: LoopFlags,
) -> Result<LoopDevice, Error> {
    let flags = flags | LoopFlags::AUTOCLEAR;
    let mut tries_left = TRIES;
    loop {
        let number = host
            .free_loop_device(control)
            .map_err(|errno| Error::system("LOOP_CTL_GET_FREE", CONTROL, errno))?;
        let path = PathBuf::from(format!("/dev/loop{number}"));
        let fd = open_file(host, &path, access)?;
        tries_left -= 1;
        match host.attach_loop_device(fd, backing, flags) {
            Ok(()) => return Ok(LoopDevice { path, fd }),
            Err(Errno::EBUSY) if tries_left > 0 => close_all(host, [fd]),
            Err(errno) => {
                close_all(host, [fd]);
                let subject = format!("{} for {}", path.display(), file.display());
                return Err(Error::system("LOOP_CONFIGURE", subject, errno));
            }
        }
    }
}

fn open_file<H: Host>(host: &mut H, path: &Path, flags: OpenFlags) -> Result<Fd, Error> {
    host.open(path, flags, 0).map_err(|errno| Error::system("open", path.display(), errno))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::MockHost;

    /// The files are open as 3 and 4, the devices 0, 1, … as 10, 11, ….
    fn host() -> MockHost {
        let mut host = MockHost::new();
        host.expect_open().returning(|path, _, _| match path.to_str() {
            Some("/image") => Ok(Fd(3)),
            Some(CONTROL) => Ok(Fd(4)),
            Some(device) => device
                .strip_prefix("/dev/loop")
                .map_or(Err(Errno::ENOENT), |number| Ok(Fd(10 + number.parse::<i32>().unwrap()))),
            None => Err(Errno::ENOENT),
        });
        host
    }

    fn expect_close(host: &mut MockHost, fd: i32) {
        host.expect_close().withf(move |closed| *closed == Fd(fd)).once().returning(|_| Ok(()));
    }

    #[test]
    fn a_device_that_another_program_took_first_is_given_up() {
        let mut host = host();
        let mut numbers = 0..2;
        host.expect_free_loop_device().returning(move |_| Ok(numbers.next().unwrap()));
        host.expect_attach_loop_device().times(2).returning(|device, file, flags| {
            assert_eq!((file, flags), (Fd(3), LoopFlags::READ_ONLY | LoopFlags::AUTOCLEAR));
            if device == Fd(10) { Err(Errno::EBUSY) } else { Ok(()) }
        });
        [10, 4, 3].into_iter().for_each(|fd| expect_close(&mut host, fd));
        let device = open(&mut host, Path::new("/image"), LoopFlags::READ_ONLY).unwrap();
        assert_eq!(device, LoopDevice { path: "/dev/loop1".into(), fd: Fd(11) });
    }

    #[test]
    fn a_failure_leaves_no_descriptor_open() {
        let mut host = host();
        host.expect_free_loop_device().returning(|_| Ok(7));
        host.expect_attach_loop_device().once().returning(|_, _, _| Err(Errno::EINVAL));
        [17, 4, 3].into_iter().for_each(|fd| expect_close(&mut host, fd));
        let error = open(&mut host, Path::new("/image"), LoopFlags::empty()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "LOOP_CONFIGURE /dev/loop7 for /image: invalid argument (EINVAL)"
        );
    }
}
