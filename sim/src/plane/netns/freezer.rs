//! The freezer of control groups, by which engines pause containers: every process at once, and none of them knows.

use std::{fs, io, path::PathBuf};

use super::tools::PREFIX;

/// A frozen group of processes. Dropping it thaws them.
#[derive(Debug)]
pub(super) struct Frozen {
    folder: PathBuf,
    version: Version,
}

/// Which of the kernel's two interfaces there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// Where each may be mounted: alone, or the second beside the first.
const ROOTS: [(&str, &str, Version); 3] = [
    ("/sys/fs/cgroup", "cgroup.controllers", Version::Two),
    ("/sys/fs/cgroup/freezer", "tasks", Version::One),
    ("/sys/fs/cgroup/unified", "cgroup.controllers", Version::Two),
];

impl Frozen {
    /// Freezes every process of a process group; `None` where there is no freezer.
    pub(super) fn freeze(name: &str, group: u32) -> Option<Self> {
        let (root, version) = root()?;
        let frozen = Self { folder: root.join(name), version };
        match frozen.begin(group) {
            Ok(()) => Some(frozen),
            // Not ours to write to.
            Err(_) => None,
        }
    }

    fn begin(&self, group: u32) -> io::Result<()> {
        fs::create_dir_all(&self.folder)?;
        for pid in members(group) {
            fs::write(self.folder.join("cgroup.procs"), pid.to_string())?;
        }
        self.set(true)
    }

    fn set(&self, frozen: bool) -> io::Result<()> {
        match (self.version, frozen) {
            (Version::One, true) => fs::write(self.folder.join("freezer.state"), "FROZEN"),
            (Version::One, false) => fs::write(self.folder.join("freezer.state"), "THAWED"),
            (Version::Two, true) => fs::write(self.folder.join("cgroup.freeze"), "1"),
            (Version::Two, false) => fs::write(self.folder.join("cgroup.freeze"), "0"),
        }
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        let _ = self.set(false);
        dissolve(&self.folder);
    }
}

fn root() -> Option<(PathBuf, Version)> {
    let there = |(root, file, _): &&(&str, &str, Version)| PathBuf::from(root).join(file).exists();
    ROOTS.iter().find(there).map(|(root, _, version)| (PathBuf::from(root), *version))
}

/// Returns the processes of a process group.
fn members(group: u32) -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else { return vec![group] };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let is_in = |pid: &u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // The name in parentheses may hold anything; state, parent and group follow it.
        let group_of =
            stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(2)?.parse().ok());
        group_of == Some(group)
    };
    pids.filter(is_in).collect()
}

/// Lets the processes of a group go where they came from, and removes it.
fn dissolve(folder: &std::path::Path) {
    let pids = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
    if let Some(parent) = folder.parent() {
        for pid in pids.lines() {
            // It may have ended meanwhile.
            let _ = fs::write(parent.join("cgroup.procs"), pid);
        }
    }
    let _ = fs::remove_dir(folder);
}

/// Thaws and removes every group that worlds have left behind, of one or of all.
pub(super) fn remove_all(prefix: &str) {
    debug_assert!(prefix.starts_with(PREFIX), "only what is ours is removed");
    let Some((root, version)) = root() else { return };
    let Ok(entries) = fs::read_dir(&root) else { return };
    for entry in entries.flatten() {
        if entry.file_name().to_str().is_some_and(|name| name.starts_with(prefix)) {
            drop(Frozen { folder: entry.path(), version });
        }
    }
}
