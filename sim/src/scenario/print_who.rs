//! Networks, hosts, what they are like, and pulls as TOML.

use std::fmt::Write;

use proxy_core::io::{BackoffLaw, PullOptions};
use proxyd::config::{Field, KEYS, Settings, StaticProxy, has_option};

use super::{
    build::first_address,
    forms::{self, CONNTRACK, KINDS, NEIGHBOURS},
    model::{Network, OriginModel, PlayerModel, PullSpec},
    publisher::stub,
    show::{Pairs, args, quote, rate, section, share, shift, size, span, streams, time},
    words,
};
use crate::origin::{Behaviour, Handshake, Missing, Publisher, Shutdown};

pub(super) fn net_pairs(net: &Network) -> Pairs {
    let mut pairs = Pairs::of(&forms::NET);
    pairs.put("kind", quote(words::word(KINDS, net.is_docker)));
    pairs.put("subnet", quote(&format!("{}/{}", net.subnet.0, net.subnet.1)));
    if net.gateway != first_address(net.subnet) {
        pairs.put("gateway", quote(&net.gateway.to_string()));
    }
    pairs.put("latency", span(net.link.latency_min, net.link.latency_max));
    pairs.put("loss", share(net.link.loss_ppm));
    pairs.put("duplicate", share(net.link.duplicate_ppm));
    pairs.put("reorder", share(net.link.reorder_ppm));
    pairs.maybe("bandwidth", net.link.bandwidth.map(rate));
    pairs.put("mtu", net.link.mtu.to_string());
    let mut on_stop = Pairs::of(&forms::ON_STOP);
    on_stop.put("neighbours", quote(words::word(NEIGHBOURS, net.on_stop.neighbours_stale)));
    on_stop.put("conntrack", quote(words::word(CONNTRACK, net.on_stop.conntrack_kept)));
    on_stop.put("reassign_ip", net.on_stop.reassign_ip.to_string());
    pairs.put("on_stop", on_stop.inline());
    pairs.put("ipv6", net.ipv6.to_string());
    pairs.maybe("conntrack_timeout", net.conntrack_timeout.map(time));
    pairs
}

pub(super) fn player_pairs(model: &PlayerModel) -> Pairs {
    let mut pairs = Pairs::of(&forms::PLAYER_MODEL);
    pairs.maybe("retry", model.retry.map(time));
    pairs.maybe("read_rate", model.read_rate.map(|bytes| rate(bytes * 8)));
    pairs
}

pub(super) fn model_pairs(model: &OriginModel) -> Pairs {
    let mut pairs = Pairs::of(&forms::MODEL);
    pairs.put("like", quote(model.like.name()));
    pairs.put("stream", streams(&model.streams));
    pairs.put("port", model.port.to_string());
    pairs.put("backlog", model.backlog.to_string());
    pairs.put("boot", time(model.boot));
    pairs.put("first_frame", time(model.first_frame));
    pairs.put("published", model.published.to_string());
    pairs.put("up", model.up.to_string());
    content_pairs(&model.publisher, Some(&stub()), &mut pairs);
    behaviour_pairs(&model.behaviour, &Behaviour::like(model.like), &mut pairs);
    pairs
}

/// Says all of what a publisher sends, since what is left out is as the origin's model has it.
pub(super) fn whole_content(publisher: &Publisher) -> Pairs {
    let mut pairs = Pairs::of(&forms::PUBLISHER);
    content_pairs(publisher, None, &mut pairs);
    pairs
}

/// Says where a publisher differs from a base, or all of it.
pub(super) fn content_pairs(publisher: &Publisher, base: Option<&Publisher>, pairs: &mut Pairs) {
    let is_new = |is_other: bool| base.is_none() || is_other;
    match &publisher.video {
        None if is_new(base.is_some_and(|base| base.video.is_some())) => {
            pairs.put("video", "false".to_owned())
        }
        None => {}
        Some(video) => {
            let old = base.and_then(|base| base.video.as_ref());
            if is_new(old.is_none_or(|old| old.codec != video.codec)) {
                pairs.put("video", quote(words::word(words::VIDEO, video.codec)));
            }
            if is_new(old.is_none_or(|old| (old.fps, old.gop) != (video.fps, video.gop))) {
                pairs.put("fps", video.fps.to_string());
                pairs.put("gop", video.gop.to_string());
            }
            if is_new(old.is_none_or(|old| old.size != video.size)) {
                pairs.put("size", size(video.size));
            }
            if is_new(old.is_none_or(|old| old.bytes != video.bytes)) {
                pairs.put("bytes", format!("[{}, {}]", video.bytes.0, video.bytes.1));
            }
            if is_new(old.is_none_or(|old| old.cues != video.cues)) {
                pairs.put("cues", video.cues.to_string());
            }
            if video.skip != 0 {
                pairs.put("skip", video.skip.to_string());
            }
            pairs.maybe("video_until", video.until.map(time));
            pairs.maybe(
                "resize",
                video.resize.map(|(at, to)| format!("{{ at = {}, size = {} }}", time(at), size(to))),
            );
        }
    }
    match &publisher.audio {
        None if is_new(base.is_some_and(|base| base.audio.is_some())) => {
            pairs.put("audio", "false".to_owned())
        }
        None => {}
        Some(audio) => {
            pairs.put("audio", quote(words::word(words::AUDIO, audio.codec)));
            pairs.put("audio_bytes", audio.bytes.to_string());
            pairs.put("audio_period", time(audio.period));
            if !audio.from.is_zero() {
                pairs.put("audio_from", time(audio.from));
            }
            pairs.maybe("audio_until", audio.until.map(time));
        }
    }
    if is_new(base.is_some_and(|base| base.payload != publisher.payload)) {
        pairs.put("payload", quote(words::word(words::PAYLOADS, publisher.payload)));
    }
    let clock = &publisher.clock;
    if is_new(base.is_some_and(|base| base.clock.base != clock.base)) {
        pairs.put("clock", clock.base.to_string());
    }
    if is_new(base.is_some_and(|base| base.clock.mask31 != clock.mask31)) {
        pairs.put("mask31", clock.mask31.to_string());
    }
    if is_new(base.is_some_and(|base| base.clock.drift != clock.drift)) {
        pairs.put("drift", shift(clock.drift));
    }
    pairs.maybe("jump", clock.jump.map(|(at, by)| format!("{{ at = {}, by = {} }}", time(at), shift(by))));
}

pub(super) fn behaviour_pairs(to: &Behaviour, from: &Behaviour, pairs: &mut Pairs) {
    if to.handshake != from.handshake {
        let is_strict = to.handshake == Handshake::Strict;
        pairs.put("handshake", quote(if is_strict { "strict" } else { "simple" }));
    }
    if to.missing != from.missing {
        let word = match to.missing {
            Missing::Wait => "wait",
            Missing::NotFound { close: false, .. } => "not-found",
            Missing::NotFound { close: true, .. } => "not-found-close",
            Missing::Never => "silent",
            Missing::Close => "close",
        };
        pairs.put("missing", quote(word));
        if let Missing::NotFound { after, .. } = to.missing {
            pairs.put("missing_after", time(after));
        }
    }
    let mut other = |name: &str, is_other: bool, value: String| {
        if is_other {
            pairs.put(name, value);
        }
    };
    let unpublish = quote(words::word(words::UNPUBLISH, to.unpublish));
    other("unpublish", to.unpublish != from.unpublish, unpublish);
    let second = quote(words::word(words::SECOND_PLAY, to.second_play));
    other("second_play", to.second_play != from.second_play, second);
    other("command_delay", to.command_delay != from.command_delay, time(to.command_delay));
    other("pings", to.pings_answered != from.pings_answered, to.pings_answered.to_string());
    if let Some(every) = to.ping_every {
        other("ping_every", to.ping_every != from.ping_every, time(every));
    }
    other("gop_cache", to.gop_cache != from.gop_cache, to.gop_cache.to_string());
    other(
        "media_before_start",
        to.media_before_start != from.media_before_start,
        to.media_before_start.to_string(),
    );
    other("metadata", to.metadata != from.metadata, quote(words::word(words::METADATA, to.metadata)));
    other("window", to.window != from.window, to.window.to_string());
    other(
        "stops_unacknowledged",
        to.stops_unacknowledged != from.stops_unacknowledged,
        to.stops_unacknowledged.to_string(),
    );
    let shutdown = match to.shutdown {
        Shutdown::Hangup => "hangup",
        Shutdown::AsPublisher => "as-publisher",
        Shutdown::Told(ending) => ending.name(),
    };
    other("shutdown", to.shutdown != from.shutdown, quote(shutdown));
    other("csids", to.csids != from.csids, quote(words::word(words::CSIDS, to.csids)));
    let (to, from) = (&to.wire, &from.wire);
    other("chunk_size", to.chunk_size != from.chunk_size, to.chunk_size.to_string());
    other("headers", to.headers != from.headers, quote(words::word(words::HEADERS, to.headers)));
    other(
        "extended_in_continuations",
        to.extended_in_continuations != from.extended_in_continuations,
        to.extended_in_continuations.to_string(),
    );
    other("interleave", to.interleave != from.interleave, to.interleave.to_string());
    other("aggregate", to.aggregate != from.aggregate, to.aggregate.to_string());
}

pub(super) fn pull_pairs(pull: &PullSpec) -> Pairs {
    let mut pairs = Pairs::of(&forms::PULL);
    pairs.put("app", quote(&pull.app));
    pairs.put("stream", quote(&pull.stream));
    pairs.put("url", quote(&pull.url));
    pairs.put("count", pull.count.to_string());
    let (ours, others): (Vec<_>, Vec<_>) = pull.args.iter().cloned().partition(|(name, _)| has_option(name));
    for (name, value) in ours {
        pairs.put(&name, quote(&value));
    }
    pairs.put("args", args(&others));
    pairs
}

pub(crate) fn config(path: &str, settings: &Settings, out: &mut String) {
    let under = if path.is_empty() { String::new() } else { format!("{path}.") };
    let defaults = Settings::default();
    let mut last = "";
    for key in KEYS {
        let value = key.field.show(settings);
        if value == key.field.show(&defaults) {
            continue;
        }
        if key.section != last {
            write!(out, "\n[{under}{}]\n", key.section).expect("a String takes everything");
            last = key.section;
        }
        let value = match &key.field {
            Field::Text(_) | Field::Law(_) | Field::Address(_) | Field::Addresses(_) => quote(&value),
            Field::Millis(..)
            | Field::Seconds(..)
            | Field::Size(..)
            | Field::Count(..)
            | Field::Port(_)
            | Field::Switch(_) => value,
        };
        writeln!(out, "{} = {value}", key.name).expect("a String takes everything");
    }
    for proxy in &settings.proxies {
        section(&format!("[[{under}proxy]]"), &static_pairs(proxy), out);
    }
}

pub(super) fn static_pairs(proxy: &StaticProxy) -> Pairs {
    let mut pairs = Pairs { keys: Vec::new(), pairs: Vec::new() };
    pairs.put("vhost", quote(&proxy.key.vhost));
    pairs.put("app", quote(&proxy.key.app));
    pairs.put("stream", quote(&proxy.key.stream));
    pairs.put("url", quote(&proxy.url));
    let PullOptions {
        retry_count,
        force,
        reply_timeout,
        law,
        stall_timeout,
        track_stall_timeout,
        first_media_timeout,
        auto_close,
        reset_when_replay,
        fc_subscribe,
        play_path,
    } = &proxy.options;
    pairs.put("retry_count", retry_count.to_string());
    pairs.put("force", force.to_string());
    let law = law.map(|law| match law {
        BackoffLaw::Repull => "repull",
        BackoffLaw::ZlMediaKit => "zlmediakit",
    });
    pairs.maybe("law", law.map(quote));
    pairs.maybe("play_path", play_path.as_deref().map(quote));
    for (name, time) in [
        ("reply_timeout_ms", reply_timeout),
        ("stall_timeout_ms", stall_timeout),
        ("track_stall_timeout_ms", track_stall_timeout),
        ("first_media_timeout_ms", first_media_timeout),
    ] {
        pairs.maybe(name, time.map(|time| time.as_millis().to_string()));
    }
    for (name, switch) in
        [("auto_close", auto_close), ("reset_when_replay", reset_when_replay), ("fc_subscribe", fc_subscribe)]
    {
        pairs.maybe(name, switch.map(|on| on.to_string()));
    }
    pairs
}
