//! ZLMediaKit's keys that mean nothing here, with the nearest one of ours.
//!
//! A file taken over from ZLMediaKit must load: what is listed here warns and is ignored, so that an unknown key can
//! be an error. Names are those of ZLMediaKit's config.ini, old spellings included.

/// Keys of one section that do not apply.
pub(super) struct Foreign {
    pub(super) section: &'static str,
    /// The names; empty for every name of the section.
    pub(super) names: &'static [&'static str],
    /// Why, and what comes nearest.
    pub(super) reason: &'static str,
}

const fn foreign(section: &'static str, names: &'static [&'static str], reason: &'static str) -> Foreign {
    Foreign { section, names, reason }
}

/// The first entry that matches counts.
pub(super) const FOREIGN: &[Foreign] = &[
    foreign(
        "protocol",
        &["continue_push_ms"],
        "it is for publishers, in ZLMediaKit too; pull.player_hold_ms keeps players in an outage",
    ),
    foreign(
        "protocol",
        &["modify_stamp"],
        "timestamps always run on one rising clock; see relay.backward_max_ms and relay.forward_max_ms",
    ),
    foreign("protocol", &["paced_sender_ms"], "frames are not smoothed; general.mergeWriteMS groups writes"),
    foreign(
        "protocol",
        &["enable_rtmp", "rtmp_demand"],
        "RTMP and HTTP-FLV are always served, encoded when first wanted",
    ),
    foreign(
        "protocol",
        &["enable_audio", "add_mute_audio"],
        "tracks are passed through as the origin sends them",
    ),
    foreign(
        "protocol",
        &[
            "enable_hls",
            "enable_hls_fmp4",
            "enable_rtsp",
            "enable_ts",
            "enable_fmp4",
            "enable_mp4",
            "hls_demand",
            "rtsp_demand",
            "ts_demand",
            "fmp4_demand",
        ],
        "only RTMP and HTTP-FLV are served",
    ),
    foreign(
        "protocol",
        &["mp4_as_player", "mp4_max_second", "mp4_save_path", "hls_save_path"],
        "nothing is recorded",
    ),
    foreign("rtmp", &["directProxy"], "RTMP is always passed through as it comes"),
    foreign("rtmp", &["enhanced"], "Enhanced RTMP is passed through as the origin sends it"),
    foreign("rtmp", &["modifyStamp"], "timestamps always run on one rising clock"),
    foreign("rtmp", &["sslport"], "RTMPS is not served; put a TLS proxy in front of rtmp.port"),
    foreign("http", &["sslport"], "HTTPS is not served; put a TLS proxy in front of http.port"),
    foreign("http", &["forwarded_ip_header"], "the peer's own address counts; see http.allow_ip_range"),
    foreign(
        "http",
        &[
            "rootPath",
            "virtualPath",
            "notFound",
            "dirMenu",
            "charSet",
            "sendBufSize",
            "forbidCacheSuffix",
            "access_control_allow_origin",
        ],
        "no files are served",
    ),
    foreign("api", &["snapRoot", "defaultSnap", "downloadRoot", "legacyAuth"], "there is no such call"),
    foreign("general", &["flowThreshold"], "there are no hooks yet; getMediaList has totalBytes"),
    foreign(
        "general",
        &["broadcast_player_count_changed"],
        "there are no hooks yet; getMediaList has readerCount",
    ),
    foreign(
        "general",
        &["wait_track_ready_ms", "wait_audio_track_data_ms", "wait_add_track_ms", "unready_frame_cache"],
        "players start with the first keyframe; see pull.first_media_timeout_ms",
    ),
    foreign("general", &["modifyStamp"], "timestamps always run on one rising clock"),
    foreign(
        "general",
        &[
            "addMuteAudio",
            "publishToRtxp",
            "publishToHls",
            "publishToMP4",
            "check_nvidia_dev",
            "enable_ffmpeg_log",
        ],
        "streams are pulled and passed through, not converted",
    ),
    foreign("hook", &[], "there are no hooks yet; poll getProxyInfo and listStreamProxy"),
    foreign(
        "cluster",
        &["timeout_sec"],
        "streams are added, not looked up; pull.reply_timeout_ms comes nearest",
    ),
    foreign("cluster", &["retry_count"], "streams are added, not looked up; [[proxy]] has retry_count"),
    foreign("cluster", &[], "streams are added by addStreamProxy or [[proxy]]"),
    foreign("hls", &[], "only RTMP and HTTP-FLV are served"),
    foreign("rtsp", &[], "only RTMP is pulled, only RTMP and HTTP-FLV are served"),
    foreign("rtp", &[], "only RTMP is pulled, only RTMP and HTTP-FLV are served"),
    foreign("rtp_proxy", &[], "only RTMP is pulled"),
    foreign("rtc", &[], "only RTMP and HTTP-FLV are served"),
    foreign("srt", &[], "only RTMP is pulled, only RTMP and HTTP-FLV are served"),
    foreign("multicast", &[], "only RTMP and HTTP-FLV are served"),
    foreign("record", &[], "nothing is recorded"),
    foreign("ffmpeg", &[], "no programs are started"),
    foreign("shell", &[], "there is no telnet shell; use the HTTP API"),
    foreign("onvif", &[], "only RTMP is pulled"),
    foreign("transcode", &[], "streams are passed through, not converted"),
];

/// Arguments of ZLMediaKit's `addStreamProxy` that mean nothing here, for `[[proxy]]` entries.
pub(super) const FOREIGN_OPTIONS: &[(&str, &str)] = &[
    ("rtp_type", "only RTMP is pulled"),
    ("rtsp_user", "only RTMP is pulled"),
    ("rtsp_pwd", "only RTMP is pulled"),
    ("rtsp_speed", "only RTMP is pulled"),
    ("schema", "only RTMP is pulled"),
    ("latency", "only RTMP is pulled"),
    ("passPhrase", "only RTMP is pulled"),
    ("custom_header", "only RTMP is pulled"),
    ("proxy_url", "origins are dialled directly"),
    ("net_adapter", "the kernel's routes choose the interface"),
    ("beat_interval_ms", "pull.ping_interval_ms comes nearest"),
    ("play_track", "tracks are passed through as the origin sends them"),
    ("max_track", "tracks are passed through as the origin sends them"),
    ("stream_replace", "the key is what app and stream say"),
];

/// Returns why a key does not apply, if it is one of ZLMediaKit's.
pub(super) fn find(section: &str, name: &str) -> Option<&'static str> {
    FOREIGN
        .iter()
        .find(|entry| entry.section == section && (entry.names.is_empty() || entry.names.contains(&name)))
        .map(|entry| entry.reason)
}

/// Returns why an option does not apply, if it is one of ZLMediaKit's; `[protocol]` keys are options too.
pub(super) fn find_option(name: &str) -> Option<&'static str> {
    let named = FOREIGN_OPTIONS.iter().find(|(option, _)| *option == name).map(|(_, reason)| *reason);
    named.or_else(|| find("protocol", name))
}
