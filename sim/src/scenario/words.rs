//! The words of the form that stand for variants, each with a sentence.

use proxy_core::io::{PlayOutput, PullState};

use super::model::{
    AddressTaken, CutBy, Direction, Ending, Family, Knob, Layer, LeaveBy, Level, Meddling, Never,
    PartitionHow, Plane, PublishVia, Then,
};
use crate::{
    origin::{Csids, Like, MetadataStyle, Payload, SecondPlay, Unpublish},
    raw::{
        chunk::Headers,
        media::{AudioCodec, VideoCodec},
    },
};

/// Words, what each stands for, and a sentence.
pub(crate) type Table<T> = &'static [(&'static str, T, &'static str)];

/// Returns words and sentences.
pub(crate) fn list<T>(table: Table<T>) -> Vec<(&'static str, &'static str)> {
    table.iter().map(|(word, _, text)| (*word, *text)).collect()
}

/// Returns what a word stands for.
pub(crate) fn find<T: Copy>(table: Table<T>, word: &str) -> Option<T> {
    table.iter().find(|(name, ..)| *name == word).map(|(_, value, _)| *value)
}

/// Returns the word for a value.
pub(crate) fn word<T: PartialEq>(table: Table<T>, value: T) -> &'static str {
    table.iter().find(|(_, known, _)| *known == value).map_or("", |(word, ..)| *word)
}

pub(crate) const PLANES: Table<Plane> = &[
    ("core", Plane::Core, "the core on our own network: fast, exact replay"),
    ("turmoil", Plane::Turmoil, "the driver on turmoil"),
    ("netns", Plane::Netns, "the binary in Linux network namespaces"),
    ("container", Plane::Container, "the binary in containers"),
];

pub(crate) const VIAS: Table<PublishVia> = &[
    ("dnat", PublishVia::Dnat, "destination NAT"),
    (
        "docker-proxy",
        PublishVia::DockerProxy,
        "Docker's userland proxy: accepts before the container listens, then closes",
    ),
];

pub(crate) const OUTPUTS: Table<PlayOutput> =
    &[("rtmp", PlayOutput::Rtmp, "RTMP"), ("http-flv", PlayOutput::HttpFlv, "HTTP-FLV")];

/// Returns the software there is a model of.
pub(crate) fn likes() -> Vec<(&'static str, &'static str)> {
    Like::ALL.into_iter().map(|like| (like.name(), like.summary().trim_end_matches('.'))).collect()
}

pub(crate) const STATES: Table<PullState> = &[
    ("resolving", PullState::Resolving, "a name is looked up"),
    ("queued", PullState::Queued, "waits for a dial token"),
    ("connecting", PullState::Connecting, "a dial is in flight"),
    ("handshaking", PullState::Handshaking, "S0 S1 S2 are awaited"),
    ("requesting", PullState::Requesting, "connect, createStream and play are under way"),
    ("awaiting-media", PullState::AwaitingMedia, "play is accepted, no frame has come"),
    ("streaming", PullState::Streaming, "frames flow"),
    ("replaying", PullState::Replaying, "a new play is under way on the same connection"),
    ("backing-off", PullState::BackingOff, "waits for the next attempt"),
    ("stopped", PullState::Stopped, "over"),
];

pub(crate) const LEAVES: Table<LeaveBy> = &[
    ("stop", LeaveBy::Stop, "deleteStream, then FIN"),
    ("close", LeaveBy::Close, "FIN"),
    ("reset", LeaveBy::Reset, "RST"),
    ("vanish", LeaveBy::Vanish, "its host is gone without a packet"),
];

pub(crate) const DIRECTIONS: Table<Direction> = &[
    ("both", Direction::Both, "all packets"),
    ("to", Direction::To, "those to the host"),
    ("from", Direction::From, "those from the host"),
];

pub(crate) const FAMILIES: Table<Option<Family>> = &[
    ("both", None, "IPv4 and IPv6"),
    ("ipv4", Some(Family::V4), "IPv4"),
    ("ipv6", Some(Family::V6), "IPv6"),
];

pub(crate) const HOWS: Table<PartitionHow> = &[
    ("drop", PartitionHow::Drop, "they are lost"),
    ("reject", PartitionHow::Reject, "they are answered: a reset, or host unreachable"),
];

pub(crate) const CUTS: Table<CutBy> = &[
    ("fin", CutBy::Fin, "FIN"),
    ("reset", CutBy::Reset, "RST"),
    ("silence", CutBy::Silence, "nothing more"),
];

pub(crate) const TAKEN: Table<AddressTaken> = &[
    ("nobody", AddressTaken::Nobody, "nobody has the old address"),
    ("refusing", AddressTaken::Refusing, "a host has it where nothing listens"),
    ("silent", AddressTaken::Silent, "a host has it that swallows everything"),
    ("other-server", AddressTaken::OtherServer, "an RTMP server has it that does not know the stream"),
];

pub(crate) const ENDINGS: Table<Ending> = &[
    ("silent", Ending::Silent, "nothing is told"),
    ("stream-eof", Ending::StreamEof, "user control StreamEOF"),
    ("stream-dry", Ending::StreamDry, "user control StreamDry"),
    ("unpublish-notify", Ending::UnpublishNotify, "NetStream.Play.UnpublishNotify"),
    ("play-stop", Ending::PlayStop, "NetStream.Play.Stop"),
    ("play-complete", Ending::PlayComplete, "NetStream.Play.Complete"),
    ("stream-not-found", Ending::StreamNotFound, "NetStream.Play.StreamNotFound"),
    ("play-failed", Ending::PlayFailed, "NetStream.Play.Failed"),
    ("insufficient-bw", Ending::InsufficientBw, "NetStream.Play.InsufficientBW"),
    ("connect-closed", Ending::ConnectClosed, "NetConnection.Connect.Closed"),
    ("connect-rejected", Ending::ConnectRejected, "NetConnection.Connect.Rejected"),
    ("app-shutdown", Ending::AppShutdown, "NetConnection.Connect.AppShutdown"),
];

pub(crate) const THENS: Table<Then> = &[
    ("silence", Then::Silence, "silence on a living connection; media comes back after `for`"),
    ("close", Then::Close, "FIN"),
    ("reset", Then::Reset, "RST"),
    ("goes-on", Then::GoesOn, "media goes on, as if nothing had been said"),
];

/// The words for [`super::model::DnsAnswer`].
pub(crate) const ANSWERS: Table<()> = &[
    ("nxdomain", (), "there is no such name"),
    ("servfail", (), "the server failed"),
    ("silent", (), "there is no answer"),
    ("slow", (), "the answer comes after `delay`"),
    ("stale", (), "the answer of the fault's beginning"),
    ("addresses", (), "these `ips`"),
];

/// The word for [`super::model::ReplyWanted::refusal_only_if_true`].
pub(crate) const REFUSALS: Table<()> =
    &[("only-if-true", (), "\"already exists\" is allowed only while players can get frames")];

pub(crate) const NEVERS: Table<Never> = &[
    ("player-disconnected", Never::PlayerDisconnected, "a player loses its connection"),
    ("frames", Never::Frames, "a player gets a frame"),
    ("interrupted", Never::Interrupted, "a pull leaves streaming"),
    ("dialled", Never::Dialled, "a pull dials"),
    ("replayed", Never::Replayed, "a pull plays anew on its connection"),
    ("rebuilt", Never::Rebuilt, "a stream's context is made anew"),
    ("registered", Never::Registered, "a pull is registered"),
    ("unregistered", Never::Unregistered, "a pull is removed"),
    ("shed", Never::Shed, "a player skips frames"),
];

pub(crate) const LAYERS: Table<Layer> = &[
    ("transport", Layer::Transport, "FIN, RST, dial error"),
    ("rtmp", Layer::Rtmp, "pings, and what is told by RTMP"),
    ("media", Layer::Media, "frames"),
];

pub(crate) const LEVELS: Table<Level> = &[
    ("replay", Level::Replay, "a new play on the same connection"),
    ("redial", Level::Redial, "a new connection, the same stream context"),
    ("rebuild", Level::Rebuild, "a new stream context"),
];

pub(crate) const VIDEO: Table<VideoCodec> = &[
    ("avc", VideoCodec::Avc, "H.264"),
    ("hevc-legacy", VideoCodec::HevcLegacy, "H.265 as codec id 12"),
    ("hevc", VideoCodec::Hevc, "H.265 by FourCC (E-RTMP)"),
    ("av1", VideoCodec::Av1, "AV1 by FourCC (E-RTMP)"),
    ("unknown", VideoCodec::Unknown, "one by a FourCC that nobody knows"),
];

pub(crate) const AUDIO: Table<AudioCodec> = &[
    ("aac-stereo", AudioCodec::AacStereo, "AAC, two channels"),
    ("aac-mono", AudioCodec::AacMono, "AAC, one channel"),
    ("opus", AudioCodec::Opus, "Opus by FourCC (E-RTMP)"),
    ("unknown", AudioCodec::Unknown, "one by a FourCC that nobody knows"),
];

/// The words for [`crate::origin::Missing`].
pub(crate) const MISSING: Table<()> = &[
    ("wait", (), "Play.Start, then silence until there is a publisher"),
    ("not-found", (), "StreamNotFound after `missing_after`"),
    ("not-found-close", (), "the same, then FIN"),
    ("silent", (), "no answer"),
    ("close", (), "FIN"),
];

/// What players are told.
pub(crate) const TOLD: Table<()> = &[
    ("NetStream.Play.Reset", (), "a play begins anew"),
    ("NetStream.Play.Start", (), "a play begins"),
    ("NetStream.Play.StreamNotFound", (), "the stream is not there, or did not come in time"),
    ("NetStream.Play.BadAuth", (), "the operator's systems refuse the player"),
    ("NetStream.Play.InsufficientBW", (), "there are too many players"),
    ("NetStream.Play.Failed", (), "there are too many plays on one connection"),
    ("NetStream.Play.UnpublishNotify", (), "the stream is over"),
    ("NetConnection.Connect.Rejected", (), "the connection is not wanted"),
    ("StreamEOF", (), "user control StreamEOF: nothing more comes of the stream"),
    ("HTTP 200", (), "a play over HTTP-FLV begins"),
    ("HTTP 403", (), "the operator's systems refuse the player, over HTTP-FLV"),
    ("HTTP 404", (), "the stream is not there, or did not come in time, over HTTP-FLV"),
    ("HTTP 503", (), "there are too many players, or it is the end, over HTTP-FLV"),
];

pub(crate) const UNPUBLISH: Table<Unpublish> = &[
    ("silent", Unpublish::Silent, "nothing"),
    ("stream-eof", Unpublish::StreamEof, "user control StreamEOF"),
    ("stream-dry", Unpublish::StreamDry, "user control StreamDry"),
    ("notify", Unpublish::Notify, "UnpublishNotify, and PublishNotify at the return"),
    ("stop", Unpublish::Stop, "NetStream.Play.Stop"),
    ("close", Unpublish::Close, "FIN"),
    ("eof-close", Unpublish::EofAndClose, "StreamEOF, then FIN"),
];

pub(crate) const SECOND_PLAY: Table<SecondPlay> = &[
    ("serve", SecondPlay::Serve, "a play like any other"),
    ("bare", SecondPlay::Bare, "a play without the sequence headers that its connection has had"),
    ("ignore", SecondPlay::Ignore, "no answer; the first goes on"),
    ("already-joined", SecondPlay::AlreadyJoined, "an error says so"),
    ("close", SecondPlay::Close, "FIN"),
];

pub(crate) const METADATA: Table<MetadataStyle> = &[
    ("absent", MetadataStyle::Absent, "none"),
    ("ecma", MetadataStyle::Ecma, "onMetaData, ECMA array"),
    ("object", MetadataStyle::Object, "onMetaData, object"),
    ("set-data-frame", MetadataStyle::SetDataFrame, "@setDataFrame, onMetaData, ECMA array"),
];

/// The words for [`crate::origin::Handshake`] that a model can have for good.
pub(crate) const HANDSHAKES: Table<()> = &[
    ("simple", (), "S0 S1 S2 as soon as C1 is there"),
    ("strict", (), "a C2 that is no echo of S1 is hung up on"),
];

pub(crate) const HEADERS: Table<Headers> = &[
    ("full", Headers::Full, "every message begins with format 0"),
    ("short", Headers::Short, "the shortest that fits"),
];

pub(crate) const CSIDS: Table<Csids> = &[
    ("usual", Csids::USUAL, "as nginx-rtmp numbers them"),
    ("shared", Csids::SHARED, "all on one, as some encoders do"),
    ("far", Csids::FAR, "numbers that need a basic header of two and three bytes"),
];

/// The words for [`crate::origin::Shutdown`]; an ending's name says that players are told that first.
pub(crate) const SHUTDOWNS: Table<()> = &[
    ("hangup", (), "nothing is told, the kernel closes"),
    ("as-publisher", (), "FCUnpublish and deleteStream, as FFmpeg says"),
];

/// What operators do beside the story of a search.
pub(crate) const MEDDLINGS: Table<Meddling> = &[
    ("add", Meddling::Add, "add what may be there already, with the same arguments or others"),
    ("del", Meddling::Del, "delete it"),
    ("close", Meddling::Close, "close its stream"),
    ("update", Meddling::Update, "change it, from the next attempt or at once"),
    ("look", Meddling::Look, "ask what there is"),
];

/// What of a world varies in a search.
pub(crate) const KNOBS: Table<Knob> = &[
    ("software", Knob::Software, "what origins are, and how they behave"),
    ("content", Knob::Content, "what their publishers send"),
    ("link", Knob::Link, "what links are like"),
    ("config", Knob::Config, "the proxies' timeouts and limits"),
    ("options", Knob::Options, "options of pulls"),
];

pub(crate) const PAYLOADS: Table<Payload> = &[
    ("stub", Payload::Stub, "a stamp and filling: cheap"),
    ("decodable", Payload::Decodable, "pictures and sound that decoders read"),
];
