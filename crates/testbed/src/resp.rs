//! A client for single Redis commands (RESP 2).
//!
//! Hand-written, because this crate is part of `cargo xtask`: the `redis` crate would add 57 crates (tokio and url among
//! them) to the 45 that the first `cargo xtask` on a fresh clone compiles before it can start anything.

use std::{
    fmt,
    io::{self, BufRead, BufReader},
    net::{TcpStream, ToSocketAddrs},
    os::unix::net::UnixStream,
    path::PathBuf,
    time::Duration,
};

use crate::{Result, TestbedError};

/// Maximum time to connect and for each reply. Long enough for a server that loads its data from a slow disk.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Address and credentials of a Redis server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RedisAddress {
    pub host: String,
    pub port: u16,
    pub user: Option<String>,
    pub password: Option<String>,
    /// The Unix socket that is used instead of host and port. A server that speaks only TLS has one for this client.
    pub socket: Option<PathBuf>,
}

impl RedisAddress {
    pub(crate) fn local(port: u16, password: Option<String>) -> Self {
        Self { host: "127.0.0.1".to_owned(), port, user: None, password, socket: None }
    }

    /// Parses `redis://[user][:password@]host[:port][/db]`.
    pub(crate) fn parse(url: &str) -> Option<Self> {
        let rest = url.strip_prefix("redis://")?;
        let rest = rest.split(['/', '?']).next()?;
        let (login, place) = rest.rsplit_once('@').map_or((None, rest), |(login, place)| (Some(login), place));
        let (user, password) = login.and_then(|login| login.split_once(':')).unzip();
        let (host, port) = match place.rsplit_once(':') {
            Some((host, port)) => (host, port.parse().ok()?),
            None => (place, 6379),
        };
        let present = |text: Option<&str>| text.filter(|text| !text.is_empty()).map(str::to_owned);
        (!host.is_empty()).then(|| Self {
            host: host.to_owned(),
            port,
            user: present(user),
            password: present(password),
            socket: None,
        })
    }

    /// Sends one command on a new connection.
    ///
    /// # Errors
    /// Returns [`TestbedError::Reply`] if the server does not answer within 5 s, or answers with an error.
    pub(crate) fn call(&self, args: &[&str]) -> Result<RedisReply> {
        let failed = |e: io::Error| TestbedError::Reply(format!("Redis at {}:{}: {e}", self.host, self.port));
        if let Some(socket) = &self.socket {
            let stream = UnixStream::connect(socket).map_err(failed)?;
            stream.set_read_timeout(Some(TIMEOUT)).map_err(failed)?;
            return self.call_on(BufReader::new(stream), args);
        }
        let address = (self.host.as_str(), self.port).to_socket_addrs().map_err(failed)?.next();
        let address = address.ok_or_else(|| TestbedError::Reply(format!("{} has no address", self.host)))?;
        let stream = TcpStream::connect_timeout(&address, TIMEOUT).map_err(failed)?;
        stream.set_read_timeout(Some(TIMEOUT)).map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        self.call_on(BufReader::new(stream), args)
    }

    fn call_on<S: io::Read + io::Write>(&self, mut stream: BufReader<S>, args: &[&str]) -> Result<RedisReply> {
        let failed = |e: io::Error| TestbedError::Reply(format!("Redis at {}:{}: {e}", self.host, self.port));
        if let Some(password) = &self.password {
            let login: Vec<&str> =
                ["AUTH"].into_iter().chain(self.user.as_deref()).chain([password.as_str()]).collect();
            ask(&mut stream, &login).map_err(failed)?.ok()?;
        }
        ask(&mut stream, args).map_err(failed)?.ok()
    }
}

/// A reply. Its `Display` is what `redis-cli` prints to a pipe: one line per element, nothing for nil.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RedisReply {
    Nil,
    Int(i64),
    Text(String),
    Error(String),
    List(Vec<RedisReply>),
}

impl RedisReply {
    fn ok(self) -> Result<Self> {
        match self {
            Self::Error(text) => Err(TestbedError::Reply(text)),
            other => Ok(other),
        }
    }
}

impl fmt::Display for RedisReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nil => Ok(()),
            Self::Int(number) => write!(f, "{number}"),
            Self::Text(text) | Self::Error(text) => f.write_str(text),
            Self::List(items) => items.iter().enumerate().try_for_each(|(i, item)| {
                let line_end = if i == 0 { "" } else { "\n" };
                write!(f, "{line_end}{item}")
            }),
        }
    }
}

fn ask(stream: &mut BufReader<impl io::Read + io::Write>, args: &[&str]) -> io::Result<RedisReply> {
    let mut command = format!("*{}\r\n", args.len());
    for arg in args {
        command += &format!("${}\r\n{arg}\r\n", arg.len());
    }
    stream.get_mut().write_all(command.as_bytes())?;
    read_reply(stream)
}

fn read_reply(stream: &mut impl BufRead) -> io::Result<RedisReply> {
    let bad = |what: &str| io::Error::new(io::ErrorKind::InvalidData, format!("not a Redis reply: {what:?}"));
    let mut line = String::new();
    stream.read_line(&mut line)?;
    let line = line.trim_end();
    let (kind, rest) = line.split_at_checked(1).ok_or(io::ErrorKind::UnexpectedEof)?;
    let number = || rest.parse::<i64>().map_err(|_| bad(line));
    Ok(match kind {
        "+" => RedisReply::Text(rest.to_owned()),
        "-" => RedisReply::Error(rest.to_owned()),
        ":" => RedisReply::Int(number()?),
        "$" => match usize::try_from(number()?) {
            Ok(length) => {
                let mut bytes = vec![0; length + 2];
                stream.read_exact(&mut bytes)?;
                bytes.truncate(length);
                RedisReply::Text(String::from_utf8_lossy(&bytes).into_owned())
            }
            Err(_) => RedisReply::Nil,
        },
        "*" => match usize::try_from(number()?) {
            Ok(count) => RedisReply::List((0..count).map(|_| read_reply(stream)).collect::<io::Result<_>>()?),
            Err(_) => RedisReply::Nil,
        },
        _ => return Err(bad(line)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_parsed() {
        let local = |port| RedisAddress::local(port, None);
        assert_eq!(RedisAddress::parse("redis://127.0.0.1:7000"), Some(local(7000)));
        assert_eq!(RedisAddress::parse("redis://127.0.0.1/3"), Some(local(6379)));
        let login = RedisAddress::parse("redis://ann:s@cret@127.0.0.1:1/0").unwrap();
        assert_eq!((login.user.as_deref(), login.password.as_deref()), (Some("ann"), Some("s@cret")));
        assert_eq!(RedisAddress::parse("redis://:pw@127.0.0.1").unwrap().password.as_deref(), Some("pw"));
        assert_eq!(RedisAddress::parse("http://127.0.0.1"), None);
        assert_eq!(RedisAddress::parse("redis://"), None);
    }

    #[test]
    fn replies_are_parsed() {
        let read = |text: &str| read_reply(&mut text.as_bytes());
        assert_eq!(read("*3\r\n$2\r\nab\r\n:7\r\n$-1\r\n").unwrap().to_string(), "ab\n7\n");
        assert_eq!(read("-ERR no\r\n").unwrap(), RedisReply::Error("ERR no".into()));
        assert!(read("").is_err());
        assert!(read("what\r\n").is_err());
    }
}
