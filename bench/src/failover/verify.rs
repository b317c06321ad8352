//! Reads every key that was ever written from one node and has the oracle judge each.

use crate::failover::router::Endpoint;
use crate::failover::writers::Quiet;
use crate::resp_client::{ClientError, Connection, Reply};
use crate::workload;
use std::time::Duration;
use thiserror::Error;

/// What the node is asked as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Plain reads.
    Leader,
    /// Reads after `READONLY`. The caller has waited until the follower applied everything.
    Follower,
}

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Verified {
    /// Keys read.
    pub keys: u64,
    /// What is wrong, in words.
    pub violations: Vec<String>,
}

/// Why the keys could not be read.
#[derive(Debug, Error)]
pub enum VerifyError {
    #[error("checking node {node}: {source}")]
    Client { node: String, source: ClientError },
    #[error("checking node {node}: key {key}: {reply:?}")]
    Reply { node: String, key: String, reply: Reply },
}

/// Keys asked for in one pipeline.
const PIPELINE: usize = 256;
/// Longest wait for an answer.
const LIMIT: Duration = Duration::from_secs(10);

/// Reads and judges every key.
pub fn every_key(quiet: &mut Quiet<'_>, endpoint: &Endpoint, role: Role) -> Result<Verified, VerifyError> {
    let node = || endpoint.name.clone();
    let client = |source| VerifyError::Client { node: node(), source };
    let mut connection = Connection::connect(endpoint.any_key, LIMIT).map_err(client)?;
    if role == Role::Follower {
        let reply = connection.call(&[b"READONLY"]).map_err(client)?;
        if reply != Reply::Simple("OK".to_owned()) {
            return Err(VerifyError::Reply { node: node(), key: "(READONLY)".to_owned(), reply });
        }
    }
    let now = quiet.now();
    let mut verified = Verified::default();
    for oracle in quiet.oracles() {
        let keys: Vec<String> = oracle.keys().map(str::to_owned).collect();
        for chunk in keys.chunks(PIPELINE) {
            for key in chunk {
                connection.push(&[b"GET", key.as_bytes()]);
            }
            connection.flush().map_err(client)?;
            for key in chunk {
                verified.keys += 1;
                let seen = match connection.receive().map_err(client)? {
                    Reply::Null => None,
                    Reply::Bulk(value) => match workload::stamp_of(key, &value) {
                        Ok(stamp) => Some(stamp),
                        Err(error) => {
                            verified.violations.push(format!("node {}: {key}: {error}", endpoint.name));
                            continue;
                        }
                    },
                    reply => return Err(VerifyError::Reply { node: node(), key: key.clone(), reply }),
                };
                if let Err(violation) = oracle.observe(key, seen, now, now) {
                    verified.violations.push(format!("node {}: {violation}", endpoint.name));
                }
            }
        }
    }
    Ok(verified)
}
