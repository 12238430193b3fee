//! Arguments of a call, as ZLMediaKit merges them: the body, overridden by the url's query; a request header of the
//! same name stands in for what neither has. Names are compared without regard to case, empty values are absent.

use std::collections::BTreeMap;

use axum::{
    Form,
    body::{Body, to_bytes},
    extract::{FromRequest, Query, Request},
};
use http::{HeaderMap, Method, Uri, header};
use serde_json::Value;

use super::{Failure, code};

/// Arguments of one call.
#[derive(Clone, Debug, Default)]
pub struct Args {
    /// By lower-case name.
    named: BTreeMap<String, String>,
    headers: HeaderMap,
}

impl Args {
    /// Takes arguments as names and values; the last of a name counts.
    pub fn from_pairs<N: Into<String>, V: Into<String>>(pairs: impl IntoIterator<Item = (N, V)>) -> Self {
        let mut args = Self::default();
        args.merge(pairs.into_iter().map(|(name, value)| (name.into(), value.into())));
        args
    }

    /// Reads a request's arguments; its body may have `body_max` bytes.
    pub(super) async fn read(request: Request, body_max: usize) -> Result<Self, Failure> {
        let (head, body) = request.into_parts();
        let mut args = Self { named: BTreeMap::new(), headers: head.headers };
        let body = to_bytes(body, body_max).await.map_err(|_| {
            Failure::new(code::INVALID_ARGS, format!("the body is cut off or has more than {body_max} bytes"))
        })?;
        // curl calls a JSON body a form unless told otherwise: the first character decides as well.
        let is_json = args.content_type().contains("json") || body.trim_ascii_start().starts_with(b"{");
        match (body.trim_ascii().is_empty(), is_json) {
            (true, _) => {}
            (false, true) => args.merge_json(&body)?,
            (false, false) => args.merge_form(body).await?,
        }
        args.merge_query(&head.uri)?;
        Ok(args)
    }

    /// Returns an argument, `None` if it is absent or empty.
    pub(super) fn find(&self, name: &str) -> Option<&str> {
        let named = self.named.get(&name.to_ascii_lowercase()).map(String::as_str);
        let header = || self.headers.get(name).and_then(|value| value.to_str().ok());
        named.or_else(header).filter(|value| !value.is_empty())
    }

    /// Returns arguments that must be there.
    ///
    /// # Errors
    /// ZLMediaKit's words: all names it would have asked for.
    pub(super) fn need<const N: usize>(&self, names: [&str; N], asked: &str) -> Result<[&str; N], Failure> {
        let missing = || Failure::new(code::INVALID_ARGS, format!("Required parameter missed: {asked}"));
        let mut values = [""; N];
        for (value, name) in values.iter_mut().zip(names) {
            *value = self.find(name).ok_or_else(missing)?;
        }
        Ok(values)
    }

    /// Tells if an argument says yes; ZLMediaKit counts only 1 and true.
    pub(super) fn is_set(&self, name: &str) -> bool {
        matches!(self.find(name), Some("1" | "true" | "True" | "TRUE"))
    }

    fn content_type(&self) -> String {
        let value = self.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        value.unwrap_or_default().to_ascii_lowercase()
    }

    fn merge(&mut self, pairs: impl IntoIterator<Item = (String, String)>) {
        self.named.extend(pairs.into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value)));
    }

    /// Takes the members of a flat object; what is nested is no argument of any call and left out.
    fn merge_json(&mut self, body: &[u8]) -> Result<(), Failure> {
        let Ok(Value::Object(members)) = serde_json::from_slice(body) else {
            return Err(Failure::new(code::INVALID_ARGS, "the body is no JSON object"));
        };
        for (name, value) in members {
            let text = match value {
                Value::String(text) => text,
                Value::Number(number) => number.to_string(),
                Value::Bool(switch) => switch.to_string(),
                Value::Null => String::new(),
                Value::Array(_) | Value::Object(_) => continue,
            };
            self.named.insert(name.to_ascii_lowercase(), text);
        }
        Ok(())
    }

    async fn merge_form(&mut self, body: bytes::Bytes) -> Result<(), Failure> {
        // Whatever the request calls its body: ZLMediaKit takes everything else as a form, too.
        let request = Request::builder()
            .method(Method::POST)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Body::from(body))
            .expect("a request of constants");
        let form = Form::<Vec<(String, String)>>::from_request(request, &()).await;
        let Form(pairs) = form.map_err(|_| Failure::new(code::INVALID_ARGS, "the body is no form"))?;
        self.merge(pairs);
        Ok(())
    }

    fn merge_query(&mut self, uri: &Uri) -> Result<(), Failure> {
        let query = Query::<Vec<(String, String)>>::try_from_uri(uri);
        let Query(pairs) = query.map_err(|_| Failure::new(code::INVALID_ARGS, "the query is no form"))?;
        self.merge(pairs);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(uri: &str, headers: &[(&str, &str)], body: &'static str) -> Result<Args, Failure> {
        let mut request = Request::builder().method(Method::POST).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Args::read(request.body(Body::from(body)).expect("a request"), 100).await
    }

    /// Runs a future that never waits.
    fn now<T>(future: impl Future<Output = T>) -> T {
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        match std::pin::pin!(future).poll(&mut cx) {
            std::task::Poll::Ready(value) => value,
            std::task::Poll::Pending => panic!("it waits"),
        }
    }

    /// What one argument is after merging.
    fn check(uri: &str, headers: &[(&str, &str)], body: &'static str, name: &str) -> Option<String> {
        now(read(uri, headers, body)).expect(uri).find(name).map(str::to_owned)
    }

    const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");
    const JSON: (&str, &str) = ("content-type", "application/json; charset=utf-8");

    #[test]
    fn the_query_overrides_the_body_and_a_header_stands_in() {
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(check("/?app=query", &[FORM], "app=body", "app"), some("query"));
        assert_eq!(check("/", &[FORM, ("app", "header")], "app=body", "app"), some("body"));
        assert_eq!(check("/", &[FORM, ("app", "header")], "", "app"), some("header"));
        assert_eq!(check("/?APP=live", &[], "", "App"), some("live"));
        assert_eq!(check("/?app=", &[], "", "app"), None);
        assert_eq!(check("/?url=rtmp%3A%2F%2Fh%2Fa%2Fs%3Fk%3D1", &[], "", "url"), some("rtmp://h/a/s?k=1"));
        assert_eq!(check("/?a=%ff&app=live", &[], "", "app"), some("live"));
    }

    #[test]
    fn json_members_become_text_and_nested_ones_are_left_out() {
        let body = r#"{"App":"live","retry_count":3,"force":true,"nested":{"app":"no"},"none":null}"#;
        for (name, value) in [
            ("app", Some("live")),
            ("retry_count", Some("3")),
            ("force", Some("true")),
            ("nested", None),
            ("none", None),
        ] {
            assert_eq!(check("/", &[JSON], body, name).as_deref(), value, "{name}");
        }
        // As curl -d sends it.
        assert_eq!(check("/", &[FORM], body, "app").as_deref(), Some("live"));
    }

    #[test]
    fn bodies_that_are_no_arguments_are_refused() {
        let error = |headers: &[_], body| now(read("/", headers, body)).expect_err(body).text;
        assert_eq!(error(&[JSON], "[1]"), "the body is no JSON object");
        assert_eq!(error(&[JSON], "{\"app\":"), "the body is no JSON object");
        let long = "app=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
        assert_eq!(error(&[FORM], long), "the body is cut off or has more than 100 bytes");
    }

    #[test]
    fn a_missing_argument_is_told_in_zlmediakits_words() {
        let args = Args::from_pairs([("app", "live")]);
        let error = args.need(["app", "stream"], r#""vhost","app","stream""#).expect_err("stream is missing");
        assert_eq!(error.text, r#"Required parameter missed: "vhost","app","stream""#);
        assert_eq!(error.code, -300);
    }
}
