//! A name whose address changes, once more with the production driver on real sockets: its dials, its timers and its
//! lookups are in it.

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use proxy_core::{
    Config,
    io::{PullState, Reply, ResolveError},
};
use proxyd::env::{Env, TokioEnv};
use sim::{
    origin::{ACCEPT_QUEUE, Behaviour, Publisher, Video},
    real::{Clock, RealOrigin, RealPlayer, RealProxy},
    viewer::ViewerConfig,
};
use tokio::net::{TcpListener, TcpStream};

use crate::{AWAY_NUMBERS, HOST, NAME};

/// Far above what anything here takes, since machines that test are busy.
const SOON: Duration = Duration::from_secs(20);

/// The kernel's environment, but for names: a test says where they lead.
#[derive(Clone, Debug)]
struct NamingEnv {
    kernel: TokioEnv,
    names: Arc<Mutex<BTreeMap<String, IpAddr>>>,
}

impl NamingEnv {
    fn lead(&self, host: &str, to: Ipv4Addr) {
        self.names.lock().unwrap_or_else(PoisonError::into_inner).insert(host.to_owned(), to.into());
    }
}

impl Env for NamingEnv {
    type Stream = TcpStream;
    type Listener = TcpListener;

    async fn dial(&self, to: SocketAddr) -> io::Result<TcpStream> {
        self.kernel.dial(to).await
    }

    async fn listen(&self, at: SocketAddr) -> io::Result<TcpListener> {
        self.kernel.listen(at).await
    }

    fn bound(&self, listener: &TcpListener) -> io::Result<SocketAddr> {
        self.kernel.bound(listener)
    }

    async fn accept(&self, listener: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
        self.kernel.accept(listener).await
    }

    async fn resolve(&self, host: &str) -> Result<Vec<IpAddr>, ResolveError> {
        let names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        names.get(host).map(|ip| vec![*ip]).ok_or(ResolveError::NotFound)
    }

    fn wall(&self) -> Duration {
        self.kernel.wall()
    }

    fn seed(&self) -> u64 {
        self.kernel.seed()
    }
}

/// What the old address does when the name leads elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Old {
    Refuses,
    IsSilent,
    IsAStranger,
}

#[test]
fn a_name_that_changes_is_followed_on_real_sockets() {
    let runtime = proxyd::env::runtime().expect("a runtime");
    for old in [Old::Refuses, Old::IsSilent, Old::IsAStranger] {
        runtime.block_on(follow(old)).expect("loopback sockets");
    }
}

async fn follow(old: Old) -> io::Result<()> {
    let (home_ip, away_ip) = (Ipv4Addr::new(127, 0, 0, 2), Ipv4Addr::new(127, 0, 0, 3));
    let clock = Clock::start();
    let home = RealOrigin::start_at((home_ip, 0).into(), ACCEPT_QUEUE, Behaviour::default(), clock).await?;
    let port = home.addr().port();
    let behaviour = Behaviour { numbers_from: AWAY_NUMBERS, ..Behaviour::default() };
    let away = RealOrigin::start_at((away_ip, port).into(), ACCEPT_QUEUE, behaviour, clock).await?;
    let publisher =
        || Publisher { video: Some(Video { gop: 10, ..Video::default() }), ..Publisher::default() };
    home.publish(NAME, publisher()).await;
    away.publish(NAME, publisher()).await;

    let env = NamingEnv { kernel: TokioEnv::new()?, names: Arc::default() };
    env.lead(HOST, home_ip);
    let proxy = RealProxy::start_on(env.clone(), Config::default()).await?;
    let reply = proxy.add(NAME, &format!("rtmp://{HOST}:{port}/{NAME}")).await;
    assert_eq!(reply, Some(Reply::Added { state: PullState::Streaming }));
    let players = [proxy.rtmp_url(NAME), proxy.flv_url(NAME)]
        .map(|url| RealPlayer::start(&url, ViewerConfig::stamped(NAME), clock));
    let players: Vec<RealPlayer> = players.into_iter().collect::<io::Result<_>>()?;
    for player in &players {
        assert!(player.wait_for(SOON, |report| report.keyframes >= 2).await);
    }

    match old {
        Old::Refuses => home.kill(true).await,
        Old::IsSilent => home.freeze().await,
        Old::IsAStranger => {
            home.kill(true).await;
            home.restart().await?;
        }
    }
    // The name changes when the pull is where the old address keeps it.
    let stuck = |state: PullState| match old {
        Old::Refuses => state == PullState::BackingOff,
        Old::IsSilent => state == PullState::Handshaking,
        Old::IsAStranger => state == PullState::AwaitingMedia,
    };
    let is_stuck = proxy.wait_for(NAME, SOON, |view| view.is_some_and(|view| stuck(view.state))).await;
    assert!(is_stuck, "{old:?}: {:?}", proxy.stream(NAME).await);
    env.lead(HOST, away_ip);
    for player in &players {
        let served = |report: &sim::viewer::Report| report.lives == 2 && report.keyframes >= 4;
        assert!(player.wait_for(SOON, served).await, "{old:?}: {:?}", proxy.stream(NAME).await);
    }
    let origin = proxy.stream(NAME).await.and_then(|view| view.origin);
    assert_eq!(origin.map(|(_, remote)| remote), Some(away.addr()), "{old:?}");
    for player in players {
        let report = player.stop();
        assert_eq!(report.violations, Vec::<String>::new(), "{old:?}");
        assert_eq!(report.disconnects, Vec::new(), "{old:?}");
    }
    assert_eq!(away.status().await.ledger.complaints, Vec::<String>::new(), "{old:?}");
    Ok(())
}
