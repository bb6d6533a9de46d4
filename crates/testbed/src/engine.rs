//! Detects a Docker engine without a client library, so that the client library is only built if an engine answers.

use std::{
    env,
    io::{self, Read, Write},
    net::{TcpStream, ToSocketAddrs},
    os::unix::net::UnixStream,
    path::PathBuf,
    time::Duration,
};

/// Maximum time for the engine's answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);

/// Pings the engine at `DOCKER_HOST`, or else at the default sockets.
///
/// # Errors
/// Returns a message with the address and the reason why no engine answers there.
pub fn docker_answers() -> Result<(), String> {
    if let Ok(host) = env::var("DOCKER_HOST")
        && !host.is_empty()
    {
        return match host.split_once("://") {
            Some(("unix", path)) => on_unix(&PathBuf::from(path)),
            Some(("tcp" | "http", address)) => on_tcp(address.trim_end_matches('/')),
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
        .map_err(|e| format!("no Docker engine answers at DOCKER_HOST={host}: {e}"));
    }
    // The same paths as in Testcontainers.
    let below = |variable: &str, path: &str| env::var_os(variable).map(|folder| PathBuf::from(folder).join(path));
    let sockets = [
        Some(PathBuf::from("/var/run/docker.sock")),
        below("XDG_RUNTIME_DIR", ".docker/run/docker.sock"),
        below("HOME", ".docker/run/docker.sock"),
        below("HOME", ".docker/desktop/docker.sock"),
    ];
    let there = sockets.into_iter().flatten().find(|path| path.exists());
    let path = there.ok_or("no Docker engine: DOCKER_HOST is not set, and there is no /var/run/docker.sock")?;
    on_unix(&path).map_err(|e| format!("no Docker engine answers at {}: {e}", path.display()))
}

fn on_unix(path: &PathBuf) -> io::Result<()> {
    let stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    ping(stream)
}

fn on_tcp(address: &str) -> io::Result<()> {
    let address = address.to_socket_addrs()?.next().ok_or(io::ErrorKind::NotFound)?;
    let stream = TcpStream::connect_timeout(&address, ANSWER_TIMEOUT)?;
    stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    ping(stream)
}

/// Sends `GET /_ping` of the Docker Engine API. Every version answers 200.
fn ping(mut stream: impl Read + Write) -> io::Result<()> {
    stream.write_all(b"GET /_ping HTTP/1.0\r\nHost: docker\r\n\r\n")?;
    let mut answer = String::new();
    stream.take(4096).read_to_string(&mut answer)?;
    match answer.lines().next().unwrap_or("nothing") {
        status if status.split(' ').nth(1) == Some("200") => Ok(()),
        other => Err(io::Error::other(format!("it answered {other}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Said(&'static [u8]);

    impl Read for Said {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.0.read(buffer)
        }
    }

    impl Write for Said {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn only_status_200_counts_as_an_engine() {
        assert!(ping(Said(b"HTTP/1.0 200 OK\r\n\r\nOK")).is_ok());
        let complaint = ping(Said(b"HTTP/1.0 403 Forbidden\r\n\r\n")).unwrap_err().to_string();
        assert!(complaint.contains("403"), "{complaint}");
        assert!(ping(Said(b"")).is_err());
    }
}
