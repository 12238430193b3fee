//! Settings that are allowed one by one and make no sense together.
//!
//! Field reports behind them: a client that gives up before the origin's hold ends never sees why (ZLMediaKit#3739);
//! an unwatched stream closed between two attempts of an outage. What ZLMediaKit needs and we do not is not
//! warned of: a parked player outlives `rtmp.handshakeSecond`.

use std::time::Duration;

use super::{Settings, WELL_KNOWN_SECRET};

/// How long ZLMediaKit and its like hold a play request for a missing stream by default.
const ORIGIN_HOLD: Duration = Duration::from_secs(15);

/// The shortest secret that is not remarked on, in characters.
const SECRET_CHARS_MIN: usize = 8;

/// A finding about one key, or two.
pub(super) struct Finding {
    /// The key it is told at, `section.name`; also another one if that one is not in the file.
    pub(super) keys: &'static [&'static str],
    pub(super) text: String,
    pub(super) is_error: bool,
}

/// Returns what contradicts itself (errors) or is probably not meant (warnings).
pub(super) fn check(settings: &Settings) -> Vec<Finding> {
    let (pull, play, relay) = (&settings.core.pull, &settings.core.play, &settings.core.relay);
    let mut findings = Vec::new();
    let mut tell = |is_error, when, keys, text: String| {
        if when {
            findings.push(Finding { keys, text, is_error });
        }
    };

    tell(
        true,
        settings.http.port != 0 && settings.http.port == settings.rtmp.port,
        &["http.port", "rtmp.port"],
        format!("http.port and rtmp.port are both {}", settings.http.port),
    );
    tell(
        true,
        pull.backoff_min > pull.backoff_max,
        &["pull.backoff_min_ms", "pull.backoff_max_ms"],
        "pull.backoff_min_ms is above pull.backoff_max_ms".to_owned(),
    );
    tell(
        true,
        pull.backoff_idle_max < pull.backoff_max,
        &["pull.backoff_idle_max_ms", "pull.backoff_max_ms"],
        "pull.backoff_idle_max_ms is below pull.backoff_max_ms".to_owned(),
    );
    tell(
        true,
        relay.gop_bytes_max > relay.log_bytes_max,
        &["relay.gop_bytes_max", "relay.log_bytes_max"],
        "relay.gop_bytes_max is above relay.log_bytes_max: the group would be trimmed before it is whole"
            .to_owned(),
    );
    tell(
        true,
        u64::try_from(pull.chunk_limits.pending_bytes_max).unwrap_or(u64::MAX)
            < u64::from(pull.chunk_limits.media_bytes_max),
        &["pull.pending_bytes_max", "pull.media_bytes_max"],
        "pull.pending_bytes_max is below pull.media_bytes_max: no frame of that size could arrive".to_owned(),
    );

    tell(
        false,
        pull.first_media_timeout < ORIGIN_HOLD,
        &["pull.first_media_timeout_ms"],
        format!(
            "pull.first_media_timeout_ms is below the {} s for which some origins hold a play request: their \
             answer would never be seen",
            ORIGIN_HOLD.as_secs()
        ),
    );
    tell(
        false,
        pull.reply_timeout < pull.resolve_timeout + pull.dial_timeout,
        &["pull.reply_timeout_ms"],
        "pull.reply_timeout_ms is below pull.resolve_timeout_ms and pull.dial_timeout_ms together: addStreamProxy \
         would answer before it can know"
            .to_owned(),
    );
    let outage = pull.stall_timeout
        + pull.resolve_timeout
        + pull.dial_timeout
        + pull.handshake_timeout
        + pull.request_timeout
        + pull.backoff_max;
    tell(
        false,
        !pull.player_hold.is_zero() && pull.player_hold < outage,
        &["pull.player_hold_ms"],
        format!(
            "pull.player_hold_ms is below {} ms, the longest one stall and one attempt may take: players are cut in \
             outages they would survive",
            outage.as_millis()
        ),
    );
    tell(
        false,
        pull.auto_close && play.none_reader_delay < pull.backoff_idle_max,
        &["general.streamNoneReaderDelayMS", "protocol.auto_close"],
        "general.streamNoneReaderDelayMS is below pull.backoff_idle_max_ms: with protocol.auto_close an unwatched \
         stream goes before its next attempt"
            .to_owned(),
    );
    tell(
        false,
        pull.track_stall_timeout < pull.stall_timeout,
        &["pull.track_stall_timeout_ms", "pull.stall_timeout_ms"],
        "pull.track_stall_timeout_ms is below pull.stall_timeout_ms: a pause of one track counts before a pause of \
         all"
            .to_owned(),
    );
    tell(
        false,
        play.queue_bytes_max > relay.log_bytes_max,
        &["play.queue_bytes_max", "relay.log_bytes_max"],
        "play.queue_bytes_max is above relay.log_bytes_max: slow players skip when the log is trimmed"
            .to_owned(),
    );
    tell(
        false,
        settings.http.allow_ip_range.is_open(),
        &["http.allow_ip_range"],
        "http.allow_ip_range is empty: the secret alone guards the API".to_owned(),
    );
    let secret = &settings.api.secret.0;
    tell(
        false,
        secret == WELL_KNOWN_SECRET,
        &["api.secret"],
        "api.secret is ZLMediaKit's published default and counts as empty".to_owned(),
    );
    tell(
        false,
        !secret.is_empty() && secret.chars().count() < SECRET_CHARS_MIN,
        &["api.secret"],
        format!("api.secret has less than {SECRET_CHARS_MIN} characters"),
    );
    findings
}
