//! The v2 shim's child that mounts, on the real kernel: each test in a mount namespace of its own,
//! so that nothing of it is ever seen outside. It needs root; elsewhere each test says that it was
//! skipped.

use std::fs;
use std::process::Stdio;

use rstest::rstest;
use serde_json::{Value, json};

use crate::support::{Place, is_root, output, skip};

/// Where the scripts begin: a file system that an overlay can be on, and what they have in common.
const BEGIN: &str = r#"
set -eu
cd "$PLACE"
mount -t tmpfs none work
cd work
mkdir rootfs
mount_all() { "$SHIM" mount < "$PLACE/mount" 2>&1; }
unmount_all() { "$SHIM" mount < "$PLACE/unmount" 2>&1; }
mounted() { grep -c " $PLACE/work/rootfs" /proc/self/mountinfo || true; }
"#;

/// Runs a shell script in a new mount namespace, in which `mount_all` makes these mounts on
/// `rootfs`, and gives what it printed. In the mounts, `WORK` is the script's directory.
#[track_caller]
#[allow(clippy::needless_pass_by_value, reason = "callers write it down where they call")]
fn inside(mounts: Value, script: &str) -> Option<String> {
    if !is_root() {
        skip("it needs root");
        return None;
    }
    let place = Place::new();
    fs::create_dir(place.path("work")).unwrap();
    let rootfs = place.path("work/rootfs");
    let mounts = mounts.to_string().replace("WORK", &place.text("work"));
    let mounts: Value = serde_json::from_str(&mounts).unwrap();
    let job = json!({"mount": {"rootfs": rootfs, "mounts": mounts}});
    fs::write(place.path("mount"), job.to_string()).unwrap();
    let job = json!({"unmount": {"rootfs": rootfs}});
    fs::write(place.path("unmount"), job.to_string()).unwrap();
    let mut command = place.command("unshare");
    command.args(["--mount", "sh", "-c", &format!("{BEGIN}{script}")]);
    command
        .env("PLACE", place.path(""))
        .env("SHIM", env!("CARGO_BIN_EXE_containerd-shim-wavetank-v2"));
    let said = output(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace(&place.text("work"), "WORK");
    assert!(said.status.success(), "{}{}", text(&said.stdout), text(&said.stderr));
    Some(text(&said.stdout))
}

/// A mount as the daemon describes it.
fn mount(kind: &str, source: &str, target: &str, options: &[&str]) -> Value {
    json!({"kind": kind, "source": source, "target": target, "options": options})
}

#[test]
fn a_bind_mount() {
    let mounts = json!([mount("bind", "WORK/source", "", &["rbind", "rw"])]);
    let script = r"
        mkdir -p source/below
        mount -t tmpfs none source/below
        mount_all
        echo content > rootfs/below/file
        cat source/below/file
        mounted
        unmount_all
        mounted
        cat source/below/file
    ";
    let Some(said) = inside(mounts, script) else { return };
    assert_eq!(said, "content\n2\n0\ncontent\n");
}

#[test]
fn a_bind_mount_that_is_read_only_is_so_alone() {
    let mounts = json!([mount("bind", "WORK/source", "", &["bind", "ro", "nosuid"])]);
    let script = r"
        mkdir source
        mount_all
        if echo more 2>&- > rootfs/file; then echo written; else echo refused; fi
        echo fine > source/file
        cat rootfs/file
        grep ' '$PLACE/work/rootfs /proc/self/mountinfo | cut -d' ' -f6
    ";
    let Some(said) = inside(mounts, script) else { return };
    assert_eq!(said, "refused\nfine\nro,nosuid,relatime\n");
}

#[test]
fn an_overlay() {
    let options = ["lowerdir=WORK/2:WORK/1", "upperdir=WORK/upper", "workdir=WORK/worker"];
    let script = r"
        mkdir 1 2 upper worker
        echo one > 1/file; echo low > 1/low; echo two > 2/file
        mount_all
        cat rootfs/file rootfs/low
        echo new > rootfs/new
        unmount_all
        cat upper/new
        mounted
    ";
    let Some(said) = inside(json!([mount("overlay", "overlay", "", &options)]), script) else {
        return;
    };
    assert_eq!(said, "two\nlow\nnew\n0\n");
}

/// The paths of 60 lower directories in one with a long name: together they are more than a page.
fn lower_directories(name: impl Fn(u32) -> String) -> String {
    let paths: Vec<_> = (1..=60).rev().map(|n| format!("WORK/{}", name(n))).collect();
    format!("lowerdir={}", paths.join(":"))
}

#[test]
fn an_overlay_of_more_layers_than_a_page_can_tell() {
    let lower = lower_directories(|n| format!("{}/{n}/fs", "long".repeat(20)));
    let options = [lower.as_str(), "upperdir=WORK/upper", "workdir=WORK/worker"];
    let mounts =
        json!([mount("overlay", "overlay", "", &options), mount("tmpfs", "none", "t", &[])]);
    let script = r"
        mkdir upper worker longlonglonglonglonglonglonglonglonglonglonglonglonglonglonglonglonglonglonglong
        cd long*
        for n in $(seq 60); do mkdir -p $n/fs/t; echo $n > $n/fs/$n; echo $n > $n/fs/all; done
        cd ..
        mount_all
        cat rootfs/1 rootfs/30 rootfs/60 rootfs/all
        mounted
    ";
    let Some(said) = inside(mounts, script) else { return };
    assert_eq!(said, "1\n30\n60\n60\n2\n");
}

#[test]
fn an_overlay_that_cannot_be_told_shorter() {
    let lower = lower_directories(|n| format!("{n}{}", "long".repeat(20)));
    let mounts = json!([mount("overlay", "overlay", "", &[&lower])]);
    let Some(said) = inside(mounts, "if mount_all; then echo mounted; fi; mounted") else { return };
    assert_eq!(said, "\"overlay\" from \"overlay\" at WORK/rootfs: mount options is too long0\n");
}

#[test]
fn options_of_the_file_system() {
    let options = ["nosuid", "size=64k", "mode=700", "noexec"];
    let mounts = json!([mount("tmpfs", "none", "", &options)]);
    let script = r"
        mount_all
        stat -c %a rootfs
        stat -f -c '%b %S' rootfs
        grep ' '$PLACE/work/rootfs /proc/self/mountinfo | cut -d' ' -f6
    ";
    let Some(said) = inside(mounts, script) else { return };
    assert_eq!(said, "700\n16 4096\nrw,nosuid,noexec,relatime\n");
}

#[test]
fn mounts_in_mounts_go_all_at_once() {
    let mounts = json!([
        mount("bind", "WORK/source", "", &["bind"]),
        mount("tmpfs", "none", "a b", &[]),
        mount("tmpfs", "none", "a b", &[]),
        mount("tmpfs", "none", "/link/into", &[]),
        mount("tmpfs", "none", "../../up", &[]),
    ]);
    let script = r#"
        mkdir -p "source/a b" source/etc/into outside/into source/up up
        ln -s /../etc source/link
        mount_all
        mounted
        grep " $PLACE/work/" /proc/self/mountinfo | cut -d' ' -f5
        unmount_all
        mounted
        rmdir rootfs
        unmount_all
    "#;
    let Some(said) = inside(mounts, script) else { return };
    let expected = [
        "5",
        "WORK/rootfs",
        "WORK/rootfs/a\\040b",
        "WORK/rootfs/a\\040b",
        "WORK/rootfs/etc/into",
        "WORK/rootfs/up",
        "0",
        "",
    ];
    assert_eq!(said, expected.join("\n"));
}

#[test]
fn a_failure_leaves_nothing_mounted() {
    let mounts = json!([
        mount("tmpfs", "none", "", &[]),
        mount("bind", "WORK/source", "", &["rbind"]),
        mount("tmpfs", "none", "missing", &[]),
    ]);
    let script = r"
        mkdir source source/below
        mount -t tmpfs none source/below
        if mount_all; then echo mounted; fi
        echo
        mounted
        grep -c source/below /proc/self/mountinfo
    ";
    let Some(said) = inside(mounts, script) else { return };
    let error = "mount \"tmpfs\" from \"none\" at WORK/rootfs/missing: \
        no such file or directory (ENOENT)";
    assert_eq!(said, format!("{error}\n0\n1\n"));
}

#[test]
fn a_job_that_is_none() {
    let Some(said) = inside(json!([]), "echo '{}' > job; ! \"$SHIM\" mount < job 2>&1") else {
        return;
    };
    assert!(said.starts_with("job: "), "{said}");
}

/// The helper of the tests is not the real one: it says how it was called, and mounts a tmpfs.
#[test]
fn a_file_system_of_the_user_space() {
    let mounts = json!([mount("fuse3.some-fs", "source", "", &["ro", "lowerdir=/a:/b"])]);
    let script = r#"
        mkdir bin
        printf '#!/bin/sh\necho "$0 $*" > called\nmount -t tmpfs none "$2"\n' > bin/mount.fuse3
        chmod 755 bin/mount.fuse3
        PATH=$PWD/bin:$PATH mount_all
        cat called
        mounted
        printf '#!/bin/sh\necho bad luck >&2; exit 3' > bin/mount.fuse3
        if PATH=$PWD/bin:$PATH mount_all; then echo mounted; fi
        echo
        rm bin/mount.fuse3
        if PATH=$PWD/bin mount_all; then echo mounted; fi
    "#;
    let Some(said) = inside(mounts, script) else { return };
    let expected = [
        "WORK/bin/mount.fuse3 source WORK/rootfs -o ro -o lowerdir=/a:/b -t some-fs",
        "1",
        "mount.fuse3: exit status 3: bad luck",
        "mount.fuse3: not installed on system",
    ];
    assert_eq!(said, expected.join("\n"));
}

#[rstest]
#[case(&["loop", "rw"], "rw", 0)]
#[case(&["loop", "ro", "direct-io"], "ro", 1)]
fn a_file_with_a_file_system(#[case] options: &[&str], #[case] access: &str, #[case] ro: u8) {
    let mounts = json!([mount("ext4", "WORK/image", "", options)]);
    let script = r#"
        if ! { truncate -s 4M image && mkfs.ext4 -q image && test -e /dev/loop-control; }; then
            echo impossible; exit 0
        fi
        mount_all
        test -d rootfs/lost+found
        line=$(grep " $PLACE/work/rootfs" /proc/self/mountinfo)
        echo "$line" | cut -d' ' -f6 | cut -d, -f1
        device=/sys/block/$(echo "$line" | sed 's|.* - ext4 /dev/||; s| .*||')
        cat $device/ro $device/loop/backing_file $device/loop/autoclear
        unmount_all
        mounted
    "#;
    let Some(said) = inside(mounts, script) else { return };
    if said == "impossible\n" {
        return skip("it needs mkfs.ext4 and loop devices");
    }
    // Of a file system that has no name the kernel tells the file's name alone.
    let file = said.lines().nth(2).unwrap();
    assert!(file.ends_with("/image"), "{said}");
    assert_eq!(said, format!("{access}\n{ro}\n{file}\n1\n0\n"));
}

/// What these tests are in is a tmpfs.
fn can_have_other_owners() -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split(['.', '-']).map_while(|number| number.parse::<u32>().ok());
    let can = (numbers.next(), numbers.next()) >= (Some(6), Some(3));
    if !can {
        skip("a tmpfs can have other owners since Linux 6.3");
    }
    can
}

#[rstest]
#[case(&["bind", "rw"], "rw")]
#[case(&["rbind", "ro"], "ro")]
fn other_owners_of_a_directory(#[case] options: &[&str], #[case] access: &str) {
    if !can_have_other_owners() {
        return;
    }
    let maps = ["uidmap=0:100000:10,10:5:1", "gidmap=0:200000:10"];
    let mounts = json!([mount("bind", "WORK/source", "", &[options, &maps].concat())]);
    let script = r#"
        mkdir source; touch source/root source/nine source/ten
        chown 9:9 source/nine; chown 10:0 source/ten
        mount_all
        stat -c '%u %g' rootfs/root rootfs/nine rootfs/ten source/nine
        mounted
        grep " $PLACE/work/rootfs" /proc/self/mountinfo | cut -d' ' -f6 | cut -d, -f1
        unmount_all
        mounted
    "#;
    let Some(said) = inside(mounts, script) else { return };
    assert_eq!(said, format!("100000 200000\n100009 200009\n5 200000\n9 9\n1\n{access}\n0\n"));
}

#[test]
fn other_owners_of_the_layers_of_an_overlay() {
    if !can_have_other_owners() {
        return;
    }
    let lower = lower_directories(|n| format!("{n}{}", "long".repeat(20)));
    let options = [
        &lower,
        "upperdir=WORK/upper",
        "workdir=WORK/worker",
        "uidmap=0:100000:10",
        "gidmap=0:200000:10",
    ];
    let script = r#"
        mkdir upper worker
        chown 100000:200000 upper
        long=$(printf 'long%.0s' $(seq 20))
        for n in $(seq 60); do mkdir $n$long; touch $n$long/$n; done
        mount_all
        stat -c '%u %g' rootfs/1 rootfs/60
        wc -l < /proc/self/mountinfo
        touch rootfs/1
        stat -c '%u %g' upper/1 1$long/1
        unmount_all
        wc -l < /proc/self/mountinfo
        ls "$TMPDIR" | wc -l
    "#;
    let Some(said) = inside(json!([mount("overlay", "overlay", "", &options)]), script) else {
        return;
    };
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(lines[..2], ["100000 200000"; 2], "{said}");
    assert_eq!(lines[3..5], ["100000 200000", "0 0"], "{said}");
    let count = |text: &str| text.parse::<u32>().unwrap();
    assert_eq!((count(lines[2]), lines[6]), (count(lines[5]) + 1, "0"), "{said}");
}

#[rstest]
#[case("uidmap=0:1000:x", "id map \"0:1000:x\": not of the form INSIDE:OUTSIDE:COUNT")]
#[case("uidmap=0:0:1,0:0:1", "write /proc/PID/uid_map: invalid argument (EINVAL)")]
fn owners_that_cannot_be(#[case] map: &str, #[case] reason: &str) {
    let mounts = json!([mount("bind", "WORK", "", &["bind", map, "gidmap=0:0:1"])]);
    let script = r"
        if mount_all | sed 's|/proc/[0-9]*|/proc/PID|'; then echo; fi
        mounted
    ";
    let Some(said) = inside(mounts, script) else { return };
    assert_eq!(said, format!("{reason}\n0\n"));
}
