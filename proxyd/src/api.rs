//! The HTTP API: ZLMediaKit's calls over a [`Handle`], and HTTP-FLV beside them.
//!
//! What a call asks and answers is [`Api`]'s, which knows neither sockets nor time: [`Api::begin`] makes a [`Step`],
//! and whoever owns a core carries it to its end. The router here does so over a driver's [`Handle`].
//!
//! ```text
//! peer allowed? ──► known call? ──► room? ──► body, query, headers ──► secret? ──► call ──► {"code":…} with 200
//!     -100              404          -1          -300                    -100
//! ```
//! Every call is bounded: its body by `http.maxReqSize`, its time by `http.request_timeout_ms`, its number by
//! `api.requests_max`. An `addStreamProxy` that waits for its origin leaves that room and takes another, so that dead
//! origins never keep an operator from listing and deleting.

mod args;
mod calls;
mod play;
mod view;

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::{Path, Request, State},
    response::{IntoResponse, Response},
    routing::any,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use proxy_core::io::Reply;
use serde_json::{Map, Value};
use subtle::ConstantTimeEq;
use tokio::{sync::Semaphore, time::Instant};

pub use self::{
    args::Args,
    calls::{CALLS, Call, Look, Step, Then},
    view::{media_object, proxy_object},
};
use crate::{config::Settings, driver::Handle, http_server::Endpoints};

/// Codes of answers, ZLMediaKit's.
pub mod code {
    /// Done.
    pub const SUCCESS: i64 = 0;
    /// Understood, but no.
    pub const OTHER_FAILED: i64 = -1;
    /// Not from there, or not with that secret.
    pub const AUTH_FAILED: i64 = -100;
    /// An argument is missing or not meant.
    pub const INVALID_ARGS: i64 = -300;
    /// Not something we do.
    pub const EXCEPTION: i64 = -400;
    /// There is none.
    pub const NOT_FOUND: i64 = -500;
}

/// What the API needs.
#[derive(Clone, Debug)]
pub struct ApiConfig {
    /// The settings in force; `getServerConfig` tells them.
    pub settings: Settings,
    /// The secret in force.
    pub secret: crate::config::Secret,
}

/// Makes the router of API and HTTP-FLV. Requests must carry [`Endpoints`], as [`crate::http_server::serve_http`]
/// gives them.
pub fn router(handle: Handle, config: ApiConfig) -> Router {
    let shared = Arc::new(Shared {
        requests: Semaphore::new(config.settings.api.requests_max),
        adds: Semaphore::new(config.settings.api.adds_max),
        api: Api::new(config, handle.started_at()),
        handle,
    });
    Router::new()
        .route("/index", any(list_calls))
        .route("/index/", any(list_calls))
        .route("/index/api/{name}", any(call))
        .fallback(play::play)
        .with_state(shared)
}

/// The calls, whoever carries them.
#[derive(Debug)]
pub struct Api {
    config: ApiConfig,
    started_at: Duration,
}

impl Api {
    /// Makes the calls of these settings; `started_at` is the date at the core's zero, since the Unix epoch.
    pub fn new(config: ApiConfig, started_at: Duration) -> Self {
        Self { config, started_at }
    }

    /// Begins a call by its name, its secret among its arguments.
    pub fn begin(&self, name: &str, args: &Args) -> Step {
        match calls::find(name) {
            Some(call) => self.begin_call(call, args),
            None => Step::Done(Err(unknown_call(name))),
        }
    }

    fn begin_call(&self, call: &Call, args: &Args) -> Step {
        if let Err(failure) = check_secret(args, &self.config.secret.0) {
            return Step::Done(Err(failure));
        }
        let context = calls::Context { settings: &self.config.settings, started_at: self.started_at };
        calls::begin(context, call, args)
    }
}

struct Shared {
    handle: Handle,
    api: Api,
    /// Room for calls.
    requests: Semaphore,
    /// Room for adds that wait.
    adds: Semaphore,
}

impl Shared {
    fn settings(&self) -> &Settings {
        &self.api.config.settings
    }
}

/// What a call answers: members of an object. [`render`] makes it the whole body.
pub type Answer = Result<Map<String, Value>, Failure>;

/// Why a call is refused.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    /// What kind of no it is, of [`code`].
    pub code: i64,
    /// The reason, for people.
    pub text: String,
    /// More about it: the state of a stream.
    pub data: Option<Value>,
}

impl Failure {
    fn new(code: i64, text: impl Into<String>) -> Self {
        Self { code, text: text.into(), data: None }
    }

    /// The driver is gone: the process is ending.
    fn ending() -> Self {
        Self::new(code::OTHER_FAILED, "the proxy is shutting down")
    }
}

/// Makes the body of an answer, an object with its `code`.
pub fn render(answer: Answer) -> Value {
    Value::Object(match answer {
        Ok(mut members) => {
            members.entry("code").or_insert_with(|| code::SUCCESS.into());
            members
        }
        Err(Failure { code, text, data }) => {
            let mut members = Map::new();
            members.insert("code".to_owned(), code.into());
            members.insert("msg".to_owned(), text.into());
            if let Some(data) = data {
                members.insert("data".to_owned(), data);
            }
            members
        }
    })
}

async fn list_calls(state: State<Arc<Shared>>, request: Request) -> Response {
    call(state, Path("getApiList".to_owned()), request).await
}

async fn call(State(shared): State<Arc<Shared>>, Path(name): Path<String>, request: Request) -> Response {
    let started = Instant::now();
    let peer = request.extensions().get::<Endpoints>().map(|endpoints| endpoints.peer);
    if request.method() == Method::OPTIONS {
        return preflight(shared.settings());
    }
    let known = calls::find(&name);
    let answer = match (peer, known) {
        (Some(peer), _) if !shared.settings().http.allow_ip_range.contains(peer.ip()) => {
            Err(Failure::new(code::AUTH_FAILED, "Your ip is not allowed to access the service."))
        }
        (None, _) => Err(Failure::new(code::AUTH_FAILED, "Your ip is not allowed to access the service.")),
        (Some(_), None) => {
            return respond(StatusCode::NOT_FOUND, Err(unknown_call(&name)), shared.settings());
        }
        (Some(_), Some(known)) => answer(&shared, known, request).await,
    };
    let code = answer.as_ref().map_or_else(|failure| failure.code, |_| code::SUCCESS);
    let elapsed = started.elapsed();
    // Arguments hold secrets and urls: the name and the outcome have to do.
    let name = known.map_or("", |known| known.name);
    match (shared.settings().api.debug, peer) {
        (true, Some(peer)) => tracing::info!("api {name} from {peer}: code {code} in {elapsed:.1?}"),
        (false, Some(peer)) => tracing::debug!("api {name} from {peer}: code {code} in {elapsed:.1?}"),
        (_, None) => {}
    }
    respond(StatusCode::OK, answer, shared.settings())
}

async fn answer(shared: &Shared, call: &'static Call, request: Request) -> Answer {
    let Ok(permit) = shared.requests.try_acquire() else {
        return Err(Failure::new(code::OTHER_FAILED, "too many calls at once (api.requests_max)"));
    };
    let limit = shared.settings().http.request_timeout;
    let work = async {
        let args = Args::read(request, shared.settings().http.request_bytes_max).await?;
        carry(&shared.handle, shared.api.begin_call(call, &args)).await
    };
    let outcome = match tokio::time::timeout(limit, work).await {
        Ok(outcome) => outcome?,
        Err(_) => {
            return Err(Failure::new(code::OTHER_FAILED, "the call took too long (http.request_timeout_ms)"));
        }
    };
    drop(permit);
    match outcome {
        Outcome::Done(answer) => Ok(answer),
        Outcome::Wait(request, then) => {
            let Ok(_permit) = shared.adds.try_acquire() else {
                return Err(Failure::new(code::OTHER_FAILED, "too many adds are waiting (api.adds_max)"));
            };
            then(shared.handle.request(*request).await.ok_or_else(Failure::ending)?)
        }
    }
}

/// What is left of a call after its bounded part.
enum Outcome {
    /// Nothing.
    Done(Map<String, Value>),
    /// The wait for an origin, which the core bounds.
    Wait(Box<proxy_core::io::Request>, Then<Answer>),
}

/// Carries a call until it has its answer or waits for an origin.
async fn carry(handle: &Handle, mut step: Step) -> Result<Outcome, Failure> {
    loop {
        step = match step {
            Step::Done(answer) => return answer.map(Outcome::Done),
            Step::Look(look) => handle.query(look).await.ok_or_else(Failure::ending)?,
            Step::Ask(request, then) => then(handle.request(*request).await.ok_or_else(Failure::ending)?),
            Step::Wait(request, then) => return Ok(Outcome::Wait(request, then)),
        };
    }
}

fn check_secret(args: &Args, secret: &str) -> Result<(), Failure> {
    let Some(given) = args.find("secret") else {
        return Err(Failure::new(code::AUTH_FAILED, "Please login first"));
    };
    // An empty secret in force would let everybody in.
    let is_right = !secret.is_empty() && bool::from(given.as_bytes().ct_eq(secret.as_bytes()));
    if is_right { Ok(()) } else { Err(Failure::new(code::AUTH_FAILED, "Incorrect secret")) }
}

/// A reply that cannot follow the request it answers.
fn unexpected(reply: &Reply) -> Failure {
    tracing::error!(?reply, "a reply that answers something else");
    Failure::new(code::EXCEPTION, "an internal error; see the log")
}

fn respond(status: StatusCode, answer: Answer, settings: &Settings) -> Response {
    let mut response = Response::new(Body::from(render(answer).to_string()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    allow_cross_domains(headers, settings);
    response
}

fn unknown_call(name: &str) -> Failure {
    let likely = CALLS
        .iter()
        .map(|call| (strsim::jaro_winkler(&call.name.to_ascii_lowercase(), &name.to_ascii_lowercase()), call))
        .filter(|(likeness, _)| *likeness > 0.85)
        .max_by(|a, b| a.0.total_cmp(&b.0));
    let text = match likely {
        Some((_, call)) => format!("no such call; did you mean {}?", call.name),
        None => "no such call; getApiList lists what there is".to_owned(),
    };
    Failure::new(code::NOT_FOUND, text)
}

fn preflight(settings: &Settings) -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    allow_cross_domains(headers, settings);
    if settings.http.allow_cross_domains {
        headers.insert(
            header::ACCESS_CONTROL_ALLOW_METHODS,
            HeaderValue::from_static("GET, POST, HEAD, OPTIONS"),
        );
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("*"));
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400"));
    }
    response
}

/// Lets pages of other origins read the answer. Nothing here goes by cookies, so `*` gives nothing away.
fn allow_cross_domains(headers: &mut HeaderMap, settings: &Settings) {
    if settings.http.allow_cross_domains {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    }
}

/// Returns a duration's whole milliseconds, as JSON carries them.
fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proxy_core::{
        Instant, Proxy,
        io::{Input, Output, RequestId},
    };

    use super::*;

    /// A core and its calls, and no driver: time stands still unless a call waits for it.
    struct House {
        api: Api,
        proxy: Proxy,
        now: Instant,
        requests: u64,
    }

    impl House {
        fn new() -> Self {
            let settings = Settings::default();
            let proxy = Proxy::new(settings.core.clone(), 7);
            let secret = crate::config::Secret("s3cret".to_owned());
            let api = Api::new(ApiConfig { settings, secret }, Duration::from_secs(1_000_000));
            Self { api, proxy, now: Instant::ZERO, requests: 0 }
        }

        /// What a call answers, its whole body.
        fn check(&mut self, name: &str, pairs: &[(&str, &str)]) -> String {
            let pairs = [("secret", "s3cret")].into_iter().chain(pairs.iter().copied());
            let mut step = self.api.begin(name, &Args::from_pairs(pairs));
            loop {
                step = match step {
                    Step::Done(answer) => return render(answer).to_string(),
                    Step::Look(look) => look(&self.proxy, self.now),
                    Step::Ask(request, then) => then(self.ask(*request).expect("a reply at once")),
                    Step::Wait(request, then) => {
                        let reply = self.ask(*request).unwrap_or_else(|| self.wait());
                        Step::Done(then(reply))
                    }
                };
            }
        }

        fn ask(&mut self, request: proxy_core::io::Request) -> Option<Reply> {
            self.requests += 1;
            self.proxy.handle_input(Input::Request { id: RequestId(self.requests), request }, self.now);
            self.reply()
        }

        fn reply(&mut self) -> Option<Reply> {
            let outputs = std::iter::from_fn(|| self.proxy.poll_output());
            let replies = outputs.filter_map(|output| match output {
                Output::Reply { id, reply } if id == RequestId(self.requests) => Some(reply),
                _ => None,
            });
            replies.last()
        }

        fn wait(&mut self) -> Reply {
            loop {
                (self.now, _) = self.proxy.poll_timeout().expect("an end of the wait");
                self.proxy.handle_input(Input::Timeout, self.now);
                if let Some(reply) = self.reply() {
                    return reply;
                }
            }
        }
    }

    #[test]
    fn calls_are_carried_without_sockets_or_tasks() {
        let mut house = House::new();
        let key = ("key", "__defaultVhost__/live/cam");
        let [schema, app, stream] = [("schema", "rtmp"), ("app", "live"), ("stream", "cam")];
        let [url, limit] = [("url", "rtmp://10.0.0.1/live/cam"), ("timeout_sec", "1")];
        let [missing, missing_key] = [("app", "x"), ("key", "x/y/z")];
        for (name, pairs, answer) in [
            ("getMedialist", &[][..], r#"{"code":-500,"msg":"no such call; did you mean getMediaList?"}"#),
            ("getMediaList", &[("secret", "x")], r#"{"code":-100,"msg":"Incorrect secret"}"#),
            ("getMediaList", &[], r#"{"code":0}"#),
            ("delStreamProxy", &[], r#"{"code":-300,"msg":"Required parameter missed: \"key\""}"#),
            ("getProxyInfo", &[key], r#"{"code":-500,"msg":"can not find the proxy"}"#),
            (
                "addStreamProxy",
                &[app, stream, url, limit, ("force", "1")],
                r#"{"code":0,"data":{"key":"__defaultVhost__/live/cam","state":"connecting"}}"#,
            ),
            (
                "updateStreamProxy",
                &[key, ("retry_count", "3")],
                r#"{"code":0,"data":{"key":"__defaultVhost__/live/cam","state":"connecting"}}"#,
            ),
            ("isMediaOnline", &[schema, app, stream], r#"{"code":0,"online":false}"#),
            ("getMediaPlayerList", &[schema, app, stream], r#"{"code":0}"#),
            ("kick_sessions", &[], r#"{"code":0,"count_hit":0}"#),
            ("close_streams", &[missing], r#"{"code":0,"count_closed":0,"count_hit":0}"#),
            ("delStreamProxy", &[missing_key], r#"{"code":0,"data":{"flag":false}}"#),
            ("delStreamProxy", &[key], r#"{"code":0,"data":{"flag":true}}"#),
        ] {
            assert_eq!(house.check(name, pairs), answer, "{name} {pairs:?}");
        }
    }

    fn check(given: &str, secret: &str) -> Option<&'static str> {
        let args = Args::from_pairs([("secret", given)]);
        check_secret(&args, secret).err().map(|failure| match failure.text.as_str() {
            "Please login first" => "missing",
            _ => "wrong",
        })
    }

    #[test]
    fn only_the_whole_secret_opens() {
        assert_eq!(check("s3cret", "s3cret"), None);
        assert_eq!(check("s3cre", "s3cret"), Some("wrong"));
        assert_eq!(check("S3cret", "s3cret"), Some("wrong"));
        assert_eq!(check("", "s3cret"), Some("missing"));
        assert_eq!(check("x", ""), Some("wrong"));
        assert_eq!(check("", ""), Some("missing"));
    }
}
