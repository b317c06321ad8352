//! The parser of client requests: the same results however the bytes are cut up, what was encoded comes back,
//! every call makes progress, and memory stays in proportion to the bytes that arrived.

use crate::dice::Dice;
use crate::meter;
use faces::resp::{Limits, ParseState, Parsed, Request, parse};

const TOKENS: [&[u8]; 20] = [
    b"\r\n",
    b"\n",
    b"\r",
    b"*",
    b"$",
    b"*1\r\n",
    b"*3\r\n",
    b"$0\r\n\r\n",
    b"$-1\r\n",
    b"*-1\r\n",
    b"*0\r\n",
    b"$536870912\r\n",
    b"$536870913\r\n",
    b"*1048576\r\n",
    b"*1048577\r\n",
    b"99999999999999999999",
    b"\"",
    b"'",
    b"\\x4",
    b" ",
];
/// Memory per byte that arrived, and to begin with.
const PER_BYTE: usize = 100;
const AT_LEAST: usize = 256 << 10;

#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Request(Vec<Vec<u8>>),
    Bad(Vec<u8>, bool),
}

fn limits(dice: &mut Dice) -> Limits {
    if dice.one_in(4) {
        return Limits::default();
    }
    Limits {
        max_value_bytes: 1 + dice.below(60),
        max_args: 1 + dice.below(9),
        max_inline_bytes: 1 + dice.below(80),
        max_request_bytes: 1 + dice.below(200),
        ..Limits::default()
    }
}

/// What the stream means when it arrives in pieces that end at these offsets, and how much is left over.
fn read(stream: &[u8], cuts: &[usize], limits: &Limits) -> (Vec<Seen>, usize) {
    let mut state = ParseState::default();
    let (mut buffer, mut seen, mut from) = (Vec::new(), Vec::new(), 0);
    for cut in cuts.iter().copied().chain([stream.len()]) {
        buffer.extend_from_slice(&stream[from..cut]);
        from = cut;
        loop {
            let consumed = match parse(&buffer, limits, &mut state) {
                Parsed::Incomplete => break,
                Parsed::Unfinished => continue,
                Parsed::Long { consumed, request } => {
                    let args = (0..request.len()).map(|at| request.arg(&buffer, at).to_vec());
                    seen.push(Seen::Request(args.collect()));
                    consumed
                }
                Parsed::Skipped { consumed } => consumed,
                Parsed::Request { consumed, request } => {
                    seen.push(Seen::Request(request.args_from(0).map(<[u8]>::to_vec).collect()));
                    consumed
                }
                Parsed::Bad { consumed, reply, fatal } => {
                    assert!(reply.starts_with(b"-ERR ") && reply.ends_with(b"\r\n"));
                    seen.push(Seen::Bad(reply, fatal));
                    if fatal {
                        return (seen, 0);
                    }
                    consumed
                }
            };
            assert!(consumed > 0 && consumed <= buffer.len(), "{consumed} of {}", buffer.len());
            buffer.drain(..consumed);
        }
        let needed = state.needed();
        assert!(needed == 0 || needed > buffer.len(), "it needs {needed} and has {}", buffer.len());
    }
    (seen, buffer.len())
}

/// A stream of requests, and what they are.
fn requests(dice: &mut Dice) -> (Vec<u8>, Vec<Seen>) {
    let (mut stream, mut seen) = (Vec::new(), Vec::new());
    for _ in 0..1 + dice.below(6) {
        match dice.below(6) {
            0 => stream.extend_from_slice(b"\r\n"),
            1 => stream.extend_from_slice(b"*0\r\n"),
            2 => {
                stream.extend_from_slice(b"SET 'a b' \"\\x00\\n\" c\r\n");
                let words: [&[u8]; 4] = [b"SET", b"a b", b"\0\n", b"c"];
                seen.push(Seen::Request(words.map(<[u8]>::to_vec).into()));
            }
            _ => {
                let args: Vec<Vec<u8>> = (0..1 + dice.below(5))
                    .map(|_| {
                        let len = if dice.one_in(5) { dice.below(300) } else { dice.below(12) };
                        dice.bytes(len)
                    })
                    .collect();
                Request::from_owned(args.clone()).encode(&mut stream);
                seen.push(Seen::Request(args));
            }
        }
    }
    (stream, seen)
}

pub fn case(dice: &mut Dice) {
    let (mut stream, meant) = requests(dice);
    assert_eq!(read(&stream, &[], &Limits::default()), (meant, 0), "what was encoded comes back");
    for _ in 0..dice.below(5) {
        dice.mutate(&mut stream, &TOKENS);
    }
    let limits = limits(dice);
    let whole = meter::within(AT_LEAST + PER_BYTE * stream.len(), || read(&stream, &[], &limits));
    let mut cuts: Vec<usize> = (0..dice.below(8)).map(|_| dice.below(stream.len() + 1)).collect();
    cuts.sort_unstable();
    let every: Vec<usize> = (1..stream.len()).collect();
    for cuts in [cuts, every] {
        let bound = AT_LEAST + PER_BYTE * stream.len();
        let pieces = meter::within(bound, || read(&stream, &cuts, &limits));
        assert_eq!(pieces, whole, "cut at {cuts:?}: {}", stream.escape_ascii());
    }
}
