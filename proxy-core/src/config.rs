//! Every number the core decides by, with its default. Handed in once.

use crate::{io::BackoffLaw, relay::RelayLimits, time::Duration, wire::chunk::ChunkLimits};

/// All of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// How origins are pulled.
    pub pull: PullConfig,
    /// How players are served.
    pub play: PlayConfig,
    /// What a relay keeps.
    pub relay: RelayLimits,
    /// How often we dial.
    pub dial: DialConfig,
    /// Counts.
    pub limits: Limits,
}

/// How origins are pulled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PullConfig {
    /// A lookup may take this long.
    pub resolve_timeout: Duration,
    /// A dial to one address may take this long.
    pub dial_timeout: Duration,
    /// The handshake may take this long.
    pub handshake_timeout: Duration,
    /// connect, createStream and play together may take this long.
    pub request_timeout: Duration,
    /// The answer to a replay may take this long.
    pub replay_timeout: Duration,
    /// Silence of all tracks that counts as a stall.
    pub stall_timeout: Duration,
    /// Silence of one track that counts as a stall.
    pub track_stall_timeout: Duration,
    /// Patience with an origin that answers no pings and sends no media; above the 15 s some hold a request.
    pub first_media_timeout: Duration,
    /// How long the reply to an add may take.
    pub reply_timeout: Duration,
    /// Pings while no media flows.
    pub ping_interval_silent: Duration,
    /// Pings while media flows.
    pub ping_interval: Duration,
    /// A ping unanswered for this long means a dead transport, where the origin has answered one before.
    pub ping_timeout: Duration,
    /// Lookups of the name while an accepted play brings no media.
    pub lookup_interval: Duration,
    /// How long an answer may be reused; zero means every lookup is fresh.
    pub resolve_ttl: Duration,
    /// Media for this long forgives failures (law `Repull`).
    pub stable_after: Duration,
    /// The retry law; `None`: `ZlMediaKit` for a finite `retry_count`, else `Repull`.
    pub law: Option<BackoffLaw>,
    /// First delay of law `Repull`.
    pub backoff_min: Duration,
    /// Cap of law `Repull`.
    pub backoff_max: Duration,
    /// Cap of law `Repull` in a long outage nobody watches.
    pub backoff_idle_max: Duration,
    /// How long an outage must last before the idle cap counts.
    pub backoff_idle_after: Duration,
    /// How long players keep their seats in an outage.
    pub player_hold: Duration,
    /// Redirects followed in a row; stable media or a wait by the law begins anew.
    pub redirects_max: u32,
    /// Redials in a row without a frame before the stream context is rebuilt.
    pub rebuild_after: u32,
    /// Addresses of one answer that are tried.
    pub addresses_max: usize,
    /// Remove streams nobody watches.
    pub auto_close: bool,
    /// Rebuild the stream context at every re-pull.
    pub reset_when_replay: bool,
    /// Send FCSubscribe before play.
    pub fc_subscribe: bool,
    /// What is believed of an origin's chunks.
    pub chunk_limits: ChunkLimits,
}

impl Default for PullConfig {
    fn default() -> Self {
        Self {
            resolve_timeout: Duration::from_secs(2),
            dial_timeout: Duration::from_secs(2),
            handshake_timeout: Duration::from_secs(3),
            request_timeout: Duration::from_secs(3),
            replay_timeout: Duration::from_secs(2),
            stall_timeout: Duration::from_secs(5),
            track_stall_timeout: Duration::from_secs(10),
            first_media_timeout: Duration::from_secs(20),
            reply_timeout: Duration::from_secs(10),
            ping_interval_silent: Duration::from_secs(1),
            ping_interval: Duration::from_secs(5),
            ping_timeout: Duration::from_secs(2),
            lookup_interval: Duration::from_secs(2),
            resolve_ttl: Duration::ZERO,
            stable_after: Duration::from_secs(5),
            law: None,
            backoff_min: Duration::from_millis(100),
            backoff_max: Duration::from_secs(1),
            backoff_idle_max: Duration::from_secs(15),
            backoff_idle_after: Duration::from_secs(120),
            player_hold: Duration::from_secs(300),
            redirects_max: 3,
            rebuild_after: 3,
            addresses_max: 16,
            auto_close: false,
            reset_when_replay: false,
            fc_subscribe: false,
            chunk_limits: ChunkLimits::ORIGIN,
        }
    }
}

/// How players are served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlayConfig {
    /// A connection must have asked to play by then (`rtmp.handshakeSecond`).
    pub handshake_timeout: Duration,
    /// A player that takes no byte for this long while some wait is hung up (`rtmp.keepAliveSecond`).
    pub stall_timeout: Duration,
    /// A play request for a missing stream waits this long (`general.maxStreamWaitMS`).
    pub stream_wait: Duration,
    /// A stream unwatched for this long is told so (`general.streamNoneReaderDelayMS`).
    pub none_reader_delay: Duration,
    /// Frames are handed out at most this often (`general.mergeWriteMS`); zero means at once.
    pub merge_write: Duration,
    /// Media bytes a connection may have in flight; overshot by one packet, else a large keyframe could never go.
    pub send_bytes_max: usize,
    /// Control bytes a player may cause to be in flight beyond that; more is a flood.
    pub control_bytes_max: usize,
    /// Backlog beyond which a player is shed to the latest keyframe, in bytes. What has come since that keyframe may wait as
    /// well, as long as it is kept for joiners.
    pub queue_bytes_max: usize,
    /// How long a closing connection may take to get its bytes out.
    pub linger_timeout: Duration,
    /// How long an `Ask` may stay open before its default counts.
    pub ask_timeout: Duration,
    /// Live message streams per connection.
    pub streams_max: usize,
    /// Longest chain of proxies.
    pub hops_max: u32,
    /// Our outgoing chunk size towards players, in bytes; the relay's must be the same.
    pub chunk_size: u32,
    /// Players may name a virtual host (`general.enableVhost`); without it all are [`crate::url::DEFAULT_VHOST`].
    pub vhosts: bool,
    /// What is believed of a player's chunks.
    pub chunk_limits: ChunkLimits,
}

impl Default for PlayConfig {
    fn default() -> Self {
        Self {
            handshake_timeout: Duration::from_secs(15),
            stall_timeout: Duration::from_secs(15),
            stream_wait: Duration::from_secs(15),
            none_reader_delay: Duration::from_secs(20),
            merge_write: Duration::ZERO,
            send_bytes_max: 256 * 1024,
            control_bytes_max: 64 * 1024,
            queue_bytes_max: 16 * 1024 * 1024,
            linger_timeout: Duration::from_secs(3),
            ask_timeout: Duration::from_secs(10),
            streams_max: 8,
            hops_max: 8,
            chunk_size: 60_000,
            vhosts: false,
            chunk_limits: ChunkLimits::PLAYER,
        }
    }
}

impl Default for RelayLimits {
    fn default() -> Self {
        Self {
            log_bytes_max: 64 * 1024 * 1024,
            gop_bytes_max: 32 * 1024 * 1024,
            gop_frames_max: 4096,
            headers_max: 64,
            chunk_size: 60_000,
            backward_max: Duration::from_secs(1),
            forward_max: Duration::from_secs(10),
        }
    }
}

/// How often we dial: token buckets that hold a tenth of a second.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DialConfig {
    /// Dials per second to one address.
    pub per_address: u32,
    /// Dials per second in all.
    pub total: u32,
}

impl Default for DialConfig {
    fn default() -> Self {
        Self { per_address: 20, total: 200 }
    }
}

/// Counts beyond which a newcomer is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Registered streams.
    pub streams_max: usize,
    /// Player connections of all kinds; one more is aborted.
    pub players_max: usize,
    /// Adds waiting for one stream.
    pub waiters_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { streams_max: 10_000, players_max: 20_000, waiters_max: 64 }
    }
}
