//! The scheduler: all orders, the same ones again, and time.

use std::path::Path;
use std::time::Duration;

use wavetank::host::{Fd, Host, PollFd, Ready, write_all};
use wavetank_sim::{
    Config, Odometer, Outcome, Random, Recorded, Replay, World, first_difference, guests,
};

use crate::common::*;

/// Two processes that each make so many directories.
fn two(calls: usize) -> World {
    let mut world = machine();
    for name in ["a", "b"] {
        world.add_program(format!("/bin/{name}"), move |host, _| {
            for call in 0..calls {
                host.mkdir(Path::new(&format!("/tmp/{name}{call}")), 0o700).unwrap();
            }
            0
        });
        world.start(format!("/bin/{name}"), &[name]).unwrap();
    }
    world
}

/// Each process has its calls, its exit and its end: of `2 n` steps any `n` may be the one's.
#[rstest::rstest]
#[case(0, 6)]
#[case(1, 20)]
#[case(2, 70)]
#[case(3, 252)]
fn the_odometer_walks_all_interleavings(#[case] calls: usize, #[case] interleavings: usize) {
    let mut odometer = Odometer::new();
    let mut hashes = Vec::new();
    loop {
        let mut world = two(calls);
        assert_eq!(world.run(&mut odometer), Outcome::Done);
        hashes.push(world.hash());
        if !odometer.advance() {
            break;
        }
    }
    assert_eq!(hashes.len(), interleavings);
    hashes.sort_unstable();
    hashes.dedup();
    assert_eq!(hashes.len(), interleavings, "no two of them are the same");
}

/// A producer and a consumer over a fifo.
fn producer_and_consumer(trace: bool) -> World {
    const TOTAL: usize = 3000;
    let config = Config { trace, pipe_pages: 1, short_one_in: 8, ..Config::default() };
    let mut world = World::new(config);
    world.add_fifo("/tmp/fifo");
    world.add_program("/bin/producer", |host, _| {
        let fd = open(host, "/tmp/fifo", WRITE).unwrap();
        for part in guests::pattern(TOTAL).chunks(700) {
            write_all(host, fd, part).unwrap();
        }
        0
    });
    world.add_program("/bin/consumer", |host, _| {
        let fd = open(host, "/tmp/fifo", READ | NONBLOCK).unwrap();
        let mut got = Vec::new();
        let mut fds = [PollFd::new(fd, Ready::READ)];
        loop {
            host.poll(&mut fds, None).unwrap();
            match read(host, fd).unwrap() {
                bytes if bytes.is_empty() => break,
                bytes => got.extend(bytes),
            }
        }
        assert_eq!(got, guests::pattern(TOTAL));
        0
    });
    world.start("/bin/producer", &["producer"]).unwrap();
    world.start("/bin/consumer", &["consumer"]).unwrap();
    world
}

#[test]
fn a_thousand_orders_of_a_producer_and_a_consumer() {
    let mut hashes = Vec::new();
    for seed in 0..1000 {
        let mut world = producer_and_consumer(false);
        let outcome = world.run(&mut Random::new(seed));
        assert_eq!(outcome, Outcome::Done, "seed {seed}");
        assert!(world.exits().iter().all(|(_, status)| status.success()));
        assert_eq!(world.open_files(), 0);
        hashes.push(world.hash());
    }
    hashes.sort_unstable();
    hashes.dedup();
    assert!(hashes.len() > 300, "the seeds give {} different runs", hashes.len());
}

#[test]
fn the_same_seed_is_the_same_run() {
    for seed in 0..50 {
        let mut worlds = [producer_and_consumer(true), producer_and_consumer(true)];
        for world in &mut worlds {
            finish(world, &mut Random::new(seed));
        }
        let [one, other] = worlds;
        assert_eq!(first_difference(&one.trace(), &other.trace()), None);
        assert_eq!(one.hash(), other.hash());
    }
}

#[test]
fn a_tape_is_the_same_run_and_keeping_the_trace_changes_nothing() {
    let mut recorded = Recorded::new(Random::new(5));
    let mut original = producer_and_consumer(true);
    finish(&mut original, &mut recorded);
    let mut again = producer_and_consumer(false);
    finish(&mut again, &mut Replay::new(recorded.into_tape()));
    assert_eq!(original.hash(), again.hash());
    assert!(again.trace().is_empty());
}

#[test]
fn the_trace_tells_every_call() {
    let world = alone(|host| {
        host.mkdir(Path::new("/tmp/dir"), 0o700).unwrap();
        assert!(host.mkdir(Path::new("/tmp/dir"), 0o700).is_err());
        let fd = open(host, "/tmp/file", CREATE | BOTH).unwrap();
        host.write(fd, b"a\n").unwrap();
    });
    let expected = [
        r#"2 main mkdir("/tmp/dir", 700) -> ok"#,
        r#"2 main mkdir("/tmp/dir", 700) -> EEXIST"#,
        r#"2 main open("/tmp/file", OpenFlags(READ | WRITE | CREATE)) -> 0"#,
        r#"2 main write(0, 2 "a\n") -> 2"#,
        "2 closes everything",
        "2 has ended: exit status 0",
    ];
    assert_eq!(world.trace(), expected);
}

#[test]
fn time_jumps_to_the_next_deadline() {
    let mut world = machine();
    for (name, seconds) in [("late", 7200), ("early", 3600)] {
        world.add_program(format!("/bin/{name}"), move |host, _| {
            host.poll(&mut [], Some(Duration::from_secs(seconds))).unwrap();
            assert!(host.now().as_secs() == seconds);
            assert_eq!(host.wall_clock().as_secs(), 1_767_225_600 + seconds);
            0
        });
        world.start(format!("/bin/{name}"), &[name]).unwrap();
    }
    finish(&mut world, &mut Replay::default());
    let order: Vec<i32> = world.exits().iter().map(|(pid, _)| pid.0).collect();
    assert_eq!(order, [3, 2]);
}

#[rstest::rstest]
#[case(false)]
#[case(true)]
fn a_timer_can_come_before_everything_else(#[case] timers_race: bool) {
    let mut early = false;
    let mut odometer = Odometer::new();
    loop {
        let mut world = machine_with(Config { timers_race, ..Config::default() });
        world.add_program("/bin/timer", |host, _| {
            host.poll(&mut [], Some(Duration::from_secs(1))).unwrap();
            i32::from(host.stat(Path::new("/tmp/done")).is_err())
        });
        world.add_program("/bin/worker", |host, _| {
            host.mkdir(Path::new("/tmp/done"), 0o700).unwrap();
            0
        });
        let timer = world.start("/bin/timer", &["timer"]).unwrap();
        world.start("/bin/worker", &["worker"]).unwrap();
        assert_eq!(world.run(&mut odometer), Outcome::Done);
        early |= !world.exit_status(timer).unwrap().success();
        if !odometer.advance() {
            break;
        }
    }
    assert_eq!(early, timers_race);
}

#[test]
fn a_run_that_does_not_end_is_given_up() {
    let mut world = machine_with(Config { steps: 1000, ..Config::default() });
    world.add_program("/bin/main", |host, _| {
        loop {
            host.poll(&mut [], Some(Duration::ZERO)).unwrap();
        }
    });
    world.start("/bin/main", &["main"]).unwrap();
    assert_eq!(world.run(&mut Replay::default()), Outcome::StepLimit);
}

#[test]
fn a_panic_is_an_outcome() {
    let mut world = machine();
    world.add_program("/bin/main", |host, _| {
        let text = String::from("dropped with the stack");
        host.mkdir(Path::new("/tmp/dir"), 0o700).unwrap();
        std::panic::resume_unwind(Box::new(text));
    });
    let pid = world.start("/bin/main", &["main"]).unwrap();
    let message = "dropped with the stack".to_owned();
    assert_eq!(world.run(&mut Replay::default()), Outcome::Panicked { pid, message });
}

#[test]
fn what_is_on_a_killed_process_stack_is_dropped() {
    let shared = std::rc::Rc::new(());
    let held = std::rc::Rc::clone(&shared);
    let mut world = machine();
    world.add_program("/bin/main", move |host, _| {
        let mine = std::rc::Rc::clone(&held);
        host.read(Fd(0), &mut [0]).unwrap_err();
        let pipe = host.pipe(wavetank::host::OpenFlags::empty()).unwrap();
        host.read(pipe.read, &mut [0]).unwrap();
        drop(mine);
        0
    });
    let pid = world.start("/bin/main", &["main"]).unwrap();
    let Outcome::Stuck(waiting) = world.run(&mut Replay::default()) else { panic!("not stuck") };
    assert!(waiting[0].what.starts_with("bytes from pipe:["), "{}", waiting[0]);
    assert_eq!(std::rc::Rc::strong_count(&shared), 3);
    world.signal(pid, wavetank::host::Signal::KILL).unwrap();
    finish(&mut world, &mut Replay::default());
    assert_eq!(std::rc::Rc::strong_count(&shared), 2);
}
