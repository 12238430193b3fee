//! What makes no sense together, though each part is understood.

use std::{
    net::{IpAddr, Ipv4Addr},
    path::Path,
};

use proxy_core::{time::Duration, url::OriginUrl};

use super::{
    build::addresses,
    expect::{is_end, window},
    faults::find,
    lookup::network,
    model::{
        Act, Anchor, DnsAnswer, Event, Family, Fault, FaultEvent, Host, HostRef, PullRef, Role, Scenario,
        Wanted, When,
    },
    print::fault_name,
    pulls::PullNames,
    read::{Reader, offer},
    unit::TIME,
    values::{Span, Values},
};
use crate::net::packet::host_address;

/// The longest virtual time of a file in `field/`: every plane runs those.
const FIELD_NANOS_MAX: i128 = 40_000_000_000;
/// The smallest packet that every link of IPv6 takes (RFC 8200, section 5).
const IPV6_MTU_MIN: u32 = 1280;
/// How late timers may be: several in a row are late, and bounds have to bite.
const LATE_MAX: Duration = Duration::from_millis(200);

impl Reader<'_> {
    /// Tells what makes no sense together.
    pub(super) fn check(&mut self, scenario: &Scenario, root: &Values) {
        let stem = Path::new(self.file()).file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        if stem != scenario.id {
            let text = format!("id: {} is not the file's name; write id = \"{stem}\"", scenario.id);
            self.error(&root.at("id"), text);
        }
        let time = i128::try_from(scenario.run.time.as_nanos()).unwrap_or(i128::MAX);
        let is_field = Path::new(self.file()).components().any(|part| part.as_os_str() == "field");
        if is_field && time > FIELD_NANOS_MAX {
            let at = root.table("run").map_or(0..0, |run| run.at("for"));
            let text = format!("for: {} is longer than 40s, which every plane can run", (TIME.show)(time));
            self.warn(&at, text);
        }
        if !scenario.hosts.iter().any(|host| matches!(host.role, Role::Proxy(_))) {
            self.error(&root.at("host"), "there is no host of role proxy");
        }
        for pull in &scenario.pulls {
            let at = self.place_of_line(pull.line, "url");
            self.check_url(scenario, &pull.url, pull.count == 1, &at);
        }
        for host in &scenario.hosts {
            let Role::Proxy(settings) = &host.role else { continue };
            for proxy in &settings.proxies {
                let at = self.text.find(&proxy.url).map_or(0..0, |at| at..at + proxy.url.len());
                self.check_url(scenario, &proxy.url, true, &at);
            }
        }
        if let Some((one, other, stream)) = PullNames::new(scenario).confused() {
            let pull = |pull: PullRef| &scenario.pulls[usize::from(pull.0)];
            let (one, other) = (pull(one), pull(other));
            let at = self.place_of_line(other.line, "stream");
            let text = format!(
                "stream: [pull.{}] and [pull.{}] are both {stream}, and nothing tells them apart: name another stream, or \
                 have each called at a proxy of its own",
                one.name, other.name
            );
            self.error(&at, text);
        }
        self.check_names_answered(scenario);
        self.check_families(scenario);
        self.check_events(scenario);
        self.check_windows(scenario);
        self.check_swarm(scenario, root.table("swarm"));
    }

    fn check_url(&mut self, scenario: &Scenario, url: &str, is_one: bool, at: &Span) {
        let url = match OriginUrl::parse(&url.replace("{n}", "1")) {
            Ok(url) => url,
            // What an operator may mistype is a story of its own, so it is only remarked on.
            Err(error) => return self.warn(at, format!("url: {error}")),
        };
        let host = url.host.as_str();
        if host == "localhost" {
            return;
        }
        if let Ok(ip) = host.parse::<IpAddr>() {
            return match host_address(ip) {
                Some(own) if ip.is_ipv6() => self.check_ip6(scenario, (ip, own), at),
                Some(ip) => self.check_ip(scenario, ip, url.port, at),
                None if ip.is_loopback() => {}
                None => self.error(at, format!("url: {ip} is in no net; IPv6 addresses begin with fd00::")),
            };
        }
        let known = || {
            let hosts = scenario.hosts.iter().map(|host| host.name.as_str());
            hosts.chain(scenario.names.iter().map(|name| name.name.as_str()))
        };
        if !known().any(|name| name == host) {
            let text = format!(
                "url: nothing is called {host}; if that is meant, write [name.{host}] missing = true{}",
                offer(host, known())
            );
            return self.error(at, text);
        }
        if is_one {
            self.check_stream(scenario, host, &url, at);
        }
    }

    /// An address of IPv6, and the host's other one.
    fn check_ip6(&mut self, scenario: &Scenario, (ip, own): (IpAddr, Ipv4Addr), at: &Span) {
        let Some(net) = scenario.nets.iter().find(|net| network(own, net.subnet.1) == net.subnet.0) else {
            return self.error(at, format!("{ip} is in no net"));
        };
        if !net.ipv6 {
            self.error(at, format!("{ip} is nobody's: net {} has no ipv6 = true", net.name));
        } else if own == net.gateway {
            self.error(at, format!("{ip} is the gateway of net {}: ports are published to IPv4", net.name));
        }
    }

    /// Families where there are none of them.
    fn check_families(&mut self, scenario: &Scenario) {
        let ipv6 = scenario.nets.iter().any(|net| net.ipv6);
        for net in scenario.nets.iter().filter(|net| net.ipv6 && net.link.mtu < IPV6_MTU_MIN) {
            let at = self.place_of_line(net.line, "mtu");
            self.error(
                &at,
                format!("mtu: IPv6 needs {IPV6_MTU_MIN} bytes, and {} has {}", net.name, net.link.mtu),
            );
        }
        let of_names = scenario.names.iter().map(|name| (name.line, name.ips.as_slice()));
        let of_faults = scenario.events.iter().filter_map(|event| match &event.act {
            Act::Fault(FaultEvent {
                fault: Fault::Dns { answer: DnsAnswer::Addresses(ips), .. }, ..
            }) => Some((event.line, ips.as_slice())),
            _ => None,
        });
        let answers: Vec<_> = of_names.chain(of_faults).collect();
        for (line, ips) in answers {
            let at = self.place_of_line(line, "ips");
            for ip in ips.iter().filter(|ip| ip.is_ipv6()) {
                if let Some(own) = host_address(*ip) {
                    self.check_ip6(scenario, (*ip, own), &at);
                }
            }
        }
        for event in &scenario.events {
            let Act::Fault(fault) = &event.act else { continue };
            let place = |key| self.place_of_line(event.line, key);
            match &fault.fault {
                Fault::Partition { family: Some(Family::V6), .. } if !ipv6 => {
                    let at = place("family");
                    self.error(&at, "family: no net has ipv6 = true");
                }
                Fault::LateTimers { by } if *by > LATE_MAX => {
                    let at = place("by");
                    let text = format!("by: more than {LATE_MAX:?} would break what is promised by itself");
                    self.error(&at, text);
                }
                _ => {}
            }
        }
    }

    fn check_ip(&mut self, scenario: &Scenario, ip: Ipv4Addr, port: u16, at: &Span) {
        if ip.is_loopback() || scenario.hosts.iter().any(|host| addresses(host).any(|known| known == ip)) {
            return;
        }
        if let Some(net) = scenario.nets.iter().find(|net| net.gateway == ip) {
            let published: Vec<_> =
                scenario.hosts.iter().filter_map(|host| host.publish).map(|publish| publish.port).collect();
            if !published.contains(&port) {
                let ports = offer("", published.iter().map(u16::to_string));
                let text = format!(
                    "url: {ip} is the gateway of net {}, where nobody publishes port {port}{ports}",
                    net.name
                );
                self.error(at, text);
            }
            return;
        }
        if !scenario.nets.iter().any(|net| network(ip, net.subnet.1) == net.subnet.0) {
            let nets =
                scenario.nets.iter().map(|net| format!("{} ({}/{})", net.name, net.subnet.0, net.subnet.1));
            self.error(at, format!("url: {ip} is in no net{}", offer("", nets)));
        }
    }

    /// Warns of a stream that the origin a url leads to does not have: a slip, unless it is the story.
    fn check_stream(&mut self, scenario: &Scenario, name: &str, url: &OriginUrl, at: &Span) {
        let Some(Host { role: Role::Origin(model), .. }) =
            scenario.hosts.iter().find(|host| host.name == name)
        else {
            return;
        };
        let stream = url.stream.split('?').next().unwrap_or_default();
        let wanted = format!("{}/{stream}", url.app);
        if !model.streams.contains(&wanted) {
            let text =
                format!("url: {name} has no {wanted}{}", offer(&wanted, model.streams.iter().take(20)));
            self.warn(at, text);
        }
    }

    /// A fault on a name is about one there is.
    fn check_names_answered(&mut self, scenario: &Scenario) {
        for event in &scenario.events {
            let Act::Fault(fault) = &event.act else { continue };
            let Fault::Dns { name, .. } = &fault.fault else { continue };
            let hosts = scenario.hosts.iter().map(|host| host.name.as_str());
            let known: Vec<_> = hosts.chain(scenario.names.iter().map(|name| name.name.as_str())).collect();
            if !known.contains(&name.as_str()) {
                let at = self.place_of_line(event.line, "name");
                self.error(&at, format!("name: nothing is called {name}{}", offer(name, known)));
            }
        }
    }

    fn check_events(&mut self, scenario: &Scenario) {
        let end = nanos(scenario.run.time);
        for event in &scenario.events {
            let at = self.place_of_line(event.line, "at");
            match fixed(scenario, &event.at) {
                Some(time) if time < 0 => self.error(&at, "at: that is before the beginning"),
                Some(time) if time >= end => {
                    let text = format!(
                        "at: {} is after the end of the run, {}",
                        (TIME.show)(time),
                        (TIME.show)(end)
                    );
                    self.error(&at, text);
                }
                None if earliest(scenario, &event.at) >= end => {
                    let text = format!(
                        "at: that is {} at the earliest, after the end of the run, {}",
                        (TIME.show)(earliest(scenario, &event.at)),
                        (TIME.show)(end)
                    );
                    self.error(&at, text);
                }
                Some(_) | None => {}
            }
            self.check_cleared(scenario, &event.at, &at);
            self.check_lasts(scenario, event, end);
            if let Act::Play { players, stream, .. } = &event.act {
                self.check_play(scenario, *players, stream, event.line);
            }
        }
    }

    /// What waits for a fault to be lifted that lasts to the end never begins.
    fn check_cleared(&mut self, scenario: &Scenario, when: &When, at: &Span) {
        let Anchor::Cleared(index) = when.anchor else { return };
        let Some(event) = scenario.events.get(index) else { return };
        let Act::Fault(fault) = &event.act else { return };
        if fault.time.is_some() {
            return;
        }
        let name = event.name.as_deref().unwrap_or_default();
        let lasts = find(fault_name(&fault.fault)).is_some_and(|form| form.lasts);
        let text = if lasts {
            let line = event.line;
            format!(
                "{name} has no `for`, so it is lifted at the end and nothing follows it; write for = \"2s\" in line {line}"
            )
        } else {
            format!("{name} happens at once and for good; count from {name}.start")
        };
        self.error(at, text);
    }

    /// A fault that lasts beyond the end is lifted there: not what its `for` says.
    fn check_lasts(&mut self, scenario: &Scenario, event: &Event, end: i128) {
        let Act::Fault(FaultEvent { time: Some(time), .. }) = &event.act else { return };
        let begins = earliest(scenario, &event.at);
        let lifted = begins + nanos(*time);
        if lifted > end && begins < end {
            let at = self.place_of_line(event.line, "for");
            let text = format!(
                "for: it would last until {}, and the run ends at {}, where it is lifted",
                (TIME.show)(lifted),
                (TIME.show)(end)
            );
            self.warn(&at, text);
        }
    }

    fn check_play(&mut self, scenario: &Scenario, players: HostRef, stream: &str, line: u32) {
        if !stream.contains("{n}") {
            return;
        }
        let Some(Host { role: Role::Player(model), name, .. }) = scenario.hosts.get(usize::from(players.0))
        else {
            return;
        };
        let pulls = scenario.pulls.iter().find(|pull| format!("{}/{}", pull.app, pull.stream) == stream);
        if let Some(pull) = pulls.filter(|pull| pull.count < model.count) {
            let at = self.place_of_line(line, "play");
            let text = format!(
                "play: {name} are {} players, and {} are {} streams",
                model.count, pull.name, pull.count
            );
            self.error(&at, text);
        }
    }

    fn check_windows(&mut self, scenario: &Scenario) {
        let end = nanos(scenario.run.time);
        for expect in &scenario.expects {
            let Some((from, until)) = window(&expect.what) else { continue };
            let first = if matches!(expect.what, Wanted::Never { .. } | Wanted::Dials { .. }) {
                "from"
            } else {
                "after"
            };
            let at = self.place_of_line(expect.line, first);
            self.check_cleared(scenario, from, &at);
            let begins = fixed(scenario, from);
            if earliest(scenario, from) >= end || is_end(from) {
                self.error(
                    &at,
                    format!("{first}: the window is empty, since the run ends at {}", (TIME.show)(end)),
                );
                continue;
            }
            let Some(until) = until else { continue };
            let is_empty = match (begins, fixed(scenario, until)) {
                (Some(begins), Some(ends)) => begins >= ends,
                (_, _) => from.anchor == until.anchor && from.offset >= until.offset,
            };
            if is_empty {
                let at = self.place_of_line(expect.line, "until");
                self.error(&at, "until: the window is empty, since it ends before it begins");
            }
        }
    }
}

fn nanos(time: Duration) -> i128 {
    i128::try_from(time.as_nanos()).unwrap_or(i128::MAX)
}

/// Returns a moment's time if it is known beforehand, in nanoseconds.
pub(super) fn fixed(scenario: &Scenario, when: &When) -> Option<i128> {
    let offset = i128::from(when.offset);
    match when.anchor {
        Anchor::Zero => Some(offset),
        Anchor::End => Some(nanos(scenario.run.time) + offset),
        Anchor::Start(event) => fixed(scenario, &scenario.events.get(event)?.at).map(|start| start + offset),
        Anchor::Cleared(event) => {
            let event = scenario.events.get(event)?;
            let Act::Fault(fault) = &event.act else { return None };
            let start = fixed(scenario, &event.at)?;
            fault.time.map(|time| start + nanos(time) + offset)
        }
        Anchor::Replied(_)
        | Anchor::Listening(_)
        | Anchor::Serving(_)
        | Anchor::Entered(..)
        | Anchor::Watching(_) => None,
    }
}

/// Returns the earliest a moment can be, in nanoseconds: what it waits for may come at once.
pub(crate) fn earliest(scenario: &Scenario, when: &When) -> i128 {
    let event = |index: usize| scenario.events.get(index);
    let start = |index: usize| event(index).map_or(0, |event| earliest(scenario, &event.at));
    let anchor = match when.anchor {
        Anchor::Zero
        | Anchor::Listening(_)
        | Anchor::Serving(_)
        | Anchor::Entered(..)
        | Anchor::Watching(_) => 0,
        Anchor::End => nanos(scenario.run.time),
        Anchor::Start(index) | Anchor::Replied(index) => start(index),
        Anchor::Cleared(index) => {
            let lasts = event(index).and_then(|event| match &event.act {
                Act::Fault(fault) => fault.time,
                Act::Call(_)
                | Act::Repair { .. }
                | Act::Play { .. }
                | Act::Leave { .. }
                | Act::Publish { .. }
                | Act::Start { .. } => None,
            });
            start(index) + lasts.map_or(0, nanos)
        }
    };
    anchor + i128::from(when.offset)
}
