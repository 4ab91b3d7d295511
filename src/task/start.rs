//! start: gives the address of the shim for a container, started if there is none.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use crate::Error;
use crate::files::{identity, read_file, write_atomically};
use crate::host::{
    Bug, Command, Errno, Fd, Host, Lead, Mark, OpenFlags, Pid, Signal, SpawnError, WaitFor,
    close_all, variable, write_all,
};
use crate::oci::{SPEC_MAX, Spec};
use crate::stdio::open_null;

use super::arguments::Arguments;
use super::bootstrap::{Bootstrap, Form};
use super::cgroup;
use super::daemon;
use super::socket::{Listener, listen, socket_path};
use super::stdin::read_stdin;

/// Annotations that say with whom a container shares its shim; the first that is there counts.
const GROUP_ANNOTATIONS: [&str; 2] =
    ["io.containerd.runc.v2.group", "io.kubernetes.cri.sandbox-id"];
/// The file in a bundle that says where its shim is; daemons of 1.x look for it.
pub(super) const ADDRESS: &str = "address";
/// The link in a bundle to the directory of the socket, if that is not the usual one.
const SOCKET_DIR_LINK: &str = "s";
/// No process is more ready to be killed (`proc_pid_oom_score_adj(5)`).
const OOM_SCORE_MAX: i32 = 1000;
/// How often it is tried to kill a server.
const KILLS: u32 = 3;

/// A shim that is to be told of.
pub(super) struct Started {
    /// What is to be answered on stdout.
    pub(super) answer: Vec<u8>,
    /// The server and its socket, if it was not there before.
    own: Option<(Pid, PathBuf)>,
}

/// Gives the shim that is to be told of. `program` is the name by which we were called.
///
/// # Errors
/// Why there is no shim; nothing is left of one.
pub(super) fn start<H: Host>(
    host: &mut H,
    program: &OsStr,
    arguments: &Arguments,
) -> Result<Started, Error> {
    if arguments.id.is_empty() {
        return Err(Error::invalid("shim id", "cannot be empty"));
    }
    let stdin = read_stdin(host)?;
    let mut bootstrap = Bootstrap::understand(arguments, &stdin)?;
    let env = host.environment();
    if bootstrap.form == Form::Address && knows_json(host, &env) {
        bootstrap.form = Form::Json;
    }
    let group = read_group(host, &arguments.id)?;
    let socket =
        socket_path(&bootstrap.socket_dir, &bootstrap.grpc_address, &arguments.namespace, &group)
            .map_err(no_socket)?;
    let address = format!("unix://{}", socket.display());
    let answer = bootstrap.answer(&address)?;
    if !bootstrap.socket_dir.is_empty() {
        link_socket_dir(host, &bootstrap.socket_dir)?;
    }
    // Before there is a socket: should we be killed, delete knows where to look for it.
    write_atomically(host, Path::new(ADDRESS), address.as_bytes())?;
    let listener = match listen(host, &socket).map_err(no_socket) {
        Ok(Listener::Theirs) => return Ok(Started { answer, own: None }),
        Ok(Listener::Ours(listener)) => listener,
        Err(error) => {
            remove_traces(host, &[Path::new(ADDRESS)]);
            return Err(error);
        }
    };
    let env = environment_of_server(env, &bootstrap);
    let server =
        Command { env: Some(env), ..server(host, program, arguments, &bootstrap, &address) };
    let started = launch(host, server, listener, &bootstrap);
    close_all(host, [listener]);
    if started.is_err() {
        remove_traces(host, &[&socket, Path::new(ADDRESS)]);
    }
    started.map(|pid| Started { answer, own: Some((pid, socket)) })
}

/// Whether the daemon knows version 3 of the task service, which only JSON can offer. Those before 1.7
/// know no JSON, and do not say which versions they know.
fn knows_json<H: Host>(host: &mut H, env: &[OsString]) -> bool {
    variable(env, "MAX_SHIM_VERSION").is_some() && daemon::is_of_second_generation(host)
}

fn remove_traces<H: Host>(host: &mut H, traces: &[&Path]) {
    for path in traces {
        let _ = host.unlink(path);
    }
}

/// Ends a server of which nobody could be told: a daemon that was killed meanwhile may have a successor
/// who has looked for it already.
pub(super) fn take_back<H: Host>(host: &mut H, started: &Started) {
    if let Some((pid, socket)) = &started.own {
        end(host, *pid);
        remove_traces(host, &[socket, Path::new(ADDRESS)]);
    }
}

/// One that cannot be killed is not waited for: it would live on.
fn end<H: Host>(host: &mut H, pid: Pid) {
    host.mark(Mark::ServerTakenBack);
    if (0..KILLS).any(|_| host.kill(pid, Signal::KILL).is_ok()) {
        while host.wait(WaitFor::Pid(pid), true) == Err(Errno::EINTR) {}
    }
}

fn no_socket(error: Error) -> Error {
    Error::invalid("create new shim socket", error)
}

fn read_group<H: Host>(host: &mut H, id: &str) -> Result<String, Error> {
    let config = Path::new("config.json");
    let text = read_file(host, config, SPEC_MAX)?;
    let spec = Spec::parse(&text).map_err(|reason| Error::invalid(config.display(), reason))?;
    Ok(group_of(&spec, id).to_owned())
}

/// Whose shim the container shares; its own id if nobody's.
fn group_of<'a>(spec: &'a Spec, id: &'a str) -> &'a str {
    let named = GROUP_ANNOTATIONS.iter().find_map(|name| spec.annotations.get(*name));
    named.map_or(id, String::as_str)
}

fn link_socket_dir<H: Host>(host: &mut H, directory: &str) -> Result<(), Error> {
    let link = Path::new(SOCKET_DIR_LINK);
    match host.unlink(link) {
        Ok(()) | Err(Errno::ENOENT) => {}
        Err(errno) => return Err(Error::system("unlink", link.display(), errno)),
    }
    host.symlink(Path::new(directory), link)
        .map_err(|errno| Error::system("symlink", link.display(), errno))
}

/// The server: this program again, without an action, in a process group of its own.
fn server<H: Host>(
    host: &mut H,
    program: &OsStr,
    arguments: &Arguments,
    bootstrap: &Bootstrap,
    address: &str,
) -> Command {
    let mut argv = vec![program.to_owned()];
    // Our own -address is the daemon's; the server is told its own.
    let given = [
        ("-namespace", &*arguments.namespace),
        ("-id", &arguments.id),
        ("-address", address),
        ("-publish-binary", &bootstrap.publish_binary),
    ];
    for (flag, value) in given.into_iter().filter(|(_, value)| !value.is_empty()) {
        argv.extend([OsString::from(flag), value.into()]);
    }
    if bootstrap.debug {
        argv.push("-debug".into());
    }
    Command { program: own_program(host), argv, lead: Lead::Group, ..Command::default() }
}

fn environment_of_server(mut env: Vec<OsString>, bootstrap: &Bootstrap) -> Vec<OsString> {
    if variable(&env, "TTRPC_ADDRESS").is_none() && !bootstrap.ttrpc_address.is_empty() {
        env.push(format!("TTRPC_ADDRESS={}", bootstrap.ttrpc_address).into());
    }
    env
}

/// Our own file, by its name, which is what process lists show; by the link of `/proc` if another
/// file has its name now.
fn own_program<H: Host>(host: &mut H) -> PathBuf {
    let link = Path::new("/proc/self/exe");
    let Ok(file) = host.readlink(link) else { return link.to_owned() };
    let named = identity(host, &file);
    if named.is_some() && named == identity(host, link) { file } else { link.to_owned() }
}

/// Starts the server, with the socket at its descriptor 3, and puts it where it belongs.
fn launch<H: Host>(
    host: &mut H,
    server: Command,
    listener: Fd,
    bootstrap: &Bootstrap,
) -> Result<Pid, Error> {
    let sched_core = variable(server.env.as_deref().unwrap_or_default(), "SCHED_CORE");
    if sched_core.is_some_and(|value| !value.is_empty()) {
        host.share_core().map_err(|errno| Error::system("prctl", "PR_SCHED_CORE", errno))?;
    }
    let null = open_null(host)?;
    let stdout = if host.planted(Bug::InheritedOutput) { Fd(1) } else { null };
    let server = Command { fds: vec![null, stdout, null, listener], ..server };
    let spawned = host.spawn(&server).map_err(|SpawnError { step, errno }| {
        Error::system(&format!("{step:?}").to_lowercase(), server.program.display(), errno)
    });
    close_all(host, [null]);
    let pid = spawned?;
    let placed = place(host, pid, &bootstrap.options.shim_cgroup);
    if placed.is_err() && !host.planted(Bug::ServerLeft) {
        end(host, pid);
    }
    placed.map(|()| pid)
}

fn place<H: Host>(host: &mut H, pid: Pid, shim_cgroup: &str) -> Result<(), Error> {
    if !shim_cgroup.is_empty() {
        cgroup::join(host, shim_cgroup, pid)?;
    }
    adjust_oom_score(host, pid)
}

/// A shim is killed for memory sooner than its daemon, and later than what runs in containers.
fn adjust_oom_score<H: Host>(host: &mut H, pid: Pid) -> Result<(), Error> {
    let daemon = host.parent();
    if daemon == Pid(0) {
        // It is in a pid namespace of which we see nothing.
        return Ok(());
    }
    let theirs = PathBuf::from(format!("/proc/{daemon}/oom_score_adj"));
    let text = read_file(host, &theirs, 64)?;
    let score = std::str::from_utf8(&text).ok().and_then(|text| text.trim().parse::<i32>().ok());
    let score = score.ok_or_else(|| Error::invalid(theirs.display(), "is no number"))?;
    let score = score.saturating_add(1).min(OOM_SCORE_MAX);
    let ours = format!("/proc/{pid}/oom_score_adj");
    match write_number(host, Path::new(&ours), score) {
        // Who is not root may not always; it goes without.
        Ok(()) | Err(Errno::EPERM | Errno::EACCES) => Ok(()),
        Err(errno) => Err(Error::system("write", ours, errno)),
    }
}

fn write_number<H: Host>(host: &mut H, file: &Path, number: i32) -> Result<(), Errno> {
    let fd = host.open(file, OpenFlags::WRITE, 0)?;
    let written = write_all(host, fd, number.to_string().as_bytes());
    close_all(host, [fd]);
    written
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::host::{LinuxHost, MockHost, SpawnStep};

    #[rstest]
    #[case("{}", "c1")]
    #[case(r#"{"annotations":{"io.kubernetes.cri.sandbox-id":"s1"}}"#, "s1")]
    #[case(
        r#"{"annotations":{"io.kubernetes.cri.sandbox-id":"s1","io.containerd.runc.v2.group":"g"}}"#,
        "g"
    )]
    #[case(
        r#"{"annotations":{"io.kubernetes.cri.sandbox-id":"s1","io.containerd.runc.v2.group":""}}"#,
        ""
    )]
    fn groups(#[case] config: &str, #[case] group: &str) {
        let spec = Spec::parse(config.as_bytes()).unwrap();
        assert_eq!(group_of(&spec, "c1"), group);
    }

    fn server_of(bootstrap: &Bootstrap) -> Command {
        let mut host = MockHost::new();
        host.expect_readlink().returning(|_| Err(Errno::ENOENT));
        let arguments =
            Arguments { namespace: "ns".into(), id: "c1".into(), ..Arguments::default() };
        server(&mut host, OsStr::new("shim"), &arguments, bootstrap, "unix:///s")
    }

    #[test]
    fn the_server() {
        let least = server_of(&Bootstrap::default());
        assert_eq!(least.argv, ["shim", "-namespace", "ns", "-id", "c1", "-address", "unix:///s"]);
        assert_eq!((least.program, least.lead), ("/proc/self/exe".into(), Lead::Group));
        let most = server_of(&Bootstrap {
            publish_binary: "/c".into(),
            ttrpc_address: "/t".into(),
            debug: true,
            ..Bootstrap::default()
        });
        assert_eq!(most.argv[7..], ["-publish-binary", "/c", "-debug"]);
    }

    #[rstest]
    #[case::told_by_nobody("A=b", "", &["A=b"])]
    #[case::told_by_the_message("A=b", "/t", &["A=b", "TTRPC_ADDRESS=/t"])]
    #[case::told_by_the_environment("TTRPC_ADDRESS=/u", "/t", &["TTRPC_ADDRESS=/u"])]
    fn its_environment(#[case] given: &str, #[case] ttrpc_address: &str, #[case] env: &[&str]) {
        let bootstrap =
            Bootstrap { ttrpc_address: ttrpc_address.to_owned(), ..Bootstrap::default() };
        assert_eq!(environment_of_server(vec![given.into()], &bootstrap), env);
    }

    #[test]
    fn our_own_file_has_a_name() {
        let mut host = LinuxHost::new();
        let own = own_program(&mut host);
        assert_ne!(own, Path::new("/proc/self/exe"));
        assert!(host.stat(&own).is_ok());
    }

    #[test]
    fn a_server_that_cannot_be_placed_is_killed_and_reaped() {
        let mut host = MockHost::new();
        host.expect_open().times(1).returning(|_, _, _| Ok(Fd(5)));
        host.expect_close().withf(|fd| *fd == Fd(5)).times(1).returning(|_| Ok(()));
        host.expect_spawn()
            .withf(|server| server.fds == [Fd(5), Fd(5), Fd(5), Fd(4)])
            .returning(|_| Ok(Pid(50)));
        host.expect_parent().returning(|| Pid(40));
        host.expect_open().returning(|_, _, _| Err(Errno::EMFILE));
        host.expect_kill().withf(|pid, _| *pid == Pid(50)).once().returning(|_, _| Ok(()));
        host.expect_wait().once().returning(|_, _| Ok(None));
        let error =
            launch(&mut host, Command::default(), Fd(4), &Bootstrap::default()).unwrap_err();
        assert!(error.to_string().starts_with("open /proc/40/oom_score_adj: "), "{error}");
    }

    #[test]
    fn a_server_that_cannot_be_started() {
        let mut host = MockHost::new();
        host.expect_open().returning(|_, _, _| Ok(Fd(5)));
        host.expect_close().withf(|fd| *fd == Fd(5)).once().returning(|_| Ok(()));
        let failure = SpawnError { step: SpawnStep::Fork, errno: Errno::EAGAIN };
        host.expect_spawn().returning(move |_| Err(failure));
        let server = Command { program: "/x".into(), ..Command::default() };
        let error = launch(&mut host, server, Fd(4), &Bootstrap::default()).unwrap_err();
        assert!(error.to_string().starts_with("fork /x: "), "{error}");
    }

    #[test]
    fn cores_are_shared_before_the_server_is_there() {
        let mut host = MockHost::new();
        host.expect_share_core().once().returning(|| Err(Errno::ENODEV));
        let server = Command { env: Some(vec!["SCHED_CORE=1".into()]), ..Command::default() };
        let error = launch(&mut host, server, Fd(4), &Bootstrap::default()).unwrap_err();
        assert!(error.to_string().starts_with("prctl PR_SCHED_CORE: "), "{error}");
    }

    #[rstest]
    #[case("0\n", "1")]
    #[case("-999\n", "-998")]
    #[case("1000\n", "1000")]
    fn scores(#[case] theirs: &'static str, #[case] ours: &'static str) {
        let mut host = MockHost::new();
        host.expect_parent().returning(|| Pid(40));
        host.expect_open().returning(|path, _, _| {
            Ok(Fd(if path == Path::new("/proc/40/oom_score_adj") { 5 } else { 6 }))
        });
        host.expect_fstat().returning(|_| {
            let kind = crate::host::FileKind::Regular;
            Ok(crate::host::FileStat {
                kind,
                mode: 0,
                uid: 0,
                gid: 0,
                size: 0,
                device: 0,
                inode: 0,
            })
        });
        let mut unread = theirs.as_bytes();
        host.expect_read().returning(move |_, buffer| {
            let count = unread.len();
            buffer[..count].copy_from_slice(unread);
            unread = b"";
            Ok(count)
        });
        host.expect_write()
            .withf(move |fd, bytes| *fd == Fd(6) && bytes == ours.as_bytes())
            .once()
            .returning(|_, _| Err(Errno::EACCES));
        host.expect_close().times(2).returning(|_| Ok(()));
        assert_eq!(adjust_oom_score(&mut host, Pid(50)), Ok(()));
    }
}
