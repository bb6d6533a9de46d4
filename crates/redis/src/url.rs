//! The URLs of `--redis`.
//!
//! | URL | leads to |
//! | --- | --- |
//! | `redis://[[user]:password@]host[:port][/db]` | one server |
//! | `unix://[[user]:password@]/path[?db=n]` | one server, by its Unix socket |
//! | `redis-sentinel://[[user]:password@]host[:port][,host…][/db]#master` | the master of this name, for which the Sentinels are asked |
//! | `redis-cluster://[[user]:password@]host[:port][,host…]` | a Redis Cluster, of which these are some nodes |
//! | `rediss://`, `rediss-sentinel://`, `rediss-cluster://` | the same over TLS |
//!
//! User and password are those of the servers. In them, in paths and in names of masters, `%` begins a percent-encoded
//! byte (RFC 3986 section 2.1). An IPv6 address stands in brackets.

use std::{fmt, net::Ipv6Addr, path::PathBuf, str::FromStr};

use percent_encoding::percent_decode_str;

/// The port of a server whose URL names none.
const SERVER_PORT: u16 = 6379;
/// The port of a Sentinel whose URL names none (<https://redis.io/docs/latest/operate/oss_and_stack/management/sentinel/>).
const SENTINEL_PORT: u16 = 26379;

/// Where Redis is, and how to log in: a parsed URL. `Debug` omits the password.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisUrl {
    pub(crate) topology: Topology,
    pub(crate) tls: bool,
    pub(crate) user: Option<String>,
    pub(crate) password: Option<String>,
    pub(crate) database: u32,
}

/// How many servers there are, and how they are found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Topology {
    /// One server.
    Server(Endpoint),
    /// The master that the Sentinels name.
    Sentinel {
        /// The Sentinels, at least one.
        sentinels: Vec<NodeAddress>,
        /// The name under which they watch the master.
        master: String,
    },
    /// A Redis Cluster.
    Cluster {
        /// Some of its nodes, at least one.
        seeds: Vec<NodeAddress>,
    },
}

/// Where connections to one server lead.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// A host and a port.
    Tcp(NodeAddress),
    /// The path of a Unix socket.
    Unix(PathBuf),
}

/// Host and port of a server. The host is a name or an address, an IPv6 address without brackets.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeAddress {
    /// A name or an address.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl NodeAddress {
    /// A host and a port.
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        Self { host: host.into(), port }
    }
}

impl fmt::Display for NodeAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(node) => node.fmt(f),
            Self::Unix(path) => path.display().fmt(f),
        }
    }
}

/// Why a text is no URL of Redis, and what to do. The message contains no part of the text, because a mistyped URL can have
/// its password anywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRedisUrl {
    /// It does not begin with one of the schemes.
    #[error(
        "the URL must begin with redis://, rediss://, unix://, redis-sentinel://, rediss-sentinel://, redis-cluster:// or \
         rediss-cluster://"
    )]
    Scheme,
    /// The host is missing or contains a character that no host name has.
    #[error(
        "a host is missing or is no host name; an IPv6 address stands in brackets, and @ : / # ? % in a password are written \
         %40 %3A %2F %23 %3F %25"
    )]
    Host,
    /// `0.0.0.0` or `[::]`, where servers listen and no client can connect.
    #[error("0.0.0.0 and [::] are for servers that listen; name the host")]
    Wildcard,
    /// The port is no number from 1 to 65535.
    #[error("a port is a number from 1 to 65535; @ : / # ? % in a password are written %40 %3A %2F %23 %3F %25")]
    Port,
    /// Several hosts in the URL of a single server.
    #[error("this scheme takes one host; several hosts need redis-sentinel:// or redis-cluster://")]
    SeveralHosts,
    /// There is a user and no password.
    #[error("a user needs a password: write user:password@, or :password@ for a password alone")]
    UserWithoutPassword,
    /// A `%` that is not followed by two hexadecimal digits, or bytes that are not UTF-8.
    #[error("% must be followed by two hexadecimal digits and encode UTF-8; % itself is written %25")]
    PercentEncoding,
    /// The database is not a number.
    #[error("the database after the host is a number, such as /0; # and / in a password are written %23 and %2F")]
    Database,
    /// A database in the URL of a cluster, which has only database 0.
    #[error("Redis Cluster has no databases: remove what follows the hosts")]
    ClusterDatabase,
    /// The path of a Unix socket is missing.
    #[error("the path of the socket must follow, as in unix:///run/redis.sock or unix://user:password@/run/redis.sock")]
    SocketPath,
    /// Parameters that are unknown.
    #[error("unknown parameters after ?; only unix:// takes one, db=<number>. ? in a password is written %3F")]
    Parameters,
    /// The URL of Sentinels does not name the master.
    #[error("the name of the master must follow the hosts, as in redis-sentinel://host:26379#mymaster")]
    MasterName,
    /// A `#` in a URL other than that of Sentinels.
    #[error("only redis-sentinel:// takes a name after #; # in a password is written %23")]
    Fragment,
}

impl RedisUrl {
    /// How many servers there are, and how they are found.
    pub fn topology(&self) -> &Topology {
        &self.topology
    }

    /// The number of the database; 0 in a cluster.
    pub fn database(&self) -> u32 {
        self.database
    }

    /// Whether connections use TLS.
    pub fn uses_tls(&self) -> bool {
        self.tls
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { topology, tls, user, password, database } = self;
        f.debug_struct("RedisUrl")
            .field("topology", topology)
            .field("tls", tls)
            .field("user", user)
            .field("password", &password.as_ref().map(|_| "***"))
            .field("database", database)
            .finish()
    }
}

impl FromStr for RedisUrl {
    type Err = InvalidRedisUrl;

    fn from_str(text: &str) -> Result<Self, InvalidRedisUrl> {
        let (scheme, rest) = text.split_once("://").ok_or(InvalidRedisUrl::Scheme)?;
        let (tls, kind) = match scheme.to_ascii_lowercase().as_str() {
            "redis" => (false, Kind::Server),
            "rediss" => (true, Kind::Server),
            "redis-sentinel" => (false, Kind::Sentinel),
            "rediss-sentinel" => (true, Kind::Sentinel),
            "redis-cluster" => (false, Kind::Cluster),
            "rediss-cluster" => (true, Kind::Cluster),
            "unix" => (false, Kind::Unix),
            _ => return Err(InvalidRedisUrl::Scheme),
        };
        let parts = Parts::split(rest);
        if parts.fragment.is_some() && !matches!(kind, Kind::Sentinel) {
            return Err(InvalidRedisUrl::Fragment);
        }
        let (user, password) = parts.user_info.map_or(Ok((None, None)), credentials)?;
        let (topology, database) = match kind {
            Kind::Unix => (Topology::Server(parts.socket()?), parts.database_parameter()?),
            Kind::Server => {
                let [node] =
                    <[_; 1]>::try_from(parts.nodes(SERVER_PORT)?).map_err(|_| InvalidRedisUrl::SeveralHosts)?;
                (Topology::Server(Endpoint::Tcp(node)), parts.database_in_path()?)
            }
            Kind::Sentinel => {
                let (sentinels, master) = (parts.nodes(SENTINEL_PORT)?, parts.master()?);
                (Topology::Sentinel { sentinels, master }, parts.database_in_path()?)
            }
            Kind::Cluster => {
                let seeds = parts.nodes(SERVER_PORT)?;
                if !matches!(parts.path, "" | "/") {
                    return Err(InvalidRedisUrl::ClusterDatabase);
                }
                (Topology::Cluster { seeds }, 0)
            }
        };
        if parts.query.is_some() && !matches!(kind, Kind::Unix) {
            return Err(InvalidRedisUrl::Parameters);
        }
        Ok(Self { topology, tls, user, password, database })
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Server,
    Unix,
    Sentinel,
    Cluster,
}

/// What follows the scheme (RFC 3986 section 3), still percent-encoded.
struct Parts<'a> {
    user_info: Option<&'a str>,
    hosts: &'a str,
    /// Empty, or begins with `/`.
    path: &'a str,
    query: Option<&'a str>,
    fragment: Option<&'a str>,
}

impl<'a> Parts<'a> {
    fn split(text: &'a str) -> Self {
        let (text, fragment) = split_off(text, '#');
        let (text, query) = split_off(text, '?');
        let (authority, path) = text.split_at(text.find('/').unwrap_or(text.len()));
        let (user_info, hosts) =
            authority.rsplit_once('@').map_or((None, authority), |(user, hosts)| (Some(user), hosts));
        Self { user_info, hosts, path, query, fragment }
    }

    fn nodes(&self, default_port: u16) -> Result<Vec<NodeAddress>, InvalidRedisUrl> {
        self.hosts.split(',').map(|host| node(host, default_port)).collect()
    }

    fn database_in_path(&self) -> Result<u32, InvalidRedisUrl> {
        match self.path.strip_prefix('/') {
            None | Some("") => Ok(0),
            Some(digits) => database(digits),
        }
    }

    fn database_parameter(&self) -> Result<u32, InvalidRedisUrl> {
        let Some(query) = self.query else { return Ok(0) };
        database(query.strip_prefix("db=").ok_or(InvalidRedisUrl::Parameters)?)
    }

    fn master(&self) -> Result<String, InvalidRedisUrl> {
        let name = decode(self.fragment.ok_or(InvalidRedisUrl::MasterName)?)?;
        // sentinel.conf separates words by spaces, and Sentinels publish the name in lines of words.
        let is_word = !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || c.is_control());
        if is_word { Ok(name) } else { Err(InvalidRedisUrl::MasterName) }
    }

    fn socket(&self) -> Result<Endpoint, InvalidRedisUrl> {
        if !self.hosts.is_empty() || self.path.len() < 2 {
            return Err(InvalidRedisUrl::SocketPath);
        }
        let path = decode(self.path)?;
        if path.contains('\0') { Err(InvalidRedisUrl::SocketPath) } else { Ok(Endpoint::Unix(path.into())) }
    }
}

/// The text before the first `mark`, and what follows it.
fn split_off(text: &str, mark: char) -> (&str, Option<&str>) {
    text.split_once(mark).map_or((text, None), |(text, rest)| (text, Some(rest)))
}

/// User and password.
fn credentials(user_info: &str) -> Result<(Option<String>, Option<String>), InvalidRedisUrl> {
    let (user, password) = match user_info.split_once(':') {
        Some((user, password)) => (decode(user)?, decode(password)?),
        None if user_info.is_empty() => return Ok((None, None)),
        None => return Err(InvalidRedisUrl::UserWithoutPassword),
    };
    let user = (!user.is_empty()).then_some(user);
    // An empty password is one of a user (`nopass`), and none without a user.
    let password = (user.is_some() || !password.is_empty()).then_some(password);
    Ok((user, password))
}

fn node(text: &str, default_port: u16) -> Result<NodeAddress, InvalidRedisUrl> {
    let (host, port) = match text.strip_prefix('[') {
        Some(text) => {
            let (host, rest) = text.split_once(']').ok_or(InvalidRedisUrl::Host)?;
            let address: Ipv6Addr = host.parse().map_err(|_| InvalidRedisUrl::Host)?;
            (address.to_string(), rest.strip_prefix(':').or_else(|| (!rest.is_empty()).then_some("")))
        }
        None => {
            let (host, port) = split_off(text, ':');
            (host.to_owned(), port)
        }
    };
    let is_name = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':');
    if host.is_empty() || !host.bytes().all(is_name) {
        return Err(InvalidRedisUrl::Host);
    }
    if matches!(host.as_str(), "0.0.0.0" | "::") {
        return Err(InvalidRedisUrl::Wildcard);
    }
    let port = port.map_or(Ok(default_port), |port| number(port).ok_or(InvalidRedisUrl::Port))?;
    if port == 0 { Err(InvalidRedisUrl::Port) } else { Ok(NodeAddress { host, port }) }
}

fn database(digits: &str) -> Result<u32, InvalidRedisUrl> {
    number(digits).ok_or(InvalidRedisUrl::Database)
}

/// Digits only: `parse` alone accepts a sign.
fn number<T: FromStr>(digits: &str) -> Option<T> {
    digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
}

fn decode(text: &str) -> Result<String, InvalidRedisUrl> {
    let encoded = |after: &str| after.as_bytes().get(..2).is_some_and(|two| two.iter().all(u8::is_ascii_hexdigit));
    if !text.split('%').skip(1).all(encoded) {
        return Err(InvalidRedisUrl::PercentEncoding);
    }
    let decoded = percent_decode_str(text).decode_utf8().map_err(|_| InvalidRedisUrl::PercentEncoding)?;
    Ok(decoded.into_owned())
}

#[cfg(test)]
mod tests;
