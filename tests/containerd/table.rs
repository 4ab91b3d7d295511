//! The table: reads every row under every combination with both shims, and judges.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use crate::client::until;
use crate::daemon::{Combination, Criu, Daemon, Shim};
use crate::place;
use crate::rows;
use crate::scene::Scene;

/// How a row is read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Needs {
    /// On the daemon of all.
    Nothing,
    /// With a daemon that it may kill.
    OwnDaemon,
    /// With a daemon that finds criu, which is hidden from the others.
    Criu,
    /// It is long, and one combination is enough.
    Once,
}

#[derive(Clone, Copy)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) needs: Needs,
    pub(crate) read: fn(&Scene) -> String,
    /// What everybody has to see; `""`: whatever the stock shim shows.
    pub(crate) reading: &'static str,
    pub(crate) differs: &'static [Differs],
}

/// Where the stock shim reads otherwise, and why ours shall not.
pub(crate) struct Differs {
    /// Part of the combination's name.
    pub(crate) on: &'static str,
    /// `"*"`: now this, now that.
    pub(crate) stock: &'static str,
    pub(crate) why: &'static str,
}

/// Row, combination and shim, the first two by their place in their lists.
type Cell = (usize, usize, Shim);
type Reading = Result<String, String>;

struct Table {
    rows: Vec<Row>,
    combinations: Vec<Arc<Combination>>,
    shims: Vec<Shim>,
    readings: BTreeMap<Cell, Reading>,
}

pub(crate) fn run() -> ExitCode {
    std::panic::set_hook(Box::new(|panic| PANIC.set(panic.to_string())));
    let (mut table, skipped) = planned();
    let start = |combination: &Arc<Combination>| {
        Daemon::start(combination, &table.shims, Criu::Hidden).into()
    };
    let daemons: Vec<Arc<Daemon>> = table.combinations.iter().map(start).collect();
    let mut cells = table.cells();
    // The long ones first, so that nothing is waited for at the end.
    cells.sort_by_key(|(row, ..)| std::cmp::Reverse(table.rows[*row].needs as u8));
    cells.reverse();
    table.readings = read_all(&table, &daemons, cells);
    let mut failures = table.failures();
    for (daemon, combination) in daemons.iter().zip(&table.combinations) {
        for shim in &table.shims {
            if let Some(left) = left_behind(daemon, *shim) {
                let place = format!("{}, {}", combination.name(), shim.name());
                failures.push(format!("{place}: nothing is left: {left}"));
            }
        }
    }
    place::clear_cgroups();
    table.print();
    skipped.iter().for_each(|line| println!("{line}"));
    failures.iter().for_each(|line| println!("FAILED {line}"));
    let count = table.readings.len() + daemons.len() * table.shims.len();
    let (verdict, code) =
        if failures.is_empty() { ("ok", ExitCode::SUCCESS) } else { ("FAILED", ExitCode::FAILURE) };
    let passed = count - failures.len();
    let (failed, ignored) = (failures.len(), skipped.len());
    println!("test result: {verdict}. {passed} passed; {failed} failed; {ignored} ignored");
    code
}

/// What is asked for and can be had; and lines about what cannot.
fn planned() -> (Table, Vec<String>) {
    let mut skipped = Vec::new();
    let (containerds, missing) = place::containerds();
    skipped.extend(missing.map(|why| format!("SKIPPED containerd 2.x: {why}")));
    let runtimes = place::runtimes();
    for name in ["runc", "crun"] {
        if runtimes.iter().all(|(found, _)| *found != name) {
            skipped.push(format!("SKIPPED {name}: it is not installed"));
        }
    }
    let mut combinations = Vec::new();
    for containerd in containerds {
        for (runtime, path) in &runtimes {
            let containerd = place::Installed {
                version: containerd.version.clone(),
                programs: containerd.programs.clone(),
            };
            let runtime_path = path.clone();
            combinations.push(Arc::new(Combination { containerd, runtime, runtime_path }));
        }
    }
    let only = std::env::var("WAVETANK_SHIMS").unwrap_or_default();
    let mut shims = vec![Shim::Stock, Shim::Ours];
    shims.retain(|shim| only.is_empty() || only == shim.name());
    let words: Vec<String> = std::env::args().skip(1).filter(|w| !w.starts_with('-')).collect();
    let mut rows = rows::all();
    rows.retain(|row| words.is_empty() || words.iter().any(|word| row.name.contains(&**word)));
    if let Some(why) = rows.iter().find(|row| row.needs == Needs::Criu).and(place::no_criu()) {
        rows.retain(|row| row.needs != Needs::Criu);
        skipped.push(format!("SKIPPED checkpoints: {why}"));
    }
    (Table { rows, combinations, shims, readings: BTreeMap::new() }, skipped)
}

impl Table {
    fn cells(&self) -> Vec<Cell> {
        let mut cells = Vec::new();
        for (number, row) in self.rows.iter().enumerate() {
            let count = if row.needs == Needs::Once { 1 } else { self.combinations.len() };
            for combination in 0..count {
                cells.extend(self.shims.iter().map(|shim| (number, combination, *shim)));
            }
        }
        cells
    }

    /// What is wrong with a reading.
    fn judge(&self, cell: Cell) -> Result<(), String> {
        let (number, combination, shim) = cell;
        let read = self.readings[&cell].as_ref().map_err(Clone::clone)?;
        let row = &self.rows[number];
        let expected = match (self.difference(number, combination), shim, row.reading) {
            (Some(differs), Shim::Stock, _) => differs.stock,
            (_, Shim::Ours, "") => match self.readings.get(&(number, combination, Shim::Stock)) {
                Some(Ok(stock)) => stock,
                _ => return Ok(()),
            },
            (_, Shim::Stock, "") => return Ok(()),
            (_, _, reading) => reading,
        };
        if read == expected || expected == "*" {
            return Ok(());
        }
        Err(format!("it reads\n    {read}\ninstead of\n    {expected}"))
    }

    fn difference(&self, row: usize, combination: usize) -> Option<&'static Differs> {
        let name = self.combinations[combination].name();
        self.rows[row].differs.iter().find(|differs| name.contains(differs.on))
    }

    fn failures(&self) -> Vec<String> {
        let mut failures = Vec::new();
        for cell in self.readings.keys() {
            if let Err(why) = self.judge(*cell) {
                let (row, combination, shim) = *cell;
                let place = self.combinations[combination].name();
                let name = self.rows[row].name;
                failures.push(format!("{place}, {}: {name}: {why}", shim.name()));
            }
        }
        failures
    }

    fn word(&self, row: usize, combination: usize) -> &'static str {
        let judge = |shim| {
            let cell = (row, combination, shim);
            self.readings.contains_key(&cell).then(|| self.judge(cell).is_ok())
        };
        let differs = self.difference(row, combination).is_some();
        match (judge(Shim::Stock), judge(Shim::Ours)) {
            (None, None) => "-",
            (Some(false), _) | (_, Some(false)) => "FAILED",
            (Some(true), Some(true)) if differs => "better",
            (Some(true), Some(true)) => "same",
            (Some(true), None) => "stock ok",
            (None, Some(true)) => "ours ok",
        }
    }

    fn print(&self) {
        let names: Vec<String> = self.combinations.iter().map(|one| one.name()).collect();
        let line = |name: &str, words: &[&str]| {
            let words: Vec<String> = words.iter().map(|word| format!("{word:12}")).collect();
            println!("{name:52} {}", words.join(" ").trim_end());
        };
        line("", &names.iter().map(|name| &**name).collect::<Vec<_>>());
        for (number, row) in self.rows.iter().enumerate() {
            let words: Vec<_> = (0..names.len()).map(|at| self.word(number, at)).collect();
            line(row.name, &words);
            let of_row = self.readings.iter().filter(|((row, ..), _)| *row == number);
            let ours = of_row.clone().find(|((.., shim), _)| *shim == Shim::Ours);
            if let Some((_, Ok(reading))) = ours.or(of_row.clone().next()) {
                println!("    {}", reading.replace('\n', "\n    "));
            }
            for Differs { on, stock, why } in row.differs {
                let on = if on.is_empty() { "all".to_owned() } else { format!("{on:?}") };
                let stock = if *stock == "*" { "now this, now that" } else { stock };
                println!("    stock on {on}: {stock}, and that is not kept: {why}");
            }
        }
    }
}

fn read_all(table: &Table, daemons: &[Arc<Daemon>], cells: Vec<Cell>) -> BTreeMap<Cell, Reading> {
    let jobs = std::env::var("WAVETANK_JOBS").ok().and_then(|jobs| jobs.parse().ok());
    let (waiting, done) = (Mutex::new(cells), Mutex::new(BTreeMap::new()));
    std::thread::scope(|scope| {
        for _ in 0..jobs.unwrap_or(4) {
            scope.spawn(|| {
                loop {
                    let Some(cell) = waiting.lock().unwrap().pop() else { return };
                    let reading = read(table, daemons, cell);
                    done.lock().unwrap().insert(cell, reading);
                }
            });
        }
    });
    done.into_inner().unwrap()
}

fn read(table: &Table, daemons: &[Arc<Daemon>], (row, combination, shim): Cell) -> Reading {
    let Row { needs, read, name, .. } = table.rows[row];
    let begun = Instant::now();
    let mut scene = None;
    let work = || {
        let shared = || Arc::clone(&daemons[combination]);
        let own = |criu| Daemon::start(&table.combinations[combination], &[shim], criu).into();
        let daemon = match needs {
            Needs::OwnDaemon => own(Criu::Hidden),
            Needs::Criu => own(Criu::Found),
            Needs::Nothing | Needs::Once => shared(),
        };
        let scene = scene.insert(Scene::new(&daemon, shim, row));
        let reading = read(scene);
        if matches!(needs, Needs::OwnDaemon | Needs::Criu)
            && let Some(left) = left_behind(&daemon, shim)
        {
            panic!("something is left: {left}");
        }
        reading
    };
    let reading = catch_unwind(AssertUnwindSafe(work)).map_err(|_| PANIC.take());
    if std::env::var_os("WAVETANK_TIMES").is_some() {
        let place = format!("{}, {}", table.combinations[combination].name(), shim.name());
        eprintln!("{:6.2} s {place}: {name}", begun.elapsed().as_secs_f32());
    }
    if let (Err(_), Some(scene)) = (&reading, &scene) {
        let _ = catch_unwind(AssertUnwindSafe(|| scene.clear()));
    }
    reading
}

thread_local! {
    /// What the last row that failed on this thread has said.
    static PANIC: RefCell<String> = const { RefCell::new(String::new()) };
}

/// What is still there of a shim's containers after all were removed, if anything is.
fn left_behind(daemon: &Daemon, shim: Shim) -> Option<String> {
    let namespace = daemon.namespace(shim);
    let list = |directory: &str| {
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        entries.map(|entry| entry.path().display().to_string()).collect::<Vec<_>>()
    };
    let mut left = Vec::new();
    let mut look = || {
        left.clear();
        left.extend(daemon.shims(shim).iter().map(|pid| format!("shim {pid}")));
        let bundles = daemon.place.join("state/io.containerd.runtime.v2.task").join(&namespace);
        left.extend(list(bundles.to_str().unwrap()));
        left.extend(list(&format!("/run/containerd/runc/{namespace}")));
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let of_namespace = format!("/{namespace}/");
        let mounts = mounts.lines().filter(|line| line.contains(&of_namespace));
        left.extend(mounts.map(|line| format!("mount {line}")));
        for cgroup in place::cgroups_called(&namespace) {
            let below = list(cgroup.to_str().unwrap());
            left.extend(below.into_iter().filter(|path| fs::metadata(path).unwrap().is_dir()));
        }
        left.is_empty()
    };
    // Shims may end a moment after all was said.
    let patient = catch_unwind(AssertUnwindSafe(|| until("nothing is left", &mut look)));
    for cgroup in place::cgroups_called(&namespace) {
        let _ = fs::remove_dir(cgroup);
    }
    patient.is_err().then(|| left.join(", "))
}
