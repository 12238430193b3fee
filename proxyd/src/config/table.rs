//! Every key we understand, once: parsing, `check-config`, `getServerConfig` and the README's table read it here.
//!
//! Defaults are not written down: they are what [`Settings::default`] holds.

use std::{fmt::Write, net::IpAddr, time::Duration};

use proxy_core::io::BackoffLaw;

use super::{IpRanges, Settings};

/// A setting.
pub struct Key {
    /// The section it stands in.
    pub section: &'static str,
    /// Its name there.
    pub name: &'static str,
    /// Where its value lives and what it may be.
    pub field: Field,
    /// One sentence on what it does, without a full stop.
    pub text: &'static str,
    /// Why its default is what it is, without a full stop.
    pub why: &'static str,
    /// Its value is not shown to people.
    pub hidden: bool,
}

/// Where a value lives in [`Settings`], and which values are allowed (both ends included).
pub enum Field {
    /// A duration written in milliseconds.
    Millis(fn(&mut Settings) -> &mut Duration, (u64, u64)),
    /// A duration written in seconds.
    Seconds(fn(&mut Settings) -> &mut Duration, (u64, u64)),
    /// A size in bytes or a count.
    Size(fn(&mut Settings) -> &mut usize, (u64, u64)),
    /// A smaller count.
    Count(fn(&mut Settings) -> &mut u32, (u64, u64)),
    /// A TCP port, 0 for none.
    Port(fn(&mut Settings) -> &mut u16),
    /// Yes or no.
    Switch(fn(&mut Settings) -> &mut bool),
    /// Any text.
    Text(fn(&mut Settings) -> &mut String),
    /// The retry law.
    Law(fn(&mut Settings) -> &mut Option<BackoffLaw>),
    /// One IP address.
    Address(fn(&mut Settings) -> &mut IpAddr),
    /// IP addresses and ranges.
    Addresses(fn(&mut Settings) -> &mut IpRanges),
}

/// Times that may be as long as one likes: 49 days.
const ANY: (u64, u64) = (0, u32::MAX as u64);
/// Times of an hour at most, for what must end.
const HOUR: (u64, u64) = (10, 3_600_000);
/// Silence shorter than this is how media looks.
const SILENCE: (u64, u64) = (100, 3_600_000);
/// Seconds up to a day.
const DAY_SECONDS: (u64, u64) = (1, 86_400);
/// Sizes of buffers: 1 KiB to 1 GiB.
const BUFFER: (u64, u64) = (1024, 1 << 30);
/// Counts of small things.
const FEW: (u64, u64) = (1, 1024);
/// Counts of large things.
const MANY: (u64, u64) = (1, 1_000_000);

const fn key(
    section: &'static str,
    name: &'static str,
    field: Field,
    text: &'static str,
    why: &'static str,
) -> Key {
    Key { section, name, field, text, why, hidden: false }
}

/// The settings, sections together, in the order in which people look for them.
pub static KEYS: &[Key] = &[
    key(
        "general",
        "listen_ip",
        Field::Address(|s| &mut s.general.listen_ip),
        "address all servers listen on; `::` takes IPv4 too",
        "reachable without a word of configuration, by either IP version",
    ),
    key(
        "general",
        "enableVhost",
        Field::Switch(|s| &mut s.core.play.vhosts),
        "keep virtual hosts apart; otherwise every one is `__defaultVhost__`",
        "ZLMediaKit's; one name for a stream until somebody needs two",
    ),
    key(
        "general",
        "mediaServerId",
        Field::Text(|s| &mut s.general.media_server_id),
        "name told in `getServerConfig`",
        "tells whose answer it is; ZLMediaKit draws one, which would differ after each start",
    ),
    key(
        "general",
        "maxStreamWaitMS",
        Field::Millis(|s| &mut s.core.play.stream_wait, ANY),
        "how long a player waits for a stream that is not there, also past `rtmp.handshakeSecond`",
        "ZLMediaKit's; a restart of an origin fits in, a player's own patience ends about there",
    ),
    key(
        "general",
        "streamNoneReaderDelayMS",
        Field::Millis(|s| &mut s.core.play.none_reader_delay, ANY),
        "how long a stream must be unwatched before that means something",
        "ZLMediaKit's; a player that reconnects does not stop a stream",
    ),
    key(
        "general",
        "resetWhenRePlay",
        Field::Switch(|s| &mut s.core.pull.reset_when_replay),
        "start a stream's context anew at every re-pull; players stay either way",
        "most publishers come back as they were, and joiners keep their headers; ZLMediaKit's 1 cuts viewers",
    ),
    key(
        "general",
        "mergeWriteMS",
        Field::Millis(|s| &mut s.core.play.merge_write, (0, 10_000)),
        "hand frames out at most this often: delay for CPU",
        "ZLMediaKit's; no delay unless asked for",
    ),
    key(
        "general",
        "seed",
        Field::Count(|s| &mut s.general.seed, ANY),
        "what the jitter of retries is drawn from, so that a test draws the same again; 0 takes a new seed at each start",
        "proxies that start together must not dial in step",
    ),
    key(
        "protocol",
        "auto_close",
        Field::Switch(|s| &mut s.core.pull.auto_close),
        "remove streams nobody has watched for `general.streamNoneReaderDelayMS`",
        "ZLMediaKit's; a stream somebody added is wanted until somebody deletes it",
    ),
    key(
        "rtmp",
        "port",
        Field::Port(|s| &mut s.rtmp.port),
        "TCP port for RTMP players; 0 for none",
        "the port players assume",
    ),
    key(
        "rtmp",
        "handshakeSecond",
        Field::Seconds(|s| &mut s.core.play.handshake_timeout, DAY_SECONDS),
        "a player must have asked to play by then",
        "ZLMediaKit's; ample for any player, and scanners do not stay",
    ),
    key(
        "rtmp",
        "keepAliveSecond",
        Field::Seconds(|s| &mut s.core.play.stall_timeout, DAY_SECONDS),
        "a player that takes no byte for this long while some wait is hung up",
        "ZLMediaKit's; longer than a phone changes networks",
    ),
    key(
        "http",
        "port",
        Field::Port(|s| &mut s.http.port),
        "TCP port for API and HTTP-FLV; 0 for none",
        "80 needs root and is often taken",
    ),
    key(
        "http",
        "allow_ip_range",
        Field::Addresses(|s| &mut s.http.allow_ip_range),
        "who may call the API: addresses, `a-b`, CIDR; empty for everybody",
        "ZLMediaKit's: this machine and private networks",
    ),
    key(
        "http",
        "allow_cross_domains",
        Field::Switch(|s| &mut s.http.allow_cross_domains),
        "answer pages of other origins (CORS)",
        "ZLMediaKit's; players in web pages need it, and nothing goes by cookies",
    ),
    key(
        "http",
        "keepAliveSecond",
        Field::Seconds(|s| &mut s.http.keep_alive, DAY_SECONDS),
        "a connection that is idle, or takes no byte while some wait, is hung up after this",
        "ZLMediaKit's; as for RTMP players",
    ),
    key(
        "http",
        "connections_max",
        Field::Size(|s| &mut s.http.connections_max, MANY),
        "HTTP connections at a time, players included",
        "as `limits.players_max`: each may be a player",
    ),
    key(
        "http",
        "maxReqSize",
        Field::Size(|s| &mut s.http.request_bytes_max, (256, 16 << 20)),
        "longest request body, in bytes",
        "ZLMediaKit's; a call takes a few hundred bytes",
    ),
    key(
        "http",
        "request_timeout_ms",
        Field::Millis(|s| &mut s.http.request_timeout, (100, 600_000)),
        "how long a call may take, without the wait of `addStreamProxy` for its origin",
        "calls are answered in milliseconds: what takes longer is a caller that does not send",
    ),
    Key {
        section: "api",
        name: "secret",
        field: Field::Text(|s| &mut s.api.secret.0),
        text: "secret of the API; `REPULL_API_SECRET` wins; empty: made once, kept in `repull.secret`",
        why: "a published default is no secret",
        hidden: true,
    },
    key(
        "api",
        "apiDebug",
        Field::Switch(|s| &mut s.api.debug),
        "log every call and its code",
        "callers poll: their calls would bury what happens",
    ),
    key(
        "api",
        "requests_max",
        Field::Size(|s| &mut s.api.requests_max, (1, 10_000)),
        "calls worked on at the same time",
        "calls never wait for the network, so more at a time is a flood",
    ),
    key(
        "api",
        "adds_max",
        Field::Size(|s| &mut s.api.adds_max, (1, 100_000)),
        "`addStreamProxy` calls waiting for an origin at the same time",
        "they wait for origins, and cost a few kilobytes each",
    ),
    key(
        "pull",
        "resolve_timeout_ms",
        Field::Millis(|s| &mut s.core.pull.resolve_timeout, HOUR),
        "a name lookup may take this long",
        "a resolver that asks twice at one second answers within",
    ),
    key(
        "pull",
        "dial_timeout_ms",
        Field::Millis(|s| &mut s.core.pull.dial_timeout, HOUR),
        "a dial to one address may take this long",
        "one lost SYN is sent again after 1 s and still counts",
    ),
    key(
        "pull",
        "handshake_timeout_ms",
        Field::Millis(|s| &mut s.core.pull.handshake_timeout, HOUR),
        "the RTMP handshake may take this long",
        "two round trips, one of them lost, on a busy origin",
    ),
    key(
        "pull",
        "request_timeout_ms",
        Field::Millis(|s| &mut s.core.pull.request_timeout, HOUR),
        "connect, createStream and play together may take this long",
        "three round trips, one of them lost, on a busy origin",
    ),
    key(
        "pull",
        "replay_timeout_ms",
        Field::Millis(|s| &mut s.core.pull.replay_timeout, HOUR),
        "the answer to a replay on the same connection may take this long",
        "the line is known to be alive: a redial is better than waiting longer",
    ),
    key(
        "pull",
        "stall_timeout_ms",
        Field::Millis(|s| &mut s.core.pull.stall_timeout, SILENCE),
        "silence of all tracks that counts as a stall",
        "ZLMediaKit's; encoders pause for a second or two and go on",
    ),
    key(
        "pull",
        "track_stall_timeout_ms",
        Field::Millis(|s| &mut s.core.pull.track_stall_timeout, SILENCE),
        "silence of one track that counts as a stall",
        "a muted track is not worth an interruption as soon as a dead stream is",
    ),
    key(
        "pull",
        "first_media_timeout_ms",
        Field::Millis(|s| &mut s.core.pull.first_media_timeout, SILENCE),
        "patience with an origin that accepts play, answers no pings and sends no media",
        "above the 15 s for which some origins hold a request",
    ),
    key(
        "pull",
        "reply_timeout_ms",
        Field::Millis(|s| &mut s.core.pull.reply_timeout, SILENCE),
        "how long the reply to `addStreamProxy` may take (its `timeout_sec`)",
        "ZLMediaKit's `timeout_sec`",
    ),
    key(
        "pull",
        "ping_interval_silent_ms",
        Field::Millis(|s| &mut s.core.pull.ping_interval_silent, SILENCE),
        "pings to the origin while no media flows",
        "with `ping_timeout_ms` a dead line is noticed in 3 s, below the stall",
    ),
    key(
        "pull",
        "ping_interval_ms",
        Field::Millis(|s| &mut s.core.pull.ping_interval, SILENCE),
        "pings to the origin while media flows",
        "media shows that the line lives; this learns whether the origin answers pings at all",
    ),
    key(
        "pull",
        "ping_timeout_ms",
        Field::Millis(|s| &mut s.core.pull.ping_timeout, SILENCE),
        "an unanswered ping means a dead transport, where the origin has answered one before",
        "one lost packet is sent again well before",
    ),
    key(
        "pull",
        "lookup_interval_ms",
        Field::Millis(|s| &mut s.core.pull.lookup_interval, SILENCE),
        "lookups of the name while an accepted play brings no media",
        "a publisher that moved is found before a viewer gives up; a lookup costs little",
    ),
    key(
        "pull",
        "resolve_ttl_ms",
        Field::Millis(|s| &mut s.core.pull.resolve_ttl, ANY),
        "how long a lookup may be reused; 0: every one is fresh",
        "a container that moved has another address now; the system's resolver may cache",
    ),
    key(
        "pull",
        "stable_after_ms",
        Field::Millis(|s| &mut s.core.pull.stable_after, ANY),
        "media for this long forgives failures",
        "an origin that gives a frame and hangs up has not recovered",
    ),
    key(
        "pull",
        "law",
        Field::Law(|s| &mut s.core.pull.law),
        "retry law: `repull`, `zlmediakit`, or `auto`: the latter for a finite `retry_count`, so that scripts which give one see the delays they know",
        "for ever means: back at once; a count means: as scripts of ZLMediaKit expect",
    ),
    key(
        "pull",
        "backoff_min_ms",
        Field::Millis(|s| &mut s.core.pull.backoff_min, HOUR),
        "first delay of law `repull`, from start to start",
        "the first retry is nearly free, and most restarts take longer anyway",
    ),
    key(
        "pull",
        "backoff_max_ms",
        Field::Millis(|s| &mut s.core.pull.backoff_max, HOUR),
        "longest delay of law `repull`",
        "media is back a second after the origin; `[dial]` bounds the storm",
    ),
    key(
        "pull",
        "backoff_idle_max_ms",
        Field::Millis(|s| &mut s.core.pull.backoff_idle_max, HOUR),
        "longest delay in a long outage nobody watches",
        "nobody waits, and a player or an add ends the wait",
    ),
    key(
        "pull",
        "backoff_idle_after_ms",
        Field::Millis(|s| &mut s.core.pull.backoff_idle_after, ANY),
        "how long an outage must last for that",
        "longer than a restart takes",
    ),
    key(
        "pull",
        "player_hold_ms",
        Field::Millis(|s| &mut s.core.pull.player_hold, ANY),
        "how long players keep their seats in an outage; 0: they are cut at once",
        "five minutes: longer than most outages, shorter than a forgotten player",
    ),
    key(
        "pull",
        "redirects_max",
        Field::Count(|s| &mut s.core.pull.redirects_max, (0, 100)),
        "redirects followed in a row",
        "to a cluster's node and on; more is a circle",
    ),
    key(
        "pull",
        "rebuild_after",
        Field::Count(|s| &mut s.core.pull.rebuild_after, MANY),
        "redials in a row without a frame before the stream's context starts anew",
        "a stranger may have the address by now: what was cached no longer fits",
    ),
    key(
        "pull",
        "addresses_max",
        Field::Size(|s| &mut s.core.pull.addresses_max, FEW),
        "addresses of one name that are tried",
        "more than any service publishes; bounds an attempt",
    ),
    key(
        "pull",
        "fc_subscribe",
        Field::Switch(|s| &mut s.core.pull.fc_subscribe),
        "send FCSubscribe before play, which some CDNs want",
        "most servers do not know it",
    ),
    key(
        "pull",
        "chunk_streams_max",
        Field::Size(|s| &mut s.core.pull.chunk_limits.chunk_streams_max, FEW),
        "chunk streams an origin may use",
        "servers use under ten, nginx-rtmp takes 32",
    ),
    key(
        "pull",
        "control_bytes_max",
        Field::Count(|s| &mut s.core.pull.chunk_limits.control_bytes_max, (16, 4096)),
        "longest protocol control message of an origin, in bytes",
        "they have 4 to 10",
    ),
    key(
        "pull",
        "command_bytes_max",
        Field::Count(|s| &mut s.core.pull.chunk_limits.command_bytes_max, (1024, 16 << 20)),
        "longest command or metadata of an origin, in bytes",
        "metadata with a cover picture fits",
    ),
    key(
        "pull",
        "media_bytes_max",
        Field::Count(|s| &mut s.core.pull.chunk_limits.media_bytes_max, (65_536, 16 << 20)),
        "largest frame of an origin, in bytes",
        "the longest that RTMP can say; a keyframe of 8K video fits",
    ),
    key(
        "pull",
        "pending_bytes_max",
        Field::Size(|s| &mut s.core.pull.chunk_limits.pending_bytes_max, (65_536, 1 << 30)),
        "unfinished messages of an origin together, in bytes",
        "one largest frame, or many usual ones",
    ),
    key(
        "dial",
        "per_address",
        Field::Count(|s| &mut s.core.dial.per_address, (1, 10_000)),
        "dials per second to one address",
        "an origin that comes back under 500 streams is not beaten down again",
    ),
    key(
        "dial",
        "total",
        Field::Count(|s| &mut s.core.dial.total, (1, 100_000)),
        "dials per second in all",
        "ten addresses at their full rate; a thousand streams within 5 s",
    ),
    key(
        "play",
        "send_bytes_max",
        Field::Size(|s| &mut s.core.play.send_bytes_max, BUFFER),
        "media handed to one connection and not yet taken by its socket, in bytes",
        "a quarter of a second at 8 Mbit/s: the socket is never idle, the backlog stays shared",
    ),
    key(
        "play",
        "control_bytes_max",
        Field::Size(|s| &mut s.core.play.control_bytes_max, BUFFER),
        "answers one player may have waiting beyond that, in bytes; more is a flood",
        "hundreds of answers",
    ),
    key(
        "play",
        "queue_bytes_max",
        Field::Size(|s| &mut s.core.play.queue_bytes_max, BUFFER),
        "backlog beyond which a player skips to the latest keyframe, in bytes; what has come since that may wait as well",
        "16 s at 8 Mbit/s: behind that a picture of now is worth more",
    ),
    key(
        "play",
        "linger_timeout_ms",
        Field::Millis(|s| &mut s.core.play.linger_timeout, (10, 60_000)),
        "how long a closing connection may take to get its bytes out",
        "with the rest, an end within 5 s of SIGTERM",
    ),
    key(
        "play",
        "ask_timeout_ms",
        Field::Millis(|s| &mut s.core.play.ask_timeout, SILENCE),
        "how long a question to the operator's systems may stay open",
        "ZLMediaKit's `hook.timeoutSec`",
    ),
    key(
        "play",
        "message_streams_max",
        Field::Size(|s| &mut s.core.play.streams_max, FEW),
        "message streams one player may create",
        "players use one, some two",
    ),
    key(
        "play",
        "hops_max",
        Field::Count(|s| &mut s.core.play.hops_max, (1, 100)),
        "longest chain of proxies",
        "origin, region, edge, and some; more is a ring",
    ),
    key(
        "play",
        "chunk_streams_max",
        Field::Size(|s| &mut s.core.play.chunk_limits.chunk_streams_max, FEW),
        "chunk streams a player may use",
        "players use under ten, nginx-rtmp takes 32",
    ),
    key(
        "play",
        "command_bytes_max",
        Field::Count(|s| &mut s.core.play.chunk_limits.command_bytes_max, (1024, 1 << 20)),
        "longest command of a player, in bytes",
        "a play with a long token has 2 KB",
    ),
    key(
        "play",
        "pending_bytes_max",
        Field::Size(|s| &mut s.core.play.chunk_limits.pending_bytes_max, (1024, 16 << 20)),
        "unfinished messages of a player together, in bytes",
        "two longest commands",
    ),
    key(
        "relay",
        "log_bytes_max",
        Field::Size(|s| &mut s.core.relay.log_bytes_max, (65_536, 16 << 30)),
        "frames kept for the players of one stream, in bytes",
        "a minute at 8 Mbit/s: above `play.queue_bytes_max`, so that players are shed first",
    ),
    key(
        "relay",
        "gop_bytes_max",
        Field::Size(|s| &mut s.core.relay.gop_bytes_max, (65_536, 16 << 30)),
        "largest group of pictures kept for joiners, in bytes",
        "30 s at 8 Mbit/s; half the log, so that players can still lag",
    ),
    key(
        "relay",
        "gop_frames_max",
        Field::Size(|s| &mut s.core.relay.gop_frames_max, MANY),
        "longest group of pictures kept for joiners, in frames",
        "a minute of 25 pictures and 43 sounds a second",
    ),
    key(
        "relay",
        "headers_max",
        Field::Size(|s| &mut s.core.relay.headers_max, FEW),
        "headers and configurations kept for joiners",
        "two for each of 32 tracks",
    ),
    key(
        "relay",
        "chunk_size",
        Field::Count(|s| &mut s.core.relay.chunk_size, (128, 0xff_ffff)),
        "chunk size towards players, in bytes",
        "ZLMediaKit's and SRS's; nearly every frame is one chunk, and nginx-rtmp takes it",
    ),
    key(
        "relay",
        "backward_max_ms",
        Field::Millis(|s| &mut s.core.relay.backward_max, HOUR),
        "a timestamp that steps back further, at once or again and again, begins an epoch",
        "more than frames out of order, less than a restart of the clock",
    ),
    key(
        "relay",
        "forward_max_ms",
        Field::Millis(|s| &mut s.core.relay.forward_max, HOUR),
        "a timestamp that steps forward further begins an epoch",
        "a gap in one clock may be that long, hardly longer",
    ),
    key(
        "limits",
        "streams_max",
        Field::Size(|s| &mut s.core.limits.streams_max, MANY),
        "registered streams",
        "below a hundred megabytes while none of them plays",
    ),
    key(
        "limits",
        "players_max",
        Field::Size(|s| &mut s.core.limits.players_max, MANY),
        "player connections of all kinds",
        "what a machine's network carries, with room",
    ),
    key(
        "limits",
        "waiters_max",
        Field::Size(|s| &mut s.core.limits.waiters_max, MANY),
        "`addStreamProxy` calls waiting for one stream",
        "one caller is usual; scripts that repeat themselves get an answer",
    ),
    key(
        "log",
        "filter",
        Field::Text(|s| &mut s.log.filter),
        "what is logged: error, warn, info, debug, trace, or a filter; `--log` and `REPULL_LOG` win",
        "every change with its cause, nothing per frame",
    ),
    key(
        "log",
        "lines_per_minute",
        Field::Count(|s| &mut s.log.lines_per_minute, (1, 100_000)),
        "log lines per stream and minute; what is left out is counted",
        "a flapping stream is told in full, and does not fill a disk",
    ),
];

impl Key {
    /// Returns `section.name`.
    pub fn path(&self) -> String {
        format!("{}.{}", self.section, self.name)
    }
}

impl Field {
    /// Returns the value as text, as a file would say it without quotes.
    pub fn show(&self, settings: &Settings) -> String {
        // The accessors are written once, for writing; reading goes through a copy.
        let settings = &mut settings.clone();
        match self {
            Self::Millis(at, _) => at(settings).as_millis().to_string(),
            Self::Seconds(at, _) => at(settings).as_secs().to_string(),
            Self::Size(at, _) => at(settings).to_string(),
            Self::Count(at, _) => at(settings).to_string(),
            Self::Port(at) => at(settings).to_string(),
            Self::Switch(at) => u8::from(*at(settings)).to_string(),
            Self::Text(at) => at(settings).clone(),
            Self::Law(at) => at(settings).map_or(AUTO, law_name).to_owned(),
            Self::Address(at) => at(settings).to_string(),
            Self::Addresses(at) => at(settings).to_string(),
        }
    }

    /// Sets the value from text.
    ///
    /// # Errors
    /// Says what is wrong with the text and what is allowed.
    pub fn set(&self, settings: &mut Settings, text: &str) -> Result<(), String> {
        match self {
            Self::Millis(at, range) => *at(settings) = Duration::from_millis(parse_whole(text, *range)?),
            Self::Seconds(at, range) => *at(settings) = Duration::from_secs(parse_whole(text, *range)?),
            Self::Size(at, range) => *at(settings) = narrow(parse_whole(text, *range)?)?,
            Self::Count(at, range) => *at(settings) = narrow(parse_whole(text, *range)?)?,
            Self::Port(at) => *at(settings) = narrow(parse_whole(text, (0, u64::from(u16::MAX)))?)?,
            Self::Switch(at) => *at(settings) = parse_switch(text)?,
            Self::Text(at) => text.clone_into(at(settings)),
            Self::Law(at) if text.eq_ignore_ascii_case(AUTO) => *at(settings) = None,
            Self::Law(at) => {
                let law = parse_law(text).map_err(|error| format!("{error}, {AUTO}"))?;
                *at(settings) = Some(law);
            }
            Self::Address(at) => {
                *at(settings) = text.parse().map_err(|_| format!("\"{text}\" is no IP address"))?;
            }
            Self::Addresses(at) => *at(settings) = IpRanges::parse(text)?,
        }
        Ok(())
    }

    /// Returns what is allowed, for the table of defaults.
    pub fn allowed(&self) -> String {
        match self {
            Self::Millis(_, range) => format!("{} to {} ms", range.0, range.1),
            Self::Seconds(_, range) => format!("{} to {} s", range.0, range.1),
            Self::Size(_, range) => format!("{} to {}", range.0, range.1),
            Self::Count(_, range) => format!("{} to {}", range.0, range.1),
            Self::Port(_) => format!("0 to {}", u16::MAX),
            Self::Switch(_) => "0, 1".to_owned(),
            Self::Text(_) => "text".to_owned(),
            Self::Law(_) => "repull, zlmediakit, auto".to_owned(),
            Self::Address(_) => "IP address".to_owned(),
            Self::Addresses(_) => "IP addresses".to_owned(),
        }
    }

    fn is_quoted(&self) -> bool {
        matches!(self, Self::Text(_) | Self::Law(_) | Self::Address(_) | Self::Addresses(_))
    }
}

/// Returns the table of defaults in Markdown.
pub fn defaults_markdown() -> String {
    let defaults = Settings::default();
    let mut out =
        "| setting | default | allowed | meaning | why this default |\n|---|---|---|---|---|\n".to_owned();
    for key in KEYS {
        let value = match key.field.show(&defaults) {
            empty if empty.is_empty() => String::new(),
            value => format!("`{value}`"),
        };
        let (path, allowed) = (key.path(), key.field.allowed());
        writeln!(out, "| `{path}` | {value} | {allowed} | {} | {} |", key.text, key.why)
            .expect("a String takes everything");
    }
    out
}

/// Returns a configuration file that says every default, with a comment on each.
pub fn defaults_toml() -> String {
    let defaults = Settings::default();
    let mut out = "# Every setting of repull with its default. Keep what you change.\n".to_owned();
    let mut section = "";
    for key in KEYS {
        if key.section != section {
            section = key.section;
            write!(out, "\n[{section}]\n").expect("a String takes everything");
        }
        let value = key.field.show(&defaults);
        let quote = if key.field.is_quoted() { "\"" } else { "" };
        let (name, allowed) = (key.name, key.field.allowed());
        writeln!(out, "# {} ({allowed})\n# Why: {}\n{name} = {quote}{value}{quote}", key.text, key.why)
            .expect("a String takes everything");
    }
    out
}

/// The retry law that follows from `retry_count`.
const AUTO: &str = "auto";

/// Returns the name of a retry law in files and calls.
pub(super) fn law_name(law: BackoffLaw) -> &'static str {
    match law {
        BackoffLaw::Repull => "repull",
        BackoffLaw::ZlMediaKit => "zlmediakit",
    }
}

pub(super) fn parse_law(text: &str) -> Result<BackoffLaw, String> {
    match text.to_ascii_lowercase().as_str() {
        "repull" => Ok(BackoffLaw::Repull),
        "zlmediakit" => Ok(BackoffLaw::ZlMediaKit),
        _ => Err(format!("\"{text}\" is no retry law; allowed: repull, zlmediakit")),
    }
}

/// ZLMediaKit writes 0 and 1, TOML true and false: both count.
pub(super) fn parse_switch(text: &str) -> Result<bool, String> {
    match text.trim().to_ascii_lowercase().as_str() {
        "1" | "true" => Ok(true),
        "0" | "false" => Ok(false),
        _ => Err(format!("\"{text}\" is neither yes nor no; allowed: 0, 1, false, true")),
    }
}

pub(super) fn parse_whole(text: &str, (min, max): (u64, u64)) -> Result<u64, String> {
    let number: i128 =
        text.trim().parse().map_err(|_| format!("\"{text}\" is no whole number; allowed: {min} to {max}"))?;
    match u64::try_from(number) {
        Ok(number) if (min..=max).contains(&number) => Ok(number),
        _ => Err(format!("{number} is out of range; allowed: {min} to {max}")),
    }
}

fn narrow<T: TryFrom<u64>>(number: u64) -> Result<T, String> {
    T::try_from(number).map_err(|_| format!("{number} is out of range on this machine"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_is_allowed_and_survives_its_own_text() {
        for key in KEYS {
            let mut settings = Settings::default();
            let text = key.field.show(&settings);
            key.field.set(&mut settings, &text).unwrap_or_else(|error| panic!("{}: {error}", key.path()));
            assert_eq!(settings, Settings::default(), "{}", key.path());
        }
    }

    #[test]
    fn every_key_reaches_a_field_of_its_own() {
        for key in KEYS {
            let mut settings = Settings::default();
            let default = key.field.show(&settings);
            let other = match &key.field {
                Field::Millis(_, range) | Field::Seconds(_, range) => range.0 + 1,
                Field::Size(_, range) | Field::Count(_, range) => range.0 + 1,
                Field::Port(_) => 7,
                Field::Switch(_) => u64::from(default == "0"),
                Field::Text(_) | Field::Law(_) | Field::Address(_) | Field::Addresses(_) => continue,
            };
            let other = if default == other.to_string() { other + 1 } else { other };
            key.field.set(&mut settings, &other.to_string()).expect("inside the range");
            let changed: Vec<_> = settings.changed().into_iter().map(|(name, ..)| name).collect();
            assert_eq!(changed, [key.path()]);
        }
    }

    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> = KEYS.iter().map(Key::path).collect();
        names.sort();
        let len = names.len();
        names.dedup();
        assert_eq!(names.len(), len);
    }
}
