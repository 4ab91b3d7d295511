//! Terminals: the requests of `ioctl_tty(2)`.

use nix::libc;

use super::{checked, raw};
use crate::host::{Fd, Result, Termios, WindowSize};

pub(super) fn unlock(master: Fd) -> Result<()> {
    let locked: libc::c_int = 0;
    // SAFETY: TIOCSPTLCK reads one int.
    checked(unsafe { libc::ioctl(raw(master), libc::TIOCSPTLCK, &raw const locked) }).map(drop)
}

pub(super) fn number(master: Fd) -> Result<u32> {
    let mut number: libc::c_uint = 0;
    // SAFETY: TIOCGPTN stores one unsigned int.
    checked(unsafe { libc::ioctl(raw(master), libc::TIOCGPTN, &raw mut number) })?;
    Ok(number)
}

pub(super) fn open_peer(master: Fd) -> Result<Fd> {
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: TIOCGPTPEER takes open(2) flags by value and gives a new descriptor.
    checked(unsafe { libc::ioctl(raw(master), libc::TIOCGPTPEER, flags) }).map(Fd)
}

pub(super) fn window_size(fd: Fd) -> Result<WindowSize> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCGWINSZ stores one struct winsize.
    checked(unsafe { libc::ioctl(raw(fd), libc::TIOCGWINSZ, &raw mut size) })?;
    Ok(WindowSize { columns: size.ws_col, rows: size.ws_row })
}

pub(super) fn set_window_size(fd: Fd, size: WindowSize) -> Result<()> {
    let size =
        libc::winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCSWINSZ reads one struct winsize.
    checked(unsafe { libc::ioctl(raw(fd), libc::TIOCSWINSZ, &raw const size) }).map(drop)
}

/// `struct termios` as the kernel lays it out (`asm-generic/termbits.h`), which differs from the
/// C library's.
#[repr(C)]
struct KernelTermios {
    input: u32,
    output: u32,
    control: u32,
    local: u32,
    discipline: u8,
    characters: [u8; 19],
}

pub(super) fn attributes(fd: Fd) -> Result<Termios> {
    let mut termios = KernelTermios {
        input: 0,
        output: 0,
        control: 0,
        local: 0,
        discipline: 0,
        characters: [0; 19],
    };
    // SAFETY: TCGETS stores one struct termios of the kernel's layout.
    checked(unsafe { libc::ioctl(raw(fd), libc::TCGETS, &raw mut termios) })?;
    let KernelTermios { input, output, control, local, discipline, characters } = termios;
    Ok(Termios { input, output, control, local, discipline, characters })
}

pub(super) fn set_attributes(fd: Fd, attributes: &Termios) -> Result<()> {
    let Termios { input, output, control, local, discipline, characters } = *attributes;
    let termios = KernelTermios { input, output, control, local, discipline, characters };
    // SAFETY: TCSETS reads one struct termios of the kernel's layout.
    checked(unsafe { libc::ioctl(raw(fd), libc::TCSETS, &raw const termios) }).map(drop)
}
