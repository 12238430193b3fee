//! Records in words.

use std::fmt::Write as _;

use proxy_core::io::{Event, EventKind, PlayOutput};
use proxyd::log::words;

use super::record::{Cast, Inward, Moment, Outward, Packet, PacketFate, Phase, Record, Saw, What};
use crate::{
    net::packet::{self, ACK, FIN, PSH, Parsed, RST, SYN},
    raw::media::Track,
};

/// Returns a record as a line: step, time, who, what, and what caused it. A packet is no step.
pub fn line(record: &Record, cast: &Cast) -> String {
    let step = match record.what {
        What::Packet(_) => String::new(),
        _ => record.step.to_string(),
    };
    let mut text = format!("{step:>8}  {:>12}  {:<10}  ", record.at.to_string(), cast.name(record.actor));
    text.push_str(&describe(record, cast));
    if record.cause > 0 {
        let _ = write!(text, "  (by {})", record.cause);
    }
    if record.line > 0 {
        let _ = write!(text, "  [line {}]", record.line);
    }
    text
}

/// Returns what happened, without when and to whom.
pub fn describe(record: &Record, cast: &Cast) -> String {
    match &record.what {
        What::Phase(Phase::Safety) => "safety phase: faults happen, nothing bad may".to_owned(),
        What::Phase(Phase::Calm) => "calm phase: every fault is lifted for good".to_owned(),
        What::Phase(Phase::Cleanup) => "cleanup: everything is deleted".to_owned(),
        What::Phase(Phase::End) => "the end".to_owned(),
        What::Began { event } => format!("event {} begins", event + 1),
        What::Lifted { event } => format!("the fault of event {} is lifted", event + 1),
        What::Moment(Moment::Listening) => "listens".to_owned(),
        What::Moment(Moment::Serving) => "serves".to_owned(),
        What::Moment(Moment::Silent) => "serves no more".to_owned(),
        What::Moment(Moment::Watching) => "has its stream".to_owned(),
        What::Address { ip } => format!("has the address {ip}"),
        What::Asked(call) => {
            let about = call.stream.as_deref().unwrap_or("");
            format!("is asked: {} {about} (call {})", call.name, call.call)
        }
        What::Answered { call, body } => format!("answers call {call}: {}", shortened(body, 160)),
        What::In(inward) => format!("in   {}", describe_in(inward)),
        What::Out(outward) => format!("out  {}", describe_out(outward)),
        What::Event(event) => describe_event(event),
        What::Sample(sample) => format!(
            "holds {} streams, {} origins, {} players, {} timers, {} sockets, {} relay bytes, {} in flight",
            sample.core.streams,
            sample.core.origins,
            sample.core.players,
            sample.core.timers,
            sample.sockets,
            sample.core.relay_bytes,
            sample.core.in_flight_bytes,
        ),
        What::Arrived { conn, track, key, len: _ } => {
            let kind = match (track, key) {
                (Track::Video, true) => "a keyframe",
                (Track::Video, false) => "a video frame",
                (Track::Audio, _) => "an audio frame",
            };
            format!("{kind} has arrived on connection {conn}")
        }
        What::EndArrived { conn, told } => format!("{told} has arrived on connection {conn}"),
        What::Dialled { addr } => format!("dials {addr}"),
        What::OriginAccepted => "accepts a connection".to_owned(),
        What::OriginPlays { stream } => format!("accepts a play of {stream}"),
        What::OriginComplains(text) => format!("complains: {text}"),
        What::PlayerJoins { seat, output, stream, from, redials } => {
            let by = match output {
                PlayOutput::Rtmp => "RTMP",
                PlayOutput::HttpFlv => "HTTP-FLV",
            };
            let again = if *redials { ", again and again" } else { "" };
            format!("plays {stream} by {by} from {}{again} (seat {})", cast.name(*from), seat.0)
        }
        What::PlayerLeaves { seat } => format!("leaves (seat {})", seat.0),
        What::PlayerConnected { seat, local } => format!("is connected from {local} (seat {})", seat.0),
        What::Saw { seat, saw } => format!("sees {} (seat {})", describe_saw(saw), seat.0),
        What::PlayerTold { seat, status } => format!("is told {status} (seat {})", seat.0),
        What::PlayerLost { seat, cause } => format!("has lost its connection: {cause} (seat {})", seat.0),
        What::PlayerViolation { seat, text } => format!("sees what no player may: {text} (seat {})", seat.0),
        What::Packet(packet) => describe_packet(packet, cast),
    }
}

/// Tells where a packet is seen, from whom to whom it goes and what it is: flags as `tcpdump` writes them.
fn describe_packet(packet: &Packet, cast: &Cast) -> String {
    let place = cast.namespaces.get(usize::from(packet.host)).map_or("?", |namespace| &namespace.name);
    let way = if packet.outgoing { "sends" } else { "gets" };
    let mut text = format!("{place} {way} ");
    let _ = match packet::parse(&packet.bytes) {
        Some(Parsed::Tcp(tcp)) => {
            let flags = [(SYN, 'S'), (FIN, 'F'), (RST, 'R'), (PSH, 'P'), (ACK, '.')];
            let flags: String =
                flags.iter().filter(|(flag, _)| tcp.flags & flag != 0).map(|(_, letter)| *letter).collect();
            let (src, dst, seq, ack, payload) = (tcp.src, tcp.dst, tcp.seq, tcp.ack, tcp.payload);
            write!(text, "{src} > {dst} [{flags}] seq {seq} ack {ack} len {payload}")
        }
        Some(Parsed::Icmp { reason, src, dst }) => write!(text, "ICMP {reason:?} about {src} > {dst}"),
        None => write!(text, "{} bytes that are no TCP", packet.bytes.len()),
    };
    if let PacketFate::Dropped(why) = &packet.fate {
        let _ = write!(text, ", lost: {why}");
    }
    text
}

fn describe_in(inward: &Inward) -> String {
    match inward {
        Inward::Timeout => "timeout".to_owned(),
        Inward::Listening => "listening".to_owned(),
        Inward::Resolved { query, answer: Ok(count) } => format!("lookup {query}: {count} addresses"),
        Inward::Resolved { query, answer: Err(error) } => format!("lookup {query}: {error:?}"),
        Inward::Connected { conn, failed: None } => format!("connection {conn} is open"),
        Inward::Connected { conn, failed: Some(error) } => format!("connection {conn} failed: {error:?}"),
        Inward::Accepted { conn, peer } => format!("connection {conn} accepted from {peer}"),
        Inward::PlayHttp { conn, peer } => format!("connection {conn} from {peer} asks for HTTP-FLV"),
        Inward::Received { conn, len } => format!("connection {conn}: {len} bytes came"),
        Inward::Sent { conn, len } => format!("connection {conn}: {len} bytes are written"),
        Inward::Closed { conn, hangup } => format!("connection {conn} is gone: {hangup:?}"),
        Inward::Request { id } => format!("request {id}"),
        Inward::Answered { ask } => format!("question {ask} is answered by its default"),
    }
}

fn describe_out(outward: &Outward) -> String {
    match outward {
        Outward::Resolve { query } => format!("look up (lookup {query})"),
        Outward::Connect { conn, addr } => format!("dial {addr} (connection {conn})"),
        Outward::Transmit { conn, len } => format!("write {len} bytes to connection {conn}"),
        Outward::Close { conn } => format!("close connection {conn}"),
        Outward::Abort { conn } => format!("abort connection {conn}"),
        Outward::Reply { id } => format!("reply to request {id}"),
        Outward::Ask { ask } => format!("ask the operator's systems (question {ask})"),
        Outward::PlayAnswer { conn, streams: true } => format!("HTTP 200 to connection {conn}"),
        Outward::PlayAnswer { conn, streams: false } => format!("HTTP refusal to connection {conn}"),
    }
}

fn describe_event(event: &Event) -> String {
    let number =
        event.stream.map_or_else(String::new, |stream| format!("stream {} #{}: ", stream.0, event.number));
    let text = match &event.kind {
        EventKind::PullStepped { state, event, next } if state == next => {
            format!("{} in {}", kebab(event), kebab(state))
        }
        EventKind::PullStepped { state, event, next } => {
            format!("{} in {}, so {}", kebab(event), kebab(state), kebab(next))
        }
        EventKind::PullEntered { state, failure, failures, next_attempt } => {
            let mut text = format!("is {}", kebab(state));
            if let Some(failure) = failure {
                let _ = write!(text, ", {} (failure {failures})", words::failure(failure));
            }
            if let Some(at) = next_attempt {
                let _ = write!(text, ", next attempt at {at}");
            }
            text
        }
        EventKind::Registered { key } => format!("registered as {key}"),
        EventKind::Unregistered { key, reason } => format!("{key} removed: {reason:?}"),
        EventKind::OriginStatus(status) => format!("the origin says {}", words::clean(&status.code)),
        EventKind::Epoch { number, cause } => format!("epoch {number}: {cause:?}"),
        EventKind::Rebuilt => "context made anew".to_owned(),
        EventKind::TrackGone(medium) => format!("{medium:?} is accepted as gone"),
        EventKind::PlayerConnected { conn, peer } => format!("player {} connected from {peer}", conn.0),
        EventKind::PlayerParked { conn, key } => format!("player {} waits for {key}", conn.0),
        EventKind::PlayerSeated { conn } => format!("player {} has a seat", conn.0),
        EventKind::PlayerShed { conn, frames } => format!("player {} skips {frames} frames", conn.0),
        EventKind::PlayerLeft { conn, reason } => format!("player {} left: {reason:?}", conn.0),
        EventKind::NoneReader => "nobody watches".to_owned(),
    };
    number + &text
}

fn describe_saw(saw: &Saw) -> String {
    let mut parts = Vec::new();
    if saw.seated {
        parts.push("its stream begin".to_owned());
    }
    for (count, what) in [
        (saw.metadata, "metadata"),
        (saw.headers, "headers"),
        (saw.keys, "keyframes"),
        (saw.video - saw.keys, "other video frames"),
        (saw.frames - saw.video, "audio frames"),
        (saw.leaps, "gaps between frames"),
        (saw.plays, "new plays"),
        (saw.lives, "new lives of the publisher"),
    ] {
        if count > 0 {
            parts.push(format!("{count} {what}"));
        }
    }
    parts.join(", ")
}

/// Returns `SomeName` as `some-name`, as scenarios write it.
pub fn kebab(name: &impl std::fmt::Debug) -> String {
    let mut text = String::new();
    for c in format!("{name:?}").chars() {
        if c.is_ascii_uppercase() && !text.is_empty() {
            text.push('-');
        }
        text.push(c.to_ascii_lowercase());
    }
    text
}

fn shortened(text: &str, len: usize) -> String {
    match text.char_indices().nth(len) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}
