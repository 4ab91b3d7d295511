//! The known bugs of containerd 0.2's shims, one by one. Where a test elsewhere would fail on the
//! old behaviour, its name is here; the others are here themselves.
//!
//! 1. The end of the input is lost if it comes early:
//!    `stdio::input_closed_before_the_container_exists`,
//!    `stdio::input_closed_while_the_container_comes_to_be`.
//! 2. Opening a fifo waits for ever: `bad_input::the_daemon_has_died_before_the_shim_began`,
//!    [`bug_02_opening_a_fifo_waits_for_ever`].
//! 3. The input's file is opened to write: [`bug_03_the_inputs_file_is_opened_to_write`].
//! 4. The user's id is taken for the group's: `argv::what_the_container_gets_is_its_roots`.
//! 5. The runtime's arguments are missing in the last call: `argv::making_a_container`.
//! 6. The container is deleted before its output is out:
//!    [`bug_06_the_container_is_deleted_before_its_output_is_out`].
//! 7. Nobody reads, and the shim never ends: `stdio::output_that_nobody_ever_reads_is_told_of`,
//!    `stdio::a_reader_may_come_late`.
//! 8. The status can be seen half-written: `exit::the_status_is_never_written_in_place`.
//! 9. White space in a pid file: `bad_input::a_pid_file_in_an_unusual_form`.
//! 10. Messages are not escaped: `bad_input::there_is_no_such_runtime::quotes`.
//! 11. Every run ends with a warning: [`bug_11_an_ordinary_run_has_something_to_tell`].
//! 12. With a terminal, a runtime starts without descriptors 0 to 2:
//!     [`bug_12_a_runtime_starts_without_descriptors`].
//! 13. A restored process gets no terminal, and what fails leaks:
//!     [`bug_13_a_restored_process_gets_no_terminal`]; every place looks for leaks.
//! 14. Not a bug, and to be kept: a runtime's failure is none of the shim's:
//!     `bad_input::the_runtime_fails`.
//! 15. Ends that come together, or early: `exit::a_container_may_end_before_its_pid_is_known`,
//!     `exit::orphans_of_the_container_are_reaped`, `argv::signals_are_as_a_program_expects_them`.
//! 16. A size for a terminal that is closed:
//!     `tty::a_size_for_a_terminal_that_is_gone_hurts_nobody`.
//! 17. Nonsense in the control fifo keeps the shim busy:
//!     [`bug_17_nonsense_in_the_control_fifo_keeps_the_shim_busy`].
//! 18. Descriptors leak into the runtime: `argv::descriptors`.
//! 19. Flags that only `runtimeArgs` can give: `argv::runtime_args_stand_before_every_subcommand`.
//! 20. The group is the daemon's choice: `exit::the_shim_leads_no_session_and_keeps_its_group`.
//! 21. A reader that goes away: `stdio::a_reader_may_go_and_another_come`,
//!     `exit::no_signal_but_kill_ends_the_shim`.
//! 22. The end of a terminal's input, to be kept: `tty::closing_the_input_closes_the_fifo_alone`.
//! 23. A runtime dies with the thread that started it: [`bug_23_a_runtime_dies_with_a_thread`],
//!     `argv::a_runtime_dies_with_its_shim`.

use std::fs;

use rstest::rstest;
use serde_json::json;

use crate::support::{Place, Shim, assert_same, fake_runc as runtime_file, signal};

fn children(shim: &Shim) -> String {
    fs::read_to_string(format!("/proc/{0}/task/{0}/children", shim.pid())).unwrap()
}

#[rstest]
fn bug_02_opening_a_fifo_waits_for_ever(
    #[values("start", "run")] dialect: &str,
    #[values(false, true)] terminal: bool,
) {
    let place = Place::with(json!({"container": {"echo": false, "exit_code": 3}}));
    let setup = place.init().dialect(dialect).set("terminal", json!(terminal));
    // No client has any of the fifos open, and none ever comes.
    setup.without_readers().start().finish_with("3");
}

#[test]
fn bug_03_the_inputs_file_is_opened_to_write() {
    let place = Place::with(json!({"container": {"argv": ["sleep", "1000"]}}));
    let input = place.path("input");
    fs::write(&input, fake_runc::pattern(0, 1_000_000)).unwrap();
    fs::set_permissions(&input, std::os::unix::fs::PermissionsExt::from_mode(0o444)).unwrap();
    let mut shim = place.init().set("containerdStdin", json!(input)).start();
    let process = shim.process();
    let fds = format!("/proc/{}/fd", shim.pid());
    let open: Vec<_> = fs::read_dir(fds)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|link| fs::read_link(link).is_ok_and(|to| to == input))
        .collect();
    assert!(!open.is_empty());
    for link in open {
        let number = link.file_name().unwrap().to_str().unwrap();
        let info = fs::read_to_string(format!("/proc/{}/fdinfo/{number}", shim.pid())).unwrap();
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).unwrap();
        let flags = u32::from_str_radix(flags.trim(), 8).unwrap();
        assert_eq!(flags & 0o3, 0, "it is open to write: {info}");
    }
    signal(process, 9);
    shim.finish_with("137");
    assert_same(&fs::read(input).unwrap(), &fake_runc::pattern(0, 1_000_000));
}

#[test]
fn bug_06_the_container_is_deleted_before_its_output_is_out() {
    let place = Place::with(json!({"container": {"stdout_bytes": 100_000, "echo": false}}));
    let mut shim = place.init().start();
    assert_eq!(shim.wait_for_status(), "0");
    shim.wait_until_at_rest();
    assert_eq!(children(&shim), "");
    assert_eq!(place.words(), ["start"]);
    assert_same(&shim.out().read_to_end(), &fake_runc::pattern(0, 100_000));
    shim.finish_with("0");
    assert_eq!(place.words(), ["start", "delete"]);
}

#[rstest]
fn bug_11_an_ordinary_run_has_something_to_tell(
    #[values("start", "run")] dialect: &str,
    #[values(false, true)] terminal: bool,
) {
    let place = Place::with(json!({"container": {"echo": false, "stdout_bytes": 100}}));
    let mut shim = place.init().dialect(dialect).set("terminal", json!(terminal)).start();
    assert!(shim.out().read_to_end().len() >= 100);
    shim.finish_with("0");
    assert_eq!(shim.read("shim-log.json").unwrap(), "");
}

/// A program in Rust opens what is missing before it can look, so here a shell looks.
#[rstest]
fn bug_12_a_runtime_starts_without_descriptors(#[values("start", "run")] dialect: &str) {
    let place = Place::with(json!({"container": {"echo": false}}));
    let look = "for fd in 0 1 2; do readlink /proc/$$/fd/$fd || echo closed; done";
    let runtime = format!(
        "#!/bin/sh\nfds=$({look})\necho $fds >>{}\nexec {} \"$@\"\n",
        place.text("fds"),
        runtime_file().display()
    );
    let runtime = place.executable("runtime", &runtime);
    let setup = place.init().dialect(dialect).terminal().runtime(runtime.to_str().unwrap());
    setup.start().finish_with("0");
    let fds = fs::read_to_string(place.path("fds")).unwrap();
    assert!(fds.lines().count() >= 2);
    for line in fds.lines() {
        assert_eq!(line, "/dev/null /dev/null /dev/null");
    }
}

#[rstest]
fn bug_13_a_restored_process_gets_no_terminal(#[values("create", "run")] dialect: &str) {
    let place = Place::with(json!({"container": {"argv": ["tty"]}}));
    fs::create_dir_all(place.path("bundle/checkpoints/c9")).unwrap();
    fs::write(place.path("bundle/checkpoints/c9/config.json"), "{}").unwrap();
    let image = place.path("bundle/checkpoints/c9");
    let checkpoint = if dialect == "create" { json!(image) } else { json!("c9") };
    let setup = place.init().dialect(dialect).terminal().set("checkpoint", checkpoint);
    let mut shim = setup.start();
    let text = shim.out().text_to_end();
    assert!(text.starts_with("/dev/pts/"), "{text:?}");
    shim.finish_with("0");
}

#[rstest]
fn bug_17_nonsense_in_the_control_fifo_keeps_the_shim_busy(
    #[values("abc", "abc\n", "1 2\n", "\0", "99999999999999999999\n")] nonsense: &str,
) {
    let place = Place::new();
    let mut shim = place.init().start();
    shim.input().write(b"x");
    shim.out().read_exact(1);
    shim.control(nonsense);
    shim.wait_until_at_rest();
    shim.control("\n0 0 0\n");
    shim.finish_with("0");
}

#[test]
fn bug_23_a_runtime_dies_with_a_thread() {
    let place = Place::with(json!({"on": {"start": {"midway": {"wait_for": "go"}}}}));
    let mut shim = place.init().start();
    place.wait_for_call("start");
    // The signal comes when the thread ends that has started the runtime: there is only one.
    let threads = fs::read_dir(format!("/proc/{}/task", shim.pid())).unwrap().count();
    assert_eq!(threads, 1);
    fs::write(place.path("bundle/go"), "").unwrap();
    shim.close_stdin();
    shim.finish_with("0");
    assert_eq!(place.words(), ["start", "delete"]);
}
