//! `wavetank-sim replay`: tapes of the simulator, and traces of the real world.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde::Serialize;
use wavetank::host::Replayer;
use wavetank_sim::Failure;

use super::{Done, Terms, can_unwind, read_tape, read_text};

#[derive(Serialize)]
struct Replayed {
    file: PathBuf,
    /// Calls of the host.
    calls: u64,
    failure: Option<Failure>,
}

pub(crate) fn replay(terms: &Terms, files: &[PathBuf]) -> Done {
    let mut replayed = Vec::new();
    let bar = terms.bar(files.len() as u64, "files");
    for file in files {
        let text = read_text(file)?;
        let run = if text.starts_with("# wavetank tape") {
            tape(file)?
        } else {
            Replayed { file: file.clone(), calls: trace(file, &text)?, failure: None }
        };
        let came = run.failure.as_ref().map_or("as promised".to_owned(), ToString::to_string);
        terms.line(&bar, &format!("{}: {} calls, {came}", file.display(), run.calls));
        replayed.push(run);
        bar.inc(1);
    }
    bar.finish_and_clear();
    terms.report(&replayed)?;
    Ok(terms.verdict(replayed.iter().any(|run| run.failure.is_some())))
}

fn tape(file: &Path) -> Result<Replayed, String> {
    can_unwind()?;
    let run = read_tape(file)?.run(false).ok_or("no such flow")?;
    Ok(Replayed { file: file.to_owned(), calls: run.steps, failure: run.failure })
}

/// How many calls there were, all of them the recorded ones.
fn trace(file: &Path, text: &str) -> Result<u64, String> {
    let name = file.display();
    let mut replayer = Replayer::new(text).map_err(|error| format!("{name}: {error}"))?;
    let mut argv = vec![OsString::from(&replayer.header().program)];
    argv.extend(replayer.args());
    match argv[0].to_str() {
        Some("containerd-shim") => wavetank::classic::main(&mut replayer, &argv),
        Some("containerd-shim-wavetank-v2") => wavetank::task::main(&mut replayer, &argv),
        _ => return Err(format!("{name}: no program here is called {:?}", argv[0])),
    };
    let calls = replayer.finish().map_err(|divergence| format!("{name}: {divergence}"))?;
    Ok(calls as u64)
}
