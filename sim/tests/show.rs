//! The timeline: all of a run is in it, nothing in it is taken for markup, and a browser draws it.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, clippy::unwrap_used, missing_docs)]

use std::fmt::Write;
use std::process::Command;

use rstest::rstest;
use wavetank::host::{Bug, Errno, Signal};
use wavetank_sim::show::{Kind, Story, page, text};
use wavetank_sim::{Call, Case, Fault, Lazy, What};

fn story(case: &Case, seed: u64) -> Story {
    Story::of(case, &case.flow().unwrap(), Lazy::seeded(seed))
}

/// A run that fails because of a planted bug.
fn failing() -> Story {
    let case = Case::of("grandchild").planted(Bug::OneWaitPerSignal);
    (0..1000).map(|seed| story(&case, seed)).find(|story| story.failure.is_some()).unwrap()
}

fn faulty() -> Story {
    let fault = Fault::fail(Errno::ENOMEM).of(Call::Spawn).by("containerd-shim-wavetank-v2");
    story(&Case { faults: vec![fault.after(1)], ..Case::of("task/hello") }, 0)
}

/// The story as it stands in a page for the page's script.
fn embedded(html: &str) -> serde_json::Value {
    let (_, rest) = html.split_once("id=\"story\">").unwrap();
    serde_json::from_str(rest.split_once("</script>").unwrap().0).unwrap()
}

#[rstest]
#[case("hello")]
#[case("wavetank-run")]
#[case("task/hello")]
#[case("task/pids-again")]
fn every_call_of_a_run_is_in_both_forms(#[case] flow: &str) {
    let case = Case::of(flow);
    let run = case.flow().unwrap().run(&mut Lazy::seeded(7), true);
    let calls = run.trace.iter().filter(|line| line.contains(") -> ")).count();
    let story = story(&case, 7);
    assert_eq!(story.hash, run.hash, "to tell of a run does not change it");
    let html = page(&story, "again").unwrap();
    assert_eq!(html.matches("class=\"m-calls").count(), calls);
    for at in 0..story.moments.len() {
        assert!(html.contains(&format!("<li id=\"e{at}\" ")), "event {at}");
    }
    assert_eq!(embedded(&html), serde_json::to_value(&story).unwrap());
    let text = text(&story, false);
    let is_row = |line: &&str| {
        let mut words = line.split_whitespace();
        words.next().is_some_and(is_number) && words.next().is_some_and(|it| it.contains('.'))
    };
    let rows = text.lines().filter(is_row);
    assert_eq!(rows.count(), story.moments.len());
    for line in run.trace.iter().filter_map(|line| line.split_once(" open(\"")) {
        let path = line.1.split('"').next().unwrap();
        assert!(text.contains(path), "{path}");
    }
}

fn is_number(word: &str) -> bool {
    word.parse::<usize>().is_ok()
}

#[test]
fn who_took_part_is_told_in_the_order_of_kinds() {
    let story = story(&Case::of("task/exec"), 0);
    let kinds: Vec<Kind> = story.actors.iter().map(|actor| actor.kind).collect();
    assert!(kinds.is_sorted(), "{kinds:?}");
    for kind in [Kind::Daemon, Kind::Shim, Kind::Helper, Kind::Runtime, Kind::Container] {
        assert!(kinds.contains(&kind), "there is no {kind:?} in {:?}", story.actors);
    }
    assert!(!kinds.contains(&Kind::Other), "{:?}", story.actors);
    for moment in &story.moments {
        assert_eq!(story.actors[moment.actor].pid, moment.event.pid.0);
    }
}

#[test]
fn a_failure_stands_first_and_last_and_leads_to_who_waits() {
    let story = failing();
    let failure = story.failure.clone().unwrap();
    let html = page(&story, "wavetank-sim show this").unwrap();
    let (head, rows) = html.split_once("<ol id=\"rows\">").unwrap();
    assert!(head.contains(failure.promise) && head.contains("wavetank-sim show this"));
    assert!(rows.contains("class=\"end failed\"") && rows.contains(failure.oracle));
    let left = story.moments.iter().position(|it| matches!(it.event.what, What::Left { .. }));
    let left = left.unwrap();
    let since = story.moments[left].since.unwrap();
    assert!(matches!(story.moments[since].event.what, What::Waits { .. }));
    assert!(head.contains(&format!("href=\"#e{left}\"")), "{head}");
    assert!(head.contains(&format!("href=\"#e{since}\"")), "{head}");
    assert!(text(&story, false).contains(&format!("FAILED {}", failure.oracle)));
}

#[rstest]
#[case::a_call_that_fails(faulty(), "ENOMEM")]
#[case::a_signal(
    story(&Case { faults: vec![Fault::signal(Signal::KILL).of(Call::Poll).by("runc")],
                  ..Case::of("task/hello") }, 0),
    "SIGKILL"
)]
fn planned_faults_are_marked(#[case] story: Story, #[case] what: &str) {
    let at = story.moments.iter().position(wavetank_sim::show::Moment::is_fault);
    let Some(at) = at else { panic!("{what} did not strike") };
    let html = page(&story, "").unwrap();
    let row = html.lines().find(|line| line.contains(&format!("<li id=\"e{at}\" "))).unwrap();
    let class = row.split("class=\"").nth(1).unwrap().split('"').next().unwrap();
    assert!(class.split(' ').any(|word| word == "fault"), "{row}");
    assert!(row.contains(what), "{row}");
    assert!(text(&story, false).lines().any(|line| line.contains("!! ") && line.contains(what)));
}

#[test]
fn nothing_that_a_program_says_is_taken_for_markup() {
    let hostile = "</script><script>alert('x')</script>\" onclick=\"&amp; <!-- \u{1b}[31m\u{2028}";
    let mut story = story(&Case::of("hello"), 0);
    story.actors[0].argv = vec![hostile.to_owned()];
    hostile.clone_into(&mut story.actors[0].name);
    for moment in &mut story.moments {
        if let What::Calls { arguments, result, .. } = &mut moment.event.what {
            hostile.clone_into(arguments);
            hostile.clone_into(result);
        }
    }
    let plain = page(&failing(), "").unwrap();
    let html = page(&story, hostile).unwrap();
    for mark in ["<script", "</script", "<!--"] {
        assert_eq!(html.matches(mark).count(), plain.matches(mark).count(), "{mark}");
    }
    assert!(!html.contains("\" onclick=\"") && !html.contains('\u{1b}'));
    assert_eq!(embedded(&html), serde_json::to_value(&story).unwrap());
}

#[test]
fn a_page_needs_nothing_but_itself() {
    let html = page(&failing(), "").unwrap();
    for way in ["src=", "url(", "@import", "<link", "fetch(", "https:"] {
        assert!(!html.contains(way), "{way}");
    }
    let names = html.matches("http:").count();
    assert_eq!(names, html.matches("http://www.w3.org/2000/svg").count());
}

#[test]
fn whoever_has_seen_enough_closes_the_pipe() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut show = Command::new(env!("CARGO_BIN_EXE_wavetank-sim"));
    show.args(["show", "--flow", "hello", "--text"]).stdout(writer);
    let shown = show.output().unwrap();
    assert_eq!(String::from_utf8_lossy(&shown.stderr), "");
    assert!(shown.status.success());
}

/// The first browser there is.
fn browser() -> Option<&'static str> {
    let names = ["chromium", "chromium-browser", "google-chrome"];
    names.into_iter().find(|name| {
        let version = Command::new(name).arg("--version").output();
        version.is_ok_and(|output| output.status.success())
    })
}

#[test]
fn a_browser_draws_the_lanes_and_the_map() {
    let Some(browser) = browser() else {
        // Past the harness, which would keep it to itself.
        let _ = std::io::Write::write_all(
            &mut std::io::stderr(),
            b"SKIPPED a_browser_draws_the_lanes_and_the_map: there is no chromium\n",
        );
        return;
    };
    let story = failing();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("page.html");
    std::fs::write(&path, page(&story, "").unwrap()).unwrap();
    let profile = format!("--user-data-dir={}", directory.path().join("profile").display());
    let output = Command::new(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", &profile])
        .arg(format!("file://{}", path.display()))
        .output()
        .unwrap();
    let dom = String::from_utf8_lossy(&output.stdout);
    let mut told = String::new();
    write!(told, "{} of {0} events", story.moments.len()).unwrap();
    assert!(dom.contains(&told), "the script has not come to its end: {dom}");
    let part = |from: &str| {
        let (_, rest) = dom.split_once(from).unwrap();
        rest.split_once("</svg>").unwrap().0.to_owned()
    };
    let lanes = part("id=\"lanes\"");
    let births = lanes.matches("r=\"4\"").count();
    assert_eq!(births, story.actors.len(), "one birth in each lane");
    assert!(lanes.contains("var(--red)"), "who is left is red");
    let map = part("id=\"lines\"");
    assert!(map.matches("<rect").count() > 2 * story.actors.len());
    assert!(map.contains("var(--red)"), "the failure is red");
}
