//! Conversations of other software, captured once (`golden/README.txt`), read by our handshake, chunk decoder,
//! command parser and classifier.

use proxy_core::wire::{
    chunk::{ChunkDecoder, ChunkLimits, Decoded},
    command::Command,
    flv::{self, FrameClass},
    handshake::{HandshakeError, Progress, ServerHandshake},
    message::{Message, type_id},
};

/// C0 C1 C2, or S0 S1 S2.
const HANDSHAKE_BYTES: usize = 3073;

macro_rules! golden {
    ($name:literal) => {
        include_bytes!(concat!("../golden/", $name, ".bin")).as_slice()
    };
}

const ALL: [(&str, &[u8]); 8] = [
    ("ffmpeg-publish-nginx.client", golden!("ffmpeg-publish-nginx.client")),
    ("ffmpeg-publish-nginx.server", golden!("ffmpeg-publish-nginx.server")),
    ("ffmpeg-play-nginx.client", golden!("ffmpeg-play-nginx.client")),
    ("ffmpeg-play-nginx.server", golden!("ffmpeg-play-nginx.server")),
    ("rtmpdump-play-nginx.client", golden!("rtmpdump-play-nginx.client")),
    ("rtmpdump-play-nginx.server", golden!("rtmpdump-play-nginx.server")),
    ("ffmpeg-play-ffmpeg.client", golden!("ffmpeg-play-ffmpeg.client")),
    ("ffmpeg-play-ffmpeg.server", golden!("ffmpeg-play-ffmpeg.server")),
];

fn messages(name: &str, pieces: impl FnOnce(&'static [u8]) -> Vec<&'static [u8]>) -> Vec<Message> {
    let (_, bytes) = ALL.iter().find(|(known, _)| *known == name).expect("a captured conversation");
    let limits = if name.ends_with(".server") || name.contains("publish") {
        ChunkLimits::ORIGIN
    } else {
        ChunkLimits::PLAYER
    };
    let mut decoder = ChunkDecoder::new(limits);
    let mut messages = vec![];
    for mut piece in pieces(&bytes[HANDSHAKE_BYTES..]) {
        while let Decoded { used, message: Some(message) } = decoder.decode(piece).expect("chunks") {
            piece = &piece[used..];
            messages.push(message);
        }
    }
    messages
}

fn whole(bytes: &[u8]) -> Vec<&[u8]> {
    vec![bytes]
}

/// One word a message, media up to the first frame that decodes alone.
fn told(name: &str) -> String {
    let mut told = vec![];
    for message in messages(name, whole) {
        if let Some(control) = message.control() {
            told.push(format!("{control:?}"));
        } else if message.type_id == type_id::COMMAND_AMF0 {
            let command = Command::parse(&message).expect("AMF0");
            let status = command.status();
            let code = status.code.rsplit_once("NetStream.").map_or("", |(_, code)| code);
            told.push(format!("{}/{}@{} {code}", command.name, command.transaction, message.stream));
        } else if let Some(frame) = flv::classify(&message) {
            told.push(format!("{:?} {:?}@{}", frame.class, frame.medium, message.stream));
            if frame.class == FrameClass::Keyframe {
                break;
            }
        } else {
            told.push(format!("type {} not relayed", message.type_id));
        }
    }
    told.dedup();
    told.join("\n")
}

#[test]
fn ffmpeg_publishes_to_nginx() {
    assert_eq!(
        told("ffmpeg-publish-nginx.client"),
        "connect/1@0 \nSetChunkSize(4096)\nreleaseStream/2@0 \nFCPublish/3@0 \ncreateStream/4@0 \npublish/5@1 \n\
         Metadata Data@1\nSequenceHeader Video@1\nSequenceHeader Audio@1\nAudio Audio@1\nKeyframe Video@1"
    );
    assert_eq!(
        told("ffmpeg-publish-nginx.server"),
        "WindowAckSize(5000000)\nSetPeerBandwidth(5000000)\nSetChunkSize(4096)\n_result/1@0 \n_result/4@0 \n\
         onStatus/0@1 Publish.Start\nonStatus/0@1 Unpublish.Success"
    );
}

#[test]
fn ffmpeg_plays_from_nginx() {
    assert_eq!(
        told("ffmpeg-play-nginx.client"),
        "connect/1@0 \nWindowAckSize(5000000)\ncreateStream/2@0 \ngetStreamLength/3@0 \nplay/4@1 \n\
         SetBufferLength { stream: 1, millis: 3000 }\ndeleteStream/5@0 "
    );
    assert!(told("ffmpeg-play-nginx.server").starts_with(
        "WindowAckSize(5000000)\nSetPeerBandwidth(5000000)\nSetChunkSize(4096)\n_result/1@0 \n_result/2@0 \n\
         StreamBegin(1)\nonStatus/0@1 Play.Start\ntype 18 not relayed\nMetadata Data@1\nSequenceHeader Audio@1\n"
    ));
}

#[test]
fn rtmpdump_plays_from_nginx() {
    assert_eq!(
        told("rtmpdump-play-nginx.client"),
        "connect/1@0 \nWindowAckSize(5000000)\nSetBufferLength { stream: 0, millis: 300 }\ncreateStream/2@0 \n\
         FCSubscribe/3@0 \nplay/4@1 \nSetBufferLength { stream: 1, millis: 36000000 }\ndeleteStream/5@0 "
    );
}

#[test]
fn ffmpeg_plays_from_ffmpeg() {
    // As server it puts media on message stream 0.
    assert_eq!(
        told("ffmpeg-play-ffmpeg.server"),
        "WindowAckSize(2500000)\nSetPeerBandwidth(2500000)\nStreamBegin(0)\nSetChunkSize(128)\n_result/1@0 \n\
         onBWDone/0@0 \n_result/2@0 \n_result/3@0 \nStreamBegin(1)\nonStatus/0@1 Play.Start\nMetadata Data@0\n\
         SequenceHeader Video@0\nSequenceHeader Audio@0\nAudio Audio@0\nKeyframe Video@0"
    );
}

#[test]
fn captured_chunks_decode_the_same_however_they_are_cut() {
    for (name, _) in ALL {
        let expected = messages(name, whole);
        assert!(!expected.is_empty());
        for len in [1, 2, 3, 5, 7, 11, 12, 128, 129, 1448] {
            assert!(
                messages(name, |bytes| bytes.chunks(len).collect()) == expected,
                "{name} in pieces of {len}"
            );
        }
    }
}

#[test]
fn a_captured_player_is_answered_and_then_refused_for_its_answer_to_another() {
    for (name, bytes, is_digested) in [
        ("ffmpeg", golden!("ffmpeg-play-nginx.client"), true),
        ("rtmpdump", golden!("rtmpdump-play-nginx.client"), false),
    ] {
        let mut out = vec![];
        let result = ServerHandshake::start(&[7; 1528]).handle_bytes(bytes, &mut out);
        assert_eq!(out.len(), HANDSHAKE_BYTES, "{name}");
        assert_eq!(out[1537..] == bytes[1..1537], !is_digested, "{name}: S2 echoes a simple C1");
        match result {
            // Its C2 signs the digest of nginx's S1, not of ours.
            Err(error) => assert!(is_digested && error == HandshakeError::Digest, "{name}"),
            Ok((used, progress)) => {
                assert!(
                    !is_digested && used == HANDSHAKE_BYTES && matches!(progress, Progress::Done),
                    "{name}"
                );
            }
        }
    }
}
