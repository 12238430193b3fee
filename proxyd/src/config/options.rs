//! The options of one pull, as `addStreamProxy`, `updateStreamProxy` and `[[proxy]]` name them.

use std::time::Duration;

use proxy_core::io::{BackoffLaw, PullOptions};

use super::table::{parse_law, parse_switch, parse_whole};

/// An option of a pull.
pub struct OptionKey {
    /// Its name; compared without regard to case.
    pub name: &'static str,
    /// What it does.
    pub text: &'static str,
    kind: Kind,
}

enum Kind {
    RetryCount,
    Switch(fn(&mut PullOptions, bool)),
    Seconds(fn(&mut PullOptions, Duration)),
    Millis(fn(&mut PullOptions, Duration)),
    Law(fn(&mut PullOptions, BackoffLaw)),
    Text(fn(&mut PullOptions, &str)),
}

/// The shortest and longest time an option may give, in milliseconds.
const MILLIS: (u64, u64) = (100, 3_600_000);

/// Every option, in the order in which they are applied: of two names for one thing the later wins.
pub const OPTIONS: &[OptionKey] = &[
    OptionKey {
        name: "retry_count",
        text: "consecutive failures survived; negative: for ever, 0: a drop removes the stream",
        kind: Kind::RetryCount,
    },
    OptionKey {
        name: "force",
        text: "register even if the first attempt fails",
        kind: Kind::Switch(|options, on| options.force = on),
    },
    OptionKey {
        name: "timeout_sec",
        text: "how long the reply may take, in seconds; 0.1 and less mean the default",
        kind: Kind::Seconds(|options, time| options.reply_timeout = Some(time)),
    },
    OptionKey {
        name: "protocol_timeout_ms",
        text: "ZLMediaKit's name for reply_timeout_ms",
        kind: Kind::Millis(|options, time| options.reply_timeout = Some(time)),
    },
    OptionKey {
        name: "reply_timeout_ms",
        text: "how long the reply may take",
        kind: Kind::Millis(|options, time| options.reply_timeout = Some(time)),
    },
    OptionKey {
        name: "law",
        text: "the retry law: repull or zlmediakit",
        kind: Kind::Law(|options, law| options.law = Some(law)),
    },
    OptionKey {
        name: "media_timeout_ms",
        text: "ZLMediaKit's name for stall_timeout_ms",
        kind: Kind::Millis(|options, time| options.stall_timeout = Some(time)),
    },
    OptionKey {
        name: "stall_timeout_ms",
        text: "silence of all tracks that counts as a stall",
        kind: Kind::Millis(|options, time| options.stall_timeout = Some(time)),
    },
    OptionKey {
        name: "track_stall_timeout_ms",
        text: "silence of one track that counts as a stall",
        kind: Kind::Millis(|options, time| options.track_stall_timeout = Some(time)),
    },
    OptionKey {
        name: "first_media_timeout_ms",
        text: "patience with an origin that answers no pings and sends no media",
        kind: Kind::Millis(|options, time| options.first_media_timeout = Some(time)),
    },
    OptionKey {
        name: "auto_close",
        text: "remove the stream when nobody has watched for general.streamNoneReaderDelayMS",
        kind: Kind::Switch(|options, on| options.auto_close = Some(on)),
    },
    OptionKey {
        name: "reset_when_replay",
        text: "start the stream's context anew at every re-pull",
        kind: Kind::Switch(|options, on| options.reset_when_replay = Some(on)),
    },
    OptionKey {
        name: "fc_subscribe",
        text: "send FCSubscribe before play",
        kind: Kind::Switch(|options, on| options.fc_subscribe = Some(on)),
    },
    OptionKey {
        name: "play_path",
        text: "the end of the url that is the stream name, query included, where the usual cut is wrong",
        kind: Kind::Text(|options, text| options.play_path = Some(text.to_owned())),
    },
];

/// Tells if there is an option of this name.
pub fn has_option(name: &str) -> bool {
    OPTIONS.iter().any(|option| option.name.eq_ignore_ascii_case(name))
}

/// Sets one option from text. An unknown name and an empty value change nothing.
///
/// # Errors
/// Says what the value should have been.
pub fn set_option(options: &mut PullOptions, name: &str, value: &str) -> Result<(), String> {
    let value = value.trim();
    let Some(option) = OPTIONS.iter().find(|option| option.name.eq_ignore_ascii_case(name)) else {
        return Ok(());
    };
    if value.is_empty() {
        return Ok(());
    }
    match option.kind {
        Kind::RetryCount => {
            options.retry_count =
                value.parse().map_err(|_| format!("\"{value}\" is no whole number; allowed: -1, 0, 1, …"))?;
        }
        Kind::Switch(set) => set(options, parse_switch(value)?),
        Kind::Seconds(set) => {
            // ZLMediaKit reads a float here and takes what is not above 0.1 as absent.
            let seconds: f64 = value.parse().map_err(|_| format!("\"{value}\" is no number of seconds"))?;
            if seconds > 0.1 {
                let time = Duration::try_from_secs_f64(seconds).ok();
                let time = time.filter(|time| *time <= Duration::from_millis(MILLIS.1));
                set(
                    options,
                    time.ok_or_else(|| {
                        format!("{value} is out of range; allowed: up to {}", MILLIS.1 / 1000)
                    })?,
                );
            }
        }
        Kind::Millis(set) => set(options, Duration::from_millis(parse_whole(value, MILLIS)?)),
        Kind::Law(set) => set(options, parse_law(value)?),
        Kind::Text(set) => set(options, value),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(arguments: &[(&str, &str)]) -> Result<PullOptions, String> {
        let mut options = PullOptions::default();
        for (name, value) in arguments {
            set_option(&mut options, name, value)?;
        }
        Ok(options)
    }

    #[test]
    fn names_land_where_they_belong() {
        let options = check(&[
            ("retry_count", "3"),
            ("FORCE", "1"),
            ("timeout_sec", "2.5"),
            ("media_timeout_ms", "8000"),
            ("auto_close", "true"),
            ("rtp_type", "0"),
            ("play_path", "inst/cam?t=1"),
        ])
        .expect("all of them are fine");
        let wanted = PullOptions {
            retry_count: 3,
            force: true,
            reply_timeout: Some(Duration::from_millis(2500)),
            stall_timeout: Some(Duration::from_secs(8)),
            auto_close: Some(true),
            play_path: Some("inst/cam?t=1".to_owned()),
            ..PullOptions::default()
        };
        assert_eq!(options, wanted);
    }

    #[test]
    fn absent_and_tiny_timeouts_mean_the_default() {
        assert_eq!(check(&[("timeout_sec", ""), ("timeout_sec", "0.1")]), Ok(PullOptions::default()));
    }

    #[test]
    fn values_that_are_not_meant_are_refused() {
        let error = |name, value| check(&[(name, value)]).expect_err(name);
        assert_eq!(error("retry_count", "many"), "\"many\" is no whole number; allowed: -1, 0, 1, …");
        assert_eq!(error("force", "maybe"), "\"maybe\" is neither yes nor no; allowed: 0, 1, false, true");
        assert_eq!(error("timeout_sec", "1e300"), "1e300 is out of range; allowed: up to 3600");
        assert_eq!(error("timeout_sec", "inf"), "inf is out of range; allowed: up to 3600");
        assert_eq!(error("stall_timeout_ms", "5"), "5 is out of range; allowed: 100 to 3600000");
        assert_eq!(error("law", "murphy"), "\"murphy\" is no retry law; allowed: repull, zlmediakit");
    }
}
