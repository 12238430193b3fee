//! Configuration files as operators write them: what loads, what warns, what is refused, word by word.

use std::{path::PathBuf, time::Duration};

use proxy_core::io::{BackoffLaw, PullOptions};
use proxyd::config::{
    KEYS, LoadError, SECRET_FILE, SecretSource, Settings, WELL_KNOWN_SECRET, defaults_markdown,
    defaults_toml, find_secret,
};

/// Everything a file is told: `line:column: kind: text`, errors and warnings in the file's order.
fn check(text: &str) -> Vec<String> {
    let (errors, warnings) = match Settings::parse(text) {
        Ok(loaded) => (Vec::new(), loaded.warnings),
        Err(LoadError::Problems { errors, warnings }) => (errors, warnings),
        Err(other) => panic!("parsing reads no file: {other:?}"),
    };
    let mut told: Vec<_> = errors.iter().map(|problem| (problem.place, problem.line("", "error"))).collect();
    told.extend(warnings.iter().map(|problem| (problem.place, problem.line("", "warning"))));
    told.sort();
    told.into_iter().map(|(_, line)| line.trim_start_matches([':', ' ']).to_owned()).collect()
}

fn settings(text: &str) -> Settings {
    Settings::parse(text).unwrap_or_else(|error| panic!("{text}: {error:?}")).settings
}

#[test]
fn an_empty_file_is_the_defaults() {
    assert_eq!(settings(""), Settings::default());
    assert_eq!(check(""), [""; 0]);
}

#[test]
fn the_file_of_defaults_loads_and_changes_nothing() {
    assert_eq!(check(&defaults_toml()), [""; 0]);
    assert_eq!(settings(&defaults_toml()), Settings::default());
}

#[test]
fn the_articles_settings_load_and_say_what_they_do_not_do() {
    let text = "\
[general]
maxStreamWaitMS = 30000
resetWhenRePlay = 1
streamNoneReaderDelayMS = 999999999

[protocol]
continue_push_ms = 30000
auto_close = 0
";
    assert_eq!(
        check(text),
        ["7:1: warning: protocol.continue_push_ms has no effect: it is for publishers, in ZLMediaKit too; \
          pull.player_hold_ms keeps players in an outage"]
    );
    let core = settings(text).core;
    assert_eq!(core.play.stream_wait, Duration::from_secs(30));
    assert_eq!(core.play.none_reader_delay, Duration::from_millis(999_999_999));
    assert!(core.pull.reset_when_replay);
    assert!(!core.pull.auto_close);
}

#[test]
fn zeros_ones_and_words_are_switches_and_quoted_numbers_are_numbers() {
    for yes in ["1", "true", "\"1\"", "\"true\""] {
        assert!(
            settings(&format!("[general]\nresetWhenRePlay = {yes}")).core.pull.reset_when_replay,
            "{yes}"
        );
    }
    for no in ["0", "false", "\"0\"", "\"False\""] {
        assert!(!settings(&format!("[http]\nallow_cross_domains = {no}")).http.allow_cross_domains, "{no}");
    }
    for port in ["1936", "\"1936\"", "1936.0"] {
        assert_eq!(settings(&format!("[rtmp]\nport = {port}")).rtmp.port, 1936, "{port}");
    }
}

#[test]
fn every_class_of_error_is_told_with_its_place_and_a_way_out() {
    for (text, wanted) in [
        (
            "[general]\nmaxStreamWait = 1",
            "2:1: error: unknown key maxStreamWait in [general]; did you mean maxStreamWaitMS?",
        ),
        (
            "[general]\nmaxstreamwaitms = 1",
            "2:1: error: unknown key maxstreamwaitms in [general]; did you mean maxStreamWaitMS?",
        ),
        (
            "[pull]\n  stall_timout_ms = 1000",
            "2:3: error: unknown key stall_timout_ms in [pull]; did you mean stall_timeout_ms?",
        ),
        (
            "[protocol]\nresetWhenRePlay = 1",
            "2:1: error: unknown key resetWhenRePlay in [protocol]; it belongs to [general]",
        ),
        ("[general]\nfrobnicate = 1", "2:1: error: unknown key frobnicate in [general]"),
        ("[genral]\nx = 1", "1:2: error: unknown section [genral]; did you mean [general]?"),
        ("[zzz]\nx = 1", "1:2: error: unknown section [zzz]"),
        ("port = 1", "1:1: error: port stands outside any section; it belongs to [rtmp] or [http]"),
        ("nothing = 1", "1:1: error: unknown key nothing outside any section"),
        ("[http]\nport = 70000", "2:8: error: http.port: 70000 is out of range; allowed: 0 to 65535"),
        ("[http]\nport = -1", "2:8: error: http.port: -1 is out of range; allowed: 0 to 65535"),
        (
            "[http]\nport = \"eighty\"",
            "2:8: error: http.port: \"eighty\" is no whole number; allowed: 0 to 65535",
        ),
        (
            "[rtmp]\nkeepAliveSecond = 1.5",
            "2:19: error: rtmp.keepAliveSecond: \"1.5\" is no whole number; allowed: 1 to 86400",
        ),
        (
            "[protocol]\nauto_close = 2",
            "2:14: error: protocol.auto_close: \"2\" is neither yes nor no; allowed: 0, 1, false, true",
        ),
        (
            "[pull]\nlaw = \"linear\"",
            "2:7: error: pull.law: \"linear\" is no retry law; allowed: repull, zlmediakit, auto",
        ),
        (
            "[general]\nlisten_ip = \"localhost\"",
            "2:13: error: general.listen_ip: \"localhost\" is no IP address",
        ),
        (
            "[http]\nallow_ip_range = \"10.0.0.0/8,::1/200\"",
            "2:18: error: http.allow_ip_range: \"::1/200\" has no prefix length from 0 to 128",
        ),
        ("[http]\nport = [1]", "2:8: error: http.port: a list of something else than text"),
        ("[http]\nport = { a = 1 }", "2:8: error: http.port: a table is no value here"),
        ("[[http]]\nport = 1", "1:3: error: [[http]] is no list: write [http] with one bracket"),
        ("[proxy]\napp = \"live\"", "1:2: error: proxy is a list: write [[proxy]] with two brackets"),
        ("[http]\nport = 1935", "2:1: error: http.port and rtmp.port are both 1935"),
        ("[pull]\nbackoff_min_ms = 5000", "2:1: error: pull.backoff_min_ms is above pull.backoff_max_ms"),
        (
            "[relay]\ngop_bytes_max = 100000000",
            "2:1: error: relay.gop_bytes_max is above relay.log_bytes_max: the group would be trimmed before it is \
             whole",
        ),
    ] {
        assert_eq!(check(text), [wanted], "{text}");
    }
}

#[test]
fn all_errors_of_a_file_are_told_at_once_in_its_order() {
    let text = "[http]\nport = 70000\n\n[pull]\nlaw = \"x\"\ndial_timeout_ms = 0\n";
    assert_eq!(
        check(text),
        [
            "2:8: error: http.port: 70000 is out of range; allowed: 0 to 65535",
            "5:7: error: pull.law: \"x\" is no retry law; allowed: repull, zlmediakit, auto",
            "6:19: error: pull.dial_timeout_ms: 0 is out of range; allowed: 10 to 3600000",
        ]
    );
}

#[test]
fn columns_count_characters() {
    assert_eq!(
        check("[http] # Größe\nport = \"ä\"\n[\"ü\"]\n"),
        [
            "2:8: error: http.port: \"ä\" is no whole number; allowed: 0 to 65535",
            "3:2: error: unknown section [ü]",
        ]
    );
}

#[test]
fn an_ini_file_is_told_what_to_change_and_its_secret_is_not_repeated() {
    let told = check("[api]\nsecret=035c73f7-hush\n");
    assert!(told[0].starts_with("2:8: error: "), "{told:?}");
    assert!(told[0].ends_with("; text needs quotes: secret = \"…\""), "{told:?}");
    assert!(!told[0].contains("hush"), "{told:?}");
    let told = check("[general]\nlisten_ip=::\n");
    assert!(told[0].ends_with("; text needs quotes: listen_ip = \"::\""), "{told:?}");
    let told = check("; a comment\n[general]\n");
    assert!(told[0].starts_with("1:3: error: ") && told[0].ends_with("; comments begin with #"), "{told:?}");
}

/// ZLMediaKit's keys of the published config.ini that do not apply here; ours are tested by the defaults.
const FOREIGN: &[(&str, &[&str])] = &[
    ("api", &["snapRoot"]),
    ("ffmpeg", &["bin", "cmd", "snap", "log"]),
    (
        "general",
        &[
            "flowThreshold",
            "wait_track_ready_ms",
            "wait_audio_track_data_ms",
            "wait_add_track_ms",
            "unready_frame_cache",
            "broadcast_player_count_changed",
            "addMuteAudio",
            "publishToRtxp",
            "publishToHls",
            "publishToMP4",
            "modifyStamp",
        ],
    ),
    (
        "protocol",
        &[
            "modify_stamp",
            "enable_audio",
            "add_mute_audio",
            "continue_push_ms",
            "paced_sender_ms",
            "enable_hls",
            "enable_rtsp",
            "enable_rtmp",
            "enable_ts",
            "enable_fmp4",
            "enable_hls_fmp4",
            "enable_mp4",
            "hls_demand",
            "rtsp_demand",
            "rtmp_demand",
            "ts_demand",
            "fmp4_demand",
            "mp4_as_player",
            "mp4_max_second",
            "mp4_save_path",
            "hls_save_path",
        ],
    ),
    ("rtmp", &["sslport", "directProxy", "enhanced", "modifyStamp"]),
    ("http", &["sslport", "forwarded_ip_header", "charSet", "notFound", "rootPath", "sendBufSize"]),
    (
        "hook",
        &[
            "enable",
            "timeoutSec",
            "retry",
            "retry_delay",
            "alive_interval",
            "stream_changed_schemas",
            "admin_params",
            "on_play",
            "on_stream_changed",
            "on_stream_none_reader",
            "on_stream_not_found",
        ],
    ),
    ("cluster", &["origin_url", "timeout_sec", "retry_count"]),
    ("hls", &["segDur", "segNum", "segRetain", "deleteDelaySec", "fileBufSize"]),
    ("rtsp", &["port", "directProxy"]),
    ("rtp", &["videoMtuSize"]),
    ("rtp_proxy", &["port"]),
    ("rtc", &["port"]),
    ("srt", &["port"]),
    ("multicast", &["udpTTL"]),
    ("record", &["appName"]),
    ("shell", &["port"]),
];

#[test]
fn zlmediakits_other_keys_warn_and_load() {
    for (section, names) in FOREIGN {
        for name in *names {
            let text = format!("[{section}]\n{name} = 1\n");
            let told = check(&text);
            let start = format!("2:1: warning: {section}.{name} has no effect: ");
            assert!(told.len() == 1 && told[0].starts_with(&start), "{text} {told:?}");
            assert_eq!(settings(&text), Settings::default(), "{text}");
        }
    }
}

#[test]
fn settings_that_make_no_sense_together_are_remarked_on() {
    for (text, wanted) in [
        ("[pull]\nfirst_media_timeout_ms = 10000", "pull.first_media_timeout_ms is below the 15 s"),
        ("[pull]\nreply_timeout_ms = 2000", "pull.reply_timeout_ms is below pull.resolve_timeout_ms"),
        ("[pull]\nplayer_hold_ms = 5000", "pull.player_hold_ms is below 16000 ms"),
        (
            "[protocol]\nauto_close = 1\n[general]\nstreamNoneReaderDelayMS = 5000",
            "general.streamNoneReaderDelayMS is below pull.backoff_idle_max_ms",
        ),
        ("[pull]\ntrack_stall_timeout_ms = 1000", "pull.track_stall_timeout_ms is below"),
        (
            "[relay]\nlog_bytes_max = 40000000\n[play]\nqueue_bytes_max = 50000000",
            "play.queue_bytes_max is above",
        ),
        ("[http]\nallow_ip_range = \"\"", "http.allow_ip_range is empty: the secret alone"),
        (
            "[api]\nsecret = \"035c73f7-bb6b-4889-a715-d9eb2d1925cc\"",
            "api.secret is ZLMediaKit's published default",
        ),
        ("[api]\nsecret = \"short\"", "api.secret has less than 8 characters"),
    ] {
        let told = check(text);
        assert!(told.len() == 1 && told[0].contains(&format!("warning: {wanted}")), "{text} {told:?}");
    }
    // Parked players outlive the handshake timer, a hold of 0 cuts at once: both are meant.
    for text in ["[general]\nmaxStreamWaitMS = 60000", "[pull]\nplayer_hold_ms = 0"] {
        assert_eq!(check(text), [""; 0], "{text}");
    }
}

#[test]
fn static_streams_are_read_with_every_option() {
    let text = "\
[[proxy]]
app = \"live\"
stream = \"cam\"
url = \"rtmp://origin/live/cam?token=hush\"

[[proxy]]
vhost = \"other\"
app = \"live/site\"
stream = \"cam\"
url = \"rtmp://origin/live/cam\"
retry_count = 3
force = 0
timeout_sec = 2.5
media_timeout_ms = 8000
law = \"zlmediakit\"
rtp_type = 0
";
    assert_eq!(check(text), ["16:1: warning: rtp_type has no effect: only RTMP is pulled"]);
    let proxies = settings(text).proxies;
    assert_eq!(proxies[0].key.to_string(), "__defaultVhost__/live/cam");
    assert_eq!(proxies[0].options, PullOptions { force: true, ..PullOptions::default() });
    assert!(!format!("{:?}", proxies[0]).contains("hush"));
    assert_eq!(proxies[1].key.to_string(), "__defaultVhost__/live/site/cam");
    let options = PullOptions {
        retry_count: 3,
        force: false,
        reply_timeout: Some(Duration::from_millis(2500)),
        stall_timeout: Some(Duration::from_secs(8)),
        law: Some(BackoffLaw::ZlMediaKit),
        ..PullOptions::default()
    };
    assert_eq!(proxies[1].options, options);
    let with_hosts = format!("{text}\n[general]\nenableVhost = 1\n");
    assert_eq!(settings(&with_hosts).proxies[1].key.to_string(), "other/live/site/cam");
}

#[test]
fn static_streams_that_cannot_be_are_refused() {
    let stream = |extra: &str| {
        format!("[[proxy]]\napp = \"live\"\nstream = \"cam\"\nurl = \"rtmp://origin/live/cam\"\n{extra}")
    };
    for (text, wanted) in [
        ("[[proxy]]\napp = \"live\"\nstream = \"cam\"\n".to_owned(), "1:1: error: this [[proxy]] has no url"),
        (
            stream("retry_cuont = 1"),
            "5:1: error: unknown key retry_cuont in [[proxy]]; did you mean retry_count?",
        ),
        (
            stream("retry_count = \"ever\""),
            "5:15: error: retry_count: \"ever\" is no whole number; allowed: -1, 0, 1, …",
        ),
        (stream(&stream("")), "5:1: error: another [[proxy]] has the key __defaultVhost__/live/cam"),
    ] {
        assert_eq!(check(&text), [wanted], "{text}");
    }
    let told = check("[[proxy]]\napp = \"live\"\nstream = \"cam\"\nurl = \"rtsp://origin/live/cam\"\n");
    assert!(told[0].starts_with("4:7: error: url: ") && told[0].contains("rtsp"), "{told:?}");
    let told = check("[[proxy]]\napp = \"live\"\nurl = \"rtsp://origin/live/cam\"\nretry_cuont = 1\n");
    assert_eq!(told.len(), 3, "what is wrong with one line hides nothing of the others: {told:?}");
}

#[test]
fn what_a_file_changes_is_told_without_its_secret() {
    let changed = settings("[api]\nsecret = \"hush-hush-hush\"\n[http]\nport = 8081\n").changed();
    let changed: Vec<_> =
        changed.iter().map(|(key, value, default)| format!("{key} {value} {default}")).collect();
    assert_eq!(changed, ["http.port 8081 8080", "api.secret (set) "]);
    let published = settings("[api]\nsecret = \"035c73f7-bb6b-4889-a715-d9eb2d1925cc\"\n").changed();
    assert!(published.is_empty(), "a secret everybody knows is none, and not told as one: {published:?}");
}

#[test]
fn the_markdown_table_has_a_line_for_every_setting() {
    let table = defaults_markdown();
    assert_eq!(table.lines().count(), KEYS.len() + 2);
    for line in table.lines() {
        assert_eq!(line.matches('|').count(), 6, "{line}");
    }
    for key in KEYS {
        assert!(!key.text.is_empty() && !key.why.is_empty(), "{} says what it is and why", key.path());
    }
}

/// A folder that is removed in the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("repull-test-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a temporary folder");
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_secret_is_made_once_for_its_owner_alone_and_found_again() {
    use std::os::unix::fs::PermissionsExt;

    let folder = Folder::new("secret");
    let file = folder.0.join("deeper").join(SECRET_FILE);
    let (made, source) = find_secret(None, WELL_KNOWN_SECRET, &file).expect("a file");
    assert_eq!(source, SecretSource::Made { path: file.clone() });
    assert_eq!(made.len(), 32);
    let mode = std::fs::metadata(&file).expect("the file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    let (found, source) = find_secret(None, "", &file).expect("the file again");
    assert_eq!(source, SecretSource::File { path: file.clone(), exposed: false });
    assert_eq!(found, made);

    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).expect("ours");
    let (_, source) = find_secret(Some(""), "", &file).expect("the file again");
    assert_eq!(source, SecretSource::File { path: file.clone(), exposed: true });

    assert_eq!(find_secret(None, "given", &file).expect("given").0, "given");
    assert_eq!(find_secret(Some("first"), "given", &file).expect("given").0, "first");
    assert!(find_secret(Some(WELL_KNOWN_SECRET), "", &file).expect("the file").0 == made);

    std::fs::write(&file, "").expect("ours");
    let (anew, source) = find_secret(None, "", &file).expect("an empty file is none");
    assert_eq!(source, SecretSource::Made { path: file.clone() });
    assert_ne!(anew, made);
}

/// Runs the program in this process: exit code, standard output, standard error. `FILE` stands for a file of `text`.
fn run(arguments: &[&str], text: &str, folder: &Folder) -> (u8, String, String) {
    let file = folder.0.join("repull.toml").display().to_string();
    std::fs::write(&file, text).expect("a temporary file");
    let arguments = ["repull"].iter().chain(arguments).map(|argument| argument.replace("FILE", &file));
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let code = proxyd::cli::run_with(arguments.collect::<Vec<_>>(), &mut out, &mut err);
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8").replace(&file, "FILE");
    (code, text(out), text(err))
}

#[test]
fn check_config_prints_warnings_and_what_is_changed() {
    let folder = Folder::new("check");
    let text = "\
[general]
mergeWriteMS = 40
[hls]
segDur = 2
[[proxy]]
app = \"live\"
stream = \"cam\"
url = \"rtmp://origin/live/cam?token=hush\"
";
    let (code, out, err) = run(&["check-config", "FILE"], text, &folder);
    let wanted = "\
FILE:4:1: warning: hls.segDur has no effect: only RTMP and HTTP-FLV are served

settings that differ from the defaults:
  general.mergeWriteMS = 40 (default 0)

streams:
  __defaultVhost__/live/cam from rtmp://origin/live/cam?token=***

FILE: understood, 1 warning, 1 setting changed, 1 stream
";
    assert_eq!((code, out.as_str(), err.as_str()), (0, wanted, ""));
}

#[test]
fn check_config_tells_errors_on_standard_error_with_code_2() {
    let folder = Folder::new("errors");
    let (code, out, err) = run(&["check-config", "FILE"], "[http]\nprt = 1\n[hls]\nsegDur = 2\n", &folder);
    let wanted = "\
repull: FILE is not understood
FILE:2:1: error: unknown key prt in [http]; did you mean port?
FILE:4:1: warning: hls.segDur has no effect: only RTMP and HTTP-FLV are served
";
    assert_eq!((code, out.as_str(), err.as_str()), (2, "", wanted));
    let (code, _, err) = run(&["check-config", "FILE.not"], "", &folder);
    assert_eq!(
        (code, err.as_str()),
        (2, "repull: cannot read FILE.not: No such file or directory (os error 2)\n")
    );
}

#[test]
fn the_command_line_teaches() {
    let folder = Folder::new("help");
    let (code, out, _) = run(&["--help"], "", &folder);
    assert_eq!(code, 0);
    for word in ["repull pull rtmp://", "repull --config", "check-config", "defaults", "Exit codes"] {
        assert!(out.contains(word), "{word} is missing in {out}");
    }
    assert_eq!(run(&["defaults"], "", &folder), (0, defaults_toml(), String::new()));
    assert_eq!(run(&["defaults", "--markdown"], "", &folder), (0, defaults_markdown(), String::new()));
    let (code, out, err) = run(&["pull", "rtsp://user:hush@origin/live/cam"], "", &folder);
    assert_eq!((code, out.as_str()), (2, ""));
    assert!(err.contains("rtsp") && !err.contains("hush"), "{err}");
    assert_eq!(run(&["pull"], "", &folder).0, 2);
    assert_eq!(run(&["frobnicate"], "", &folder).0, 2);
}
