//! What the commands of `wavetank-sim` have in common: progress, interruption, and how they end.

pub(crate) mod bench;
pub(crate) mod conform;
pub(crate) mod crash;
pub(crate) mod exhaust;
pub(crate) mod museum;
pub(crate) mod replay;
pub(crate) mod run;
pub(crate) mod show;
pub(crate) mod shrink;
pub(crate) mod soak;
pub(crate) mod sweep;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use wavetank_sim::{Failure, Flow, Tape};

/// Somebody has pressed Ctrl-C.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// How a command ended that could do what it was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    AsPromised,
    Found,
    Interrupted,
}

pub(crate) type Done = Result<Verdict, String>;

/// How a command speaks with who started it.
pub(crate) struct Terms {
    json: bool,
}

impl Terms {
    /// Also takes Ctrl-C, which from then on ends no program but the work in hand.
    pub(crate) fn new(json: bool) -> Terms {
        // Without a handler Ctrl-C just ends the program, which is no harm.
        let _ = ctrlc::set_handler(|| INTERRUPTED.store(true, Ordering::Relaxed));
        Terms { json }
    }

    pub(crate) fn interrupted(&self) -> bool {
        INTERRUPTED.load(Ordering::Relaxed)
    }

    /// A bar for so much work, and nothing where JSON is wanted or nobody looks.
    pub(crate) fn bar(&self, work: u64, what: &str) -> ProgressBar {
        if self.json {
            return ProgressBar::hidden();
        }
        let bar = ProgressBar::new(work);
        let template = format!("{{bar:40}} {{pos}}/{{len}} {what} {{per_sec}} {{eta}} {{msg}}");
        if let Ok(style) = ProgressStyle::with_template(&template) {
            bar.set_style(style);
        }
        bar
    }

    /// A line for people, above the bar.
    pub(crate) fn line(&self, bar: &ProgressBar, line: &str) {
        if !self.json {
            bar.suspend(|| println!("{line}"));
        }
    }

    /// What came of it, for programs.
    pub(crate) fn report(&self, report: &impl Serialize) -> Result<(), String> {
        if self.json {
            println!("{}", serde_json::to_string(report).map_err(|error| error.to_string())?);
        }
        Ok(())
    }

    /// Keeps a failing run as a file and says how to look at it. The file's path.
    pub(crate) fn keep(
        &self,
        tape: &Tape,
        failure: &Failure,
        name: &str,
    ) -> Result<PathBuf, String> {
        let name = name.replace('/', "-");
        let path = Path::new("target/tapes").join(format!("{name}.tape"));
        write_tape(&path, tape)?;
        if !self.json {
            let path = path.display();
            println!("{}: {failure}", tape.case.flow);
            println!("look at it:     wavetank-sim show {path}");
            println!("make it small:  wavetank-sim shrink {path}");
        }
        Ok(path)
    }

    /// Whether something was found, or nothing before an interruption.
    pub(crate) fn verdict(&self, found: bool) -> Verdict {
        match (found, self.interrupted()) {
            (true, _) => Verdict::Found,
            (false, true) => Verdict::Interrupted,
            (false, false) => Verdict::AsPromised,
        }
    }
}

/// The flows of these names, or all of them.
pub(crate) fn select(names: &[String]) -> Result<Vec<Flow>, String> {
    if names.is_empty() {
        return Ok(Flow::all());
    }
    let named = |name: &String| Flow::named(name).ok_or_else(|| format!("there is no flow {name}"));
    names.iter().map(named).collect()
}

/// A build that aborts where it should unwind cannot end a simulated process.
pub(crate) fn can_unwind() -> Result<(), String> {
    if cfg!(panic = "abort") {
        return Err("this build cannot end a simulated process; build with --profile sim".into());
    }
    Ok(())
}

pub(crate) fn read_text(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| format!("read {}: {error}", path.display()))
}

pub(crate) fn read_tape(path: &Path) -> Result<Tape, String> {
    let tape: Tape =
        read_text(path)?.parse().map_err(|error| format!("{}: {error}", path.display()))?;
    match tape.case.flow() {
        Some(_) => Ok(tape),
        None => Err(format!("{}: there is no flow {}", path.display(), tape.case.flow)),
    }
}

/// Writes a tape, and makes the directory that it is to be in.
pub(crate) fn write_tape(path: &Path, tape: &Tape) -> Result<(), String> {
    write_file(path, &tape.to_string())
}

/// Writes a file, and makes the directory that it is to be in.
pub(crate) fn write_file(path: &Path, text: &str) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("write {}: {error}", path.display());
    if let Some(above) = path.parent() {
        std::fs::create_dir_all(above).map_err(failed)?;
    }
    std::fs::write(path, text).map_err(failed)
}

/// Does so many pieces of work, as many at a time as there are cores, until somebody interrupts.
pub(crate) fn on_all_cores(terms: &Terms, pieces: usize, work: impl Fn(usize) + Sync) {
    let next = AtomicUsize::new(0);
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                while !terms.interrupted() {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    if at >= pieces {
                        return;
                    }
                    work(at);
                }
            });
        }
    });
}
