//! What a drawn process does, and what must come of that.

use wavetank::host::WindowSize;

use super::super::plan::{Name, Process};
use crate::guests::pattern;
use crate::swarm::Draw;

/// The size of every drawn terminal.
pub(super) const SIZE: WindowSize = WindowSize { columns: 91, rows: 37 };

/// How a process comes to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// By itself, and soon.
    Itself,
    /// When its input ends.
    Input,
    /// When it is killed.
    Killed,
    /// By itself, once its terminal has a size.
    Sized,
}

/// A process and its ending.
pub(super) struct Behaviour {
    pub(super) process: Process,
    pub(super) ending: Ending,
}

/// Kinds of processes: words, ends, output, and how they come to their end.
type Kind = (&'static [&'static str], &'static [u32], &'static str, Ending);

const PLAIN: [Kind; 9] = [
    (&["print", "hello", "exit", "7"], &[7], "hello", Ending::Itself),
    (&["exit", "0"], &[0], "", Ending::Itself),
    (&["print", "x", "sleep-ms", "1000000"], &[137, 143], "x", Ending::Killed),
    (&["sleep-ms", "5", "print", "late", "exit", "3"], &[3], "late", Ending::Itself),
    (&["print", "x", "die", "11"], &[139], "x", Ending::Itself),
    (&["print", "x", "die", "9"], &[137], "x", Ending::Itself),
    (&["print", "a", "sleep-ms", "20", "print", "b"], &[0], "ab", Ending::Itself),
    (&["print", "x", "wait-signal", "15", "exit", "3"], &[3, 137, 143], "x", Ending::Killed),
    (&["close-stdout", "sleep-ms", "2", "exit", "1"], &[1], "", Ending::Itself),
];

/// Kinds that write much: how much, and what else they do.
const LOUD: [(&str, usize); 4] =
    [("100", 100), ("5000", 5000), ("70000", 70_000), ("200000", 200_000)];

const INPUTS: [usize; 4] = [300, 0, 5, 70_000];

impl Behaviour {
    pub(super) fn draw(draw: &mut Draw<'_>, name: Name) -> Behaviour {
        let mut process = Process { name, ..Process::default() };
        let ending = match draw.below(5) {
            0 | 1 => Behaviour::plain(draw, &mut process),
            2 => Behaviour::loud(draw, &mut process),
            3 => Behaviour::reader(draw, &mut process),
            _ => Behaviour::terminal(draw, &mut process),
        };
        Behaviour { process, ending }
    }

    fn plain(draw: &mut Draw<'_>, process: &mut Process) -> Ending {
        let (words, ends, output, ending) = draw.pick(&PLAIN);
        (process.words, process.ends) = (words.to_vec(), ends.to_vec());
        process.stdout = output.as_bytes().to_vec();
        // Input that nobody reads keeps nobody from ending.
        process.input = pattern(draw.pick(&[0, 0, 10, 200_000]));
        if draw.seldom() {
            process.words.splice(0..0, ["error", "alas"]);
            process.stderr = b"alas".to_vec();
        }
        if ending == Ending::Itself && draw.seldom() {
            process.words.splice(0..0, ["fork-hold-stdout-ms", "50"]);
        }
        ending
    }

    fn loud(draw: &mut Draw<'_>, process: &mut Process) -> Ending {
        let (word, count) = draw.pick(&LOUD);
        process.stdout = pattern(count);
        let rest: &[&str] = if draw.often() { &["sleep-ms", "1000000"] } else { &["exit", "2"] };
        process.words = [&["bytes", word], rest].concat();
        process.leaves_after = draw.often().then_some(1);
        if rest.len() == 2 && rest[0] == "exit" {
            process.ends = vec![2];
            return Ending::Itself;
        }
        process.ends = vec![137, 143];
        Ending::Killed
    }

    fn reader(draw: &mut Draw<'_>, process: &mut Process) -> Ending {
        let count = draw.pick(&INPUTS);
        process.input = pattern(count);
        process.ends = vec![4];
        if draw.often() {
            process.words = vec!["read-all", "exit", "4"];
            process.stdout = count.to_string().into_bytes();
        } else {
            process.words = vec!["echo", "error", "end", "exit", "4"];
            (process.stdout, process.stderr) = (pattern(count), b"end".to_vec());
        }
        Ending::Input
    }

    fn terminal(draw: &mut Draw<'_>, process: &mut Process) -> Ending {
        process.terminal = true;
        match draw.below(3) {
            0 => {
                (process.words, process.ends) = (vec!["winsize", "exit", "3"], vec![3]);
                process.stdout = b"91x37".to_vec();
                Ending::Sized
            }
            1 => {
                (process.words, process.ends) = (vec!["print", "tty", "exit", "9"], vec![9]);
                process.stdout = b"tty".to_vec();
                Ending::Itself
            }
            _ => {
                process.words = vec!["print", "tty", "sleep-ms", "1000000"];
                // A terminal that goes hangs up those who stand on it.
                process.ends = vec![129, 137, 143];
                process.stdout = b"tty".to_vec();
                Ending::Killed
            }
        }
    }
}
