//! The operator's and developer's tool.
#![allow(clippy::disallowed_methods, reason = "main is where the door is opened")]

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use wavetank::host::LinuxHost;
use wavetank::manager::{self, RunOptions};

/// Wavetank, a container shim
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs a container, or a plain command, under the real shim, and exits with its status
    Run(Run),
}

#[derive(Args)]
struct Run {
    /// Give the process a terminal
    #[arg(short, long)]
    tty: bool,
    /// The OCI runtime, by name or path [default: the bundled fake-runc, which needs no root]
    #[arg(long)]
    runtime: Option<String>,
    /// The OCI bundle to run
    #[arg(long, conflicts_with = "command", required_unless_present = "command")]
    bundle: Option<PathBuf>,
    /// The command to run as a plain process, without a bundle
    #[arg(last = true, value_name = "CMD")]
    command: Vec<String>,
}

fn main() {
    let Command::Run(run) = Cli::parse().command;
    let options =
        RunOptions { tty: run.tty, runtime: run.runtime, bundle: run.bundle, command: run.command };
    std::process::exit(manager::run(&mut LinuxHost::new(), &options));
}
