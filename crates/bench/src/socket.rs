//! Non-blocking socket I/O, and the limit of open files.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::TcpStream,
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::BenchError;

/// Number of file descriptors in addition to the sockets.
const OTHER_FILES: u64 = 64;

/// Writes `unsent` and then `bytes`. Bytes that the kernel does not accept remain in `unsent`.
///
/// # Errors
/// Returns the socket's error. The socket must be closed then.
pub(crate) fn write(mut stream: &TcpStream, unsent: &mut Vec<u8>, mut bytes: &[u8]) -> io::Result<()> {
    if unsent.is_empty() {
        bytes = &bytes[written(stream.write(bytes))?..];
    }
    unsent.extend_from_slice(bytes);
    Ok(())
}

/// Writes `unsent`. Bytes that the kernel does not accept remain.
///
/// # Errors
/// See [`write()`].
pub(crate) fn flush(mut stream: &TcpStream, unsent: &mut Vec<u8>) -> io::Result<()> {
    if !unsent.is_empty() {
        let taken = written(stream.write(unsent))?;
        unsent.drain(..taken);
    }
    Ok(())
}

/// Reads the available bytes. Returns 0 if there are none.
///
/// # Errors
/// Returns the socket's error, or `UnexpectedEof` if the peer has closed the connection.
pub(crate) fn read(mut stream: &TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
    match stream.read(buffer) {
        Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
        other => written(other),
    }
}

fn written(result: io::Result<usize>) -> io::Result<usize> {
    match result {
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(0),
        other => other,
    }
}

/// Raises the limit of open files of this process to its maximum, and returns it.
///
/// # Errors
/// Returns [`BenchError::Files`] if the maximum is too low for this number of sockets.
pub(crate) fn raise_file_limit(sockets: usize) -> Result<u64, BenchError> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // A failure shows in the check below.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    let most = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    if most < sockets as u64 + OTHER_FILES { Err(BenchError::Files { sockets, most }) } else { Ok(most) }
}
