//! Name lookups beside the loop.
//!
//! The system's resolver blocks, for seconds when its servers are gone, so it runs on threads of its own: few enough
//! that 500 streams of a dead name server cannot make 500 threads, many enough that some sick names do not delay the
//! healthy ones. Whoever asks for a name that is being looked up gets the same answer, unless that lookup is old or given up
//! on: the system's resolver asks a name server that was silent again only after 5 s, and one that has come back since must
//! not wait so long to be asked. For the same reason a name's first question that stays without an answer, as one lost
//! datagram is enough for, is asked once more while threads are plenty. Nothing is kept afterwards: reuse of answers is the core's decision.

#![expect(clippy::disallowed_methods, reason = "getaddrinfo blocks: here its threads are owned")]

use std::{
    collections::BTreeMap,
    fmt, io,
    net::{IpAddr, ToSocketAddrs},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use proxy_core::io::ResolveError;
use tokio::{
    sync::{Semaphore, watch},
    time::Instant,
};

/// Lookups at a time. A name without a name server holds a thread for 5 to 30 s.
pub const LOOKUPS_MAX: usize = 64;

/// A lookup that has taken so long is not joined any more, and its question is asked once more: longer than a name server in
/// good health takes.
const JOINED_WITHIN: Duration = Duration::from_millis(500);

/// Lookups of one name at a time, so that one sick name does not take every thread. At the default `resolve_timeout_ms`
/// five are given up on before the system gives up the first.
const OF_ONE_NAME_MAX: usize = 8;

/// What a lookup says.
type Answer = Result<Vec<IpAddr>, ResolveError>;

/// Asks the system, on the calling thread.
type Lookup = dyn Fn(&str) -> Answer + Send + Sync;

/// Looks names up, each once at a time.
#[derive(Clone)]
pub struct Resolver {
    shared: Arc<Shared>,
}

struct Shared {
    lookup: Box<Lookup>,
    threads: Arc<Semaphore>,
    /// Lookups under way by name, the latest last.
    pending: Mutex<BTreeMap<String, Vec<Pending>>>,
}

/// A lookup under way.
#[derive(Clone)]
struct Pending {
    since: Instant,
    /// The receivers are those who wait.
    waiting: Arc<watch::Sender<Option<Answer>>>,
}

impl Pending {
    /// Whether somebody still counts on its answer, and may.
    fn is_promising(&self) -> bool {
        !self.waiting.is_closed() && self.since.elapsed() < JOINED_WITHIN
    }
}

impl Resolver {
    /// Asks the system's resolver.
    pub fn system() -> Self {
        Self::new(Box::new(system_lookup))
    }

    /// Asks `lookup`, which may block.
    pub fn new(lookup: Box<Lookup>) -> Self {
        let threads = Arc::new(Semaphore::new(LOOKUPS_MAX));
        Self { shared: Arc::new(Shared { lookup, threads, pending: Mutex::default() }) }
    }

    /// Looks a name up, or waits for the lookup of this name that is under way.
    ///
    /// # Errors
    /// What the lookup says; [`ResolveError::Failed`] if it panicked.
    pub async fn resolve(&self, host: &str) -> Answer {
        let mut first = self.join(host);
        if let Ok(answer) = tokio::time::timeout(JOINED_WITHIN, answered(&mut first)).await {
            return answer;
        }
        // Sick names must not take from healthy ones what this costs, nor one from those who ask for it later.
        let is_first = self.shared.pending().get(host).is_some_and(|lookups| lookups.len() == 1);
        if !is_first || self.shared.threads.available_permits() < LOOKUPS_MAX / 2 {
            return answered(&mut first).await;
        }
        let mut second = self.join(host);
        tokio::select! {
            biased;
            answer = answered(&mut first) => answer,
            answer = answered(&mut second) => answer,
        }
    }

    fn join(&self, host: &str) -> watch::Receiver<Option<Answer>> {
        let mut pending = self.shared.pending();
        let lookups = pending.entry(host.to_owned()).or_default();
        if let Some(lookup) = lookups.last()
            && (lookup.is_promising() || lookups.len() >= OF_ONE_NAME_MAX)
        {
            return lookup.waiting.subscribe();
        }
        let (sender, receiver) = watch::channel(None);
        let lookup = Pending { since: Instant::now(), waiting: Arc::new(sender) };
        lookups.push(lookup.clone());
        tokio::spawn(Arc::clone(&self.shared).look_up(host.to_owned(), lookup));
        receiver
    }
}

async fn answered(lookup: &mut watch::Receiver<Option<Answer>>) -> Answer {
    match lookup.wait_for(Option::is_some).await {
        Ok(answer) => answer.clone().unwrap_or(Err(ResolveError::Failed)),
        Err(_) => Err(ResolveError::Failed),
    }
}

impl Shared {
    async fn look_up(self: Arc<Self>, host: String, lookup: Pending) {
        // The semaphore is never closed.
        let thread = Arc::clone(&self.threads).acquire_owned().await;
        if self.is_unwanted(&host, &lookup) {
            return;
        }
        let answer = tokio::task::spawn_blocking({
            let (shared, host) = (Arc::clone(&self), host.clone());
            move || {
                let answer = (shared.lookup)(&host);
                drop(thread);
                answer
            }
        })
        .await;
        Self::forget(&mut self.pending(), &host, &lookup);
        lookup.waiting.send_replace(Some(answer.unwrap_or(Err(ResolveError::Failed))));
    }

    /// Forgets a lookup everybody has given up on while it queued for a thread.
    fn is_unwanted(&self, host: &str, lookup: &Pending) -> bool {
        // Whoever joins holds this, too.
        let mut pending = self.pending();
        let unwanted = lookup.waiting.is_closed();
        if unwanted {
            Self::forget(&mut pending, host, lookup);
        }
        unwanted
    }

    fn forget(pending: &mut BTreeMap<String, Vec<Pending>>, host: &str, lookup: &Pending) {
        let Some(lookups) = pending.get_mut(host) else { return };
        lookups.retain(|other| !Arc::ptr_eq(&other.waiting, &lookup.waiting));
        if lookups.is_empty() {
            pending.remove(host);
        }
    }

    fn pending(&self) -> MutexGuard<'_, BTreeMap<String, Vec<Pending>>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver").field("pending", &self.shared.pending().len()).finish()
    }
}

/// Asks getaddrinfo; the order is the system's (RFC 6724).
fn system_lookup(host: &str) -> Answer {
    let found = (host, 0).to_socket_addrs().map_err(|error| failure(&error))?;
    let mut addrs: Vec<IpAddr> = Vec::new();
    for addr in found {
        if !addrs.contains(&addr.ip()) {
            addrs.push(addr.ip());
        }
    }
    if addrs.is_empty() { Err(ResolveError::Empty) } else { Ok(addrs) }
}

/// Tells a missing name from a sick resolver, for the operator's eyes only: std drops getaddrinfo's code and keeps
/// its text (glibc's, musl's and the BSDs').
fn failure(error: &io::Error) -> ResolveError {
    let text = error.to_string();
    let missing = ["Name or service not known", "Name does not resolve", "nodename nor servname"];
    if missing.iter().any(|known| text.contains(known)) {
        ResolveError::NotFound
    } else {
        ResolveError::Failed
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc,
    };

    use super::*;

    fn run<T>(story: impl Future<Output = T>) -> T {
        crate::env::runtime().expect("a runtime").block_on(story)
    }

    /// A resolver that counts lookups, each of which waits for a word.
    fn held() -> (Resolver, Arc<AtomicUsize>, mpsc::Sender<()>) {
        let asked = Arc::new(AtomicUsize::new(0));
        let (release, released) = mpsc::channel();
        let released = Mutex::new(released);
        let resolver = Resolver::new(Box::new({
            let asked = Arc::clone(&asked);
            move |_| {
                asked.fetch_add(1, Ordering::SeqCst);
                released.lock().expect("no panic").recv().expect("a word");
                Ok(vec![IpAddr::from([10, 0, 0, 1])])
            }
        }));
        (resolver, asked, release)
    }

    #[test]
    fn one_name_is_looked_up_once_at_a_time_and_freshly_afterwards() {
        run(async {
            let (resolver, asked, release) = held();
            let (first, second) = (resolver.clone(), resolver.clone());
            let first = tokio::spawn(async move { first.resolve("origin").await });
            let second = tokio::spawn(async move { second.resolve("origin").await });
            tokio::task::yield_now().await;
            release.send(()).expect("a lookup");
            let answer = Ok(vec![IpAddr::from([10, 0, 0, 1])]);
            assert_eq!(first.await.expect("no panic"), answer);
            assert_eq!(second.await.expect("no panic"), answer);
            assert_eq!(asked.load(Ordering::SeqCst), 1);
            release.send(()).expect("a lookup");
            assert_eq!(resolver.resolve("origin").await, answer);
            assert_eq!(asked.load(Ordering::SeqCst), 2);
            assert!(resolver.shared.pending().is_empty());
        });
    }

    /// A resolver whose first questions are lost until something is dropped; they would be asked again much later.
    fn lossy(lost: usize) -> (Resolver, Arc<AtomicUsize>, mpsc::Sender<()>) {
        let asked = Arc::new(AtomicUsize::new(0));
        let (release, released) = mpsc::channel::<()>();
        let released = Mutex::new(released);
        let resolver = Resolver::new(Box::new({
            let asked = Arc::clone(&asked);
            move |_| {
                if asked.fetch_add(1, Ordering::SeqCst) < lost {
                    let _ = released.lock().expect("no panic").recv();
                }
                Ok(vec![IpAddr::from([10, 0, 0, 1])])
            }
        }));
        (resolver, asked, release)
    }

    #[test]
    fn a_question_that_is_lost_is_asked_once_more() {
        run(async {
            let (resolver, asked, release) = lossy(1);
            let found = tokio::time::timeout(Duration::from_secs(5), resolver.resolve("origin")).await;
            assert_eq!(found.expect("it is asked afresh"), Ok(vec![IpAddr::from([10, 0, 0, 1])]));
            assert_eq!(asked.load(Ordering::SeqCst), 2);
            drop(release);
        });
    }

    #[test]
    fn a_name_server_that_is_back_is_asked_at_once() {
        run(async {
            let (resolver, _, release) = lossy(1);
            // The core has given up on it; nothing is asked again for that.
            let lost = tokio::time::timeout(JOINED_WITHIN / 2, resolver.resolve("origin")).await;
            assert!(lost.is_err(), "the name server was silent");
            tokio::time::sleep(JOINED_WITHIN).await;
            let found = tokio::time::timeout(JOINED_WITHIN / 2, resolver.resolve("origin")).await;
            assert_eq!(found.expect("it is asked afresh"), Ok(vec![IpAddr::from([10, 0, 0, 1])]));
            drop(release);
        });
    }

    #[test]
    fn what_was_given_up_on_is_not_joined_however_young() {
        run(async {
            let (resolver, asked, release) = lossy(2);
            // Given up on soon after the question was asked once more.
            let lost =
                tokio::time::timeout(JOINED_WITHIN + JOINED_WITHIN / 4, resolver.resolve("origin")).await;
            assert!(lost.is_err(), "the name server was silent");
            let found = tokio::time::timeout(JOINED_WITHIN / 4, resolver.resolve("origin")).await;
            assert_eq!(found.expect("it is asked afresh"), Ok(vec![IpAddr::from([10, 0, 0, 1])]));
            assert_eq!(asked.load(Ordering::SeqCst), 3);
            drop(release);
        });
    }

    /// Asks for so many names at once.
    fn ask_for(resolver: &Resolver, count: usize) -> Vec<tokio::task::JoinHandle<Answer>> {
        let ask = |n| {
            let resolver = resolver.clone();
            tokio::spawn(async move { resolver.resolve(&format!("sick{n}")).await })
        };
        (0..count).map(ask).collect()
    }

    #[test]
    fn nothing_is_asked_twice_while_threads_are_few() {
        run(async {
            let (resolver, asked, release) = held();
            let lookups = ask_for(&resolver, LOOKUPS_MAX / 2 + 1);
            tokio::time::sleep(JOINED_WITHIN * 2).await;
            assert_eq!(asked.load(Ordering::SeqCst), lookups.len());
            drop(release);
        });
    }

    #[test]
    fn a_name_that_stays_sick_is_asked_twice_only_at_first() {
        run(async {
            let (resolver, asked, release) = held();
            for _ in 0..3 {
                let lost = tokio::time::timeout(JOINED_WITHIN * 3 / 2, resolver.resolve("sick")).await;
                assert!(lost.is_err(), "nobody answers");
            }
            assert_eq!(asked.load(Ordering::SeqCst), 4);
            drop(release);
        });
    }

    #[test]
    fn one_sick_name_takes_few_threads() {
        run(async {
            let (resolver, asked, release) = held();
            for _ in 0..OF_ONE_NAME_MAX + 2 {
                let wait = JOINED_WITHIN + Duration::from_millis(20);
                let lost = tokio::time::timeout(wait, resolver.resolve("sick")).await;
                assert!(lost.is_err(), "nobody answers");
            }
            assert_eq!(asked.load(Ordering::SeqCst), OF_ONE_NAME_MAX);
            drop(release);
        });
    }

    #[test]
    fn a_lookup_nobody_waits_for_takes_no_thread() {
        run(async {
            let (resolver, asked, release) = held();
            let busy = ask_for(&resolver, LOOKUPS_MAX);
            while asked.load(Ordering::SeqCst) < LOOKUPS_MAX {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            let gone = tokio::time::timeout(Duration::from_millis(20), resolver.resolve("gone")).await;
            assert!(gone.is_err(), "all threads are busy");
            for _ in &busy {
                release.send(()).expect("a lookup");
            }
            for lookup in busy {
                lookup.await.expect("no panic").expect("an address");
            }
            release.send(()).expect("a lookup");
            resolver.resolve("alive").await.expect("an address");
            assert_eq!(asked.load(Ordering::SeqCst), LOOKUPS_MAX + 1);
            assert!(resolver.shared.pending().is_empty());
        });
    }

    #[test]
    fn a_panic_in_a_lookup_is_a_failed_lookup() {
        run(async {
            let resolver = Resolver::new(Box::new(|_| panic!("as a sick system library would")));
            assert_eq!(resolver.resolve("origin").await, Err(ResolveError::Failed));
            assert!(resolver.shared.pending().is_empty());
        });
    }

    #[test]
    fn the_system_knows_localhost() {
        run(async {
            let addrs = Resolver::system().resolve("localhost").await.expect("an address");
            assert!(addrs.iter().all(IpAddr::is_loopback), "{addrs:?}");
        });
    }
}
