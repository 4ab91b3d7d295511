//! All the state of the simulated machine.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::rc::Rc;
use std::time::Duration;

use wavetank::host::{ExitStatus, Mark, Pid};

use crate::caller::SimHost;
use crate::choose::splitmix64;
use crate::config::Config;
use crate::directory::Directory;
use crate::fault::Fault;
use crate::file::OpenFile;
use crate::fs::{Device, Inode, Node};
use crate::mounts::Mount;
use crate::process::Process;
use crate::processes::Processes;
use crate::pty::Pty;
use crate::site::Made;
use crate::slab::{Id, Slab};
use crate::socket::Socket;
use crate::touch::Touches;
use crate::trace::Trace;
use crate::trouble::Trouble;

/// A program: what runs when the file that names it is executed. It gets its arguments, its own
/// name included, and gives its exit status.
pub type Program = Rc<dyn Fn(&mut SimHost<'_>, &[OsString]) -> i32>;

/// The process that adopts orphans and reaps them by itself.
pub(crate) const INIT: i32 = 1;

/// As many files as few machines have more of.
const MANY: usize = 64;

/// The machine. Its calls are spread over the modules by topic; this is only what they share.
pub(crate) struct Kernel {
    pub(crate) config: Config,
    pub(crate) inodes: Slab<Inode>,
    pub(crate) files: Slab<OpenFile>,
    pub(crate) ptys: Slab<Pty>,
    pub(crate) sockets: Slab<Socket>,
    pub(crate) processes: Processes,
    /// In the order in which they were mounted.
    pub(crate) mounts: Vec<Mount>,
    /// How many mounts there have been.
    pub(crate) last_mount: u64,
    /// How many groups of processes have wanted cores of their own.
    pub(crate) last_core: u64,
    pub(crate) programs: Vec<Program>,
    pub(crate) faults: Vec<Fault>,
    /// How many calls a planned fault has hit.
    pub(crate) faults_struck: u64,
    /// What has befallen the run besides what its flow says.
    pub(crate) trouble: Trouble,
    /// Rare branches of the shim that were taken.
    pub(crate) marks: BTreeSet<Mark>,
    pub(crate) trace: Trace,
    /// Every call that was made while it could fail, if they are to be listed.
    pub(crate) calls: Option<Vec<Made>>,
    /// All trouble is over.
    pub(crate) is_healed: bool,
    pub(crate) root: Id<Inode>,
    pub(crate) pts: Id<Inode>,
    pub(crate) touches: Touches,
    /// Whether the race is on whose orders are all tried.
    pub(crate) is_race: bool,
    /// Those who have nothing to do in it any more but to read what they are told.
    pub(crate) readers: Vec<i32>,
    pub(crate) next_inode: u64,
    /// The highest inode number of what is there from the start.
    pub(crate) own_inodes: u64,
    pub(crate) last_pid: i32,
    pub(crate) disk_used: u64,
    /// Nanoseconds since the start.
    pub(crate) clock: u64,
    /// Goes up whenever something happened that a waiting process might wait for.
    pub(crate) changes: Cell<u64>,
    pub(crate) entropy: u64,
    /// Who ran last.
    pub(crate) current: i32,
    pub(crate) steps: u64,
    /// Who can run; the list is only kept for its memory, but where it says that it is true.
    pub(crate) runnable: Vec<i32>,
    /// Nothing has happened since those who can run were listed.
    pub(crate) is_listed: bool,
    /// The program that runs is on its way to its first call.
    pub(crate) is_beginning: bool,
    /// How every process ended that has ended, in that order.
    pub(crate) exits: Vec<(Pid, ExitStatus)>,
    /// When each of them did, in nanoseconds since the machine was started.
    pub(crate) exit_times: Vec<u64>,
    /// The longest row of polls of one process that did not wait, and its program.
    pub(crate) longest_row: (u32, Rc<str>),
    /// Ended processes that waited long for being asked about.
    pub(crate) late_reaps: Vec<LateReap>,
}

/// A process that had ended, and that its parent left as it was for more than [`LateReap::LATE`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LateReap {
    /// Which.
    pub pid: Pid,
    /// The parent's program.
    pub parent: String,
    /// How long it was so.
    pub after: Duration,
}

impl LateReap {
    /// What is no more than this is not late.
    pub const LATE: Duration = Duration::from_secs(1);
}

impl Kernel {
    pub(crate) fn new(config: Config) -> Kernel {
        let mut inodes = Slab::with_room(MANY);
        let directory = |number| Inode {
            number,
            mode: 0o755,
            uid: 0,
            gid: 0,
            parent: None,
            former_path: None,
            users: 0,
            read_only: false,
            node: Node::Directory(Directory::new()),
        };
        let [root, dev, pts] = [2, 3, 4].map(|number| inodes.insert(directory(number)));
        let trace = Trace::new(config.trace);
        let calls = config.list_calls.then(Vec::new);
        let entropy = config.entropy;
        let mut kernel = Kernel {
            config,
            inodes,
            files: Slab::with_room(MANY),
            ptys: Slab::new(),
            sockets: Slab::new(),
            processes: Processes::default(),
            mounts: Vec::new(),
            last_mount: 0,
            last_core: 0,
            programs: Vec::new(),
            faults: Vec::new(),
            faults_struck: 0,
            trouble: Trouble::default(),
            marks: BTreeSet::new(),
            is_healed: false,
            trace,
            calls,
            root,
            pts,
            touches: Touches::default(),
            is_race: false,
            readers: Vec::new(),
            next_inode: 5,
            own_inodes: 0,
            last_pid: INIT,
            disk_used: 0,
            clock: 0,
            changes: Cell::new(0),
            entropy,
            current: INIT,
            steps: 0,
            runnable: Vec::new(),
            is_listed: false,
            is_beginning: false,
            exits: Vec::new(),
            late_reaps: Vec::new(),
            exit_times: Vec::new(),
            longest_row: (0, Rc::from("")),
        };
        kernel.inodes[root].parent = Some(root);
        kernel.link(root, "dev".into(), dev);
        kernel.link(dev, "pts".into(), pts);
        let devices = [
            ("null", Device::Null),
            ("zero", Device::Zero),
            ("full", Device::Full),
            ("ptmx", Device::Ptmx),
        ];
        for (name, device) in devices {
            let inode = kernel.new_inode(Node::Device(device), 0o666, 0, 0);
            kernel.link(dev, name.into(), inode);
        }
        kernel.own_inodes = kernel.next_inode - 1;
        kernel.processes.insert(INIT, Process::init(root));
        kernel
    }

    /// Says that something happened that a waiting process might wait for.
    pub(crate) fn changed(&self) {
        self.changes.set(self.changes.get() + 1);
    }

    pub(crate) fn random(&mut self) -> u64 {
        if self.config.orderly {
            let mut state = self.entropy ^ self.own_number();
            return splitmix64(&mut state);
        }
        splitmix64(&mut self.entropy)
    }

    /// A number that nothing else has.
    pub(crate) fn next_number(&mut self) -> u64 {
        // What is there from the start is nobody's.
        if self.config.orderly && self.processes.contains(self.current) {
            return self.own_number();
        }
        self.next_inode += 1;
        self.next_inode - 1
    }

    /// The number of an open file or a socket, where those count.
    pub(crate) fn next_serial(&mut self) -> u64 {
        if self.config.orderly { self.own_number() } else { 0 }
    }

    /// The next number of the process that runs: whatever others do, it is the same one.
    fn own_number(&mut self) -> u64 {
        let pid = self.current;
        let process = self.process(pid);
        process.made += 1;
        u64::from(pid.unsigned_abs()) << 32 | process.made
    }

    pub(crate) fn tick(&mut self) {
        if self.config.orderly {
            return;
        }
        self.clock += u64::try_from(self.config.tick.as_nanos()).unwrap_or(0);
    }
}
