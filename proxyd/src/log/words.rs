//! What the core's states and causes are called in front of people: log, API and command line say the same.
//!
//! Peers choose some of these words (status descriptions, command names): they are cleaned here, so that they can
//! neither break a line, nor flood it, nor carry a query with a token into a log.

use proxy_core::{
    io::{ConnectError, Hangup, PlayerEnd, PullFailure, PullState, ResolveError, StreamEnd},
    relay::EpochCause,
    session::{SessionError, client::Ending, server::Refusal},
    url::redact,
    wire::{amf0::Amf0Error, chunk::ChunkError, command::Status, flv::Medium, handshake::HandshakeError},
};

/// The longest text of a peer that is repeated, in characters.
const PEER_CHARS_MAX: usize = 160;

/// Returns a pull's state in one word, as the API tells it.
pub fn state(state: PullState) -> &'static str {
    match state {
        PullState::Resolving => "resolving",
        PullState::Queued => "queued",
        PullState::Connecting => "connecting",
        PullState::Handshaking => "handshaking",
        PullState::Requesting => "requesting",
        PullState::AwaitingMedia => "awaiting_media",
        PullState::Streaming => "streaming",
        PullState::Replaying => "replaying",
        PullState::BackingOff => "backing_off",
        PullState::Stopped => "stopped",
    }
}

/// Describes why an attempt, or a life, ended.
pub fn failure(failure: &PullFailure) -> String {
    match failure {
        PullFailure::Resolve(ResolveError::NotFound) => "the name does not exist".to_owned(),
        PullFailure::Resolve(ResolveError::Failed) => "the name lookup failed".to_owned(),
        PullFailure::Resolve(ResolveError::Empty) => "the name has no address".to_owned(),
        PullFailure::Connect(error) => connect_error(*error).to_owned(),
        PullFailure::Handshake(error) => {
            format!("the origin's handshake is wrong: {}", handshake_error(error))
        }
        PullFailure::Session(error) => format!("the origin's bytes are wrong: {}", session_error(error)),
        PullFailure::Refused(status) => format!("the origin refused: {}", origin_status(status)),
        PullFailure::Timeout(PullState::Resolving) => "the name lookup took too long".to_owned(),
        PullFailure::Timeout(PullState::Connecting) => "the dial took too long".to_owned(),
        PullFailure::Timeout(PullState::Handshaking) => "the handshake took too long".to_owned(),
        PullFailure::Timeout(PullState::Requesting) => "the origin did not answer play in time".to_owned(),
        PullFailure::Timeout(PullState::AwaitingMedia) => {
            "the origin accepted play and sent no media".to_owned()
        }
        PullFailure::Timeout(PullState::Replaying) => "the origin did not answer a replay in time".to_owned(),
        PullFailure::Timeout(
            other @ (PullState::Queued | PullState::Streaming | PullState::BackingOff | PullState::Stopped),
        ) => format!("timed out while {}", state(*other)),
        PullFailure::PingTimeout => "the origin stopped answering pings".to_owned(),
        PullFailure::Stalled => "the origin went silent".to_owned(),
        PullFailure::TrackStalled(medium) => format!("the {} track went silent", self::medium(*medium)),
        PullFailure::Ended(ending) => format!("the stream ended ({})", self::ending(*ending)),
        PullFailure::Lost(how) => format!("the connection is gone ({})", hangup(*how)),
        PullFailure::AddressMoved => "the name leads elsewhere".to_owned(),
        PullFailure::TooManyRedirects => "too many redirects in a row".to_owned(),
        PullFailure::RedirectUrl(error) => format!("redirected to a bad url: {}", error),
        PullFailure::OwnUrl => "the url leads back to this stream".to_owned(),
        PullFailure::Asked => "asked to try anew".to_owned(),
    }
}

/// Describes why a stream was removed.
pub fn stream_end(end: StreamEnd) -> &'static str {
    match end {
        StreamEnd::Deleted => "deleted",
        StreamEnd::Closed => "closed",
        StreamEnd::FirstAttemptFailed => "the first attempt failed",
        StreamEnd::RetriesUsedUp => "retry_count is used up",
        StreamEnd::NoneReader => "nobody watched",
        StreamEnd::Loop => "it would pull from itself",
        StreamEnd::Shutdown => "shutdown",
    }
}

/// Describes why a player left.
pub fn player_end(end: &PlayerEnd) -> String {
    match end {
        PlayerEnd::Left(how) => format!("it left ({})", hangup(*how)),
        PlayerEnd::Stopped => "it stopped playing".to_owned(),
        PlayerEnd::Session(error) => format!("its bytes are wrong: {}", session_error(error)),
        PlayerEnd::Handshake(error) => format!("its handshake is wrong: {}", handshake_error(error)),
        PlayerEnd::Idle => "it did not ask to play in time (rtmp.handshakeSecond)".to_owned(),
        PlayerEnd::NotFound => "the stream did not come (general.maxStreamWaitMS)".to_owned(),
        PlayerEnd::Denied => "it may not play".to_owned(),
        PlayerEnd::Ring => "it is fed by the stream it asks for".to_owned(),
        PlayerEnd::Full => "too many players (limits.players_max)".to_owned(),
        PlayerEnd::Stuck => "it took no bytes (rtmp.keepAliveSecond)".to_owned(),
        PlayerEnd::HoldExpired => "the outage was too long (pull.player_hold_ms)".to_owned(),
        PlayerEnd::StreamEnded(end) => format!("the stream is gone: {}", stream_end(*end)),
        PlayerEnd::Kicked => "it was kicked".to_owned(),
    }
}

/// Describes why an HTTP-FLV player gets a status.
pub fn refusal(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::StreamNotFound => "no such stream",
        Refusal::BadAuth => "not allowed to play",
        Refusal::TooManyPlayers => "too many players",
    }
}

/// Returns what a track carries.
pub fn medium(medium: Medium) -> &'static str {
    match medium {
        Medium::Audio => "audio",
        Medium::Video => "video",
        Medium::Data => "data",
    }
}

/// Describes why a stream's clock began an epoch.
pub fn epoch(cause: EpochCause) -> &'static str {
    match cause {
        EpochCause::Play => "play accepted",
        EpochCause::HeaderChanged => "sequence header changed",
        EpochCause::JumpBack => "timestamps jumped back",
        EpochCause::JumpForward => "timestamps jumped forward",
    }
}

/// Repeats an origin's status, cleaned.
pub fn origin_status(status: &Status) -> String {
    match (status.code.is_empty(), status.description.is_empty()) {
        (false, false) => format!("{} ({})", clean(&status.code), clean(&status.description)),
        (false, true) => clean(&status.code),
        (true, false) => clean(&status.description),
        (true, true) => "no reason given".to_owned(),
    }
}

/// Makes a peer's text fit for a line: one line, no query, not too long.
pub fn clean(text: &str) -> String {
    let mut out = String::new();
    for word in text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()) {
        if !out.is_empty() {
            out.push(' ');
        }
        out.push_str(&redact(word));
        if out.len() > 4 * PEER_CHARS_MAX {
            break;
        }
    }
    if let Some((end, _)) = out.char_indices().nth(PEER_CHARS_MAX) {
        out.truncate(end);
        out.push('…');
    }
    out
}

/// Tells if a setting or argument of this name holds what must not be repeated.
pub fn is_secret_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["secret", "pass", "pwd", "token", "admin_params"].iter().any(|part| name.contains(part))
}

fn connect_error(error: ConnectError) -> &'static str {
    match error {
        ConnectError::Refused => "the origin refuses connections",
        ConnectError::Unreachable => "the origin is unreachable",
        ConnectError::TimedOut => "the dial timed out",
        ConnectError::Reset => "the origin resets connections",
        ConnectError::Other => "the dial failed",
    }
}

fn hangup(hangup: Hangup) -> &'static str {
    match hangup {
        Hangup::Eof => "closed",
        Hangup::Reset => "reset",
        Hangup::Error => "broken",
    }
}

fn ending(ending: Ending) -> &'static str {
    match ending {
        Ending::StreamEof => "StreamEOF",
        Ending::StreamDry => "StreamDry",
        Ending::UnpublishNotify => "UnpublishNotify",
        Ending::PlayStop => "Play.Stop",
    }
}

fn handshake_error(error: &HandshakeError) -> String {
    match error {
        HandshakeError::Version { .. } => "this is not RTMP".to_owned(),
        HandshakeError::Digest => "the digest does not match".to_owned(),
    }
}

fn session_error(error: &SessionError) -> String {
    match error {
        SessionError::Chunk(error) => chunk_error(error),
        SessionError::Amf0(error) => amf0_error(error),
        SessionError::AuthRequired { scheme } => {
            format!("it asks for credentials in a way we do not speak ({})", clean(scheme))
        }
        SessionError::StreamId => "the stream id is no number".to_owned(),
        SessionError::Flood => "too much control traffic".to_owned(),
        SessionError::Unexpected { command } => format!("{} out of order", clean(command)),
        SessionError::TooManyHops { hops } => format!("a chain of {hops} proxies"),
    }
}

fn chunk_error(error: &ChunkError) -> String {
    match error {
        ChunkError::NoPreviousHeader { chunk_stream } => {
            format!("a chunk without a header before it on chunk stream {chunk_stream}")
        }
        ChunkError::HeaderInsideMessage { chunk_stream } => {
            format!("a header inside a message on chunk stream {chunk_stream}")
        }
        ChunkError::MessageTooLong { type_id, len } => {
            format!("a message of type {type_id} with {len} bytes")
        }
        ChunkError::TooManyChunkStreams => "too many chunk streams".to_owned(),
        ChunkError::TooManyPendingBytes => "too many unfinished messages".to_owned(),
        ChunkError::ChunkSizeZero => "a chunk size of 0".to_owned(),
    }
}

fn amf0_error(error: &Amf0Error) -> String {
    match error {
        Amf0Error::Truncated => "a command that ends inside a value".to_owned(),
        Amf0Error::TooDeep => "a command nested too deep".to_owned(),
        Amf0Error::TooManyValues => "a command with too many values".to_owned(),
        Amf0Error::Marker { marker } => format!("a command with the unknown AMF0 marker {marker:#04x}"),
    }
}
