//! The timeline as plain text: one column for each who took part, and what happened beside it.

use std::fmt::Write;

use super::{Actor, Moment, Story, milliseconds};
use crate::event::What;

/// Colours of terminals, by what is told with them.
const RED: &str = "1;31";
const DIM: &str = "2";
/// In the order of the kinds.
const OF_KINDS: [&str; 6] = ["34", "32", "36", "33", "35", "37"];

/// The story for a terminal, or with no colours for a file.
#[must_use]
pub fn text(story: &Story, colours: bool) -> String {
    let paint = |code: &str, text: &str| match colours {
        true => format!("\x1b[{code}m{text}\x1b[0m"),
        false => text.to_owned(),
    };
    let mut out = String::new();
    // Writing to a string does not fail.
    let _ = head(&mut out, story, &paint);
    let mut waits = vec![false; story.actors.len()];
    for (at, moment) in story.moments.iter().enumerate() {
        match moment.event.what {
            What::Waits { .. } => waits[moment.actor] = true,
            What::Calls { .. } | What::Doomed { .. } => waits[moment.actor] = false,
            _ => {}
        }
        let lanes: String = story
            .actors
            .iter()
            .enumerate()
            .map(|(place, actor)| {
                let sign = sign(moment, place, actor, at, waits[place]);
                paint(OF_KINDS[actor.kind as usize], sign)
            })
            .collect();
        let [verb, about, result] = moment.told(&story.actors);
        let actor = &story.actors[moment.actor];
        let who = format!("{:>4} {:14.14}", actor.pid, actor.name);
        let who = paint(OF_KINDS[actor.kind as usize], &who);
        let space = if about.starts_with('(') { "" } else { " " };
        let said = format!("{verb}{space}{about} {result}");
        let bad = moment.is_fault() || matches!(moment.event.what, What::Left { .. });
        let said = if bad { paint(RED, &format!("!! {said}")) } else { said };
        let clock = paint(DIM, &milliseconds(moment.event.clock));
        let _ = writeln!(out, "{at:>5} {clock:>9} {lanes} {who} {said}");
        for decision in moment.decisions() {
            let _ = writeln!(out, "{:>15}  {}", "", paint(DIM, &format!("^ {decision}")));
        }
    }
    if let Some(failure) = &story.failure {
        let _ = writeln!(out, "{}", paint(RED, &format!("FAILED {failure}")));
    }
    out
}

fn head(out: &mut String, story: &Story, paint: &dyn Fn(&str, &str) -> String) -> std::fmt::Result {
    writeln!(out, "flow {}", story.case.flow)?;
    if let Some(bug) = story.case.bug {
        writeln!(out, "bug  {}: {}", bug.name(), bug.what())?;
    }
    let (moments, decisions) = (story.moments.len(), story.decisions);
    writeln!(out, "{moments} events, {decisions} of {} answers not plain", story.questions)?;
    match &story.failure {
        Some(failure) => {
            writeln!(out, "{}", paint(RED, &format!("FAILED {}", failure.oracle)))?;
            writeln!(out, "  promised: {}", failure.promise)?;
            writeln!(out, "  but:      {}", failure.objection)?;
        }
        None => writeln!(out, "as promised")?,
    }
    for (place, actor) in story.actors.iter().enumerate() {
        let lane = format!("{:>16}{}+", "", "|".repeat(place));
        let line = format!("{lane} {} {} ({})", actor.pid, actor.name, actor.kind.name());
        writeln!(out, "{}", paint(OF_KINDS[actor.kind as usize], &line))?;
    }
    Ok(())
}

/// What stands in somebody's column at a moment.
fn sign(moment: &Moment, place: usize, actor: &Actor, at: usize, waits: bool) -> &'static str {
    match (&moment.event.what, moment.actor == place) {
        (What::Born { .. }, true) => "o",
        (What::Doomed { .. } | What::Ended { .. }, true) => "x",
        (What::Signalled { .. }, true) => "<",
        (_, true) if moment.is_fault() => "!",
        (What::Left { .. }, true) => "!",
        (What::Waits { .. }, true) => "~",
        (_, true) => "*",
        (_, false) if at < actor.from || at > actor.to => " ",
        (_, false) if waits => ":",
        (_, false) => "|",
    }
}
