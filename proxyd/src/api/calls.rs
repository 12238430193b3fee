//! The calls: arguments to requests and queries, replies to JSON.

use std::net::IpAddr;

use proxy_core::{
    Instant, Proxy,
    io::{ConnId, PlayerView, PullFailure, PullOptions, PullState, Reply, Request, StreamFilter, StreamView},
    url::{DEFAULT_VHOST, StreamKey, UrlError},
};
use serde_json::{Map, Value, json};

use super::{
    Answer, Failure, Shared,
    args::Args,
    code, unexpected,
    view::{SCHEMA, media_object, object, player_object, proxy_object},
};
use crate::{
    config::{KEYS, OPTIONS, set_option},
    log::words,
};

/// The arguments of every call about one stream, as ZLMediaKit lists them when one is missing.
const STREAM_ARGS: &str = r#""schema","vhost","app","stream""#;

/// What `addStreamProxy` lists when one is missing.
const ADD_ARGS: &str = r#""vhost","app","stream","url""#;

/// A call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// Its name, the last part of its path.
    pub name: &'static str,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    AddStreamProxy,
    DelStreamProxy,
    UpdateStreamProxy,
    ListStreamProxy,
    GetProxyInfo,
    GetMediaList,
    GetMediaInfo,
    IsMediaOnline,
    GetMediaPlayerList,
    CloseStream,
    CloseStreams,
    GetAllSession,
    KickSession,
    KickSessions,
    GetStatistic,
    GetServerConfig,
    GetApiList,
    Version,
}

/// Every call there is, as `getApiList` tells them.
pub const CALLS: &[Call] = &[
    Call { name: "addStreamProxy", kind: Kind::AddStreamProxy },
    Call { name: "close_stream", kind: Kind::CloseStream },
    Call { name: "close_streams", kind: Kind::CloseStreams },
    Call { name: "delStreamProxy", kind: Kind::DelStreamProxy },
    Call { name: "getAllSession", kind: Kind::GetAllSession },
    Call { name: "getApiList", kind: Kind::GetApiList },
    Call { name: "getMediaInfo", kind: Kind::GetMediaInfo },
    Call { name: "getMediaList", kind: Kind::GetMediaList },
    Call { name: "getMediaPlayerList", kind: Kind::GetMediaPlayerList },
    Call { name: "getProxyInfo", kind: Kind::GetProxyInfo },
    Call { name: "getServerConfig", kind: Kind::GetServerConfig },
    Call { name: "getStatistic", kind: Kind::GetStatistic },
    Call { name: "isMediaOnline", kind: Kind::IsMediaOnline },
    Call { name: "kick_session", kind: Kind::KickSession },
    Call { name: "kick_sessions", kind: Kind::KickSessions },
    Call { name: "listStreamProxy", kind: Kind::ListStreamProxy },
    Call { name: "updateStreamProxy", kind: Kind::UpdateStreamProxy },
    Call { name: "version", kind: Kind::Version },
];

/// Returns the call of this name.
pub(super) fn find(name: &str) -> Option<&'static Call> {
    CALLS.iter().find(|call| call.name == name)
}

/// What is left of a call after its bounded part.
pub(super) enum Outcome {
    /// Nothing.
    Done(Map<String, Value>),
    /// The wait for an origin.
    Add(Box<Add>),
}

/// An `addStreamProxy` understood.
pub(super) struct Add {
    pub(super) key: StreamKey,
    url: String,
    options: PullOptions,
}

impl Add {
    pub(super) fn into_request(self) -> Request {
        Request::Add { key: self.key, url: self.url, options: self.options }
    }
}

/// Runs a call whose caller may call it.
pub(super) async fn run(shared: &Shared, call: &Call, args: &Args) -> Result<Outcome, Failure> {
    let done = match call.kind {
        Kind::AddStreamProxy => return add(shared, args).map(|add| Outcome::Add(Box::new(add))),
        Kind::DelStreamProxy => del(shared, args).await,
        Kind::UpdateStreamProxy => update(shared, args).await,
        Kind::ListStreamProxy => list_proxies(shared, args).await,
        Kind::GetProxyInfo => proxy_info(shared, args).await,
        Kind::GetMediaList => media_list(shared, args).await,
        Kind::GetMediaInfo => media_info(shared, args).await,
        Kind::IsMediaOnline => is_media_online(shared, args).await,
        Kind::GetMediaPlayerList => media_players(shared, args).await,
        Kind::CloseStream => close_stream(shared, args).await,
        Kind::CloseStreams => close_streams(shared, args).await,
        Kind::GetAllSession => sessions(shared, args).await,
        Kind::KickSession => kick_session(shared, args).await,
        Kind::KickSessions => kick_sessions(shared, args).await,
        Kind::GetStatistic => statistic(shared).await,
        Kind::GetServerConfig => Ok(server_config(shared)),
        Kind::GetApiList => Ok(api_list()),
        Kind::Version => Ok(version()),
    };
    done.map(Outcome::Done)
}

fn add(shared: &Shared, args: &Args) -> Result<Add, Failure> {
    let [app, stream, url] = args.need(["app", "stream", "url"], ADD_ARGS)?;
    let key = key(shared, args.find("vhost"), app, stream)?;
    let (options, _) = options(args, PullOptions::default())?;
    Ok(Add { key, url: url.to_owned(), options })
}

/// Tells what became of an add.
pub(super) fn add_answer(key: &StreamKey, reply: &Reply) -> Answer {
    let data = |state: Option<PullState>| {
        // A stream that did not stay has no state, and a script that looks should see why.
        json!({ "key": key.to_string(), "state": state.map_or("removed", words::state) })
    };
    let failed =
        |text: String, state| Err(Failure { code: code::OTHER_FAILED, text, data: Some(data(state)) });
    match reply {
        Reply::Added { state } => Ok(object(json!({ "data": data(Some(*state)) }))),
        Reply::Exists { state } => failed("This stream already exists".to_owned(), Some(*state)),
        Reply::AddFailed { failure, state } => failed(words::failure(failure), *state),
        Reply::AddTimedOut { state } => failed("play rtmp timeout".to_owned(), *state),
        Reply::Superseded => Err(Failure::new(code::OTHER_FAILED, "superseded")),
        Reply::Cancelled => Err(Failure::new(code::OTHER_FAILED, "player proxy close")),
        Reply::BadUrl(error) => Err(bad_url(error)),
        Reply::OwnUrl => Err(Failure::new(code::OTHER_FAILED, words::failure(&PullFailure::OwnUrl))),
        Reply::Full => Err(Failure::new(
            code::OTHER_FAILED,
            "too many streams or waiting adds (limits.streams_max, limits.waiters_max)",
        )),
        Reply::ShuttingDown => Err(Failure::ending()),
        Reply::Updated { .. }
        | Reply::Deleted
        | Reply::Closed { .. }
        | Reply::Kicked
        | Reply::NotFound
        | Reply::Down => Err(unexpected(reply)),
    }
}

async fn del(shared: &Shared, args: &Args) -> Answer {
    let [key] = args.need(["key"], r#""key""#)?;
    let flag = |flag: bool| Ok(object(json!({ "data": { "flag": flag } })));
    // What is no key names no proxy.
    let Some(key) = whole_key(shared, key) else { return flag(false) };
    match ask(shared, Request::Del { key }).await? {
        Reply::Deleted => flag(true),
        Reply::NotFound => flag(false),
        Reply::ShuttingDown => Err(Failure::ending()),
        other => Err(unexpected(&other)),
    }
}

async fn update(shared: &Shared, args: &Args) -> Answer {
    let key = match args.find("key") {
        Some(key) => whole_key(shared, key).ok_or_else(no_proxy)?,
        None => {
            let [app, stream] = args.need(["app", "stream"], r#""key""#)?;
            key(shared, args.find("vhost"), app, stream)?
        }
    };
    // Options that are not named stay as they are.
    let sought = key.clone();
    let look = move |proxy: &Proxy, now| proxy.stream(&sought, now).map(|view| view.options);
    let present = shared.handle.query(look).await.ok_or_else(Failure::ending)?.ok_or_else(no_proxy)?;
    let (options, is_changed) = options(args, present)?;
    let request = Request::Update {
        key: key.clone(),
        url: args.find("url").map(str::to_owned),
        options: is_changed.then_some(options),
        now: args.is_set("now"),
    };
    match ask(shared, request).await? {
        Reply::Updated { state } => {
            Ok(object(json!({ "data": { "key": key.to_string(), "state": words::state(state) } })))
        }
        Reply::NotFound => Err(no_proxy()),
        Reply::BadUrl(error) => Err(bad_url(&error)),
        Reply::OwnUrl => Err(Failure::new(code::OTHER_FAILED, words::failure(&PullFailure::OwnUrl))),
        Reply::ShuttingDown => Err(Failure::ending()),
        other => Err(unexpected(&other)),
    }
}

async fn list_proxies(shared: &Shared, args: &Args) -> Answer {
    let (mut views, now) = streams(shared).await?;
    if let Some(text) = args.find("key") {
        let key = whole_key(shared, text);
        views.retain(|view| Some(&view.key) == key.as_ref());
        if views.is_empty() {
            return Err(Failure::new(code::EXCEPTION, format!("key not found: {}", words::clean(text))));
        }
    }
    Ok(list(views.iter().map(|view| {
        let mut members = proxy_object(view, now);
        members.insert("key".to_owned(), view.key.to_string().into());
        members
    })))
}

async fn proxy_info(shared: &Shared, args: &Args) -> Answer {
    let [key] = args.need(["key"], r#""key""#)?;
    let key = whole_key(shared, key).ok_or_else(no_proxy)?;
    let (view, now) = stream(shared, key).await?;
    let view = view.ok_or_else(no_proxy)?;
    Ok(object(json!({ "data": proxy_object(&view, now) })))
}

async fn media_list(shared: &Shared, args: &Args) -> Answer {
    let filter = filter(shared, args);
    let (views, now) = streams(shared).await?;
    let listed = views.iter().filter(|view| is_online(view) && filter.matches(&view.key));
    Ok(list(listed.map(|view| media_object(view, now, shared.handle.started_at()))))
}

async fn media_info(shared: &Shared, args: &Args) -> Answer {
    let (view, now) = named_stream(shared, args).await?;
    match view.filter(is_online) {
        Some(view) => Ok(media_object(&view, now, shared.handle.started_at())),
        None => Err(no_stream()),
    }
}

async fn is_media_online(shared: &Shared, args: &Args) -> Answer {
    let (view, _) = named_stream(shared, args).await?;
    Ok(object(json!({ "online": view.as_ref().is_some_and(is_online) })))
}

async fn media_players(shared: &Shared, args: &Args) -> Answer {
    let key = named_key(shared, args)?.ok_or_else(no_stream)?;
    let look = move |proxy: &Proxy, now| {
        // Players held through an outage are players.
        let view = proxy.stream(&key, now)?;
        Some(proxy.players_of(view.id).collect::<Vec<_>>())
    };
    let players = shared.handle.query(look).await.ok_or_else(Failure::ending)?.ok_or_else(no_stream)?;
    Ok(list(players.iter().map(player_object)))
}

async fn close_stream(shared: &Shared, args: &Args) -> Answer {
    let key = named_key(shared, args)?.ok_or_else(no_stream)?;
    let filter = StreamFilter { vhost: Some(key.vhost), app: Some(key.app), stream: Some(key.stream) };
    match ask(shared, Request::Close { filter, force: args.is_set("force") }).await? {
        Reply::Closed { hit: 0, .. } => Err(no_stream()),
        Reply::Closed { closed: 0, .. } => Ok(object(json!({
            "code": code::OTHER_FAILED,
            "result": code::OTHER_FAILED,
            "msg": "close failed",
        }))),
        Reply::Closed { .. } => Ok(object(json!({ "result": code::SUCCESS, "msg": "success" }))),
        Reply::ShuttingDown => Err(Failure::ending()),
        other => Err(unexpected(&other)),
    }
}

async fn close_streams(shared: &Shared, args: &Args) -> Answer {
    let counts = |hit: u32, closed: u32| Ok(object(json!({ "count_hit": hit, "count_closed": closed })));
    let Filter::Streams(filter) = filter(shared, args) else { return counts(0, 0) };
    match ask(shared, Request::Close { filter, force: args.is_set("force") }).await? {
        Reply::Closed { hit, closed } => counts(hit, closed),
        Reply::ShuttingDown => Err(Failure::ending()),
        other => Err(unexpected(&other)),
    }
}

async fn sessions(shared: &Shared, args: &Args) -> Answer {
    Ok(list(matching_players(shared, args).await?.iter().map(player_object)))
}

async fn kick_session(shared: &Shared, args: &Args) -> Answer {
    let [id] = args.need(["id"], r#""id""#)?;
    let gone = || Failure::new(code::OTHER_FAILED, "can not find the target");
    let id = id.parse().map_err(|_| gone())?;
    match ask(shared, Request::Kick { conn: ConnId(id) }).await? {
        Reply::Kicked => Ok(Map::new()),
        Reply::NotFound => Err(gone()),
        Reply::ShuttingDown => Err(Failure::ending()),
        other => Err(unexpected(&other)),
    }
}

async fn kick_sessions(shared: &Shared, args: &Args) -> Answer {
    let mut hit = 0;
    for player in matching_players(shared, args).await? {
        // One that left in between is not there to be kicked.
        if ask(shared, Request::Kick { conn: player.conn }).await? == Reply::Kicked {
            hit += 1;
        }
    }
    Ok(object(json!({ "count_hit": hit })))
}

async fn statistic(shared: &Shared) -> Answer {
    let look = |proxy: &Proxy, now| (proxy.counts(), proxy.streams(now).filter(is_online).count());
    let (counts, online) = shared.handle.query(look).await.ok_or_else(Failure::ending)?;
    Ok(object(json!({
        "data": {
            // ZLMediaKit's names where the same thing is counted.
            "MediaSource": online,
            "MultiMediaSourceMuxer": counts.streams,
            "TcpSession": counts.players,
            "TcpClient": counts.origins,
            "Socket": counts.players + counts.origins,
            // Ours.
            "streams": counts.streams,
            "origins": counts.origins,
            "players": counts.players,
            "timers": counts.timers,
            "relay_bytes": counts.relay_bytes,
            "in_flight_bytes": counts.in_flight_bytes,
            "requests": counts.requests,
            "asks": counts.asks,
        },
    })))
}

/// Tells the settings as text, as ZLMediaKit does; the secret is left out: whoever asks has it.
fn server_config(shared: &Shared) -> Map<String, Value> {
    let settings = &shared.config.settings;
    let shown = KEYS.iter().filter(|key| !key.hidden);
    let members: Map<_, _> = shown.map(|key| (key.path(), Value::String(key.field.show(settings)))).collect();
    object(json!({ "data": [members] }))
}

fn api_list() -> Map<String, Value> {
    let paths: Vec<_> = CALLS.iter().map(|call| format!("/index/api/{}", call.name)).collect();
    object(json!({ "data": paths }))
}

fn version() -> Map<String, Value> {
    object(json!({
        "data": {
            "version": env!("CARGO_PKG_VERSION"),
            // Set by whoever builds a release.
            "buildTime": option_env!("REPULL_BUILD_TIME").unwrap_or("unknown"),
            "branchName": option_env!("REPULL_BRANCH").unwrap_or("unknown"),
            "commitHash": option_env!("REPULL_COMMIT").unwrap_or("unknown"),
        },
    }))
}

/// Applies the options among the arguments to `base`; tells if there were any.
fn options(args: &Args, base: PullOptions) -> Result<(PullOptions, bool), Failure> {
    let mut options = base;
    let mut is_changed = false;
    for option in OPTIONS {
        let Some(value) = args.find(option.name) else { continue };
        is_changed = true;
        set_option(&mut options, option.name, value)
            .map_err(|error| Failure::new(code::INVALID_ARGS, format!("{}: {error}", option.name)))?;
    }
    Ok((options, is_changed))
}

/// Returns the key of a stream named in parts.
fn key(shared: &Shared, vhost: Option<&str>, app: &str, stream: &str) -> Result<StreamKey, Failure> {
    let vhost = vhost.filter(|_| shared.config.settings.core.play.vhosts).unwrap_or(DEFAULT_VHOST);
    StreamKey::new(vhost, app, stream)
        .map_err(|error| Failure::new(code::INVALID_ARGS, format!("app, stream: {error}")))
}

/// Returns the key written as `vhost/app/stream`.
fn whole_key(shared: &Shared, text: &str) -> Option<StreamKey> {
    let mut key = StreamKey::parse(text).ok()?;
    if !shared.config.settings.core.play.vhosts {
        DEFAULT_VHOST.clone_into(&mut key.vhost);
    }
    Some(key)
}

/// Returns the key a call about one stream names; `None` if it is of a schema we do not serve.
fn named_key(shared: &Shared, args: &Args) -> Result<Option<StreamKey>, Failure> {
    let [schema, app, stream] = args.need(["schema", "app", "stream"], STREAM_ARGS)?;
    let key = key(shared, args.find("vhost"), app, stream)?;
    Ok((schema == SCHEMA).then_some(key))
}

async fn named_stream(shared: &Shared, args: &Args) -> Result<(Option<StreamView>, Instant), Failure> {
    match named_key(shared, args)? {
        Some(key) => stream(shared, key).await,
        None => Ok((None, Instant::ZERO)),
    }
}

/// What a list is narrowed to.
enum Filter {
    Streams(StreamFilter),
    /// A schema we do not serve.
    Nothing,
}

impl Filter {
    fn matches(&self, key: &StreamKey) -> bool {
        let Self::Streams(filter) = self else { return false };
        let fits = |part: &Option<String>, name: &str| part.as_deref().is_none_or(|part| part == name);
        fits(&filter.vhost, &key.vhost) && fits(&filter.app, &key.app) && fits(&filter.stream, &key.stream)
    }
}

fn filter(shared: &Shared, args: &Args) -> Filter {
    if args.find("schema").is_some_and(|schema| schema != SCHEMA) {
        return Filter::Nothing;
    }
    let vhost = args.find("vhost").filter(|_| shared.config.settings.core.play.vhosts);
    let (app, stream) = (args.find("app"), args.find("stream"));
    let owned = |part: Option<&str>| part.map(str::to_owned);
    let (Some(app), Some(stream)) = (app, stream) else {
        return Filter::Streams(StreamFilter { vhost: owned(vhost), app: owned(app), stream: owned(stream) });
    };
    // Both parts together are cut as keys are: `live` and `cam/1` is `live/cam` and `1`.
    match StreamKey::new(vhost.unwrap_or(DEFAULT_VHOST), app, stream) {
        Ok(key) => Filter::Streams(StreamFilter {
            vhost: owned(vhost),
            app: Some(key.app),
            stream: Some(key.stream),
        }),
        Err(_) => Filter::Nothing,
    }
}

async fn ask(shared: &Shared, request: Request) -> Result<Reply, Failure> {
    shared.handle.request(request).await.ok_or_else(Failure::ending)
}

async fn streams(shared: &Shared) -> Result<(Vec<StreamView>, Instant), Failure> {
    let look = |proxy: &Proxy, now| (proxy.streams(now).collect(), now);
    shared.handle.query(look).await.ok_or_else(Failure::ending)
}

async fn stream(shared: &Shared, key: StreamKey) -> Result<(Option<StreamView>, Instant), Failure> {
    let look = move |proxy: &Proxy, now| (proxy.stream(&key, now), now);
    shared.handle.query(look).await.ok_or_else(Failure::ending)
}

async fn matching_players(shared: &Shared, args: &Args) -> Result<Vec<PlayerView>, Failure> {
    let port = match args.find("local_port") {
        Some(text) => {
            Some(text.parse::<u16>().map_err(|_| Failure::new(code::INVALID_ARGS, "local_port is no port"))?)
        }
        None => None,
    };
    let peer = match args.find("peer_ip") {
        Some(text) => Some(
            text.parse::<IpAddr>()
                .map_err(|_| Failure::new(code::INVALID_ARGS, "peer_ip is no IP address"))?,
        ),
        None => None,
    };
    let look = |proxy: &Proxy, _| proxy.players().collect::<Vec<_>>();
    let mut players = shared.handle.query(look).await.ok_or_else(Failure::ending)?;
    players.retain(|player| {
        port.is_none_or(|port| player.local.port() == port)
            && peer.is_none_or(|peer| player.peer.ip().to_canonical() == peer.to_canonical())
    });
    Ok(players)
}

/// A stream is listed exactly while it streams.
fn is_online(view: &StreamView) -> bool {
    view.state == PullState::Streaming
}

/// Renders a list; ZLMediaKit leaves `data` out of an empty one.
fn list(items: impl Iterator<Item = Map<String, Value>>) -> Map<String, Value> {
    let items: Vec<_> = items.map(Value::Object).collect();
    if items.is_empty() { Map::new() } else { object(json!({ "data": items })) }
}

fn no_stream() -> Failure {
    Failure::new(code::NOT_FOUND, "can not find the stream")
}

fn no_proxy() -> Failure {
    Failure::new(code::NOT_FOUND, "can not find the proxy")
}

fn bad_url(error: &UrlError) -> Failure {
    match error {
        // Only the scheme of what was asked for: urls carry passwords.
        UrlError::Scheme { scheme } if !scheme.is_empty() => Failure::new(
            code::EXCEPTION,
            format!("not supported play schema:{} (only rtmp is pulled)", words::clean(scheme)),
        ),
        other => Failure::new(code::INVALID_ARGS, format!("url: {other}")),
    }
}
