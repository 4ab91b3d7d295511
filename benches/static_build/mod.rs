//! The programs as they are shipped, for the benchmarks: optimised and statically linked.

use std::path::{Path, PathBuf};
use std::process::Command;

pub(crate) const FLAGS: &str = "-C target-feature=+crt-static -C relocation-model=static";

/// Builds the programs statically linked, and gives their directory.
pub(crate) fn build() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let target_dir = root.join("target/static");
    let built = Command::new(env!("CARGO"))
        .args(["build", "--release", "--package", "wavetank", "--package", "fake-runc", "--bins"])
        .args(["--target", &target, "--target-dir"])
        .arg(&target_dir)
        .env("RUSTFLAGS", FLAGS)
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .current_dir(root)
        .status()
        .expect("cargo build");
    assert!(built.success(), "the static programs could not be built");
    target_dir.join(target).join("release")
}

/// Builds one small program of one file, statically linked.
pub(crate) fn build_small(directory: &Path, name: &str, source: &str) -> PathBuf {
    let file = directory.join(name).with_extension("rs");
    let program = directory.join(name);
    std::fs::write(&file, source).expect("its source is written");
    let built = Command::new("rustc")
        .args(["--edition", "2024", "-O", "-C", "panic=abort", "-C", "strip=symbols"])
        .args(FLAGS.split(' '))
        .arg("-o")
        .args([&program, &file])
        .status()
        .expect("rustc");
    assert!(built.success(), "{name} could not be built");
    program
}
