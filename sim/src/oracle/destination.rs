//! A pull goes where its url leads: to another one as soon as an operator names it, past few redirects, and never to the
//! proxy itself.
//!
//! ```text
//!  add with another url ──► attempt ──► its url's address ──► redirect, redirects_max of them at most ──► media
//! ```

use std::{collections::BTreeMap, net::SocketAddr};

use proxy_core::{
    io::{EventKind, PullEventKind, PullState},
    time::Instant,
    url::{DEFAULT_VHOST, OriginUrl},
};

use super::{
    EVENT, Findings, IN, Kinds, Oracle, STEP, Scene, StreamNow, TIME,
    scene::{begins_attempt, literal, name_of},
};
use crate::trace::{ActorId, Inward, Record, What};

pub(super) const NAME: &str = "destination";

/// Follows where each attempt is to go.
#[derive(Debug, Default)]
pub(super) struct Destination {
    attempts: BTreeMap<(ActorId, u64), Attempt>,
    /// Adds that name another url, until their step is over.
    wishes: Vec<Wish>,
}

#[derive(Debug, Default)]
struct Attempt {
    /// The url in force when it began.
    url: String,
    /// Redirects in a row.
    redirects: u32,
}

#[derive(Debug)]
struct Wish {
    proxy: ActorId,
    stream: u64,
    url: String,
    /// Attempts begun before.
    attempts: u64,
}

impl Oracle for Destination {
    fn kinds(&self) -> Kinds {
        EVENT | STEP | IN | TIME
    }

    fn on_record(&mut self, record: &Record, scene: &Scene, findings: &mut Findings) {
        let proxy = record.actor;
        if let What::In(inward) = &record.what {
            self.judge_wishes(scene, findings);
            if let Inward::Request { id } = inward {
                self.wishes.extend(another_url(proxy, *id, scene));
            }
            return;
        }
        let What::Event(event) = &record.what else { return };
        let Some(id) = event.stream.map(|stream| stream.0) else { return };
        if let EventKind::Unregistered { .. } = &event.kind {
            self.attempts.remove(&(proxy, id));
            return;
        }
        let EventKind::PullStepped { state, event: stimulus, next } = &event.kind else { return };
        let Some(stream) = scene.streams.get(&(proxy, id)) else { return };
        let attempt = self.attempts.entry((proxy, id)).or_default();
        let step = (*state, *stimulus, *next);
        if let Some(text) = attempt.on_step(step, proxy, stream, scene) {
            findings.broken(NAME, proxy, format!("{}: {text}", name_of(&stream.key)));
        }
    }

    fn on_time(&mut self, scene: &Scene, _now: Instant, findings: &mut Findings) {
        self.judge_wishes(scene, findings);
    }

    fn forget(&mut self, proxy: ActorId) {
        self.attempts.retain(|(of, _), _| *of != proxy);
        self.wishes.retain(|wish| wish.proxy != proxy);
    }
}

impl Attempt {
    fn on_step(
        &mut self,
        (state, stimulus, next): (PullState, PullEventKind, PullState),
        proxy: ActorId,
        stream: &StreamNow,
        scene: &Scene,
    ) -> Option<String> {
        if next == PullState::Streaming {
            self.redirects = 0;
        }
        if stimulus == PullEventKind::Redirected && matches!(next, PullState::Resolving | PullState::Queued) {
            self.redirects += 1;
            let most = scene.config(proxy).pull.redirects_max;
            return (self.redirects > most)
                .then(|| format!("it followed {} redirects in a row, {most} were promised", self.redirects));
        }
        if begins_attempt(state, stimulus, next) {
            *self = Self { url: stream.url.clone(), redirects: 0 };
        }
        // Where a redirect leads, and from outside what was dialled, no record tells.
        if self.redirects > 0 || scene.is_outside {
            return None;
        }
        let dialled = stream.addr?;
        if next == PullState::Connecting && literal(&self.url).is_some_and(|wanted| wanted != dialled) {
            return Some(format!("{dialled} was dialled, and its url leads to {}", self.url));
        }
        (state == PullState::Handshaking
            && next == PullState::Requesting
            && self.leads_home(proxy, dialled, stream, scene))
        .then(|| {
            format!(
                "it asks for itself at the proxy's own {dialled}: a url that leads to its own stream was promised to be refused"
            )
        })
    }

    fn leads_home(&self, proxy: ActorId, dialled: SocketAddr, stream: &StreamNow, scene: &Scene) -> bool {
        let key = OriginUrl::parse(&self.url).ok().and_then(|url| url.key_in(DEFAULT_VHOST));
        key.as_ref() == Some(&stream.key) && scene.is_home(proxy, dialled)
    }
}

impl Destination {
    /// An input is over: who named another url has it dialled.
    fn judge_wishes(&mut self, scene: &Scene, findings: &mut Findings) {
        for wish in self.wishes.drain(..) {
            let Some(stream) = scene.streams.get(&(wish.proxy, wish.stream)) else { continue };
            if stream.attempts == wish.attempts {
                let text = format!(
                    "{} was added anew with {} while it did not stream, and no attempt began there: one at once was promised",
                    name_of(&stream.key),
                    wish.url
                );
                findings.broken(NAME, wish.proxy, text);
            }
        }
    }
}

/// Returns the wish behind a request, if that is an add of a stream that waits or tries, with a url that is not its own.
fn another_url(proxy: ActorId, request: u64, scene: &Scene) -> Option<Wish> {
    let call = scene.calls.get(&scene.requests.get(&(proxy, request))?.call?)?;
    if call.call.name != "addStreamProxy" || !scene.is_running(proxy) {
        return None;
    }
    let id = *scene.keys.get(&(proxy, scene.key_of_call(&call.call)?))?;
    let stream = scene.streams.get(&(proxy, id)).filter(|stream| stream.state != PullState::Streaming)?;
    let (_, text) = call.call.args.iter().find(|(name, _)| name == "url")?;
    let parse = |text: &str| OriginUrl::parse_with(text, stream.options.play_path.as_deref()).ok();
    // Of a stream that nobody was seen to ask for the url is not known.
    let (url, before) = (parse(text)?, parse(&stream.url)?);
    // One that leads to the proxy itself is refused, and the old one stays.
    let is_home = literal(text).is_some_and(|addr| scene.is_home(proxy, addr));
    (url != before && !is_home).then(|| Wish {
        proxy,
        stream: id,
        url: text.clone(),
        attempts: stream.attempts,
    })
}

#[cfg(test)]
mod tests {
    use proxy_core::io::{PullEventKind as E, PullState as S};

    use super::*;
    use crate::oracle::{
        scene::key_named,
        story::{ADDR, Story},
    };

    fn check(tell: impl FnOnce(&mut Story)) -> String {
        Story::told::<Destination>(tell).join("\n")
    }

    fn add(story: &mut Story, url: &str) {
        story.asks("addStreamProxy", Some("live/a"), &[("url", url)], true);
    }

    fn register(story: &mut Story, url: &str) {
        add(story, url);
        story.event(1, EventKind::Registered { key: key_named("live/a").expect("a name") });
    }

    #[test]
    fn an_address_that_is_not_the_urls_is_found() {
        let dials = |url: &str| {
            check(|story| {
                register(story, url);
                story.dials(1, 2);
            })
        };
        assert_eq!(dials("rtmp://198.18.0.2/live/a"), "");
        assert_eq!(dials("rtmp://srs/live/a"), "");
        let text = dials("rtmp://198.18.0.5/live/a");
        assert!(
            text.contains("198.18.0.2:1935 was dialled, and its url leads to rtmp://198.18.0.5/"),
            "{text}"
        );
    }

    #[test]
    fn another_url_is_tried_at_once() {
        let adds = |url: &str, begins: bool| {
            check(|story| {
                register(story, "rtmp://srs/live/a");
                story.dials(1, 2);
                story.fails(1, 1);
                story.at(20);
                add(story, url);
                if begins {
                    story.step(1, S::BackingOff, E::Restart, S::Queued);
                }
                story.at(30).timeout();
            })
        };
        assert_eq!(adds("rtmp://other/live/a", true), "");
        assert_eq!(adds("rtmp://srs/live/a", false), "");
        assert_eq!(adds("rtmp://198.18.0.3/live/a", false), "", "one that leads home is refused");
        let text = adds("rtmp://other/live/a", false);
        assert!(text.contains("with rtmp://other/live/a while it did not stream, and no attempt"), "{text}");
    }

    #[test]
    fn a_redirect_too_many_is_found() {
        let follows = |redirects: usize| {
            check(|story| {
                register(story, "rtmp://srs/live/a");
                story.dials(1, 2);
                (0..redirects).for_each(|_| story.step(1, S::Requesting, E::Redirected, S::Resolving));
            })
        };
        assert_eq!(follows(3), "");
        assert_eq!(follows(4), "destination: live/a: it followed 4 redirects in a row, 3 were promised");
    }

    #[test]
    fn a_stream_that_is_pulled_from_itself_is_found() {
        let text = check(|story| {
            register(story, "rtmp://proxy/live/a");
            story.timeout();
            story.step(1, S::BackingOff, E::Wake, S::Queued);
            let home = SocketAddr::new([198, 18, 0, 3].into(), ADDR.port());
            story.out(crate::trace::Outward::Connect { conn: 2, addr: home });
            story.step(1, S::Queued, E::Granted, S::Connecting);
            story.step(1, S::Connecting, E::Connected, S::Handshaking);
            story.step(1, S::Handshaking, E::HandshakeDone, S::Requesting);
        });
        assert!(text.contains("it asks for itself at the proxy's own 198.18.0.3:1935"), "{text}");
    }
}
