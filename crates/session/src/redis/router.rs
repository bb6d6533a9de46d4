//! Sends each command to the server that has its keys: one, or the owner of the slot in a cluster.

use std::{future::Future, sync::Arc, time::Duration};

use redis::FromRedisValue;
use tokio::time::timeout;
use trunkline_redis::{Connector, InvalidRedisSettings, NodeAddress, RedisOptions, RedisUrl, Topology};

use super::{
    call::{BoxError, RedisCall},
    cluster::ClusterLinks,
    link::{COMMAND_TIMEOUT, RedisLink},
};
use crate::SessionError;

/// Time limit of one operation: connecting, following redirections, and up to two commands at each server.
const OPERATION_TIMEOUT: Duration = Duration::from_secs(3);

/// Where commands are sent.
pub(super) struct Router {
    connector: Arc<Connector>,
    route: CommandRoute,
}

enum CommandRoute {
    /// One server, or the master that the Sentinels name.
    Server(Box<RedisLink>),
    Cluster(Arc<ClusterLinks>),
}

impl Router {
    /// Checks the URL and reads the files of the options. Does not connect.
    pub(super) fn new(url: &str, options: &RedisOptions) -> Result<Self, InvalidRedisSettings> {
        let url: RedisUrl = url.parse()?;
        let connector = Arc::new(Connector::new(&url, options, COMMAND_TIMEOUT)?);
        let route = match url.topology() {
            Topology::Cluster { .. } => CommandRoute::Cluster(Arc::new(ClusterLinks::new(connector.clone()))),
            Topology::Server(_) | Topology::Sentinel { .. } => {
                CommandRoute::Server(Box::new(RedisLink::new(connector.clone(), None)))
            }
        };
        Ok(Self { connector, route })
    }

    pub(super) fn connector(&self) -> &Connector {
        &self.connector
    }

    /// The cluster, if Redis is one.
    pub(super) fn cluster(&self) -> Option<&Arc<ClusterLinks>> {
        match &self.route {
            CommandRoute::Server(_) => None,
            CommandRoute::Cluster(cluster) => Some(cluster),
        }
    }

    /// Sends a call to the server that has its keys.
    pub(super) async fn run<T: FromRedisValue>(&self, call: RedisCall<'_>) -> Result<T, SessionError> {
        within_limit(async {
            let reply = match &self.route {
                CommandRoute::Server(link) => link.call(&call, false).await?,
                CommandRoute::Cluster(cluster) => cluster.call(&call).await?,
            };
            Ok(reply.convert()?)
        })
        .await
    }

    /// Sends a call without keys to the server, or to each master. Succeeds if one executed it, and returns what is wrong
    /// with the others.
    pub(super) async fn check(&self, call: &RedisCall<'_>) -> Result<Vec<String>, SessionError> {
        within_limit(async {
            match &self.route {
                CommandRoute::Server(link) => {
                    link.call(call, false).await?.convert::<()>()?;
                    Ok(Vec::new())
                }
                CommandRoute::Cluster(cluster) => cluster.check(call).await,
            }
        })
        .await
    }

    /// The owner of a slot in a cluster, `None` without one.
    pub(super) async fn owner(&self, slot: u16) -> Result<Option<NodeAddress>, BoxError> {
        match &self.route {
            CommandRoute::Server(_) => Ok(None),
            CommandRoute::Cluster(cluster) => cluster.owner(slot).await.map(Some),
        }
    }
}

async fn within_limit<T>(operation: impl Future<Output = Result<T, BoxError>>) -> Result<T, SessionError> {
    match timeout(OPERATION_TIMEOUT, operation).await {
        Ok(done) => done.map_err(SessionError::Unavailable),
        Err(_) => {
            Err(SessionError::unavailable(format!("the operation took longer than {} s", OPERATION_TIMEOUT.as_secs())))
        }
    }
}
