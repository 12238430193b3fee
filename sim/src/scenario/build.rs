//! From values to the model: run, networks, hosts, names, pulls.

use std::net::Ipv4Addr;

use proxyd::config::{OPTIONS, has_option, likely, set_option};
use toml_edit::{Document, Item, Table, TableLike};

use super::{
    faults,
    form::{Form, Key, Kind, Roles, may},
    forms::{self, CONNTRACK, KINDS, NEIGHBOURS, ROLES},
    lookup::network,
    model::{
        Host, HostRef, LeftBehind, LinkQuality, Name, Network, OriginModel, PlayerModel, Publish, PullSpec,
        Role, Run, Scenario, Swarm,
    },
    publisher,
    read::{Reader, offer},
    unit::TIME,
    values::{Span, Values},
    words,
};

impl Reader<'_> {
    /// Reads the whole file. What is returned counts only if nothing was told as an error.
    pub(super) fn document(&mut self, document: &Document<&str>) -> Scenario {
        let root = document.as_table();
        let whole = 0..0;
        self.collect_names(root);
        let values = self.table(&forms::ROOT, root, &whole);
        let run = values.table("run").cloned().unwrap_or_default();
        let nets = self.nets(root);
        let hosts = self.hosts(root, &nets);
        let names = self.dns(root);
        let pulls = self.pulls(root);
        let events = self.timeline(root, &hosts);
        let expects = self.expects(root);
        let scenario = Scenario {
            id: values.text("id"),
            title: values.text("title"),
            refs: values.texts("refs"),
            defects: values.texts("defects"),
            run: Run {
                time: run.time("for"),
                seeds: run.numbers("seeds"),
                planes: run.pick_all("planes", words::PLANES),
                why_not: run.maybe_text("why_not"),
            },
            nets,
            hosts,
            names,
            pulls,
            events,
            expects,
            swarm: values.table("swarm").map(|swarm| self.swarm(swarm)),
        };
        if !self.has_errors() {
            self.check(&scenario, &values);
        }
        scenario
    }

    fn swarm(&mut self, values: &Values) -> Swarm {
        let named = |name: &String| faults::find(name).map(|form| form.name);
        let swarm = Swarm {
            line: self.line(&values.span),
            faults: values.texts("faults").iter().filter_map(named).collect(),
            on: values.hosts("on"),
            calls: values.pick_all("calls", words::MEDDLINGS),
            at_least: values.number("at_least"),
            at_most: values.number("at_most"),
            between: values.has("between").then(|| values.span("between")),
            lasts: values.span("lasts"),
            knobs: values.pick_all("knobs", words::KNOBS),
        };
        if swarm.at_least > swarm.at_most {
            let text = format!("at_least: {} is more than at_most, {}", swarm.at_least, swarm.at_most);
            self.error(&values.at("at_least"), text);
        }
        let roles = |host: &HostRef| self.names.hosts.get(usize::from(host.0)).map(|(_, role)| *role);
        let all: Vec<HostRef> =
            (0..self.names.hosts.len()).filter_map(|n| u16::try_from(n).ok()).map(HostRef).collect();
        let hosts: Vec<Roles> =
            if swarm.on.is_empty() { &all } else { &swarm.on }.iter().filter_map(roles).collect();
        for name in &swarm.faults {
            let Some(form) = faults::find(name) else { continue };
            if !hosts.iter().any(|role| form.on.has(*role)) {
                let text = format!(
                    "faults: {name} happens to hosts of role {}, and `on` has none of these",
                    form.on.names()
                );
                self.error(&values.at("faults"), text);
            }
        }
        swarm
    }

    /// A search has to have a time for what it adds.
    pub(super) fn check_swarm(&mut self, scenario: &Scenario, values: Option<&Values>) {
        let (Some(swarm), Some(values)) = (&scenario.swarm, values) else { return };
        if let Some((min, _)) = swarm.between
            && min >= scenario.run.time
        {
            let shown = |time: proxy_core::time::Duration| (TIME.show)(i128::from(time.as_nanos() as u64));
            let text =
                format!("between: {} is after the end of the run, {}", shown(min), shown(scenario.run.time));
            self.error(&values.at("between"), text);
        }
    }

    /// Collects what is called how before anything refers to it.
    fn collect_names(&mut self, root: &Table) {
        let tables = |name: &str| root.get(name).and_then(Item::as_table_like);
        self.names.nets = tables("net").map(keys).unwrap_or_default();
        if self.names.nets.is_empty() {
            self.names.nets.push(DOCKER0.to_owned());
        }
        self.names.pulls = tables("pull").map(keys).unwrap_or_default();
        for (host, item) in tables("host").into_iter().flat_map(TableLike::iter) {
            let role = item.as_table_like().and_then(|host| host.get("role")).and_then(Item::as_str);
            let role = match role {
                Some("proxy") => Roles::PROXY,
                Some("player") => Roles::PLAYER,
                // A host without a role is told as such, once.
                Some(_) | None => Roles::ORIGIN,
            };
            self.names.hosts.push((host.to_owned(), role));
        }
    }

    /// Returns the named tables below a key of the root, each with its name's place.
    fn named<'t>(&mut self, root: &'t Table, kind: &str) -> Vec<(String, &'t dyn TableLike, Span)> {
        let Some(item) = root.get(kind) else { return Vec::new() };
        let at = root.key(kind).and_then(toml_edit::Key::span).or_else(|| item.span()).unwrap_or_default();
        let Some(tables) = item.as_table_like() else {
            self.error(&at, format!("{kind}: write tables with a name each, such as [{kind}.one]"));
            return Vec::new();
        };
        let mut found = Vec::new();
        for (name, item) in tables.iter() {
            let at = tables.key(name).and_then(toml_edit::Key::span).unwrap_or_else(|| at.clone());
            match item.as_table_like() {
                Some(table) => found.push((name.to_owned(), table, at)),
                None => self.error(&at, format!("{kind}.{name} is no table; write [{kind}.NAME] above it")),
            }
        }
        for (name, _, at) in &found {
            let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic())
                && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
            // Names in the DNS have dots.
            let is_name = is_name || kind == "name";
            if !is_name {
                self.error(at, format!("{kind}: \"{name}\" is no name; allowed: letters, digits, - and _"));
            }
        }
        found
    }

    fn nets(&mut self, root: &Table) -> Vec<Network> {
        let tables = self.named(root, "net");
        if tables.is_empty() {
            let values = self.table(&forms::NET, &Table::new(), &(0..0));
            return vec![Network { line: 0, ..net(DOCKER0.to_owned(), 0, &values) }];
        }
        let mut nets = Vec::new();
        for (name, table, at) in tables {
            self.salt = format!("net.{name}");
            let values = self.table(&forms::NET, table, &at);
            let made = net(name, self.line(&at), &values);
            self.check_net(&made, &nets, &values);
            nets.push(made);
        }
        nets
    }

    fn check_net(&mut self, net: &Network, others: &[Network], values: &Values) {
        let (first, len) = net.subnet;
        for other in others {
            let shorter = len.min(other.subnet.1);
            if network(first, shorter) == network(other.subnet.0, shorter) {
                let text = format!("subnet: {first}/{len} overlaps with that of net {}", other.name);
                self.error(&values.at("subnet"), text);
            }
        }
        if !is_host_address(net.gateway, net.subnet) {
            let text = format!("gateway: {} is no address of {first}/{len}", net.gateway);
            self.error(&values.at("gateway"), text);
        }
    }

    fn hosts(&mut self, root: &Table, nets: &[Network]) -> Vec<Host> {
        let mut hosts = Vec::new();
        for (name, table, at) in self.named(root, "host") {
            self.salt = format!("host.{name}");
            let host = self.host_of(name, table, &at, nets, &hosts);
            hosts.push(host);
        }
        hosts
    }

    fn host_of(
        &mut self,
        name: String,
        table: &dyn TableLike,
        at: &Span,
        nets: &[Network],
        others: &[Host],
    ) -> Host {
        let form = match table.get("role") {
            Some(role) => match role.as_str() {
                Some("origin") => &forms::ORIGIN,
                Some("proxy") => &forms::PROXY,
                Some("player") => &forms::PLAYER,
                Some(word) => {
                    let at = role.span().unwrap_or_else(|| at.clone());
                    self.is_word("role", word, &at, ROLES.iter().map(|(word, _)| *word));
                    return nowhere(name);
                }
                None => {
                    let text =
                        format!("role: write one in quotes{}", offer("", ROLES.iter().map(|(word, _)| word)));
                    self.error(&role.span().unwrap_or_else(|| at.clone()), text);
                    return nowhere(name);
                }
            },
            None => {
                let words = offer("", ROLES.iter().map(|(word, _)| word));
                self.error(at, format!("host {name} has no role{words}"));
                return nowhere(name);
            }
        };
        let values = self.table(form, table, at);
        let net = values.maybe_net("net").or_else(|| {
            if nets.len() == 1 {
                return Some(0);
            }
            let is_told = values.key("net").is_some();
            if !is_told {
                let text =
                    format!("host {name} has no net, and there are several{}", offer("", &self.names.nets));
                self.error(at, text);
            }
            None
        });
        let role = self.role_of(form, &values);
        let host = Host {
            line: self.line(at),
            name,
            net: net.unwrap_or(0),
            ip: values.maybe_ip("ip"),
            publish: values.table("publish").map(|publish| Publish {
                port: publish.number("port"),
                via: publish.pick("via", words::VIAS),
            }),
            role,
        };
        if net.is_some() {
            self.check_host(&host, nets, others, &values);
        }
        host
    }

    fn role_of(&mut self, form: &'static Form, values: &Values) -> Role {
        let none = Values::default();
        let model = values.table("model").unwrap_or(&none);
        if std::ptr::eq(form, &forms::ORIGIN) {
            let like = publisher::like(model);
            let publisher = publisher::content(model, publisher::stub());
            self.check_content(model, &publisher);
            return Role::Origin(Box::new(OriginModel {
                like,
                behaviour: publisher::behaviour(model, like),
                port: model.number("port"),
                backlog: model.number("backlog"),
                streams: model.texts("stream"),
                publisher,
                boot: model.time("boot"),
                first_frame: model.time("first_frame"),
                published: model.switch("published"),
                up: model.switch("up"),
            }));
        }
        if std::ptr::eq(form, &forms::PROXY) {
            return Role::Proxy(Box::new(values.config("config")));
        }
        Role::Player(PlayerModel {
            count: values.number("count"),
            retry: model.maybe_time("retry"),
            read_rate: model.maybe_number::<u64>("read_rate").map(|bits| bits / 8),
        })
    }

    fn check_host(&mut self, host: &Host, nets: &[Network], others: &[Host], values: &Values) {
        let Some(net) = nets.get(usize::from(host.net)) else { return };
        if let Some(publish) = host.publish {
            let taken = |other: &&Host| other.publish.is_some_and(|other| other.port == publish.port);
            if let Some(other) = others.iter().find(taken) {
                let text = format!("publish: port {} is published for {} too", publish.port, other.name);
                self.error(&values.at("publish"), text);
            }
            if !net.is_docker {
                let text = format!("publish: net {} is a plain bridge and publishes no ports", net.name);
                self.error(&values.at("publish"), text);
            }
        }
        for ip in addresses(host) {
            let at = values.at("ip");
            let (first, len) = net.subnet;
            if ip == net.gateway {
                self.error(&at, format!("ip: {ip} is the gateway of net {}", net.name));
            } else if !is_host_address(ip, net.subnet) {
                self.error(&at, format!("ip: {ip} is no address of net {} ({first}/{len})", net.name));
            } else if let Some(other) = others.iter().find(|other| addresses(other).any(|taken| taken == ip))
            {
                self.error(&at, format!("ip: {ip} is the address of {} too", other.name));
            } else {
                continue;
            }
            break;
        }
    }

    fn dns(&mut self, root: &Table) -> Vec<Name> {
        let mut names = Vec::new();
        for (name, table, at) in self.named(root, "name") {
            self.salt = format!("name.{name}");
            let values = self.table(&forms::NAME, table, &at);
            if self.names.hosts.iter().any(|(host, _)| *host == name) {
                self.error(&at, format!("name: {name} is a host, and every host has its name in the DNS"));
            }
            let (hosts, ips) = (values.hosts("hosts"), values.ips("ips"));
            let is_empty = hosts.is_empty() && ips.is_empty();
            let is_read = values.has("hosts") && values.has("ips");
            if is_read && is_empty && !values.switch("missing") {
                let text = format!("name {name} has no address; write missing = true if that is meant");
                self.error(&at, text);
            }
            if values.switch("missing") && !is_empty {
                self.error(&values.at("missing"), format!("missing: {name} has addresses"));
            }
            names.push(Name { line: self.line(&at), name, hosts, ips, ttl: values.time("ttl") });
        }
        names
    }

    fn pulls(&mut self, root: &Table) -> Vec<PullSpec> {
        let mut pulls = Vec::new();
        for (name, table, at) in self.named(root, "pull") {
            self.salt = format!("pull.{name}");
            let values = self.table_of(&forms::PULL, pull_options(), table, &at);
            let args = self.pull_args(&values);
            let pull = PullSpec {
                line: self.line(&at),
                name,
                app: values.text("app"),
                stream: values.text("stream"),
                url: values.text("url"),
                count: values.number("count"),
                args,
            };
            if pull.count > 1 && !(pull.stream.contains("{n}") || pull.app.contains("{n}")) {
                self.error(
                    &values.at("stream"),
                    "stream: of several pulls each needs its own; write {n} in it",
                );
            }
            self.names.streams.push(format!("{}/{}", pull.app, pull.stream));
            pulls.push(pull);
        }
        pulls
    }

    /// Returns options in the order of their table, then other arguments in the order of the file.
    fn pull_args(&mut self, values: &Values) -> Vec<(String, String)> {
        let mut args = Vec::new();
        for option in OPTIONS {
            let Some(text) = values.maybe_text(option.name) else { continue };
            if let Err(error) = set_option(&mut Default::default(), option.name, &text) {
                self.error(&values.at(option.name), format!("{}: {error}", option.name));
            }
            args.push((option.name.to_owned(), text));
        }
        for (name, text) in values.args("args") {
            let at = values.at("args");
            if has_option(&name) {
                self.error(&at, format!("args: {name} is an option of ours; write it beside args"));
            }
            self.check_arg(&name, &at);
            args.push((name, text));
        }
        args
    }

    /// Warns of an argument that is nearly an option.
    pub(super) fn check_arg(&mut self, name: &str, at: &Span) {
        let options = OPTIONS.iter().map(|option| option.name);
        if !has_option(name)
            && let Some(word) = likely(name, options)
        {
            self.warn(at, format!("args: {name} is passed on as it is; did you mean {word}?"));
        }
    }
}

/// The network there is if the file has none.
const DOCKER0: &str = "docker0";

/// Options of a pull as keys, each a plain value.
fn pull_options() -> &'static [Key] {
    static KEYS: std::sync::OnceLock<Vec<Key>> = std::sync::OnceLock::new();
    KEYS.get_or_init(|| OPTIONS.iter().map(|option| may(option.name, Kind::Plain, option.text)).collect())
}

fn keys(table: &dyn TableLike) -> Vec<String> {
    table.iter().map(|(name, _)| name.to_owned()).collect()
}

fn net(name: String, line: u32, values: &Values) -> Network {
    let subnet = values.subnet("subnet");
    let (latency_min, latency_max) = values.span("latency");
    let none = Values::default();
    let on_stop = values.table("on_stop").unwrap_or(&none);
    Network {
        line,
        name,
        is_docker: values.pick("kind", KINDS),
        subnet,
        gateway: values.maybe_ip("gateway").unwrap_or_else(|| first_address(subnet)),
        ipv6: values.switch("ipv6"),
        link: LinkQuality {
            latency_min,
            latency_max,
            loss_ppm: values.share("loss"),
            duplicate_ppm: values.share("duplicate"),
            reorder_ppm: values.share("reorder"),
            bandwidth: values.maybe_number("bandwidth"),
            mtu: values.number("mtu"),
        },
        on_stop: LeftBehind {
            neighbours_stale: on_stop.pick("neighbours", NEIGHBOURS),
            conntrack_kept: on_stop.pick("conntrack", CONNTRACK),
            reassign_ip: on_stop.switch("reassign_ip"),
        },
        conntrack_timeout: values.maybe_time("conntrack_timeout"),
    }
}

/// Stands for a host that was told as a mistake, so that others keep their numbers.
fn nowhere(name: String) -> Host {
    let role = Role::Player(PlayerModel { count: 1, retry: None, read_rate: None });
    Host { line: 0, name, net: 0, ip: None, publish: None, role }
}

/// Returns the first address for hosts of a network.
pub(super) fn first_address((first, _): (Ipv4Addr, u8)) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(first).saturating_add(1))
}

/// Returns whether an address can be a host's in a network.
pub(super) fn is_host_address(ip: Ipv4Addr, (first, len): (Ipv4Addr, u8)) -> bool {
    let broadcast = u32::from(first) | u32::MAX.checked_shr(u32::from(len)).unwrap_or(0);
    network(ip, len) == first && ip != first && u32::from(ip) != broadcast
}

/// Returns the addresses a host says it has; players alike have one each.
pub(super) fn addresses(host: &Host) -> impl Iterator<Item = Ipv4Addr> + use<> {
    let count = match &host.role {
        Role::Player(model) => u32::from(model.count),
        Role::Origin(_) | Role::Proxy(_) => 1,
    };
    let first = host.ip.map(u32::from);
    first.into_iter().flat_map(move |first| (0..count).map(move |n| Ipv4Addr::from(first.saturating_add(n))))
}
