//! Resets the sockets of a dead node, so that its clients learn at once.
//!
//! The kernel keeps them open until the process's memory is freed and its rings are torn down. Promises to
//! destroy TCP sockets by *local* address only: the node's listeners, what waits in their queues, and the
//! connections they accepted. Netlink `sock_diag` (linux/sock_diag.h, linux/inet_diag.h): one dump per
//! address family, filtered here, then `SOCK_DESTROY` for each in batches. Needs `CAP_NET_ADMIN` and a
//! kernel with `INET_DIAG_DESTROY`; without them clients wait longer and nothing else changes.

use rustix::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const SOCK_DESTROY: u16 = 21;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_DUMP: u16 = 0x300;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NETLINK_SOCK_DIAG: i32 = 4;

/// `struct nlmsghdr`, and with it `struct inet_diag_req_v2`.
const HEADER: usize = 16;
const REQUEST: usize = HEADER + 56;
/// Where `struct inet_diag_sockid` starts in a request's and in a reply's payload, and its length.
const ID_IN_REQUEST: usize = 8;
const ID_IN_REPLY: usize = 4;
const ID: usize = 48;

/// States worth destroying: all but TIME_WAIT (6) and CLOSE (7), which hold nobody up.
const STATES: u32 = 0x0fff & !(1 << 6) & !(1 << 7);
const LISTEN: u8 = 10;

/// Requests sent by one system call.
const BATCH: usize = 256;
/// Receive buffer for dumps, in bytes.
const RECEIVE: usize = 256 * 1024;

/// One socket as the dump names it: family, then its `inet_diag_sockid`.
struct Found {
    family: u8,
    listens: bool,
    id: [u8; ID],
}

/// The netlink socket and the addresses to reset.
pub(super) struct Resetter {
    netlink: OwnedFd,
    listens: Vec<SocketAddr>,
    buffer: Vec<u8>,
}

impl Resetter {
    pub fn new(listens: Vec<SocketAddr>) -> io::Result<Resetter> {
        let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC;
        // SAFETY: makes a socket; the result is checked.
        let fd = unsafe { libc::socket(libc::AF_NETLINK, kind, NETLINK_SOCK_DIAG) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: just made, owned by nobody else.
        let netlink = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Resetter { netlink, listens, buffer: vec![0; RECEIVE] })
    }

    /// Destroys a listener of our own to see whether that is permitted.
    ///
    /// # Errors
    /// `PermissionDenied`: no `CAP_NET_ADMIN`; `Unsupported`: the kernel cannot.
    pub fn probe(&mut self) -> io::Result<()> {
        let own = TcpListener::bind("127.0.0.1:0")?;
        let mut probe = Resetter::new(vec![own.local_addr()?])?;
        match probe.reset() {
            Ok(0) => Err(io::ErrorKind::Unsupported.into()),
            Ok(_) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Destroys every socket whose local address is one of the node's. How many.
    pub fn reset(&mut self) -> io::Result<usize> {
        let mut found = Vec::new();
        for (family, wanted) in [
            (libc::AF_INET as u8, self.listens.iter().any(SocketAddr::is_ipv4)),
            (libc::AF_INET6 as u8, self.listens.iter().any(SocketAddr::is_ipv6)),
        ] {
            if wanted {
                self.dump(family, &mut found)?;
            }
        }
        // Listeners first: nothing new comes in, and what waits in their queues goes with them.
        found.sort_by_key(|f| !f.listens);
        let mut destroyed = 0;
        for batch in found.chunks(BATCH) {
            destroyed += self.destroy(batch)?;
        }
        Ok(destroyed)
    }

    fn dump(&mut self, family: u8, found: &mut Vec<Found>) -> io::Result<()> {
        let mut request = Vec::with_capacity(REQUEST);
        put_request(&mut request, SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, family, STATES, &[0; ID]);
        self.send(&request)?;
        loop {
            let length = self.receive()?;
            for (kind, payload) in Messages(&self.buffer[..length]) {
                match kind {
                    NLMSG_DONE => return Ok(()),
                    NLMSG_ERROR => return Err(error_of(payload).unwrap_or(io::ErrorKind::InvalidData.into())),
                    SOCK_DIAG_BY_FAMILY => {
                        if let Some(socket) = parse(payload)
                            && self.listens.iter().any(|a| matches(a, &socket))
                        {
                            found.push(socket);
                        }
                    }
                    _ => {}
                }
            }
        }
    }

    fn destroy(&mut self, batch: &[Found]) -> io::Result<usize> {
        let mut requests = Vec::with_capacity(batch.len() * REQUEST);
        for socket in batch {
            put_request(&mut requests, SOCK_DESTROY, NLM_F_ACK, socket.family, STATES, &socket.id);
        }
        self.send(&requests)?;
        let (mut answered, mut destroyed, mut first_error) = (0, 0, None);
        while answered < batch.len() {
            let length = self.receive()?;
            for (kind, payload) in Messages(&self.buffer[..length]) {
                if kind != NLMSG_ERROR {
                    continue;
                }
                answered += 1;
                match error_of(payload) {
                    None => destroyed += 1,
                    // Gone by itself meanwhile, or with its listener.
                    Some(e) if e.kind() == io::ErrorKind::NotFound => {}
                    Some(e) => first_error = first_error.or(Some(e)),
                }
            }
        }
        match first_error {
            Some(error) if destroyed == 0 => Err(error),
            _ => Ok(destroyed),
        }
    }

    fn send(&self, bytes: &[u8]) -> io::Result<()> {
        rustix::io::retry_on_intr(|| rustix::io::write(&self.netlink, bytes))?;
        Ok(())
    }

    fn receive(&mut self) -> io::Result<usize> {
        loop {
            // SAFETY: the buffer is ours for the call and as long as said.
            let n = unsafe {
                libc::recv(self.netlink.as_raw_fd(), self.buffer.as_mut_ptr().cast(), self.buffer.len(), 0)
            };
            match usize::try_from(n) {
                Ok(n) => return Ok(n),
                Err(_) => {
                    let error = io::Error::last_os_error();
                    if error.kind() != io::ErrorKind::Interrupted {
                        return Err(error);
                    }
                }
            }
        }
    }
}

/// Appends a `nlmsghdr` with an `inet_diag_req_v2`. The length field of headers is in host order, as all of
/// netlink; ports and addresses inside the id are in network order and are passed through as found.
fn put_request(out: &mut Vec<u8>, kind: u16, flags: u16, family: u8, states: u32, id: &[u8; ID]) {
    let start = out.len();
    out.extend_from_slice(&(REQUEST as u32).to_ne_bytes());
    out.extend_from_slice(&kind.to_ne_bytes());
    out.extend_from_slice(&(NLM_F_REQUEST | flags).to_ne_bytes());
    out.extend_from_slice(&[0; 8]);
    out.extend_from_slice(&[family, libc::IPPROTO_TCP as u8, 0, 0]);
    out.extend_from_slice(&states.to_ne_bytes());
    debug_assert_eq!(out.len() - start, HEADER + ID_IN_REQUEST);
    out.extend_from_slice(id);
}

fn parse(payload: &[u8]) -> Option<Found> {
    let id = payload.get(ID_IN_REPLY..ID_IN_REPLY + ID)?;
    Some(Found { family: payload[0], listens: payload[1] == LISTEN, id: id.try_into().ok()? })
}

/// Whether the socket's local address is `address`.
fn matches(address: &SocketAddr, socket: &Found) -> bool {
    let port = u16::from_be_bytes([socket.id[0], socket.id[1]]);
    if port != address.port() {
        return false;
    }
    match (address.ip(), i32::from(socket.family)) {
        (IpAddr::V4(ip), libc::AF_INET) => ip.is_unspecified() || ip.octets() == socket.id[4..8],
        (IpAddr::V6(ip), libc::AF_INET6) => ip.is_unspecified() || ip.octets() == socket.id[4..20],
        _ => false,
    }
}

/// The error in an `NLMSG_ERROR`; `None` for an acknowledgement.
fn error_of(payload: &[u8]) -> Option<io::Error> {
    let code = payload.first_chunk::<4>().map_or(-libc::EINVAL, |c| i32::from_ne_bytes(*c));
    (code != 0).then(|| io::Error::from_raw_os_error(-code))
}

/// The netlink messages of one datagram: kind and payload.
struct Messages<'a>(&'a [u8]);

impl<'a> Iterator for Messages<'a> {
    type Item = (u16, &'a [u8]);
    fn next(&mut self) -> Option<Self::Item> {
        let length = u32::from_ne_bytes(*self.0.first_chunk::<4>()?) as usize;
        let message = self.0.get(..length).filter(|m| m.len() >= HEADER)?;
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or(&[]);
        Some((u16::from_ne_bytes([message[4], message[5]]), &message[HEADER..]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::net::TcpStream;

    fn permitted() -> bool {
        Resetter::new(vec![]).and_then(|mut r| r.probe()).is_ok()
    }

    #[test]
    fn listener_and_connections_are_reset_and_others_are_not() {
        if !permitted() {
            return;
        }
        let (dying, living) =
            (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
        let address = dying.local_addr().unwrap();
        let mut accepted_client = TcpStream::connect(address).unwrap();
        let _server_end = dying.accept().unwrap();
        let mut queued_client = TcpStream::connect(address).unwrap();
        let mut other_client = TcpStream::connect(living.local_addr().unwrap()).unwrap();
        let destroyed = Resetter::new(vec![address]).unwrap().reset().unwrap();
        assert!(destroyed >= 2, "the listener and the accepted connection, not only {destroyed}");
        for client in [&mut accepted_client, &mut queued_client] {
            assert_eq!(client.read(&mut [0]).unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        }
        assert_eq!(TcpStream::connect(address).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        other_client.set_nonblocking(true).unwrap();
        assert_eq!(other_client.read(&mut [0]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn an_unspecified_address_means_the_port_on_any_address() {
        let mut socket = Found { family: libc::AF_INET as u8, listens: false, id: [0; ID] };
        socket.id[..2].copy_from_slice(&7400u16.to_be_bytes());
        socket.id[4..8].copy_from_slice(&[10, 0, 0, 1]);
        for (address, expected) in [
            ("0.0.0.0:7400", true),
            ("10.0.0.1:7400", true),
            ("10.0.0.2:7400", false),
            ("0.0.0.0:7401", false),
            ("[::]:7400", false),
        ] {
            assert_eq!(matches(&address.parse().unwrap(), &socket), expected, "{address}");
        }
    }
}
