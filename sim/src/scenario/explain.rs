//! What a scenario says, in words, for whoever wrote it.

use std::fmt::Write;

use proxy_core::{io::PlayOutput, time::Duration};

use super::{
    faults,
    model::{
        Act, Call, Event, Expect, Host, HostRef, Network, OriginModel, PullRef, PullSpec, ReplyWanted, Role,
        Scenario, Wanted, When,
    },
    print::{Printer, fault_name},
    unit::TIME,
    words,
};
use crate::origin::Publisher;

/// Returns a summary: who there is, what happens when, what must hold.
pub fn explain(scenario: &Scenario) -> String {
    Explainer { scenario, printer: Printer::new(scenario) }.text().unwrap_or_default()
}

struct Explainer<'a> {
    scenario: &'a Scenario,
    printer: Printer<'a>,
}

impl Explainer<'_> {
    fn text(&self) -> Result<String, std::fmt::Error> {
        let Scenario { id, title, run, nets, hosts, pulls, events, expects, .. } = self.scenario;
        let mut out = String::new();
        let planes: Vec<_> = run.planes.iter().map(|plane| words::word(words::PLANES, *plane)).collect();
        let seeds: Vec<_> = run.seeds.iter().map(u64::to_string).collect();
        writeln!(out, "{id}: {title}")?;
        writeln!(out, "{} on {}, seeds {}", time(run.time), planes.join(", "), seeds.join(", "))?;
        writeln!(out, "\nwho there is")?;
        for net in nets {
            row(&mut out, &net.name, &net_words(net))?;
        }
        for host in hosts {
            row(&mut out, &host.name, &self.host(host))?;
        }
        for name in &self.scenario.names {
            let hosts = name.hosts.iter().map(|host| self.name(*host).to_owned());
            let all: Vec<_> = hosts.chain(name.ips.iter().map(ToString::to_string)).collect();
            let all = if all.is_empty() { "no such name".to_owned() } else { all.join(", ") };
            row(&mut out, &name.name, &format!("DNS: {all}"))?;
        }
        for pull in pulls {
            row(&mut out, &pull.name, &pull_words(pull))?;
        }
        writeln!(out, "\nwhat happens")?;
        for (index, event) in events.iter().enumerate() {
            let at = self.when(&event.at, Some(index));
            let mut what = self.event(event);
            if let Some(every) = event.every {
                write!(what, ", again every {}", time(every))?;
            }
            if let Some(name) = &event.name {
                write!(what, " ({name})")?;
            }
            row(&mut out, &at, &what)?;
        }
        writeln!(out, "\nwhat must hold beside the promises")?;
        for expect in expects {
            writeln!(out, "  {}", self.expect(expect))?;
        }
        Ok(out)
    }

    fn name(&self, host: HostRef) -> &str {
        self.scenario.hosts.get(usize::from(host.0)).map_or("?", |host| &host.name)
    }

    fn names(&self, hosts: &[HostRef]) -> String {
        hosts.iter().map(|host| self.name(*host)).collect::<Vec<_>>().join(", ")
    }

    fn pull(&self, pull: PullRef) -> &str {
        self.scenario.pulls.get(usize::from(pull.0)).map_or("?", |pull| &pull.name)
    }

    fn when(&self, when: &When, event: Option<usize>) -> String {
        self.printer.when(when, event).trim_matches('"').to_owned()
    }

    fn host(&self, host: &Host) -> String {
        let mut text = match &host.role {
            Role::Origin(model) => origin_words(model),
            Role::Proxy(settings) => {
                let changed: Vec<_> = settings
                    .changed()
                    .into_iter()
                    .map(|(name, value, _)| format!("{name} = {value}"))
                    .collect();
                let config = if changed.is_empty() { "defaults".to_owned() } else { changed.join(", ") };
                let added = match settings.proxies.len() {
                    0 => String::new(),
                    added => format!("; {added} [[proxy]]"),
                };
                format!("the proxy: {config}{added}")
            }
            Role::Player(model) => {
                let retry = model.retry.map(|retry| format!(", dialling again after {}", time(retry)));
                let rate = model.read_rate.map(|rate| format!(", reading {rate} bytes/s"));
                let plural = if model.count == 1 { "" } else { "s" };
                format!(
                    "{} player{plural}{}{}",
                    model.count,
                    retry.unwrap_or_default(),
                    rate.unwrap_or_default()
                )
            }
        };
        if let Some(ip) = host.ip {
            text.push_str(&format!("; at {ip}"));
        }
        if let Some(publish) = host.publish {
            let via = words::word(words::VIAS, publish.via);
            text.push_str(&format!("; port {} published by {via}", publish.port));
        }
        text
    }

    fn event(&self, event: &Event) -> String {
        match &event.act {
            Act::Call(call) => self.call(call),
            Act::Repair { proxy, pull, closes } => {
                let how = if *closes { "closes and adds" } else { "adds" };
                format!(
                    "a script {how} {} at {} whenever it is not online",
                    self.pull(*pull),
                    self.name(*proxy)
                )
            }
            Act::Play { players, at, stream, via } => {
                let via: Vec<_> = via.iter().map(|via| output(*via)).collect();
                format!(
                    "{} play {stream} at {} by {}",
                    self.name(*players),
                    self.name(*at),
                    via.join(" and ")
                )
            }
            Act::Leave { players, by } => {
                format!("{} leave: {}", self.name(*players), sentence(words::LEAVES, *by))
            }
            Act::Publish { origin, stream, publisher, silently } => {
                let what = publisher.as_ref().map(|publisher| format!(" ({})", content(publisher)));
                let quiet = if *silently { ", the old one's leaving untold" } else { "" };
                let stream = stream.as_deref().unwrap_or("every stream");
                format!(
                    "a publisher of {stream} comes to {}{}{quiet}",
                    self.name(*origin),
                    what.unwrap_or_default()
                )
            }
            Act::Start { origin } => format!("{} starts", self.name(*origin)),
            Act::Fault(fault) => {
                let name = fault_name(&fault.fault);
                let form = faults::find(name);
                let lasts = match fault.time {
                    Some(time) => format!(" for {}", self::time(time)),
                    None if form.is_some_and(|form| form.lasts) => " to the end".to_owned(),
                    None => String::new(),
                };
                let text = form.map_or("", |form| form.text);
                format!("{}: {name}{lasts}{}: {text}", self.name(fault.on), self.printer.fault_words(fault))
            }
        }
    }

    fn call(&self, call: &Call) -> String {
        let pull = call.pull.map(|pull| format!(" {}", self.pull(pull))).unwrap_or_default();
        let args: String = call.args.iter().map(|(name, value)| format!(" {name}={value}")).collect();
        format!("{} is asked {}{pull}{args}{}", self.name(call.proxy), call.call, reply(&call.reply))
    }

    fn expect(&self, expect: &Expect) -> String {
        let when = |when: &When| self.when(when, None);
        let within = |limit: &Option<Duration>| {
            limit.map(|limit| format!(" within {}", time(limit))).unwrap_or_default()
        };
        match &expect.what {
            Wanted::FramesAt { players, after, at_most, max_gap, until } => {
                let gap = max_gap.map(|gap| format!(", then no gap above {}", time(gap))).unwrap_or_default();
                let until =
                    until.as_ref().map(|until| format!(", until {}", when(until))).unwrap_or_default();
                let after = when(after);
                format!("{} get frames{} after {after}{gap}{until}", self.names(players), within(at_most))
            }
            Wanted::Never { what, players, pulls, from, until } => {
                let pulls: Vec<_> = pulls.iter().map(|pull| self.pull(*pull)).collect();
                let who: Vec<_> = [self.names(players), pulls.join(", ")]
                    .into_iter()
                    .filter(|who| !who.is_empty())
                    .collect();
                let who = if who.is_empty() { String::new() } else { format!(" ({})", who.join("; ")) };
                let what = sentence(words::NEVERS, *what);
                format!("never from {} until {}: {what}{who}", when(from), when(until))
            }
            Wanted::Told { players, status, after, at_most } => {
                format!("{} are told {status}{} after {}", self.names(players), within(at_most), when(after))
            }
            Wanted::Dials { to, from, until, at_least, at_most } => {
                let to = to.map_or("anybody", |to| self.name(to));
                let least = at_least.map(|dials| format!(" at least {dials}")).unwrap_or_default();
                let most = at_most.map(|dials| format!(" at most {dials}")).unwrap_or_default();
                format!("dials to {to} from {} until {}:{least}{most}", when(from), when(until))
            }
            Wanted::Entered { pull, state, after, within: limit } => {
                let state = words::word(words::STATES, *state);
                format!("{} is {state}{} after {}", self.pull(*pull), within(limit), when(after))
            }
            Wanted::Removed { pull, after, within: limit } => {
                format!("{} is gone{} after {}", self.pull(*pull), within(limit), when(after))
            }
            Wanted::NoticedBy { pull, layer, after, within: limit } => {
                let layer = sentence(words::LAYERS, *layer);
                format!(
                    "the loss of {} is noticed by {layer}{} after {}",
                    self.pull(*pull),
                    within(limit),
                    when(after)
                )
            }
            Wanted::RecoveredBy { pull, level, after } => {
                let level = sentence(words::LEVELS, *level);
                format!("{} recovers by {level} after {}", self.pull(*pull), when(after))
            }
            Wanted::Marks { marks } => format!("the run reaches {}", marks.join(", ")),
        }
    }
}

fn row(out: &mut String, name: &str, text: &str) -> std::fmt::Result {
    writeln!(out, "  {name:<18} {text}")
}

fn sentence<T: PartialEq>(table: words::Table<T>, value: T) -> &'static str {
    table.iter().find(|(_, known, _)| *known == value).map_or("", |(_, _, text)| *text)
}

fn net_words(net: &Network) -> String {
    let kind = if net.is_docker { "Docker bridge" } else { "bridge" };
    let (min, max) = (time(net.link.latency_min), time(net.link.latency_max));
    let ipv6 = if net.ipv6 { ", IPv6 too" } else { "" };
    let (subnet, bits) = net.subnet;
    format!("{kind} {subnet}/{bits}, gateway {}, latency {min} to {max}{ipv6}", net.gateway)
}

fn origin_words(model: &OriginModel) -> String {
    let like = model.like;
    let streams = match model.streams.as_slice() {
        [one] => one.clone(),
        [first, .., last] => format!("{} streams, {first} to {last}", model.streams.len()),
        [] => "no stream".to_owned(),
    };
    let up = if model.up { "" } else { ", not up yet" };
    let published = if model.published { "" } else { ", not published yet" };
    let usual = crate::origin::ACCEPT_QUEUE;
    let backlog =
        if model.backlog == usual { String::new() } else { format!(", a backlog of {}", model.backlog) };
    format!("an origin like {like}: {streams}, {}{backlog}{up}{published}", content(&model.publisher))
}

fn content(publisher: &Publisher) -> String {
    let video = publisher.video.as_ref().map(|video| {
        let codec = words::word(words::VIDEO, video.codec);
        format!(
            "{codec} {}x{} at {} fps, a keyframe every {} frames",
            video.size.0, video.size.1, video.fps, video.gop
        )
    });
    let audio = publisher.audio.as_ref().map(|audio| words::word(words::AUDIO, audio.codec).to_owned());
    let tracks = [video, audio].into_iter().flatten().collect::<Vec<_>>().join(" and ");
    match publisher.clock.drift {
        0 => tracks,
        drift => format!("{tracks}, gaining {drift}ms a second"),
    }
}

fn pull_words(pull: &PullSpec) -> String {
    let count = if pull.count == 1 { String::new() } else { format!(", {{n}} from 1 to {}", pull.count) };
    let args: String = pull.args.iter().map(|(name, value)| format!(", {name} = {value}")).collect();
    format!("{}/{} from {}{count}{args}", pull.app, pull.stream, proxy_core::url::redact(&pull.url))
}

fn output(output: PlayOutput) -> &'static str {
    words::word(words::OUTPUTS, output)
}

fn reply(reply: &ReplyWanted) -> String {
    let ReplyWanted { code, msg, refusal_only_if_true, within, streams, fields } = reply;
    let mut parts = Vec::new();
    parts.extend(code.map(|code| format!("code {code}")));
    parts.extend(msg.as_ref().map(|msg| format!("msg with \"{msg}\"")));
    if *refusal_only_if_true {
        parts.push("refused only if true".to_owned());
    }
    parts.extend(within.map(|within| format!("within {}", time(within))));
    parts.extend(streams.as_ref().map(|streams| format!("listing exactly [{}]", streams.join(", "))));
    parts.extend(fields.iter().map(|(name, value)| format!("{name} = {value}")));
    if parts.is_empty() { String::new() } else { format!("; reply: {}", parts.join(", ")) }
}

fn time(time: Duration) -> String {
    (TIME.show)(i128::try_from(time.as_nanos()).unwrap_or(i128::MAX))
}
