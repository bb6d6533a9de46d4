//! Sockets that never wait, and how many there may be.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::TcpStream,
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::BenchError;

/// File descriptors beside the sockets.
const OTHERS: u64 = 64;

/// Writes bytes, after those that were not taken before. What the socket does not take is left in `unsent`.
///
/// # Errors
/// Those of the socket, which is of no more use then.
pub(crate) fn give(mut stream: &TcpStream, unsent: &mut Vec<u8>, mut bytes: &[u8]) -> io::Result<()> {
    if unsent.is_empty() {
        bytes = &bytes[written(stream.write(bytes))?..];
    }
    unsent.extend_from_slice(bytes);
    Ok(())
}

/// Writes what was not taken before.
///
/// # Errors
/// As for [`give`].
pub(crate) fn flush(mut stream: &TcpStream, unsent: &mut Vec<u8>) -> io::Result<()> {
    if !unsent.is_empty() {
        let taken = written(stream.write(unsent))?;
        unsent.drain(..taken);
    }
    Ok(())
}

/// Bytes that are there now: none where nothing has come.
///
/// # Errors
/// Those of the socket, and `UnexpectedEof` where the peer has closed.
pub(crate) fn take(mut stream: &TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
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

/// Lets this process open as many files as the system allows it.
///
/// # Errors
/// [`BenchError::Files`] where that is too few for so many sockets.
pub(crate) fn make_room(sockets: usize) -> Result<(), BenchError> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // A refusal shows below.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    match getrlimit(Resource::Nofile).current {
        Some(most) if most < sockets as u64 + OTHERS => Err(BenchError::Files { sockets, most }),
        _ => Ok(()),
    }
}
