//! HTTP-FLV: `/{app}/{stream}.live.flv`, and `.flv` for those who write it so.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{Query, Request, State},
    response::{IntoResponse, Response},
};
use http::{HeaderValue, Method, StatusCode, Uri, header};
use proxy_core::{
    session::server::Refusal,
    url::{DEFAULT_VHOST, StreamKey},
};

use super::{Shared, allow_cross_domains, preflight};
use crate::{config::Settings, driver::PlayRefused, http_server::Endpoints, log::words};

/// Answers every path that is no call.
pub(super) async fn play(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let settings = shared.settings();
    let is_head = match *request.method() {
        Method::GET => false,
        Method::HEAD => true,
        Method::OPTIONS => return preflight(settings),
        _ => return refuse(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD", settings),
    };
    let Some(endpoints) = request.extensions().get::<Endpoints>().copied() else {
        return refuse(StatusCode::INTERNAL_SERVER_ERROR, "no peer address", settings);
    };
    let Some(key) = find_key(request.uri(), settings.core.play.vhosts) else {
        return refuse(StatusCode::NOT_FOUND, "no such page; streams are at /app/stream.live.flv", settings);
    };
    if is_head {
        let look = move |proxy: &proxy_core::Proxy, now| proxy.stream(&key, now).is_some();
        return match shared.handle.query(look).await {
            Some(true) => begin(Body::empty(), settings),
            Some(false) => refused(Refusal::StreamNotFound, settings),
            None => refuse(StatusCode::SERVICE_UNAVAILABLE, "shutting down", settings),
        };
    }
    let params = request.uri().query().unwrap_or_default().to_owned();
    match shared.handle.play_http(key, params, endpoints.peer, endpoints.local).await {
        Ok(body) => {
            let mut response = begin(Body::new(body), settings);
            // Nothing follows a stream: its end is the connection's, which players notice soonest.
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            response
        }
        Err(PlayRefused::Refused(refusal)) => refused(refusal, settings),
        Err(PlayRefused::Gone) => refuse(StatusCode::SERVICE_UNAVAILABLE, "shutting down", settings),
    }
}

/// Reads the key off the path; `vhost=` in the query counts only where virtual hosts do.
fn find_key(uri: &Uri, enable_vhost: bool) -> Option<StreamKey> {
    let path = unescape(uri.path())?;
    let path = path.strip_prefix('/')?;
    let path = path.strip_suffix(".live.flv").or_else(|| path.strip_suffix(".flv"))?;
    let (app, stream) = path.rsplit_once('/')?;
    let vhost = enable_vhost.then(|| vhost(uri)).flatten();
    StreamKey::new(vhost.as_deref().unwrap_or(DEFAULT_VHOST), app, stream).ok()
}

fn vhost(uri: &Uri) -> Option<String> {
    let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(uri).ok()?;
    pairs.into_iter().find(|(name, value)| name == "vhost" && !value.is_empty()).map(|(_, value)| value)
}

/// Resolves percent escapes; names in other alphabets come that way. `None` if they are no UTF-8.
fn unescape(path: &str) -> Option<String> {
    if !path.contains('%') {
        return Some(path.to_owned());
    }
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let escaped = (first == b'%').then(|| after.first_chunk::<2>()).flatten();
        match escaped.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).ok()
}

fn begin(body: Body, settings: &Settings) -> Response {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("video/x-flv"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store, no-cache"));
    headers.insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
    allow_cross_domains(headers, settings);
    response
}

fn refused(refusal: Refusal, settings: &Settings) -> Response {
    let status = match refusal {
        Refusal::StreamNotFound => StatusCode::NOT_FOUND,
        Refusal::BadAuth => StatusCode::FORBIDDEN,
        Refusal::TooManyPlayers => StatusCode::SERVICE_UNAVAILABLE,
    };
    refuse(status, words::refusal(refusal), settings)
}

fn refuse(status: StatusCode, text: &'static str, settings: &Settings) -> Response {
    let mut response = (status, format!("{text}\n")).into_response();
    allow_cross_domains(response.headers_mut(), settings);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(uri: &str, enable_vhost: bool) -> Option<String> {
        find_key(&uri.parse().expect(uri), enable_vhost).map(|key| key.to_string())
    }

    #[test]
    fn paths_name_streams() {
        for (uri, key) in [
            ("/live/cam.live.flv", "__defaultVhost__/live/cam"),
            ("/live/cam.flv?token=x", "__defaultVhost__/live/cam"),
            ("/live/site/cam.live.flv", "__defaultVhost__/live/site/cam"),
            ("/live/cam.1.live.flv", "__defaultVhost__/live/cam.1"),
            ("/live/%E5%8D%97%E9%97%A8.live.flv", "__defaultVhost__/live/南门"),
            ("/live/50%.flv", "__defaultVhost__/live/50%"),
            ("/live/cam.live.flv?vhost=other", "__defaultVhost__/live/cam"),
        ] {
            assert_eq!(check(uri, false).as_deref(), Some(key), "{uri}");
        }
        assert_eq!(check("/live/cam.flv?vhost=other", true).as_deref(), Some("other/live/cam"));
    }

    #[test]
    fn other_paths_name_none() {
        for uri in ["/", "/live/cam", "/cam.live.flv", "/live/.flv", "/live/cam.m3u8", "/live/%ff.flv"] {
            assert_eq!(check(uri, false), None, "{uri}");
        }
    }
}
