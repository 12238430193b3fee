//! Every fault, once: its name, where it fits, its parameters, a sentence, and how it becomes a [`Fault`].

use super::{
    form::{Key, Kind, Roles, SPAN, TIME, may, must, or},
    forms::PUBLISHER,
    model::{Behaving, Comeback, DnsAnswer, Fault, OriginModel},
    publisher,
    values::Values,
    words::{self, list},
};
use crate::origin::{Behaviour, Handshake, Missing, OnCall, OnConnect, Withhold};

/// A fault of the form.
#[derive(Debug)]
pub struct FaultForm {
    /// Its name in files.
    pub name: &'static str,
    /// Where in the list it stands.
    pub(crate) section: Section,
    /// The roles it fits.
    pub(crate) on: Roles,
    /// Takes `for`; otherwise it happens at once and for good.
    pub(crate) lasts: bool,
    pub(crate) keys: &'static [Key],
    /// What happens, without a full stop.
    pub text: &'static str,
    /// Makes the fault of its parameters. The model is that of the origin it happens to, if it is one.
    pub(crate) make: fn(&Values, Option<&OriginModel>) -> Fault,
}

/// Sections of the list of faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Section {
    Processes,
    Dialling,
    Network,
    Bytes,
    Rtmp,
    Publishers,
    Names,
    Clock,
    Players,
}

impl Section {
    /// Returns its heading.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Processes => "processes and containers",
            Self::Dialling => "dialling an origin",
            Self::Network => "the network",
            Self::Bytes => "bytes an origin sends",
            Self::Rtmp => "an origin's RTMP, towards new connections and requests",
            Self::Publishers => "an origin's publishers",
            Self::Names => "names, for everybody",
            Self::Clock => "the proxy's own host",
            Self::Players => "players",
        }
    }
}

/// Returns the fault of this name.
pub(crate) fn find(name: &str) -> Option<&'static FaultForm> {
    FAULTS.iter().find(|fault| fault.name == name)
}

/// Returns all names with their sentences.
pub(crate) fn names() -> Vec<(&'static str, &'static str)> {
    FAULTS.iter().map(|fault| (fault.name, fault.text)).collect()
}

const COMEBACK: &[Key] = &[
    may("down", TIME, "another word for `for`"),
    or("ip", Kind::NextIp, "\"same\"", "its address afterwards: same, new, or this one"),
    may("boot", TIME, "boot time, instead of the model's"),
    may("first_frame", TIME, "time to the first frame, instead of the model's"),
    or("taken", Kind::Word(|| list(words::TAKEN)), "\"nobody\"", "who has its old address meanwhile"),
    or("never", Kind::Switch, "false", "it never comes back, not even when the run's time is over"),
];

const PERCENT: &[Key] = &[must("percent", Kind::Share, "how many, such as 5 or \"0.5 %\"")];
const NONE: &[Key] = &[];

fn comeback(values: &Values) -> Comeback {
    Comeback {
        ip: values.next_ip("ip"),
        boot: values.maybe_time("boot"),
        first_frame: values.maybe_time("first_frame"),
        taken: values.pick("taken", words::TAKEN),
        never: values.switch("never"),
    }
}

/// Makes a fault that changes an origin's behaviour.
fn behave(name: &'static str, model: Option<&OriginModel>, change: impl FnOnce(&mut Behaviour)) -> Fault {
    let mut behaviour = model.map(|model| model.behaviour.clone()).unwrap_or_default();
    change(&mut behaviour);
    Fault::Behave(Box::new(Behaving { name, behaviour }))
}

const fn lasting(
    section: Section,
    name: &'static str,
    on: Roles,
    keys: &'static [Key],
    text: &'static str,
    make: fn(&Values, Option<&OriginModel>) -> Fault,
) -> FaultForm {
    FaultForm { name, section, on, lasts: true, keys, text, make }
}

const fn at_once(
    section: Section,
    name: &'static str,
    on: Roles,
    keys: &'static [Key],
    text: &'static str,
    make: fn(&Values, Option<&OriginModel>) -> Fault,
) -> FaultForm {
    FaultForm { name, section, on, lasts: false, keys, text, make }
}

use Section::{Bytes, Clock, Dialling, Names, Network, Players, Processes, Publishers, Rtmp};

/// The list, in the order in which people look for them.
pub static FAULTS: &[FaultForm] = &[
    lasting(
        Processes,
        "term",
        Roles::SERVER,
        COMEBACK,
        "the process is told to end, says what its software says, and is back after `for` and its boot time",
        |values, _| Fault::Term(comeback(values)),
    ),
    lasting(
        Processes,
        "kill",
        Roles::SERVER,
        COMEBACK,
        "the process is killed and its kernel hangs up; back after `for` and its boot time",
        |values, _| Fault::Kill(comeback(values)),
    ),
    lasting(
        Processes,
        "vanish",
        Roles::SERVER,
        COMEBACK,
        "the container is gone without a packet; back after `for` and its boot time",
        |values, _| Fault::Vanish(comeback(values)),
    ),
    lasting(
        Processes,
        "freeze",
        Roles::ANY,
        NONE,
        "SIGSTOP: the kernel goes on and accepts, the process does nothing",
        |_, _| Fault::Freeze,
    ),
    lasting(
        Processes,
        "pause",
        Roles::ANY,
        NONE,
        "docker pause: the same, of every process in the container",
        |_, _| Fault::Pause,
    ),
    lasting(Dialling, "refuse", Roles::ORIGIN, NONE, "dials are refused; what is connected stays", |_, _| {
        Fault::Refuse
    }),
    lasting(
        Dialling,
        "blackhole",
        Roles::ORIGIN,
        NONE,
        "dials are swallowed; what is connected stays",
        |_, _| Fault::Blackhole,
    ),
    lasting(
        Dialling,
        "accept-close",
        Roles::ORIGIN,
        NONE,
        "dials are accepted by something that closes at once, as docker-proxy does",
        |_, _| Fault::AcceptClose,
    ),
    lasting(
        Dialling,
        "accept-reset",
        Roles::ORIGIN,
        NONE,
        "dials are accepted by something that resets at the first bytes",
        |_, _| Fault::AcceptReset,
    ),
    lasting(
        Dialling,
        "accept-silence",
        Roles::ORIGIN,
        NONE,
        "dials are accepted by something that says nothing",
        |_, _| Fault::AcceptSilence,
    ),
    lasting(
        Network,
        "partition",
        Roles::ANY,
        &[
            or("with", Kind::Hosts(Roles::ANY), "[]", "the others; without it everybody"),
            or(
                "direction",
                Kind::Word(|| list(words::DIRECTIONS)),
                "\"both\"",
                "which packets, seen from the host",
            ),
            or("family", Kind::Word(|| list(words::FAMILIES)), "\"both\"", "of which family"),
            or("how", Kind::Word(|| list(words::HOWS)), "\"drop\"", "what happens to them"),
        ],
        "packets between the host and others do not pass",
        |values, _| Fault::Partition {
            with: values.hosts("with"),
            direction: values.pick("direction", words::DIRECTIONS),
            family: values.pick("family", words::FAMILIES),
            how: values.pick("how", words::HOWS),
        },
    ),
    lasting(Network, "loss", Roles::ANY, PERCENT, "packets are lost on the host's link", |values, _| {
        Fault::Loss { ppm: values.share("percent") }
    }),
    lasting(Network, "duplicate", Roles::ANY, PERCENT, "packets come twice", |values, _| Fault::Duplicate {
        ppm: values.share("percent"),
    }),
    lasting(Network, "reorder", Roles::ANY, PERCENT, "packets are overtaken", |values, _| Fault::Reorder {
        ppm: values.share("percent"),
    }),
    lasting(
        Network,
        "latency",
        Roles::ANY,
        &[must("by", Kind::Span, "a time, or { min, max }")],
        "packets take so much longer, each way",
        |values, _| {
            let (min, max) = values.span("by");
            Fault::Latency { min, max }
        },
    ),
    lasting(
        Network,
        "bandwidth",
        Roles::ANY,
        &[must("rate", Kind::Rate, "bits per second")],
        "the host's link carries no more than this",
        |values, _| Fault::Bandwidth { bits: values.count("rate") },
    ),
    lasting(
        Network,
        "mtu",
        Roles::ANY,
        &[
            must("bytes", Kind::Whole(68, 65_535), "largest packet"),
            or("icmp", Kind::Switch, "false", "the sender is told"),
        ],
        "packets beyond this size are dropped on the host's link",
        |values, _| Fault::Mtu { bytes: values.number("bytes"), icmp: values.switch("icmp") },
    ),
    lasting(Network, "link-down", Roles::ANY, NONE, "the host's link is down", |_, _| Fault::LinkDown),
    lasting(
        Network,
        "veth-recreate",
        Roles::ANY,
        NONE,
        "the host's interface is removed; one with the same address and another MAC comes after `for`",
        |_, _| Fault::VethRecreate,
    ),
    lasting(
        Network,
        "network-disconnect",
        Roles::ANY,
        &[or("ip", Kind::NextIp, "\"same\"", "its address afterwards")],
        "docker network disconnect, and connect after `for`",
        |values, _| Fault::Disconnect { ip: values.next_ip("ip") },
    ),
    at_once(
        Network,
        "conntrack-flush",
        Roles::ANY,
        NONE,
        "the machine forgets the flows it tracks: what goes through NAT is lost in silence",
        |_, _| Fault::ConntrackFlush,
    ),
    at_once(
        Network,
        "move-address",
        Roles::SERVER,
        &[
            or("ip", Kind::NextIp, "\"new\"", "the new address"),
            or("taken", Kind::Word(|| list(words::TAKEN)), "\"nobody\"", "who has the old one from then on"),
        ],
        "the host's address changes for good; names follow",
        |values, _| Fault::MoveAddress {
            ip: values.next_ip("ip"),
            taken: values.pick("taken", words::TAKEN),
        },
    ),
    at_once(
        Bytes,
        "cut",
        Roles::ORIGIN,
        &[
            must("byte", Kind::Whole(0, 1 << 40), "the byte, counted from now on"),
            or("by", Kind::Word(|| list(words::CUTS)), "\"fin\"", "how"),
        ],
        "each living connection's outgoing bytes end at this one",
        |values, _| Fault::Cut { at: values.count("byte"), by: values.pick("by", words::CUTS) },
    ),
    lasting(
        Bytes,
        "split",
        Roles::ORIGIN,
        &[or("bytes", Kind::Whole(1, 65_536), "1", "in a piece")],
        "what is sent goes out in pieces",
        |values, _| Fault::Split { bytes: values.number("bytes") },
    ),
    lasting(
        Bytes,
        "coalesce",
        Roles::ORIGIN,
        &[or("hold", SPAN, "\"200ms\"", "for so long")],
        "what is sent is held and goes out together",
        |values, _| Fault::Coalesce { hold: values.time("hold") },
    ),
    lasting(
        Bytes,
        "trickle",
        Roles::ORIGIN,
        &[
            or("bytes", Kind::Whole(1, 65_536), "1", "in a piece"),
            or("gap", SPAN, "\"1s\"", "between pieces"),
        ],
        "what is sent trickles",
        |values, _| Fault::Trickle { bytes: values.number("bytes"), every: values.time("gap") },
    ),
    lasting(
        Rtmp,
        "handshake-truncated",
        Roles::ORIGIN,
        &[
            or("bytes", Kind::Whole(0, 3072), "1000", "sent of the 3,073"),
            or("by", Kind::Word(|| list(words::CUTS)), "\"silence\"", "how it ends there"),
        ],
        "so many bytes of S0 S1 S2, and no more",
        |values, model| {
            behave("handshake-truncated", model, |to| {
                to.cut = Some((values.count("bytes"), values.pick("by", words::CUTS)));
            })
        },
    ),
    lasting(
        Rtmp,
        "handshake-slow",
        Roles::ORIGIN,
        &[
            or("bytes", Kind::Whole(1, 3073), "100", "in a piece"),
            or("gap", SPAN, "\"200ms\"", "between pieces"),
        ],
        "S0 S1 S2 come in small pieces",
        |values, model| {
            behave("handshake-slow", model, |to| {
                to.handshake = Handshake::Slow { len: values.number("bytes"), every: values.time("gap") };
            })
        },
    ),
    lasting(
        Rtmp,
        "handshake-wrong",
        Roles::ORIGIN,
        &[or("version", Kind::Whole(0, 255), "6", "S0")],
        "another version than 3",
        |values, model| {
            behave("handshake-wrong", model, |to| {
                to.handshake = Handshake::Version(values.number("version"));
            })
        },
    ),
    lasting(
        Rtmp,
        "handshake-strict",
        Roles::ORIGIN,
        NONE,
        "a C2 that is no echo of S1 is hung up on",
        |_, model| behave("handshake-strict", model, |to| to.handshake = Handshake::Strict),
    ),
    lasting(
        Rtmp,
        "handshake-http",
        Roles::ORIGIN,
        NONE,
        "something answers that is not RTMP at all",
        |_, model| behave("handshake-http", model, |to| to.handshake = Handshake::Http),
    ),
    lasting(
        Rtmp,
        "connect-refused",
        Roles::ORIGIN,
        &[or("description", Kind::Text, "\"\"", "what is said")],
        "connect is answered NetConnection.Connect.Rejected",
        |values, model| {
            behave("connect-refused", model, |to| {
                to.connect = OnConnect::Refuse { description: values.text("description") };
            })
        },
    ),
    lasting(Rtmp, "connect-silent", Roles::ORIGIN, NONE, "connect is not answered", |_, model| {
        behave("connect-silent", model, |to| to.connect = OnConnect::Never)
    }),
    lasting(Rtmp, "connect-close", Roles::ORIGIN, NONE, "connect is answered by FIN", |_, model| {
        behave("connect-close", model, |to| to.connect = OnConnect::Close)
    }),
    lasting(
        Rtmp,
        "redirect",
        Roles::ORIGIN,
        &[
            must("url", Kind::Text, "the whole url it sends to"),
            may("tc_url", Kind::Text, "the tcUrl it tells; without it the url without its stream"),
        ],
        "connect is answered by a redirect (302)",
        |values, model| {
            behave("redirect", model, |to| {
                let url = values.text("url");
                let parent = url.rsplit_once('/').map_or("", |(parent, _)| parent).to_owned();
                let tc_url = values.maybe_text("tc_url").unwrap_or(parent);
                to.connect = OnConnect::Redirect { tc_url, url };
            })
        },
    ),
    lasting(Rtmp, "create-stream-silent", Roles::ORIGIN, NONE, "createStream is not answered", |_, model| {
        behave("create-stream-silent", model, |to| to.create_stream = OnCall::Never)
    }),
    lasting(
        Rtmp,
        "create-stream-error",
        Roles::ORIGIN,
        NONE,
        "createStream is answered by an error",
        |_, model| behave("create-stream-error", model, |to| to.create_stream = OnCall::Error),
    ),
    lasting(
        Rtmp,
        "create-stream-close",
        Roles::ORIGIN,
        NONE,
        "createStream is answered by FIN",
        |_, model| behave("create-stream-close", model, |to| to.create_stream = OnCall::Close),
    ),
    lasting(Rtmp, "play-silent", Roles::ORIGIN, NONE, "play is not answered", |_, model| {
        behave("play-silent", model, |to| to.play = OnCall::Never)
    }),
    lasting(Rtmp, "play-error", Roles::ORIGIN, NONE, "play is answered by an error", |_, model| {
        behave("play-error", model, |to| to.play = OnCall::Error)
    }),
    lasting(Rtmp, "play-close", Roles::ORIGIN, NONE, "play is answered by FIN", |_, model| {
        behave("play-close", model, |to| to.play = OnCall::Close)
    }),
    lasting(
        Rtmp,
        "not-found",
        Roles::ORIGIN,
        &[
            or("after", TIME, "\"0s\"", "how long a publisher is waited for"),
            or("close", Kind::Switch, "false", "FIN after it"),
        ],
        "play of a stream nobody publishes is answered StreamNotFound; see publisher-away",
        |values, model| {
            behave("not-found", model, |to| {
                to.missing = Missing::NotFound { after: values.time("after"), close: values.switch("close") };
            })
        },
    ),
    lasting(
        Rtmp,
        "hold-play",
        Roles::ORIGIN,
        &[must("delay", TIME, "so late")],
        "every command is taken up late",
        |values, model| behave("hold-play", model, |to| to.command_delay = values.time("delay")),
    ),
    lasting(Rtmp, "no-pings", Roles::ORIGIN, NONE, "PingRequest is not answered", |_, model| {
        behave("no-pings", model, |to| to.pings_answered = false)
    }),
    lasting(
        Rtmp,
        "metadata-only",
        Roles::ORIGIN,
        NONE,
        "play is accepted, metadata comes, and no header or frame",
        |_, model| behave("metadata-only", model, |to| to.withhold = Withhold::HeadersAndFrames),
    ),
    lasting(
        Rtmp,
        "config-only",
        Roles::ORIGIN,
        NONE,
        "play is accepted, metadata and sequence headers come, and no frame",
        |_, model| behave("config-only", model, |to| to.withhold = Withhold::Frames),
    ),
    lasting(Rtmp, "play-empty", Roles::ORIGIN, NONE, "play is accepted and nothing comes", |_, model| {
        behave("play-empty", model, |to| to.withhold = Withhold::Everything)
    }),
    lasting(
        Rtmp,
        "end",
        Roles::ORIGIN,
        &[
            must("ending", Kind::Word(|| list(words::ENDINGS)), "what is said"),
            or("then", Kind::Word(|| list(words::THENS)), "\"silence\"", "what follows"),
        ],
        "live plays are ended",
        |values, _| Fault::End {
            ending: values.pick("ending", words::ENDINGS),
            then: values.pick("then", words::THENS),
        },
    ),
    at_once(
        Rtmp,
        "reconnect-request",
        Roles::ORIGIN,
        &[may("tc_url", Kind::Text, "the tcUrl told; without it the same place")],
        "live plays are told NetConnection.Connect.ReconnectRequest",
        |values, _| Fault::ReconnectRequest { tc_url: values.maybe_text("tc_url") },
    ),
    lasting(
        Publishers,
        "publisher-away",
        Roles::ORIGIN,
        &[
            may("stream", Kind::Stream, "app/stream; without it all"),
            may("back", Kind::Table(&PUBLISHER), "what it sends when it is back; without it the same"),
        ],
        "the publisher leaves; one comes back after `for`",
        |values, model| Fault::PublisherAway {
            stream: values.maybe_text("stream"),
            back: values.table("back").map(|content| publisher::changed(content, model)),
        },
    ),
    lasting(
        Publishers,
        "no-media",
        Roles::ORIGIN,
        &[or("audio", Kind::Switch, "true", "audio stops"), or("video", Kind::Switch, "true", "video stops")],
        "frames stop, all else goes on",
        |values, _| Fault::NoMedia { audio: values.switch("audio"), video: values.switch("video") },
    ),
    lasting(
        Publishers,
        "drip",
        Roles::ORIGIN,
        &[or("gap", SPAN, "\"1s\"", "between frames")],
        "one frame each so often, all else goes on",
        |values, _| Fault::Drip { every: values.time("gap") },
    ),
    lasting(Publishers, "no-keyframes", Roles::ORIGIN, NONE, "no frame is a keyframe", |_, _| {
        Fault::NoKeyframes
    }),
    at_once(
        Publishers,
        "timestamp-jump",
        Roles::ORIGIN,
        &[must("by", Kind::Shift, "by so much, such as \"-1h\"")],
        "the publisher's timestamps move for good",
        |values, _| Fault::TimestampJump { by: values.millis("by") },
    ),
    lasting(
        Names,
        "dns",
        Roles::ANY,
        &[
            must("name", Kind::Text, "which name; a host's too"),
            must("answer", Kind::Word(|| list(words::ANSWERS)), "how it is answered"),
            may("delay", SPAN, "of a slow answer"),
            may("ips", Kind::Ips, "of `addresses`"),
        ],
        "a name is answered differently",
        |values, _| Fault::Dns { name: values.text("name"), answer: answer(values) },
    ),
    at_once(
        Clock,
        "wall-clock",
        Roles::PROXY,
        &[must("by", Kind::Shift, "by so much, such as \"-1h\"")],
        "the wall clock jumps for good",
        |values, _| Fault::WallClock { by: values.millis("by") },
    ),
    lasting(
        Clock,
        "late-timers",
        Roles::PROXY,
        &[must("by", TIME, "by so much")],
        "the proxy's timers fire late, as on a busy machine",
        |values, _| Fault::LateTimers { by: values.time("by") },
    ),
    lasting(
        Clock,
        "no-ports",
        Roles::PROXY,
        NONE,
        "every ephemeral port of the host is in use: dials fail at once",
        |_, _| Fault::NoPorts,
    ),
    lasting(
        Players,
        "slow-reader",
        Roles::PLAYER,
        &[must("rate", Kind::Rate, "bits per second")],
        "players read slowly",
        |values, _| Fault::SlowReader { rate: values.count("rate") / 8 },
    ),
    lasting(Players, "stuck", Roles::PLAYER, NONE, "players read nothing", |_, _| Fault::Stuck),
];

fn answer(values: &Values) -> DnsAnswer {
    match values.text("answer").as_str() {
        "servfail" => DnsAnswer::ServFail,
        "silent" => DnsAnswer::Silent,
        "slow" => DnsAnswer::Slow(values.time("delay")),
        "stale" => DnsAnswer::Stale,
        "addresses" => DnsAnswer::Addresses(values.ips("ips")),
        // `nxdomain`, and what was told as a mistake.
        _ => DnsAnswer::NxDomain,
    }
}
