//! Opens connections to what a URL names.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use redis::{Cmd, RedisConnectionInfo};

use crate::{
    connection::{CommandConnection, exchange, open_command},
    dial::{Dialer, first_success, within},
    error::{ConnectError, ConnectStep},
    lookup::Resolver,
    options::{InvalidRedisSettings, RedisOptions, TlsFile},
    sentinel::Sentinels,
    server::{ServerMode, ServerRequirement},
    slots::MapAnswer,
    subscriber::Subscriber,
    tls::Tls,
    url::{Endpoint, NodeAddress, RedisUrl, Topology},
};

/// The master of a server without a cluster.
const STANDALONE_MASTER: ServerRequirement = ServerRequirement { mode: Some(ServerMode::Standalone), master: true };
/// A master of a cluster.
const CLUSTER_MASTER: ServerRequirement = ServerRequirement { mode: Some(ServerMode::Cluster), master: true };
/// Any node of a cluster: it knows the others.
const CLUSTER_NODE: ServerRequirement = ServerRequirement { mode: Some(ServerMode::Cluster), master: false };

/// Opens connections to the Redis of one URL.
///
/// Each step of a connect (look-up, TCP, TLS, log-in, check of the server) has the same time limit, and an error names the
/// step, the host and its address: a name server that does not answer must not look like a Redis that does not. All addresses
/// of a host are tried, the next one when the one before has failed or takes longer than 250 ms. Connections have keep-alive
/// probes and TCP_USER_TIMEOUT, so the kernel ends one whose peer is gone within 5 to 10 s.
pub struct Connector {
    dialer: Arc<Dialer>,
    settings: RedisConnectionInfo,
    route: Route,
    database: u32,
}

/// Where connections lead if no node is named.
enum Route {
    Server(Endpoint),
    Sentinel(Sentinels),
    Cluster {
        seeds: Vec<NodeAddress>,
        /// Number of connections opened so far. Each starts with another seed.
        attempts: AtomicUsize,
    },
}

impl Connector {
    /// Reads the files of `options`. Does not connect. `step_timeout` is the time limit of each step.
    ///
    /// # Errors
    /// [`File`](InvalidRedisSettings::File) and [`SystemRoots`](InvalidRedisSettings::SystemRoots) if certificates cannot be
    /// used, and other variants if the options do not belong to a URL like this.
    pub fn new(url: &RedisUrl, options: &RedisOptions, step_timeout: Duration) -> Result<Self, InvalidRedisSettings> {
        Self::with_resolver(url, options, step_timeout, Resolver::system())
    }

    pub(crate) fn with_resolver(
        url: &RedisUrl,
        options: &RedisOptions,
        step_timeout: Duration,
        resolver: Resolver,
    ) -> Result<Self, InvalidRedisSettings> {
        check(url, options)?;
        let tls = url.tls.then(|| Tls::new(options)).transpose()?;
        let dialer = Arc::new(Dialer { resolver, tls, step_timeout, attempts: AtomicUsize::new(0) });
        let settings = log_in(url.user.as_ref(), url.password.as_ref()).set_db(url.database.into());
        let route = match url.topology.clone() {
            Topology::Server(endpoint) => Route::Server(endpoint),
            Topology::Sentinel { sentinels, master } => {
                let settings = log_in(options.sentinel_user.as_ref(), options.sentinel_password.as_ref());
                Route::Sentinel(Sentinels::new(dialer.clone(), settings, sentinels, master))
            }
            Topology::Cluster { seeds } => Route::Cluster { seeds, attempts: AtomicUsize::new(0) },
        };
        Ok(Self { dialer, settings, route, database: url.database })
    }

    /// Opens a connection for commands: to the server, to the master that the Sentinels name, or to any of the seeds of a
    /// cluster that works. Except for a seed, the server is a master.
    ///
    /// # Errors
    /// The step that failed, at the last of the addresses that failed.
    pub async fn open(&self) -> Result<CommandConnection, ConnectError> {
        match &self.route {
            Route::Server(endpoint) => self.command(endpoint, STANDALONE_MASTER).await,
            Route::Sentinel(sentinels) => self.command(&sentinels.master().await?, STANDALONE_MASTER).await,
            Route::Cluster { seeds, attempts } => {
                let mut seeds = seeds.clone();
                let first = attempts.fetch_add(1, Ordering::Relaxed) % seeds.len();
                seeds.rotate_left(first);
                let open = |node| async move { self.command(&Endpoint::Tcp(node), CLUSTER_NODE).await };
                first_success(seeds.into_iter().map(open)).await
            }
        }
    }

    /// Opens a connection for commands to a master of the cluster.
    ///
    /// # Errors
    /// See [`open`](Self::open).
    pub async fn open_at(&self, node: &NodeAddress) -> Result<CommandConnection, ConnectError> {
        self.command(&Endpoint::Tcp(node.clone()), CLUSTER_MASTER).await
    }

    /// Opens a connection for subscriptions, to classic or sharded channels: to a node of the cluster, or without one to where
    /// [`open`](Self::open) leads. The server is not checked.
    ///
    /// # Errors
    /// See [`open`](Self::open).
    pub async fn open_subscriber(&self, node: Option<&NodeAddress>) -> Result<Subscriber, ConnectError> {
        let subscribe = |endpoint| async move { Subscriber::open(&self.dialer, &endpoint, &self.settings).await };
        match (node, &self.route) {
            (Some(node), _) => subscribe(Endpoint::Tcp(node.clone())).await,
            (None, Route::Server(endpoint)) => subscribe(endpoint.clone()).await,
            (None, Route::Sentinel(sentinels)) => subscribe(sentinels.master().await?).await,
            (None, Route::Cluster { seeds, .. }) => {
                first_success(seeds.iter().cloned().map(|node| subscribe(Endpoint::Tcp(node)))).await
            }
        }
    }

    /// Asks a node of the cluster, which may be a replica, for the slot map on a connection of its own; without a node, any of
    /// the seeds that works. `commands` begin with [`map_commands`](crate::slots::map_commands).
    ///
    /// # Errors
    /// The step that failed, or why the answer contains no map. For people.
    pub async fn ask_for_map(&self, node: Option<&NodeAddress>, commands: &[Cmd]) -> Result<MapAnswer, String> {
        let opened = match node {
            Some(node) => self.command(&Endpoint::Tcp(node.clone()), CLUSTER_NODE).await,
            None => self.open().await,
        };
        let opened = opened.map_err(|error| error.to_string())?;
        let mut connection = opened.connection.clone();
        let replies = exchange(&mut connection, commands);
        let replies = within(self.dialer.step_timeout, ConnectStep::SlotMap, opened.address(), replies).await;
        let host = if let Endpoint::Tcp(node) = opened.endpoint() { &node.host } else { "" };
        let answer = MapAnswer::read(replies.map_err(|error| error.to_string())?, host, self.uses_tls());
        answer.map_err(|error| error.to_string())
    }

    async fn command(
        &self,
        endpoint: &Endpoint,
        required: ServerRequirement,
    ) -> Result<CommandConnection, ConnectError> {
        open_command(&self.dialer, endpoint, &self.settings, Some(required)).await
    }

    /// False if the Sentinels named another master since a connection to `endpoint` was opened, or began a failover: it must
    /// be replaced, even though its server may call itself master for some more seconds. Always true without Sentinels.
    pub fn is_current(&self, endpoint: &Endpoint) -> bool {
        match &self.route {
            Route::Sentinel(sentinels) => sentinels.is_master(endpoint),
            _ => true,
        }
    }

    /// Waits until a connection to `endpoint` must be replaced because the Sentinels name another master or began a failover,
    /// and returns that reason, for people. Waits for ever without Sentinels.
    pub async fn superseded(&self, endpoint: &Endpoint) -> String {
        match &self.route {
            Route::Sentinel(sentinels) => sentinels.superseded(endpoint).await,
            _ => std::future::pending().await,
        }
    }

    /// Whether connections use TLS.
    pub fn uses_tls(&self) -> bool {
        self.dialer.tls.is_some()
    }

    /// The number of the database.
    pub fn database(&self) -> u32 {
        self.database
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").field("database", &self.database).finish_non_exhaustive()
    }
}

/// Checks that the options belong to the URL.
fn check(url: &RedisUrl, options: &RedisOptions) -> Result<(), InvalidRedisSettings> {
    let RedisOptions { ca_file, certificate_file, key_file, sentinel_user, sentinel_password } = options;
    let files =
        [(TlsFile::Ca, ca_file), (TlsFile::Certificate, certificate_file), (TlsFile::Key, key_file)].into_iter();
    if let Some((file, _)) = files.filter(|_| !url.tls).find(|(_, path)| path.is_some()) {
        return Err(InvalidRedisSettings::NoTls(file));
    }
    if certificate_file.is_some() != key_file.is_some() {
        return Err(InvalidRedisSettings::HalfAClientCertificate);
    }
    let with_sentinels = matches!(url.topology, Topology::Sentinel { .. });
    if !with_sentinels && (sentinel_user.is_some() || sentinel_password.is_some()) {
        return Err(InvalidRedisSettings::NoSentinels);
    }
    if sentinel_user.is_some() && sentinel_password.is_none() {
        return Err(InvalidRedisSettings::SentinelUserWithoutPassword);
    }
    Ok(())
}

fn log_in(user: Option<&String>, password: Option<&String>) -> RedisConnectionInfo {
    let mut settings = RedisConnectionInfo::default();
    if let Some(user) = user {
        settings = settings.set_username(user);
    }
    if let Some(password) = password {
        settings = settings.set_password(password);
    }
    settings
}

#[cfg(test)]
mod tests;
