//! Listening sockets.

use std::{
    io,
    net::{SocketAddr, TcpListener},
};

use socket2::{Domain, Protocol, Socket, Type};

/// Maximum number of connections that wait to be accepted. When an instance dies, all its clients connect to the others
/// at once. The kernel limits the number as well (`net.core.somaxconn`, 4096 on Linux).
const BACKLOG: i32 = 4096;

/// Listens on `address`. Port 0 picks a free port.
///
/// # Errors
/// Returns the error of the system if the address is in use or does not belong to this host.
pub(crate) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // Without it a restarted process could not bind while connections of its predecessor are in TIME_WAIT.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}
