//! A scenario as text in one canonical way: what is as by default is left out, and reading it gives the scenario back.
//!
//! Comments and ranges are gone: whoever wants those kept resolves the text instead.

use std::fmt::Write;

use super::{
    expect::window,
    faults,
    form::{Form, Key},
    forms::{self, VERBS},
    model::{
        Act, Anchor, Call, Comeback, DnsAnswer, Event, Expect, Fault, FaultEvent, Host, HostRef, Knob,
        Meddling, Name, PullRef, ReplyWanted, Role, Scenario, Swarm, Wanted, When,
    },
    print_who::{config, model_pairs, net_pairs, player_pairs, pull_pairs, whole_content},
    show::{Pairs, args, key_text, list, next_ip, quote, rate, section, share, shift, span, texts, time},
    unit::TIME,
    words,
};
use crate::origin::{Behaviour, Handshake, Missing, OnConnect};

/// Returns the canonical text of a scenario.
pub fn print(scenario: &Scenario) -> String {
    let printer = Printer::new(scenario);
    let mut out = String::new();
    let mut root = Pairs::of(&forms::ROOT);
    root.put("schema", "1".to_owned());
    root.put("id", quote(&scenario.id));
    root.put("title", quote(&scenario.title));
    root.put("refs", texts(&scenario.refs));
    if !scenario.defects.is_empty() {
        root.put("defects", texts(&scenario.defects));
    }
    root.lines(&mut out);
    let mut run = Pairs::of(&forms::RUN);
    run.put("for", time(scenario.run.time));
    run.put("seeds", format!("{:?}", scenario.run.seeds));
    run.put(
        "planes",
        list(scenario.run.planes.iter().map(|plane| quote(words::word(words::PLANES, *plane)))),
    );
    run.maybe("why_not", scenario.run.why_not.as_deref().map(quote));
    section("[run]", &run, &mut out);
    for net in &scenario.nets {
        section(&format!("[net.{}]", net.name), &net_pairs(net), &mut out);
    }
    for host in &scenario.hosts {
        printer.host(host, &mut out);
    }
    for name in &scenario.names {
        section(&format!("[name.{}]", key_text(&name.name)), &printer.name(name), &mut out);
    }
    for pull in &scenario.pulls {
        section(&format!("[pull.{}]", pull.name), &pull_pairs(pull), &mut out);
    }
    out.push_str("\n[timeline]\nevents = [\n");
    for (index, event) in scenario.events.iter().enumerate() {
        writeln!(out, "  {},", printer.event(index, event).inline()).expect("a String takes everything");
    }
    out.push_str("]\n");
    for expect in &scenario.expects {
        section("[[expect]]", &printer.expect(expect), &mut out);
    }
    if let Some(swarm) = &scenario.swarm {
        section("[swarm]", &printer.swarm(swarm), &mut out);
    }
    out
}

/// Returns a moment as its file writes it, with the line of the event that sets it.
pub(crate) fn moment_words(scenario: &Scenario, when: &When) -> String {
    let text = Printer::new(scenario).when(when, None).replace('"', "");
    let of = match when.anchor {
        Anchor::Start(event) | Anchor::Cleared(event) | Anchor::Replied(event) => scenario.events.get(event),
        Anchor::Zero
        | Anchor::Listening(_)
        | Anchor::Serving(_)
        | Anchor::Entered(..)
        | Anchor::Watching(_)
        | Anchor::End => None,
    };
    match of {
        Some(event) => format!("`{text}` (of line {})", event.line),
        None => format!("`{text}`"),
    }
}

pub(super) struct Printer<'a> {
    scenario: &'a Scenario,
    /// Names of events, also of those that are referred to without having one.
    events: Vec<Option<String>>,
}

impl<'a> Printer<'a> {
    pub(super) fn new(scenario: &'a Scenario) -> Self {
        Self { scenario, events: event_names(scenario) }
    }

    /// Returns what a fault says beside where and how long, for people.
    pub(super) fn fault_words(&self, fault: &FaultEvent) -> String {
        let mut pairs = Pairs { keys: Vec::new(), pairs: Vec::new() };
        let form = faults::find(fault_name(&fault.fault));
        pairs.keys.extend(form.into_iter().flat_map(|form| form.keys));
        self.fault(&FaultEvent { time: None, ..fault.clone() }, &mut pairs);
        let own =
            pairs.pairs.iter().skip(2).map(|(key, value)| format!(", {key} = {}", value.replace('"', "")));
        own.collect()
    }

    fn host_name(&self, host: HostRef) -> String {
        self.scenario.hosts.get(usize::from(host.0)).map_or_else(String::new, |host| quote(&host.name))
    }

    fn hosts(&self, hosts: &[HostRef]) -> String {
        list(hosts.iter().map(|host| self.host_name(*host)))
    }

    fn pull_name(&self, pull: PullRef) -> String {
        self.scenario.pulls.get(usize::from(pull.0)).map_or_else(String::new, |pull| quote(&pull.name))
    }

    fn host(&self, host: &Host, out: &mut String) {
        let (form, role) = match &host.role {
            Role::Origin(_) => (&forms::ORIGIN, "origin"),
            Role::Proxy(_) => (&forms::PROXY, "proxy"),
            Role::Player(_) => (&forms::PLAYER, "player"),
        };
        let mut pairs = Pairs::of(form);
        pairs.put("role", quote(role));
        pairs.maybe("net", self.scenario.nets.get(usize::from(host.net)).map(|net| quote(&net.name)));
        pairs.maybe("ip", host.ip.map(|ip| quote(&ip.to_string())));
        pairs.maybe(
            "publish",
            host.publish.map(|publish| {
                let mut pairs = Pairs::of(&forms::PUBLISH);
                pairs.put("port", publish.port.to_string());
                pairs.put("via", quote(words::word(words::VIAS, publish.via)));
                pairs.inline()
            }),
        );
        match &host.role {
            Role::Origin(model) => pairs.put("model", model_pairs(model).inline()),
            Role::Proxy(_) => {}
            Role::Player(model) => {
                pairs.put("count", model.count.to_string());
                pairs.put("model", player_pairs(model).inline());
            }
        }
        section(&format!("[host.{}]", host.name), &pairs, out);
        if let Role::Proxy(settings) = &host.role {
            config(&format!("host.{}.config", host.name), settings, out);
        }
    }

    fn name(&self, name: &Name) -> Pairs {
        let mut pairs = Pairs::of(&forms::NAME);
        pairs.put("hosts", self.hosts(&name.hosts));
        pairs.put("ips", list(name.ips.iter().map(|ip| quote(&ip.to_string()))));
        pairs.put("ttl", time(name.ttl));
        pairs.put("missing", (name.hosts.is_empty() && name.ips.is_empty()).to_string());
        pairs
    }

    /// Returns a moment as TOML.
    pub(super) fn when(&self, when: &When, event: Option<usize>) -> String {
        let offset = i128::from(when.offset);
        let shown = (TIME.show)(offset.abs());
        let name = |event: &usize| self.events.get(*event).cloned().flatten().unwrap_or_default();
        let host = |host: &HostRef| &self.scenario.hosts[usize::from(host.0)].name;
        let head = match &when.anchor {
            Anchor::Zero => return quote(&shown),
            Anchor::Start(above) if event.is_some_and(|event| above + 1 == event) => {
                return quote(&format!("+{shown}"));
            }
            Anchor::Start(event) => format!("{}.start", name(event)),
            Anchor::Cleared(event) => format!("{}.cleared", name(event)),
            Anchor::Replied(event) => format!("{}.replied", name(event)),
            Anchor::Listening(of) => format!("{}.listening", host(of)),
            Anchor::Serving(of) => format!("{}.serving", host(of)),
            Anchor::Watching(of) => format!("{}.watching", host(of)),
            Anchor::Entered(pull, state) => {
                let pull = &self.scenario.pulls[usize::from(pull.0)].name;
                format!("{pull}.{}", words::word(words::STATES, *state))
            }
            Anchor::End => "end".to_owned(),
        };
        match offset {
            0 => quote(&head),
            1.. => quote(&format!("{head} + {shown}")),
            ..0 => quote(&format!("{head} - {shown}")),
        }
    }

    fn event(&self, index: usize, event: &Event) -> Pairs {
        let mut pairs = Pairs { keys: self.event_keys(&event.act), pairs: Vec::new() };
        pairs.put("at", self.when(&event.at, Some(index)));
        match &event.act {
            Act::Call(call) => self.call(call, &mut pairs),
            Act::Repair { proxy, pull, closes } => {
                pairs.put("on", self.host_name(*proxy));
                pairs.put("repair", self.pull_name(*pull));
                pairs.put("closes", closes.to_string());
            }
            Act::Play { players, at, stream, via } => {
                pairs.put("on", self.host_name(*players));
                pairs.put("play", quote(stream));
                pairs.put("via", list(via.iter().map(|via| quote(words::word(words::OUTPUTS, *via)))));
                pairs.put("from", self.host_name(*at));
            }
            Act::Leave { players, by } => {
                pairs.put("on", self.host_name(*players));
                pairs.put("leave", quote(words::word(words::LEAVES, *by)));
            }
            Act::Publish { origin, stream, publisher, silently } => {
                pairs.put("on", self.host_name(*origin));
                pairs.put("publish", quote(stream.as_deref().unwrap_or("all")));
                pairs.maybe("with", publisher.as_ref().map(|publisher| whole_content(publisher).inline()));
                pairs.put("silently", silently.to_string());
            }
            Act::Start { origin } => {
                pairs.put("on", self.host_name(*origin));
                pairs.put("start", "true".to_owned());
            }
            Act::Fault(fault) => self.fault(fault, &mut pairs),
        }
        pairs.maybe("every", event.every.map(time));
        pairs.maybe("as", self.events[index].as_deref().map(quote));
        pairs
    }

    fn event_keys(&self, act: &Act) -> Vec<&'static Key> {
        let form =
            |verb: &str| VERBS.iter().find(|(name, _)| *name == verb).map_or(&forms::API, |(_, form)| *form);
        let fault_keys = |fault: &Fault| faults::find(fault_name(fault)).map_or(&[][..], |form| form.keys);
        match act {
            Act::Call(_) => forms::API.keys().collect(),
            Act::Repair { .. } => form("repair").keys().collect(),
            Act::Play { .. } => form("play").keys().collect(),
            Act::Leave { .. } => form("leave").keys().collect(),
            Act::Publish { .. } => form("publish").keys().collect(),
            Act::Start { .. } => form("start").keys().collect(),
            Act::Fault(fault) => forms::FAULT.keys().chain(fault_keys(&fault.fault)).collect(),
        }
    }

    fn call(&self, call: &Call, pairs: &mut Pairs) {
        pairs.put("on", self.host_name(call.proxy));
        let verbs = [
            ("addStreamProxy", "add"),
            ("delStreamProxy", "del"),
            ("close_streams", "close"),
            ("updateStreamProxy", "update"),
        ];
        let verb = verbs.iter().find(|(name, _)| *name == call.call).map(|(_, verb)| *verb);
        match (verb, call.pull) {
            (Some(verb), Some(pull)) => pairs.put(verb, self.pull_name(pull)),
            (_, pull) => {
                pairs.put("api", quote(&call.call));
                pairs.maybe("pull", pull.map(|pull| self.pull_name(pull)));
            }
        }
        pairs.put("args", args(&call.args));
        pairs.put("reply", reply_pairs(&call.reply).inline());
    }

    fn fault(&self, event: &FaultEvent, pairs: &mut Pairs) {
        pairs.put("on", self.host_name(event.on));
        pairs.put("fault", quote(fault_name(&event.fault)));
        pairs.maybe("for", event.time.map(time));
        match &event.fault {
            Fault::Term(to) | Fault::Kill(to) | Fault::Vanish(to) => comeback(to, pairs),
            Fault::Freeze
            | Fault::Pause
            | Fault::Refuse
            | Fault::Blackhole
            | Fault::AcceptClose
            | Fault::AcceptReset
            | Fault::AcceptSilence
            | Fault::LinkDown
            | Fault::VethRecreate
            | Fault::ConntrackFlush
            | Fault::NoKeyframes
            | Fault::NoPorts
            | Fault::Stuck => {}
            Fault::Partition { with, direction, family, how } => {
                pairs.put("with", self.hosts(with));
                pairs.put("direction", quote(words::word(words::DIRECTIONS, *direction)));
                pairs.put("family", quote(words::word(words::FAMILIES, *family)));
                pairs.put("how", quote(words::word(words::HOWS, *how)));
            }
            Fault::Loss { ppm } | Fault::Duplicate { ppm } | Fault::Reorder { ppm } => {
                pairs.put("percent", share(*ppm));
            }
            Fault::Latency { min, max } => pairs.put("by", span(*min, *max)),
            Fault::Bandwidth { bits } => pairs.put("rate", rate(*bits)),
            Fault::Mtu { bytes, icmp } => {
                pairs.put("bytes", bytes.to_string());
                pairs.put("icmp", icmp.to_string());
            }
            Fault::Disconnect { ip } => pairs.put("ip", next_ip(*ip)),
            Fault::MoveAddress { ip, taken } => {
                pairs.put("ip", next_ip(*ip));
                pairs.put("taken", quote(words::word(words::TAKEN, *taken)));
            }
            Fault::Cut { at, by } => {
                pairs.put("byte", at.to_string());
                pairs.put("by", quote(words::word(words::CUTS, *by)));
            }
            Fault::Split { bytes } => pairs.put("bytes", bytes.to_string()),
            Fault::Coalesce { hold } => pairs.put("hold", time(*hold)),
            Fault::Trickle { bytes, every } => {
                pairs.put("bytes", bytes.to_string());
                pairs.put("gap", time(*every));
            }
            Fault::Behave(behaving) => behaving_pairs(behaving.name, &behaving.behaviour, pairs),
            Fault::End { ending, then } => {
                pairs.put("ending", quote(words::word(words::ENDINGS, *ending)));
                pairs.put("then", quote(words::word(words::THENS, *then)));
            }
            Fault::ReconnectRequest { tc_url } => pairs.maybe("tc_url", tc_url.as_deref().map(quote)),
            Fault::PublisherAway { stream, back } => {
                pairs.maybe("stream", stream.as_deref().map(quote));
                pairs.maybe("back", back.as_ref().map(|back| whole_content(back).inline()));
            }
            Fault::NoMedia { audio, video } => {
                pairs.put("audio", audio.to_string());
                pairs.put("video", video.to_string());
            }
            Fault::Drip { every } => pairs.put("gap", time(*every)),
            Fault::TimestampJump { by } | Fault::WallClock { by } => pairs.put("by", shift(*by)),
            Fault::LateTimers { by } => pairs.put("by", time(*by)),
            Fault::Dns { name, answer } => {
                pairs.put("name", quote(name));
                answer_pairs(answer, pairs);
            }
            Fault::SlowReader { rate: bytes } => pairs.put("rate", rate(bytes * 8)),
        }
    }

    fn swarm(&self, swarm: &Swarm) -> Pairs {
        let mut pairs = Pairs::of(&forms::SWARM);
        let some = |words: Vec<String>| (!words.is_empty()).then(|| list(words.into_iter()));
        pairs.maybe("faults", some(swarm.faults.iter().map(|name| quote(name)).collect()));
        pairs.put("on", self.hosts(&swarm.on));
        pairs.put("at_least", swarm.at_least.to_string());
        pairs.put("at_most", swarm.at_most.to_string());
        pairs.maybe("between", swarm.between.map(|(min, max)| span(min, max)));
        pairs.put("lasts", span(swarm.lasts.0, swarm.lasts.1));
        let call = |call: &Meddling| quote(words::word(words::MEDDLINGS, *call));
        pairs.maybe("calls", some(swarm.calls.iter().map(call).collect()));
        let knob = |knob: &Knob| quote(words::word(words::KNOBS, *knob));
        pairs.maybe("knobs", some(swarm.knobs.iter().map(knob).collect()));
        pairs
    }

    fn expect(&self, expect: &Expect) -> Pairs {
        let when = |when: &When| self.when(when, None);
        let mut pairs = Pairs::of(expect_form(&expect.what));
        match &expect.what {
            Wanted::FramesAt { players, after, at_most, max_gap, until } => {
                pairs.put("frames_at", self.hosts(players));
                pairs.put("after", when(after));
                pairs.maybe("at_most", at_most.map(time));
                pairs.maybe("max_gap", max_gap.map(time));
                pairs.maybe("until", until.as_ref().map(when));
            }
            Wanted::Never { what, players, pulls, from, until } => {
                pairs.put("never", quote(words::word(words::NEVERS, *what)));
                pairs.put("players", self.hosts(players));
                pairs.put("pulls", list(pulls.iter().map(|pull| self.pull_name(*pull))));
                pairs.put("from", when(from));
                pairs.put("until", when(until));
            }
            Wanted::Told { players, status, after, at_most } => {
                pairs.put("told", quote(status));
                pairs.put("players", self.hosts(players));
                pairs.put("after", when(after));
                pairs.maybe("at_most", at_most.map(time));
            }
            Wanted::Dials { to, from, until, at_least, at_most } => {
                pairs.put("dials", to.map_or_else(|| quote("any"), |to| self.host_name(to)));
                pairs.maybe("at_least", at_least.map(|dials| dials.to_string()));
                pairs.maybe("at_most", at_most.map(|dials| dials.to_string()));
                pairs.put("from", when(from));
                pairs.put("until", when(until));
            }
            Wanted::Entered { pull, state, after, within } => {
                pairs.put("entered", quote(words::word(words::STATES, *state)));
                pairs.put("pull", self.pull_name(*pull));
                pairs.put("after", when(after));
                pairs.maybe("at_most", within.map(time));
            }
            Wanted::Removed { pull, after, within } => {
                pairs.put("removed", self.pull_name(*pull));
                pairs.put("after", when(after));
                pairs.maybe("at_most", within.map(time));
            }
            Wanted::NoticedBy { pull, layer, after, within } => {
                pairs.put("noticed_by", quote(words::word(words::LAYERS, *layer)));
                pairs.put("pull", self.pull_name(*pull));
                pairs.put("after", when(after));
                pairs.maybe("at_most", within.map(time));
            }
            Wanted::RecoveredBy { pull, level, after } => {
                pairs.put("recovered_by", quote(words::word(words::LEVELS, *level)));
                pairs.put("pull", self.pull_name(*pull));
                pairs.put("after", when(after));
            }
            Wanted::Marks { marks } => pairs.put("marks", texts(marks)),
        }
        pairs
    }
}

/// Returns the name a fault has in the form.
pub(crate) fn fault_name(fault: &Fault) -> &'static str {
    match fault {
        Fault::Term(_) => "term",
        Fault::Kill(_) => "kill",
        Fault::Vanish(_) => "vanish",
        Fault::Freeze => "freeze",
        Fault::Pause => "pause",
        Fault::Refuse => "refuse",
        Fault::Blackhole => "blackhole",
        Fault::AcceptClose => "accept-close",
        Fault::AcceptReset => "accept-reset",
        Fault::AcceptSilence => "accept-silence",
        Fault::Partition { .. } => "partition",
        Fault::Loss { .. } => "loss",
        Fault::Duplicate { .. } => "duplicate",
        Fault::Reorder { .. } => "reorder",
        Fault::Latency { .. } => "latency",
        Fault::Bandwidth { .. } => "bandwidth",
        Fault::Mtu { .. } => "mtu",
        Fault::LinkDown => "link-down",
        Fault::VethRecreate => "veth-recreate",
        Fault::Disconnect { .. } => "network-disconnect",
        Fault::ConntrackFlush => "conntrack-flush",
        Fault::MoveAddress { .. } => "move-address",
        Fault::Cut { .. } => "cut",
        Fault::Split { .. } => "split",
        Fault::Coalesce { .. } => "coalesce",
        Fault::Trickle { .. } => "trickle",
        Fault::Behave(behaving) => behaving.name,
        Fault::End { .. } => "end",
        Fault::ReconnectRequest { .. } => "reconnect-request",
        Fault::PublisherAway { .. } => "publisher-away",
        Fault::NoMedia { .. } => "no-media",
        Fault::Drip { .. } => "drip",
        Fault::NoKeyframes => "no-keyframes",
        Fault::TimestampJump { .. } => "timestamp-jump",
        Fault::Dns { .. } => "dns",
        Fault::WallClock { .. } => "wall-clock",
        Fault::LateTimers { .. } => "late-timers",
        Fault::NoPorts => "no-ports",
        Fault::SlowReader { .. } => "slow-reader",
        Fault::Stuck => "stuck",
    }
}

fn expect_form(what: &Wanted) -> &'static Form {
    match what {
        Wanted::FramesAt { .. } => &forms::FRAMES_AT,
        Wanted::Never { .. } => &forms::NEVER,
        Wanted::Told { .. } => &forms::TOLD,
        Wanted::Dials { .. } => &forms::DIALS,
        Wanted::Entered { .. } => &forms::ENTERED,
        Wanted::Removed { .. } => &forms::REMOVED,
        Wanted::NoticedBy { .. } => &forms::NOTICED_BY,
        Wanted::RecoveredBy { .. } => &forms::RECOVERED_BY,
        Wanted::Marks { .. } => &forms::MARKS,
    }
}

/// Names events that are referred to and have no name.
fn event_names(scenario: &Scenario) -> Vec<Option<String>> {
    let mut names: Vec<_> = scenario.events.iter().map(|event| event.name.clone()).collect();
    let whens = scenario.events.iter().enumerate().map(|(index, event)| (Some(index), &event.at));
    let expected = scenario.expects.iter().filter_map(|expect| window(&expect.what));
    let expected = expected.flat_map(|(from, until)| [Some(from), until]).flatten().map(|when| (None, when));
    for (index, when) in whens.chain(expected) {
        let named = match when.anchor {
            Anchor::Start(event) if index.is_some_and(|index| event + 1 == index) => continue,
            Anchor::Start(event) | Anchor::Cleared(event) | Anchor::Replied(event) => event,
            Anchor::Zero
            | Anchor::Listening(_)
            | Anchor::Serving(_)
            | Anchor::Entered(..)
            | Anchor::Watching(_)
            | Anchor::End => continue,
        };
        if names.get(named).is_some_and(Option::is_none) {
            // Events that were moved may still bear the name that another's place has now.
            let is_free = |name: &String| !names.iter().flatten().any(|taken| taken == name);
            let name = (named + 1..).map(|number| format!("event{number}")).find(is_free);
            names[named] = name;
        }
    }
    names
}

fn behaving_pairs(name: &str, behaviour: &Behaviour, pairs: &mut Pairs) {
    if let (Some((bytes, by)), "handshake-truncated") = (behaviour.cut, name) {
        pairs.put("bytes", bytes.to_string());
        pairs.put("by", quote(words::word(words::CUTS, by)));
    }
    match (&behaviour.handshake, name) {
        (Handshake::Slow { len, every }, "handshake-slow") => {
            pairs.put("bytes", len.to_string());
            pairs.put("gap", time(*every));
        }
        (Handshake::Version(version), "handshake-wrong") => pairs.put("version", version.to_string()),
        (_, _) => {}
    }
    match (&behaviour.connect, name) {
        (OnConnect::Refuse { description }, "connect-refused") => {
            pairs.put("description", quote(description))
        }
        (OnConnect::Redirect { tc_url, url }, "redirect") => {
            pairs.put("url", quote(url));
            pairs.put("tc_url", quote(tc_url));
        }
        (_, _) => {}
    }
    if let (Missing::NotFound { after, close }, "not-found") = (&behaviour.missing, name) {
        pairs.put("after", time(*after));
        pairs.put("close", close.to_string());
    }
    if name == "hold-play" {
        pairs.put("delay", time(behaviour.command_delay));
    }
}

fn comeback(to: &Comeback, pairs: &mut Pairs) {
    pairs.put("ip", next_ip(to.ip));
    pairs.maybe("boot", to.boot.map(time));
    pairs.maybe("first_frame", to.first_frame.map(time));
    pairs.put("taken", quote(words::word(words::TAKEN, to.taken)));
    pairs.put("never", to.never.to_string());
}

fn answer_pairs(answer: &DnsAnswer, pairs: &mut Pairs) {
    let word = match answer {
        DnsAnswer::NxDomain => "nxdomain",
        DnsAnswer::ServFail => "servfail",
        DnsAnswer::Silent => "silent",
        DnsAnswer::Slow(_) => "slow",
        DnsAnswer::Stale => "stale",
        DnsAnswer::Addresses(_) => "addresses",
    };
    pairs.put("answer", quote(word));
    match answer {
        DnsAnswer::Slow(delay) => pairs.put("delay", time(*delay)),
        DnsAnswer::Addresses(ips) => pairs.put("ips", list(ips.iter().map(|ip| quote(&ip.to_string())))),
        DnsAnswer::NxDomain | DnsAnswer::ServFail | DnsAnswer::Silent | DnsAnswer::Stale => {}
    }
}

fn reply_pairs(reply: &ReplyWanted) -> Pairs {
    let mut pairs = Pairs::of(&forms::REPLY);
    pairs.maybe("code", reply.code.map(|code| code.to_string()));
    pairs.maybe("msg", reply.msg.as_deref().map(quote));
    pairs.maybe("refusal", reply.refusal_only_if_true.then(|| quote("only-if-true")));
    pairs.maybe("within", reply.within.map(time));
    pairs.maybe("streams", reply.streams.as_deref().map(texts));
    pairs.put("fields", args(&reply.fields));
    pairs
}
