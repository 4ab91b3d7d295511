//! `wavetank-sim bench`: how many life cycles one core runs in a second of its own time.
//!
//! Time is what the thread had of a processor, so that neighbours do not count. What a busy machine
//! still does to it, its caches and its clock, shows in the floor: what the same number of bare
//! choices and switches between stacks costs, measured in turns with the life cycles.

use std::time::Duration;

use corosensei::{Coroutine, CoroutineResult};
use nix::time::{ClockId, clock_gettime};
use serde::Serialize;
use wavetank_sim::{Case, Choose, Flow, Lazy, Made, Tape};

use super::{Done, Terms, can_unwind, select};

/// From start over output, exit and status to the container's removal: of either door.
const LIVES: [&str; 7] = ["lean", "hello", "hello-create", "echo", "tty", "exec", "task/hello"];
/// So many seeds have their calls counted, in runs that nobody times.
const COUNTED: u64 = 200;
/// So many life cycles go between two looks at the clock.
const BATCH: u64 = 50;
/// So many choices and switches the floor has between two looks at the clock.
const FLOOR_BATCH: u32 = 5_000;

/// What was measured of a flow.
#[derive(Serialize)]
struct Row {
    flow: &'static str,
    life_cycles: u64,
    /// The thread's own time.
    cpu_seconds: f64,
    life_cycles_per_second: f64,
    /// Calls of a life cycle at which others may go first, in the mean: of the shim's processes.
    shim_calls: f64,
    /// The same of all processes: daemon, shim, runtime and container.
    calls: f64,
    nanoseconds_per_call: f64,
    /// What one choice and one switch to another stack and back cost meanwhile.
    floor_nanoseconds: f64,
}

pub(crate) fn bench(terms: &Terms, flows: &[String], seconds: f64) -> Done {
    can_unwind()?;
    let lives = LIVES.map(str::to_owned);
    let flows = select(if flows.is_empty() { &lives } else { flows })?;
    let bar = terms.bar(flows.len() as u64, "flows");
    terms.line(&bar, "flow              cycles/s   calls: shim    all  ns/call  floor  times");
    let mut rows = Vec::new();
    for flow in flows.iter().take_while(|_| !terms.interrupted()) {
        bar.set_message(flow.name());
        match measure(terms, flow, seconds)? {
            Measured::Row(row) => {
                terms.line(&bar, &printed(&row));
                rows.push(row);
            }
            Measured::Fails(seed) => {
                bar.finish_and_clear();
                return keep_failure(terms, flow, seed);
            }
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    terms.report(&rows)?;
    Ok(terms.verdict(false))
}

enum Measured {
    Row(Row),
    /// What does not go right is not worth a figure.
    Fails(u64),
}

fn measure(terms: &Terms, flow: &Flow, seconds: f64) -> Result<Measured, String> {
    let counts = Counts::of(flow);
    let mut floor = Floor::new();
    let (mut life_cycles, mut cpu) = (0, Duration::ZERO);
    while cpu.as_secs_f64() < seconds && !terms.interrupted() {
        let begun = cpu_time()?;
        for seed in life_cycles..life_cycles + BATCH {
            if flow.run(&mut Lazy::seeded(seed), false).failure.is_some() {
                return Ok(Measured::Fails(seed));
            }
        }
        cpu += cpu_time()?.saturating_sub(begun);
        life_cycles += BATCH;
        floor.measure()?;
    }
    let cpu_seconds = cpu.as_secs_f64();
    Ok(Measured::Row(Row {
        flow: flow.name(),
        life_cycles,
        cpu_seconds,
        life_cycles_per_second: life_cycles as f64 / cpu_seconds,
        shim_calls: counts.shim,
        calls: counts.all,
        nanoseconds_per_call: cpu_seconds * 1e9 / life_cycles as f64 / counts.all,
        floor_nanoseconds: floor.nanoseconds(),
    }))
}

fn printed(row: &Row) -> String {
    let Row { flow, life_cycles_per_second, shim_calls, calls, .. } = row;
    let (per_call, floor) = (row.nanoseconds_per_call, row.floor_nanoseconds);
    let times = per_call / floor;
    format!(
        "{flow:16} {life_cycles_per_second:9.0}  {shim_calls:11.1} {calls:6.1} {per_call:8.1} \
         {floor:6.1} {times:6.1}"
    )
}

fn keep_failure(terms: &Terms, flow: &Flow, seed: u64) -> Done {
    let (run, tape) = Tape::record(&Case::of(flow.name()), flow, Lazy::seeded(seed), false);
    if let Some(failure) = run.failure {
        terms.keep(&tape, &failure, &format!("bench-{}-{seed}", flow.name()))?;
    }
    Ok(terms.verdict(true))
}

/// How many calls a life cycle has, in the mean.
struct Counts {
    shim: f64,
    all: f64,
}

impl Counts {
    fn of(flow: &Flow) -> Counts {
        let flow = flow.clone().listing_calls();
        let is_shim = |made: &Made| made.program.starts_with("containerd-shim");
        let (mut shim, mut all) = (0, 0);
        for seed in 0..COUNTED {
            let calls = flow.run(&mut Lazy::seeded(seed), false).calls;
            shim += calls.iter().filter(|made| is_shim(made)).count();
            all += calls.len();
        }
        let mean = |count| count as f64 / COUNTED as f64;
        Counts { shim: mean(shim), all: mean(all) }
    }
}

/// The least that a call can cost: somebody is chosen, and goes on where he was.
struct Floor {
    task: Coroutine<usize, (), ()>,
    chooser: Lazy<wavetank_sim::Random>,
    turns: u64,
    cpu: Duration,
}

impl Floor {
    fn new() -> Floor {
        let task = Coroutine::new(|yielder, mut answer| {
            // Whoever is not chosen any more just is not resumed.
            while answer < usize::MAX {
                answer = yielder.suspend(());
            }
        });
        Floor { task, chooser: Lazy::seeded(0), turns: 0, cpu: Duration::ZERO }
    }

    fn measure(&mut self) -> Result<(), String> {
        let begun = cpu_time()?;
        for _ in 0..FLOOR_BATCH {
            let answer = self.chooser.choose(3);
            if let CoroutineResult::Return(()) = self.task.resume(answer) {
                return Err("the floor has given way".to_owned());
            }
        }
        self.cpu += cpu_time()?.saturating_sub(begun);
        self.turns += u64::from(FLOOR_BATCH);
        Ok(())
    }

    fn nanoseconds(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e9 / self.turns as f64
    }
}

/// What this thread has had of a processor.
fn cpu_time() -> Result<Duration, String> {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID);
    time.map(Duration::from).map_err(|errno| format!("clock_gettime: {errno}"))
}
