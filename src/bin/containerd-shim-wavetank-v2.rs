//! The runtime v2 shim's binary: `containerd-shim-wavetank-v2` (see `wavetank::task`).
#![allow(clippy::disallowed_methods, reason = "main is where the door is opened")]

use std::ffi::OsString;

use wavetank::host::{LinuxHost, recording};
use wavetank::task;

#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

fn main() {
    LinuxHost::close_inherited(4);
    let argv: Vec<OsString> = std::env::args_os().collect();
    std::process::exit(run(&argv));
}

fn run(argv: &[OsString]) -> i32 {
    let host = LinuxHost::of_program(run);
    match recording(host, "containerd-shim-wavetank-v2", argv.get(1..).unwrap_or(&[])) {
        Ok(Some(mut recorder)) => task::main(&mut recorder, argv),
        Ok(None) => task::main(&mut LinuxHost::of_program(run), argv),
        Err(reason) => task::refuse(&mut LinuxHost::new(), &reason),
    }
}
