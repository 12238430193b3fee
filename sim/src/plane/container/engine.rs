//! A container engine of a world's own, and what it is told to do.
//!
//! ```text
//!  unshare ── machine: network, mounts, processes of its own          (nothing of it is the host's, all of it ends with it)
//!               ├─ podman network: bridge, names, published ports
//!               ├─ podman container: repull          ◄── podman start --attach   (its events)
//!               └─ podman container: origin, players ◄── podman start --attach   (orders and news)
//! ```
//! What is done to one container is done in order, by a task of its own that tells when it is done: an engine takes a
//! few tenths of a second for most things, and a world goes on meanwhile.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    net::Ipv4Addr,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command as Blocking, Stdio, id},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::Duration,
};

use tokio::{
    process::Command,
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
};

use super::{Contained, Made, Then, Told, image};
use crate::{
    plane::netns::{
        filter::Rules,
        peers::{Heard, PeerId, Start},
        tools::{self, PREFIX, call, feed},
    },
    scenario::model::{Network, Scenario},
};

/// Worlds of this process so far.
static WORLDS: AtomicU32 = AtomicU32::new(0);

/// How often and how long the end of what a machine held is waited for.
const GONE_TRIES: u32 = 100;
const GONE_EVERY: Duration = Duration::from_millis(20);

/// How often and how long the end of a container is waited for.
const ENDED_TRIES: u32 = 1_500;
const ENDED_EVERY: Duration = Duration::from_millis(10);
/// How often an engine is asked that could not do something for the moment, such as freeze a process in the middle of
/// something.
const ASKS_MAX: u32 = 3;

/// What the first process of a machine does: mounts of its own where the engine keeps what it knows, its own resolver,
/// and nothing more.
const MACHINE: &str = "set -e
mount --make-rprivate /
mount -t tmpfs none /run
mount -t tmpfs none /dev/shm
mkdir -p /run/netns /run/lock
resolver=$(readlink -f /etc/resolv.conf)
mkdir -p \"$(dirname \"$resolver\")\"
[ -e \"$resolver\" ] || : > \"$resolver\"
mount --bind \"$1/resolv.conf\" \"$resolver\"
ip link set lo up
echo ready
exec sleep infinity";

/// An engine with its networks and containers. Dropping it removes everything.
#[derive(Debug)]
pub(in crate::plane) struct Engine {
    prefix: String,
    /// The engine's own files.
    home: PathBuf,
    /// The world's files; containers see them at the same place.
    folder: PathBuf,
    machine: Child,
    /// The machine's first process.
    first: u32,
    us: PathBuf,
    /// Each network's name.
    nets: Vec<String>,
    places: Vec<Place>,
    sender: UnboundedSender<(PeerId, Heard)>,
}

/// The place of a container.
#[derive(Debug)]
struct Place {
    name: String,
    net: usize,
    /// Names it has in its network.
    aliases: Vec<String>,
    steps: UnboundedSender<Step>,
    /// While it is there.
    made: Option<Made>,
    is_paused: bool,
}

/// What is done to a container.
#[derive(Debug)]
enum Step {
    /// The engine is told so.
    Engine(Vec<String>),
    /// The engine may be told so; it is no matter if there is nothing to do.
    Perhaps(Vec<String>),
    /// Its first process is killed.
    Kill,
    /// It ends, and what the engine does about that is over.
    End,
    /// Where it is, and who, is told.
    Look,
    /// All before is done.
    Tell(Then),
}

impl Engine {
    /// Makes a machine, an image and the networks of a scenario.
    pub(in crate::plane) fn new(
        scenario: &Scenario,
        repull: &Path,
        us: &Path,
        sender: UnboundedSender<(PeerId, Heard)>,
    ) -> Result<Self, String> {
        let mut engine = Self::machine(us, sender)?;
        let (file, context) = image::lay_out(&engine.home, repull, &[us])?;
        let (file, context) = (file.display().to_string(), context.display().to_string());
        engine.podman(&["build", "--quiet", "--tag", image::NAME, "--file", &file, &context])?;
        for net in &scenario.nets {
            engine.add_net(net)?;
        }
        Ok(engine)
    }

    /// Makes a machine with nothing in it.
    pub(super) fn machine(us: &Path, sender: UnboundedSender<(PeerId, Heard)>) -> Result<Self, String> {
        let prefix = format!("{PREFIX}{}-c{}", id(), WORLDS.fetch_add(1, Ordering::Relaxed));
        let home = std::env::temp_dir().join(&prefix);
        let folder = home.join("world");
        fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        // Whatever the engine's own resolver does not know is asked on the machine.
        image::write(&home.join("resolv.conf"), "nameserver 127.0.0.1\n")?;
        let complaints = home.join("machine.log");
        let log = fs::File::create(&complaints).map_err(|error| error.to_string())?;
        let mut command = Blocking::new("setpriv");
        command.args(["--pdeathsig", "KILL", "unshare", "--net", "--mount", "--pid", "--fork"]);
        command.args(["--kill-child", "--mount-proc", "sh", "-c", MACHINE, "machine"]).arg(&home);
        // A Ctrl-C at the terminal is ours alone to answer.
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).process_group(0);
        let machine = command.spawn().map_err(|error| format!("unshare: {error}"))?;
        let mut engine = Self {
            prefix,
            home,
            folder,
            machine,
            first: 0,
            us: us.to_owned(),
            nets: Vec::new(),
            places: Vec::new(),
            sender,
        };
        let mut said = String::new();
        if let Some(stdout) = engine.machine.stdout.take() {
            // What it has not said is told below.
            let _ = BufReader::new(stdout).read_line(&mut said);
        }
        if said.trim() != "ready" {
            let told = fs::read_to_string(&complaints).unwrap_or_default();
            return Err(format!("this machine allows no engine of its own: {}", told.trim()));
        }
        let parent = engine.machine.id();
        let children = format!("/proc/{parent}/task/{parent}/children");
        let first = fs::read_to_string(&children).unwrap_or_default();
        engine.first = first.trim().parse().map_err(|_| format!("{children}: the machine is not there"))?;
        image::write(&engine.home.join("pid"), &parent.to_string())?;
        Ok(engine)
    }

    pub(in crate::plane) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Returns the bridge of a network, as the engine has named it.
    pub(in crate::plane) fn bridge(&self, net: usize) -> Result<String, String> {
        let words = ["network", "inspect", "--format", "{{.NetworkInterface}}", &self.nets[net]];
        self.podman(&words).map(|told| told.trim().to_owned())
    }

    /// Gives every bridge its hardware address for good, as Docker does. Podman leaves it to the kernel, which takes the
    /// lowest of the cables': when that one goes, the others' packets to the gateway, and so their questions to its name
    /// server, go to nobody for the ten seconds and more that a neighbour's old entry is believed.
    pub(in crate::plane) fn pin_bridges(&self) -> Result<(), String> {
        for net in 0..self.nets.len() {
            let bridge = self.bridge(net)?;
            let link = self.in_machine(&["ip", "-br", "link", "show", "dev", &bridge])?;
            let address = link.split_whitespace().nth(2).ok_or_else(|| format!("{bridge} is not there"))?;
            self.in_machine(&["ip", "link", "set", "dev", &bridge, "address", address])?;
        }
        Ok(())
    }

    fn add_net(&mut self, net: &Network) -> Result<(), String> {
        let name = format!("{}-{}", self.prefix, net.name);
        let (first, bits) = net.subnet;
        let subnet = format!("{first}/{bits}");
        // Addresses that the engine chooses by itself are of the upper half: none that anybody had in the beginning.
        let half = u32::from(first) | 1 << (31 - bits.min(31));
        let range = format!("{}/{}", Ipv4Addr::from(half), bits + 1);
        let (gateway, mtu) = (net.gateway.to_string(), format!("mtu={}", net.link.mtu));
        let words = ["--subnet", &subnet, "--gateway", &gateway, "--ip-range", &range, "--opt", &mtu, &name];
        self.podman(&[&["network", "create"], &words[..]].concat())?;
        self.nets.push(name);
        Ok(())
    }

    /// Makes the container of a host; it is told when it is made.
    pub(in crate::plane) fn add_host(
        &mut self,
        host: &str,
        net: usize,
        ip: Option<Ipv4Addr>,
        contained: Contained,
    ) -> Result<usize, String> {
        let place = self.places.len();
        let name = format!("{}-{host}", self.prefix);
        let mut words: Vec<String> =
            ["create", "--interactive", "--log-driver", "none", "--cgroups", "no-conmon"]
                .map(str::to_owned)
                .to_vec();
        let folder = self.folder.display();
        let mut aliases = vec![host.to_owned()];
        aliases.extend(contained.names);
        let mut options = vec![format!("--name={name}"), format!("--cgroup-parent=/{}", self.prefix)];
        options.extend(limits());
        options.push(format!("--volume={folder}:{folder}"));
        let mut network = aliases.iter().map(|alias| format!("alias={alias}")).collect::<Vec<_>>();
        network.extend(ip.map(|ip| format!("ip={ip},mac={}", hardware(ip))));
        options.push(format!("--network={}:{}", self.nets[net], network.join(",")));
        options.extend(contained.publish.map(|port| format!("--publish={port}:{port}")));
        match contained.config {
            Some((config, secret)) => {
                options.push(format!("--env=REPULL_API_SECRET={secret}"));
                words.extend(options);
                words.extend([image::NAME.to_owned(), "--config".to_owned(), config.display().to_string()]);
                words.extend(["--events", "-"].map(str::to_owned));
            }
            None => {
                let us = self.us.display();
                options.push(format!("--volume={us}:{us}:ro"));
                options.push(format!("--entrypoint={us}"));
                words.extend(options);
                let (scenario, role) = (contained.scenario.display(), self.role(place));
                words.extend([image::NAME, "netns-peer"].map(str::to_owned));
                words.extend([scenario.to_string(), format!("@{}", role.display())]);
            }
        }
        let (steps, given) = unbounded_channel();
        let engine = (self.first, self.podman_words());
        tokio::spawn(work(place, name.clone(), engine, given, self.sender.clone()));
        self.places.push(Place { name, net, aliases, steps, made: None, is_paused: false });
        self.step(place, Step::Engine(words));
        self.come_up(place);
        Ok(place)
    }

    /// Where the words of a process of ours are, whose command cannot be changed once its container is made.
    fn role(&self, place: usize) -> PathBuf {
        self.folder.join(format!("{place}.role"))
    }

    // ---- processes ----

    /// Returns how a container's process is started, with the words of its role if it is one of ours.
    pub(in crate::plane) fn start(&self, place: usize, role: &[String]) -> Result<Start, String> {
        let Place { name, made, .. } = &self.places[place];
        let made = made.as_ref().ok_or_else(|| format!("the container of {name} is not there"))?;
        if !role.is_empty() {
            image::write(&self.role(place), &role.join(" "))?;
        }
        let mut words = self.podman_words();
        words.extend(["start", "--attach", "--interactive", "--sig-proxy=false", name].map(str::to_owned));
        Ok(Start { command: command(&words), contained: Some(made.pid) })
    }

    /// Returns the beginning of a command on the machine.
    pub(in crate::plane) fn on_machine(&self) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.first.to_string(), "--net", "setpriv", "--pdeathsig", "KILL"]);
        command
    }

    /// Returns the beginning of a command within a container's network.
    pub(in crate::plane) fn beside(&self, place: usize) -> Result<Command, String> {
        let Place { name, made, .. } = &self.places[place];
        let made = made.as_ref().ok_or_else(|| format!("the container of {name} is not there"))?;
        let mut command = Command::new("nsenter");
        command.args(["--target", &made.pid.to_string(), "--net", "setpriv", "--pdeathsig", "KILL"]);
        Ok(command)
    }

    // ---- what happens to containers ----

    fn step(&self, place: usize, step: Step) {
        // Its task is there as long as the world is.
        let _ = self.places[place].steps.send(step);
    }

    fn engine(&self, place: usize, words: &[&str]) {
        self.step(place, Step::Engine(words.iter().map(ToString::to_string).collect()));
    }

    /// A container is where it was found.
    pub(in crate::plane) fn is_made(&mut self, place: usize, made: Made) {
        self.places[place].made = Some(made);
    }

    /// Returns whether every container is there.
    pub(in crate::plane) fn is_there(&self) -> bool {
        self.places.iter().all(|place| place.made.is_some())
    }

    /// Tells when everything before is done.
    pub(in crate::plane) fn then(&self, place: usize, then: Then) {
        self.step(place, Step::Tell(then));
    }

    /// Makes a container, but for its process, which waits to be started.
    pub(in crate::plane) fn come_up(&self, place: usize) {
        let name = self.places[place].name.clone();
        self.engine(place, &["init", &name]);
        self.step(place, Step::Look);
    }

    /// Waits until a container has ended, and what the engine had made for it is gone.
    pub(in crate::plane) fn ended(&mut self, place: usize) {
        self.places[place].made = None;
        self.step(place, Step::End);
    }

    /// Kills what a container runs.
    pub(in crate::plane) fn kill(&mut self, place: usize) {
        if std::mem::replace(&mut self.places[place].is_paused, false) {
            let name = self.places[place].name.clone();
            self.step(place, Step::Perhaps(vec!["unpause".to_owned(), name]));
        }
        self.step(place, Step::Kill);
    }

    /// Freezes a container, or lets it run again.
    pub(in crate::plane) fn pause(&mut self, place: usize, pauses: bool) {
        if std::mem::replace(&mut self.places[place].is_paused, pauses) != pauses {
            let name = self.places[place].name.clone();
            self.engine(place, &[if pauses { "pause" } else { "unpause" }, &name]);
        }
    }

    /// Takes a container off its network.
    pub(in crate::plane) fn disconnect(&mut self, place: usize) {
        let Place { name, net, .. } = &self.places[place];
        let words = ["network", "disconnect", &self.nets[*net], name].map(str::to_owned);
        self.step(place, Step::Engine(words.to_vec()));
    }

    /// Puts a container on its network, at an address or, without one, where the engine likes.
    pub(in crate::plane) fn connect(&mut self, place: usize, ip: Option<Ipv4Addr>) {
        let Place { name, net, aliases, .. } = &self.places[place];
        let mut words: Vec<String> = ["network", "connect"].map(str::to_owned).to_vec();
        words.extend(aliases.iter().map(|alias| format!("--alias={alias}")));
        words.extend(
            ip.iter().flat_map(|ip| [format!("--ip={ip}"), format!("--mac-address={}", hardware(*ip))]),
        );
        words.extend([self.nets[*net].clone(), name.clone()]);
        self.step(place, Step::Engine(words));
    }

    /// Tells where a container is.
    pub(in crate::plane) fn look(&self, place: usize) {
        self.step(place, Step::Look);
    }

    // ---- the machine ----

    /// Takes the link of a container up or down.
    pub(in crate::plane) fn set_link(&self, place: usize, up: bool) -> Result<(), String> {
        let Some(device) = self.device(place) else { return Ok(()) };
        self.in_machine(&["ip", "link", "set", &device, if up { "up" } else { "down" }]).map(drop)
    }

    fn device(&self, place: usize) -> Option<String> {
        self.places.get(place)?.made.as_ref()?.device.clone()
    }

    /// The machine forgets every flow.
    pub(in crate::plane) fn flush_flows(&self) -> Result<(), String> {
        self.in_machine(&["conntrack", "-F"]).map(drop)
    }

    /// Lets a container's own kernel keep track of flows, so that it can tell of new ones.
    pub(in crate::plane) fn watch_flows(&self, place: usize) -> Result<(), String> {
        self.load(self.pid(place)?, crate::plane::netns::WATCH_FLOWS)
    }

    fn pid(&self, place: usize) -> Result<u32, String> {
        let Place { name, made, .. } = &self.places[place];
        let pid = made.as_ref().map(|made| made.pid);
        pid.ok_or_else(|| format!("the container of {name} is not there"))
    }

    /// Lets packets pass as rules say.
    pub(in crate::plane) fn filter(&self, rules: &Rules) -> Result<(), String> {
        self.load(self.first, &rules.at_machine(|place| self.device(place)))?;
        for place in 0..self.places.len() {
            if let (Some(rules), Ok(pid)) = (rules.at_host(place), self.pid(place)) {
                self.load(pid, &rules)?;
            }
        }
        Ok(())
    }

    fn load(&self, pid: u32, rules: &str) -> Result<(), String> {
        feed(&["nsenter", "--target", &pid.to_string(), "--net", "nft", "-f", "-"], rules).map(drop)
    }

    fn in_machine(&self, words: &[&str]) -> Result<String, String> {
        call(&[&["nsenter", "--target", &self.first.to_string(), "--net"], words].concat())
    }

    /// Returns the beginning of a command line of the engine.
    fn podman_words(&self) -> Vec<String> {
        let at = |name: &str| self.home.join(name).display().to_string();
        let mut words = vec!["nsenter".to_owned(), format!("--target={}", self.first)];
        words.extend(["--net", "--mount", "--pid", "podman"].map(str::to_owned));
        words.extend([
            format!("--root={}", at("root")),
            "--runroot=/run/engine".to_owned(),
            "--tmpdir=/run/engine/tmp".to_owned(),
            format!("--network-config-dir={}", at("networks")),
        ]);
        words.extend(
            ["--storage-driver=vfs", "--cgroup-manager=cgroupfs", "--events-backend=none"].map(str::to_owned),
        );
        words.push(format!("--runtime={}", runtime()));
        words
    }

    /// Tells the engine something at once.
    pub(super) fn podman(&self, words: &[&str]) -> Result<String, String> {
        let all = self.podman_words();
        let all: Vec<&str> = all.iter().map(String::as_str).chain(words.iter().copied()).collect();
        call(&all).map_err(|error| self.plainly(&error))
    }

    /// Leaves out of a complaint how the engine was called.
    fn plainly(&self, error: &str) -> String {
        plainly(&self.podman_words().join(" "), error)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // Its first process ends with it, and everything on the machine with that.
        let _ = self.machine.kill();
        let _ = self.machine.wait();
        remove(&self.home, &self.prefix);
    }
}

/// Does what is to be done to a container, one after the other.
async fn work(
    place: usize,
    name: String,
    (machine, podman): (u32, Vec<String>),
    mut steps: UnboundedReceiver<Step>,
    sender: UnboundedSender<(PeerId, Heard)>,
) {
    // A world that is over hears nothing more.
    let tell = |told: Told| {
        let _ = sender.send((PeerId::NOBODY, Heard::Engine(place, told)));
    };
    let (mut id, mut pid) = (None, None);
    while let Some(step) = steps.recv().await {
        match step {
            Step::Engine(words) => {
                let mut asked = ask(&podman, &words).await;
                for _ in 1..ASKS_MAX {
                    if asked.is_ok() {
                        break;
                    }
                    asked = ask(&podman, &words).await;
                }
                if let Err(why) = asked {
                    tell(Told::Failed(why));
                }
            }
            Step::Perhaps(words) => {
                let _ = ask(&podman, &words).await;
            }
            Step::Kill => {
                if let Some(pid) = pid.take() {
                    // It may have ended by itself.
                    let _ = call(&["kill", "-KILL", &u32::to_string(&pid)]);
                }
            }
            Step::End => {
                for _ in 0..ENDED_TRIES {
                    if id.as_deref().is_none_or(|id| !is_cared_for(id, &name)) {
                        break;
                    }
                    tokio::time::sleep(ENDED_EVERY).await;
                }
            }
            Step::Look => match look(machine, &podman, &name).await {
                Ok((container, made)) => {
                    (id, pid) = (Some(container), Some(made.pid));
                    tell(Told::Made(made));
                }
                Err(why) => tell(Told::Failed(why)),
            },
            Step::Tell(then) => tell(Told::Done(then)),
        }
    }
}

async fn ask(podman: &[String], words: &[String]) -> Result<String, String> {
    let mut command = command(podman);
    let output = command.args(words).stdin(Stdio::null()).kill_on_drop(true).output().await;
    let output = output.map_err(|error| format!("podman: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    Err(format!("podman {}: {}", words.join(" "), complaint.trim()))
}

/// Finds a container's first process, its address, and the machine's end of its cable.
async fn look(machine: u32, podman: &[String], name: &str) -> Result<(String, Made), String> {
    let form = "{{.Id}}{{range .NetworkSettings.Networks}} {{.IPAddress}}{{end}}";
    let words = ["container", "inspect", "--format", form, name].map(str::to_owned);
    let said = ask(podman, &words).await?;
    let mut parts = said.split_whitespace();
    let id = parts.next().unwrap_or_default();
    let ip = parts.next().and_then(|ip| ip.parse().ok()).ok_or_else(|| format!("{name} has no address"))?;
    let pid = first_process(id).ok_or_else(|| format!("no process of {name} is there"))?;
    Ok((id.to_owned(), Made { pid, ip, device: device(machine, pid) }))
}

/// Returns whether somebody of the engine still looks after a container: while it runs, and until its network and files
/// are taken apart, by its monitor and by whoever was attached to it. Whoever starts it before that may find it taken
/// apart afterwards.
fn is_cared_for(container: &str, name: &str) -> bool {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut lines = entries.map(|entry| fs::read(entry.path().join("cmdline")).unwrap_or_default());
    lines.any(|line| names_it(&line, container, name))
}

/// Returns whether a command line is about a container.
fn names_it(line: &[u8], container: &str, name: &str) -> bool {
    line.split(|byte| *byte == 0).any(|word| {
        word == name.as_bytes() || word.windows(container.len()).any(|part| part == container.as_bytes())
    })
}

/// Returns the first process of a container, as we count processes.
fn first_process(container: &str) -> Option<u32> {
    let group = format!("/libpod-{container}");
    let is_first = |pid: &u32| {
        let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:")).unwrap_or_default();
        groups.contains(&group) && numbers.split_whitespace().next_back() == Some("1")
    };
    let entries = fs::read_dir("/proc").ok()?;
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).find(is_first)
}

/// Returns the machine's end of a container's cable.
fn device(machine: u32, pid: u32) -> Option<String> {
    let cables = |pid: u32| {
        call(&["nsenter", "--target", &pid.to_string(), "--net", "ip", "-o", "link", "show", "type", "veth"])
    };
    find_device(&cables(pid).ok()?, &cables(machine).ok()?)
}

/// Finds the other end of `2: eth0@if7: <…>` among `7: veth0@if2: <…>`.
fn find_device(inside: &str, outside: &str) -> Option<String> {
    let number = inside.split_once("@if")?.1.split(':').next()?;
    let line = outside.lines().find_map(|line| line.strip_prefix(number)?.strip_prefix(": "))?;
    Some(line.split_once('@')?.0.to_owned())
}

/// Returns the hardware address of whoever has an address, as Docker makes them: neighbours of a container that is back
/// where it was need not learn anything.
fn hardware(ip: Ipv4Addr) -> String {
    let [a, b, c, d] = ip.octets();
    format!("02:42:{a:02x}:{b:02x}:{c:02x}:{d:02x}")
}

fn command(words: &[String]) -> Command {
    let mut command = Command::new(words.first().map_or("podman", String::as_str));
    command.args(words.iter().skip(1));
    command
}

fn plainly(prefix: &str, error: &str) -> String {
    error.replace(prefix, "podman")
}

/// Returns the runtime that works on machines with both kinds of control groups, or the one there is.
fn runtime() -> &'static str {
    if tools::find("runc").is_some() { "runc" } else { "crun" }
}

/// Returns limits that are not above our own, which an engine cannot raise everywhere.
fn limits() -> Vec<String> {
    let text = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let hard = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok()
    };
    [("nofile", "Max open files"), ("nproc", "Max processes")]
        .into_iter()
        .filter_map(|(option, name)| hard(name).map(|hard| format!("--ulimit={option}={hard}:{hard}")))
        .collect()
}

/// Removes an engine's files and control groups once its processes are gone.
#[expect(
    clippy::disallowed_methods,
    reason = "whoever drops a world waits for its end, and nothing else is done meanwhile"
)]
fn remove(home: &Path, prefix: &str) {
    debug_assert!(prefix.starts_with(PREFIX), "only what is ours is removed");
    for _ in 0..GONE_TRIES {
        let left = groups(prefix);
        // A group's own groups first; one with a process in it stays until the next try.
        for group in left.iter().rev() {
            let _ = fs::remove_dir(group);
        }
        if left.is_empty() {
            break;
        }
        thread::sleep(GONE_EVERY);
    }
    let _ = fs::remove_dir_all(home);
}

/// Returns the control groups of an engine's containers, each before those within it.
fn groups(prefix: &str) -> Vec<PathBuf> {
    let roots = fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten().map(|entry| entry.path());
    let mut found: Vec<PathBuf> = roots
        .chain([PathBuf::from("/sys/fs/cgroup")])
        .map(|root| root.join(prefix))
        .filter(|group| group.is_dir())
        .collect();
    let mut next = 0;
    while let Some(group) = found.get(next).cloned() {
        let within = fs::read_dir(&group).into_iter().flatten().flatten();
        found.extend(within.map(|entry| entry.path()).filter(|path| path.is_dir()));
        next += 1;
    }
    found
}

/// Removes what engines have left behind whose world is gone. Returns how many there were.
pub(super) fn remove_left_over() -> usize {
    let Ok(entries) = fs::read_dir(std::env::temp_dir()) else { return 0 };
    let mut count = 0;
    for entry in entries.flatten() {
        let Some(prefix) = entry.file_name().to_str().map(str::to_owned) else { continue };
        let is_ours = || {
            let (owner, number) = prefix.strip_prefix(PREFIX)?.split_once("-c")?;
            number.parse::<u32>().ok()?;
            owner.parse::<u32>().ok()
        };
        let Some(owner) = is_ours() else { continue };
        if tools::is_alive(owner) {
            continue;
        }
        let home = entry.path();
        end_machine(&home);
        remove(&home, &prefix);
        count += 1;
    }
    count
}

/// Ends a machine that has outlived its world, which takes a kernel without death signals.
fn end_machine(home: &Path) {
    let Ok(pid) = fs::read_to_string(home.join("pid")) else { return };
    let line = fs::read(format!("/proc/{}/cmdline", pid.trim())).unwrap_or_default();
    // Its number may be somebody else's by now.
    if String::from_utf8_lossy(&line).contains(&home.display().to_string()) {
        let _ = call(&["kill", "-KILL", pid.trim()]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_looks_after_a_container_names_it_or_its_number() {
        let check = |line: &[u8]| names_it(line, "4f2a", "rps-1-c0-srs");
        assert!(check(b"conmon\0-c\x004f2a\0"));
        assert!(check(b"podman\0container\0cleanup\0--x=/a/4f2a/b\0"));
        assert!(check(b"podman\0start\0rps-1-c0-srs\0"));
        assert!(!check(b"podman\0start\0rps-1-c0-srs2\0"));
        assert!(!check(b""));
    }

    #[test]
    fn the_other_end_of_a_cable_is_found_by_its_number() {
        let inside = "2: eth0@if7: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500 qdisc noqueue\n";
        let outside = "5: veth0@if2: <BROADCAST> mtu 1500\n7: veth1@if2: <BROADCAST> mtu 1500\n";
        assert_eq!(find_device(inside, outside).as_deref(), Some("veth1"));
        assert_eq!(find_device(inside, "17: veth9@if2: <BROADCAST>\n"), None);
        assert_eq!(find_device("", outside), None);
    }
}
