//! A scenario as text in one canonical way: what is as by default is left out, and reading it gives the scenario back.
//!
//! Comments and ranges are gone: whoever wants those kept resolves the text instead.

use std::fmt::Write;

use proxy_core::{
    io::{BackoffLaw, PullOptions},
    time::Duration,
};
use proxyd::config::{Field, KEYS, Settings, StaticProxy, has_option};
use toml_edit::Value;

use super::{
    faults,
    form::{Form, Key, Need},
    forms::{self, CONNTRACK, KINDS, NEIGHBOURS, VERBS},
    model::{
        Act, Anchor, Call, Comeback, DnsAnswer, Event, Expect, Fault, FaultEvent, Host, HostRef, Name,
        Network, NextIp, OriginModel, PlayerModel, PullRef, PullSpec, ReplyWanted, Role, Scenario, Wanted,
        When,
    },
    publisher::stub,
    unit::{RATE, SHARE, TIME},
    words,
};
use crate::origin::{Behaviour, Handshake, Missing, OnConnect, Publisher};

/// Returns the canonical text of a scenario.
pub fn print(scenario: &Scenario) -> String {
    let printer = Printer { scenario, events: event_names(scenario) };
    let mut out = String::new();
    let mut root = Pairs::of(&forms::ROOT);
    root.put("schema", "1".to_owned());
    root.put("id", quote(&scenario.id));
    root.put("title", quote(&scenario.title));
    root.put("refs", texts(&scenario.refs));
    root.put("defects", texts(&scenario.defects));
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
    out
}

/// Keys and values of a table as TOML.
struct Pairs {
    keys: Vec<&'static Key>,
    pairs: Vec<(String, String)>,
}

impl Pairs {
    fn of(form: &'static Form) -> Self {
        Self { keys: form.keys().collect(), pairs: Vec::new() }
    }

    /// Adds a key, unless its absence means the same.
    fn put(&mut self, name: &str, value: String) {
        let key = self.keys.iter().find(|key| key.name == name);
        let is_default = key.is_some_and(|key| matches!(key.need, Need::Else(default) if default == value));
        if !is_default {
            self.pairs.push((key_text(name), value));
        }
    }

    fn maybe(&mut self, name: &str, value: Option<String>) {
        if let Some(value) = value {
            self.put(name, value);
        }
    }

    fn inline(&self) -> String {
        if self.pairs.is_empty() {
            return "{}".to_owned();
        }
        let pairs: Vec<_> = self.pairs.iter().map(|(key, value)| format!("{key} = {value}")).collect();
        format!("{{ {} }}", pairs.join(", "))
    }

    fn lines(&self, out: &mut String) {
        for (key, value) in &self.pairs {
            writeln!(out, "{key} = {value}").expect("a String takes everything");
        }
    }
}

struct Printer<'a> {
    scenario: &'a Scenario,
    /// Names of events, also of those that are referred to without having one.
    events: Vec<Option<String>>,
}

impl Printer<'_> {
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

    fn when(&self, when: &When, event: Option<usize>) -> String {
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
            | Fault::Stuck => {}
            Fault::Partition { with, direction, how } => {
                pairs.put("with", self.hosts(with));
                pairs.put("direction", quote(words::word(words::DIRECTIONS, *direction)));
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
            Fault::Dns { name, answer } => {
                pairs.put("name", quote(name));
                answer_pairs(answer, pairs);
            }
            Fault::SlowReader { rate: bytes } => pairs.put("rate", rate(bytes * 8)),
        }
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
pub(super) fn fault_name(fault: &Fault) -> &'static str {
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
    let expected = scenario.expects.iter().filter_map(|expect| super::expect::window(&expect.what));
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
        if let Some(name @ None) = names.get_mut(named) {
            *name = Some(format!("event{}", named + 1));
        }
    }
    names
}

fn net_pairs(net: &Network) -> Pairs {
    let mut pairs = Pairs::of(&forms::NET);
    pairs.put("kind", quote(words::word(KINDS, net.is_docker)));
    pairs.put("subnet", quote(&format!("{}/{}", net.subnet.0, net.subnet.1)));
    if net.gateway != super::build::first_address(net.subnet) {
        pairs.put("gateway", quote(&net.gateway.to_string()));
    }
    pairs.put("latency", span(net.link.latency_min, net.link.latency_max));
    pairs.put("loss", share(net.link.loss_ppm));
    pairs.put("duplicate", share(net.link.duplicate_ppm));
    pairs.put("reorder", share(net.link.reorder_ppm));
    pairs.maybe("bandwidth", net.link.bandwidth.map(rate));
    pairs.put("mtu", net.link.mtu.to_string());
    let mut on_stop = Pairs::of(&forms::ON_STOP);
    on_stop.put("neighbours", quote(words::word(NEIGHBOURS, net.on_stop.neighbours_stale)));
    on_stop.put("conntrack", quote(words::word(CONNTRACK, net.on_stop.conntrack_kept)));
    on_stop.put("reassign_ip", net.on_stop.reassign_ip.to_string());
    pairs.put("on_stop", on_stop.inline());
    pairs.maybe("conntrack_timeout", net.conntrack_timeout.map(time));
    pairs
}

fn player_pairs(model: &PlayerModel) -> Pairs {
    let mut pairs = Pairs::of(&forms::PLAYER_MODEL);
    pairs.maybe("retry", model.retry.map(time));
    pairs.maybe("read_rate", model.read_rate.map(|bytes| rate(bytes * 8)));
    pairs
}

fn model_pairs(model: &OriginModel) -> Pairs {
    let mut pairs = Pairs::of(&forms::MODEL);
    pairs.put("like", quote(words::word(words::LIKES, model.like)));
    pairs.put("stream", streams(&model.streams));
    pairs.put("port", model.port.to_string());
    pairs.put("boot", time(model.boot));
    pairs.put("first_frame", time(model.first_frame));
    pairs.put("published", model.published.to_string());
    pairs.put("up", model.up.to_string());
    content_pairs(&model.publisher, Some(&stub()), &mut pairs);
    behaviour_pairs(&model.behaviour, &Behaviour::like(model.like), &mut pairs);
    pairs
}

/// Says all of what a publisher sends, since what is left out is as the origin's model has it.
fn whole_content(publisher: &Publisher) -> Pairs {
    let mut pairs = Pairs::of(&forms::PUBLISHER);
    content_pairs(publisher, None, &mut pairs);
    pairs
}

/// Says where a publisher differs from a base, or all of it.
fn content_pairs(publisher: &Publisher, base: Option<&Publisher>, pairs: &mut Pairs) {
    let is_new = |is_other: bool| base.is_none() || is_other;
    match &publisher.video {
        None if is_new(base.is_some_and(|base| base.video.is_some())) => {
            pairs.put("video", "false".to_owned())
        }
        None => {}
        Some(video) => {
            let old = base.and_then(|base| base.video.as_ref());
            if is_new(old.is_none_or(|old| old.codec != video.codec)) {
                pairs.put("video", quote(words::word(words::VIDEO, video.codec)));
            }
            if is_new(old.is_none_or(|old| (old.fps, old.gop) != (video.fps, video.gop))) {
                pairs.put("fps", video.fps.to_string());
                pairs.put("gop", video.gop.to_string());
            }
            if is_new(old.is_none_or(|old| old.size != video.size)) {
                pairs.put("size", size(video.size));
            }
            if is_new(old.is_none_or(|old| old.bytes != video.bytes)) {
                pairs.put("bytes", format!("[{}, {}]", video.bytes.0, video.bytes.1));
            }
            pairs.maybe("video_until", video.until.map(time));
            pairs.maybe(
                "resize",
                video.resize.map(|(at, to)| format!("{{ at = {}, size = {} }}", time(at), size(to))),
            );
        }
    }
    match &publisher.audio {
        None if is_new(base.is_some_and(|base| base.audio.is_some())) => {
            pairs.put("audio", "false".to_owned())
        }
        None => {}
        Some(audio) => {
            pairs.put("audio", quote(words::word(words::AUDIO, audio.codec)));
            pairs.put("audio_period", time(audio.period));
            if !audio.from.is_zero() {
                pairs.put("audio_from", time(audio.from));
            }
            pairs.maybe("audio_until", audio.until.map(time));
        }
    }
    let clock = &publisher.clock;
    if is_new(base.is_some_and(|base| base.clock.base != clock.base)) {
        pairs.put("clock", clock.base.to_string());
    }
    if is_new(base.is_some_and(|base| base.clock.mask31 != clock.mask31)) {
        pairs.put("mask31", clock.mask31.to_string());
    }
    pairs.maybe("jump", clock.jump.map(|(at, by)| format!("{{ at = {}, by = {} }}", time(at), shift(by))));
}

fn behaviour_pairs(to: &Behaviour, from: &Behaviour, pairs: &mut Pairs) {
    if to.handshake != from.handshake {
        let is_strict = to.handshake == Handshake::Strict;
        pairs.put("handshake", quote(if is_strict { "strict" } else { "simple" }));
    }
    if to.missing != from.missing {
        let word = match to.missing {
            Missing::Wait => "wait",
            Missing::NotFound { close: false, .. } => "not-found",
            Missing::NotFound { close: true, .. } => "not-found-close",
            Missing::Never => "silent",
            Missing::Close => "close",
        };
        pairs.put("missing", quote(word));
        if let Missing::NotFound { after, .. } = to.missing {
            pairs.put("missing_after", time(after));
        }
    }
    let mut other = |name: &str, is_other: bool, value: String| {
        if is_other {
            pairs.put(name, value);
        }
    };
    let unpublish = quote(words::word(words::UNPUBLISH, to.unpublish));
    other("unpublish", to.unpublish != from.unpublish, unpublish);
    let second = quote(words::word(words::SECOND_PLAY, to.second_play));
    other("second_play", to.second_play != from.second_play, second);
    other("command_delay", to.command_delay != from.command_delay, time(to.command_delay));
    other("pings", to.pings_answered != from.pings_answered, to.pings_answered.to_string());
    if let Some(every) = to.ping_every {
        other("ping_every", to.ping_every != from.ping_every, time(every));
    }
    other("gop_cache", to.gop_cache != from.gop_cache, to.gop_cache.to_string());
    other(
        "media_before_start",
        to.media_before_start != from.media_before_start,
        to.media_before_start.to_string(),
    );
    other("metadata", to.metadata != from.metadata, quote(words::word(words::METADATA, to.metadata)));
    other("window", to.window != from.window, to.window.to_string());
    other(
        "stops_unacknowledged",
        to.stops_unacknowledged != from.stops_unacknowledged,
        to.stops_unacknowledged.to_string(),
    );
    let (to, from) = (&to.wire, &from.wire);
    other("chunk_size", to.chunk_size != from.chunk_size, to.chunk_size.to_string());
    other("headers", to.headers != from.headers, quote(words::word(words::HEADERS, to.headers)));
    other(
        "extended_in_continuations",
        to.extended_in_continuations != from.extended_in_continuations,
        to.extended_in_continuations.to_string(),
    );
    other("interleave", to.interleave != from.interleave, to.interleave.to_string());
    other("aggregate", to.aggregate != from.aggregate, to.aggregate.to_string());
}

fn behaving_pairs(name: &str, behaviour: &Behaviour, pairs: &mut Pairs) {
    match (&behaviour.handshake, name) {
        (Handshake::Truncated { len }, "handshake-truncated") => pairs.put("bytes", len.to_string()),
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

fn pull_pairs(pull: &PullSpec) -> Pairs {
    let mut pairs = Pairs::of(&forms::PULL);
    pairs.put("app", quote(&pull.app));
    pairs.put("stream", quote(&pull.stream));
    pairs.put("url", quote(&pull.url));
    pairs.put("count", pull.count.to_string());
    let (ours, others): (Vec<_>, Vec<_>) = pull.args.iter().cloned().partition(|(name, _)| has_option(name));
    for (name, value) in ours {
        pairs.put(&name, quote(&value));
    }
    pairs.put("args", args(&others));
    pairs
}

fn config(path: &str, settings: &Settings, out: &mut String) {
    let defaults = Settings::default();
    let mut last = "";
    for key in KEYS {
        let value = key.field.show(settings);
        if value == key.field.show(&defaults) {
            continue;
        }
        if key.section != last {
            write!(out, "\n[{path}.{}]\n", key.section).expect("a String takes everything");
            last = key.section;
        }
        let value = match &key.field {
            Field::Text(_) | Field::Law(_) | Field::Address(_) | Field::Addresses(_) => quote(&value),
            Field::Millis(..)
            | Field::Seconds(..)
            | Field::Size(..)
            | Field::Count(..)
            | Field::Port(_)
            | Field::Switch(_) => value,
        };
        writeln!(out, "{} = {value}", key.name).expect("a String takes everything");
    }
    for proxy in &settings.proxies {
        section(&format!("[[{path}.proxy]]"), &static_pairs(proxy), out);
    }
}

fn static_pairs(proxy: &StaticProxy) -> Pairs {
    let mut pairs = Pairs { keys: Vec::new(), pairs: Vec::new() };
    pairs.put("vhost", quote(&proxy.key.vhost));
    pairs.put("app", quote(&proxy.key.app));
    pairs.put("stream", quote(&proxy.key.stream));
    pairs.put("url", quote(&proxy.url));
    let PullOptions {
        retry_count,
        force,
        reply_timeout,
        law,
        stall_timeout,
        track_stall_timeout,
        first_media_timeout,
        auto_close,
        reset_when_replay,
        fc_subscribe,
    } = &proxy.options;
    pairs.put("retry_count", retry_count.to_string());
    pairs.put("force", force.to_string());
    let law = law.map(|law| match law {
        BackoffLaw::Repull => "repull",
        BackoffLaw::ZlMediaKit => "zlmediakit",
    });
    pairs.maybe("law", law.map(quote));
    for (name, time) in [
        ("reply_timeout_ms", reply_timeout),
        ("stall_timeout_ms", stall_timeout),
        ("track_stall_timeout_ms", track_stall_timeout),
        ("first_media_timeout_ms", first_media_timeout),
    ] {
        pairs.maybe(name, time.map(|time| time.as_millis().to_string()));
    }
    for (name, switch) in
        [("auto_close", auto_close), ("reset_when_replay", reset_when_replay), ("fc_subscribe", fc_subscribe)]
    {
        pairs.maybe(name, switch.map(|on| on.to_string()));
    }
    pairs
}

fn section(head: &str, pairs: &Pairs, out: &mut String) {
    writeln!(out, "\n{head}").expect("a String takes everything");
    pairs.lines(out);
}

fn args(args: &[(String, String)]) -> String {
    let pairs = args.iter().map(|(name, value)| (key_text(name), quote(value))).collect();
    Pairs { keys: Vec::new(), pairs }.inline()
}

/// Writes streams, those that count on as a range.
fn streams(streams: &[String]) -> String {
    let text = streams.first().and_then(|first| {
        let stem = first.trim_end_matches(|c: char| c.is_ascii_digit());
        let from = &first[stem.len()..];
        let last = streams.last()?.strip_prefix(stem)?;
        let text = format!("{stem}{{{from}..{last}}}");
        let counted = super::read::count_out(&text)?;
        (counted == streams && streams.len() > 1).then_some(text)
    });
    match (text, streams) {
        (Some(text), _) => quote(&text),
        (None, [one]) => quote(one),
        (None, several) => texts(several),
    }
}

fn key_text(name: &str) -> String {
    toml_edit::Key::new(name).to_string()
}

fn quote(text: &str) -> String {
    Value::from(text).to_string()
}

fn list(parts: impl Iterator<Item = String>) -> String {
    format!("[{}]", parts.collect::<Vec<_>>().join(", "))
}

fn texts(texts: &[String]) -> String {
    list(texts.iter().map(|text| quote(text)))
}

fn time(time: Duration) -> String {
    quote(&(TIME.show)(i128::try_from(time.as_nanos()).unwrap_or(i128::MAX)))
}

fn shift(millis: i64) -> String {
    quote(&(TIME.show)(i128::from(millis) * 1_000_000))
}

fn share(ppm: u32) -> String {
    quote(&(SHARE.show)(i128::from(ppm)))
}

fn rate(bits: u64) -> String {
    quote(&(RATE.show)(i128::from(bits)))
}

fn size((width, height): (u32, u32)) -> String {
    quote(&format!("{width}x{height}"))
}

fn span(min: Duration, max: Duration) -> String {
    if min == max { time(min) } else { format!("{{ min = {}, max = {} }}", time(min), time(max)) }
}

fn next_ip(ip: NextIp) -> String {
    match ip {
        NextIp::Same => quote("same"),
        NextIp::New => quote("new"),
        NextIp::Ip(ip) => quote(&ip.to_string()),
    }
}
