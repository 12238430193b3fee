//! The planted defects a scenario may name: the patches in `sim/defects`, each with what it brings back.

/// A name and the first sentence of its patch.
macro_rules! planted {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../../defects/", $name, ".patch")))),*]
    };
}

/// Every planted defect: its name, and its patch.
const PATCHES: &[(&str, &str)] = planted![
    "add-refused-while-backing-off",
    "aggregate-misread",
    "audio-hides-dead-video",
    "auto-close-in-outage",
    "budget-starves-watched",
    "budget-without-share",
    "cached-dns",
    "clock-falls-back",
    "clock-stands-after-re-pull",
    "close-misses-retrying-stream",
    "data-messages-dropped",
    "del-leaves-dial",
    "deleted-told-as-closed",
    "delta-acknowledgements",
    "dial-left-to-the-kernel",
    "end-of-stream-is-final",
    "erase-by-key",
    "event-number-gap",
    "extended-timestamp-as-payload",
    "finite-retry-counts-lifetime",
    "first-media-never-times-out",
    "force-add-unregistered",
    "forgiven-at-connect",
    "handshake-never-times-out",
    "hang-up-after-replay-counted",
    "header-missing-after-re-pull",
    "held-players-count-as-readers",
    "held-request-given-up",
    "hold-never-expires",
    "idle-cap-after-join",
    "join-during-gap-refused",
    "leak-per-re-pull",
    "left-alone-keeps-place",
    "left-out-frame-holds-track",
    "moved-address-ignored",
    "new-headers-ignored",
    "new-track-leads-back",
    "no-stall-detection",
    "none-reader-restarts",
    "none-reader-without-key",
    "not-found-is-final",
    "old-url-kept",
    "one-budget-for-all",
    "one-parked-seated",
    "orphan-after-ping-timeout",
    "outputs-lost-after-first-play",
    "own-url-not-refused",
    "parked-cut-by-handshake-timer",
    "parked-never-told",
    "pending-stop-kills-new-viewer",
    "ping-never-sent",
    "ping-timeout-ignored",
    "players-cut-on-outage",
    "recovery-one-by-one",
    "redial-same-address-only",
    "redirect-followed-for-ever",
    "replay-twice",
    "replay-without-deadline",
    "reply-twice",
    "retry-for-ever-despite-count",
    "sent-away-for-ever",
    "shed-without-keyframe",
    "silent-track-asked-once",
    "slow-player-grows-queue",
    "slow-player-never-shed",
    "sound-stays-behind",
    "stale-gop-to-joiner",
    "stall-by-bytes",
    "steps-back-never-add-up",
    "storm-in-lockstep",
    "superseded-add-unanswered",
    "timer-armed-after-close",
    "told-state-not-true",
    "two-retries-for-one-failure",
    "unbiased-select-in-driver",
    "unordered-map",
    "unordered-map-in-driver",
    "unpublish-notify-ignored",
    "unseeded-die",
    "video-from-the-middle",
    "wrong-c2",
    "zombie-key",
];

/// Returns every planted defect: its name, and what goes wrong with it, in a sentence.
pub(crate) fn defects() -> Vec<(&'static str, &'static str)> {
    let sentence = |patch: &'static str| patch.lines().next()?.strip_prefix("defect: ");
    PATCHES.iter().map(|(name, patch)| (*name, sentence(patch).unwrap_or_default())).collect()
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    use super::*;

    #[test]
    fn every_patch_of_the_folder_can_be_named() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("defects");
        let files = fs::read_dir(folder).expect("the folder of the patches");
        let stems: BTreeSet<String> = files
            .map(|file| file.expect("a file").path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "patch"))
            .filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()))
            .collect();
        let names: BTreeSet<String> = PATCHES.iter().map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(names, stems);
        assert!(defects().iter().all(|(_, sentence)| !sentence.is_empty()));
    }
}
