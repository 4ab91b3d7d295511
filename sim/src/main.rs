//! `wavetank-sim`: runs the shim in the simulated kernel, and against recorded traces.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a tool of the outside world, which prints and reads files"
)]

mod tool;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use tool::conform::Wanted;
use tool::show::Form;
use tool::{Terms, Verdict};
use wavetank_sim::sweep::pairs::Kind;

/// A short life in the simulated kernel makes and drops many small things.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const EXAMPLES: &str = "Examples:
  wavetank-sim run                                     every flow with a thousand seeds
  wavetank-sim run --bug one-wait-per-signal grandchild  a bug put back; it is found
  wavetank-sim show target/tapes/grandchild-94.tape    what happened, as a page for a browser
  wavetank-sim show --text --flow task/hello --seed 7  any run, as text
  wavetank-sim shrink target/tapes/grandchild-94.tape  the same failure with fewer decisions
  wavetank-sim replay fixtures/tapes/*.tape            tapes that must not fail
  wavetank-sim sweep task/life                         every call of the shim fails
  wavetank-sim conform --complete                      the simulated kernel against this one

Every command takes --json. Ctrl-C ends the work in hand and tells what is known so far.";

/// The wave tank: wavetank in a simulated kernel
///
/// Ends with 0 if everything was as promised, with 1 if something was found, with 2 if it could not
/// do what it was told, and with 130 if it was interrupted before it found anything.
#[derive(Parser)]
#[command(version, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Print one JSON object at the end instead of lines and bars
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Runs flows with random seeds, each seed twice, and compares
    Run {
        /// Which flows; all of them if none is named
        flows: Vec<String>,
        #[command(flatten)]
        seeds: Seeds,
        /// Few changes of mind instead of many: bounded preemption of this depth
        #[arg(long, value_name = "DEPTH")]
        pct: Option<usize>,
        /// Give the shim this bug
        #[arg(long)]
        bug: Option<String>,
    },
    /// Shows the bugs that shims had in the world: after how many seeds each is found when it is
    /// put back, and that its scenario passes without it
    Museum {
        /// Numbers of classes; all of them if none is given
        classes: Vec<u32>,
        /// With how many seeds each scenario has to pass
        #[arg(long, default_value_t = 200)]
        seeds: u64,
    },
    /// Kills the shim and the daemon at each of their calls, and looks whether everything comes to
    /// its end all the same
    Crash {
        /// Which life cycles; all of them if none is named
        flows: Vec<String>,
        /// With how many seeds besides the plain tape
        #[arg(long, default_value_t = 3)]
        seeds: u64,
        /// Kill twice in one run instead, of the shortest life cycles if none is named: whoever at
        /// whichever call, and then whoever at whichever call comes after that
        #[arg(long, conflicts_with = "seeds")]
        pairs: bool,
        /// After how many findings to end
        #[arg(long, default_value_t = 1)]
        most: usize,
    },
    /// Fails every call of the shim, wherever it is made, with every error that it may have, once and
    /// for ever
    Sweep {
        /// Which flows; all of them if none is named
        flows: Vec<String>,
        /// Fail every two calls instead, each once with its first error, of the canonical life cycles
        /// if no flow is named
        #[arg(long)]
        pairs: bool,
        /// With `--pairs`: fail every two places instead, at their first calls, in every two ways
        #[arg(long, requires = "pairs")]
        ways: bool,
        /// So many seeds for each flow, besides the plainest run
        #[arg(long, default_value_t = 0, conflicts_with = "pairs")]
        seeds: u64,
    },
    /// Runs fresh seeds on all cores until told to stop: mostly of the drawn flow, and of all others
    ///
    /// Every fourth run is done twice, and compared. What fails is kept in target/tapes, also made small.
    Soak {
        /// Stop after so many minutes; without this and `--seeds`, only Ctrl-C stops it
        #[arg(long)]
        minutes: Option<u64>,
        /// Stop after so many seeds
        #[arg(long)]
        seeds: Option<u64>,
        /// The first seed; from the clock if not given
        #[arg(long)]
        from: Option<u64>,
    },
    /// Measures how many life cycles one core runs in a second of its own time
    Bench {
        /// Which flows; life cycles of both doors if none is named
        flows: Vec<String>,
        /// Seconds of processor time for each
        #[arg(long, default_value_t = 2.0)]
        seconds: f64,
    },
    /// Tries every order of races: of all calls of all processes, from when the race begins until
    /// everybody waits
    Exhaust {
        /// Which races; all of them if none is named
        races: Vec<String>,
        /// Give the shim this bug
        #[arg(long)]
        bug: Option<String>,
        /// Seconds after which a race is left as it is
        #[arg(long)]
        limit: Option<f64>,
        /// Have the daemon read what it is told whenever it may, and not only when nobody else can
        /// go on
        #[arg(long)]
        everybody: bool,
    },
    /// Lists the flows
    Flows,
    /// Runs tapes, which must not fail, and recorded traces, whose every call must come again
    Replay {
        /// Tapes and traces
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// Makes random calls on Linux and in the simulated kernel, and compares every result
    Conform {
        /// files, fifos, terminals, sockets, processes; all of them if none is named
        topics: Vec<String>,
        /// How many sequences of each topic; those of the tests if not given
        #[arg(long)]
        seeds: Option<u64>,
        /// The first seed
        #[arg(long, default_value_t = 0)]
        from: u64,
        /// It is a finding, too, if an outcome does not come that is promised to be compared
        #[arg(long)]
        complete: bool,
    },
    /// Draws a run as a timeline: a page for a browser, or text
    Show {
        /// The tape
        #[arg(required_unless_present = "flow", conflicts_with = "flow")]
        tape: Option<PathBuf>,
        /// Instead of a tape: a flow, run with one seed
        #[arg(long)]
        flow: Option<String>,
        /// That seed
        #[arg(long, default_value_t = 0, requires = "flow")]
        seed: u64,
        /// Give the shim this bug
        #[arg(long, requires = "flow")]
        bug: Option<String>,
        /// Print text instead of writing a page
        #[arg(long)]
        text: bool,
        /// Where the page goes; target/tapes/NAME.html if not given
        #[arg(long, short, conflicts_with = "text")]
        output: Option<PathBuf>,
    },
    /// Makes a failing tape as small as it can
    Shrink {
        /// The tape
        tape: PathBuf,
        /// Where the small one goes; the tape's own name with `.min` if not given
        #[arg(long, short)]
        output: Option<PathBuf>,
    },
}

/// Which seeds.
#[derive(Args)]
struct Seeds {
    /// How many seeds for each flow
    #[arg(long, default_value_t = 1000)]
    seeds: u64,
    /// The first seed
    #[arg(long, default_value_t = 0)]
    from: u64,
}

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    if let Some(code) = tool::conform::play(&arguments) {
        return code;
    }
    let cli = Cli::parse();
    let terms = Terms::new(cli.json);
    let done = match cli.command {
        Command::Run { flows, seeds, pct, bug } => {
            let range = seeds.from..seeds.from.saturating_add(seeds.seeds);
            tool::run::run(&terms, &flows, range, pct, bug.as_deref())
        }
        Command::Museum { classes, seeds } => tool::museum::museum(&terms, &classes, seeds),
        Command::Crash { flows, seeds, pairs, most } => {
            tool::crash::crash(&terms, &flows, seeds, pairs, most)
        }
        Command::Sweep { flows, pairs: false, seeds, .. } => {
            tool::sweep::sweep(&terms, &flows, seeds)
        }
        Command::Sweep { flows, ways, .. } => {
            let kind = if ways { Kind::Ways } else { Kind::Calls };
            tool::sweep::pairs::pairs(&terms, &flows, kind)
        }
        Command::Bench { flows, seconds } => tool::bench::bench(&terms, &flows, seconds),
        Command::Exhaust { races, bug, limit, everybody } => {
            let how = tool::exhaust::How { limit, everybody };
            tool::exhaust::exhaust(&terms, &races, bug.as_deref(), how)
        }
        Command::Flows => tool::run::list(&terms),
        Command::Soak { minutes, seeds, from } => {
            tool::soak::soak(&terms, tool::soak::Length { minutes, seeds, from })
        }
        Command::Replay { files } => tool::replay::replay(&terms, &files),
        Command::Conform { topics, seeds, from, complete } => {
            tool::conform::conform(&terms, &Wanted { topics, seeds, from, complete })
        }
        Command::Show { tape, flow, seed, bug, text, output } => {
            let form = if text { Form::Text } else { Form::Page(output) };
            tool::show::shown(tape, flow, seed, bug.as_deref())
                .and_then(|shown| tool::show::show(&terms, &shown, form))
        }
        Command::Shrink { tape, output } => tool::shrink::shrink(&terms, &tape, output),
    };
    match done {
        Ok(Verdict::AsPromised) => ExitCode::SUCCESS,
        Ok(Verdict::Found) => ExitCode::from(1),
        Ok(Verdict::Interrupted) => ExitCode::from(130),
        Err(reason) => {
            eprintln!("wavetank-sim: {reason}");
            ExitCode::from(2)
        }
    }
}
