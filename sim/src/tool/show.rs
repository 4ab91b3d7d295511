//! `wavetank-sim show`: a run as a timeline.

use std::io::{ErrorKind, IsTerminal, Write};
use std::path::{Path, PathBuf};

use wavetank::host::Bug;
use wavetank_sim::show::{Story, page, text};
use wavetank_sim::{Case, Lazy, Replay};

use super::{Done, Terms, Verdict, can_unwind, read_tape, write_file};

/// What is to be shown.
pub(crate) enum Shown {
    Tape(PathBuf),
    Seed { flow: String, seed: u64, bug: Option<Bug> },
}

/// How.
pub(crate) enum Form {
    Page(Option<PathBuf>),
    Text,
}

/// What the arguments mean.
pub(crate) fn shown(
    tape: Option<PathBuf>,
    flow: Option<String>,
    seed: u64,
    bug: Option<&str>,
) -> Result<Shown, String> {
    let bug = bug.map(|name| Bug::named(name).ok_or_else(|| format!("there is no bug {name}")));
    match (tape, flow) {
        (Some(tape), _) => Ok(Shown::Tape(tape)),
        (None, Some(flow)) => Ok(Shown::Seed { flow, seed, bug: bug.transpose()? }),
        (None, None) => Err("neither a tape nor a flow is given".to_owned()),
    }
}

pub(crate) fn show(terms: &Terms, shown: &Shown, form: Form) -> Done {
    can_unwind()?;
    let (story, name, again) = match shown {
        Shown::Tape(path) => {
            let tape = read_tape(path)?;
            let flow = tape.case.flow().ok_or("no such flow")?;
            let story = Story::of(&tape.case, &flow, Replay::new(tape.answers));
            let stem = path.file_stem().unwrap_or(path.as_os_str());
            let again = format!("wavetank-sim show {}", path.display());
            (story, stem.to_string_lossy().into_owned(), again)
        }
        Shown::Seed { flow: name, seed, bug } => {
            let case = Case { bug: *bug, ..Case::of(name) };
            let flow = case.flow().ok_or_else(|| format!("there is no flow {name}"))?;
            let story = Story::of(&case, &flow, Lazy::seeded(*seed));
            let of_bug = bug.map(|bug| format!(" --bug {}", bug.name())).unwrap_or_default();
            let again = format!("wavetank-sim show --flow {name} --seed {seed}{of_bug}");
            (story, format!("{}-{seed}", name.replace('/', "-")), again)
        }
    };
    match form {
        _ if terms.json => terms.report(&story)?,
        Form::Text => print_as_far_as_wanted(&text(&story, std::io::stdout().is_terminal()))?,
        Form::Page(output) => {
            let output = output.unwrap_or_else(|| Path::new("target/tapes").join(name + ".html"));
            let html = page(&story, &again).map_err(|error| error.to_string())?;
            write_file(&output, &html)?;
            match &story.failure {
                Some(failure) => println!("{}: {failure}", story.case.flow),
                None => println!("{}: as promised", story.case.flow),
            }
            println!("{}", output.display());
        }
    }
    Ok(if story.failure.is_some() { Verdict::Found } else { Verdict::AsPromised })
}

/// Whoever closes the pipe, as `head` does, has seen enough.
fn print_as_far_as_wanted(text: &str) -> Result<(), String> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(format!("write: {error}")),
        _ => Ok(()),
    }
}
