//! A request of very many arguments, or with a very large answer: the places of its arguments are kept, so that it
//! can be carried out a few keys at a time without being read again.
//!
//! Promises: [`LongRequest::slicing`] refuses what cannot be taken apart before anything of it is carried out. It
//! holds offsets from the request's first byte, never pointers: the bytes may move, and must stay until it is done.

use crate::resp::arguments::{Arguments, SHORT_ARGS};
use crate::resp::request::{Request, wrong_arity};
use crate::resp::table::{self, Lookup, Spec};

/// Most keys that one `MSET` or `MSETNX` writes: they are one frame, appended in one step.
pub const MAX_WRITE_KEYS: usize = 8192;
/// Arguments that an error about an unknown command may need.
const FIRST_ARGS: usize = 64;

/// How a request is carried out in slices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slicing {
    /// `GET`: one value, in pieces.
    Value,
    /// `MGET`: the values of the keys, in order.
    Values,
    /// `EXISTS`, `TOUCH`: how many of the keys there are.
    Count,
    /// `DEL`, `UNLINK`: how many of them there were.
    Delete,
    /// It is not: it is one frame, and has so few keys that it may be.
    Whole,
}

/// See the head of this file.
#[derive(Debug)]
pub struct LongRequest {
    /// Start and end of each argument, from the request's first byte.
    places: Vec<(u32, u32)>,
    /// Its arguments, where the caller's bytes do not hold them as they are (inline commands with quotes).
    own: Vec<u8>,
    bytes: usize,
}

impl LongRequest {
    /// `bytes`: how many belong to it.
    pub(super) fn new(places: Vec<(u32, u32)>, bytes: usize) -> LongRequest {
        LongRequest { places, own: Vec::new(), bytes }
    }

    /// A request that was read from `whole` as one of few arguments.
    pub fn of(request: &Request<'_>, whole: &[u8]) -> LongRequest {
        let start = whole.as_ptr() as usize;
        let mut own = Vec::new();
        let places = request.args_from(0).map(|arg| {
            let from = if request.is_borrowed() {
                arg.as_ptr() as usize - start
            } else {
                own.extend_from_slice(arg);
                own.len() - arg.len()
            };
            (from as u32, (from + arg.len()) as u32)
        });
        let places = places.collect();
        LongRequest { places, own, bytes: whole.len() }
    }

    /// How many arguments, the command's name included.
    #[expect(clippy::len_without_is_empty, reason = "a request is never empty")]
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// How many bytes of the stream belong to it.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Memory that it holds besides, in bytes.
    pub fn held_bytes(&self) -> usize {
        self.places.capacity() * size_of::<(u32, u32)>() + self.own.capacity()
    }

    /// Argument `i` of the request that `buf` begins with; 0 is the command's name. Panics if there is none.
    #[inline]
    pub fn arg<'a>(&'a self, buf: &'a [u8], i: usize) -> &'a [u8] {
        let (start, end) = self.places[i];
        let bytes = if self.own.is_empty() { buf } else { &self.own };
        &bytes[start as usize..end as usize]
    }

    /// The command with the arguments from `from` to before `to`.
    pub fn slice<'a>(&'a self, buf: &'a [u8], from: usize, to: usize) -> Request<'a> {
        self.pick(buf, from..to)
    }

    /// The command with these arguments.
    pub fn pick<'a>(&'a self, buf: &'a [u8], arguments: impl Iterator<Item = usize>) -> Request<'a> {
        Request::new(std::iter::once(0).chain(arguments).map(|at| self.arg(buf, at)).collect())
    }

    /// How it is carried out, or the encoded error if it is not.
    pub fn slicing(&self, buf: &[u8]) -> Result<Slicing, Vec<u8>> {
        let first = self.slice(buf, 1, self.len().min(FIRST_ARGS));
        let start: Arguments<'_> = (0..self.len().min(2)).map(|at| self.arg(buf, at)).collect();
        let Lookup::Found(spec) = table::lookup(start.as_slice()) else {
            return Err(first.checked().err().unwrap_or_default());
        };
        if !spec.takes(self.len()) {
            return Err(error(wrong_arity(spec)));
        }
        match spec.name {
            "get" => Ok(Slicing::Value),
            "mget" => Ok(Slicing::Values),
            "exists" | "touch" => Ok(Slicing::Count),
            "del" | "unlink" => Ok(Slicing::Delete),
            "mset" | "msetnx" if self.len() <= 2 * MAX_WRITE_KEYS + 1 => Ok(Slicing::Whole),
            "mset" | "msetnx" => Err(error(too_many(spec, MAX_WRITE_KEYS, "keys"))),
            _ if self.len() <= SHORT_ARGS => Ok(Slicing::Whole),
            _ => Err(error(too_many(spec, SHORT_ARGS - 1, "arguments"))),
        }
    }
}

fn too_many(spec: &Spec, most: usize, what: &str) -> String {
    format!("ERR '{}' takes at most {most} {what} at once, nothing was done", spec.full_name)
}

fn error(text: String) -> Vec<u8> {
    format!("-{text}\r\n").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::parse::{Limits, ParseState, Parsed, parse};

    fn encoded(words: &[String]) -> Vec<u8> {
        let mut out = Vec::new();
        Request::from_owned(words.iter().map(|word| word.clone().into_bytes()).collect()).encode(&mut out);
        out
    }

    /// Reads it as a connection does, and counts the calls.
    fn read(stream: &[u8]) -> (LongRequest, usize) {
        let mut state = ParseState::default();
        let mut calls = 0;
        loop {
            calls += 1;
            match parse(stream, &Limits::default(), &mut state) {
                Parsed::Unfinished => {}
                Parsed::Long { consumed, request } => {
                    assert_eq!(consumed, stream.len());
                    return (request, calls);
                }
                other => panic!("{other:?}"),
            }
        }
    }

    fn words(command: &str, count: usize) -> Vec<String> {
        [command.to_owned()].into_iter().chain((0..count).map(|at| format!("key{at}"))).collect()
    }

    #[test]
    fn very_many_arguments_are_read_in_several_calls() {
        let words = words("MGET", 5000);
        let stream = encoded(&words);
        let (request, calls) = read(&stream);
        assert_eq!(calls, 5);
        assert_eq!(request.len(), 5001);
        for (at, word) in words.iter().enumerate() {
            assert_eq!(request.arg(&stream, at), word.as_bytes());
        }
        assert_eq!(request.slicing(&stream), Ok(Slicing::Values));
    }

    #[test]
    fn what_cannot_be_taken_apart_is_refused() {
        let said = |words: &[String]| {
            let stream = encoded(words);
            let refused = read(&stream).0.slicing(&stream).expect_err("it has very many arguments");
            String::from_utf8(refused).unwrap()
        };
        let mset = 2 * MAX_WRITE_KEYS + 2;
        assert!(said(&words("MSET", mset)).starts_with("-ERR 'mset' takes at most 8192 keys at once"));
        assert!(said(&words("INFO", 2000)).starts_with("-ERR 'info' takes at most 1023 arguments"));
        assert!(said(&words("GET", 2000)).starts_with("-ERR wrong number of arguments for 'get'"));
        assert!(said(&words("NOSUCH", 2000)).starts_with("-ERR unknown command 'NOSUCH'"));
    }

    #[test]
    fn a_request_of_few_arguments_is_found_again_in_its_bytes() {
        let mut state = ParseState::default();
        for stream in
            [&b"*3\r\n$4\r\nMGET\r\n$1\r\na\r\n$2\r\nbc\r\n"[..], b"MGET a bc\r\n", b"MGET \"a\" 'bc'\r\n"]
        {
            let Parsed::Request { consumed, request } = parse(stream, &Limits::default(), &mut state) else {
                panic!("one whole request")
            };
            let long = LongRequest::of(&request, &stream[..consumed]);
            let args: Vec<&[u8]> = (0..long.len()).map(|at| long.arg(stream, at)).collect();
            assert_eq!(args, [&b"MGET"[..], b"a", b"bc"]);
        }
    }
}
