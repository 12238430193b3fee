//! How a model origin behaves: plain data, every liberty and misdeed a variant.

use proxy_core::time::Duration;

use super::outlet::{CutBy, Flow};
use crate::raw::{
    chunk::ChunkStyle,
    media::{AudioCodec, VideoCodec},
};

/// How an origin behaves towards those who dial it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Behaviour {
    /// What happens to a fresh connection.
    pub handshake: Handshake,
    /// The answer to `connect`.
    pub connect: OnConnect,
    /// The answer to `createStream`.
    pub create_stream: OnCall,
    /// The answer to `play` of a stream that is there.
    pub play: OnCall,
    /// The answer to `play` of a stream that nobody publishes.
    pub missing: Missing,
    /// What players learn when the publisher leaves.
    pub unpublish: Unpublish,
    /// The answer to another `play` on a connection that has had one.
    pub second_play: SecondPlay,
    /// What is kept back from an accepted play.
    pub withhold: Withhold,
    /// Tracks whose frames are kept back; video comes back with a keyframe.
    pub muted: Muted,
    /// The encoder makes no keyframes: where one is due, another frame goes out.
    pub keyless: bool,
    /// At most one frame in this time, all others are left out: of video a keyframe.
    pub drip: Option<Duration>,
    /// Every command is taken up only after this long.
    pub command_delay: Duration,
    /// Answers PingRequest.
    pub pings_answered: bool,
    /// Sends PingRequest this often (nginx-rtmp: 60 s).
    pub ping_every: Option<Duration>,
    /// Joiners get the GOP under way first; otherwise they start at the next frame, whatever it is.
    pub gop_cache: bool,
    /// Metadata and media go out before Play.Start.
    pub media_before_start: bool,
    /// StreamBegin, Play.Reset and `|RtmpSampleAccess` around Play.Start.
    pub start: StartStyle,
    /// How metadata is sent.
    pub metadata: MetadataStyle,
    /// Ends a play after so many frames.
    pub end: Option<PlayEnd>,
    /// Sends `NetConnection.Connect.ReconnectRequest` so long after a play was accepted.
    pub reconnect_request: Option<Reconnect>,
    /// The first id that `createStream` returns.
    pub message_stream: u32,
    /// Lives and plays count on from here, so that viewers can tell two origins of one stream apart. It matters
    /// for names and plays to come.
    pub numbers_from: u32,
    /// Media goes out on this message stream, the play's own if `None`.
    pub media_stream: Option<u32>,
    /// The acknowledgement window asked for, in bytes.
    pub window: u32,
    /// Stops sending when more than two windows are unacknowledged (seen at VRCDN).
    pub stops_unacknowledged: bool,
    /// How chunks are written.
    pub wire: ChunkStyle,
    /// On which chunk streams.
    pub csids: Csids,
    /// How bytes leave.
    pub flow: Flow,
    /// Every connection ends after so many bytes of what it would say, the handshake's first.
    pub cut: Option<(u64, CutBy)>,
    /// What is said when the process is told to end.
    pub shutdown: Shutdown,
    /// A deliberate wrong, to prove that viewers notice.
    pub defect: Option<Defect>,
}

/// What happens to a fresh connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Handshake {
    /// S0, S1 and S2 as soon as C1 is there.
    Simple,
    /// The same, but a C2 that is no echo of S1 is hung up on.
    Strict,
    /// Accepted, then nothing.
    Silent,
    /// Accepted, then closed.
    Close,
    /// Accepted, and reset when the first bytes come (what docker-proxy does).
    Reset,
    /// S0 S1 S2 in small pieces.
    Slow {
        /// Bytes in a piece, at least 1.
        len: usize,
        /// Time between pieces.
        every: Duration,
    },
    /// Another S0 than 3.
    Version(u8),
    /// Something that is not RTMP at all.
    Http,
}

/// The answer to `connect`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OnConnect {
    /// `_result`, NetConnection.Connect.Success.
    Accept,
    /// None.
    Never,
    /// `_error`, NetConnection.Connect.Rejected.
    Refuse {
        /// The description.
        description: String,
    },
    /// `_error` with `ex.code` 302 (SRS, FMS).
    Redirect {
        /// `ex.redirect`: a tcUrl.
        tc_url: String,
        /// `ex.redirect2`: a whole url.
        url: String,
    },
    /// Hang up, as nginx-rtmp does for an unknown application.
    Close,
}

/// The answer to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnCall {
    /// As asked.
    Answer,
    /// None.
    Never,
    /// `_error`, or an onStatus of level error.
    Error,
    /// Hang up.
    Close,
}

/// The answer to `play` of a stream nobody publishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// Play.Start, then silence until there is a publisher (SRS, nginx-rtmp).
    Wait,
    /// NetStream.Play.StreamNotFound, unless a publisher comes in time.
    NotFound {
        /// How long a publisher is waited for.
        after: Duration,
        /// Hang up after it.
        close: bool,
    },
    /// None.
    Never,
    /// Hang up.
    Close,
}

/// What players learn when the publisher leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unpublish {
    /// Nothing (SRS).
    Silent,
    /// User control StreamEOF (nginx-rtmp).
    StreamEof,
    /// User control StreamDry.
    StreamDry,
    /// NetStream.Play.UnpublishNotify, and PublishNotify when a publisher is back.
    Notify,
    /// NetStream.Play.Stop.
    Stop,
    /// FIN.
    Close,
    /// StreamEOF, then FIN (ZLMediaKit).
    EofAndClose,
}

/// The answer to another `play` on a connection that has had one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecondPlay {
    /// A play like any other.
    Serve,
    /// The same, but for sequence headers: those the connection has had are left out.
    Bare,
    /// None; the first goes on, if it was not closed.
    Ignore,
    /// An onStatus of level error saying so.
    AlreadyJoined,
    /// Hang up.
    Close,
}

/// What is kept back from an accepted play.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Withhold {
    /// Nothing.
    Nothing,
    /// Frames: metadata and sequence headers come.
    Frames,
    /// Frames and sequence headers: metadata comes.
    HeadersAndFrames,
    /// All of it.
    Everything,
}

/// Tracks whose frames are kept back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Muted {
    /// Video.
    pub video: bool,
    /// Audio.
    pub audio: bool,
}

/// The chunk streams media goes out on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Csids {
    /// Data messages.
    pub data: u32,
    /// Audio.
    pub audio: u32,
    /// Video.
    pub video: u32,
}

impl Csids {
    /// As nginx-rtmp numbers them.
    pub const USUAL: Self = Self { data: 4, audio: 6, video: 7 };
    /// All on one, as some encoders do.
    pub const SHARED: Self = Self { data: 4, audio: 4, video: 4 };
    /// Numbers that need a basic header of two and of three bytes (§5.3.1.1).
    pub const FAR: Self = Self { data: 64, audio: 319, video: 65_599 };
}

/// What is said when the process is told to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shutdown {
    /// Nothing: the kernel closes what the process had open (SRS, nginx-rtmp and ZLMediaKit on SIGTERM).
    Hangup,
    /// Players are told first.
    Told(super::Ending),
    /// `FCUnpublish` and `deleteStream`, as to a server it publishes to (FFmpeg, `rtmp_close`).
    AsPublisher,
}

/// What stands around Play.Start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StartStyle {
    /// User control StreamBegin first.
    pub begin: bool,
    /// NetStream.Play.Reset.
    pub reset: bool,
    /// `|RtmpSampleAccess`.
    pub sample_access: bool,
}

/// How metadata is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetadataStyle {
    /// Not at all.
    Absent,
    /// `onMetaData` and an ECMA array (SRS).
    Ecma,
    /// `onMetaData` and an object (nginx-rtmp).
    Object,
    /// `@setDataFrame`, `onMetaData` and an ECMA array (FFmpeg).
    SetDataFrame,
}

/// Ends a play after so many frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlayEnd {
    /// Frames sent before, audio and video together.
    pub frames: u64,
    /// How.
    pub by: EndBy,
}

/// How a play ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndBy {
    /// FIN.
    Close,
    /// RST.
    Reset,
    /// FIN in the middle of a frame.
    Cut,
    /// No more frames; all else goes on.
    Silence,
}

/// A request to reconnect (E-RTMP v2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reconnect {
    /// So long after a play was accepted.
    pub after: Duration,
    /// The tcUrl to go to, or none.
    pub tc_url: Option<String>,
}

/// A deliberate wrong, to prove that viewers notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defect {
    /// Sequence headers are left out.
    NoHeaders,
    /// A sequence header of other content.
    WrongHeader,
    /// Two frames of a track change places.
    Swapped,
    /// A frame comes twice.
    Repeated,
    /// A frame of another stream.
    Foreign,
    /// A frame of the publisher's life before.
    OldLife,
    /// A byte of a frame is changed.
    Corrupt,
    /// A timestamp goes back by 500 ms.
    TimeBack,
    /// A timestamp goes forward by an hour.
    TimeForward,
    /// A video frame is left out and the next one, no keyframe, is sent.
    Lost,
}

/// A publisher: what it sends from the moment it begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publisher {
    /// The video track.
    pub video: Option<Video>,
    /// The audio track.
    pub audio: Option<Audio>,
    /// How its clock reads.
    pub clock: PublisherClock,
    /// What its frames are made of.
    pub payload: Payload,
}

/// What frames are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload {
    /// Pictures and sound that decoders read, where the codec is one we can write.
    Decodable,
    /// The tag's own bytes and a stamp, 46–49 bytes, filled up to the least length wanted: cheap, for simulated worlds.
    Stub,
}

/// A video track.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Video {
    /// The codec.
    pub codec: VideoCodec,
    /// Width and height in pixels.
    pub size: (u32, u32),
    /// Frames per second, 1–1000.
    pub fps: u32,
    /// Frames from keyframe to keyframe, at least 1.
    pub gop: u32,
    /// Least bytes of a keyframe and of any other; small frames are filled up.
    pub bytes: (usize, usize),
    /// So many frames are left out at the beginning: fewer than a GOP, and there is no keyframe to begin with.
    pub skip: u32,
    /// The size changes with the first keyframe at or after this media time.
    pub resize: Option<(Duration, (u32, u32))>,
    /// The last frame comes before this media time.
    pub until: Option<Duration>,
    /// Each keyframe is followed by a data message of its own, `onCuePoint`, that names its GOP, and, in the codecs that have
    /// it, by a video command; metadata says so.
    pub cues: bool,
}

/// An audio track.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audio {
    /// The codec.
    pub codec: AudioCodec,
    /// Time from frame to frame.
    pub period: Duration,
    /// Least bytes of a frame; smaller ones are filled up if they are stubs.
    pub bytes: usize,
    /// The first frame comes at or after this media time.
    pub from: Duration,
    /// The last frame comes before this media time.
    pub until: Option<Duration>,
}

/// How a publisher's clock reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublisherClock {
    /// The first timestamp, in ms.
    pub base: u32,
    /// Only 31 bits are sent (SRS).
    pub mask31: bool,
    /// At this media time all timestamps move by so many ms.
    pub jump: Option<(Duration, i64)>,
    /// How many ms it gains a second; a clock that is slow loses them.
    pub drift: i64,
}

impl Default for Publisher {
    /// 64x48 AVC at 25 frames per second with a keyframe each second, and stereo AAC.
    fn default() -> Self {
        Self {
            video: Some(Video::default()),
            audio: Some(Audio::default()),
            clock: PublisherClock { base: 0, mask31: false, jump: None, drift: 0 },
            payload: Payload::Decodable,
        }
    }
}

impl Publisher {
    /// The default publisher with stubs of 64 bytes for frames.
    pub fn stub() -> Self {
        Self {
            video: Some(Video { bytes: (64, 64), ..Video::default() }),
            audio: Some(Audio { bytes: 64, ..Audio::default() }),
            payload: Payload::Stub,
            ..Self::default()
        }
    }
}

impl Default for Video {
    fn default() -> Self {
        Self {
            codec: VideoCodec::Avc,
            size: (64, 48),
            fps: 25,
            gop: 25,
            bytes: (0, 0),
            skip: 0,
            resize: None,
            until: None,
            cues: false,
        }
    }
}

impl Default for Audio {
    fn default() -> Self {
        // 1,024 samples at 44.1 kHz.
        Self {
            codec: AudioCodec::AacStereo,
            period: Duration::from_nanos(23_219_955),
            bytes: 0,
            from: Duration::ZERO,
            until: None,
        }
    }
}
