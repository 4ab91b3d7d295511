//! The binary: the pretend runtime on the real operating system.

use std::ffi::OsString;
use std::process::ExitCode;

use wavetank::host::LinuxHost;

#[allow(clippy::disallowed_methods, reason = "here is the main that arguments come from")]
fn main() -> ExitCode {
    let argv: Vec<OsString> = std::env::args_os().collect();
    let code = fake_runc::main(&mut LinuxHost::new(), &argv);
    ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX))
}
