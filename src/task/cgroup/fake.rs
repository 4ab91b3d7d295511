//! A directory that looks like the places of a machine where cgroups are seen.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::files::write_atomically;
use crate::host::{Errno, Host, LinuxHost};

use super::find::Machine;

/// Files in a temporary directory, `cgroup`, `proc` and `huge_pages` among them.
pub(super) struct Fake {
    directory: TempDir,
    places: [String; 3],
}

impl Fake {
    /// Files with these paths and contents.
    pub(super) fn new(files: &[(&str, &str)]) -> Fake {
        let directory = tempfile::tempdir().unwrap();
        let place = |name| directory.path().join(name).to_str().unwrap().to_owned();
        let places = ["cgroup", "proc", "huge_pages"].map(place);
        let fake = Fake { directory, places };
        for (name, content) in files {
            fake.write(name, content);
        }
        fake
    }

    /// The machine that this looks like.
    pub(super) fn machine(&self) -> Machine<'_> {
        let [cgroups, proc, huge_pages] = &self.places;
        Machine { cgroups, proc, huge_pages }
    }

    /// Where a file or directory is.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        if name.is_empty() {
            self.directory.path().into()
        } else {
            self.directory.path().join(name)
        }
    }

    /// Writes a file, in directories that are made for it.
    pub(super) fn write(&self, name: &str, content: &str) {
        let host = &mut LinuxHost::new();
        let above: Vec<_> = Path::new(name).ancestors().skip(1).collect();
        for directory in above.into_iter().rev() {
            let made = host.mkdir(&self.directory.path().join(directory), 0o755);
            assert!(matches!(made, Ok(()) | Err(Errno::EEXIST)), "{made:?}");
        }
        write_atomically(host, &self.path(name), content.as_bytes()).unwrap();
    }
}
