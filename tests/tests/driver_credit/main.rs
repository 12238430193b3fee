//! The production driver's batching and credit, whatever its sockets do: origins that send in bursts, players that take a
//! byte at a time, stop and go on, come and go. What must hold is kept in [`bench`]'s books:
//!
//! | promise | what breaks it |
//! |---|---|
//! | a transport takes what the core wanted sent, in order, each byte once | a short write forgotten, packets swapped |
//! | the core hears what was read, in order, each byte once | a read dropped between two turns |
//! | each write is told at once, with what the socket took of it | credit twice, never, or before it is due |
//! | what the core believes to be in flight is; it is never more than it allows | any of these |
//! | a turn reads and writes each connection a few times only | one peer that silences the others |
//! | a turn reads before it writes, and a write offers all that has gathered | a packet for each system call |
//! | nobody waits for something that could be done while the driver sleeps | a wakeup lost, a full socket in the way |
//! | a connection is closed after its last byte | a goodbye cut off |
//!
//! The books know nothing of RTMP; model origin and model players do, and judge every frame.

mod bench;

use std::{
    cell::RefCell,
    future::Future,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use hyper::body::Body;
use proptest::{collection::vec, prelude::*, sample::select, test_runner::TestRunner};
use proxy_core::{
    Config, Instant,
    io::{ConnId, PullOptions, Reply, Request},
};
use proxyd::driver::{
    Driver, DriverConfig, FlvBody, Handle, PlayRefused, READS_PER_TURN, SLICES_MAX, WRITES_PER_TURN,
};
use sim::{
    origin::{Audio, Behaviour, ModelOrigin, OriginOutput, Payload, PeerConn, Publisher, Video},
    player::{ModelPlayer, PlayerConfig},
    real::key,
    viewer::ViewerConfig,
};

use self::bench::{Bench, HERE, Nature, Peer, Reached, Stage};

const NAME: &str = "live/one";
/// An address, so that nothing is looked up.
const URL: &str = "rtmp://198.18.0.2/live/one";
/// Players that ever were, in one story.
const PLAYERS_MAX: usize = 8;
/// What answers and handshakes may add to a player's media in flight.
const CONTROL_BYTES_MAX: usize = 16 * 1024;
/// Whoever takes what it can is served within this: a GOP, and the moment it takes to catch up.
const SERVED_WITHIN: Duration = Duration::from_secs(1);
/// The step in which time goes by where it does not matter.
const STEP: Duration = Duration::from_millis(10);
/// Rounds of driver and peers in one moment; more would be a conversation without an end.
const ROUNDS_MAX: usize = 1_000_000;

/// Something that happens.
#[derive(Clone, Copy, Debug)]
enum Op {
    Join {
        is_http: bool,
        nature: Nature,
        appetite: usize,
    },
    /// A player takes so many bytes a step; of none it wants no more.
    Appetite {
        player: usize,
        bytes: usize,
    },
    Leave {
        player: usize,
        peer: Peer,
    },
    /// Frames that come due together come as one burst.
    Wait {
        steps: u32,
        millis: u64,
    },
}

/// What a story begins with.
#[derive(Clone, Copy, Debug)]
struct Setting {
    send_bytes_max: usize,
    queue_bytes_max: usize,
    merge_write: Duration,
    origin: Nature,
    /// Of a keyframe and of any other.
    frame_bytes: (usize, usize),
}

fn natures() -> impl Strategy<Value = Nature> {
    let rooms = select(vec![100, 700, 5_000, 60_000, 1 << 20]);
    let pieces = select(vec![10, 100, 1_448, 20_000, 1 << 20]);
    (rooms, pieces.clone(), pieces).prop_map(|(room, write_max, read_max)| Nature {
        room,
        write_max,
        read_max,
    })
}

fn appetites() -> impl Strategy<Value = usize> {
    prop_oneof![2 => Just(0), 2 => select(vec![50, 1_000, 8_000]), 2 => Just(usize::MAX)]
}

fn ops() -> impl Strategy<Value = Op> {
    let players = 0..PLAYERS_MAX;
    let ends = select(vec![Peer::Closed, Peer::Reset]);
    prop_oneof![
        4 => (any::<bool>(), natures(), appetites())
            .prop_map(|(is_http, nature, appetite)| Op::Join { is_http, nature, appetite }),
        4 => (players.clone(), appetites()).prop_map(|(player, bytes)| Op::Appetite { player, bytes }),
        1 => (players, ends).prop_map(|(player, peer)| Op::Leave { player, peer }),
        6 => select(vec![(1, 1), (20, 1), (10, 7), (5, 40), (1, 400), (2, 900)])
            .prop_map(|(steps, millis)| Op::Wait { steps, millis }),
    ]
}

fn settings() -> impl Strategy<Value = Setting> {
    (
        select(vec![1, 3_000, 20_000, 256 * 1024]),
        select(vec![60_000, 16 << 20]),
        select(vec![0, 30]),
        // An origin whose handshake and calls trickle never gets to media.
        (select(vec![5_000, 60_000]), select(vec![1, 100, 20_000]), select(vec![50, 1_448, 1 << 20])),
        (select(vec![100, 9_000, 40_000]), select(vec![60, 1_000])),
    )
        .prop_map(
            |(send_bytes_max, queue_bytes_max, merge, (room, write_max, read_max), frame_bytes)| Setting {
                send_bytes_max,
                queue_bytes_max,
                merge_write: Duration::from_millis(merge),
                origin: Nature { room, write_max, read_max },
                frame_bytes,
            },
        )
}

/// Whether somebody was woken.
#[derive(Debug, Default)]
struct Bell(AtomicBool);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl Bell {
    fn take(&self) -> bool {
        self.0.swap(false, Ordering::SeqCst)
    }
}

type Boxed<T> = Pin<Box<dyn Future<Output = T>>>;

struct Player {
    model: ModelPlayer,
    peer: SocketAddr,
    seat: Seat,
    appetite: usize,
    /// What is left of it in this step.
    hunger: usize,
    has_left: bool,
}

enum Seat {
    Rtmp { line: usize },
    Asking { play: Boxed<Result<FlvBody, PlayRefused>> },
    Flv { body: FlvBody, conn: ConnId },
    Gone,
}

/// A driver between a model origin and model players, on a clock that stands until it is moved.
struct World {
    bench: Bench,
    driver: Boxed<()>,
    handle: Handle,
    bell: Arc<Bell>,
    waker: Waker,
    start: tokio::time::Instant,
    origin: ModelOrigin,
    /// Lines that lead to the origin.
    links: Vec<usize>,
    players: Vec<Player>,
}

impl World {
    async fn new(setting: Setting) -> Self {
        let start = tokio::time::Instant::now();
        let bench = Bench::new(setting.send_bytes_max + CONTROL_BYTES_MAX, setting.origin);
        let mut core = Config::default();
        core.play.send_bytes_max = setting.send_bytes_max;
        core.play.queue_bytes_max = setting.queue_bytes_max;
        core.play.merge_write = setting.merge_write;
        core.play.control_bytes_max = CONTROL_BYTES_MAX;
        // Who stops in a story goes on in it: nobody is hung up on for it.
        core.play.stall_timeout = Duration::from_secs(600);
        let config = DriverConfig { core, rtmp_listen: vec![HERE] };
        let (driver, handle) =
            Driver::bind(bench.clone(), config, |_, _| {}).await.expect("the bench listens anywhere");
        let bell = Arc::new(Bell::default());
        let waker = Waker::from(Arc::clone(&bell));
        bell.0.store(true, Ordering::SeqCst);
        let mut origin = ModelOrigin::new(Behaviour::default());
        let (key, other) = setting.frame_bytes;
        let video = Video { gop: 10, bytes: (key, other), ..Video::default() };
        let audio = Audio { bytes: 200, ..Audio::default() };
        let publisher = Publisher {
            video: Some(video),
            audio: Some(audio),
            payload: Payload::Stub,
            ..Publisher::default()
        };
        origin.publish(NAME, publisher, Instant::ZERO);
        let driver = Box::pin(driver.run());
        let (links, players) = (Vec::new(), Vec::new());
        Self { bench, driver, handle, bell, waker, start, origin, links, players }
    }

    fn now(&self) -> Instant {
        Instant::from_nanos(u64::try_from(self.start.elapsed().as_nanos()).expect("a short story"))
    }

    /// Lets time go by, in steps.
    async fn wait(&mut self, steps: u32, step: Duration) -> Result<(), TestCaseError> {
        for _ in 0..steps {
            tokio::time::advance(step).await;
            for player in &mut self.players {
                player.hunger = player.appetite;
            }
            self.settle()?;
        }
        Ok(())
    }

    /// Lets everybody do what can be done in this moment.
    fn settle(&mut self) -> Result<(), TestCaseError> {
        for _ in 0..ROUNDS_MAX {
            let is_woken = self.bell.take();
            if is_woken {
                self.turn()?;
                continue;
            }
            self.bench.books().is_asleep();
            self.judge()?;
            if !self.serve() & !self.play() {
                return Ok(());
            }
        }
        Err(TestCaseError::fail("the world spins"))
    }

    /// One turn: the driver does one at each poll.
    fn turn(&mut self) -> Result<(), TestCaseError> {
        self.bench.books().begin_turn();
        let polled = self.driver.as_mut().poll(&mut Context::from_waker(&self.waker));
        prop_assert!(polled.is_pending(), "nobody told the driver to end");
        self.bench.books().end_turn();
        self.judge()
    }

    fn judge(&self) -> Result<(), TestCaseError> {
        let books = self.bench.books();
        prop_assert!(books.faults.is_empty(), "{:#?}", books.faults);
        Ok(())
    }

    /// The origin's part; returns whether it did anything.
    fn serve(&mut self) -> bool {
        let now = self.now();
        let books = &mut *self.bench.books();
        let mut is_busy = false;
        for line in books.dialled.drain(..) {
            is_busy = true;
            self.links.push(line);
            self.origin.on_accepted(PeerConn(line as u64), now);
        }
        for &line in &self.links {
            let heard = books.hear(line, usize::MAX);
            if !heard.is_empty() {
                is_busy = true;
                self.origin.handle_bytes(PeerConn(line as u64), &heard, now);
            }
        }
        if self.origin.deadline().is_some_and(|at| at <= now) {
            self.origin.handle_timeout(now);
        }
        while let Some(output) = self.origin.poll_output() {
            is_busy = true;
            let line = |conn: PeerConn| usize::try_from(conn.0).expect("it was a usize");
            match output {
                OriginOutput::Transmit { conn, bytes } => books.say(line(conn), &bytes),
                OriginOutput::Close { conn } => books.end(line(conn), Peer::Closed),
                OriginOutput::Reset { conn } => books.end(line(conn), Peer::Reset),
            }
        }
        is_busy
    }

    /// The players' part; returns whether they did anything.
    fn play(&mut self) -> bool {
        let now = self.now();
        let mut is_busy = false;
        for player in &mut self.players {
            is_busy |= player.take(&self.bench, now);
        }
        is_busy
    }

    fn join(&mut self, is_http: bool, nature: Nature, appetite: usize) {
        if self.players.len() >= PLAYERS_MAX {
            return;
        }
        let now = self.now();
        let scheme = if is_http { "http" } else { "rtmp" };
        let url = format!("{scheme}://{HERE}/{NAME}");
        let (config, _) = PlayerConfig::from_url(&url, ViewerConfig::stamped(NAME)).expect("a url");
        let mut model = ModelPlayer::new(config, now);
        assert!(model.poll_dial(now), "it dials at once");
        model.on_connected(now);
        let (seat, peer) = if is_http {
            // Our HTTP server would have read the request.
            assert!(model.poll_transmit().is_some_and(|request| request.starts_with(b"GET /")));
            let (handle, peer) = (self.handle.clone(), Bench::http_peer(self.players.len()));
            let play = async move { handle.play_http(key(NAME), String::new(), peer, HERE).await };
            (Seat::Asking { play: Box::pin(play) }, peer)
        } else {
            let line = self.bench.knock(nature);
            (Seat::Rtmp { line }, Bench::peer(line))
        };
        self.players.push(Player { model, peer, seat, appetite, hunger: appetite, has_left: false });
    }

    async fn step(&mut self, op: Op) -> Result<(), TestCaseError> {
        match op {
            Op::Join { is_http, nature, appetite } => self.join(is_http, nature, appetite),
            Op::Appetite { player, bytes } => {
                if let Some(player) = self.players.get_mut(player) {
                    (player.appetite, player.hunger) = (bytes, bytes);
                }
            }
            Op::Leave { player, peer } => {
                if let Some(player) = self.players.get_mut(player) {
                    player.leave(&self.bench, peer);
                }
            }
            Op::Wait { steps, millis } => self.wait(steps, Duration::from_millis(millis)).await?,
        }
        self.settle()
    }

    /// Asks the driver for something that is answered within a while.
    async fn ask(&mut self, request: Request) -> Result<Reply, TestCaseError> {
        let handle = self.handle.clone();
        let mut asked = Box::pin(async move { handle.request(request).await });
        for _ in 0..500 {
            if let Poll::Ready(reply) = asked.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                return reply.ok_or_else(|| TestCaseError::fail("the driver is gone"));
            }
            self.wait(1, STEP).await?;
        }
        Err(TestCaseError::fail("no answer"))
    }

    /// Whoever stays takes what it can.
    fn feed(&mut self) {
        for player in &mut self.players {
            (player.appetite, player.hunger) = (usize::MAX, usize::MAX);
        }
    }
}

impl Player {
    /// Takes what it wants and can; returns whether that was anything.
    fn take(&mut self, bench: &Bench, now: Instant) -> bool {
        let mut is_busy = false;
        match &mut self.seat {
            Seat::Rtmp { line } => {
                let line = *line;
                let books = &mut *bench.books();
                let bytes = books.hear(line, self.hunger);
                if !bytes.is_empty() {
                    is_busy = true;
                    self.hunger = self.hunger.saturating_sub(bytes.len());
                    self.model.handle_bytes(&bytes, now);
                }
                while let Some(bytes) = self.model.poll_transmit() {
                    is_busy = true;
                    books.say(line, &bytes);
                }
                if books.is_over(line) {
                    books.end(line, Peer::Closed);
                    self.model.on_closed("EOF", now);
                    self.seat = Seat::Gone;
                }
            }
            Seat::Asking { play } => {
                let Poll::Ready(answer) = play.as_mut().poll(&mut Context::from_waker(Waker::noop())) else {
                    return false;
                };
                is_busy = true;
                let conn = bench.books().conn_of(self.peer);
                self.seat = match (answer, conn) {
                    (Ok(body), Some(conn)) => {
                        self.model.handle_bytes(b"HTTP/1.1 200 OK\r\n\r\n", now);
                        Seat::Flv { body, conn }
                    }
                    _ => Seat::Gone,
                };
            }
            Seat::Flv { body, conn } => {
                while self.hunger > 0 {
                    match Pin::new(&mut *body).poll_frame(&mut Context::from_waker(Waker::noop())) {
                        Poll::Pending => break,
                        Poll::Ready(Some(Ok(frame))) => {
                            let Ok(bytes) = frame.into_data() else { continue };
                            is_busy = true;
                            // A body is taken by the frame.
                            self.hunger = self.hunger.saturating_sub(bytes.len());
                            bench.books().take(*conn, &bytes);
                            self.model.handle_bytes(&bytes, now);
                        }
                        Poll::Ready(Some(Err(_)) | None) => {
                            is_busy = true;
                            self.model.on_closed("EOF", now);
                            self.seat = Seat::Gone;
                            break;
                        }
                    }
                }
            }
            Seat::Gone => {}
        }
        is_busy
    }

    fn leave(&mut self, bench: &Bench, peer: Peer) {
        self.has_left = true;
        self.model.stop();
        if let Seat::Rtmp { line } = self.seat {
            bench.books().end(line, peer);
        }
        // A body that is dropped hangs up, and so does one that is still asked for.
        self.seat = Seat::Gone;
    }
}

/// Tells a story to its end; returns what it came to.
async fn tell(setting: Setting, story: Vec<Op>) -> Result<Reached, TestCaseError> {
    let mut world = World::new(setting).await;
    let options = PullOptions { force: true, ..PullOptions::default() };
    let reply = world.ask(Request::Add { key: key(NAME), url: URL.to_owned(), options }).await?;
    prop_assert!(matches!(reply, Reply::Added { .. }), "{:?}", reply);
    for op in story {
        world.step(op).await?;
    }

    // Whoever wants is served, however long it stood still before.
    world.feed();
    world.settle()?;
    let before: Vec<u64> = world.players.iter().map(|player| player.model.report().keyframes).collect();
    let steps = u32::try_from(SERVED_WITHIN.as_millis() / STEP.as_millis()).expect("a few steps");
    world.wait(steps, STEP).await?;
    for (index, (player, before)) in world.players.iter().zip(before).enumerate() {
        let report = player.model.report();
        prop_assert_eq!(&report.violations, &Vec::<String>::new(), "player {}", index);
        prop_assert_eq!(&report.disconnects, &Vec::new(), "player {}", index);
        prop_assert!(player.has_left || report.keyframes > before, "player {} starves", index);
    }

    // Everything goes, and all that was said arrives before that.
    prop_assert_eq!(world.ask(Request::Del { key: key(NAME) }).await?, Reply::Deleted);
    world.wait(10, STEP).await?;
    let books = world.bench.books();
    for player in world.players.iter().filter(|player| !player.has_left) {
        let account = books.conn_of(player.peer).and_then(|conn| books.accounts.get(&conn));
        let outcome = account.map(|account| (account.stage, account.wanted.len() - account.taken));
        prop_assert_eq!(outcome, Some((Stage::Over { in_order: true }, 0)), "stage and bytes left");
    }
    Ok(books.reached)
}

#[test]
fn whatever_sockets_do_bytes_and_credit_are_what_they_took() {
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) };
    let all = RefCell::new(Reached::default());
    let told = TestRunner::new(config).run(&(settings(), vec(ops(), 1..24)), |(setting, story)| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime");
        // tokio would have a peer's answer wait once it had taken part in 128 others.
        let reached = runtime.block_on(tokio::task::coop::unconstrained(tell(setting, story)))?;
        all.borrow_mut().join(&reached);
        Ok(())
    });
    if let Err(error) = told {
        panic!("{error}");
    }

    // The limits were met, and not only kept far away from.
    let all = all.into_inner();
    assert_eq!((all.reads_in_turn, all.writes_in_turn), (READS_PER_TURN, WRITES_PER_TURN), "{all:?}");
    assert!(all.slices > SLICES_MAX / 2 && all.slices <= SLICES_MAX, "{all:?}");
    assert!(all.short_writes > 0 && all.stuck > 0 && all.overshot > 0, "{all:?}");
}
