//! Walks through all orders of a race, one of each kind: those that differ only in which of two
//! independent neighbours comes first are one kind.
//!
//! This is dynamic partial order reduction with source sets and sleep sets: Abdulla, Aronis, Jonsson
//! and Sagonas, "Optimal dynamic partial order reduction" (2014), its first algorithm. Every order is run
//! from the start. Afterwards each pair of steps is looked for that raced, so that somebody has to
//! go first the other way round, at the place where the first of them was; and who was tried at a place
//! sleeps there until something happens that makes a difference to him.

use crate::choose::{Choose, Seen, Turn};
use crate::exhaust::order::Order;
use crate::touch::{Deed, Thing, Touch, are_independent, settle};

/// The pid that stands for time, which passes only when nobody can run.
const TIME: i32 = 0;

/// A place in the race where somebody has to go on.
struct Place {
    /// Who could.
    able: Vec<i32>,
    /// Nobody else could, and that is why.
    is_last_resort: bool,
    /// Who did in this run.
    chosen: i32,
    /// Who is to be tried here, those included that were.
    wanted: Vec<i32>,
    /// Who need not go first here: it has been tried, or makes no difference.
    asleep: Vec<(i32, Vec<Touch>)>,
    /// The questions that the chosen one asked in this step, and what they were answered.
    answers: Vec<(usize, usize)>,
    /// What the chosen one touched, whatever the answers.
    touches: Vec<Touch>,
}

impl Place {
    /// Adds what the step has touched with the answers that it was given this time.
    fn note(&mut self, touches: &[Touch]) {
        if self.is_last_resort {
            self.touches = vec![Touch { thing: Thing::Everything, deed: Deed::Changes }];
            return;
        }
        self.touches.extend_from_slice(touches);
        settle(&mut self.touches);
    }
}

/// How far a run has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Before,
    Race,
    After,
    /// Everybody who could go on sleeps: what would come has been seen.
    Enough,
}

/// The orders of one race, from the first to the last.
pub(crate) struct Explorer {
    places: Vec<Place>,
    at: usize,
    part: Part,
    /// How often everybody waits before the race is over.
    periods: usize,
    periods_left: usize,
    /// Who is to go on now.
    next: Option<i32>,
    tape: Vec<u32>,
    reduces: bool,
    /// Those who only read go on when they like, and not only when nobody else can.
    reads_race: bool,
    /// How many questions the step under way has asked.
    asked: usize,
    /// The first place whose step is another one than in the run before.
    news: usize,
    /// Of the steps of the last run.
    order: Order,
}

impl Explorer {
    /// A race is over when everybody has waited so often. Without `reduces` it is every order, each
    /// by itself.
    pub(crate) fn new(periods: usize, reduces: bool, reads_race: bool) -> Explorer {
        Explorer {
            places: Vec::new(),
            at: 0,
            part: Part::Before,
            periods,
            periods_left: periods,
            next: None,
            tape: Vec::new(),
            reduces,
            reads_race,
            asked: 0,
            news: 0,
            order: Order::default(),
        }
    }

    /// Whether the last run was given up, since all that it could still become has been seen.
    pub(crate) fn was_enough(&self) -> bool {
        self.part == Part::Enough
    }

    /// Whether the last run came to the race, and to its end.
    pub(crate) fn has_raced(&self) -> bool {
        matches!(self.part, Part::After | Part::Enough)
    }

    /// How many steps the race of the last run had.
    pub(crate) fn steps(&self) -> usize {
        self.at
    }

    /// The answers of the last run.
    pub(crate) fn take_tape(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.tape)
    }

    /// Goes to the next order; false when there is none.
    pub(crate) fn advance(&mut self) -> bool {
        self.places.truncate(self.at);
        if self.reduces {
            self.find_races();
        }
        (self.at, self.part, self.periods_left) = (0, Part::Before, self.periods);
        self.next = None;
        self.tape.clear();
        while let Some(place) = self.places.last_mut() {
            while let Some((answer, answers)) = place.answers.pop() {
                if answer + 1 < answers {
                    place.answers.push((answer + 1, answers));
                    self.news = self.places.len() - 1;
                    return true;
                }
            }
            let touches = std::mem::take(&mut place.touches);
            place.asleep.push((place.chosen, touches));
            let sleeps = |pid: &i32| place.asleep.iter().any(|(it, _)| it == pid);
            if let Some(pid) = place.wanted.iter().copied().find(|pid| !sleeps(pid)) {
                place.chosen = pid;
                self.news = self.places.len() - 1;
                return true;
            }
            self.places.pop();
        }
        false
    }

    /// Who can go on, and whether that is because nobody else could.
    fn able(&self, seen: &Seen<'_>) -> (Vec<i32>, bool) {
        let all = seen.turn.runnable;
        if self.reads_race {
            return (all.to_vec(), false);
        }
        let racers: Vec<i32> =
            all.iter().copied().filter(|pid| !seen.readers.contains(pid)).collect();
        if racers.is_empty() { (all.to_vec(), true) } else { (racers, false) }
    }

    /// A place where nobody has been. False if all who could go on sleep.
    fn arrive(&mut self, able: &[i32], is_last_resort: bool) -> bool {
        let mut asleep = Vec::new();
        if self.reduces
            && let Some(last) = self.places.last()
        {
            let still = |(pid, touches): &&(i32, Vec<Touch>)| {
                *pid != last.chosen && are_independent(touches, &last.touches)
            };
            asleep.extend(last.asleep.iter().filter(still).cloned());
        }
        let awake = |pid: &i32| asleep.iter().all(|(it, _)| it != pid);
        let Some(chosen) = able.iter().copied().find(awake) else { return false };
        let wanted = if self.reduces { vec![chosen] } else { able.to_vec() };
        let (answers, touches) = (Vec::new(), Vec::new());
        let able = able.to_vec();
        let place = Place { able, is_last_resort, chosen, wanted, asleep, answers, touches };
        self.places.push(place);
        true
    }

    /// Looks for steps that raced, and has the later one come first, at the place of the first.
    fn find_races(&mut self) {
        let mut order = std::mem::take(&mut self.order);
        order.cut(self.news);
        for place in self.places.iter().skip(self.news) {
            order.push(place.chosen, &place.touches);
        }
        for later in self.news..self.places.len() {
            // Time passes when nobody can run, and at no other moment. So do those who only read.
            if self.places[later].is_last_resort {
                continue;
            }
            for &earlier in order.races(later) {
                self.reverse(&order, earlier, later);
            }
        }
        self.order = order;
    }

    fn reverse(&mut self, order: &Order, earlier: usize, later: usize) {
        // What of the steps in between could be done without the earlier one, and then the later.
        let mut without: Vec<usize> =
            (earlier + 1..later).filter(|step| !order.is_before(earlier, *step)).collect();
        without.push(later);
        let leads = |step: &usize| {
            without.iter().take_while(|other| *other < step).all(|it| !order.is_before(*it, *step))
        };
        let chosen = |step: usize| self.places[step].chosen;
        let able = &self.places[earlier].able;
        let leaders: Vec<i32> = without.iter().copied().filter(leads).map(chosen).collect();
        let can: Vec<i32> = leaders.iter().copied().filter(|pid| able.contains(pid)).collect();
        let place = &self.places[earlier];
        let is_done =
            |pid: &i32| place.wanted.contains(pid) || place.asleep.iter().any(|(it, _)| it == pid);
        let more = match can.first() {
            _ if can.iter().any(is_done) => return,
            Some(pid) => vec![*pid],
            // It was the earlier one that let the later one go on.
            None if without.len() == 1 => return,
            None => able.iter().copied().filter(|pid| !is_done(pid)).collect(),
        };
        self.places[earlier].wanted.extend(more);
    }
}

impl Choose for Explorer {
    fn watch(&mut self, seen: &Seen<'_>) -> bool {
        if self.weighs_step()
            && let Some(last) = self.at.checked_sub(1)
        {
            self.places[last].note(seen.touches);
        }
        (self.asked, self.next) = (0, None);
        match self.part {
            Part::Before if seen.is_race => self.part = Part::Race,
            Part::Race => {}
            Part::Before | Part::After => return true,
            Part::Enough => return false,
        }
        let (able, mut is_last_resort) = self.able(seen);
        let mut able = &able[..];
        if able.is_empty() {
            self.periods_left = self.periods_left.saturating_sub(1);
            if self.periods_left == 0 || !seen.turn.timer {
                self.part = Part::After;
                return true;
            }
            (able, is_last_resort) = (&[TIME], true);
        }
        if let Some(place) = self.places.get(self.at) {
            assert_eq!(place.able, able, "the same answers led elsewhere");
        } else if !self.arrive(able, is_last_resort) {
            self.part = Part::Enough;
            return false;
        }
        self.next = Some(self.places[self.at].chosen);
        self.at += 1;
        true
    }

    /// A step that is the same one as in the run before touches the same things.
    fn weighs_step(&self) -> bool {
        self.part == Part::Race && self.at > self.news
    }

    fn choose(&mut self, n: usize) -> usize {
        if n <= 1 {
            return 0;
        }
        let answer = match self.at.checked_sub(1) {
            Some(at) if self.part == Part::Race => {
                let asked = self.asked;
                let answers = &mut self.places[at].answers;
                if asked == answers.len() {
                    answers.push((0, n));
                }
                self.asked += 1;
                answers[asked].0
            }
            _ => 0,
        };
        self.tape.push(u32::try_from(answer).unwrap_or(u32::MAX));
        answer
    }

    fn schedule(&mut self, turn: &Turn<'_>) -> usize {
        let place = self.next.and_then(|pid| turn.runnable.iter().position(|it| *it == pid));
        let answer = place.unwrap_or(0);
        self.tape.push(u32::try_from(answer).unwrap_or(u32::MAX));
        answer
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use rstest::rstest;
    use wavetank::host::{Host, OpenFlags};

    use super::*;
    use crate::{Config, Outcome, SimHost, World};

    type Body = fn(&mut SimHost<'_>);

    /// How many orders were run, and what was in the log after them.
    fn walk(mut explorer: Explorer, programs: &[Body]) -> (usize, BTreeSet<String>) {
        let (mut orders, mut seen) = (0, BTreeSet::new());
        loop {
            let mut world = World::new(Config { orderly: true, ..Config::default() });
            world.add_file("/log", "").add_fifo("/fifo");
            for (number, body) in programs.iter().copied().enumerate() {
                let path = format!("/bin/{number}");
                world.add_program(&path, move |host, _| {
                    if number == 0 {
                        host.begin_race();
                    }
                    body(host);
                    0
                });
                world.start(&path, &["it"]).unwrap();
            }
            let outcome = world.run(&mut explorer);
            if !explorer.was_enough() {
                assert_eq!(outcome, Outcome::Done);
                orders += 1;
                seen.extend(world.text("/log"));
            }
            if !explorer.advance() {
                return (orders, seen);
            }
        }
    }

    fn append(host: &mut SimHost<'_>, text: &str) {
        let fd = host.open(Path::new("/log"), OpenFlags::WRITE | OpenFlags::APPEND, 0).unwrap();
        host.write(fd, text.as_bytes()).unwrap();
    }

    fn one(host: &mut SimHost<'_>) {
        append(host, "1");
    }

    fn two(host: &mut SimHost<'_>) {
        append(host, "2");
    }

    /// Says whether the log was empty, in a file of its own.
    fn look(host: &mut SimHost<'_>) {
        let size = host.stat(Path::new("/log")).unwrap().size;
        host.mkdir(Path::new(&format!("/seen-{size}")), 0o755).unwrap();
        if size == 0 {
            append(host, "0");
        }
    }

    fn only_reads(host: &mut SimHost<'_>) {
        host.only_read();
        append(host, "r");
    }

    fn aside(host: &mut SimHost<'_>) {
        host.mkdir(Path::new("/a"), 0o755).unwrap();
        host.rmdir(Path::new("/a")).unwrap();
    }

    fn give(host: &mut SimHost<'_>) {
        let flags = OpenFlags::WRITE | OpenFlags::NONBLOCK;
        if host.open(Path::new("/fifo"), flags, 0).is_ok() {
            append(host, "reader");
        }
    }

    fn take(host: &mut SimHost<'_>) {
        let flags = OpenFlags::READ | OpenFlags::NONBLOCK;
        let fd = host.open(Path::new("/fifo"), flags, 0).unwrap();
        host.close(fd).unwrap();
    }

    #[rstest]
    #[case::writers(&[one, two])]
    #[case::a_writer_and_one_who_looks(&[one, look])]
    #[case::with_one_who_has_nothing_to_do_with_it(&[one, two, aside])]
    #[case::a_fifo_that_may_have_no_reader(&[give, take, one])]
    fn what_is_left_out_makes_no_difference(#[case] programs: &[Body]) {
        let (all, seen) = walk(Explorer::new(1, false, true), programs);
        let (fewer, seen_by_fewer) = walk(Explorer::new(1, true, true), programs);
        assert_eq!(seen_by_fewer, seen);
        assert!(seen.len() > 1, "there is nothing to be lost: {seen:?}");
        assert!(fewer < all, "{fewer} of {all} orders");
    }

    #[rstest]
    #[case::whenever_it_may(true, &["1r", "r1"])]
    #[case::when_nobody_else_can(false, &["1r"])]
    fn who_only_reads_goes_on(#[case] reads_race: bool, #[case] logs: &[&str]) {
        let (_, seen) = walk(Explorer::new(1, true, reads_race), &[only_reads, one]);
        assert!(seen.iter().eq(logs), "{seen:?}");
    }
}
