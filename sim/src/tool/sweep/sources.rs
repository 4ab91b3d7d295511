//! The places in the sources at which a call is made that no flow comes to.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use wavetank_sim::Call;
use wavetank_sim::sweep::Count;

use crate::tool::read_text;

/// Rooms in which the shim's calls are; the others are the daemon's side, and the door itself.
const ROOMS: [&str; 7] = ["classic", "files.rs", "oci", "process", "stdio", "supervisor", "task"];

/// The places in the sources at which a call is made that may fail, and at which none did.
pub(super) fn unreached(count: &Count) -> Result<Vec<String>, String> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let reached: BTreeSet<(String, u32)> =
        count.sites.iter().map(|site| (site.file.to_owned(), site.line)).collect();
    let mut found = Vec::new();
    for room in ROOMS {
        for file in sources(&top.join("src").join(room))? {
            let text = read_text(&file)?;
            let name = file.strip_prefix(&top).unwrap_or(&file).to_string_lossy().into_owned();
            let places = places(&name, &text).into_iter();
            let places = places.filter(|(line, _)| !reached.contains(&(name.clone(), *line)));
            found.extend(places.map(|(line, call)| format!("{name}:{line} {}", call.name())));
        }
    }
    Ok(found)
}

/// The calls of the host in a source, with their lines; its tests do not count.
fn places(file: &str, text: &str) -> Vec<(u32, Call)> {
    let shipped = text.split("#[cfg(test)]").next().unwrap_or_default();
    let can_fail = |call: &&Call| wavetank_sim::errnos::errors_at(**call, file).next().is_some();
    let mut found = Vec::new();
    let mut before = "";
    for (number, line) in (1..).zip(shipped.lines()) {
        let line = line.trim();
        let is_comment = line.starts_with("//");
        for call in Call::ALL.iter().filter(can_fail).filter(|_| !is_comment) {
            let name = call.name();
            let is_here = line.contains(&format!("host.{name}("));
            let goes_on = before.ends_with("host") && line.starts_with(&format!(".{name}("));
            if is_here || goes_on {
                found.push((number, *call));
            }
        }
        before = line;
    }
    found
}

/// A file, or all sources below a directory but those of tests.
fn sources(path: &Path) -> Result<Vec<PathBuf>, String> {
    if path.is_file() {
        return Ok(vec![path.to_owned()]);
    }
    let failed = |error: std::io::Error| format!("list {}: {error}", path.display());
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path.file_stem().unwrap_or_default();
        let is_source = path.is_dir() || path.extension().is_some_and(|end| end == "rs");
        if is_source && name != "tests" && name != "fake" {
            found.extend(sources(&path)?);
        }
    }
    found.sort();
    Ok(found)
}
