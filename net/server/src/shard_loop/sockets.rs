//! Sockets with the options that Baton wants, before they carry anything.

use rustix::net::sockopt;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with};
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 1024;
/// A link whose bytes are not acknowledged for this long is given up by the kernel. Pings notice sooner.
const LINK_TIMEOUT: Duration = Duration::from_secs(2);
/// The same for clients, who may be behind worse networks.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(30);
/// Silence after which the kernel asks a peer whether it is there, how often, and how many times.
const KEEPALIVE: (Duration, Duration, u32) = (Duration::from_secs(30), Duration::from_secs(5), 3);

/// Who is at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Client,
    /// Another node. Closing resets the connection.
    Link,
}

/// A listening socket. Accepted sockets inherit its options, which spares system calls for each.
///
/// # Errors
/// What the kernel says, above all that the address is in use.
pub fn listen_on(address: SocketAddr, kind: Kind, shared: bool) -> io::Result<OwnedFd> {
    let socket = new_socket(address, kind)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    sockopt::set_socket_reuseport(&socket, shared)?;
    bind(&socket, &address)?;
    listen(&socket, BACKLOG)?;
    Ok(socket)
}

/// A socket to connect to another node.
///
/// # Errors
/// No more descriptors.
pub fn link_to(address: SocketAddr) -> io::Result<OwnedFd> {
    new_socket(address, Kind::Link)
}

fn new_socket(address: SocketAddr, kind: Kind) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    sockopt::set_tcp_nodelay(&socket, true)?;
    sockopt::set_socket_keepalive(&socket, true)?;
    sockopt::set_tcp_keepidle(&socket, KEEPALIVE.0)?;
    sockopt::set_tcp_keepintvl(&socket, KEEPALIVE.1)?;
    sockopt::set_tcp_keepcnt(&socket, KEEPALIVE.2)?;
    let timeout = match kind {
        Kind::Client => CLIENT_TIMEOUT,
        Kind::Link => LINK_TIMEOUT,
    };
    sockopt::set_tcp_user_timeout(&socket, timeout.as_millis() as u32)?;
    if kind == Kind::Link {
        sockopt::set_socket_linger(&socket, Some(Duration::ZERO))?;
    }
    Ok(socket)
}
