//! Connections that come, go and stay, with hardly a request between them.

use crate::random::Random;
use crate::steady::Shared;
use crate::steady::client::{Client, LIMIT};
use crate::steady::report::Load;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// How long the idle ones stay before they all go and come again.
const STAY: Duration = Duration::from_secs(20);
/// So many of the idle ones are asked whether they still stand, before they go.
const ASKED: usize = 50;
/// Between two short visits.
const VISIT_PAUSE: Duration = Duration::from_millis(5);

const PING: &[u8] = b"*1\r\n$4\r\nPING\r\n";
const PONG: &[u8] = b"+PONG\r\n";

fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, LIMIT)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(LIMIT))?;
    Ok(stream)
}

fn ping(stream: &mut TcpStream) -> io::Result<()> {
    stream.write_all(PING)?;
    let mut answer = [0; PONG.len()];
    stream.read_exact(&mut answer)?;
    match &answer[..] == PONG {
        true => Ok(()),
        false => Err(io::Error::other(format!("PING is answered {:?}", String::from_utf8_lossy(&answer)))),
    }
}

/// `count` connections, made as fast as one thread can, which then stand idle for a while; again and again.
/// What is recorded is how long connecting took.
pub fn idle(shared: &Shared, count: usize) -> Load {
    let mut client = Client::new(shared, "idle");
    client.find_leader();
    let mut random = Random::new(shared.seed);
    while shared.goes_on() && count > 0 {
        let address = client.address();
        let mut all = Vec::with_capacity(count);
        for _ in 0..count {
            let begun = Instant::now();
            match connect(address) {
                Ok(stream) => {
                    client.record(begun.elapsed());
                    all.push(stream);
                }
                Err(error) => shared.wrong("idle", format!("connection {}: {error}", all.len())),
            }
            if !shared.goes_on() {
                break;
            }
        }
        shared.pause(STAY);
        for _ in 0..ASKED.min(all.len()) {
            let one = random.below(all.len() as u64) as usize;
            match ping(&mut all[one]) {
                Ok(()) => shared.answered(1),
                Err(error) => shared.wrong("idle", error),
            }
        }
    }
    client.done()
}

/// Short visits: connect, ask once, go. What is recorded is the whole visit.
pub fn come_and_go(shared: &Shared) -> Load {
    let mut client = Client::new(shared, "come and go");
    client.find_leader();
    while shared.goes_on() {
        let begun = Instant::now();
        match connect(client.address()).and_then(|mut stream| ping(&mut stream)) {
            Ok(()) => {
                shared.answered(1);
                client.record(begun.elapsed());
            }
            Err(error) => client.lost(error),
        }
        shared.pause(VISIT_PAUSE);
    }
    client.done()
}
