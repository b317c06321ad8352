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

/// Take a port, without listening on it yet: connections are refused, and nobody else gets the port, or, if
/// it is `shared`, only those of the same user who share it as well. Accepted sockets inherit its options,
/// which spares system calls for each.
///
/// # Errors
/// What the kernel says, above all that the address is in use.
pub fn claim(address: SocketAddr, kind: Kind, shared: bool) -> io::Result<OwnedFd> {
    let socket = new_socket(address, kind)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    sockopt::set_socket_reuseport(&socket, shared)?;
    bind(&socket, &address)?;
    // What connections of an earlier process left behind did not matter to `bind`. Now it is no longer
    // allowed, because two sockets that both allow it may both hold the port until one listens.
    sockopt::set_socket_reuseaddr(&socket, false)?;
    Ok(socket)
}

/// Let connections come in by a socket of [`claim`].
///
/// # Errors
/// What the kernel says.
pub fn open(socket: &OwnedFd) -> io::Result<()> {
    sockopt::set_socket_reuseaddr(socket, true)?;
    Ok(listen(socket, BACKLOG)?)
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{ErrorKind, Read};
    use std::net::{TcpListener, TcpStream};

    fn address_of(socket: &OwnedFd) -> SocketAddr {
        rustix::net::getsockname(socket).unwrap().try_into().unwrap()
    }

    fn refused(address: SocketAddr) -> bool {
        TcpStream::connect(address).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
    }

    #[test]
    fn a_claimed_port_refuses_until_it_is_opened_and_nobody_else_gets_it() {
        let socket = claim(([127, 0, 0, 1], 0).into(), Kind::Client, false).unwrap();
        let address = address_of(&socket);
        assert!(refused(address));
        let taken = |shared| claim(address, Kind::Client, shared).unwrap_err().kind();
        assert_eq!((taken(false), taken(true)), (ErrorKind::AddrInUse, ErrorKind::AddrInUse));
        assert_eq!(TcpListener::bind(address).unwrap_err().kind(), ErrorKind::AddrInUse);
        open(&socket).unwrap();
        TcpStream::connect(address).unwrap();
        assert_eq!((taken(false), taken(true)), (ErrorKind::AddrInUse, ErrorKind::AddrInUse));
    }

    #[test]
    fn a_shared_port_is_shared_among_those_who_share_it() {
        let first = claim(([127, 0, 0, 1], 0).into(), Kind::Client, true).unwrap();
        let address = address_of(&first);
        let second = claim(address, Kind::Client, true).unwrap();
        assert_eq!(claim(address, Kind::Client, false).unwrap_err().kind(), ErrorKind::AddrInUse);
        assert!(refused(address));
        open(&first).unwrap();
        open(&second).unwrap();
        TcpStream::connect(address).unwrap();
    }

    #[test]
    fn what_an_earlier_process_left_behind_is_in_nobodys_way() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let mut client = TcpStream::connect(address).unwrap();
        // The side that closes first keeps the port for a while.
        drop(listener.accept().unwrap());
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
        drop((client, listener));
        let socket = claim(address, Kind::Client, false).unwrap();
        open(&socket).unwrap();
        TcpStream::connect(address).unwrap();
    }
}
