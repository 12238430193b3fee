//! The form itself: every table and key but the faults' own.

use super::{
    faults,
    form::{Form, Key, Kind, Roles, SPAN, TIME, may, must, or},
    marks, planted,
    words::{self, list},
};

/// TCP ports.
const PORT: Kind = Kind::Whole(1, 65_535);

pub(crate) static ROOT: Form = Form {
    place: "the file",
    text: "A scenario: the story in a comment, who there is, what happens, what must hold",
    groups: &[&[
        must("schema", Kind::Whole(1, 1), "the form's version: 1"),
        must("id", Kind::Text, "the file's name without .toml"),
        must("title", Kind::Text, "what must hold, in a sentence"),
        or("refs", Kind::Texts, "[]", "the reports it comes from, such as ZLMediaKit#3810"),
        may(
            "defects",
            Kind::WordList(planted::defects),
            "planted defects that must make it fail; without it none",
        ),
        must("run", Kind::Table(&RUN), "how it is run"),
        may("net", Kind::Named(&[&NET]), "networks; without any there is docker0 with Docker's defaults"),
        must("host", Kind::Named(&[&ORIGIN, &PROXY, &PLAYER]), "hosts; each has its name in the DNS"),
        may("name", Kind::Named(&[&NAME]), "further names in the DNS"),
        may("pull", Kind::Named(&[&PULL]), "arguments of addStreamProxy that events share"),
        must("timeline", Kind::Table(&TIMELINE), "what happens"),
        may(
            "expect",
            Kind::Entries(|| EXPECTS.to_vec()),
            "what must hold beside the promises that always do",
        ),
        may("swarm", Kind::Table(&SWARM), "what `repull-sim explore FILE` adds to this world and story"),
    ]],
};

pub(crate) static SWARM: Form = Form {
    place: "[swarm]",
    text: "What a search adds to this file's world and story, another choice for each seed",
    groups: &[&[
        may(
            "faults",
            Kind::WordList(faults::names),
            "kinds of faults; without it every kind that fits a host",
        ),
        or("on", Kind::Hosts(Roles::ANY), "[]", "hosts they happen to; without it all"),
        or("at_least", Kind::Whole(0, 100), "1", "faults in a run, at least"),
        or("at_most", Kind::Whole(1, 100), "4", "faults in a run, at most"),
        may("between", Kind::Span, "when they begin: { min, max }; without it at any time of the run"),
        or("lasts", Kind::Span, "{ min = \"50ms\", max = \"8s\" }", "how long they last"),
        may(
            "calls",
            Kind::WordList(|| list(words::MEDDLINGS)),
            "what operators do beside the story; without it nothing",
        ),
        may("knobs", Kind::WordList(|| list(words::KNOBS)), "what of the world varies; without it nothing"),
    ]],
};

pub(crate) static RUN: Form = Form {
    place: "[run]",
    text: "How it is run",
    groups: &[&[
        must("for", SPAN, "virtual time; what is broken then is lifted for good, and recovery is judged"),
        or("seeds", Kind::Wholes, "[1]", "the seeds run without --seed"),
        or("planes", Kind::WordList(|| list(words::PLANES)), "[\"core\"]", "where it can run"),
        may("why_not", Kind::Text, "why the other planes cannot, for readers"),
    ]],
};

pub(crate) static NET: Form = Form {
    place: "[net.NAME]",
    text: "A network: a bridge on the one machine all hosts live on",
    groups: &[&[
        or("kind", Kind::Word(|| list(KINDS)), "\"docker-bridge\"", "what it is"),
        or("subnet", Kind::Subnet, "\"172.17.0.0/16\"", "its addresses"),
        may("gateway", Kind::Ip, "the machine's address on it; without it the first of the subnet"),
        or(
            "ipv6",
            Kind::Switch,
            "false",
            "each host has an IPv6 address too, its other one at the end of fd00::/96; names have both, IPv6 first",
        ),
        or(
            "latency",
            Kind::Span,
            "{ min = \"40us\", max = \"400us\" }",
            "of each host's link, one way: a time, or { min, max }",
        ),
        or("loss", Kind::Share, "\"0 %\"", "packets lost on each link"),
        or("duplicate", Kind::Share, "\"0 %\"", "packets that come twice"),
        or("reorder", Kind::Share, "\"0 %\"", "packets that are overtaken"),
        may("bandwidth", Kind::Rate, "of each host's link; without it there is no limit"),
        or("mtu", Kind::Whole(576, 65_535), "1500", "largest packet, in bytes"),
        or("on_stop", Kind::Table(&ON_STOP), "{}", "what is left behind when a host goes"),
        may(
            "conntrack_timeout",
            SPAN,
            "the machine forgets an idle flow after it, of any network; without it never",
        ),
    ]],
};

/// Kinds of networks; the value tells whether it is Docker's.
pub(crate) const KINDS: words::Table<bool> =
    &[("docker-bridge", true, "masquerades what leaves it, publishes ports"), ("bridge", false, "routes")];

/// What happens to neighbour entries; the value tells whether they go stale.
pub(crate) const NEIGHBOURS: words::Table<bool> = &[
    ("stale", true, "point to the old interface until they are probed"),
    ("flushed", false, "are forgotten at once"),
];

/// What happens to connection tracking; the value tells whether it is kept.
pub(crate) const CONNTRACK: words::Table<bool> =
    &[("keep", true, "keeps its flows"), ("drop", false, "forgets them")];

pub(crate) static ON_STOP: Form = Form {
    place: "on_stop",
    text: "What is left behind when a host goes",
    groups: &[&[
        or("neighbours", Kind::Word(|| list(NEIGHBOURS)), "\"stale\"", "neighbour entries"),
        or("conntrack", Kind::Word(|| list(CONNTRACK)), "\"keep\"", "connection tracking"),
        or("reassign_ip", Kind::Switch, "true", "an address left with `ip = \"new\"` is free for the next"),
    ]],
};

const HOST_KEYS: &[Key] = &[
    must("role", Kind::Word(|| ROLES.to_vec()), "what it runs"),
    may("net", Kind::Net, "its network; may be left out if there is one"),
    may("ip", Kind::Ip, "its address, of several alike the first one's; without it a free one"),
];

const PUBLISHED: &[Key] =
    &[may("publish", Kind::Table(&PUBLISH), "a port published on the machine's addresses")];

/// Roles of hosts.
pub(crate) const ROLES: &[(&str, &str)] = &[
    ("origin", "an RTMP origin with publishers"),
    ("proxy", "the proxy under test"),
    ("player", "players, each with a network namespace of its own"),
];

pub(crate) static ORIGIN: Form = Form {
    place: "[host.NAME] (origin)",
    text: "An RTMP origin and its publishers; up and publishing at 0s",
    groups: &[HOST_KEYS, PUBLISHED, &[must("model", Kind::Table(&MODEL), "what it is like")]],
};

pub(crate) static PROXY: Form = Form {
    place: "[host.NAME] (proxy)",
    text: "The proxy under test",
    groups: &[
        HOST_KEYS,
        PUBLISHED,
        &[or("config", Kind::Config, "{}", "exactly the keys of repull.toml, [[proxy]] entries too")],
    ],
};

pub(crate) static PLAYER: Form = Form {
    place: "[host.NAME] (player)",
    text: "Players alike",
    groups: &[
        HOST_KEYS,
        &[
            or("count", Kind::Whole(1, 5000), "1", "how many alike"),
            or("model", Kind::Table(&PLAYER_MODEL), "{}", "what they are like"),
        ],
    ],
};

pub(crate) static PLAYER_MODEL: Form = Form {
    place: "model of a player",
    text: "What players are like",
    groups: &[&[
        may("retry", TIME, "dials again so long after a lost connection; without it never"),
        may("read_rate", Kind::Rate, "reads at most so fast; without it as fast as can be"),
    ]],
};

pub(crate) static PUBLISH: Form = Form {
    place: "publish",
    text: "A published port",
    groups: &[&[
        or("port", PORT, "1935", "on the machine and in the container"),
        or("via", Kind::Word(|| list(words::VIAS)), "\"dnat\"", "how"),
    ]],
};

pub(crate) static MODEL: Form = Form {
    place: "model of an origin",
    text: "What an origin and its publishers are like",
    groups: &[SOFTWARE, CONTENT, BEHAVIOUR],
};

const SOFTWARE: &[Key] = &[
    or("like", Kind::Word(words::likes), "\"srs-6\"", "the software it behaves like"),
    must("stream", Kind::Streams, "app/stream published, or a list; cam{1..500} counts"),
    or("port", PORT, "1935", "where it listens"),
    or(
        "backlog",
        Kind::Whole(0, 65_535),
        "128",
        "its kernel takes one dial more than this that it has not taken up; beyond, SYNs are dropped",
    ),
    or("boot", TIME, "\"1s\"", "from a restart to listening"),
    or("first_frame", TIME, "\"2s\"", "from a restart to its publishers' first frame"),
    or("published", Kind::Switch, "true", "its publishers are there at 0s"),
    or("up", Kind::Switch, "true", "it is up at 0s; otherwise a `start` event begins it"),
];

const CONTENT: &[Key] = &[
    may("video", Kind::Codec(|| list(words::VIDEO)), "false, or the codec; avc"),
    may("fps", Kind::Whole(1, 1000), "frames per second; 5"),
    may("gop", Kind::Gop, "from keyframe to keyframe, a time or frames; 1s"),
    may("size", Kind::Size, "picture size; 64x48"),
    may("bytes", Kind::FrameBytes, "least bytes of keyframes and others, [key, other]; [64, 64]"),
    may(
        "skip",
        Kind::Whole(0, 100_000),
        "frames left out at the beginning: it begins in the middle of a GOP; 0",
    ),
    may("video_until", SPAN, "no video from this media time on"),
    may("resize", Kind::Table(&RESIZE), "another picture size from a keyframe on"),
    may(
        "cues",
        Kind::Switch,
        "each keyframe is followed by a data message, onCuePoint, and a video command, that players must get; false",
    ),
    may("audio", Kind::Codec(|| list(words::AUDIO)), "false, true (aac-stereo) or the codec; false"),
    may("audio_bytes", Kind::Whole(0, 1_000_000), "least bytes of an audio frame; 64"),
    may("audio_period", SPAN, "from audio frame to audio frame; 1,024 samples at 44.1 kHz"),
    may("audio_from", TIME, "the first audio comes at this media time"),
    may("audio_until", SPAN, "no audio from this media time on"),
    may("payload", Kind::Word(|| list(words::PAYLOADS)), "what frames are made of; stub"),
    may("clock", Kind::Whole(0, 0xffff_ffff), "the first timestamp, in ms; 0xFFFFFF is where it extends"),
    may("mask31", Kind::Switch, "only 31 bits of it are sent, as SRS does"),
    may("jump", Kind::Table(&JUMP), "all timestamps move once"),
    may("drift", Kind::Shift, "its clock gains so much a second, such as \"-5ms\"; 0ms"),
];

pub(crate) static RESIZE: Form = Form {
    place: "resize",
    text: "Another picture size",
    groups: &[&[
        must("at", TIME, "with the first keyframe at or after this media time"),
        must("size", Kind::Size, "the new size"),
    ]],
};

pub(crate) static JUMP: Form = Form {
    place: "jump",
    text: "A jump of timestamps",
    groups: &[&[
        must("at", TIME, "at this media time"),
        must("by", Kind::Shift, "by so much, such as \"-1h\""),
    ]],
};

const BEHAVIOUR: &[Key] = &[
    may("handshake", Kind::Word(|| list(words::HANDSHAKES)), "how C2 is looked at"),
    may("missing", Kind::Word(|| list(words::MISSING)), "the answer to play of a stream nobody publishes"),
    may("missing_after", TIME, "how long a publisher is waited for before not-found"),
    may(
        "unpublish",
        Kind::Word(|| list(words::UNPUBLISH)),
        "what players are told when the publisher leaves",
    ),
    may("second_play", Kind::Word(|| list(words::SECOND_PLAY)), "the answer to another play on a connection"),
    may("command_delay", TIME, "every command is taken up so late"),
    may("pings", Kind::Switch, "answers PingRequest"),
    may("ping_every", SPAN, "sends PingRequest itself"),
    may("gop_cache", Kind::Switch, "joiners get the GOP under way first"),
    may("media_before_start", Kind::Switch, "metadata and media go out before Play.Start"),
    may("metadata", Kind::Word(|| list(words::METADATA)), "how metadata is sent"),
    may("window", Kind::Whole(1, 0x7fff_ffff), "acknowledgement window asked for, in bytes"),
    may("stops_unacknowledged", Kind::Switch, "stops sending when more than two windows are unacknowledged"),
    may("shutdown", Kind::Word(shutdowns), "what players are told when the process is told to end"),
    may("csids", Kind::Word(|| list(words::CSIDS)), "chunk streams of data, audio and video"),
    may("chunk_size", Kind::Whole(1, 0xff_ffff), "of what it sends, in bytes"),
    may("headers", Kind::Word(|| list(words::HEADERS)), "how chunk headers are written"),
    may(
        "extended_in_continuations",
        Kind::Switch,
        "repeats the extended timestamp in format 3 chunks, as the specification says",
    ),
    may("interleave", Kind::Switch, "mixes the chunks of messages due together"),
    may("aggregate", Kind::Switch, "packs audio and video due together into aggregates"),
];

/// Words, and the endings that can be told.
fn shutdowns() -> Vec<(&'static str, &'static str)> {
    let endings = list(words::ENDINGS).into_iter().filter(|(word, _)| *word != "silent");
    list(words::SHUTDOWNS).into_iter().chain(endings).collect()
}

pub(crate) static PUBLISHER: Form = Form {
    place: "what a publisher sends",
    text: "What a publisher sends; what is left out is as in the origin's model, without its one-off changes",
    groups: &[CONTENT],
};

pub(crate) static NAME: Form = Form {
    place: "[name.NAME]",
    text: "A name in the DNS beside the hosts' own",
    groups: &[&[
        or("hosts", Kind::Hosts(Roles::ANY), "[]", "whose addresses it has; follows them when they move"),
        or("ips", Kind::Ips, "[]", "further addresses"),
        or("ttl", TIME, "\"0s\"", "how old an answer may be"),
        or("missing", Kind::Switch, "false", "there is no such name, and that is meant"),
    ]],
};

pub(crate) static PULL: Form = Form {
    place: "[pull.NAME]",
    text: "Arguments of addStreamProxy; options of repull's [[proxy]] stand beside these",
    groups: &[&[
        must("app", Kind::Text, "the application"),
        must("stream", Kind::Text, "the stream; {n} counts if there are several"),
        must("url", Kind::Text, "the origin's url; {n} counts if there are several"),
        or("count", Kind::Whole(1, 5000), "1", "how many alike"),
        or("args", Kind::Args, "{}", "arguments that are no options of ours, passed on as they are"),
    ]],
};

pub(crate) static TIMELINE: Form = Form {
    place: "[timeline]",
    text: "What happens",
    groups: &[&[must("events", Kind::Entries(event_forms), "one event per line, in the order of the story")]],
};

const EVENT_KEYS: &[Key] = &[
    must("at", Kind::Moment, "when: \"10s\", \"+3s\" after the event above, \"f1.cleared + 3s\""),
    may("as", Kind::Text, "a name others refer to it by"),
];

const EVERY: &[Key] = &[may("every", SPAN, "again after this long, until the run's time is over")];

const ON_PROXY: &[Key] =
    &[may("on", Kind::Host(Roles::PROXY), "at this proxy; may be left out if there is one")];
const ON_ORIGIN: &[Key] =
    &[may("on", Kind::Host(Roles::ORIGIN), "at this origin; may be left out if there is one")];
const ON_PLAYER: &[Key] =
    &[may("on", Kind::Host(Roles::PLAYER), "these players; may be left out if there is one group")];

const CALL_KEYS: &[Key] = &[
    or("args", Kind::Args, "{}", "arguments beside or instead of the pull's"),
    or("reply", Kind::Table(&REPLY), "{}", "what the reply must be"),
];

pub(crate) static REPLY: Form = Form {
    place: "reply",
    text: "What a reply must be",
    groups: &[&[
        may("code", Kind::Whole(-100_000, 100_000), "code"),
        may("msg", Kind::Text, "a part of msg"),
        may("refusal", Kind::Word(|| list(words::REFUSALS)), "when a refusal is allowed"),
        may("within", SPAN, "it must come within this time"),
        may("streams", Kind::Streams, "app/stream of every stream a list holds, no more and no less"),
        or("fields", Kind::Args, "{}", "values in the JSON, such as { \"data.state\" = \"streaming\" }"),
    ]],
};

macro_rules! call {
    ($form:ident, $word:literal, $text:literal, $key:literal) => {
        pub(crate) static $form: Form = Form {
            place: concat!("the event `", $word, "`"),
            text: $text,
            groups: &[EVENT_KEYS, EVERY, ON_PROXY, &[must($word, Kind::Pull, $key)], CALL_KEYS],
        };
    };
}

call!(ADD, "add", "An operator calls addStreamProxy", "this pull; of several alike a call each");
call!(DEL, "del", "An operator calls delStreamProxy", "this pull's key");
call!(CLOSE, "close", "An operator calls close_streams", "this pull's stream");
call!(UPDATE, "update", "An operator calls updateStreamProxy", "this pull's key; `args` say what changes");

pub(crate) static API: Form = Form {
    place: "the event `api`",
    text: "An operator calls the API",
    groups: &[
        EVENT_KEYS,
        EVERY,
        ON_PROXY,
        &[
            must("api", Kind::Call, "this call"),
            may("pull", Kind::Pull, "the pull whose arguments it takes, if it is about one"),
        ],
        CALL_KEYS,
    ],
};

pub(crate) static REPAIR: Form = Form {
    place: "the event `repair`",
    text: "A script looks each `every` whether the stream is online, and adds it if it is not",
    groups: &[
        EVENT_KEYS,
        &[must("every", SPAN, "how often it looks")],
        ON_PROXY,
        &[
            must("repair", Kind::Pull, "what it wants"),
            or("closes", Kind::Switch, "false", "close_streams before it adds"),
        ],
    ],
};

pub(crate) static PLAY: Form = Form {
    place: "the event `play`",
    text: "Players begin to play",
    groups: &[
        EVENT_KEYS,
        EVERY,
        ON_PLAYER,
        &[
            must(
                "play",
                Kind::PullOrStream,
                "a pull's stream, or app/stream; with {n} each player of the group plays its own",
            ),
            or(
                "via",
                Kind::WordList(|| list(words::OUTPUTS)),
                "[\"rtmp\"]",
                "outputs; of several each player plays all",
            ),
            may("from", Kind::Host(Roles::SERVER), "at this proxy or origin; without it at the only proxy"),
        ],
    ],
};

pub(crate) static LEAVE: Form = Form {
    place: "the event `leave`",
    text: "Players leave",
    groups: &[EVENT_KEYS, EVERY, ON_PLAYER, &[must("leave", Kind::Word(|| list(words::LEAVES)), "how")]],
};

pub(crate) static PUBLISH_EVENT: Form = Form {
    place: "the event `publish`",
    text: "A publisher comes, or comes with something else",
    groups: &[
        EVENT_KEYS,
        EVERY,
        ON_ORIGIN,
        &[
            must("publish", Kind::Stream, "app/stream, or all"),
            may("with", Kind::Table(&PUBLISHER), "what it sends; without it what the model says"),
            or("silently", Kind::Switch, "false", "the old publisher's leaving is not told"),
        ],
    ],
};

pub(crate) static START: Form = Form {
    place: "the event `start`",
    text: "An origin starts that was not up",
    groups: &[EVENT_KEYS, ON_ORIGIN, &[must("start", Kind::Switch, "true")]],
};

const FAULT_KEYS: &[Key] = &[must("fault", Kind::Word(faults::names), "what goes wrong")];

/// What every fault has.
pub(crate) static FAULT: Form = Form {
    place: "the event `fault`",
    text: "Something goes wrong; each fault has keys of its own",
    groups: &[
        EVENT_KEYS,
        EVERY,
        &[
            may("on", Kind::Host(Roles::ANY), "where"),
            may("for", TIME, "lifted after this time; without it when the run's time is over"),
        ],
        FAULT_KEYS,
    ],
};

/// The events that are no faults.
pub(crate) static VERBS: &[(&str, &Form)] = &[
    ("add", &ADD),
    ("del", &DEL),
    ("close", &CLOSE),
    ("update", &UPDATE),
    ("api", &API),
    ("repair", &REPAIR),
    ("play", &PLAY),
    ("leave", &LEAVE),
    ("publish", &PUBLISH_EVENT),
    ("start", &START),
];

fn event_forms() -> Vec<&'static Form> {
    VERBS.iter().map(|(_, form)| *form).chain([&FAULT]).collect()
}

const WHICH_PULL: &[Key] = &[may("pull", Kind::Pull, "which pull; may be left out if there is one")];
const AFTER: &[Key] = &[must("after", Kind::Moment, "from when on")];
const AT_MOST: &[Key] = &[may("at_most", SPAN, "within this time; without it before the run's time is over")];

pub(crate) static FRAMES_AT: Form = Form {
    place: "[[expect]] frames_at",
    text: "Players get frames, on each output they asked for",
    groups: &[
        &[must("frames_at", Kind::Hosts(Roles::PLAYER), "which players")],
        AFTER,
        &[
            may("at_most", SPAN, "the first one within this time; the computed bound holds as well"),
            may("max_gap", SPAN, "from the first one on no longer silence"),
            may("until", Kind::Moment, "until when; without it the end"),
        ],
    ],
};

const FROM_UNTIL: &[Key] =
    &[or("from", Kind::Moment, "\"0s\"", "from when on"), or("until", Kind::Moment, "\"end\"", "until when")];

pub(crate) static NEVER: Form = Form {
    place: "[[expect]] never",
    text: "Something does not happen",
    groups: &[
        &[
            must("never", Kind::Word(|| list(words::NEVERS)), "what"),
            or("players", Kind::Hosts(Roles::PLAYER), "[]", "to which players; without it to any"),
            or("pulls", Kind::Pulls, "[]", "of which pulls; without it of any"),
        ],
        FROM_UNTIL,
    ],
};

pub(crate) static TOLD: Form = Form {
    place: "[[expect]] told",
    text: "Players are told something",
    groups: &[
        &[
            must(
                "told",
                Kind::Word(|| list(words::TOLD)),
                "an onStatus code, a user control event, an HTTP status",
            ),
            must("players", Kind::Hosts(Roles::PLAYER), "which players"),
        ],
        AFTER,
        AT_MOST,
    ],
};

pub(crate) static DIALS: Form = Form {
    place: "[[expect]] dials",
    text: "The proxies dial so often",
    groups: &[
        &[
            must("dials", Kind::Text, "the host dialled, or any"),
            may("at_least", Kind::Whole(0, 1_000_000), "dials at least"),
            may("at_most", Kind::Whole(0, 1_000_000), "dials at most"),
        ],
        FROM_UNTIL,
    ],
};

pub(crate) static ENTERED: Form = Form {
    place: "[[expect]] entered",
    text: "A pull enters a state",
    groups: &[
        &[must("entered", Kind::Word(|| list(words::STATES)), "the state")],
        WHICH_PULL,
        AFTER,
        AT_MOST,
    ],
};

pub(crate) static REMOVED: Form = Form {
    place: "[[expect]] removed",
    text: "A pull is no longer registered",
    groups: &[&[must("removed", Kind::Pull, "which pull")], AFTER, AT_MOST],
};

pub(crate) static NOTICED_BY: Form = Form {
    place: "[[expect]] noticed_by",
    text: "A loss is noticed by this layer and no other",
    groups: &[
        &[must("noticed_by", Kind::Word(|| list(words::LAYERS)), "the layer")],
        WHICH_PULL,
        AFTER,
        AT_MOST,
    ],
};

pub(crate) static RECOVERED_BY: Form = Form {
    place: "[[expect]] recovered_by",
    text: "A pull recovers by this level and no higher one",
    groups: &[&[must("recovered_by", Kind::Word(|| list(words::LEVELS)), "the level")], WHICH_PULL, AFTER],
};

pub(crate) static MARKS: Form = Form {
    place: "[[expect]] marks",
    text: "The run reaches these marks",
    groups: &[&[must("marks", Kind::WordList(|| marks::MARKS.to_vec()), "which")]],
};

/// Everything that can be expected; the first key of each names it.
pub(crate) static EXPECTS: &[&Form] =
    &[&FRAMES_AT, &NEVER, &TOLD, &DIALS, &ENTERED, &REMOVED, &NOTICED_BY, &RECOVERED_BY, &MARKS];

/// Returns every table of the form.
pub(crate) fn all() -> impl Iterator<Item = &'static Form> {
    static TABLES: &[&Form] = &[
        &ROOT,
        &RUN,
        &NET,
        &ON_STOP,
        &ORIGIN,
        &PROXY,
        &PLAYER,
        &PUBLISH,
        &MODEL,
        &PLAYER_MODEL,
        &RESIZE,
        &JUMP,
        &PUBLISHER,
        &NAME,
        &PULL,
        &TIMELINE,
        &REPLY,
        &FAULT,
        &SWARM,
    ];
    let verbs = VERBS.iter().map(|(_, form)| form);
    TABLES.iter().chain(verbs).chain(EXPECTS).copied()
}
