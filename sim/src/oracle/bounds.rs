//! How long things may take: every bound a function of the configuration, so that a scenario never has to know one.
//!
//! ```text
//!  a frame stops ─ noticed ─► replay ─► backoff ─► lookup ─► queue ─► dial × addresses ─► handshake ─► request ─► GOP
//!  └ ping or stall ┘
//! ```

use proxy_core::{
    config::{Config, DialConfig, PullConfig},
    io::{BackoffLaw, PullOptions, PullState},
    time::Duration,
};

use crate::origin::{Behaviour, Handshake, OnCall, OnConnect, Payload, Publisher, Withhold};

/// For round trips, retransmissions of a healthy link and the like: what no configuration names.
pub const SLACK: Duration = Duration::from_millis(1_500);

/// Frames a relay may hold beyond what anybody needs: it lets go every 32 entries, not at each.
pub const BURST: usize = 33;
/// What a frame's stamp, tag and chunk headers add to its least bytes.
const WRAPPINGS_BYTES: usize = 256;

/// Dials in a row to an address that may pass over who has waited longest for one, for others are watched.
pub const PASSED_OVER: u32 = 3;

/// The longest delay of law `ZlMediaKit`.
const ZLMEDIAKIT_MAX: Duration = Duration::from_secs(60);

/// The numbers in force for one pull: the configuration's where the operator gave none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The retry law.
    pub law: BackoffLaw,
    /// Consecutive failures survived; `None` for ever.
    pub retries: Option<u32>,
    /// Silence of all tracks that counts as a stall.
    pub stall: Duration,
    /// Silence of one track that counts as a stall.
    pub track_stall: Duration,
    /// Patience with an origin that answers no pings.
    pub first_media: Duration,
    /// How long the reply to an add may take.
    pub reply: Duration,
    /// Nobody watching for long removes the stream.
    pub auto_close: bool,
    /// The stream's context is made anew at every re-pull.
    pub resets: bool,
    /// Cap of law `Repull`.
    pub backoff_max: Duration,
}

impl Policy {
    /// Returns what options make of the configuration.
    pub fn of(options: &PullOptions, config: &PullConfig) -> Self {
        let retries = u32::try_from(options.retry_count).ok();
        let implied = if retries.is_some() { BackoffLaw::ZlMediaKit } else { BackoffLaw::Repull };
        Self {
            law: options.law.or(config.law).unwrap_or(implied),
            retries,
            stall: options.stall_timeout.unwrap_or(config.stall_timeout),
            track_stall: options.track_stall_timeout.unwrap_or(config.track_stall_timeout),
            first_media: options.first_media_timeout.unwrap_or(config.first_media_timeout),
            reply: options.reply_timeout.unwrap_or(config.reply_timeout),
            auto_close: options.auto_close.unwrap_or(config.auto_close),
            resets: options.reset_when_replay.unwrap_or(config.reset_when_replay),
            backoff_max: config.backoff_max,
        }
    }
}

/// What the world around a proxy costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Circumstances {
    /// Addresses of a name.
    pub addresses: u32,
    /// How old an answer of the DNS may be.
    pub ttl: Duration,
    /// Streams that may want to dial at the same time.
    pub streams: u32,
    /// The longest time from keyframe to keyframe.
    pub gop: Duration,
    /// An address an origin has left may be another server's, which holds a request for what it does not have.
    pub strangers: bool,
}

/// Where a pull stands when what was in its way is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Its state.
    pub state: PullState,
    /// Consecutive failures so far.
    pub failures: u32,
    /// The origin answers pings on the connection.
    pub ponged: bool,
    /// Somebody watches.
    pub watched: bool,
    /// It may be where an origin has sent it, which need not serve.
    pub redirected: bool,
}

impl Standing {
    /// The one that costs the most.
    pub const WORST: Self = Self {
        state: PullState::AwaitingMedia,
        failures: u32::MAX,
        ponged: false,
        watched: false,
        redirected: true,
    };

    /// The one that costs the most where pings are far apart: only they tell that nobody is there any more.
    pub const PATIENT: Self = Self { ponged: true, redirected: false, ..Self::WORST };
}

/// Halves bounds, to prove that they bite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Strictness {
    /// Bounds are multiplied by this …
    pub numerator: u32,
    /// … and divided by this.
    pub denominator: u32,
}

impl Default for Strictness {
    fn default() -> Self {
        Self { numerator: 1, denominator: 1 }
    }
}

impl Strictness {
    /// Returns a bound as strict as wanted.
    pub fn of(self, bound: Duration) -> Duration {
        bound * self.numerator / self.denominator.max(1)
    }
}

/// Returns how long a pull may stay in a state without anything of it having come, as its own deadline says; `None` for
/// those that wait for something else: media, a token, the law.
pub fn state_max(state: PullState, policy: &Policy, config: &PullConfig, ponged: bool) -> Option<Duration> {
    match state {
        PullState::Resolving => Some(config.resolve_timeout),
        PullState::Connecting => Some(config.dial_timeout),
        PullState::Handshaking => Some(config.handshake_timeout),
        // From when play was asked, which is within the request's own time.
        PullState::Requesting if ponged => Some(config.request_timeout + policy.first_media),
        PullState::Requesting => Some(config.request_timeout),
        // One that answers pings is waited for.
        PullState::AwaitingMedia if ponged => None,
        PullState::AwaitingMedia => Some(policy.first_media),
        PullState::Replaying => Some(config.replay_timeout),
        PullState::Queued | PullState::Streaming | PullState::BackingOff | PullState::Stopped => None,
    }
}

/// Returns within what time a transport that has answered pings and died is found, from its last byte: the next ping,
/// frequent while no media flows, and the wait for its answer.
pub fn ping_detection(config: &PullConfig) -> Duration {
    config.ping_interval_silent + config.ping_timeout
}

/// Returns within what time any stop of media is found, from the last frame.
pub fn detection(policy: &Policy) -> Duration {
    policy.stall
}

/// Returns the shortest and the longest wait after the `n`th failure in a row, from 1, and whether it counts from the
/// attempt's start (law `Repull`) or from its end. Written from the law's text, not from the core's code.
pub fn backoff(policy: &Policy, config: &PullConfig, n: u32, is_idle: bool) -> (Duration, Duration) {
    match policy.law {
        BackoffLaw::Repull => {
            let cap = if is_idle { config.backoff_idle_max } else { config.backoff_max };
            let doublings = n.saturating_sub(1).min(20);
            let longest = config.backoff_min.saturating_mul(1 << doublings).min(cap);
            (longest * 4 / 5, longest)
        }
        BackoffLaw::ZlMediaKit => {
            let seconds = (3 * u64::from(n.saturating_sub(1))).clamp(2, 60);
            (Duration::from_secs(seconds), Duration::from_secs(seconds))
        }
    }
}

/// Returns the longest wait a pull may find itself in.
pub fn backoff_longest(policy: &Policy, config: &PullConfig, standing: &Standing) -> Duration {
    match policy.law {
        BackoffLaw::Repull if standing.watched => config.backoff_max,
        BackoffLaw::Repull => config.backoff_idle_max,
        // The attempt that is under way may fail once more.
        BackoffLaw::ZlMediaKit => {
            let (_, longest) = backoff(policy, config, standing.failures.saturating_add(2), false);
            longest.min(ZLMEDIAKIT_MAX)
        }
    }
}

/// Returns how long an attempt may take that finds nobody: lookup, then every address through dial, handshake and
/// request; where there are others, one that answers and serves nothing is waited for as well.
pub fn attempt(policy: &Policy, config: &PullConfig, addresses: u32) -> Duration {
    let each = config.dial_timeout + config.handshake_timeout + config.request_timeout;
    let others = addresses.saturating_sub(1);
    config.resolve_timeout + each * addresses.max(1) + policy.first_media * others
}

/// Returns how long the last of so many streams waits for a dial token of one address; if it may be passed over, so may each
/// of those before it.
pub fn queue(dial: &DialConfig, streams: u32, is_passed_over: bool) -> Duration {
    let rate = dial.per_address.min(dial.total).max(1);
    let each = if is_passed_over { 1 + PASSED_OVER } else { 1 };
    Duration::from_secs(1) * streams * each / rate
}

/// Returns within what time a wanted stream streams, from the moment its origin serves and nothing is in the way:
/// what it stands in must be noticed or be over, a retry is due, every token is spent on others first, an answer of the
/// DNS may be as old as its time to live, and each address of it may be a dead one.
pub fn recovery(config: &Config, policy: &Policy, around: &Circumstances, standing: &Standing) -> Duration {
    let pull = &config.pull;
    let noticed = match standing.state {
        PullState::Streaming => policy.stall.max(policy.track_stall) + pull.replay_timeout,
        PullState::Replaying => pull.replay_timeout,
        PullState::AwaitingMedia if standing.ponged && !standing.redirected => {
            let found = ping_detection(pull) + pull.lookup_interval + pull.resolve_timeout;
            // Patience ends where there is another address.
            if around.addresses > 1 { found.max(policy.first_media) } else { found }
        }
        PullState::AwaitingMedia | PullState::Requesting => policy.first_media,
        PullState::Connecting | PullState::Handshaking if around.strangers => policy.first_media,
        PullState::Resolving
        | PullState::Queued
        | PullState::Connecting
        | PullState::Handshaking
        | PullState::BackingOff
        | PullState::Stopped => Duration::ZERO,
    };
    let retry = backoff_longest(policy, pull, standing);
    // One attempt that was under way may fail, and the name may lead to where nobody is until its answer is renewed.
    let renewed = around.ttl.max(pull.resolve_ttl);
    let stale = if renewed.is_zero() {
        Duration::ZERO
    } else {
        let held = if around.strangers { policy.first_media } else { Duration::ZERO };
        renewed + attempt(policy, pull, around.addresses) + held + retry
    };
    // The last word of an origin that sent others elsewhere may come when it serves again: that is tried, and waited for.
    let away = if standing.redirected {
        attempt(policy, pull, around.addresses) + policy.first_media
    } else {
        Duration::ZERO
    };
    noticed
        + away
        + attempt(policy, pull, around.addresses)
        + retry
        + stale
        + queue(&config.dial, around.streams, !standing.watched)
        + around.gop
        + SLACK
}

/// Returns how long a player of a healthy stream may see nothing: one GOP, one frame, and a hiccup.
pub fn healthy_gap(gop: Duration, frame: Duration) -> Duration {
    gop.max(frame) + frame + Duration::from_millis(500)
}

/// Returns the time from keyframe to keyframe.
pub fn gop(publisher: &Publisher) -> Duration {
    publisher.video.as_ref().map_or(Duration::ZERO, |video| {
        Duration::from_nanos(1_000_000_000 * u64::from(video.gop.max(1)) / u64::from(video.fps.max(1)))
    })
}

/// Returns the longest time between two frames of a track.
pub fn frame(publisher: &Publisher) -> Duration {
    let video =
        publisher.video.as_ref().map_or(Duration::ZERO, |video| Duration::from_secs(1) / video.fps.max(1));
    let audio = publisher.audio.as_ref().map_or(Duration::ZERO, |audio| audio.period);
    video.max(audio)
}

/// Returns the bytes that so many frames of a publisher in a row become at most: what each is at least, what its
/// wrappings and a decodable picture may add, and a sequence header or two.
pub fn burst(publisher: &Publisher, frames: usize) -> usize {
    let video = publisher.video.as_ref().map_or(0, |video| {
        let keys = (frames / (video.gop.max(1) as usize) + 1).min(frames);
        let picture = match publisher.payload {
            // Raw macroblocks: a byte and a half per pixel.
            Payload::Decodable => (video.size.0 * video.size.1 * 3 / 2) as usize,
            Payload::Stub => 0,
        };
        keys * (video.bytes.0.max(video.bytes.1) + picture) + (frames - keys) * (video.bytes.1 + picture)
    });
    let audio = publisher.audio.as_ref().map_or(0, |audio| frames * audio.bytes);
    video.max(audio) + frames * WRAPPINGS_BYTES
}

/// Returns whether a model origin serves all comers for as long as it is left alone.
pub fn is_sound(behaviour: &Behaviour, publisher: &Publisher) -> bool {
    let accepts = matches!(behaviour.handshake, Handshake::Simple | Handshake::Strict)
        && matches!(behaviour.connect, OnConnect::Accept);
    let answers = behaviour.create_stream == OnCall::Answer && behaviour.play == OnCall::Answer;
    let sends = behaviour.withhold == Withhold::Nothing
        && behaviour.end.is_none()
        && behaviour.cut.is_none()
        && behaviour.defect.is_none()
        && behaviour.reconnect_request.is_none()
        && behaviour.media_stream.is_none();
    let lasts = publisher.video.as_ref().is_none_or(|video| video.until.is_none())
        && publisher.audio.as_ref().is_none_or(|audio| audio.until.is_none());
    accepts && answers && sends && lasts && (publisher.video.is_some() || publisher.audio.is_some())
}

/// Returns whether a publisher sends nothing more after a while, though it is there.
pub fn falls_silent(publisher: &Publisher) -> bool {
    publisher.video.as_ref().is_none_or(|video| video.until.is_some())
        && publisher.audio.as_ref().is_none_or(|audio| audio.until.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(law: BackoffLaw, n: u32, is_idle: bool) -> (u128, u128) {
        let config = PullConfig::default();
        let policy = Policy { law, ..Policy::of(&PullOptions::default(), &config) };
        let (least, most) = backoff(&policy, &config, n, is_idle);
        (least.as_millis(), most.as_millis())
    }

    #[test]
    fn our_law_doubles_to_its_cap_with_a_fifth_of_jitter() {
        for (n, wanted) in
            [(1, (80, 100)), (2, (160, 200)), (4, (640, 800)), (5, (800, 1000)), (40, (800, 1000))]
        {
            assert_eq!(check(BackoffLaw::Repull, n, false), wanted, "{n}");
        }
        assert_eq!(check(BackoffLaw::Repull, 9, true), (12_000, 15_000));
    }

    #[test]
    fn zlmediakits_law_is_exact() {
        for (n, wanted) in [(1, 2), (2, 3), (3, 6), (20, 57), (21, 60), (99, 60)] {
            assert_eq!(check(BackoffLaw::ZlMediaKit, n, true), (wanted * 1000, wanted * 1000), "{n}");
        }
    }

    #[test]
    fn a_finite_count_implies_zlmediakits_law() {
        let config = PullConfig::default();
        let law =
            |retry_count| Policy::of(&PullOptions { retry_count, ..PullOptions::default() }, &config).law;
        assert_eq!(
            (law(-1), law(0), law(3)),
            (BackoffLaw::Repull, BackoffLaw::ZlMediaKit, BackoffLaw::ZlMediaKit)
        );
    }

    fn recovers(standing: Standing, around: Circumstances) -> u128 {
        let config = Config::default();
        let policy = Policy::of(&PullOptions::default(), &config.pull);
        recovery(&config, &policy, &around, &standing).as_millis()
    }

    #[test]
    fn recovery_is_the_sum_of_what_stands_in_the_way() {
        let around = Circumstances {
            addresses: 1,
            ttl: Duration::ZERO,
            streams: 1,
            gop: Duration::from_secs(1),
            strangers: false,
        };
        let standing = Standing {
            state: PullState::BackingOff,
            failures: 3,
            ponged: false,
            watched: true,
            redirected: false,
        };
        // Backoff 1 s, lookup 2 s, dial 2 s, handshake 3 s, request 3 s, token 50 ms, GOP 1 s, slack 1.5 s.
        assert_eq!(recovers(standing, around), 13_550);
        // Backoff 15 s, and three tokens may be others'.
        assert_eq!(recovers(Standing { watched: false, ..standing }, around), 27_700);
        assert_eq!(recovers(Standing { state: PullState::Streaming, ..standing }, around), 25_550);
        assert_eq!(recovers(standing, Circumstances { streams: 1000, ..around }), 63_500);
        // An attempt where an origin has sent us, and 20 s for one that serves nothing.
        assert_eq!(recovers(Standing { redirected: true, ..standing }, around), 13_550 + 10_000 + 20_000);
        // Another dial, handshake and request, and 20 s for one that serves nothing.
        assert_eq!(recovers(standing, Circumstances { addresses: 2, ..around }), 21_550 + 20_000);
        let stale = Circumstances { ttl: Duration::from_secs(30), ..around };
        assert_eq!(recovers(standing, stale), 13_550 + 30_000 + 10_000 + 1_000);
        // Another server at the address: an old answer leads there, or a dial that is under way.
        assert_eq!(recovers(standing, Circumstances { strangers: true, ..stale }), 13_550 + 41_000 + 20_000);
        let strangers = Circumstances { strangers: true, ..around };
        assert_eq!(recovers(standing, strangers), 13_550);
        assert_eq!(
            recovers(Standing { state: PullState::Handshaking, ..standing }, strangers),
            13_550 + 20_000
        );
    }

    #[test]
    fn strictness_scales() {
        let half = Strictness { numerator: 1, denominator: 2 };
        assert_eq!(half.of(Duration::from_secs(5)), Duration::from_millis(2500));
        assert_eq!(Strictness::default().of(Duration::from_secs(5)), Duration::from_secs(5));
    }
}
