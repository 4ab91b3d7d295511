//! `wavetank-sim museum`: the table of classes, and after how many seeds their bugs are found.

use serde::Serialize;
use wavetank_sim::Failure;
use wavetank_sim::museum::{Exhibit, SEEDS_MAX, exhibits, hunt, scenario};

use super::{Done, Terms, can_unwind};

/// Where the hunts begin; the middle one of their lengths is told.
const FIRST_SEEDS: [u64; 5] = [0, 1_000_000, 2_000_000, 3_000_000, 4_000_000];

/// An exhibit, and what was seen of it.
#[derive(Serialize)]
struct Row {
    #[serde(flatten)]
    exhibit: Exhibit,
    /// After how many seeds the bug was found: the median of five hunts. None: not each of them
    /// found it, or there is none.
    found_after: Option<u64>,
    /// The oracle that found it first.
    oracle: Option<&'static str>,
    /// Why the scenario does not pass.
    failure: Option<Failure>,
}

impl Row {
    fn is_as_promised(&self) -> bool {
        self.failure.is_none() && (self.exhibit.bug.is_none() || self.found_after.is_some())
    }
}

pub(crate) fn museum(terms: &Terms, classes: &[u32], seeds: u64) -> Done {
    can_unwind()?;
    let mut shown = exhibits();
    if let Some(class) = classes.iter().find(|class| shown.iter().all(|it| it.class != **class)) {
        return Err(format!("the museum has no class {class}"));
    }
    shown.retain(|exhibit| classes.is_empty() || classes.contains(&exhibit.class));
    let bar = terms.bar(shown.len() as u64, "exhibits");
    terms.line(
        &bar,
        &format!("{:>5}  {:>6}  {:13}  {:6}  what", "class", "seeds", "oracle", "sound"),
    );
    let mut rows = Vec::new();
    for exhibit in shown.into_iter().take_while(|_| !terms.interrupted()) {
        bar.set_message(exhibit.title);
        let row = look_at(terms, exhibit, seeds)?;
        if !terms.interrupted() {
            terms.line(&bar, &printed(&row));
            rows.push(row);
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    terms.report(&rows)?;
    Ok(terms.verdict(!rows.iter().all(Row::is_as_promised)))
}

fn look_at(terms: &Terms, exhibit: Exhibit, seeds: u64) -> Result<Row, String> {
    let mut go_on = || !terms.interrupted();
    let finds: Option<Vec<_>> =
        FIRST_SEEDS.iter().map(|first| hunt(&exhibit, *first, &mut go_on)).collect();
    let finds = finds.unwrap_or_default();
    let mut lengths: Vec<u64> = finds.iter().map(|find| find.seeds).collect();
    lengths.sort_unstable();
    let failed = scenario(&exhibit, 0..seeds, &mut go_on);
    if let Some((failure, tape)) = &failed {
        terms.keep(tape, failure, &format!("museum-{}", exhibit.class))?;
    }
    Ok(Row {
        exhibit,
        found_after: lengths.get(lengths.len() / 2).copied(),
        oracle: finds.first().map(|find| find.failure.oracle),
        failure: failed.map(|(failure, _)| failure),
    })
}

/// A row of the table, and below it where it comes from.
fn printed(row: &Row) -> String {
    let Exhibit { class, title, references, flows, bug, why_not } = row.exhibit;
    let found = match (bug, row.found_after) {
        (None, _) => "-".to_owned(),
        (Some(_), None) => format!(">{SEEDS_MAX}"),
        (Some(_), Some(seeds)) => seeds.to_string(),
    };
    let sound = match (&row.failure, flows) {
        (Some(_), _) => "FAILS",
        (None, []) => "-",
        (None, _) => "passes",
    };
    let what =
        bug.map_or_else(|| why_not.to_owned(), |bug| format!("{}: {}", bug.name(), bug.what()));
    let oracle = row.oracle.unwrap_or("-");
    let more = [what, flows.join(", "), references.to_owned()];
    let more = more.iter().filter(|line| !line.is_empty()).map(|line| format!("\n{:38}{line}", ""));
    let head = format!("{class:>5}  {found:>6}  {oracle:13}  {sound:6}  {title}");
    std::iter::once(head).chain(more).collect()
}
