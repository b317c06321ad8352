//! One answer from the answers of several shards, on the port for any key.
//!
//! Promises: the answer is that of Redis for the same keys on one node. Knows the answers' form only: who is asked for
//! what is the node's business.

use crate::resp::reply::push_decimal;
use crate::resp::request::Request;

/// How the answers of all shards become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gather {
    /// Each answer is an integer: add them up.
    Sum,
    /// Each answer is an integer: the least of them.
    Least,
    /// Each answer is an array of integers: the least of them at each place.
    LeastOfEach,
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
        Gather::Sum => push_integer(out, parts.iter().map(|part| integer_of(part)).sum()),
        Gather::Least => {
            push_integer(out, parts.iter().map(|part| integer_of(part)).min().expect("there is a part"));
        }
        Gather::LeastOfEach => {
            let all: Vec<Vec<i64>> =
                parts.iter().map(|part| elements(part).map(integer_of).collect()).collect();
            let count = all.iter().map(Vec::len).min().expect("there is a part");
            out.push(b'*');
            push_decimal(out, count as i64);
            out.extend_from_slice(b"\r\n");
            let least = |at: usize| all.iter().map(|numbers| numbers[at]).min().expect("there is a part");
            (0..count).for_each(|at| push_integer(out, least(at)));
        }
    }
}

/// How a request without keys becomes one for every shard, if its answer must speak for all of them.
pub fn scatter_to_all(request: &Request<'_>) -> Option<Gather> {
    match request.spec()?.name {
        "dbsize" => Some(Gather::Sum),
        "wait" => Some(Gather::Least),
        "waitaof" => Some(Gather::LeastOfEach),
        _ => None,
    }
}

fn push_integer(out: &mut Vec<u8>, value: i64) {
    out.push(b':');
    push_decimal(out, value);
    out.extend_from_slice(b"\r\n");
}

/// The encoded elements of an encoded array of integers, strings and nulls.
pub fn elements(array: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = array.iter().position(|byte| *byte == b'\n').map_or(&b""[..], |end| &array[end + 1..]);
    std::iter::from_fn(move || {
        let line = rest.iter().position(|byte| *byte == b'\n')? + 1;
        let length =
            rest.strip_prefix(b"$").and_then(|text| crate::resp::number::parse_i64(&text[..line - 3]));
        let end = match length {
            Some(bytes @ 0..) => line + bytes as usize + 2,
            _ => line,
        };
        let (element, after) = rest.split_at(end);
        rest = after;
        Some(element)
    })
}

/// The integer in an encoded integer reply.
///
/// # Panics
/// If it is another reply: these commands answer with an integer or an error.
pub fn integer_of(part: &[u8]) -> i64 {
    let digits = part.strip_prefix(b":").and_then(|rest| rest.strip_suffix(b"\r\n"));
    digits
        .and_then(crate::resp::number::parse_i64)
        .expect("these commands answer with an integer or an error")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_become_one() {
        let mut out = Vec::new();
        gather(Gather::Sum, &[b":1\r\n".to_vec(), b":0\r\n".to_vec(), b":1\r\n".to_vec()], &mut out);
        gather(Gather::Sum, &[b":1\r\n".to_vec(), b"-ERR no\r\n".to_vec()], &mut out);
        let of_each = [b"*2\r\n:1\r\n:3\r\n".to_vec(), b"*2\r\n:0\r\n:5\r\n".to_vec()];
        gather(Gather::LeastOfEach, &of_each, &mut out);
        assert_eq!(String::from_utf8(out).expect("text"), ":2\r\n-ERR no\r\n*2\r\n:0\r\n:3\r\n");
    }

    #[test]
    fn the_elements_of_an_array() {
        let array = b"*4\r\n$3\r\na\nb\r\n$-1\r\n_\r\n$0\r\n\r\n";
        let found: Vec<&[u8]> = elements(array).collect();
        assert_eq!(found, [&b"$3\r\na\nb\r\n"[..], b"$-1\r\n", b"_\r\n", b"$0\r\n\r\n"]);
    }
}
