//! The classic shim's binary: `containerd-shim ID BUNDLE RUNTIME` (see `wavetank::classic`).
#![allow(clippy::disallowed_methods, reason = "main is where the door is opened")]

use std::ffi::OsString;

use wavetank::classic;
use wavetank::host::{LinuxHost, recording};

fn main() {
    LinuxHost::close_inherited(3);
    let argv: Vec<OsString> = std::env::args_os().collect();
    let code = match recording(LinuxHost::new(), "containerd-shim", argv.get(1..).unwrap_or(&[])) {
        Ok(Some(mut recorder)) => classic::main(&mut recorder, &argv),
        Ok(None) => classic::main(&mut LinuxHost::new(), &argv),
        Err(reason) => classic::refuse(&mut LinuxHost::new(), &reason),
    };
    std::process::exit(code);
}
