//! Logins before the measurement. Blocking: one connection per target, and one request after another.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use crate::{BenchError, dialect::Dialect, http::HttpHead};

/// Maximum time for the answer to a login.
const LOGIN_TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum length of the answer to a login in bytes.
const MAX_ANSWER_BYTES: usize = 256 * 1024;

/// Logs users in and returns one cookie per session. Empty if the server has no sessions.
pub(crate) fn log_in(dialect: Dialect, targets: &[SocketAddr], sessions: usize) -> Result<Vec<String>, BenchError> {
    // A name of an earlier run may still belong to its session, and Trunkline refuses it to others.
    let run = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() % 100_000_000;
    let mut streams: Vec<Option<TcpStream>> = targets.iter().map(|_| None).collect();
    let mut cookies = Vec::new();
    for session in 0..sessions {
        let (target, stream) = (targets[session % targets.len()], &mut streams[session % targets.len()]);
        let Some(request) = dialect.login(&target.to_string(), &format!("b{run}-{session}")) else { break };
        let server = |error: io::Error| BenchError::Server(format!("login at {target}: {error}"));
        let cookie = ask(stream, target, &request).map_err(server)?;
        if cookie.is_empty() && dialect == Dialect::Trunkline {
            return Err(BenchError::Server(format!("login at {target} is refused: start it with --login-rate 0")));
        }
        if cookie.is_empty() {
            // The server has no sessions.
            break;
        }
        cookies.push(cookie);
    }
    Ok(cookies)
}

/// Sends a request and returns the cookies of the answer. Empty if the server refuses the login.
fn ask(stream: &mut Option<TcpStream>, target: SocketAddr, request: &[u8]) -> io::Result<String> {
    let connected = match stream.take() {
        Some(stream) => stream,
        None => TcpStream::connect_timeout(&target, LOGIN_TIMEOUT)?,
    };
    connected.set_read_timeout(Some(LOGIN_TIMEOUT))?;
    connected.set_nodelay(true)?;
    (&connected).write_all(request)?;
    let (mut answer, mut chunk) = (Vec::new(), [0; 4096]);
    loop {
        if let Some(head) = HttpHead::parse(&answer)
            && answer.len() >= head.length_with_body()
        {
            let cookies = if head.status() < 400 { head.cookies() } else { String::new() };
            // An answer without a length is not read to its end, so its connection cannot be used again.
            if head.field("content-length").next().is_some() && head.field("connection").next() != Some("close") {
                *stream = Some(connected);
            }
            return Ok(cookies);
        }
        if answer.len() > MAX_ANSWER_BYTES {
            return Err(io::ErrorKind::InvalidData.into());
        }
        match (&connected).read(&mut chunk)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            length => answer.extend(&chunk[..length]),
        }
    }
}
