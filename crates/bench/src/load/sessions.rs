//! Logins, before anything is measured. Plain and blocking: a connection of its own for each target, and one request
//! after the other.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use crate::{BenchError, dialect::Dialect, http::HttpHead};

/// How long the answer to a login may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest answer to a login, in bytes.
const ANSWER_MOST: usize = 256 * 1024;

/// Cookies of so many sessions, of different users. None where the server has no sessions.
pub(super) fn log_in(dialect: Dialect, targets: &[SocketAddr], sessions: usize) -> Result<Vec<String>, BenchError> {
    // A user of an earlier run may still have a session under a name, which would be refused to another.
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
            // A server without sessions.
            break;
        }
        cookies.push(cookie);
    }
    Ok(cookies)
}

/// Sends a request and gives the cookies of its answer, empty if it was refused.
fn ask(stream: &mut Option<TcpStream>, target: SocketAddr, request: &[u8]) -> io::Result<String> {
    let connected = match stream.take() {
        Some(stream) => stream,
        None => TcpStream::connect_timeout(&target, PATIENCE)?,
    };
    connected.set_read_timeout(Some(PATIENCE))?;
    connected.set_nodelay(true)?;
    (&connected).write_all(request)?;
    let (mut answer, mut chunk) = (Vec::new(), [0; 4096]);
    loop {
        if let Some(head) = HttpHead::parse(&answer)
            && answer.len() >= head.length_with_body()
        {
            let cookies = if head.status() < 400 { head.cookies() } else { String::new() };
            // An answer without a known length would not be read to its end.
            if head.field("content-length").next().is_some() && head.field("connection").next() != Some("close") {
                *stream = Some(connected);
            }
            return Ok(cookies);
        }
        if answer.len() > ANSWER_MOST {
            return Err(io::ErrorKind::InvalidData.into());
        }
        match (&connected).read(&mut chunk)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            length => answer.extend(&chunk[..length]),
        }
    }
}
