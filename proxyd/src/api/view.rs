//! Streams, tracks and players as JSON, in ZLMediaKit's shapes with our members beside them.

use std::time::Duration;

use proxy_core::{
    Instant,
    io::{PlayOutput, PlayerView, PullState, StreamView},
    relay::TrackView,
    wire::flv::Medium,
};
use serde_json::{Map, Value, json};

use super::millis;
use crate::log::words;

/// ZLMediaKit's number for a pulled stream.
const ORIGIN_TYPE_PULL: u32 = 4;

/// The one schema streams are listed under; HTTP-FLV players count into it, as in ZLMediaKit.
pub(super) const SCHEMA: &str = "rtmp";

/// Renders a stream as `getMediaList` tells it.
pub fn media_object(view: &StreamView, now: Instant, started_at: Duration) -> Map<String, Value> {
    let since = view.streaming_since.unwrap_or(now);
    let origin_sock = match view.origin {
        Some((local, peer)) => json!({
            "identifier": format!("pull-{}", view.id.0),
            "local_ip": local.ip().to_string(),
            "local_port": local.port(),
            "peer_ip": peer.ip().to_string(),
            "peer_port": peer.port(),
        }),
        None => Value::Null,
    };
    object(json!({
        "schema": SCHEMA,
        "vhost": view.key.vhost,
        "app": view.key.app,
        "stream": view.key.stream,
        "params": "",
        "createStamp": unix_seconds(since, started_at),
        "aliveSecond": now.since(since).as_secs(),
        "bytesSpeed": view.bytes_per_second,
        "totalBytes": view.bytes,
        "readerCount": view.players,
        "totalReaderCount": view.players,
        "originType": ORIGIN_TYPE_PULL,
        "originTypeStr": "pull",
        "originUrl": view.url,
        "originSock": origin_sock,
        "isRecordingMP4": false,
        "isRecordingHLS": false,
        "tracks": tracks(&view.tracks),
    }))
}

/// Renders a pull as `getProxyInfo` tells it; lists add its key.
pub fn proxy_object(view: &StreamView, now: Instant) -> Map<String, Value> {
    let mut members = object(json!({
        "url": view.url,
        "status": i32::from(view.state != PullState::Streaming),
        "status_str": status_text(view),
        "state": words::state(view.state),
        "attempt": view.failures.saturating_add(1),
        "liveSecs": view.live.as_secs(),
        "rePullCount": view.repulls,
        "totalReaderCount": view.players,
        "waitingReaderCount": view.parked,
        "bytesSpeed": view.bytes_per_second,
        "totalBytes": view.bytes,
        "src": {
            "vhost": view.key.vhost,
            "app": view.key.app,
            "stream": view.key.stream,
            "params": "",
        },
        "tracks": tracks(&view.tracks),
    }));
    // From now, like every other time in these answers that is not a stamp.
    if let Some(next) = view.next_attempt {
        members.insert("next_attempt_ms".to_owned(), millis(next.since(now)).into());
    }
    if let Some(failure) = &view.last_failure {
        members.insert("last_error".to_owned(), words::failure(failure).into());
    }
    members
}

/// Renders a player as `getAllSession` and `getMediaPlayerList` tell it.
pub(super) fn player_object(view: &PlayerView) -> Map<String, Value> {
    let kind = match view.output {
        PlayOutput::Rtmp => "mediakit::RtmpSession",
        PlayOutput::HttpFlv => "mediakit::HttpSession",
    };
    let id = view.conn.0.to_string();
    object(json!({
        "id": id,
        "identifier": id,
        "local_ip": view.local.ip().to_string(),
        "local_port": view.local.port(),
        "peer_ip": view.peer.ip().to_string(),
        "peer_port": view.peer.port(),
        "type": "tcp",
        "typeid": kind,
    }))
}

/// ZLMediaKit's words, but told truly: during an outage it is no longer "playing".
fn status_text(view: &StreamView) -> String {
    match (&view.last_failure, view.state) {
        (_, PullState::Streaming) => "playing".to_owned(),
        (None, _) => "connecting".to_owned(),
        (Some(failure), _) if view.live.is_zero() => format!("play failed: {}", words::failure(failure)),
        (Some(failure), _) => format!("play shutdown: {}", words::failure(failure)),
    }
}

fn tracks(tracks: &[TrackView]) -> Vec<Value> {
    tracks.iter().filter_map(track).collect()
}

/// Payloads are passed through, not decoded: size, rate and channels are not known and not made up.
fn track(track: &TrackView) -> Option<Value> {
    let (id, name) = codec(&track.codec.0);
    match track.medium {
        Medium::Video => Some(json!({
            "codec_id": id,
            "codec_id_name": name,
            "codec_type": 0,
            "ready": true,
            "index": track.track,
            "frames": track.frames,
            "key_frames": track.keyframes,
        })),
        Medium::Audio => Some(json!({
            "codec_id": id,
            "codec_id_name": name,
            "codec_type": 1,
            "ready": true,
            "index": track.track,
            "frames": track.frames,
        })),
        Medium::Data => None,
    }
}

/// Returns ZLMediaKit's number and name of a codec; what it has no number for gets -1 and its four characters.
fn codec(code: &[u8; 4]) -> (i32, String) {
    let known = match code {
        b"avc1" => (0, "H264"),
        b"hvc1" => (1, "H265"),
        b"mp4a" => (2, "mpeg4-generic"),
        b"alaw" => (3, "PCMA"),
        b"ulaw" => (4, "PCMU"),
        b"Opus" => (5, "opus"),
        b"vp08" => (7, "VP8"),
        b"vp09" => (8, "VP9"),
        b"av01" => (9, "AV1"),
        b"vvc1" => (11, "H266"),
        b".mp3" => (14, "MP3"),
        [0, 0, 0, 0] => (-1, "unknown"),
        other => return (-1, other.escape_ascii().to_string()),
    };
    (known.0, known.1.to_owned())
}

fn unix_seconds(at: Instant, started_at: Duration) -> u64 {
    (started_at + at.since(Instant::ZERO)).as_secs()
}

pub(super) fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(members) => members,
        other => unreachable!("only objects are made here, not {other}"),
    }
}
