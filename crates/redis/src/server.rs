//! Whether a server can be used, from what it says about itself. Pure.

use std::collections::HashMap;

use redis::{Value, from_redis_value_ref};

/// What a server says about itself. What it does not say is unknown, and no reason to refuse it: proxies in front of Redis
/// know few commands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerFacts {
    /// `valkey`, `redis`, or another name.
    server: Option<String>,
    version: Option<String>,
    mode: Option<ServerMode>,
    is_master: Option<bool>,
    is_loading: bool,
}

/// How a server was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerMode {
    /// As a server of its own, with or without replicas.
    Standalone,
    /// As a node of a cluster.
    Cluster,
    /// As a Sentinel.
    Sentinel,
}

/// What a connection needs of its server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerRequirement {
    /// How the server must have been started. `None` if any mode will do.
    pub mode: Option<ServerMode>,
    /// Whether it must be a master.
    pub master: bool,
}

/// Why a server cannot be used, and what to do. For people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnusableServer {
    /// Redis 7.0 is the first version with `XADD <ms>-*`, `PEXPIRE GT` and sharded pub/sub.
    #[error("this Redis is version {0}; 7.0 or newer is required")]
    TooOld(String),
    /// It follows a master.
    #[error("this Redis is a replica; writes need the master")]
    Replica,
    /// It reads its data from disk.
    #[error("this Redis is loading its data; it can be used when it has finished")]
    Loading,
    /// A node of a cluster behind the URL of a single server.
    #[error("this Redis is a node of a cluster; use redis-cluster:// (rediss-cluster:// for TLS)")]
    ClusterNode,
    /// A single server behind the URL of a cluster.
    #[error("this Redis is not a node of a cluster (cluster-enabled no); use redis:// (rediss:// for TLS)")]
    NoCluster,
    /// A Sentinel behind the URL of a server.
    #[error("this is a Sentinel; use redis-sentinel://host:port#master (rediss-sentinel:// for TLS)")]
    Sentinel,
}

impl ServerFacts {
    /// Reads a reply to `HELLO` (<https://redis.io/docs/latest/commands/hello/>). Redis allows the command to every user.
    pub fn from_hello(reply: &HashMap<String, Value>) -> Self {
        let text = |name: &str| reply.get(name).and_then(|value| from_redis_value_ref::<String>(value).ok());
        Self {
            server: text("server"),
            version: text("version"),
            mode: text("mode").as_deref().and_then(mode),
            is_master: text("role").map(|role| role == "master"),
            is_loading: false,
        }
    }

    /// Reads replies to `INFO`, one after another or joined. Recognised are the sections `server`, `replication`,
    /// `persistence` and `cluster`. Valkey reports its compatibility as `redis_version`, and its mode as `redis_mode` or
    /// `server_mode`.
    pub fn from_info(info: &str) -> Self {
        let field = |name| info_field(info, name);
        let cluster_enabled = field("cluster_enabled").and_then(|enabled| match enabled {
            "0" => Some(ServerMode::Standalone),
            "1" => Some(ServerMode::Cluster),
            _ => None,
        });
        Self {
            server: field("server_name").map(str::to_owned),
            version: field("redis_version").map(str::to_owned),
            mode: field("redis_mode").or_else(|| field("server_mode")).and_then(mode).or(cluster_enabled),
            is_master: field("role").map(|role| role == "master"),
            is_loading: ["loading", "async_loading"].iter().any(|name| field(name) == Some("1")),
        }
    }

    /// Whether the server meets a requirement.
    ///
    /// # Errors
    /// The first reason why not.
    pub fn check(&self, required: ServerRequirement) -> Result<(), UnusableServer> {
        let major = self.version.as_deref().and_then(|version| version.split('.').next()?.parse::<u32>().ok());
        if let (Some(0..7), Some(version)) = (major, &self.version)
            && self.server.as_deref() != Some("valkey")
        {
            return Err(UnusableServer::TooOld(version.clone()));
        }
        match (required.mode, self.mode) {
            (Some(required), Some(mode)) if required != mode => {
                return Err(match (required, mode) {
                    (_, ServerMode::Sentinel) => UnusableServer::Sentinel,
                    (ServerMode::Cluster, _) => UnusableServer::NoCluster,
                    _ => UnusableServer::ClusterNode,
                });
            }
            _ => {}
        }
        if required.master && self.is_master == Some(false) {
            return Err(UnusableServer::Replica);
        }
        if self.is_loading { Err(UnusableServer::Loading) } else { Ok(()) }
    }
}

fn mode(text: &str) -> Option<ServerMode> {
    match text {
        "standalone" => Some(ServerMode::Standalone),
        "cluster" => Some(ServerMode::Cluster),
        "sentinel" => Some(ServerMode::Sentinel),
        _ => None,
    }
}

/// The value of the line `name:value` in a reply to `INFO`.
pub fn info_field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MASTER: ServerRequirement = ServerRequirement { mode: Some(ServerMode::Standalone), master: true };
    const NODE: ServerRequirement = ServerRequirement { mode: Some(ServerMode::Cluster), master: false };

    fn info(text: &str, required: ServerRequirement) -> Result<(), UnusableServer> {
        ServerFacts::from_info(&text.replace(' ', "\r\n")).check(required)
    }

    fn hello(fields: &[(&str, &str)], required: ServerRequirement) -> Result<(), UnusableServer> {
        let value = |text: &&str| Value::BulkString(text.as_bytes().to_vec());
        let reply = fields.iter().map(|(name, text)| ((*name).to_owned(), value(text))).collect();
        ServerFacts::from_hello(&reply).check(required)
    }

    #[test]
    fn unsuitable_servers_are_named_from_info() {
        assert_eq!(info("redis_version:7.0.15 redis_mode:standalone role:master loading:0", MASTER), Ok(()));
        assert_eq!(info("redis_version:10.0.0 role:master", MASTER), Ok(()));
        assert_eq!(info("redis_version:6.2.14 role:master", MASTER), Err(UnusableServer::TooOld("6.2.14".to_owned())));
        assert_eq!(info("redis_version:7.0.0 role:slave", MASTER), Err(UnusableServer::Replica));
        assert_eq!(info("redis_version:7.0.0 role:slave redis_mode:cluster", NODE), Ok(()));
        assert_eq!(info("redis_version:7.0.0 role:master loading:1", MASTER), Err(UnusableServer::Loading));
        assert_eq!(info("redis_version:7.0.0 redis_mode:cluster", MASTER), Err(UnusableServer::ClusterNode));
        assert_eq!(info("redis_version:7.0.0 redis_mode:standalone", NODE), Err(UnusableServer::NoCluster));
        assert_eq!(info("redis_version:7.0.0 redis_mode:sentinel", MASTER), Err(UnusableServer::Sentinel));
        assert_eq!(info("redis_version:7.0.0 redis_mode:sentinel", NODE), Err(UnusableServer::Sentinel));
    }

    #[test]
    fn valkey_is_understood_with_and_without_its_mode() {
        let valkey = "redis_version:7.2.4 server_name:valkey valkey_version:8.1.0";
        assert_eq!(info(valkey, MASTER), Ok(()));
        assert_eq!(info(&format!("{valkey} server_mode:cluster"), MASTER), Err(UnusableServer::ClusterNode));
        assert_eq!(info(&format!("{valkey} cluster_enabled:1"), MASTER), Err(UnusableServer::ClusterNode));
        assert_eq!(info(&format!("{valkey} cluster_enabled:0"), NODE), Err(UnusableServer::NoCluster));
        let valkey = [("server", "valkey"), ("version", "8.1.0"), ("mode", "cluster"), ("role", "master")];
        assert_eq!(hello(&valkey, NODE), Ok(()));
        assert_eq!(hello(&valkey, MASTER), Err(UnusableServer::ClusterNode));
    }

    #[test]
    fn unsuitable_servers_are_named_from_hello() {
        let redis = |version, mode, role| [("server", "redis"), ("version", version), ("mode", mode), ("role", role)];
        assert_eq!(hello(&redis("7.0.15", "standalone", "master"), MASTER), Ok(()));
        assert_eq!(hello(&redis("7.0.15", "standalone", "replica"), MASTER), Err(UnusableServer::Replica));
        assert_eq!(hello(&redis("7.0.15", "sentinel", "sentinel"), MASTER), Err(UnusableServer::Sentinel));
        let old = UnusableServer::TooOld("6.2.6".to_owned());
        assert_eq!(hello(&redis("6.2.6", "standalone", "master"), MASTER), Err(old));
    }

    #[test]
    fn server_that_says_nothing_about_itself_is_usable() {
        assert_eq!(hello(&[], MASTER), Ok(()));
        assert_eq!(info("", NODE), Ok(()));
    }
}
