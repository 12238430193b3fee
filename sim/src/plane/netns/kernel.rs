//! The machine of a world, made of the kernel's own parts.
//!
//! ```text
//!   host ── eth0 ═══ v0 ─┐                        ┌─ v1 ═══ eth0 ── host
//!   (namespace)          ├─ b0 (bridge, gateway) ─┤         (namespace)
//!                        └─ machine (namespace): forwards, translates, filters
//! ```
//! Nothing of it is in the namespace the world was started from, so the machine it runs on is never touched.

use std::{
    collections::BTreeMap,
    fs,
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
    process::id,
    sync::atomic::{AtomicU32, Ordering},
};

use super::{
    filter::Rules,
    tools::{self, ETC_NETNS, PREFIX, call, feed, ip},
};
use crate::scenario::model::{Network, Publish, PublishVia, Scenario};

/// How long a neighbour is believed that nobody has heard of, in ms (Linux: 30 s); each rolls half to one and a half of it. A
/// scenario has 40 s.
const REACHABLE_MS: u32 = 4_000;
/// And how long before it is asked for, in s (Linux: 5 s).
const PROBE_AFTER: u32 = 1;

/// Rules by which a kernel keeps track of flows.
pub(in crate::plane) const WATCH_FLOWS: &str = "table inet rps_flows {\n chain flows {\n  type filter hook output priority 0;\n  ct state new accept\n }\n}\n";

/// Worlds of this process so far.
static WORLDS: AtomicU32 = AtomicU32::new(0);

/// A world's namespaces, and what is between them. Dropping it removes everything.
#[derive(Debug)]
pub(in crate::plane) struct Kernel {
    prefix: String,
    /// Files of this world.
    pub(super) folder: PathBuf,
    nets: Vec<Network>,
    ports: Vec<Port>,
    /// What is published: the port, and where it leads.
    published: BTreeMap<u16, Ipv4Addr>,
}

/// A host's place.
#[derive(Debug)]
struct Port {
    namespace: String,
    net: usize,
    ips: Vec<Ipv4Addr>,
    is_plugged: bool,
    /// How many faults keep all its ephemeral ports in use.
    portless: u32,
    /// Its cable is none of the kernel's: the ends are there already, `e` and `v` with its number.
    is_special: bool,
}

impl Kernel {
    /// Makes the machine and its bridges.
    pub(super) fn new(scenario: &Scenario) -> Result<Self, String> {
        let number = WORLDS.fetch_add(1, Ordering::Relaxed);
        let prefix = format!("{PREFIX}{}-{number}", id());
        let folder = std::env::temp_dir().join(&prefix);
        fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let kernel = Self {
            prefix,
            folder,
            nets: scenario.nets.clone(),
            ports: Vec::new(),
            published: BTreeMap::new(),
        };
        let machine = kernel.machine();
        call(&["ip", "netns", "add", machine])?;
        let mut lines = vec!["link set lo up".to_owned()];
        for (index, net) in kernel.nets.iter().enumerate() {
            let (gateway, bits) = (net.gateway, net.subnet.1);
            lines.extend([
                format!("link add b{index} type bridge forward_delay 0"),
                format!("addr add {gateway}/{bits} dev b{index}"),
            ]);
            lines.extend(v6(net, gateway).map(|v6| format!("addr add {v6} dev b{index} nodad")));
            lines.extend([format!("link set b{index} mtu {} up", net.link.mtu)]);
        }
        ip(machine, &lines)?;
        let mut settings = vec![
            "net.ipv4.ip_forward=1".to_owned(),
            "net.ipv4.conf.all.send_redirects=0".to_owned(),
            "net.ipv4.conf.default.send_redirects=0".to_owned(),
        ];
        if kernel.nets.iter().any(|net| net.ipv6) {
            settings.push("net.ipv6.conf.all.forwarding=1".to_owned());
        }
        for index in 0..kernel.nets.len() {
            settings.push(format!("net.ipv4.conf.b{index}.send_redirects=0"));
            settings.extend(neighbours(&format!("b{index}"), kernel.nets[index].ipv6));
        }
        if let Some(timeout) = kernel.nets.iter().find_map(|net| net.conntrack_timeout) {
            let seconds = timeout.as_secs().max(1);
            settings.push(format!("net.netfilter.nf_conntrack_tcp_timeout_established={seconds}"));
        }
        set(machine, &settings)?;
        kernel.translate()?;
        Ok(kernel)
    }

    /// Returns the machine's namespace.
    pub(super) fn machine(&self) -> &str {
        &self.prefix
    }

    /// Returns a host's namespace.
    pub(super) fn namespace(&self, port: usize) -> &str {
        &self.ports[port].namespace
    }

    /// Adds a host with its addresses; returns its number. One with a cable of somebody else's is plugged in later.
    pub(super) fn add_host(
        &mut self,
        name: &str,
        net: usize,
        ips: Vec<Ipv4Addr>,
        is_special: bool,
    ) -> Result<usize, String> {
        let port = self.ports.len();
        let namespace = format!("{}-{name}", self.prefix);
        self.ports.push(Port { namespace, net, ips, is_plugged: false, portless: 0, is_special });
        self.make_namespace(port)?;
        if !is_special {
            self.plug(port)?;
        }
        Ok(port)
    }

    fn make_namespace(&self, port: usize) -> Result<(), String> {
        let namespace = &self.ports[port].namespace;
        let etc = Path::new(ETC_NETNS).join(namespace);
        let named = |error: std::io::Error| format!("{}: {error}", etc.display());
        fs::create_dir_all(&etc).map_err(named)?;
        // The name server of a container is its engine's, within reach whatever happens to the network.
        fs::write(etc.join("resolv.conf"), "nameserver 127.0.0.1\noptions ndots:0\n").map_err(named)?;
        call(&["ip", "netns", "add", namespace])?;
        ip(namespace, &["link set lo up".to_owned()])
    }

    /// A host's container is gone; a fresh one, without a cable, has its place.
    pub(super) fn renew(&mut self, port: usize) -> Result<(), String> {
        self.unplug(port);
        tools::remove(&self.ports[port].namespace);
        self.make_namespace(port)?;
        if self.ports[port].portless > 0 { self.allow_ports(port) } else { Ok(()) }
    }

    /// Plugs a host in, with its addresses and a hardware address nobody has seen.
    pub(super) fn plug(&mut self, port: usize) -> Result<(), String> {
        let Port { namespace, net, ips, is_special, .. } = &self.ports[port];
        let network = &self.nets[*net];
        let mtu = network.link.mtu;
        let machine = [
            match is_special {
                true => format!("link set e{port} mtu {mtu} netns {namespace} name eth0"),
                false => {
                    format!("link add v{port} mtu {mtu} type veth peer name eth0 mtu {mtu} netns {namespace}")
                }
            },
            format!("link set v{port} mtu {mtu} master b{net} up"),
        ];
        ip(&self.prefix, &machine)?;
        let bits = network.subnet.1;
        let mut lines: Vec<String> = ips.iter().map(|ip| format!("addr add {ip}/{bits} dev eth0")).collect();
        lines.extend(
            ips.iter().filter_map(|ip| v6(network, *ip)).map(|v6| format!("addr add {v6} dev eth0 nodad")),
        );
        lines.push("link set eth0 up".to_owned());
        lines.extend(ways_out(network, "add"));
        ip(namespace, &lines)?;
        set(namespace, &neighbours("eth0", network.ipv6))?;
        self.ports[port].is_plugged = true;
        Ok(())
    }

    /// Pulls a host's cable out for good: its interface is gone.
    pub(super) fn unplug(&mut self, port: usize) {
        if std::mem::replace(&mut self.ports[port].is_plugged, false) {
            let _ = ip(&self.prefix, &[format!("link del v{port}")]);
        }
    }

    /// Takes a host's link up or down.
    pub(super) fn set_link(&self, port: usize, up: bool) -> Result<(), String> {
        ip(&self.prefix, &[format!("link set v{port} {}", if up { "up" } else { "down" })])
    }

    /// Takes a host's ephemeral ports, or gives them back; as often as they are taken they must be given back.
    pub(super) fn set_ports(&mut self, port: usize, some: bool) -> Result<(), String> {
        let portless = &mut self.ports[port].portless;
        *portless = if some { portless.saturating_sub(1) } else { *portless + 1 };
        self.allow_ports(port)
    }

    /// Gives a host its ephemeral ports, or a range of one that is reserved.
    fn allow_ports(&self, port: usize) -> Result<(), String> {
        let is_portless = self.ports[port].portless > 0;
        // Of tools that refuse an empty value: port 1 is nobody's.
        let (range, reserved) = if is_portless { ("60999 60999", "60999") } else { ("32768 60999", "1") };
        let settings = [
            format!("net.ipv4.ip_local_reserved_ports={reserved}"),
            format!("net.ipv4.ip_local_port_range={range}"),
        ];
        set(&self.ports[port].namespace, &settings)
    }

    /// Gives a host another address, on its interface if it has one.
    pub(super) fn set_address(&mut self, port: usize, address: Ipv4Addr) -> Result<(), String> {
        let Port { namespace, net, ips, is_plugged, is_special: _, portless: _ } = &mut self.ports[port];
        let (before, network) = (std::mem::replace(ips, vec![address]), &self.nets[*net]);
        if !*is_plugged {
            return Ok(());
        }
        let bits = network.subnet.1;
        let mut lines: Vec<String> =
            before.iter().map(|ip| format!("addr del {ip}/{bits} dev eth0")).collect();
        lines.extend(
            before.iter().filter_map(|ip| v6(network, *ip)).map(|v6| format!("addr del {v6} dev eth0")),
        );
        lines.push(format!("addr add {address}/{bits} dev eth0"));
        lines.extend(v6(network, address).map(|v6| format!("addr add {v6} dev eth0 nodad")));
        // The way out went with the address.
        lines.extend(ways_out(network, "replace"));
        ip(namespace, &lines)
    }

    /// Everybody forgets who has which hardware address, unless the network leaves that stale.
    pub(super) fn refresh_neighbours(&self, port: usize) {
        if self.nets[self.ports[port].net].on_stop.neighbours_stale {
            return;
        }
        let hosts = self.ports.iter().map(|port| port.namespace.as_str());
        for namespace in hosts.chain([self.machine()]) {
            let _ = call(&["ip", "-n", namespace, "neigh", "flush", "all"]);
        }
    }

    /// A host is gone: what the machine tracks of its flows goes along, if the network says so.
    pub(super) fn forget_flows(&self, port: usize) {
        let Port { net, ips, .. } = &self.ports[port];
        if self.nets[*net].on_stop.conntrack_kept {
            return;
        }
        for ip in ips {
            let ip = ip.to_string();
            // It complains if there was none.
            let _ = self.in_machine(&["conntrack", "-D", "-d", &ip]);
            let _ = self.in_machine(&["conntrack", "-D", "-q", &ip]);
        }
    }

    /// The machine forgets every flow.
    pub(super) fn flush_flows(&self) -> Result<(), String> {
        self.in_machine(&["conntrack", "-F"]).map(drop)
    }

    fn in_machine(&self, words: &[&str]) -> Result<String, String> {
        let mut all = vec!["ip", "netns", "exec", self.machine()];
        all.extend(words);
        call(&all)
    }

    /// Publishes a port of a host on the machine's addresses, by translation.
    pub(super) fn publish(&mut self, port: usize, publish: Publish) -> Result<(), String> {
        match publish.via {
            // Somebody accepts there in the host's name.
            PublishVia::DockerProxy => Ok(()),
            PublishVia::Dnat => {
                if let Some(ip) = self.ports[port].ips.first() {
                    self.published.insert(publish.port, *ip);
                }
                self.translate()
            }
        }
    }

    /// Sets what the machine translates. Flows there are go on as they are.
    fn translate(&self) -> Result<(), String> {
        let gateways: Vec<String> = self.nets.iter().map(|net| net.gateway.to_string()).collect();
        let gateways = gateways.join(", ");
        let mut to = String::new();
        for (port, ip) in &self.published {
            to += &format!("  ip daddr {{ {gateways} }} tcp dport {port} dnat to {ip}:{port}\n");
        }
        let mut from = String::new();
        for net in self.nets.iter().filter(|net| net.is_docker) {
            let subnet = format!("{}/{}", net.subnet.0, net.subnet.1);
            from += &format!("  ip saddr {subnet} ip daddr != {subnet} masquerade\n");
        }
        if to.is_empty() && from.is_empty() {
            return Ok(());
        }
        let rules = format!(
            "table ip rps_nat\ndelete table ip rps_nat\ntable ip rps_nat {{\n chain to {{\n  type nat hook prerouting \
             priority -100;\n{to} }}\n chain from {{\n  type nat hook postrouting priority 100;\n{from} }}\n}}\n"
        );
        self.load(self.machine(), &rules)
    }

    /// Lets a host's own kernel keep track of flows, so that it can tell of new ones.
    pub(super) fn watch_flows(&self, port: usize) -> Result<(), String> {
        self.load(&self.ports[port].namespace, WATCH_FLOWS)
    }

    /// Lets packets pass as rules say.
    pub(super) fn filter(&self, rules: &Rules) -> Result<(), String> {
        let device = |port: usize| self.ports[port].is_plugged.then(|| format!("v{port}"));
        self.load(self.machine(), &rules.at_machine(device))?;
        for (port, place) in self.ports.iter().enumerate() {
            if let Some(rules) = rules.at_host(port) {
                self.load(&place.namespace, &rules)?;
            }
        }
        Ok(())
    }

    fn load(&self, namespace: &str, rules: &str) -> Result<(), String> {
        feed(&["ip", "netns", "exec", namespace, "nft", "-f", "-"], rules).map(drop)
    }
}

impl Drop for Kernel {
    fn drop(&mut self) {
        tools::remove_all(&format!("{}-", self.prefix));
        tools::remove(&self.prefix);
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Returns the IPv6 address beside an IPv4 address, with its network's length, if the network has any.
fn v6(network: &Network, ip: Ipv4Addr) -> Option<String> {
    let bits = 96 + u16::from(network.subnet.1);
    network.addresses(ip).find(IpAddr::is_ipv6).map(|v6| format!("{v6}/{bits}"))
}

/// Returns how default routes are set.
fn ways_out(network: &Network, how: &str) -> Vec<String> {
    network.addresses(network.gateway).map(|gateway| format!("route {how} default via {gateway}")).collect()
}

fn neighbours(device: &str, ipv6: bool) -> Vec<String> {
    let families = ["ipv4", "ipv6"].into_iter().take(1 + usize::from(ipv6));
    let settings = families.flat_map(|family| {
        [
            format!("net.{family}.neigh.{device}.base_reachable_time_ms={REACHABLE_MS}"),
            format!("net.{family}.neigh.{device}.delay_first_probe_time={PROBE_AFTER}"),
        ]
    });
    settings.collect()
}

fn set(namespace: &str, settings: &[String]) -> Result<(), String> {
    let mut words = vec!["ip", "netns", "exec", namespace, "sysctl", "-q", "-w"];
    words.extend(settings.iter().map(String::as_str));
    call(&words).map(drop)
}
