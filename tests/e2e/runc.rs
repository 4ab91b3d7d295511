//! Containers under the real runc.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::{Place, is_root, skip};

/// A bundle whose container runs a shell command; `None`, told on stderr, where there is no root,
/// no runc or no busybox.
pub(crate) fn busybox_bundle(place: &Place, command: &str) -> Option<PathBuf> {
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    let runc = Command::new("runc").arg("--version").output();
    let why = match (is_root(), runc.is_ok(), fs::exists("/bin/busybox").unwrap()) {
        (false, ..) => "needs root",
        (_, false, _) => "needs runc",
        (.., false) => "needs /bin/busybox",
        _ => {
            return Some(make_bundle(place, command));
        }
    };
    skip(&test, why);
    None
}

fn make_bundle(place: &Place, command: &str) -> PathBuf {
    let bundle = place.path("busybox");
    let bin = bundle.join("rootfs/bin");
    fs::create_dir_all(&bin).unwrap();
    fs::copy("/bin/busybox", bin.join("busybox")).unwrap();
    for applet in ["sh", "cat", "echo", "head", "sleep", "stty", "tr", "tty"] {
        symlink("busybox", bin.join(applet)).unwrap();
    }
    let made = Command::new("runc").arg("spec").current_dir(&bundle).status().unwrap();
    assert!(made.success());
    let file = bundle.join("config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    config["process"]["terminal"] = json!(false);
    config["process"]["args"] = json!(["sh", "-c", command]);
    fs::write(file, config.to_string()).unwrap();
    bundle
}
