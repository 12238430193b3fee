//! The HTTP API: ZLMediaKit's calls over a [`Handle`], and HTTP-FLV beside them.
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

use self::{args::Args, calls::Outcome};
pub use self::{
    calls::CALLS,
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
        handle,
        requests: Semaphore::new(config.settings.api.requests_max),
        adds: Semaphore::new(config.settings.api.adds_max),
        config,
    });
    Router::new()
        .route("/index", any(list_calls))
        .route("/index/", any(list_calls))
        .route("/index/api/{name}", any(call))
        .fallback(play::play)
        .with_state(shared)
}

struct Shared {
    handle: Handle,
    config: ApiConfig,
    /// Room for calls.
    requests: Semaphore,
    /// Room for adds that wait.
    adds: Semaphore,
}

/// What a call answers.
type Answer = Result<Map<String, Value>, Failure>;

/// Why a call is refused.
#[derive(Clone, Debug, PartialEq)]
struct Failure {
    code: i64,
    text: String,
    /// More about it: the state of a stream.
    data: Option<Value>,
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

async fn list_calls(state: State<Arc<Shared>>, request: Request) -> Response {
    call(state, Path("getApiList".to_owned()), request).await
}

async fn call(State(shared): State<Arc<Shared>>, Path(name): Path<String>, request: Request) -> Response {
    let started = Instant::now();
    let peer = request.extensions().get::<Endpoints>().map(|endpoints| endpoints.peer);
    if request.method() == Method::OPTIONS {
        return preflight(&shared.config.settings);
    }
    let known = calls::find(&name);
    let answer = match (peer, known) {
        (Some(peer), _) if !shared.config.settings.http.allow_ip_range.contains(peer.ip()) => {
            Err(Failure::new(code::AUTH_FAILED, "Your ip is not allowed to access the service."))
        }
        (None, _) => Err(Failure::new(code::AUTH_FAILED, "Your ip is not allowed to access the service.")),
        (Some(_), None) => return unknown_call(&name, &shared.config.settings),
        (Some(_), Some(known)) => answer(&shared, known, request).await,
    };
    let code = answer.as_ref().map_or_else(|failure| failure.code, |_| code::SUCCESS);
    let elapsed = started.elapsed();
    // Arguments hold secrets and urls: the name and the outcome have to do.
    let name = known.map_or("", |known| known.name);
    match (shared.config.settings.api.debug, peer) {
        (true, Some(peer)) => tracing::info!("api {name} from {peer}: code {code} in {elapsed:.1?}"),
        (false, Some(peer)) => tracing::debug!("api {name} from {peer}: code {code} in {elapsed:.1?}"),
        (_, None) => {}
    }
    respond(StatusCode::OK, answer, &shared.config.settings)
}

async fn answer(shared: &Shared, call: &'static calls::Call, request: Request) -> Answer {
    let Ok(permit) = shared.requests.try_acquire() else {
        return Err(Failure::new(code::OTHER_FAILED, "too many calls at once (api.requests_max)"));
    };
    let limit = shared.config.settings.http.request_timeout;
    let work = async {
        let args = Args::read(request, shared.config.settings.http.request_bytes_max).await?;
        check_secret(&args, &shared.config.secret.0)?;
        calls::run(shared, call, &args).await
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
        Outcome::Add(add) => {
            let Ok(_permit) = shared.adds.try_acquire() else {
                return Err(Failure::new(code::OTHER_FAILED, "too many adds are waiting (api.adds_max)"));
            };
            let key = add.key.clone();
            // The core bounds the time: timeout_sec, or pull.reply_timeout_ms.
            match shared.handle.request(add.into_request()).await {
                Some(reply) => calls::add_answer(&key, &reply),
                None => Err(Failure::ending()),
            }
        }
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
    let body = match answer {
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
    };
    let mut response = Response::new(Body::from(Value::Object(body).to_string()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    allow_cross_domains(headers, settings);
    response
}

fn unknown_call(name: &str, settings: &Settings) -> Response {
    let likely = CALLS
        .iter()
        .map(|call| (strsim::jaro_winkler(&call.name.to_ascii_lowercase(), &name.to_ascii_lowercase()), call))
        .filter(|(likeness, _)| *likeness > 0.85)
        .max_by(|a, b| a.0.total_cmp(&b.0));
    let text = match likely {
        Some((_, call)) => format!("no such call; did you mean {}?", call.name),
        None => "no such call; getApiList lists what there is".to_owned(),
    };
    respond(StatusCode::NOT_FOUND, Err(Failure::new(code::NOT_FOUND, text)), settings)
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
    use super::*;

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
