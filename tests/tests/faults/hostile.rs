//! Origins and players that say what kills `rml_rtmp`, or would fill the memory. Whatever it is, it costs at most the
//! connection it came on, by a cause with a name, and memory within the limits; another stream on the same proxy, and
//! the other players of the same stream, never notice.
//!
//! The letters and numbers are those of defects found in `rml_rtmp` 0.8.0: m in its messages, c in its chunks, s in
//! its sessions, x in its AMF0.

use bytes::Bytes;
use proxy_core::{
    Config,
    io::{ConnId, PlayerEnd, PullFailure, PullState},
    session::SessionError,
    time::Duration,
    wire::{amf0::Amf0Error, chunk::ChunkError, handshake::HandshakeError},
};
use sim::{
    origin::{Behaviour, OnConnect, Publisher},
    raw::{
        amf0::{self, Amf},
        chunk::kind,
    },
};

use crate::{
    AWAY, HOME, NAME, heap,
    town::{Take, Town},
};

/// The chunk streams that liars speak on: honest peers use none of them.
const LIARS: u32 = 20;
/// Chunk size of players, and of origins before they announce another.
const SMALL: usize = 128;
/// Chunk size of the model origin after `connect`.
const LARGE: usize = 60_000;

/// Heap that a lie may cost beyond its own bytes: messages under way, parsed values, answers, and what the town and
/// its honest inhabitants hold meanwhile.
const SLACK_BYTES: usize = 512 * 1024;
/// Copies of a lie's bytes that the town itself makes.
const COPIES: usize = 2;
/// What the core may hold of an origin's unfinished messages, as configured.
const ORIGIN_PENDING_BYTES: usize = 16 * 1024 * 1024;

/// What is said, and what becomes of who says it.
struct Lie {
    what: &'static str,
    /// The bytes, at a chunk size.
    bytes: fn(usize) -> Vec<u8>,
    /// What ends an origin that says it, at any time.
    origin: Option<SessionError>,
    /// What ends a player that says it before `connect`.
    stranger: Option<SessionError>,
    /// What ends a player that says it later.
    player: Option<SessionError>,
    /// Heap that an origin's messages under way may hold, in bytes.
    under_way: usize,
}

/// A message in chunks, with a type-0 header.
fn message(csid: u32, kind: u8, payload: &[u8], chunk: usize) -> Vec<u8> {
    chunks(csid, kind, payload.len(), payload, chunk)
}

/// The chunks of a message of which perhaps not all comes.
fn chunks(csid: u32, kind: u8, len: usize, payload: &[u8], chunk: usize) -> Vec<u8> {
    let mut out = header(0, csid);
    out.extend_from_slice(&[0, 0, 0]);
    out.extend_from_slice(&u32::try_from(len).expect("24 bits").to_be_bytes()[1..]);
    out.extend_from_slice(&[kind, 1, 0, 0, 0]);
    for (n, piece) in payload.chunks(chunk).enumerate() {
        if n > 0 {
            out.extend(header(3, csid));
        }
        out.extend_from_slice(piece);
    }
    out
}

/// A basic header (§5.3.1.1).
fn header(fmt: u8, csid: u32) -> Vec<u8> {
    match csid {
        2..=63 => vec![fmt << 6 | csid as u8],
        64..=319 => vec![fmt << 6, (csid - 64) as u8],
        _ => {
            let [low, high, ..] = (csid - 64).to_le_bytes();
            vec![fmt << 6 | 1, low, high]
        }
    }
}

fn command(name: &str, transaction: f64, arguments: &[u8], chunk: usize) -> Vec<u8> {
    let payload = [&amf0::write_all(&[Amf::text(name), Amf::Number(transaction)]), arguments].concat();
    message(LIARS, kind::COMMAND, &payload, chunk)
}

fn data(payload: &[u8], chunk: usize) -> Vec<u8> {
    message(LIARS, kind::DATA, payload, chunk)
}

/// A data message longer than a chunk, cut behind its first chunk.
fn long_data(chunk: usize) -> (Vec<u8>, Vec<u8>) {
    let text = "x".repeat(chunk.min(60_000));
    let payload = amf0::write_all(&[Amf::text("onTextData"), Amf::text(&text)]);
    assert!(payload.len() > chunk);
    let first = chunks(LIARS, kind::DATA, payload.len(), &payload[..chunk], chunk);
    (first, payload[chunk..].to_vec())
}

fn set_chunk_size(size: u32, chunk: usize) -> Vec<u8> {
    message(LIARS + 1, kind::SET_CHUNK_SIZE, &size.to_be_bytes(), chunk)
}

fn ping(chunk: usize) -> Vec<u8> {
    message(LIARS + 1, kind::USER_CONTROL, &[0, 6, 0, 0, 0, 9], chunk)
}

/// Values of every kind that rml_amf0 does not know, each alone.
const STRANGE_VALUES: [&[u8]; 7] = [
    b"\x0B\x42\x74\0\0\0\0\0\0\0\0",
    b"\x0C\0\0\0\x03abc",
    b"\x10\0\x01C\0\x01a\x05\0\0\x09",
    b"\x07\0\x01",
    b"\x0F\0\0\0\x04<x/>",
    b"\x0D",
    b"\x11\x01",
];

fn lies() -> Vec<Lie> {
    let unexpected = |command: &str| Some(SessionError::Unexpected { command: command.into() });
    let chunk = |error| Some(SessionError::Chunk(error));
    let amf = |error| Some(SessionError::Amf0(error));
    let harmless =
        |what, bytes| Lie { what, bytes, origin: None, stranger: None, player: None, under_way: 0 };
    let fatal = |what, bytes, error: Option<SessionError>| Lie {
        what,
        bytes,
        origin: error.clone(),
        stranger: error.clone(),
        player: error,
        under_way: 0,
    };
    vec![
        harmless("m01: an empty command", |chunk| message(LIARS, kind::COMMAND, &[], chunk)),
        harmless("m02: a command of type 17 and one byte", |chunk| message(LIARS, 17, &[0], chunk)),
        Lie {
            stranger: unexpected("ping"),
            ..harmless("m02: a command of a name and a number", |chunk| command("ping", 77.0, &[], chunk))
        },
        fatal(
            "x01: a command nested 12,000 deep",
            |chunk| command("onBye", 0.0, &b"\x03\0\x01a".repeat(12_000), chunk),
            amf(Amf0Error::TooDeep),
        ),
        harmless("x01: data nested 12,000 deep", |chunk| data(&b"\x03\0\x01a".repeat(12_000), chunk)),
        harmless("x01: metadata nested 12,000 deep", |chunk| {
            data(&[&b"\x02\0\x0AonMetaData"[..], &b"\x03\0\x01a".repeat(12_000)].concat(), chunk)
        }),
        fatal(
            "a command of 60,000 nulls",
            |chunk| command("onBye", 0.0, &[5; 60_000], chunk),
            amf(Amf0Error::TooManyValues),
        ),
        fatal(
            "an array that declares 4,294,967,295 values",
            |chunk| command("onBye", 0.0, &[0x0A, 0xFF, 0xFF, 0xFF, 0xFF], chunk),
            amf(Amf0Error::Truncated),
        ),
        harmless("c01: a ping inside a longer message", |chunk| {
            let (first, rest) = long_data(chunk);
            [first, ping(chunk), header(3, LIARS), rest].concat()
        }),
        harmless("c02: two messages of one length, chunk by chunk", |chunk| {
            let (first, rest) = long_data(chunk);
            let other = |bytes: &[u8], at: usize| {
                let mut bytes = bytes.to_vec();
                bytes[at] = bytes[at] & 0xC0 | (LIARS + 2) as u8;
                bytes
            };
            [first.clone(), other(&first, 0), header(3, LIARS), rest.clone(), header(3, LIARS + 2), rest]
                .concat()
        }),
        harmless("c03: an Abort of a message under way", |chunk| {
            let (first, _) = long_data(chunk);
            [first, message(LIARS + 1, kind::ABORT, &LIARS.to_be_bytes(), chunk), ping(chunk)].concat()
        }),
        harmless("c04: a chunk size raised between the chunks of a message", |chunk| {
            let (first, rest) = long_data(chunk);
            let larger = 65_536;
            [
                first,
                set_chunk_size(larger, chunk),
                header(3, LIARS),
                rest,
                set_chunk_size(chunk as u32, larger as usize),
            ]
            .concat()
        }),
        harmless("c10: empty messages of every type a player may send", |chunk| {
            let kinds = (0..=40).filter(|kind| ![kind::AUDIO, kind::VIDEO, kind::AGGREGATE].contains(kind));
            kinds.flat_map(|kind| message(LIARS, kind, &[], chunk)).collect()
        }),
        Lie {
            origin: None,
            ..fatal(
                "c10: empty media",
                |chunk| {
                    let kinds = [kind::AUDIO, kind::VIDEO, kind::AGGREGATE];
                    kinds.into_iter().flat_map(|kind| message(LIARS, kind, &[], chunk)).collect()
                },
                // No media is taken from players, however short.
                chunk(ChunkError::MessageTooLong { type_id: kind::AUDIO, len: 0 }),
            )
        },
        fatal(
            "c06: 65,536 chunk streams",
            |chunk| (64..65_600).flat_map(|csid| message(csid, kind::COMMAND, &[], chunk)).collect(),
            chunk(ChunkError::TooManyChunkStreams),
        ),
        fatal("c07: a chunk size of 0", |chunk| set_chunk_size(0, chunk), chunk(ChunkError::ChunkSizeZero)),
        harmless("c07: a chunk size of 2^31 - 1", |chunk| {
            [set_chunk_size(0x7FFF_FFFF, chunk), set_chunk_size(chunk as u32, LARGE)].concat()
        }),
        harmless("c08: an extended delta that needs no extension", |chunk| {
            let mut bytes = data(&amf0::write_all(&[Amf::text("onTextData")]), chunk);
            let payload = amf0::write_all(&[Amf::text("onTextData")]);
            bytes.extend(header(1, LIARS));
            bytes.extend_from_slice(&[0xFF, 0xFF, 0xFF, 0, 0, payload.len() as u8, kind::DATA, 0, 0, 0, 40]);
            bytes.extend(payload);
            bytes
        }),
        harmless("c09: continuations without the extended timestamp", |chunk| {
            let (first, rest) = long_data(chunk);
            let mut bytes = header(0, LIARS);
            bytes.extend_from_slice(&[0xFF, 0xFF, 0xFF]);
            bytes.extend_from_slice(&first[4..12]);
            bytes.extend_from_slice(&[1, 0, 0, 0]);
            bytes.extend_from_slice(&first[12..]);
            [bytes, header(3, LIARS), rest].concat()
        }),
        fatal(
            "c11: a type-0 header inside a message",
            |chunk| {
                let (first, _) = long_data(chunk);
                [first.clone(), first].concat()
            },
            chunk(ChunkError::HeaderInsideMessage { chunk_stream: LIARS }),
        ),
        fatal(
            "a type-3 header on a chunk stream nobody opened",
            |_| vec![0xC0 | 60, 1, 2, 3],
            chunk(ChunkError::NoPreviousHeader { chunk_stream: 60 }),
        ),
        harmless("m03: @setDataFrame alone", |chunk| {
            data(&amf0::write_all(&[Amf::text("@setDataFrame")]), chunk)
        }),
        harmless("m03: @setDataFrame and onMetaData without an object", |chunk| {
            data(&amf0::write_all(&[Amf::text("@setDataFrame"), Amf::text("onMetaData")]), chunk)
        }),
        harmless("m04: user control events of other worlds", |chunk| {
            let events = [5, 8, 26, 27, 33, 255, 999_u16];
            let say = |event: u16| {
                let [high, low] = event.to_be_bytes();
                message(LIARS, kind::USER_CONTROL, &[high, low, 0, 0, 0, 1], chunk)
            };
            let short = message(LIARS, kind::USER_CONTROL, &[0, 26, 1], chunk);
            events.into_iter().flat_map(say).chain(short).collect()
        }),
        harmless("m05: control messages cut short", |chunk| {
            let kinds =
                [kind::SET_CHUNK_SIZE, kind::ABORT, kind::ACKNOWLEDGEMENT, kind::USER_CONTROL, kind::WINDOW];
            let short = kinds.into_iter().flat_map(|kind| message(LIARS, kind, &[0], chunk));
            short.chain(message(LIARS, kind::PEER_BANDWIDTH, &[0, 0x26, 0x25, 0xA0], chunk)).collect()
        }),
        Lie {
            stranger: unexpected("onBye"),
            ..harmless("m06: commands with values of every kind", |chunk| {
                STRANGE_VALUES.iter().flat_map(|value| command("onBye", 0.0, value, chunk)).collect()
            })
        },
        harmless("m06: data with values of every kind", |chunk| {
            STRANGE_VALUES
                .iter()
                .flat_map(|value| data(&[b"\x02\0\x03onX", *value].concat(), chunk))
                .collect()
        }),
        fatal(
            "m07: a text of 65,535 bytes in five",
            |chunk| message(LIARS, kind::COMMAND, &[2, 0xFF, 0xFF, 1, 1], chunk),
            amf(Amf0Error::Truncated),
        ),
        harmless("m08: AMF3 data behind its zero, and without", |chunk| {
            let payload = amf0::write_all(&[Amf::text("onTextData"), Amf::Null]);
            [message(LIARS, 15, &[&[0], &payload[..]].concat(), chunk), message(LIARS, 15, &payload, chunk)]
                .concat()
        }),
        harmless("m11: four bytes of timecode as data", |chunk| data(&[0xDE, 0xAD, 0xBE, 0xEF], chunk)),
        Lie {
            stranger: unexpected("onBye"),
            ..harmless("m12: an object with an empty name in it", |chunk| {
                command("onBye", 0.0, b"\x03\0\0\x05\0\x01a\x05\0\0\x09", chunk)
            })
        },
        harmless("s06: onStatus without its object", |chunk| command("onStatus", 0.0, &[], chunk)),
        harmless("s04: Play.Start once more", |chunk| {
            let info = Amf::Object(vec![
                ("level".into(), Amf::text("status")),
                ("code".into(), Amf::text("NetStream.Play.Start")),
            ]);
            command("onStatus", 0.0, &amf0::write_all(&[Amf::Null, info]), chunk)
        }),
        Lie {
            stranger: unexpected("createStream"),
            ..fatal(
                "s02: createStream 50,000 times",
                |chunk| command("createStream", 7.0, &[5], chunk).repeat(50_000),
                Some(SessionError::Flood),
            )
        },
        fatal("pings, 50,000 of them", |chunk| ping(chunk).repeat(50_000), Some(SessionError::Flood)),
        fatal(
            "a command that declares 16 MiB",
            |chunk| chunks(LIARS, kind::COMMAND, 0xFF_FFFF, &[1], chunk),
            chunk(ChunkError::MessageTooLong { type_id: kind::COMMAND, len: 0xFF_FFFF }),
        ),
        fatal(
            "a ping that declares 65 bytes",
            |chunk| chunks(LIARS, kind::USER_CONTROL, 65, &[0, 6], chunk),
            chunk(ChunkError::MessageTooLong { type_id: kind::USER_CONTROL, len: 65 }),
        ),
        Lie {
            origin: None,
            under_way: ORIGIN_PENDING_BYTES,
            ..fatal(
                "50 pictures that declare 16 MiB each, of which a byte comes",
                |chunk| {
                    // A whole chunk of one byte, so that the next header is one.
                    let one = |csid| chunks(csid, kind::VIDEO, 0xFF_FFFF, &[0x17], 1);
                    let pictures = (100..150).flat_map(one);
                    set_chunk_size(1, chunk).into_iter().chain(pictures).chain(resize(1, chunk)).collect()
                },
                chunk(ChunkError::MessageTooLong { type_id: kind::VIDEO, len: 0xFF_FFFF }),
            )
        },
        Lie {
            origin: None,
            under_way: ORIGIN_PENDING_BYTES,
            ..fatal(
                "50 commands of 60,000 bytes under way",
                |chunk| {
                    let one = |csid| chunks(csid, kind::COMMAND, 60_000, &[2], 1);
                    let commands = (100..150).flat_map(one);
                    set_chunk_size(1, chunk).into_iter().chain(commands).chain(resize(1, chunk)).collect()
                },
                chunk(ChunkError::TooManyPendingBytes),
            )
        },
    ]
}

/// Back to the chunk size that honest peers expect, said in chunks of another.
fn resize(from: usize, to: usize) -> Vec<u8> {
    set_chunk_size(to as u32, from)
}

const OTHER: &str = "live/two";

/// A town with a stream that is lied to, one that is not, and players before both.
struct Scene {
    town: Town,
    /// Before the stream that is lied about.
    near: Option<usize>,
    /// Before the other.
    far: [usize; 2],
}

impl Scene {
    fn new(behaviour: Behaviour, is_published: bool) -> Self {
        let mut town = Town::new(Config::default());
        town.found(HOME, behaviour);
        town.found(AWAY, Behaviour::default());
        town.publish(AWAY, OTHER, Publisher::default());
        town.add(OTHER, "rtmp://198.18.0.3/live/two");
        if is_published {
            town.publish(HOME, NAME, Publisher::default());
        }
        town.add(NAME, "rtmp://198.18.0.2/live/one");
        town.run(200);
        let far = [town.play(Take::Rtmp, OTHER), town.play(Take::Flv, OTHER)];
        let near = is_published.then(|| town.play(Take::Flv, NAME));
        town.run(1_500);
        Self { town, near, far }
    }

    /// Says a lie and gives everybody time to take it in; checks what that costs in memory.
    #[track_caller]
    fn lie(&mut self, conn: ConnId, lie: &Lie, chunk: usize, pending: usize) {
        let bytes = (lie.bytes)(chunk);
        let town = &mut self.town;
        let ((), peak) = heap::peak(|| {
            town.say(conn, &bytes);
            town.run(100);
        });
        let bound = SLACK_BYTES + COPIES * bytes.len() + pending;
        assert!(peak <= bound, "{}: {peak} bytes of heap, not {bound}", lie.what);
    }

    /// Nobody else has noticed anything.
    #[track_caller]
    fn is_calm(&self, what: &str) {
        for seat in self.near.into_iter().chain(self.far) {
            let report = self.town.report(seat);
            assert_eq!(report.violations, Vec::<String>::new(), "{what}, seat {seat}");
            assert_eq!(report.disconnects, Vec::new(), "{what}, seat {seat}");
        }
        for seat in self.far {
            let report = self.town.report(seat);
            let silence = self.town.now.since(report.last_frame.expect("it plays"));
            assert!(
                report.gap_worst.max(silence) <= Duration::from_millis(100),
                "{what}: {:?}",
                report.gap_worst
            );
            assert_eq!((report.lost, report.repeated, report.plays), (0, 0, 1), "{what}");
        }
        assert_eq!(self.town.links_to(AWAY).len(), 1, "{what}");
    }
}

#[test]
fn an_origin_that_lies_loses_at_most_its_connection() {
    let unanswered = Behaviour { connect: OnConnect::Never, ..Behaviour::default() };
    for lie in &lies() {
        for (stage, behaviour, is_published, state, chunk) in [
            ("connecting", unanswered.clone(), false, PullState::Requesting, SMALL),
            ("awaiting media", Behaviour::default(), false, PullState::AwaitingMedia, LARGE),
            ("streaming", Behaviour::default(), true, PullState::Streaming, LARGE),
        ] {
            let what = format!("{}, {stage}", lie.what);
            let mut scene = Scene::new(behaviour, is_published);
            assert_eq!(scene.town.state(NAME), state, "{what}");
            let [link] = scene.town.links_to(HOME)[..] else { panic!("{what}: one connection") };
            scene.lie(link, lie, chunk, lie.under_way);
            let failures = scene.town.failures();
            match &lie.origin {
                None => {
                    assert_eq!(failures, [], "{what}");
                    assert_eq!(scene.town.links_to(HOME), [link], "{what}");
                    assert_eq!(scene.town.state(NAME), state, "{what}");
                }
                Some(error) => {
                    assert_eq!(failures, [PullFailure::Session(error.clone())], "{what}");
                    assert!(scene.town.is_gone(link), "{what}");
                }
            }
            scene.is_calm(&what);
            // Nothing a peer says is for ever.
            scene.town.behave(HOME, Behaviour::default());
            scene.town.publish(HOME, NAME, Publisher::default());
            scene.town.run(5_000);
            assert_eq!(scene.town.state(NAME), PullState::Streaming, "{what}");
            scene.is_calm(&what);
        }
    }
}

/// `connect`, as a player says it.
fn connect() -> Vec<u8> {
    let object = Amf::Object(vec![
        ("app".into(), Amf::text("live")),
        ("tcUrl".into(), Amf::text("rtmp://198.18.0.1/live")),
    ]);
    command("connect", 1.0, &amf0::write_all(&[object]), SMALL)
}

#[test]
fn a_player_that_lies_loses_at_most_its_connection() {
    for lie in &lies() {
        for (stage, error) in
            [("a stranger", &lie.stranger), ("connected", &lie.player), ("seated", &lie.player)]
        {
            let what = format!("{}, {stage}", lie.what);
            let mut scene = Scene::new(Behaviour::default(), true);
            let conn = if stage == "seated" {
                let seat = scene.town.play(Take::Rtmp, NAME);
                scene.town.run(500);
                assert!(scene.town.report(seat).frames > 0, "{what}");
                scene.town.seat_conn(seat)
            } else {
                scene.town.call()
            };
            if stage == "connected" {
                scene.town.say(conn, &connect());
                scene.town.run(10);
                assert!(!scene.town.heard(conn).is_empty(), "{what}");
            }
            scene.lie(conn, lie, SMALL, 0);
            scene.town.run(1_000);
            match error {
                None => assert_eq!(scene.town.leavings(), [], "{what}"),
                Some(error) => {
                    assert_eq!(scene.town.leavings(), [(conn, PlayerEnd::Session(error.clone()))], "{what}");
                }
            }
            assert_eq!(scene.town.is_gone(conn), error.is_some(), "{what}");
            scene.is_calm(&what);
            assert_eq!(scene.town.failures(), [], "{what}");
        }
    }
}

#[test]
fn a_player_that_does_not_shake_hands_is_told_apart_and_hung_up_on() {
    let http = b"GET / HTTP/1.1\r\nHost: here\r\n\r\n".as_slice();
    let noise = Bytes::from(vec![0xFF; 4096]);
    for (what, said, ends_in, end) in [
        ("version 6", &[6][..], 10, PlayerEnd::Handshake(HandshakeError::Version { version: 6 })),
        ("HTTP", http, 10, PlayerEnd::Handshake(HandshakeError::Version { version: b'G' })),
        ("noise", &noise[..], 10, PlayerEnd::Handshake(HandshakeError::Version { version: 0xFF })),
        ("silence", &[], 15_010, PlayerEnd::Idle),
        ("half a C1", &[3; 700], 15_010, PlayerEnd::Idle),
    ] {
        let mut scene = Scene::new(Behaviour::default(), true);
        let conn = scene.town.call_in_silence();
        scene.town.say(conn, said);
        scene.town.run(ends_in);
        assert_eq!(scene.town.leavings(), [(conn, end)], "{what}");
        scene.is_calm(what);
    }
}

#[test]
fn liars_by_the_hundred_leave_nothing_behind() {
    let lies = lies();
    let mut scene = Scene::new(Behaviour::default(), true);
    let before = scene.town.proxy.counts();
    let fatal: Vec<&Lie> = lies.iter().filter(|lie| lie.stranger.is_some()).collect();
    for round in 0..200 {
        let conn = scene.town.call();
        let lie = fatal[round % fatal.len()];
        scene.town.say(conn, &(lie.bytes)(SMALL));
        scene.town.run(20);
        assert!(scene.town.is_gone(conn), "{}", lie.what);
    }
    scene.town.run(10_000);
    assert_eq!(scene.town.proxy.counts(), before);
    scene.is_calm("200 liars");
}
