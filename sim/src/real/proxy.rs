//! The proxy on loopback, driven as in production.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use proxy_core::{
    io::{Event, PullOptions, Reply, Request, StreamView},
    time::Instant,
    url::{DEFAULT_VHOST, StreamKey},
};
use proxyd::{
    api::{ApiConfig, router},
    config::{Secret, Settings},
    driver::{Driver, DriverConfig, Handle},
    env::{Env, TokioEnv},
    http_server::{HttpLimits, serve_http},
};
use tokio::task::JoinHandle;

/// Events kept; a proxy under test that tells more has lost its mind.
const EVENTS_MAX: usize = 100_000;

/// The secret of a proxy on loopback.
pub const SECRET: &str = "loopback";

/// The proxy on loopback, on ports of its own choice. Dropping it ends it.
#[derive(Debug)]
pub struct RealProxy {
    /// Talks to it.
    pub handle: Handle,
    rtmp: SocketAddr,
    http: SocketAddr,
    events: Arc<Mutex<Vec<(Instant, Event)>>>,
    tasks: [JoinHandle<()>; 2],
}

impl RealProxy {
    /// Starts it.
    ///
    /// # Errors
    /// There is no free port.
    pub async fn start(core: proxy_core::Config) -> io::Result<Self> {
        Self::start_on(TokioEnv::new()?, core).await
    }

    /// Starts it in an environment that is the kernel's in most things.
    ///
    /// # Errors
    /// There is no free port.
    pub async fn start_on<E: Env>(env: E, core: proxy_core::Config) -> io::Result<Self> {
        let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let config = DriverConfig { core: core.clone(), rtmp_listen: vec![anywhere] };
        let events = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&events);
        let on_event = move |event: &Event, now| {
            let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
            if heard.len() < EVENTS_MAX {
                heard.push((now, event.clone()));
            }
        };
        let (driver, handle) = Driver::bind(env.clone(), config, on_event).await?;
        let rtmp = driver.rtmp_addrs().first().copied().unwrap_or(anywhere);
        let listener = env.listen(anywhere).await?;
        let http = env.bound(&listener)?;
        let settings = Settings { core, ..Settings::default() };
        let router = router(handle.clone(), ApiConfig { settings, secret: Secret(SECRET.to_owned()) });
        let tasks = [
            tokio::spawn(driver.run()),
            tokio::spawn(serve_http(env, listener, router, HttpLimits::default())),
        ];
        Ok(Self { handle, rtmp, http, events, tasks })
    }

    /// Returns where RTMP players connect.
    pub fn rtmp(&self) -> SocketAddr {
        self.rtmp
    }

    /// Returns where HTTP players and operators connect.
    pub fn http(&self) -> SocketAddr {
        self.http
    }

    /// Returns the RTMP url of `app/stream`.
    pub fn rtmp_url(&self, name: &str) -> String {
        format!("rtmp://{}/{name}", self.rtmp)
    }

    /// Returns the HTTP-FLV url of `app/stream`.
    pub fn flv_url(&self, name: &str) -> String {
        format!("http://{}/{name}.live.flv", self.http)
    }

    /// Adds `app/stream`, to be pulled from a url for ever.
    pub async fn add(&self, name: &str, url: &str) -> Option<Reply> {
        self.add_with(name, url, PullOptions::default()).await
    }

    /// Adds `app/stream` with options.
    pub async fn add_with(&self, name: &str, url: &str, options: PullOptions) -> Option<Reply> {
        self.handle.request(Request::Add { key: key(name), url: url.to_owned(), options }).await
    }

    /// Deletes `app/stream`.
    pub async fn del(&self, name: &str) -> Option<Reply> {
        self.handle.request(Request::Del { key: key(name) }).await
    }

    /// Returns `app/stream` as lists tell it.
    pub async fn stream(&self, name: &str) -> Option<StreamView> {
        let key = key(name);
        self.handle.query(move |proxy, now| proxy.stream(&key, now)).await.flatten()
    }

    /// Waits until a condition holds on `app/stream`; false if it does not within the time.
    pub async fn wait_for(
        &self,
        name: &str,
        time: Duration,
        condition: impl Fn(Option<&StreamView>) -> bool,
    ) -> bool {
        let end = tokio::time::Instant::now() + time;
        loop {
            if condition(self.stream(name).await.as_ref()) {
                return true;
            }
            if tokio::time::Instant::now() >= end {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Returns the events told so far, with the proxy's own time.
    pub fn events(&self) -> Vec<(Instant, Event)> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for RealProxy {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// Makes the key of `app/stream` on the default virtual host.
pub fn key(name: &str) -> StreamKey {
    let (app, stream) = name.rsplit_once('/').unwrap_or((name, ""));
    StreamKey { vhost: DEFAULT_VHOST.to_owned(), app: app.to_owned(), stream: stream.to_owned() }
}
