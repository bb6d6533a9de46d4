//! Keys that an identity provider publishes at a URL: fetched at the start, every ten minutes, and when a token names an
//! unknown key.

use std::{error::Error as _, str::FromStr, sync::Arc, time::Duration};

use hyper::{StatusCode, Uri};
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep_until, timeout},
};
use url::Url;

use super::jwt::{KeySet, KeySource};
use crate::http_client::{HttpClient, HttpClientError, REQUEST_TIMEOUT};

/// Minimum time between two fetches because of unknown keys, and between a failed fetch and the next. Forged tokens cannot cause
/// more requests; a larger value delays the first tokens of a new key.
const MIN_INTERVAL: Duration = Duration::from_secs(60);
/// Time after which keys are fetched again although no token needs them, so that withdrawn keys are forgotten.
const MAX_AGE: Duration = Duration::from_secs(600);
/// Wait after the first failed fetch if there are no keys yet. It doubles with each failure, up to [`MIN_INTERVAL`].
const FIRST_RETRY: Duration = Duration::from_secs(1);

/// A URL that a key set is fetched from: `https`, or `http` inside a trusted network. Without user information and fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwksUrl(Uri);

/// The text is not the URL of a key set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an https:// URL, such as https://id.example.org/.well-known/jwks.json")]
pub struct InvalidJwksUrl;

impl JwksUrl {
    /// Whether the keys are fetched with TLS, so that they cannot be replaced on the way.
    #[must_use]
    pub fn is_https(&self) -> bool {
        self.0.scheme_str() == Some("https")
    }
}

impl FromStr for JwksUrl {
    type Err = InvalidJwksUrl;

    fn from_str(text: &str) -> Result<Self, InvalidJwksUrl> {
        let url = Url::parse(text).map_err(|_| InvalidJwksUrl)?;
        let is_plain = url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
        if !matches!(url.scheme(), "https" | "http") || !is_plain {
            return Err(InvalidJwksUrl);
        }
        url.as_str().parse().map(Self).map_err(|_| InvalidJwksUrl)
    }
}

/// When keys are fetched. Pure; times are since the start of the source.
#[derive(Clone, Copy, Debug, Default)]
struct FetchSchedule {
    /// The time of the last fetch.
    last: Option<Duration>,
    /// The number of fetches that failed since the last one that succeeded.
    failures: u32,
    has_keys: bool,
}

impl FetchSchedule {
    /// Records the result of a fetch.
    fn fetched(&mut self, now: Duration, succeeded: bool) {
        self.last = Some(now);
        self.failures = if succeeded { 0 } else { self.failures.saturating_add(1) };
        self.has_keys |= succeeded;
    }

    /// Returns the time of the next fetch if no token names an unknown key.
    fn next(&self) -> Duration {
        let Some(last) = self.last else { return Duration::ZERO };
        last + match (self.failures, self.has_keys) {
            (0, _) => MAX_AGE,
            (_, true) => MIN_INTERVAL,
            (failures, false) => FIRST_RETRY.saturating_mul(1 << (failures - 1).min(6)).min(MIN_INTERVAL),
        }
    }

    /// Returns whether an unknown key is a reason to fetch at `now`.
    fn may_fetch(&self, now: Duration) -> bool {
        self.last.is_none_or(|last| now >= last + MIN_INTERVAL) || now >= self.next()
    }
}

/// Keys from a URL, and the task that fetches them. The task ends when the source is dropped.
#[derive(Debug)]
pub(super) struct JwksSource {
    view: watch::Receiver<View>,
    wanted: Arc<Notify>,
    started: Instant,
}

/// The state that the task publishes.
#[derive(Clone, Debug, Default)]
struct View {
    keys: Option<Arc<KeySet>>,
    schedule: FetchSchedule,
    is_fetching: bool,
    fetches: u64,
    /// Why the last fetch failed.
    failure: Option<Arc<str>>,
}

impl JwksSource {
    /// Starts the task. Must be called inside a Tokio runtime.
    pub(super) fn start(client: HttpClient, JwksUrl(url): JwksUrl) -> Self {
        Self::start_with(move || {
            let (client, url) = (client.clone(), url.clone());
            async move { fetch(&client, &url).await }
        })
    }

    /// Starts the task with this way to fetch keys.
    fn start_with<F>(fetch: impl Fn() -> F + Send + 'static) -> Self
    where
        F: Future<Output = Result<KeySet, String>> + Send + 'static,
    {
        // Fetching begins at once, so that the first tokens wait for it.
        let (publisher, view) = watch::channel(View { is_fetching: true, ..View::default() });
        let (wanted, started) = (Arc::new(Notify::new()), Instant::now());
        tokio::spawn(run(fetch, publisher, wanted.clone(), started));
        Self { view, wanted, started }
    }

    /// Returns the keys of the last fetch that succeeded.
    pub(super) fn keys(&self) -> Option<Arc<KeySet>> {
        self.view.borrow().keys.clone()
    }

    /// Waits for a fetch because a token names an unknown key, at most a little longer than [`REQUEST_TIMEOUT`]. Returns false
    /// at once if the last fetch is too recent.
    pub(super) async fn refresh(&self) -> bool {
        let mut view = self.view.clone();
        let fetches = {
            let view = view.borrow();
            if !view.is_fetching && !view.schedule.may_fetch(self.started.elapsed()) {
                return false;
            }
            view.fetches
        };
        self.wanted.notify_one();
        let fetched = view.wait_for(|view| view.fetches > fetches);
        matches!(timeout(REQUEST_TIMEOUT + Duration::from_secs(1), fetched).await, Ok(Ok(_)))
    }

    /// Returns why the last fetch failed, if it did.
    pub(super) fn failure(&self) -> Option<Arc<str>> {
        self.view.borrow().failure.clone()
    }
}

async fn run<F: Future<Output = Result<KeySet, String>>>(
    fetch: impl Fn() -> F,
    publisher: watch::Sender<View>,
    wanted: Arc<Notify>,
    started: Instant,
) {
    let mut schedule = FetchSchedule::default();
    loop {
        while started.elapsed() < schedule.next() {
            tokio::select! {
                () = sleep_until(started + schedule.next()) => {}
                () = wanted.notified() => if schedule.may_fetch(started.elapsed()) { break },
                () = publisher.closed() => return,
            }
        }
        publisher.send_modify(|view| view.is_fetching = true);
        let fetched = fetch().await;
        schedule.fetched(started.elapsed(), fetched.is_ok());
        match &fetched {
            Ok(keys) => tracing::info!(keys = keys.len(), "keys of tokens fetched"),
            Err(error) => {
                let kept = if schedule.has_keys { "the earlier keys are kept" } else { "no token can be verified yet" };
                tracing::warn!(error, "fetching the keys of tokens failed; {kept}");
            }
        }
        publisher.send_modify(|view| {
            (view.schedule, view.is_fetching) = (schedule, false);
            view.fetches += 1;
            match fetched {
                Ok(keys) => (view.keys, view.failure) = (Some(Arc::new(keys)), None),
                Err(error) => view.failure = Some(error.into()),
            }
        });
    }
}

/// Returns the keys, or what is wrong, for operators.
async fn fetch(client: &HttpClient, url: &Uri) -> Result<KeySet, String> {
    let response = client.get_json(url).await.map_err(|error| describe(&error))?;
    if response.status() != StatusCode::OK {
        return Err(format!("the answer has the status {}", response.status()));
    }
    let keys = KeySet::from_jwks(response.body(), KeySource::Url).map_err(|error| error.to_string())?;
    for key in keys.skipped() {
        tracing::debug!(%url, line = key.line, reason = key.reason, "a key of the set is not used");
    }
    Ok(keys)
}

/// Returns the error with its causes, of which the last says what failed.
fn describe(error: &HttpClientError) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use super::*;

    /// A source of which every fetch counts, and fails if `works` is false.
    fn source(works: Arc<AtomicBool>) -> (JwksSource, Arc<AtomicUsize>) {
        let count = Arc::new(AtomicUsize::new(0));
        let counter = count.clone();
        let source = JwksSource::start_with(move || {
            counter.fetch_add(1, Ordering::Relaxed);
            let result = if works.load(Ordering::Relaxed) {
                KeySet::from_file(&[7; 32]).map_err(|error| error.to_string())
            } else {
                Err("no answer".to_owned())
            };
            async move { result }
        });
        (source, count)
    }

    #[tokio::test(start_paused = true)]
    async fn failed_fetch_keeps_the_earlier_keys_and_is_reported() {
        let works = Arc::new(AtomicBool::new(true));
        let (source, count) = source(works.clone());
        assert!(source.refresh().await, "the first fetch is awaited");
        assert!(source.keys().is_some());
        assert_eq!(source.failure(), None);
        works.store(false, Ordering::Relaxed);
        assert!(!source.refresh().await, "too early");
        tokio::time::advance(MIN_INTERVAL).await;
        assert!(source.refresh().await);
        assert_eq!(count.load(Ordering::Relaxed), 2);
        assert!(source.keys().is_some());
        assert_eq!(source.failure().as_deref(), Some("no answer"));
        works.store(true, Ordering::Relaxed);
        tokio::time::sleep(MIN_INTERVAL + Duration::from_secs(1)).await;
        assert_eq!(source.failure(), None, "repeated after a minute");
        assert_eq!(count.load(Ordering::Relaxed), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn tokens_of_unknown_keys_share_one_fetch() {
        let (source, count) = source(Arc::new(AtomicBool::new(true)));
        tokio::time::sleep(MIN_INTERVAL).await;
        let waiting = (0..100).map(|_| source.refresh());
        let fetched = futures_util::future::join_all(waiting).await;
        assert_eq!(fetched, [true; 100]);
        assert_eq!(count.load(Ordering::Relaxed), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn task_ends_with_its_source() {
        let (source, count) = source(Arc::new(AtomicBool::new(true)));
        assert!(source.refresh().await);
        drop(source);
        tokio::time::sleep(10 * MAX_AGE).await;
        assert_eq!(count.load(Ordering::Relaxed), 1);
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn keys_are_fetched_at_the_start_and_every_ten_minutes() {
        let mut schedule = FetchSchedule::default();
        assert_eq!(schedule.next(), at(0));
        schedule.fetched(at(2), true);
        assert_eq!(schedule.next(), at(602));
    }

    #[test]
    fn unknown_keys_cause_one_fetch_per_minute() {
        let mut schedule = FetchSchedule::default();
        assert!(schedule.may_fetch(at(0)));
        schedule.fetched(at(0), true);
        assert!(!schedule.may_fetch(at(59)));
        assert!(schedule.may_fetch(at(60)));
        schedule.fetched(at(60), false);
        assert!(!schedule.may_fetch(at(119)));
        assert_eq!(schedule.next(), at(120), "a failed fetch is repeated");
    }

    #[test]
    fn without_keys_the_fetch_is_repeated_with_growing_waits() {
        let mut schedule = FetchSchedule::default();
        let mut now = at(0);
        let mut waits = Vec::new();
        for _ in 0..8 {
            schedule.fetched(now, false);
            waits.push((schedule.next() - now).as_secs());
            now = schedule.next();
            assert!(schedule.may_fetch(now));
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
    }

    #[test]
    fn urls_with_other_schemes_or_with_secrets_are_refused() {
        for (text, is_valid) in [
            ("https://id.example/jwks", true),
            ("http://127.0.0.1:8080/jwks?tenant=1", true),
            ("https://user:secret@id.example/jwks", false),
            ("https://id.example/jwks#x", false),
            ("file:///etc/jwks", false),
            ("ftp://id.example/jwks", false),
            ("id.example/jwks", false),
            ("", false),
        ] {
            assert_eq!(text.parse::<JwksUrl>().is_ok(), is_valid, "{text}");
        }
        assert!(!"http://a/".parse::<JwksUrl>().unwrap().is_https());
    }
}
