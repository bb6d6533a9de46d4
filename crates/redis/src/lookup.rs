//! Name look-ups that outlive the attempt to connect that started them.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use tokio::{
    net::lookup_host,
    time::{Instant, timeout},
};

use crate::error::no_answer_within;

/// Time limit of one look-up. A resolver waits 5 s for each silent name server before it asks the next one (resolv.conf(5)),
/// and may do so for several search domains.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(30);
/// Age up to which addresses are used without another look-up.
const FRESH: Duration = Duration::from_secs(5);
/// Maximum number of names whose addresses are remembered. Above it all are forgotten and looked up again.
const MAX_NAMES: usize = 1024;

/// Returns the addresses of a host.
pub(crate) type Lookup = Arc<dyn Fn(String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> + Send + Sync>;
type RunningLookup = Shared<BoxFuture<'static, Result<Vec<IpAddr>, String>>>;

/// Looks up names.
pub(crate) struct Resolver {
    lookup: Lookup,
    names: Mutex<HashMap<String, Addresses>>,
}

#[derive(Default)]
struct Addresses {
    /// The result of the last successful look-up, and when it was noticed.
    known: Option<(Vec<IpAddr>, Instant)>,
    /// At most one at a time: getaddrinfo blocks a thread and cannot be cancelled.
    running: Option<RunningLookup>,
}

impl Resolver {
    /// Asks the system.
    pub(crate) fn system() -> Self {
        Self::new(Arc::new(|host| {
            async move { Ok(lookup_host((host, 0)).await?.map(|address| address.ip()).collect()) }.boxed()
        }))
    }

    pub(crate) fn new(lookup: Lookup) -> Self {
        Self { lookup, names: Mutex::default() }
    }

    /// The addresses of a host, at least one. Waits at most `limit` for a look-up, which continues in the background: the
    /// next call takes its result. If it fails or does not end in time, the addresses of an earlier look-up are returned, if
    /// there was one: a name server that is away must not separate a gateway from a Redis that works.
    ///
    /// # Errors
    /// Why there are no addresses.
    pub(crate) async fn resolve(&self, host: &str, port: u16, limit: Duration) -> Result<Vec<SocketAddr>, String> {
        let with_port = |addresses: &[IpAddr]| addresses.iter().map(|&ip| (ip, port).into()).collect();
        if let Ok(ip) = host.parse::<IpAddr>() {
            return Ok(with_port(&[ip]));
        }
        let running = {
            let mut names = self.names();
            if names.len() >= MAX_NAMES && !names.contains_key(host) {
                names.clear();
            }
            let addresses = names.entry(host.to_owned()).or_default();
            addresses.take_result();
            if let Some((known, since)) = &addresses.known
                && since.elapsed() < FRESH
            {
                return Ok(with_port(known));
            }
            addresses.running.get_or_insert_with(|| self.start(host)).clone()
        };
        let cause = match timeout(limit, running).await {
            Ok(Ok(found)) => {
                // Normally `take_result` has the same result; not if the names were forgotten meanwhile.
                self.names().entry(host.to_owned()).or_default().take_result();
                return Ok(with_port(&found));
            }
            Ok(Err(cause)) => cause,
            Err(_) => format!("{}; it continues", no_answer_within(limit)),
        };
        let mut names = self.names();
        let addresses = names.entry(host.to_owned()).or_default();
        addresses.take_result();
        let (known, _) = addresses.known.as_ref().ok_or_else(|| cause.clone())?;
        tracing::debug!(host, cause, "look-up failed; using the addresses of an earlier one");
        Ok(with_port(known))
    }

    fn names(&self) -> MutexGuard<'_, HashMap<String, Addresses>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start(&self, host: &str) -> RunningLookup {
        let found = timeout(LOOKUP_TIMEOUT, (self.lookup)(host.to_owned()));
        let found = tokio::spawn(async move {
            match found.await {
                Ok(Ok(found)) if found.is_empty() => Err("the name has no address".to_owned()),
                Ok(found) => found.map_err(|error| error.to_string()),
                Err(_) => Err(no_answer_within(LOOKUP_TIMEOUT)),
            }
        });
        // A runtime that ends cancels the task.
        found.map(|found| found.unwrap_or_else(|error| Err(error.to_string()))).boxed().shared()
    }
}

impl Addresses {
    /// Takes the result of the look-up under way, if it has ended.
    fn take_result(&mut self) {
        if let Some(found) = self.running.clone().and_then(FutureExt::now_or_never) {
            self.running = None;
            if let Ok(found) = found {
                self.known = Some((found, Instant::now()));
            }
        }
    }
}
