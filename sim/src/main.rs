//! `wavetank-sim`: runs the shim in the simulated kernel, and against recorded traces.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a tool of the outside world, which prints and reads files"
)]

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use wavetank::host::Replayer;
use wavetank_sim::{Choose, Random, Run, classic, first_difference, task};

/// The wave tank: wavetank in a simulated kernel
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs flows in the simulated kernel, each seed twice, and compares
    Run {
        /// Which flows; all of them if none is named
        flows: Vec<String>,
        /// How many seeds for each flow
        #[arg(long, default_value_t = 1000)]
        seeds: u64,
        /// The first seed
        #[arg(long, default_value_t = 0)]
        from: u64,
        /// Print every call, for one flow and one seed
        #[arg(long)]
        trace: bool,
    },
    /// Lists the flows
    Flows,
    /// Runs the shim against recorded traces: every call must be the recorded one
    Replay {
        /// Trace files
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Run { flows, seeds, from, trace } => select(&flows).and_then(|flows| {
            if trace { show(&flows, from) } else { try_seeds(&flows, seeds, from) }
        }),
        Command::Flows => {
            flows().iter().for_each(|flow| println!("{}", flow.name()));
            Ok(())
        }
        Command::Replay { files } => replay(&files),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("{reason}");
            ExitCode::FAILURE
        }
    }
}

/// A flow of either door.
enum Flow {
    Classic(classic::Flow),
    Task(task::Flow),
}

impl Flow {
    fn name(&self) -> &'static str {
        match self {
            Flow::Classic(flow) => flow.name,
            Flow::Task(flow) => flow.name,
        }
    }

    fn run(&self, chooser: &mut dyn Choose, keep_trace: bool) -> Run {
        match self {
            Flow::Classic(flow) => classic::run(flow, chooser, keep_trace),
            Flow::Task(flow) => task::run(flow, chooser, keep_trace),
        }
    }
}

fn flows() -> Vec<Flow> {
    let classic = classic::flows().into_iter().map(Flow::Classic);
    classic.chain(task::flows().into_iter().map(Flow::Task)).collect()
}

fn flow(name: &str) -> Option<Flow> {
    flows().into_iter().find(|flow| flow.name() == name)
}

fn select(names: &[String]) -> Result<Vec<Flow>, String> {
    if names.is_empty() {
        return Ok(flows());
    }
    let named = |name: &String| flow(name).ok_or_else(|| format!("there is no flow {name}"));
    names.iter().map(named).collect()
}

fn show(flows: &[Flow], seed: u64) -> Result<(), String> {
    let [flow] = flows else { return Err("--trace is for one flow".to_owned()) };
    let run = flow.run(&mut Random::new(seed), true);
    let name = flow.name();
    run.trace.iter().for_each(|line| println!("{line}"));
    run.failure.map_or(Ok(()), |failure| Err(format!("{name} with seed {seed}: {failure}")))
}

fn try_seeds(flows: &[Flow], seeds: u64, from: u64) -> Result<(), String> {
    if cfg!(panic = "abort") {
        return Err("this build cannot end a simulated process; build with --profile sim".into());
    }
    let bar = ProgressBar::new(seeds * flows.len() as u64);
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len} runs {per_sec} {msg}") {
        bar.set_style(style);
    }
    for flow in flows {
        let name = flow.name();
        bar.set_message(name);
        let mut orders = std::collections::BTreeSet::new();
        let mut steps = 0;
        for seed in from..from + seeds {
            let first = flow.run(&mut Random::new(seed), false);
            let again = format!("wavetank-sim run {name} --from {seed} --trace");
            if let Some(failure) = first.failure {
                return Err(format!("{name} with seed {seed}: {failure}\n{again}"));
            }
            let second = flow.run(&mut Random::new(seed), false);
            if first.hash != second.hash {
                return Err(format!("{}\n{again}", difference(flow, seed)));
            }
            orders.insert(first.hash);
            steps += first.steps;
            bar.inc(1);
        }
        let (different, mean) = (orders.len(), steps / seeds.max(1));
        bar.suspend(|| {
            println!("{name:16} {seeds} seeds, {different} different runs, {mean} steps each");
        });
    }
    bar.finish_and_clear();
    Ok(())
}

fn difference(flow: &Flow, seed: u64) -> String {
    let name = flow.name();
    let trace = || flow.run(&mut Random::new(seed), true).trace;
    let place = first_difference(&trace(), &trace());
    format!("{name} with seed {seed} differs when run again: {place:?}")
}

fn replay(files: &[PathBuf]) -> Result<(), String> {
    for file in files {
        let name = file.display();
        let text = std::fs::read_to_string(file).map_err(|error| format!("{name}: {error}"))?;
        let mut replayer = Replayer::new(&text).map_err(|error| format!("{name}: {error}"))?;
        let mut argv = vec![OsString::from(&replayer.header().program)];
        argv.extend(replayer.args());
        match argv[0].to_str() {
            Some("containerd-shim") => wavetank::classic::main(&mut replayer, &argv),
            Some("containerd-shim-wavetank-v2") => wavetank::task::main(&mut replayer, &argv),
            _ => return Err(format!("{name}: no program here is called {:?}", argv[0])),
        };
        let calls = replayer.finish().map_err(|divergence| format!("{name}: {divergence}"))?;
        println!("{name}: {calls} calls, all equal");
    }
    Ok(())
}
