//! Operators, players and origins do what they like, in any order, beside a reference that knows only the contract: which
//! keys are taken, what each call is answered, who is connected to what. It shares nothing with the core.

#[expect(dead_code, reason = "stories of lifecycles use more of this world")]
#[path = "../lifecycle/world.rs"]
mod world;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

use proptest::{collection::vec, prelude::*, sample::select};
use proxy_core::{
    Config,
    io::{ConnId, PlayAnswer, PullOptions, PullState, Reply, Request, RequestId, StreamFilter},
    time::{Duration, Instant},
};
use world::{Dial, Serve, World};

const HOSTS: [SocketAddr; 2] = [
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(198, 18, 0, 2)), 1935),
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(198, 18, 0, 3)), 1935),
];
/// The last is forced at every add.
const STREAMS: [&str; 3] = ["x", "y", "forced"];
/// No answer to an add takes longer, nor does an answer to a player.
const REPLY_MAX: Duration = Duration::from_secs(10);
/// A player of what is not there waits so long, and a little.
const PARKED_MAX: Duration = Duration::from_millis(15_100);
/// A stream without a frame for so long does not stream (the default of `stall_timeout_ms`).
const STALL: Duration = Duration::from_secs(5);
/// Whatever has healed plays again within this: a silent dial, its handshake and request, the longest backoff of a stream
/// that nobody watches.
const WELL_MAX: Duration = Duration::from_secs(45);

/// Something somebody does.
#[derive(Clone, Copy, Debug)]
enum Op {
    Add { stream: usize, host: usize },
    AddBadUrl { stream: usize },
    Del { stream: usize },
    Close { stream: usize, force: bool },
    Update { stream: usize, host: usize, now: bool },
    Play { stream: usize },
    HangUp { player: usize },
    Dial { host: usize, dial: Dial },
    Serve { host: usize, serve: Serve },
    ResetOne,
    ResetAll,
    Wait { millis: u64 },
}

fn ops() -> impl Strategy<Value = Op> {
    let (stream, host) = (0..STREAMS.len(), 0..HOSTS.len());
    let dials = select(vec![Dial::Accept, Dial::Refuse, Dial::Silent]);
    let serves = select(vec![Serve::Media, Serve::Nothing, Serve::NotFound, Serve::Held, Serve::Frozen]);
    prop_oneof![
        6 => (stream.clone(), host.clone()).prop_map(|(stream, host)| Op::Add { stream, host }),
        1 => stream.clone().prop_map(|stream| Op::AddBadUrl { stream }),
        3 => stream.clone().prop_map(|stream| Op::Del { stream }),
        2 => (stream.clone(), any::<bool>()).prop_map(|(stream, force)| Op::Close { stream, force }),
        1 => (stream.clone(), host.clone(), any::<bool>())
            .prop_map(|(stream, host, now)| Op::Update { stream, host, now }),
        3 => stream.prop_map(|stream| Op::Play { stream }),
        2 => (0..8_usize).prop_map(|player| Op::HangUp { player }),
        3 => (host.clone(), dials).prop_map(|(host, dial)| Op::Dial { host, dial }),
        2 => (host, serves).prop_map(|(host, serve)| Op::Serve { host, serve }),
        1 => Just(Op::ResetOne),
        1 => Just(Op::ResetAll),
        8 => select(vec![1, 60, 300, 1_000, 4_000, 12_000]).prop_map(|millis| Op::Wait { millis }),
    ]
}

/// What a key is taken for, as the contract has it.
#[derive(Debug)]
struct Taken {
    host: usize,
    /// An add has succeeded, or was forced: nothing that fails removes it.
    stays: bool,
    waiters: BTreeMap<RequestId, Instant>,
}

#[derive(Debug)]
struct Player {
    stream: usize,
    since: Instant,
    /// It hung up itself.
    left: bool,
}

/// What must be so.
#[derive(Debug, Default)]
struct Model {
    taken: BTreeMap<usize, Taken>,
    players: BTreeMap<ConnId, Player>,
    asked: BTreeSet<RequestId>,
}

fn url(host: usize, stream: usize) -> String {
    format!("rtmp://{}/live/{}", HOSTS[host].ip(), STREAMS[stream])
}

impl Model {
    /// Returns who has a seat at a stream: was given it, and neither went nor was sent away.
    fn seated(&self, world: &World, stream: usize) -> usize {
        let sits = |(conn, player): &(&ConnId, &Player)| {
            player.stream == stream
                && !player.left
                && !world.closed.contains(conn)
                && world.play_answers.get(conn) == Some(&PlayAnswer::Stream)
        };
        self.players.iter().filter(sits).count()
    }

    fn add(&mut self, world: &mut World, stream: usize, host: usize) -> Result<(), TestCaseError> {
        let streams = world.is_fed(STREAMS[stream], STALL);
        let before = world.view(STREAMS[stream]);
        let force = STREAMS[stream] == "forced";
        let options = PullOptions { force, ..PullOptions::default() };
        let id = world.add(STREAMS[stream], &url(host, stream), options);
        self.asked.insert(id);
        if streams {
            let exists = Reply::Exists { state: PullState::Streaming };
            prop_assert_eq!(world.replies.get(&id), Some(&exists), "what streams is not touched");
            let url_now = world.view(STREAMS[stream]).map(|view| view.url);
            prop_assert_eq!(url_now, before.map(|view| view.url), "nor is its url");
            return Ok(());
        }
        let now = world.now;
        let Some(taken) = self.taken.get_mut(&stream) else {
            let taken = Taken { host, stays: force, waiters: BTreeMap::from([(id, now)]) };
            self.taken.insert(stream, taken);
            return Ok(());
        };
        if taken.host != host {
            for old in std::mem::take(&mut taken.waiters).into_keys() {
                prop_assert_eq!(
                    world.replies.get(&old),
                    Some(&Reply::Superseded),
                    "another add took its place"
                );
            }
            taken.host = host;
        }
        taken.waiters.insert(id, now);
        Ok(())
    }

    fn gone(&mut self, world: &World, stream: usize) -> Result<(), TestCaseError> {
        for id in self.taken.remove(&stream).into_iter().flat_map(|taken| taken.waiters.into_keys()) {
            prop_assert_eq!(world.replies.get(&id), Some(&Reply::Cancelled), "what it waited for is gone");
        }
        Ok(())
    }

    fn step(&mut self, world: &mut World, op: Op) -> Result<(), TestCaseError> {
        match op {
            Op::Add { stream, host } => self.add(world, stream, host)?,
            Op::AddBadUrl { stream } => {
                let streams = world.is_fed(STREAMS[stream], STALL);
                let id = world.add(STREAMS[stream], "http://no/rtmp", PullOptions::default());
                self.asked.insert(id);
                let is_refused = match world.replies.get(&id) {
                    Some(Reply::BadUrl(_)) => true,
                    Some(Reply::Exists { .. }) => streams,
                    Some(_) | None => false,
                };
                prop_assert!(is_refused, "{:?}", world.replies.get(&id));
            }
            Op::Del { stream } => {
                let key = World::key(STREAMS[stream]);
                let id = world.request(Request::Del { key });
                self.asked.insert(id);
                let wanted = if self.taken.contains_key(&stream) { Reply::Deleted } else { Reply::NotFound };
                prop_assert_eq!(world.replies.get(&id), Some(&wanted));
                self.gone(world, stream)?;
            }
            Op::Close { stream, force } => {
                let is_read = world.is_fed(STREAMS[stream], STALL) && self.seated(world, stream) > 0;
                let hit = u32::from(self.taken.contains_key(&stream));
                let closed = if is_read && !force { 0 } else { hit };
                let filter =
                    StreamFilter { stream: Some(STREAMS[stream].to_owned()), ..StreamFilter::default() };
                let id = world.request(Request::Close { filter, force });
                self.asked.insert(id);
                prop_assert_eq!(world.replies.get(&id), Some(&Reply::Closed { hit, closed }));
                if closed > 0 {
                    self.gone(world, stream)?;
                }
            }
            Op::Update { stream, host, now } => {
                let key = World::key(STREAMS[stream]);
                let id =
                    world.request(Request::Update { key, url: Some(url(host, stream)), options: None, now });
                self.asked.insert(id);
                let reply = world.replies.get(&id);
                match self.taken.get_mut(&stream) {
                    Some(taken) => {
                        prop_assert!(matches!(reply, Some(Reply::Updated { .. })), "{:?}", reply);
                        taken.host = host;
                    }
                    None => prop_assert_eq!(reply, Some(&Reply::NotFound)),
                }
            }
            Op::Play { stream } => {
                let conn = world.play_http(STREAMS[stream]);
                self.players.insert(conn, Player { stream, since: world.now, left: false });
            }
            Op::HangUp { player } => {
                let sits =
                    |(conn, player): &(&ConnId, &mut Player)| !player.left && !world.closed.contains(conn);
                let found = self.players.iter_mut().filter(sits).nth(player);
                if let Some((conn, player)) = found {
                    player.left = true;
                    let conn = *conn;
                    world.hang_up(conn);
                }
            }
            Op::Dial { host, dial } => drop(world.dial.insert(HOSTS[host], dial)),
            Op::Serve { host, serve } => drop(world.serve_at.insert(HOSTS[host], serve)),
            Op::ResetOne => world.reset_one(),
            Op::ResetAll => world.reset_origins(),
            Op::Wait { millis } => {
                // What becomes of a wait is looked at on the way.
                for _ in 0..millis / 500 {
                    world.run(500);
                    self.judge(world)?;
                }
                world.run(millis % 500);
            }
        }
        self.judge(world)
    }

    /// Takes what has been answered, and compares what is so with what must be.
    fn judge(&mut self, world: &World) -> Result<(), TestCaseError> {
        self.take_replies(world)?;
        for (stream, name) in STREAMS.iter().enumerate() {
            let view = world.view(name);
            prop_assert_eq!(view.is_some(), self.taken.contains_key(&stream), "{} is {:?}", name, view);
            let says = view.as_ref().is_some_and(|view| view.state == PullState::Streaming);
            prop_assert_eq!(says, world.is_fed(name, STALL), "it says what is so: {:?}", view);
            let listed = world.proxy.streams(world.now).filter(|view| view.key == World::key(name)).count();
            prop_assert_eq!(listed, usize::from(view.is_some()), "listed and found are one");
        }
        let connections = world.origin_connections();
        prop_assert!(connections <= self.taken.len(), "{} connections, {:?}", connections, self.taken);
        for (id, since) in self.taken.values().flat_map(|taken| &taken.waiters) {
            let waited = world.now.since(*since);
            prop_assert!(waited <= REPLY_MAX, "{:?} has waited {:?}", id, waited);
        }
        for (conn, player) in self.players.iter().filter(|(_, player)| !player.left) {
            let is_told = world.play_answers.contains_key(conn) || world.closed.contains(conn);
            let waited = world.now.since(player.since);
            // A key that is taken is waited for as long as its stream is.
            let is_taken = self.taken.contains_key(&player.stream);
            prop_assert!(is_told || is_taken || waited <= PARKED_MAX, "{:?} has waited {:?}", conn, waited);
        }
        for (conn, answer) in &world.play_answers {
            prop_assert!(self.players.contains_key(conn), "{:?} has not asked: {:?}", conn, answer);
        }
        for id in world.replies.keys() {
            prop_assert!(self.asked.contains(id), "{:?} was not asked", id);
        }
        Ok(())
    }

    fn take_replies(&mut self, world: &World) -> Result<(), TestCaseError> {
        let mut freed = Vec::new();
        for (stream, taken) in &mut self.taken {
            let answered: Vec<(RequestId, &Reply)> =
                taken.waiters.keys().filter_map(|id| Some((*id, world.replies.get(id)?))).collect();
            let stayed = taken.stays;
            let asked = taken.waiters.clone();
            for (id, reply) in answered {
                taken.waiters.remove(&id);
                match reply {
                    Reply::Added { state: PullState::Streaming } => taken.stays = true,
                    Reply::Added { state } => {
                        let is_forced = STREAMS[*stream] == "forced";
                        prop_assert!(is_forced, "added as {:?} without force", state);
                    }
                    Reply::AddFailed { state: Some(_), .. } => {
                        prop_assert!(stayed, "it never succeeded and stays");
                    }
                    Reply::AddTimedOut { state: Some(_) } => {
                        // Who asked later waits longer for the same attempt.
                        let is_waited_for = asked.values().any(|since| *since > asked[&id]);
                        prop_assert!(
                            stayed || is_waited_for,
                            "nobody waits, it never succeeded, and it stays"
                        );
                    }
                    Reply::AddFailed { state: None, .. } | Reply::AddTimedOut { state: None } => {
                        prop_assert!(!stayed, "a failing add has removed what stays: {:?}", reply);
                        freed.push(*stream);
                    }
                    Reply::Exists { .. }
                    | Reply::Superseded
                    | Reply::Cancelled
                    | Reply::BadUrl(_)
                    | Reply::OwnUrl
                    | Reply::Full
                    | Reply::ShuttingDown
                    | Reply::Updated { .. }
                    | Reply::Deleted
                    | Reply::Closed { .. }
                    | Reply::Kicked
                    | Reply::NotFound
                    | Reply::Down => prop_assert!(false, "an add that waited is answered {:?}", reply),
                }
            }
        }
        for stream in freed {
            let left = self.taken.remove(&stream).map(|taken| taken.waiters).unwrap_or_default();
            prop_assert!(left.is_empty(), "others wait for what is gone: {:?}", left);
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    #[test]
    fn whatever_happens_keys_replies_and_connections_are_as_the_contract_says(story in vec(ops(), 1..40)) {
        let mut world = World::new(Config::default());
        world.dial = HOSTS.iter().map(|host| (*host, Dial::Accept)).collect();
        let mut model = Model::default();
        for op in story {
            model.step(&mut world, op)?;
        }

        // Everything heals: what is wanted plays.
        for host in HOSTS {
            world.dial.insert(host, Dial::Accept);
            world.serve_at.insert(host, Serve::Media);
        }
        let millis = u64::try_from(WELL_MAX.as_millis()).unwrap_or(0);
        model.step(&mut world, Op::Wait { millis })?;
        for stream in model.taken.keys() {
            prop_assert_eq!(world.state(STREAMS[*stream]), Some(PullState::Streaming), "{}", STREAMS[*stream]);
        }
        prop_assert_eq!(world.origin_connections(), model.taken.len(), "a connection each");

        // Everything goes: nothing is left.
        for stream in 0..STREAMS.len() {
            model.step(&mut world, Op::Del { stream })?;
        }
        model.step(&mut world, Op::Wait { millis: 20_000 })?;
        prop_assert_eq!(world.origin_connections(), 0);
        prop_assert_eq!(world.replies.len(), model.asked.len(), "a reply each");
        for (conn, player) in &model.players {
            let is_refused = world.play_answers.get(conn).is_some_and(|answer| *answer != PlayAnswer::Stream);
            let is_over = player.left || is_refused || world.closed.contains(conn);
            prop_assert!(is_over, "{:?} was left behind", conn);
        }
        let counts = world.proxy.counts();
        prop_assert_eq!((counts.streams, counts.origins, counts.players), (0, 0, 0));
    }
}
