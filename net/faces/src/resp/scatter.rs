//! Requests for keys of several shards, on the port for any key: one request per key, one answer of all.
//!
//! Promises: the answer is that of Redis for the same keys on one node. Not atomic: each key is read or
//! changed by itself, and if one part fails the answer is its error while other parts may have been done.
//! Writes that must be atomic (`MSET`, `MSETNX`) are never scattered.

use crate::resp::arguments::Arguments;
use crate::resp::reply::{Reply, push_decimal};
use crate::resp::request::{Keys, Request};
use engine::slot::slot_of;

/// How the parts' answers become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gather {
    /// Each answer is an integer: add them up.
    Sum,
    /// Each answer is an integer: the least of them.
    Least,
    /// Each answer is an element of the array, in the order of the parts.
    Array,
}

/// A request taken apart.
#[derive(Clone, Copy, Debug)]
pub struct Scatter<'r> {
    pub gather: Gather,
    /// The command that each part runs.
    command: &'static str,
    keys: Keys<'r>,
}

/// How to take `request` apart, if that is allowed for its command. It must have been routed without error.
pub fn scatter<'r>(request: &'r Request<'r>) -> Option<Scatter<'r>> {
    let spec = request.spec()?;
    let (gather, command) = match spec.name {
        "mget" => (Gather::Array, "GET"),
        "del" | "unlink" | "exists" | "touch" => (Gather::Sum, spec.name),
        _ => return None,
    };
    Some(Scatter { gather, command, keys: Keys::of(request, spec) })
}

impl<'r> Scatter<'r> {
    /// The parts in order: the slot of the key, and a request for that key alone. Run each with the
    /// protocol version of the client.
    pub fn parts(self) -> impl Iterator<Item = (u16, Request<'r>)> {
        self.keys.map(move |key| {
            let args: Arguments<'_> = [self.command.as_bytes(), key].into_iter().collect();
            (slot_of(key), Request::new(args))
        })
    }
}

/// Append the answer of all to `out`, from the encoded answers of the parts in their order. The first part
/// that failed is the answer of all.
pub fn gather(kind: Gather, parts: &[Vec<u8>], out: &mut Vec<u8>) {
    assert!(!parts.is_empty(), "a request is taken apart into one part at least");
    if let Some(error) = parts.iter().find(|part| part.starts_with(b"-")) {
        out.extend_from_slice(error);
        return;
    }
    match kind {
        Gather::Array => {
            Reply::new(out, Default::default()).array(parts.len());
            parts.iter().for_each(|part| out.extend_from_slice(part));
        }
        Gather::Sum => push_integer(out, parts.iter().map(|part| integer_of(part)).sum()),
        Gather::Least => {
            push_integer(out, parts.iter().map(|part| integer_of(part)).min().expect("there is a part"));
        }
    }
}

/// How a request without keys becomes one for every shard, if its answer must speak for all of them.
pub fn scatter_to_all(request: &Request<'_>) -> Option<Gather> {
    match request.spec()?.name {
        "dbsize" => Some(Gather::Sum),
        "wait" => Some(Gather::Least),
        _ => None,
    }
}

fn push_integer(out: &mut Vec<u8>, value: i64) {
    out.push(b':');
    push_decimal(out, value);
    out.extend_from_slice(b"\r\n");
}

/// The integer in an encoded integer reply.
fn integer_of(part: &[u8]) -> i64 {
    let digits = part.strip_prefix(b":").and_then(|rest| rest.strip_suffix(b"\r\n"));
    digits
        .and_then(crate::resp::number::parse_i64)
        .expect("these commands answer with an integer or an error")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(text: &str) -> Request<'_> {
        Request::new(text.split(' ').map(str::as_bytes).collect())
    }

    #[test]
    fn one_part_per_key_in_order() {
        let mget = request("MGET a b a");
        let parts: Vec<_> = scatter(&mget).expect("MGET can be scattered").parts().collect();
        let keys: Vec<_> = parts.iter().map(|(_, part)| part.arg(1).to_vec()).collect();
        assert_eq!(keys, [b"a", b"b", b"a"]);
        assert!(parts.iter().all(|(slot, part)| *slot == slot_of(part.arg(1)) && part.arg(0) == b"GET"));
        assert!(scatter(&request("MSET a 1 b 2")).is_none());
        assert!(scatter(&request("GET a")).is_none());
    }

    #[test]
    fn answers_become_one() {
        let mut out = Vec::new();
        gather(Gather::Sum, &[b":1\r\n".to_vec(), b":0\r\n".to_vec(), b":1\r\n".to_vec()], &mut out);
        gather(Gather::Array, &[b"$1\r\na\r\n".to_vec(), b"$-1\r\n".to_vec()], &mut out);
        gather(Gather::Sum, &[b":1\r\n".to_vec(), b"-ERR no\r\n".to_vec()], &mut out);
        assert_eq!(String::from_utf8(out).expect("text"), ":2\r\n*2\r\n$1\r\na\r\n$-1\r\n-ERR no\r\n");
    }
}
