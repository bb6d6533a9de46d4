//! Listening sockets.

use std::{
    io,
    net::{SocketAddr, TcpListener},
};

use socket2::{Domain, Protocol, Socket, Type};

/// Connections that may wait to be accepted: when an instance dies, all of its clients come at once. The kernel's own limit
/// (`net.core.somaxconn`, 4096 on Linux) holds as well.
const BACKLOG: i32 = 4096;

/// Listens on `address`; port 0 picks a free one.
///
/// # Errors
/// The address is in use, or not ours.
pub(crate) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restarted process takes its port over from connections of its predecessor that have not timed out yet.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}
