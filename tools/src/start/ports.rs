//! Are the ports free? Asked before anything is started, so that the answer is one line that names the port
//! and, where the kernel tells, who holds it.

use crate::failure::{Failure, not_fine};
use crate::processes;
use server::config::NodeConfig;
use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

/// How long a port may stay taken after its process ended: seconds for one with much memory.
const TEARDOWN: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Refuses if a port of this member is taken.
pub fn check(config: &NodeConfig) -> Result<(), Failure> {
    let member = config.my_member();
    let mut ports = vec![member.agency_port()];
    if !member.witness {
        ports.extend(member.node_ports(config.shards));
    }
    for port in ports {
        let address = SocketAddr::new(config.bind_address(), port);
        if let Err(error) = bind(address) {
            let holder = holder(port).map(|who| format!(", held by {who}")).unwrap_or_default();
            let name = &member.name;
            return Err(not_fine(format!("port {port} of {name} cannot be used: {error}{holder}")));
        }
    }
    Ok(())
}

/// A port that nobody alive holds may still belong to a dead process whose memory or ring the kernel has not
/// torn down yet: that is waited for, for at most [`TEARDOWN`].
fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let begun = Instant::now();
    loop {
        match TcpListener::bind(address) {
            Err(error)
                if error.kind() == io::ErrorKind::AddrInUse
                    && begun.elapsed() < TEARDOWN
                    && holder(address.port()).is_none() =>
            {
                std::thread::sleep(LOOK_AGAIN);
            }
            result => return result,
        }
    }
}

/// The living process that listens on a port, as `NAME (pid N)`.
fn holder(port: u16) -> Option<String> {
    let socket = ["/proc/net/tcp", "/proc/net/tcp6"].iter().find_map(|table| inode(table, port))?;
    let link = format!("socket:[{socket}]");
    let pid = processes::every_process().filter(|pid| !processes::is_dead(*pid)).find(|pid| {
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        descriptors.filter_map(|d| fs::read_link(d.path()).ok()).any(|l| l.as_os_str() == link.as_str())
    })?;
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    Some(format!("{} (pid {pid})", name.trim()))
}

/// The inode of the socket that listens on `port`, from a table such as `/proc/net/tcp`.
fn inode(table: &str, port: u16) -> Option<String> {
    const LISTENING: &str = "0A";
    let text = fs::read_to_string(table).ok()?;
    text.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let local = fields.get(1)?.rsplit_once(':')?.1;
        let wanted = u16::from_str_radix(local, 16).ok()? == port && *fields.get(3)? == LISTENING;
        wanted.then(|| fields.get(9).map(|inode| (*inode).to_owned()))?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_of_a_port_is_named() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let held = holder(listener.local_addr().unwrap().port()).unwrap();
        assert!(held.contains(&format!("(pid {})", std::process::id())), "{held}");
        assert_eq!(holder(1), None);
    }
}
