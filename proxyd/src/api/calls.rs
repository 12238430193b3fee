//! The calls: arguments to steps of looks and requests, what was seen and replied to JSON.
//!
//! No call waits or knows who carries it: [`Step`] says what is needed next, so that a driver on sockets and a
//! simulated world answer byte for byte the same.

use std::{fmt, net::IpAddr, time::Duration};

use proxy_core::{
    Instant, Proxy,
    io::{ConnId, PlayerView, PullFailure, PullOptions, PullState, Reply, Request, StreamFilter, StreamView},
    url::{DEFAULT_VHOST, StreamKey, UrlError},
};
use serde_json::{Map, Value, json};

use super::{
    Answer, Failure,
    args::Args,
    code, unexpected,
    view::{SCHEMA, media_object, object, player_object, proxy_object},
};
use crate::{
    config::{KEYS, OPTIONS, Settings, set_option},
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

/// What a call needs next.
pub enum Step {
    /// Nothing: this is its answer.
    Done(Answer),
    /// A look at the core between two inputs.
    Look(Look),
    /// A request that the core answers at once: its reply is out before the next input.
    Ask(Box<Request>, Then<Step>),
    /// The one request whose reply may wait for an origin. The core bounds the time by `timeout_sec` or
    /// `pull.reply_timeout_ms`; the reply ends the call.
    Wait(Box<Request>, Then<Answer>),
}

/// How a call goes on with what it sees in the core.
pub type Look = Box<dyn FnOnce(&Proxy, Instant) -> Step + Send>;

/// How a call goes on with a reply.
pub type Then<T> = Box<dyn FnOnce(Reply) -> T + Send>;

impl Step {
    /// Sees the answer in the core.
    fn look(look: impl FnOnce(&Proxy, Instant) -> Answer + Send + 'static) -> Self {
        Self::Look(Box::new(move |proxy, now| Self::Done(look(proxy, now))))
    }

    /// Makes the answer of a reply.
    fn ask(request: Request, then: impl FnOnce(Reply) -> Answer + Send + 'static) -> Self {
        Self::Ask(Box::new(request), Box::new(move |reply| Self::Done(then(reply))))
    }
}

impl From<Result<Self, Failure>> for Step {
    fn from(step: Result<Self, Failure>) -> Self {
        step.unwrap_or_else(|failure| Self::Done(Err(failure)))
    }
}

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done(answer) => f.debug_tuple("Done").field(answer).finish(),
            Self::Look(_) => f.debug_tuple("Look").finish_non_exhaustive(),
            Self::Ask(request, _) => f.debug_tuple("Ask").field(request).finish_non_exhaustive(),
            Self::Wait(request, _) => f.debug_tuple("Wait").field(request).finish_non_exhaustive(),
        }
    }
}

/// What calls know beside the core.
#[derive(Clone, Copy)]
pub(super) struct Context<'a> {
    pub(super) settings: &'a Settings,
    /// The date at [`Instant::ZERO`], since the Unix epoch.
    pub(super) started_at: Duration,
}

/// Begins a call whose caller may call it.
pub(super) fn begin(context: Context<'_>, call: &Call, args: &Args) -> Step {
    let step = match call.kind {
        Kind::AddStreamProxy => add(context, args),
        Kind::DelStreamProxy => del(context, args),
        Kind::UpdateStreamProxy => update(context, args),
        Kind::ListStreamProxy => Ok(list_proxies(context, args)),
        Kind::GetProxyInfo => proxy_info(context, args),
        Kind::GetMediaList => Ok(media_list(context, args)),
        Kind::GetMediaInfo => media_info(context, args),
        Kind::IsMediaOnline => is_media_online(context, args),
        Kind::GetMediaPlayerList => media_players(context, args),
        Kind::CloseStream => close_stream(context, args),
        Kind::CloseStreams => Ok(close_streams(context, args)),
        Kind::GetAllSession => sessions(args),
        Kind::KickSession => kick_session(args),
        Kind::KickSessions => kick_sessions(args),
        Kind::GetStatistic => Ok(statistic()),
        Kind::GetServerConfig => Ok(Step::Done(Ok(server_config(context.settings)))),
        Kind::GetApiList => Ok(Step::Done(Ok(api_list()))),
        Kind::Version => Ok(Step::Done(Ok(version()))),
    };
    step.into()
}

fn add(context: Context<'_>, args: &Args) -> Result<Step, Failure> {
    let [app, stream, url] = args.need(["app", "stream", "url"], ADD_ARGS)?;
    let key = key(context, args.find("vhost"), app, stream)?;
    let (options, _) = options(args, PullOptions::default())?;
    let request = Request::Add { key: key.clone(), url: url.to_owned(), options };
    Ok(Step::Wait(Box::new(request), Box::new(move |reply| add_answer(&key, &reply))))
}

/// Tells what became of an add.
fn add_answer(key: &StreamKey, reply: &Reply) -> Answer {
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

fn del(context: Context<'_>, args: &Args) -> Result<Step, Failure> {
    let [key] = args.need(["key"], r#""key""#)?;
    let flag = |flag: bool| Ok(object(json!({ "data": { "flag": flag } })));
    // What is no key names no proxy.
    let Some(key) = whole_key(context, key) else { return Ok(Step::Done(flag(false))) };
    Ok(Step::ask(Request::Del { key }, move |reply| match reply {
        Reply::Deleted => flag(true),
        Reply::NotFound => flag(false),
        Reply::ShuttingDown => Err(Failure::ending()),
        other => Err(unexpected(&other)),
    }))
}

fn update(context: Context<'_>, args: &Args) -> Result<Step, Failure> {
    let key = match args.find("key") {
        Some(key) => whole_key(context, key).ok_or_else(no_proxy)?,
        None => {
            let [app, stream] = args.need(["app", "stream"], r#""key""#)?;
            key(context, args.find("vhost"), app, stream)?
        }
    };
    let args = args.clone();
    Ok(Step::Look(Box::new(move |proxy, now| {
        let view = proxy.stream(&key, now).ok_or_else(no_proxy);
        view.and_then(|view| update_present(key, view.options, &args)).into()
    })))
}

/// Options that are not named stay as they are.
fn update_present(key: StreamKey, present: PullOptions, args: &Args) -> Result<Step, Failure> {
    let (options, is_changed) = options(args, present)?;
    let request = Request::Update {
        key: key.clone(),
        url: args.find("url").map(str::to_owned),
        options: is_changed.then_some(options),
        now: args.is_set("now"),
    };
    Ok(Step::ask(request, move |reply| match reply {
        Reply::Updated { state } => {
            Ok(object(json!({ "data": { "key": key.to_string(), "state": words::state(state) } })))
        }
        Reply::NotFound => Err(no_proxy()),
        Reply::BadUrl(error) => Err(bad_url(&error)),
        Reply::OwnUrl => Err(Failure::new(code::OTHER_FAILED, words::failure(&PullFailure::OwnUrl))),
        Reply::ShuttingDown => Err(Failure::ending()),
        other => Err(unexpected(&other)),
    }))
}

fn list_proxies(context: Context<'_>, args: &Args) -> Step {
    let named = args.find("key").map(|text| (whole_key(context, text), words::clean(text)));
    Step::look(move |proxy, now| {
        let mut views: Vec<_> = proxy.streams(now).collect();
        if let Some((key, text)) = named {
            views.retain(|view| Some(&view.key) == key.as_ref());
            if views.is_empty() {
                return Err(Failure::new(code::EXCEPTION, format!("key not found: {text}")));
            }
        }
        Ok(list(views.iter().map(|view| {
            let mut members = proxy_object(view, now);
            members.insert("key".to_owned(), view.key.to_string().into());
            members
        })))
    })
}

fn proxy_info(context: Context<'_>, args: &Args) -> Result<Step, Failure> {
    let [key] = args.need(["key"], r#""key""#)?;
    let key = whole_key(context, key).ok_or_else(no_proxy)?;
    Ok(Step::look(move |proxy, now| {
        let view = proxy.stream(&key, now).ok_or_else(no_proxy)?;
        Ok(object(json!({ "data": proxy_object(&view, now) })))
    }))
}

fn media_list(context: Context<'_>, args: &Args) -> Step {
    let filter = filter(context, args);
    let started_at = context.started_at;
    Step::look(move |proxy, now| {
        let listed = proxy.streams(now).filter(|view| is_online(view) && filter.matches(&view.key));
        Ok(list(listed.map(|view| media_object(&view, now, started_at))))
    })
}

fn media_info(context: Context<'_>, args: &Args) -> Result<Step, Failure> {
    let key = named_key(context, args)?.ok_or_else(no_stream)?;
    let started_at = context.started_at;
    Ok(Step::look(move |proxy, now| {
        let view = proxy.stream(&key, now).filter(is_online).ok_or_else(no_stream)?;
        Ok(media_object(&view, now, started_at))
    }))
}

fn is_media_online(context: Context<'_>, args: &Args) -> Result<Step, Failure> {
    let tell = |online: bool| Ok(object(json!({ "online": online })));
    let Some(key) = named_key(context, args)? else { return Ok(Step::Done(tell(false))) };
    Ok(Step::look(move |proxy, now| tell(proxy.stream(&key, now).as_ref().is_some_and(is_online))))
}

fn media_players(context: Context<'_>, args: &Args) -> Result<Step, Failure> {
    let key = named_key(context, args)?.ok_or_else(no_stream)?;
    Ok(Step::look(move |proxy, now| {
        // Players held through an outage are players.
        let view = proxy.stream(&key, now).ok_or_else(no_stream)?;
        Ok(list(proxy.players_of(view.id).map(|player| player_object(&player))))
    }))
}

fn close_stream(context: Context<'_>, args: &Args) -> Result<Step, Failure> {
    let key = named_key(context, args)?.ok_or_else(no_stream)?;
    let filter = StreamFilter { vhost: Some(key.vhost), app: Some(key.app), stream: Some(key.stream) };
    Ok(Step::ask(Request::Close { filter, force: args.is_set("force") }, |reply| match reply {
        Reply::Closed { hit: 0, .. } => Err(no_stream()),
        Reply::Closed { closed: 0, .. } => Ok(object(json!({
            "code": code::OTHER_FAILED,
            "result": code::OTHER_FAILED,
            "msg": "close failed",
        }))),
        Reply::Closed { .. } => Ok(object(json!({ "result": code::SUCCESS, "msg": "success" }))),
        Reply::ShuttingDown => Err(Failure::ending()),
        other => Err(unexpected(&other)),
    }))
}

fn close_streams(context: Context<'_>, args: &Args) -> Step {
    let counts = |hit: u32, closed: u32| Ok(object(json!({ "count_hit": hit, "count_closed": closed })));
    let Filter::Streams(filter) = filter(context, args) else { return Step::Done(counts(0, 0)) };
    Step::ask(Request::Close { filter, force: args.is_set("force") }, move |reply| match reply {
        Reply::Closed { hit, closed } => counts(hit, closed),
        Reply::ShuttingDown => Err(Failure::ending()),
        other => Err(unexpected(&other)),
    })
}

fn sessions(args: &Args) -> Result<Step, Failure> {
    let filter = PlayerFilter::read(args)?;
    Ok(Step::look(move |proxy, _| {
        let matching = proxy.players().filter(|player| filter.matches(player));
        Ok(list(matching.map(|player| player_object(&player))))
    }))
}

fn kick_session(args: &Args) -> Result<Step, Failure> {
    let [id] = args.need(["id"], r#""id""#)?;
    let gone = || Failure::new(code::OTHER_FAILED, "can not find the target");
    let id = id.parse().map_err(|_| gone())?;
    Ok(Step::ask(Request::Kick { conn: ConnId(id) }, move |reply| match reply {
        Reply::Kicked => Ok(Map::new()),
        Reply::NotFound => Err(gone()),
        Reply::ShuttingDown => Err(Failure::ending()),
        other => Err(unexpected(&other)),
    }))
}

fn kick_sessions(args: &Args) -> Result<Step, Failure> {
    let filter = PlayerFilter::read(args)?;
    Ok(Step::Look(Box::new(move |proxy, _| {
        let matching = proxy.players().filter(|player| filter.matches(player));
        let conns: Vec<_> = matching.map(|player| player.conn).collect();
        kick_next(conns.into_iter(), 0)
    })))
}

/// Kicks one after the other; `hit` of those before were there.
fn kick_next(mut conns: std::vec::IntoIter<ConnId>, hit: u32) -> Step {
    let Some(conn) = conns.next() else { return Step::Done(Ok(object(json!({ "count_hit": hit })))) };
    Step::Ask(
        Box::new(Request::Kick { conn }),
        // One that left in between is not there to be kicked.
        Box::new(move |reply| kick_next(conns, hit + u32::from(reply == Reply::Kicked))),
    )
}

fn statistic() -> Step {
    Step::look(|proxy, now| {
        let counts = proxy.counts();
        let online = proxy.streams(now).filter(is_online).count();
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
    })
}

/// Tells the settings as text, as ZLMediaKit does; the secret is left out: whoever asks has it.
fn server_config(settings: &Settings) -> Map<String, Value> {
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
fn key(context: Context<'_>, vhost: Option<&str>, app: &str, stream: &str) -> Result<StreamKey, Failure> {
    let vhost = vhost.filter(|_| context.settings.core.play.vhosts).unwrap_or(DEFAULT_VHOST);
    StreamKey::new(vhost, app, stream)
        .map_err(|error| Failure::new(code::INVALID_ARGS, format!("app, stream: {error}")))
}

/// Returns the key written as `vhost/app/stream`.
fn whole_key(context: Context<'_>, text: &str) -> Option<StreamKey> {
    let mut key = StreamKey::parse(text).ok()?;
    if !context.settings.core.play.vhosts {
        DEFAULT_VHOST.clone_into(&mut key.vhost);
    }
    Some(key)
}

/// Returns the key a call about one stream names; `None` if it is of a schema we do not serve.
fn named_key(context: Context<'_>, args: &Args) -> Result<Option<StreamKey>, Failure> {
    let [schema, app, stream] = args.need(["schema", "app", "stream"], STREAM_ARGS)?;
    let key = key(context, args.find("vhost"), app, stream)?;
    Ok((schema == SCHEMA).then_some(key))
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

fn filter(context: Context<'_>, args: &Args) -> Filter {
    if args.find("schema").is_some_and(|schema| schema != SCHEMA) {
        return Filter::Nothing;
    }
    let vhost = args.find("vhost").filter(|_| context.settings.core.play.vhosts);
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

/// What a list of players is narrowed to.
struct PlayerFilter {
    local_port: Option<u16>,
    peer: Option<IpAddr>,
}

impl PlayerFilter {
    fn read(args: &Args) -> Result<Self, Failure> {
        let invalid = |text: &str| Failure::new(code::INVALID_ARGS, text);
        let local_port = args.find("local_port").map(str::parse).transpose();
        let peer = args.find("peer_ip").map(str::parse).transpose();
        Ok(Self {
            local_port: local_port.map_err(|_| invalid("local_port is no port"))?,
            peer: peer.map_err(|_| invalid("peer_ip is no IP address"))?,
        })
    }

    fn matches(&self, player: &PlayerView) -> bool {
        self.local_port.is_none_or(|port| player.local.port() == port)
            && self.peer.is_none_or(|peer| player.peer.ip().to_canonical() == peer.to_canonical())
    }
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
