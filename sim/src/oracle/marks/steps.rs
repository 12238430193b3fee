//! Marks of pulls: what a step, a state or the waits between attempts say.

use proxy_core::{
    io::{PullEventKind as E, PullState as S},
    time::{Duration, Instant},
};

use super::Marks;
use crate::{
    oracle::{Entered, Scene, StreamNow},
    trace::{ActorId, Inward},
};

impl Marks {
    pub(super) fn on_step(
        &mut self,
        proxy: ActorId,
        id: u64,
        step: (S, E, S),
        stream: &StreamNow,
        scene: &Scene,
        at: Instant,
    ) {
        let (state, stimulus, next) = step;
        if next == S::Queued && state != S::Queued {
            self.queued.insert((proxy, id));
            if self.queued.len() >= 8 {
                self.reach("storm-queued");
            }
        } else if next != S::Queued {
            self.queued.remove(&(proxy, id));
        }
        if next == S::Queued
            && matches!(state, S::Connecting | S::Handshaking | S::Requesting | S::AwaitingMedia)
            && !matches!(stimulus, E::Restart | E::Redirected)
        {
            self.reach("next-address");
        }
        match (state, stimulus) {
            (S::Connecting, E::Stop) => self.reach("del-during-dial"),
            (S::Connecting, E::Restart) => self.reach("restart-during-dial"),
            (S::Requesting, E::Stop) => self.reach("del-during-request"),
            (S::Replaying, E::Stop) => self.reach("del-during-replay"),
            (S::Requesting, E::Restart) => self.reach("restart-during-request"),
            (S::BackingOff, E::Stop) if stream.attempts > 0 => self.reach("del-during-backoff"),
            (S::Handshaking, E::Stop) if self.connected == Some((at, proxy, id)) => {
                self.reach("close-as-dial-succeeds")
            }
            (S::Connecting, E::Deadline) => self.reach("dial-timed-out"),
            (S::Connecting, E::ConnectFailed) => self.reach("dial-refused"),
            (S::Handshaking, E::ProtocolFailed | E::Closed | E::Deadline) => self.reach("handshake-failed"),
            (S::Requesting, E::Refused) => self.reach("request-refused"),
            (S::Requesting, E::Pong) => self.reach("origin-holds-request"),
            (S::Requesting, E::Deadline) if next != S::Requesting => self.reach("request-unanswered"),
            (S::AwaitingMedia, E::Deadline) if at.since(stream.entered_at) >= Duration::from_secs(1) => {
                self.reach("silent-play");
            }
            (S::AwaitingMedia, E::Frame) if next == S::Streaming => self.on_first_frame(stream, at),
            (S::Streaming, E::Ended) => self.reach("ended-on-connection"),
            (S::Streaming, E::Deadline) => self.on_streaming_due(next, stream, scene, proxy, at),
            (S::Streaming, E::Closed) => self.on_lost(scene),
            (S::Replaying, E::Closed | E::Deadline | E::Refused | E::ProtocolFailed) => {
                self.reach("replay-fails")
            }
            (S::BackingOff, E::Wake) if next != S::BackingOff && stream.attempts > 1 => {
                let asked = scene.inward.is_some_and(|inward| matches!(inward.what, Inward::Request { .. }));
                if !asked {
                    self.reach("woken-by-sibling");
                }
            }
            (_, E::Redirected) if next != S::BackingOff => self.reach("redirect-followed"),
            (
                S::Resolving
                | S::Queued
                | S::Connecting
                | S::Handshaking
                | S::Requesting
                | S::AwaitingMedia
                | S::Streaming
                | S::Replaying
                | S::BackingOff
                | S::Stopped,
                E::Wake
                | E::Watched
                | E::Resolved
                | E::ResolveFailed
                | E::Granted
                | E::Connected
                | E::ConnectFailed
                | E::HandshakeDone
                | E::ProtocolFailed
                | E::Asked
                | E::Playing
                | E::Frame
                | E::Pong
                | E::Ended
                | E::Refused
                | E::Redirected
                | E::Closed
                | E::Deadline
                | E::Restart
                | E::Stop,
            ) => {}
        }
    }

    fn on_first_frame(&mut self, stream: &StreamNow, at: Instant) {
        if at.since(stream.entered_at) > Duration::from_secs(2) {
            self.reach("publisher-waited-for");
        }
        if stream.replayed {
            self.reach("replay-succeeds");
        } else if stream.attempts == 1 {
            self.reach("first-try");
        }
    }

    fn on_streaming_due(&mut self, next: S, stream: &StreamNow, scene: &Scene, proxy: ActorId, at: Instant) {
        let silence = at.since(stream.arrived_at.unwrap_or(at));
        if next != S::Streaming {
            self.reach(if silence >= stream.policy.stall { "stalled" } else { "track-redialled" });
        } else if stream.failures > 0 && at == stream.entered_at + scene.config(proxy).pull.stable_after {
            self.reach("forgiven");
        }
    }

    fn on_lost(&mut self, scene: &Scene) {
        self.reach("connection-lost");
        if let Some(Entered { proxy, what: Inward::Closed { conn, .. }, .. }) = scene.inward
            && self.part == Some((proxy, conn))
        {
            self.reach("frame-split-over-re-pull");
        }
    }
}
