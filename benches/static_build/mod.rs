//! The programs as they are shipped, for the benchmarks: optimised and statically linked, with musl if
//! Rust has it installed.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

pub(crate) const FLAGS: &str = "-C target-feature=+crt-static -C relocation-model=static";

/// The platform that they are built for; Rust is asked once.
fn target() -> &'static str {
    static TARGET: OnceLock<String> = OnceLock::new();
    TARGET.get_or_init(|| {
        let platform = |libc| format!("{}-unknown-linux-{libc}", std::env::consts::ARCH);
        let musl = platform("musl");
        let library =
            Command::new("rustc").args(["--print", "target-libdir", "--target", &musl]).output();
        let library = library.expect("rustc").stdout;
        let is_there = Path::new(String::from_utf8_lossy(&library).trim()).is_dir();
        if is_there { musl } else { platform("gnu") }
    })
}

/// Where cargo puts what is built here.
fn target_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/static")
}

/// Where the programs are once they are built.
pub(crate) fn directory() -> PathBuf {
    target_dir().join(target()).join("release")
}

/// Builds the programs statically linked, and gives their directory.
pub(crate) fn build() -> PathBuf {
    let target = target();
    println!("built for {target}");
    let built = Command::new(env!("CARGO"))
        .args(["build", "--release", "--package", "wavetank", "--package", "fake-runc", "--bins"])
        .args(["--target", target, "--target-dir"])
        .arg(target_dir())
        .env("RUSTFLAGS", FLAGS)
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()
        .expect("cargo build");
    assert!(built.success(), "the static programs could not be built");
    directory()
}

/// Builds one small program of one file, statically linked.
pub(crate) fn build_small(directory: &Path, name: &str, source: &str) -> PathBuf {
    let file = directory.join(name).with_extension("rs");
    let program = directory.join(name);
    std::fs::write(&file, source).expect("its source is written");
    let built = Command::new("rustc")
        .args([
            "--target",
            target(),
            "--edition",
            "2024",
            "-O",
            "-C",
            "panic=abort",
            "-C",
            "strip=symbols",
        ])
        .args(FLAGS.split(' '))
        .arg("-o")
        .args([&program, &file])
        .status()
        .expect("rustc");
    assert!(built.success(), "{name} could not be built");
    program
}
