//! What runs on turmoil's hosts: the wires on each, a process of the production driver on a proxy's, the operators.

use std::{
    future::{Future, poll_fn},
    io,
    net::Ipv4Addr,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    body::Body,
    middleware::{Next, from_fn},
    response::Response,
};
use proxy_core::io::Request;
use proxyd::{
    api::{ApiConfig, router},
    config::{Secret, Settings},
    driver::{Driver, DriverConfig},
    env::Env,
    http_server::{HttpLimits, serve_http},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    task::JoinHandle,
    time::sleep,
};
use turmoil::net::{TcpListener, TcpStream};

use super::{
    env::{CONTROL_PORT, FabricEnv},
    host_name,
    shell::{CallOut, Life, Shell, Telling, Told},
    watch::Watch,
};
use crate::{raw::http::HttpReader, world::SECRET};

/// Where a host takes packets from others.
const WIRE_PORT: u16 = 1;
/// The header that carries an operator's call's number.
const CALL_HEADER: &str = "x-call";
/// A packet's number and length.
const FRAME_HEAD: usize = 12;
/// How often an operator dials a proxy that is about to listen, a millisecond apart.
const DIALS_MAX: u32 = 20;

/// Takes packets from every other host and sends to each.
pub(super) async fn wires(shell: Shell, host: usize, hosts: usize) -> turmoil::Result {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, WIRE_PORT)).await?;
    for to in (0..hosts).filter(|to| *to != host) {
        tokio::spawn(send(shell.clone(), host, to));
    }
    shell.lock().ready += 1;
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(take(shell.clone(), stream));
    }
}

async fn send(shell: Shell, from: usize, to: usize) -> io::Result<()> {
    let mut stream = loop {
        match TcpStream::connect((turmoil::lookup(host_name(to)), WIRE_PORT)).await {
            Ok(stream) => break stream,
            // It has not begun yet.
            Err(_) => sleep(Duration::from_millis(1)).await,
        }
    };
    loop {
        let bytes = poll_fn(|cx| {
            let shared = &mut *shell.lock();
            let lane = shared.lanes.entry((from, to)).or_default();
            if lane.out.is_empty() {
                lane.carrier = Some(cx.waker().clone());
                return Poll::Pending;
            }
            Poll::Ready(std::mem::take(&mut lane.out))
        })
        .await;
        stream.write_all(&bytes).await?;
    }
}

async fn take(shell: Shell, mut stream: TcpStream) -> io::Result<()> {
    loop {
        let mut head = [0; FRAME_HEAD];
        stream.read_exact(&mut head).await?;
        let (number, len) = head.split_at(8);
        let number = number.iter().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
        let len = len.iter().fold(0_usize, |sum, byte| sum << 8 | usize::from(*byte));
        let mut packet = vec![0; len];
        stream.read_exact(&mut packet).await?;
        shell.lock().arrived.push((number, packet));
    }
}

/// Runs one process of a proxy after another, as the world wants.
pub(super) async fn proxy(shell: Shell, p: usize) -> turmoil::Result {
    let mut last = 0;
    loop {
        let life = poll_fn(|cx| shell.poll_life(p, last, cx)).await;
        last = life.number;
        let ended = poll_fn(|cx| shell.poll_end(p, last, cx));
        tokio::select! {
            biased;
            () = ended => {}
            ran = live(&shell, p, &life) => ran?,
        }
    }
}

/// The life of a process, as the daemon's: driver, HTTP, the streams of the configuration.
async fn live(shell: &Shell, p: usize, life: &Life) -> turmoil::Result {
    let settings = &life.settings;
    let env = FabricEnv::new(shell.clone(), p, life);
    let config = DriverConfig {
        core: settings.core.clone(),
        rtmp_listen: settings.rtmp_listen().into_iter().collect(),
    };
    let (driver, handle) = Driver::bind(env.clone(), config, |_, _| {}).await?;
    let mut tasks = Tasks(Vec::new());
    if let Some(at) = settings.http_listen() {
        let listener = env.listen(at).await?;
        let config = ApiConfig { settings: (**settings).clone(), secret: Secret(SECRET.to_owned()) };
        let watch = env.watch().clone();
        let told = move |request, next| tell_call(watch.clone(), request, next);
        let router = router(handle.clone(), config).layer(from_fn(told));
        let serves = serve_http(env.clone(), listener, router, limits(settings));
        tasks.0.push(tokio::spawn(Gate::new(shell, p, serves)));
    }
    for entry in settings.proxies.clone() {
        let handle = handle.clone();
        let add = Request::Add { key: entry.key, url: entry.url, options: entry.options };
        tasks.0.push(tokio::spawn(async move {
            // What becomes of it is told by the stream's own events.
            let _ = handle.request(add).await;
        }));
    }
    Gate::new(shell, p, driver.run()).await;
    Ok(())
}

/// Lets a request of an operator's through, and tells when it came to the API and what the API answered.
async fn tell_call(watch: Watch, request: axum::extract::Request, next: Next) -> Response {
    let number = request.headers().get(CALL_HEADER).and_then(|value| value.to_str().ok()?.parse().ok());
    let Some(call) = number else { return next.run(request).await };
    watch.tell_outside(Telling::Asked { call });
    let (parts, body) = next.run(request).await.into_parts();
    let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap_or_default();
    let body = String::from_utf8_lossy(&bytes).into_owned();
    watch.tell_outside(Telling::Answered { call, body });
    Response::from_parts(parts, Body::from(bytes))
}

/// The limits the daemon serves with.
fn limits(settings: &Settings) -> HttpLimits {
    HttpLimits {
        connections_max: settings.http.connections_max,
        header_timeout: settings.http.keep_alive,
        write_timeout: settings.http.keep_alive,
        ..HttpLimits::default()
    }
}

/// Tasks that end with their process.
struct Tasks(Vec<JoinHandle<()>>);

impl Drop for Tasks {
    fn drop(&mut self) {
        for task in &self.0 {
            task.abort();
        }
    }
}

/// A task of a process that stands still while the process is frozen.
struct Gate {
    shell: Shell,
    p: usize,
    task: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Gate {
    fn new(shell: &Shell, p: usize, task: impl Future<Output = ()> + Send + 'static) -> Self {
        Self { shell: shell.clone(), p, task: Box::pin(task) }
    }
}

impl Future for Gate {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.shell.poll_running(self.p, cx).is_pending() {
            return Poll::Pending;
        }
        self.task.as_mut().poll(cx)
    }
}

/// Sends operators' calls, each over a connection of its own.
pub(super) async fn operators(shell: Shell) -> turmoil::Result {
    shell.lock().ready += 1;
    loop {
        let call = poll_fn(|cx| {
            let shared = &mut *shell.lock();
            let call = shared.calls.pop_front();
            if call.is_none() {
                shared.operator = Some(cx.waker().clone());
            }
            call.map_or(Poll::Pending, Poll::Ready)
        })
        .await;
        let shell = shell.clone();
        tokio::spawn(async move {
            let (number, proxy) = (call.call, call.proxy);
            // A proxy that ends with the call under way leaves it without an answer.
            if let Ok(body) = ask(call).await {
                let shared = &mut *shell.lock();
                let what = Telling::Received { call: number, body };
                shared.told.push(Told { proxy, at: shared.now, what });
            }
        });
    }
}

async fn ask(call: CallOut) -> io::Result<String> {
    let at = (turmoil::lookup(host_name(call.host)), CONTROL_PORT);
    let mut dials = 0;
    let mut stream = loop {
        match TcpStream::connect(at).await {
            Ok(stream) => break stream,
            Err(error) if dials == DIALS_MAX => return Err(error),
            Err(_) => sleep(Duration::from_millis(1)).await,
        }
        dials += 1;
    };
    let CallOut { call, target, .. } = call;
    let request =
        format!("GET {target} HTTP/1.1\r\nHost: proxy\r\n{CALL_HEADER}: {call}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let (mut reader, mut body) = (HttpReader::new(), Vec::new());
    let mut buffer = [0; 4096];
    loop {
        let len = stream.read(&mut buffer).await?;
        if len == 0 {
            break;
        }
        reader
            .handle_bytes(&buffer[..len], &mut body)
            .map_err(|error| io::Error::other(format!("{error:?}")))?;
    }
    if reader.status().is_none() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(String::from_utf8_lossy(&body).into_owned())
}
