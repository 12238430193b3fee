//! The programs a world is built with, and what they need.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::missing;
use crate::plane::{Plane, Unrunnable};

/// Every name this plane gives to something of the machine's begins like this.
pub(in crate::plane) const PREFIX: &str = "rps-";

/// The programs, and the packages of Debian that hold them.
const TOOLS: [(&str, &str); 7] = [
    ("ip", "iproute2"),
    ("nft", "nftables"),
    ("conntrack", "conntrack"),
    ("setpriv", "util-linux"),
    ("kill", "procps"),
    ("sysctl", "procps"),
    ("sh", "dash"),
];

/// Where files of namespaces are, for `ip netns exec`.
pub(super) const ETC_NETNS: &str = "/etc/netns";

/// Runs a program to its end; returns what it says.
///
/// # Errors
/// What it was asked, and what it complains of.
pub(in crate::plane) fn call(words: &[&str]) -> Result<String, String> {
    feed(words, "")
}

/// Runs a program to its end with something to read.
pub(in crate::plane) fn feed(words: &[&str], input: &str) -> Result<String, String> {
    let (program, arguments) = words.split_first().ok_or("no program")?;
    let said = |error: std::io::Error| format!("{program}: {error}");
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(said)?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes()).map_err(said)?;
    }
    let output = child.wait_with_output().map_err(said)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    Err(format!("{}: {}{}", words.join(" "), complaint.trim(), if input.is_empty() { "" } else { "\n" })
        + input)
}

/// Runs commands of `ip`, one a line, in a namespace or, without a name, where we are.
pub(super) fn ip(namespace: &str, lines: &[String]) -> Result<(), String> {
    let words: &[&str] =
        if namespace.is_empty() { &["ip", "-batch", "-"] } else { &["ip", "-n", namespace, "-batch", "-"] };
    feed(words, &(lines.join("\n") + "\n")).map(drop)
}

/// Returns whether worlds can be built here.
///
/// # Errors
/// What is missing, and how to get it.
pub(super) fn check() -> Result<(), Unrunnable> {
    check_tools(Plane::Netns, &TOOLS)?;
    let trial = format!("{PREFIX}try-{}", std::process::id());
    if let Err(error) = call(&["ip", "netns", "add", &trial]) {
        return Err(missing(format!("this machine allows no network namespaces: {error}")));
    }
    call(&["ip", "netns", "del", &trial]).map(drop).map_err(missing)
}

/// Returns whether we are root and these programs are here, each with the package of Debian that holds it.
///
/// # Errors
/// What is missing, and how to get it.
pub(in crate::plane) fn check_tools(plane: Plane, tools: &[(&str, &str)]) -> Result<(), Unrunnable> {
    let missing = |what: String| Unrunnable::Missing(plane, what);
    if !cfg!(target_os = "linux") {
        let why =
            "it is made of Linux's network namespaces: run it on Linux, and planes core and turmoil here";
        return Err(missing(why.to_owned()));
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let uid = status.lines().find_map(|line| line.strip_prefix("Uid:")).unwrap_or_default();
    if uid.split_whitespace().nth(1) != Some("0") {
        let why =
            "it makes network namespaces, which needs root: try sudo env \"PATH=$PATH\" repull-sim run …";
        return Err(missing(why.to_owned()));
    }
    let absent: Vec<_> = tools.iter().filter(|(tool, _)| find(tool).is_none()).collect();
    if absent.is_empty() {
        return Ok(());
    }
    let tools: Vec<&str> = absent.iter().map(|(tool, _)| *tool).collect();
    let mut packages: Vec<&str> = absent.iter().map(|(_, package)| *package).collect();
    packages.dedup();
    Err(missing(format!("{} not found; on Debian: apt-get install {}", tools.join(", "), packages.join(" "))))
}

/// Returns where a program is.
pub(in crate::plane) fn find(program: &str) -> Option<PathBuf> {
    // The last is where Debian keeps an engine's helpers.
    const FOLDERS: [&str; 7] =
        ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin", "/usr/lib/podman"];
    FOLDERS.iter().map(|folder| Path::new(folder).join(program)).find(|path| path.exists())
}

/// Returns whether the process of a world is still there.
pub(in crate::plane) fn is_alive(owner: u32) -> bool {
    let name = std::fs::read_to_string(format!("/proc/{owner}/comm")).unwrap_or_default();
    name.trim() == "repull-sim"
}

/// Removes what worlds have left behind whose process is gone. Returns how many namespaces there were.
pub(super) fn remove_left_over() -> usize {
    let listed = call(&["ip", "netns", "list"]).unwrap_or_default();
    let names = listed.lines().filter_map(|line| line.split_whitespace().next());
    let owner = |name: &str| name.strip_prefix(PREFIX)?.split('-').next()?.parse::<u32>().ok();
    let mut prefixes: Vec<String> = names
        .filter_map(owner)
        .filter(|owner| !is_alive(*owner))
        .map(|owner| format!("{PREFIX}{owner}-"))
        .collect();
    prefixes.sort();
    prefixes.dedup();
    prefixes.iter().map(|prefix| remove_all(prefix)).sum()
}

/// Returns where nginx's RTMP module is.
pub(super) fn nginx_rtmp() -> Option<PathBuf> {
    const FOLDERS: [&str; 3] =
        ["/usr/lib/nginx/modules", "/usr/lib64/nginx/modules", "/usr/share/nginx/modules"];
    FOLDERS.iter().map(|folder| Path::new(folder).join("ngx_rtmp_module.so")).find(|path| path.exists())
}

/// Returns whether the real peers are here.
///
/// # Errors
/// What is missing, and how to get it.
pub(super) fn check_real_peers() -> Result<(), Unrunnable> {
    if find("nginx").is_some() && nginx_rtmp().is_some() && find("ffmpeg").is_some() {
        return Ok(());
    }
    Err(missing(
        "--real-peers needs nginx with its RTMP module, and ffmpeg; on Debian: apt-get install nginx libnginx-mod-rtmp \
         ffmpeg"
            .to_owned(),
    ))
}

/// Removes every namespace whose name begins so, what runs in it, and its files. Returns how many there were.
pub(super) fn remove_all(prefix: &str) -> usize {
    let listed = call(&["ip", "netns", "list"]).unwrap_or_default();
    let names: Vec<&str> = listed
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| name.starts_with(prefix))
        .collect();
    super::freezer::remove_all(prefix);
    for name in &names {
        remove(name);
    }
    names.len()
}

/// Removes a namespace, what runs in it, and its files. What is gone already is no matter.
pub(super) fn remove(name: &str) {
    debug_assert!(name.starts_with(PREFIX), "only what is ours is removed");
    let running = call(&["ip", "netns", "pids", name]).unwrap_or_default();
    let mut words = vec!["kill", "-KILL"];
    words.extend(running.split_whitespace());
    if words.len() > 2 {
        let _ = call(&words);
    }
    let _ = call(&["ip", "netns", "del", name]);
    let _ = std::fs::remove_dir_all(Path::new(ETC_NETNS).join(name));
}
