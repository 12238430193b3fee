//! What a publisher sends and how an origin behaves, from the form's flat keys and back.

use proxy_core::time::Duration;

use super::{
    model::OriginModel,
    read::Reader,
    unit::TIME,
    values::Values,
    words::{self, AUDIO, VIDEO},
};
use crate::{
    origin::{Audio, Behaviour, Handshake, Like, Missing, Publisher, Shutdown, Video},
    raw::media::{AudioCodec, VideoCodec},
};

const SECOND: u128 = 1_000_000_000;

/// Returns what a publisher sends if nothing is said: few frames, as small as can be, so that runs are fast.
pub(crate) fn stub() -> Publisher {
    let stub = Publisher::stub();
    let video = stub.video.map(|video| Video { fps: 5, gop: 5, ..video });
    Publisher { video, audio: None, ..stub }
}

/// Returns the tracks that `stub` would have, for those that are said to be there.
fn stub_video() -> Video {
    stub().video.unwrap_or_default()
}

fn stub_audio() -> Audio {
    Publisher::stub().audio.unwrap_or_default()
}

/// Returns what a publisher sends that says what differs from an origin's model. Changes that happen once in a life
/// belong to the life they were said of.
pub(crate) fn changed(values: &Values, model: Option<&OriginModel>) -> Box<Publisher> {
    let mut base = model.map_or_else(stub, |model| model.publisher.clone());
    if let Some(video) = &mut base.video {
        (video.resize, video.until, video.skip) = (None, None, 0);
    }
    if let Some(audio) = &mut base.audio {
        (audio.from, audio.until) = (Duration::ZERO, None);
    }
    base.clock.jump = None;
    Box::new(content(values, base))
}

/// Returns what a publisher sends, where it differs from `base`.
pub(crate) fn content(values: &Values, mut base: Publisher) -> Publisher {
    base.video = match values.maybe_switch("video") {
        Some(false) => None,
        Some(true) => Some(base.video.unwrap_or_else(stub_video)),
        None => match values.maybe_pick::<VideoCodec>("video", VIDEO) {
            Some(codec) => Some(Video { codec, ..base.video.unwrap_or_else(stub_video) }),
            None => base.video,
        },
    };
    if let Some(video) = &mut base.video {
        change_video(values, video);
    }
    base.audio = match values.maybe_switch("audio") {
        Some(false) => None,
        Some(true) => Some(base.audio.unwrap_or_else(stub_audio)),
        None => match values.maybe_pick::<AudioCodec>("audio", AUDIO) {
            Some(codec) => Some(Audio { codec, ..base.audio.unwrap_or_else(stub_audio) }),
            None => base.audio,
        },
    };
    if let Some(audio) = &mut base.audio {
        audio.bytes = values.maybe_number("audio_bytes").unwrap_or(audio.bytes);
        audio.period = values.maybe_time("audio_period").unwrap_or(audio.period);
        audio.from = values.maybe_time("audio_from").unwrap_or(audio.from);
        audio.until = values.maybe_time("audio_until").or(audio.until);
    }
    base.payload = values.maybe_pick("payload", words::PAYLOADS).unwrap_or(base.payload);
    base.clock.base = values.maybe_number("clock").unwrap_or(base.clock.base);
    base.clock.mask31 = values.maybe_switch("mask31").unwrap_or(base.clock.mask31);
    if let Some(jump) = values.table("jump") {
        base.clock.jump = Some((jump.time("at"), jump.millis("by")));
    }
    base.clock.drift = values.maybe_millis("drift").unwrap_or(base.clock.drift);
    base
}

fn change_video(values: &Values, video: &mut Video) {
    let (old_fps, old_gop) = (video.fps, video.gop);
    video.fps = values.maybe_number("fps").unwrap_or(old_fps).max(1);
    video.gop = match values.maybe_gop("gop") {
        Some(Ok(frames)) => frames,
        Some(Err(time)) => gop_frames(time, video.fps).unwrap_or(1),
        // As long as before.
        None => (u64::from(old_gop) * u64::from(video.fps) / u64::from(old_fps.max(1)))
            .try_into()
            .unwrap_or(u32::MAX)
            .max(1),
    };
    video.size = values.maybe_size("size").unwrap_or(video.size);
    video.bytes = values.maybe_frame_bytes("bytes").unwrap_or(video.bytes);
    video.skip = values.maybe_number("skip").unwrap_or(video.skip);
    video.until = values.maybe_time("video_until").or(video.until);
    video.cues = values.maybe_switch("cues").unwrap_or(video.cues);
    if let Some(resize) = values.table("resize") {
        video.resize = Some((resize.time("at"), resize.maybe_size("size").unwrap_or(video.size)));
    }
}

/// Returns the frames of a GOP of this length; `None` if they are no whole number.
fn gop_frames(time: Duration, fps: u32) -> Option<u32> {
    let frames = time.as_nanos() * u128::from(fps);
    (frames > 0 && frames.is_multiple_of(SECOND)).then_some(())?;
    u32::try_from(frames / SECOND).ok()
}

/// Keys that mean nothing without video, and without audio.
const OF_VIDEO: [&str; 8] = ["fps", "gop", "size", "bytes", "skip", "video_until", "resize", "cues"];
const OF_AUDIO: [&str; 4] = ["audio_bytes", "audio_period", "audio_from", "audio_until"];

impl Reader<'_> {
    /// Tells what makes no sense in what a publisher sends.
    pub(super) fn check_content(&mut self, values: &Values, made: &Publisher) {
        for (keys, is_there, track) in
            [(&OF_VIDEO[..], made.video.is_some(), "video"), (&OF_AUDIO[..], made.audio.is_some(), "audio")]
        {
            for key in keys.iter().filter(|key| !is_there && values.has(key)) {
                self.error(
                    &values.at(key),
                    format!("{key} means nothing without {track}; write {track} = true"),
                );
            }
        }
        if made.clock.drift.abs() >= 1000 {
            self.error(&values.at("drift"), "drift: a clock gains or loses less than a second a second");
        }
        if made.video.is_none() && made.audio.is_none() {
            self.error(&values.span, "a publisher without video and audio sends nothing");
        }
        if let (Some(video), Some(Err(time))) = (&made.video, values.maybe_gop("gop"))
            && gop_frames(time, video.fps).is_none()
        {
            let shown = (TIME.show)(i128::try_from(time.as_nanos()).unwrap_or(i128::MAX));
            let text = format!("gop: {shown} at {} fps are no whole number of frames", video.fps);
            self.error(&values.at("gop"), text);
        }
    }
}

/// Returns how an origin behaves that says what differs from its software.
pub(crate) fn behaviour(values: &Values, like: Like) -> Behaviour {
    let mut to = Behaviour::like(like);
    match values.text("handshake").as_str() {
        "strict" => to.handshake = Handshake::Strict,
        "simple" => to.handshake = Handshake::Simple,
        _ => {}
    }
    let after = values.time("missing_after");
    match values.text("missing").as_str() {
        "wait" => to.missing = Missing::Wait,
        "not-found" => to.missing = Missing::NotFound { after, close: false },
        "not-found-close" => to.missing = Missing::NotFound { after, close: true },
        "silent" => to.missing = Missing::Never,
        "close" => to.missing = Missing::Close,
        _ => {
            if let (Missing::NotFound { after, .. }, Some(time)) =
                (&mut to.missing, values.maybe_time("missing_after"))
            {
                *after = time;
            }
        }
    }
    to.unpublish = values.maybe_pick("unpublish", words::UNPUBLISH).unwrap_or(to.unpublish);
    to.second_play = values.maybe_pick("second_play", words::SECOND_PLAY).unwrap_or(to.second_play);
    to.command_delay = values.maybe_time("command_delay").unwrap_or(to.command_delay);
    to.pings_answered = values.maybe_switch("pings").unwrap_or(to.pings_answered);
    to.ping_every = values.maybe_time("ping_every").or(to.ping_every);
    to.gop_cache = values.maybe_switch("gop_cache").unwrap_or(to.gop_cache);
    to.media_before_start = values.maybe_switch("media_before_start").unwrap_or(to.media_before_start);
    to.metadata = values.maybe_pick("metadata", words::METADATA).unwrap_or(to.metadata);
    to.window = values.maybe_number("window").unwrap_or(to.window);
    to.stops_unacknowledged = values.maybe_switch("stops_unacknowledged").unwrap_or(to.stops_unacknowledged);
    match values.text("shutdown").as_str() {
        "hangup" => to.shutdown = Shutdown::Hangup,
        "as-publisher" => to.shutdown = Shutdown::AsPublisher,
        word => to.shutdown = word.parse().map_or(to.shutdown, Shutdown::Told),
    }
    to.csids = values.maybe_pick("csids", words::CSIDS).unwrap_or(to.csids);
    let wire = &mut to.wire;
    wire.chunk_size = values.maybe_number("chunk_size").unwrap_or(wire.chunk_size);
    wire.headers = values.maybe_pick("headers", words::HEADERS).unwrap_or(wire.headers);
    wire.extended_in_continuations =
        values.maybe_switch("extended_in_continuations").unwrap_or(wire.extended_in_continuations);
    wire.interleave = values.maybe_switch("interleave").unwrap_or(wire.interleave);
    wire.aggregate = values.maybe_switch("aggregate").unwrap_or(wire.aggregate);
    to
}

/// Returns the software an origin is like.
pub(crate) fn like(values: &Values) -> Like {
    values.text("like").parse().unwrap_or(Like::Srs6)
}
