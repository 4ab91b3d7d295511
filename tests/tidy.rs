//! The house rules that no lint knows: who may know whom, who may name the operating system, and
//! how long a file may be.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, clippy::unwrap_used, missing_docs)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const LONGEST_FILE: usize = 520;

/// What each room of `src` may use by `crate::`. Nobody is in two rooms, and no list leads back.
const MAY_KNOW: [(&str, &[&str]); 12] = [
    ("host", &[]),
    ("error.rs", &["host"]),
    ("json.rs", &[]),
    ("files.rs", &["host", "Error"]),
    ("process", &[]),
    ("oci", &["host", "json"]),
    ("stdio", &["host", "Error"]),
    ("supervisor", &["host", "files"]),
    (
        "classic",
        &["classic", "Error", "files", "host", "json", "oci", "process", "stdio", "supervisor"],
    ),
    ("ttrpc", &[]),
    (
        "task",
        &[
            "Error",
            "files",
            "host",
            "json",
            "oci",
            "process",
            "stdio",
            "supervisor",
            "task",
            "ttrpc",
        ],
    ),
    ("manager", &["Error", "files", "host", "oci", "stdio", "ttrpc"]),
];

/// Ways to the operating system that do not go through the door, and some that hide an order.
const FORBIDDEN: [&str; 11] = [
    "nix::",
    "libc",
    "std::fs",
    "std::process",
    "std::thread",
    "std::env",
    "std::net",
    "std::os::unix::net",
    "std::os::unix::fs",
    "std::io::",
    "std::time::SystemTime",
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file below a directory, with its path from there.
fn sources(below: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut directories = vec![below.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path.strip_prefix(below).unwrap().to_owned(), text));
            }
        }
    }
    assert!(found.len() > 1, "{} has hardly a source", below.display());
    found
}

/// The part of a file that is shipped: not its tests, which may be files of their own.
fn shipped<'a>(path: &Path, text: &'a str) -> &'a str {
    if path.iter().any(|part| part == "tests" || part == "tests.rs") {
        return "";
    }
    text.split("#[cfg(test)]\nmod tests").next().unwrap()
}

#[test]
fn rooms_know_only_whom_they_may() {
    let mut seen = BTreeSet::new();
    for (path, text) in sources(&root().join("src")) {
        let room = path.iter().next().unwrap().to_str().unwrap().to_owned();
        if room == "lib.rs" || room == "bin" {
            continue;
        }
        let rule = MAY_KNOW.iter().find(|(name, _)| *name == room);
        let (_, allowed) = rule.unwrap_or_else(|| panic!("{room} is a room without a rule"));
        for used in shipped(&path, &text).split("crate::").skip(1) {
            let end = used.find(|letter: char| !letter.is_alphanumeric()).unwrap_or(used.len());
            let known = &used[..end];
            let fine = allowed.contains(&known) || known == room.trim_end_matches(".rs");
            assert!(fine, "{}: {room} may not know {known:?}", path.display());
        }
        seen.insert(room);
    }
    assert_eq!(seen.len(), MAY_KNOW.len(), "a rule is about a room that is no more: {seen:?}");
}

#[test]
fn only_linux_names_the_operating_system() {
    let in_house = |below: &str| sources(&root().join(below));
    let behind_the_door = |path: &Path| path.starts_with("host/linux") || path.starts_with("bin");
    for (path, text) in in_house("src").into_iter().chain(in_house("fake-runc/src")) {
        if behind_the_door(&path) || path == Path::new("main.rs") {
            continue;
        }
        let code =
            shipped(&path, &text).lines().filter(|line| !line.trim_start().starts_with("//"));
        for line in code {
            let in_path = |letter: char| letter.is_alphanumeric() || "_:".contains(letter);
            let paths = line.split(|letter| !in_path(letter));
            let named =
                paths.into_iter().find(|name| FORBIDDEN.iter().any(|way| name.starts_with(way)));
            assert_eq!(named, None, "{}: {line}", path.display());
        }
    }
}

#[test]
fn only_linux_is_unsafe() {
    for place in ["src", "sim/src", "fake-runc/src"] {
        for (path, text) in sources(&root().join(place)) {
            let is_linux = place == "src" && path.starts_with("host/linux");
            assert!(is_linux || !text.contains("unsafe "), "{place}/{}", path.display());
        }
    }
}

#[test]
fn files_are_of_one_idea() {
    for place in ["src", "sim/src", "sim/tests", "fake-runc", "tests"] {
        for (path, text) in sources(&root().join(place)) {
            let length = text.lines().count();
            assert!(length <= LONGEST_FILE, "{place}/{}: {length} lines", path.display());
        }
    }
}
